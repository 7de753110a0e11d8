"""A pod: the sandbox's HTTP server on an address of its own, and a model of its sidecar's metrics."""

import asyncio
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from analyzer.ports import Object
from analyzer.sandbox.behaviour import Behaviour
from analyzer.sandbox.bootstrap import BUCKETS_MS
from analyzer.sandbox.http1 import Framing, FramingError
from analyzer.sandbox.workloads import Connection as PlainConnection
from analyzer.sandbox.workloads import Pod as Server
from tests.cluster.bed.places import ISTIO_NAMESPACE, POD_METRICS_PORT

_DEFAULT_PORT: Final = 5000
_GONE: Final = 0  # the client gave up
_CRASH_AFTER: Final = "CRASH_AFTER_SECONDS"


@dataclass(frozen=True, slots=True)
class Spec:
    """What the agent needs to know of a pod object."""

    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    workload: str
    container: str
    port: int
    behaviour: Behaviour
    crash_after_s: float | None

    @classmethod
    def of(cls, pod: Object) -> "Spec":
        """Read it; behaviour is in the first container's environment (`analyzer.sandbox.behaviour`).

        Raises
        ------
        PolicyError
            A variable of the environment is no number, or out of its range.
        """
        metadata, container = pod["metadata"], pod["spec"]["containers"][0]
        labels = metadata.get("labels", {})
        owners = metadata.get("ownerReferences") or [{"name": metadata["name"]}]
        environment = {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}
        return cls(
            uid=metadata["uid"],
            namespace=metadata["namespace"],
            name=metadata["name"],
            labels=labels,
            workload=owners[0]["name"].removesuffix(f"-{labels.get('pod-template-hash')}"),
            container=container["name"],
            port=(container.get("ports") or [{}])[0].get("containerPort", _DEFAULT_PORT),
            behaviour=Behaviour.of_template(pod),
            crash_after_s=float(environment[_CRASH_AFTER]) if _CRASH_AFTER in environment else None,
        )


class Connection(PlainConnection):
    """A connection that tells the pod how each request ended."""

    def __init__(self, pod: "Pod") -> None:
        super().__init__(pod)
        self._observer = pod
        self.begun_s: float | None = None

    def abort(self) -> None:
        """Cut it, as the end of a process does."""
        if self._transport is not None:
            self._transport.abort()

    def answer(self, status: int) -> None:
        """Count, then answer."""
        self._observer.observe(self, status)
        super().answer(status)


class Pod(Server):
    """Serves as its environment says, and counts as a sidecar does: once, when a request ends."""

    def __init__(self, spec: Spec, *, address: str) -> None:
        super().__init__(
            spec.name,
            version=spec.labels.get("version", spec.workload),
            behaviour=spec.behaviour,
            rng=random.Random(spec.name),
        )
        self.spec = spec
        self.address = address
        self.crash = asyncio.Event()
        self.restarts = 0
        self._requests: Counter[int] = Counter()
        self._durations: dict[int, list[int]] = {}
        self._sums_ms: Counter[int] = Counter()
        self._metrics: asyncio.Server | None = None

    @property
    def behaviour(self) -> Behaviour:
        """As it is now."""
        return self._behaviour

    def behave(self, values: Mapping[str, float]) -> None:
        """Change how it behaves, from the next request on.

        Raises
        ------
        PolicyError, TypeError
            There is no such field, or its value is out of range.
        """
        self._behaviour = replace(self._behaviour, **values)

    async def open(self) -> None:
        """Listen: a process that has just started."""
        self._born = self._loop.time()
        self._requests.clear()
        self._durations.clear()
        self._sums_ms.clear()
        self._server = await self._loop.create_server(
            lambda: Connection(self), self.address, self.spec.port, backlog=1024, reuse_address=True
        )
        self._metrics = await self._loop.create_server(
            lambda: MetricsConnection(self), self.address, POD_METRICS_PORT, reuse_address=True
        )

    def close(self) -> None:
        """Take no more connections; those in use end with their answer."""
        super().close()
        if self._metrics is not None:
            self._metrics.close()

    def kill(self) -> None:
        """Cut all connections."""
        self.close()
        for connection in list(self.connections):
            assert isinstance(connection, Connection)
            connection.abort()

    def accept(self, connection: PlainConnection) -> None:
        """Serve the connection's request, and note when it came."""
        assert isinstance(connection, Connection)
        connection.begun_s = self._loop.time()
        super().accept(connection)

    def abandon(self, connection: PlainConnection) -> None:
        """Forget a request whose client has gone; a sidecar counts it with code 0."""
        assert isinstance(connection, Connection)
        self.observe(connection, _GONE)
        super().abandon(connection)

    def observe(self, connection: Connection, status: int) -> None:
        """Count the end of a request."""
        if connection.begun_s is None:
            return
        duration_ms = int((self._loop.time() - connection.begun_s) * 1000)
        connection.begun_s = None
        self._requests[status] += 1
        self._sums_ms[status] += duration_ms
        buckets = self._durations.setdefault(status, [0] * (len(BUCKETS_MS) + 1))
        buckets[bisect_left(BUCKETS_MS, duration_ms)] += 1

    def exposition(self) -> str:
        """Write the metrics as Istio's agent does, for one scrape."""
        lines = [f"envoy_server_uptime{{}} {int(self._loop.time() - self._born)}"]
        for status, count in sorted(self._requests.items()):
            labels = self._labels(status)
            lines.append(f"istio_requests_total{{{labels}}} {count}")
            total = 0
            for edge, n in zip((*map(_edge, BUCKETS_MS), "+Inf"), self._durations[status], strict=True):
                total += n
                lines.append(f'istio_request_duration_milliseconds_bucket{{{labels},le="{edge}"}} {total}')
            lines.append(f"istio_request_duration_milliseconds_sum{{{labels}}} {self._sums_ms[status]}")
            lines.append(f"istio_request_duration_milliseconds_count{{{labels}}} {total}")
        return "\n".join([*lines, ""])

    def _labels(self, status: int) -> str:
        spec = self.spec
        service = spec.labels.get("app", spec.workload)
        labels = {
            "reporter": "destination",
            "request_protocol": "http",
            "response_code": str(status),
            "response_flags": "DC" if status == _GONE else "-",
            "source_workload": "istio-ingressgateway",
            "source_workload_namespace": ISTIO_NAMESPACE,
            "destination_workload": spec.workload,
            "destination_workload_namespace": spec.namespace,
            "destination_canonical_service": service,
            "destination_canonical_revision": spec.labels.get("version", "latest"),
            "destination_service": f"{service}.{spec.namespace}.svc.cluster.local",
            "destination_service_name": service,
            "destination_service_namespace": spec.namespace,
        }
        return ",".join(f'{name}="{value}"' for name, value in labels.items())


class MetricsConnection(asyncio.Protocol):
    """Answers every request with the metrics."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._framing = Framing()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            requests = list(self._framing.feed(data))
        except FramingError:
            self._transport.abort()
            return
        for _ in requests:
            body = self._pod.exposition().encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {len(body)}\r\n\r\n"
            self._transport.write(head.encode() + body)


def _edge(edge: float) -> str:
    return f"{edge:g}" if edge < 1e6 else str(int(edge))
