"""metrics.k8s.io: the CPU that pods would use for the requests that they really served."""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from analyzer.ports import Object
from tests.cluster.bed.pace import METRICS_WINDOW_S
from tests.cluster.bed.places import METRICS_API_PORT, Places
from tests.cluster.bed.pod import Pod

_GROUP: Final = "metrics.k8s.io"
_VERSION: Final = f"{_GROUP}/v1beta1"
_SAMPLE_S: Final = 1.0
_SAMPLES: Final = round(METRICS_WINDOW_S / _SAMPLE_S) + 1


class Usage:
    """CPU of every pod over the last seconds."""

    def __init__(self, pods: Callable[[], Iterator[Pod]]) -> None:
        self._pods = pods
        self._samples: dict[str, deque[tuple[float, float]]] = {}  # by uid: (time, CPU so far)

    async def run(self) -> None:
        """Sample, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            fresh = {}
            for pod in self._pods():
                fresh[pod.spec.uid] = self._samples.get(pod.spec.uid, deque(maxlen=_SAMPLES))
                fresh[pod.spec.uid].append((loop.time(), pod.usage()[0]))
            self._samples = fresh
            await asyncio.sleep(_SAMPLE_S)

    def listed(self, namespace: str | None, selector: str) -> list[Object]:
        """Give the PodMetrics of pods with labels `a=b,c=d`; a pod without a whole window has none yet."""
        wanted = [pair.partition("=")[::2] for pair in selector.split(",") if pair]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        items = []
        for pod in self._pods():
            spec, samples = pod.spec, self._samples.get(pod.spec.uid, deque())
            if len(samples) < _SAMPLES or (namespace is not None and spec.namespace != namespace):
                continue
            if all(spec.labels.get(key) == value for key, value in wanted):
                (begun_s, before), (ended_s, after) = samples[0], samples[-1]
                usage = {"cpu": f"{max(round((after - before) / (ended_s - begun_s)), 0)}m", "memory": "50Mi"}
                items.append(
                    {
                        "metadata": {"name": spec.name, "namespace": spec.namespace, "labels": dict(spec.labels)},
                        "timestamp": now,
                        "window": f"{METRICS_WINDOW_S:g}s",
                        "containers": [{"name": spec.container, "usage": usage}],
                    }
                )
        return items


@asynccontextmanager
async def serve_metrics(usage: Usage, places: Places) -> AsyncIterator[None]:
    """Serve the API to the aggregator."""

    async def pods(request: web.Request) -> web.Response:
        items = usage.listed(request.match_info.get("namespace"), request.query.get("labelSelector", ""))
        return web.json_response({"kind": "PodMetricsList", "apiVersion": _VERSION, "metadata": {}, "items": items})

    async def discovery(_: web.Request) -> web.Response:
        resource = {
            "name": "pods",
            "singularName": "",
            "namespaced": True,
            "kind": "PodMetrics",
            "verbs": ["get", "list"],
        }
        body = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": _VERSION, "resources": [resource]}
        return web.json_response(body)

    app = web.Application()
    app.router.add_get(f"/apis/{_VERSION}/namespaces/{{namespace}}/pods", pods)
    app.router.add_get(f"/apis/{_VERSION}/pods", pods)
    app.router.add_get(f"/apis/{_VERSION}", discovery)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(places.keys / "metrics.crt", places.keys / "metrics.key")
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", METRICS_API_PORT, ssl_context=context).start()
        yield
    finally:
        await runner.cleanup()


def build_registration() -> list[Object]:
    """Tell the API server of it."""
    port = {"port": METRICS_API_PORT, "protocol": "TCP"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "metrics-server", "namespace": "kube-system"},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [port]},
    }
    reference = {"name": "metrics-server", "namespace": "kube-system", "port": METRICS_API_PORT}
    api_service = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"v1beta1.{_GROUP}"},
        "spec": {
            "group": _GROUP,
            "version": "v1beta1",
            "insecureSkipTLSVerify": True,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": reference,
        },
    }
    return [service, api_service]
