"""Many shops that release again and again, on the virtual time of an event loop: declared as a model, exact in its counts.

One gateway reports of all of them. Pods are there at once, all releases are alike and harmless, and each scrape adds requests
as the weights are just then. What the model keeps is bounded, so that whatever grows is the daemon's.
"""

import asyncio
import copy
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final

import numpy as np

from analyzer.adapters.memory import MemoryCluster
from analyzer.app.cache import ClusterCache
from analyzer.app.daemon import WATCHED, Changes, Daemon
from analyzer.app.judging import Judging
from analyzer.app.metrics import Metrics
from analyzer.app.outbox import Outbox, OutboxSettings
from analyzer.app.writer import Services
from analyzer.policy.examples import example_objects
from analyzer.ports import (
    CANARY_POLICY,
    DEPLOYMENT,
    EVENT,
    POD,
    VIRTUAL_SERVICE,
    Alert,
    Object,
    Ref,
    SeriesBatch,
    TelemetryQuery,
    TelemetryWindow,
)

SCRAPE_S: Final = 5.0
VERSIONS: Final = ("v1", "v2")
_EDGES: Final = ("10", "100", "1000", "+Inf")
_BELOW: Final = np.array([0.2, 0.8, 1.0, 1.0])
_REQUESTS: Final = 2000
"""Of one shop, in a scrape interval [count]."""
_KEPT: Final = 60
"""Scrapes."""
_QUICK: Final[dict[str, Any]] = {
    "stages": [{"route": "primary", "weights": [50, 100]}],
    "judge": {"dwell": {"min": "0s", "max": "5s"}, "bake": "0s", "harmBudget": "2%"},
}


class LoopClock:
    """The time of the event loop that runs."""

    def now_s(self) -> float:
        return 1_700_000_000.0 + self.monotonic_s()

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class _Forgetful:
    """A receiver that takes everything and keeps nothing."""

    async def send(self, alert: Alert) -> None:
        pass


