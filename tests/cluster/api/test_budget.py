"""How much Serin asks of the API server, by the server's own audit log.

A rollout is played on the mesh's manual time against the real server: a virtual minute of it passes in about a second, and
every request that turns and steps cause is real. What watches and lists cost is counted apart, in real time.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from inspect import signature

import pytest

from analyzer.adapters.kube import Credentials, KubeCluster, connect
from analyzer.app.cache import ClusterCache
from analyzer.app.daemon import OPTIONAL, WATCHED, Changes, Daemon
from analyzer.app.judging import Judging
from analyzer.app.metrics import Metrics
from analyzer.app.outbox import Outbox
from analyzer.app.writer import Services
from analyzer.ports import Cluster, Object
from tests.app.model import NAMESPACE, POLICY, SCRAPE_S, Behaviour
from tests.cluster.api.apiserver import ApiServer
from tests.cluster.api.real_mesh import RealMesh
from tests.fakes import FakeTelemetry, RecordingSink
from tests.faultproxy import FaultProxy

IN_FLIGHT_PER_MINUTE = 10
BUSIEST_MINUTE = 14
"""Two steps, each of intent, patch, reading back, result, Event and what was delivered; and two checkpoints."""
IDLE_PER_MINUTE = 1
MINUTE = round(60 / SCRAPE_S)  # [scrapes]


class Running:
    """A daemon before a real API server, with what a test looks at."""

    def __init__(self, mesh: RealMesh, cluster: Cluster, proxy: FaultProxy) -> None:
        self.mesh = mesh
        self.proxy = proxy
        self.asked: list[int] = []  # requests until each scrape
        metrics, changes = Metrics(), Changes()
        cache = ClusterCache(cluster, WATCHED, clock=mesh.clock, on_change=changes.note, optional=OPTIONAL)
        sink = RecordingSink()
        outbox = Outbox({"log": sink}, default=("log",), clock=mesh.clock, metrics=metrics, rng=random.Random(1))
        services = Services(cluster=cluster, cache=cache, clock=mesh.clock, outbox=outbox, metrics=metrics)
        telemetry = FakeTelemetry(mesh.clock, mesh.window)
        judging = Judging(telemetry, mesh.clock, metrics, period_s=0.01, call_timeout_s=5)
        self.daemon = Daemon(services, cache=cache, judging=judging, changes=changes)

    def status(self) -> Object:
        return self.mesh.read(POLICY).get("status") or {}

    async def until(self, condition: Callable[[], bool], *, scrapes: int) -> None:
        for _ in range(scrapes):
            if condition():
                return
            await self.live(1)
        pytest.fail(f"not within {scrapes} scrapes: {self.status().get('phase')}: {self.status().get('message')}")

    async def live(self, scrapes: int) -> None:
        """Let the mesh live, slowly enough for the daemon to do all that it does in each scrape interval."""
        for _ in range(scrapes):
            self.mesh.scrape()
            await asyncio.sleep(0.08)
            self.asked.append(len(self.proxy.requests))

    def worst_minute(self) -> int:
        """Requests in the busiest virtual minute."""
        return max(after - before for before, after in zip(self.asked, self.asked[MINUTE:], strict=False))


@asynccontextmanager
async def running(api_server: ApiServer, mesh: RealMesh) -> AsyncIterator[Running]:
    async with (
        FaultProxy(api_server.url, tls=api_server.tls).running() as proxy,
        connect(Credentials(str(api_server.kubeconfig(server=proxy.url)))) as cluster,
    ):
        serin = Running(mesh, cluster, proxy)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(serin.daemon.run())
            async with asyncio.timeout(30):
                await serin.daemon.cache.synced.wait()
            yield serin
            serin.daemon.stop()
            await task


def _events(api_server: ApiServer) -> list[Object]:
    answer = api_server.call("GET", f"/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events")
    items: list[Object] = answer["items"]
    return items


@pytest.mark.parametrize(
    ("behaviour", "end"),
    [(Behaviour(), "Promoted"), (Behaviour(error_rate=0.03), "RolledBack")],
    ids=["promoted", "rolled back"],
)
async def test_a_rollout_asks_little_of_the_api_server(
    api_server: ApiServer, behaviour: Behaviour, end: str, record_property: Callable[[str, object], None]
) -> None:
    mesh = RealMesh(api_server, requests_per_s=400.0)
    mesh.behaviours["v2"] = behaviour
    logged = len(api_server.audited("serin/"))
    async with running(api_server, mesh) as serin:
        await serin.until(lambda: serin.status().get("phase") == end, scrapes=60 * MINUTE)
        await serin.live(2 * MINUTE)
        minutes, quiet = len(serin.asked) / MINUTE, len(serin.proxy.requests)
        audited = [event for event in api_server.audited("serin/")[logged:] if event["verb"] not in {"list", "watch"}]
        verbs = dict(Counter(event["verb"] for event in audited))
        figures = f"{end}: {len(audited)} requests in {minutes:.1f} min, {serin.worst_minute()} in the busiest: {verbs}"
        record_property("figures", figures)
        print(figures)  # noqa: T201  pytest -rP shows it
        assert {event["responseStatus"]["code"] for event in audited} == {200, 201}
        assert len(audited) / minutes <= IN_FLIGHT_PER_MINUTE
        assert serin.worst_minute() <= BUSIEST_MINUTE
        await serin.live(10 * MINUTE)
        assert serin.proxy.requests[quiet:] == []
    assert {event["reason"] for event in _events(api_server)} >= {end}


def test_watches_and_lists_alone_stay_below_the_idle_budget_of_one_policy() -> None:
    watch_s = signature(KubeCluster).parameters["watch_s"].default
    resync_s = signature(ClusterCache).parameters["resync_s"].default
    assert len(WATCHED) * (60 / watch_s + 60 / resync_s) <= IDLE_PER_MINUTE