class Market:
    """Shops, each in a namespace of its own, and a daemon that runs their policies."""

    def __init__(self, shops: int) -> None:
        self.clock = LoopClock()
        self.cluster = MemoryCluster(self.clock, history=100)
        self.metrics = Metrics()
        self.shops: list[str] = []
        self.released = 0
        self.closed = 0
        self._numbers = count()
        self._counted: dict[str, np.ndarray[Any, Any]] = {}
        self._scrapes: deque[tuple[float, dict[str, np.ndarray[Any, Any]]]] = deque(maxlen=_KEPT)
        for _ in range(shops):
            self.open()

    # --- what people and controllers do ---

    def open(self) -> None:
        """Open a shop, with a policy, at 90/10."""
        name = f"shop-{next(self._numbers)}"
        for obj in copy.deepcopy([obj for obj in example_objects("helloworld") if obj["kind"] != "Gateway"]):
            obj["metadata"]["namespace"] = name
            if obj["kind"] == "CanaryPolicy":
                obj["spec"] |= _QUICK
            self.cluster.apply(obj)
        self.shops.append(name)
        self._counted[name] = np.zeros((len(VERSIONS), 1 + len(_EDGES)))
        for version in VERSIONS:
            self._settle(name, version)

    def close_oldest(self) -> None:
        """Delete a namespace and all that is in it."""
        name = self.shops.pop(0)
        self.closed += 1
        del self._counted[name]
        for kind in (*WATCHED, EVENT):
            for ref in list(self.cluster._store.refs(kind, name)):
                self.cluster.delete(ref)

    def release_where_idle(self) -> None:
        """Put a new revision into the canary of each shop whose rollout is over."""
        for shop in self.shops:
            if self._phase(shop) in {"Promoted", "RolledBack"}:
                version = VERSIONS[0] if self._weights(shop)[0] == 0 else VERSIONS[1]
                obj = self._read(Ref(DEPLOYMENT, shop, f"helloworld-{version}"))
                obj["spec"]["template"]["spec"]["containers"][0]["image"] = f"release-{next(self._numbers)}"
                self.cluster.apply(obj)
                self._settle(shop, version)
                self.released += 1

    def all_idle(self) -> bool:
        """Whether no rollout is in flight, and nothing is still to be told."""
        statuses = [self._read(Ref(CANARY_POLICY, shop, "helloworld")).get("status") or {} for shop in self.shops]
        return all(one.get("phase") in {"Promoted", "RolledBack"} and not one.get("notices") for one in statuses)

    def forget_events(self) -> None:
        """Let Events expire, as an API server does after an hour."""
        for shop in self.shops:
            for ref in list(self.cluster._store.refs(EVENT, shop)):
                self.cluster.delete(ref)

    def _read(self, ref: Ref) -> Object:
        return self.cluster._store.read(ref)

    def _phase(self, shop: str) -> str | None:
        return (self._read(Ref(CANARY_POLICY, shop, "helloworld")).get("status") or {}).get("phase")

    def _weights(self, shop: str) -> list[int]:
        route = self._read(Ref(VIRTUAL_SERVICE, shop, "helloworld"))["spec"]["http"][0]["route"]
        return [entry.get("weight", 0) for entry in route]

    def _settle(self, shop: str, version: str) -> None:
        """Replace a version's pods by new ones, which are ready."""
        deployment = Ref(DEPLOYMENT, shop, f"helloworld-{version}")
        generation = self._read(deployment)["metadata"]["generation"]
        replicas = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas"), 1)
        self.cluster.set_status(deployment, {"observedGeneration": generation, **replicas})
        labels = {"app": "helloworld", "version": version}
        for pod in list(self.cluster._store.refs(POD, shop)):
            if self._read(pod)["metadata"]["labels"] == labels:
                self.cluster.delete(pod)
        name = f"helloworld-{version}-{generation}"
        metadata = {"name": name, "namespace": shop, "labels": labels}
        self.cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}})
        self.cluster.set_status(Ref(POD, shop, name), {"conditions": [{"type": "Ready", "status": "True"}]})

    # --- telemetry ---

    async def scrape(self) -> None:
        """Let one scrape interval pass, with its requests."""
        await asyncio.sleep(SCRAPE_S)
        for shop in self.shops:
            requests = np.round(_REQUESTS * np.array(self._weights(shop)) / 100)
            self._counted[shop][:, 0] += requests
            self._counted[shop][:, 1:] += np.round(np.outer(requests, _BELOW))
        self._scrapes.append((self.clock.now_s(), {shop: counts.copy() for shop, counts in self._counted.items()}))

    async def now_s(self) -> float:
        return self.clock.now_s()

    async def fetch(self, query: TelemetryQuery) -> TelemetryWindow:
        """Answer as the gateway's counters, and as the pods' own."""
        scrapes = [one for one in self._scrapes if query.end_s - query.window_s < one[0] <= query.end_s]
        return TelemetryWindow(
            query=query,
            requests=_batch(query, scrapes, "istio_requests_total", {"response_code": ["200"]}, slice(0, 1)),
            durations=_batch(
                query, scrapes, "istio_request_duration_milliseconds_bucket", {"le": _EDGES}, slice(1, None)
            ),
            reporters=_columns([({"__name__": "up", **_GATEWAY}, [(at_s, 1.0) for at_s, _ in scrapes])]),
        )

    # --- the daemon ---

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the daemon, with all its tasks."""
        changes = Changes()
        cache = ClusterCache(self.cluster, WATCHED, clock=self.clock, on_change=changes.note)
        outbox = Outbox(
            {"log": _Forgetful()},
            default=("log",),
            clock=self.clock,
            metrics=self.metrics,
            rng=random.Random(1),
            settings=OutboxSettings(fold_window_s=60.0),  # what is remembered for so long is to be seen to go
        )
        services = Services(cluster=self.cluster, cache=cache, clock=self.clock, outbox=outbox, metrics=self.metrics)
        judging = Judging(self, self.clock, self.metrics, period_s=SCRAPE_S, call_timeout_s=10.0, pods=self)
        daemon = Daemon(services, cache=cache, judging=judging, changes=changes)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(daemon.run())
            yield
            daemon.stop()
            await task


_GATEWAY: Final = {"job": "gateway", "instance": "10.0.0.1:15020"}

Scrapes = list[tuple[float, dict[str, np.ndarray[Any, Any]]]]


def _batch(query: TelemetryQuery, scrapes: Scrapes, name: str, labels: dict[str, Any], columns: slice) -> SeriesBatch:
    ((label, values),) = labels.items()
    series = []
    for workload in sorted(query.workloads):
        own = {"destination_workload_namespace": workload.namespace, "destination_workload": workload.name}
        place = VERSIONS.index(workload.name.removeprefix("helloworld-"))
        there = [
            (at_s, counts[workload.namespace][place, columns])
            for at_s, counts in scrapes
            if workload.namespace in counts
        ]
        for number, value in enumerate(values):
            all_labels = {"__name__": name, **_GATEWAY, "reporter": "source", **own, label: value}
            series.append((all_labels, [(at_s, float(row[number])) for at_s, row in there]))
    return _columns(series)


def _columns(series: list[tuple[dict[str, str], list[tuple[float, float]]]]) -> SeriesBatch:
    flat = np.array([sample for _, samples in series for sample in samples], dtype=np.float64).reshape(-1, 2)
    return SeriesBatch(
        labels=[labels for labels, _ in series],
        offsets=np.cumsum([0, *(len(samples) for _, samples in series)]),
        times=flat[:, 0],
        values=flat[:, 1],
    )
