"""How much Serin asks of the API server, by the server's own audit log and by a proxy before it.

Rollouts of the example's own policy are played on the mesh's manual time against the real server: a virtual minute passes in
about a second, and every request that turns and steps cause is real. Watches end in real time, so they get so much less of it:
what lists and watches cost is counted among the rest.

A Lease is apart: its holder renews it every three seconds, however many policies there are.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from inspect import signature
from itertools import pairwise

import pytest

from analyzer.adapters.clock import SystemClock
from analyzer.adapters.kube import Credentials, KubeCluster, connect
from analyzer.app.cache import ClusterCache
from analyzer.app.daemon import OPTIONAL, WATCHED, Changes, Daemon
from analyzer.app.judging import Judging
from analyzer.app.metrics import Metrics
from analyzer.app.outbox import Outbox
from analyzer.app.writer import Services
from analyzer.policy.crd import defaults_crd
from analyzer.ports import Cluster, Object
from tests.app.model import NAMESPACE, POLICY, SCRAPE_S, Behaviour
from tests.cluster.api.apiserver import ApiServer
from tests.cluster.api.real_mesh import RealMesh
from tests.fakes import FakeTelemetry, RecordingSink
from tests.faultproxy import FaultProxy

IN_FLIGHT_PER_MINUTE = 10
IDLE_PER_MINUTE = 1
REPLICAS = 2  # as deploy/ has them
MINUTE = round(60 / SCRAPE_S)  # [scrapes]
FASTER = 60.0  # than real time, at the most, where rollouts are played
IDLE_FASTER = 300.0  # where replicas idle: a watch must live for the five seconds of a good one
FOLLOWING = {"list", "watch"}
FINAL = {"Promoted", "RolledBack"}
WATCH_S: float = signature(KubeCluster).parameters["watch_s"].default
RESYNC_S: float = signature(ClusterCache).parameters["resync_s"].default


@dataclass(frozen=True)
class Flight:
    """What was asked while a rollout was in flight, from its first Pending to its last phase, and after that.

    Attributes
    ----------
    asked
        What for, in each scrape interval: `patch`, `list`.
    after
        What was left to do: people are told, and that they were is recorded.
    """

    end: str
    steps: int
    asked: list[list[str]]
    after: list[str]

    @property
    def minutes(self) -> float:
        """Its time; one that took less than a minute had a minute for what it asked."""
        return max(len(self.asked) / MINUTE, 1.0)

    @property
    def mean(self) -> float:
        """Requests per minute, lists and watches included."""
        return sum(map(len, self.asked)) / self.minutes

    @property
    def busiest(self) -> int:
        """The most that the rollout itself asked in a minute, wherever that begins."""
        counts = [sum(what not in FOLLOWING for what in asked) for asked in self.asked]
        return max(sum(counts[begin : begin + MINUTE]) for begin in range(len(counts)))

    def __str__(self) -> str:
        kinds = Counter(what for asked in self.asked for what in asked)
        shown = ", ".join(f"{what} {n}" for what, n in kinds.most_common())
        return (
            f"{self.end}, {self.steps} steps in {len(self.asked) / MINUTE:.1f} min: {self.mean:.1f} requests a minute, "
            f"{self.busiest} in the busiest ({shown}), and {len(self.after)} after it"
        )


def _what(request: tuple[str, str]) -> str:
    method, path = request
    if "watch=1" in path:
        return "watch"
    return "list" if "limit=" in path else {"GET": "get", "PUT": "status", "PATCH": "patch", "POST": "event"}[method]


class Running:
    """A daemon before a real API server, with what a test looks at."""

    def __init__(self, mesh: RealMesh, cluster: Cluster, proxy: FaultProxy) -> None:
        self.mesh = mesh
        self.proxy = proxy
        self._told = 0
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

    def news(self) -> list[str]:
        """Tell what was asked since this was called last."""
        fresh = self.proxy.requests[self._told :]
        self._told += len(fresh)
        return list(map(_what, fresh))

    async def fly(self) -> Flight:
        """Follow a rollout that is due to its end, and for two minutes more."""
        asked: list[list[str]] = []
        early: list[str] = []
        weights = [self.mesh.weights()]
        for _ in range(60 * MINUTE):
            await self.live(1)
            phase, fresh = self.status().get("phase"), self.news()
            if phase in FINAL and asked:
                break
            if phase in FINAL:  # that of the rollout before
                early = fresh
                continue
            asked.append(early + fresh)
            early = []
            weights.append(self.mesh.weights())
        else:
            pytest.fail(f"not within an hour: {phase}: {self.status().get('message')}")
        weights.append(self.mesh.weights())
        await self.live(2 * MINUTE)
        first = fresh.index("patch") if "patch" in fresh else 0
        # What says so is the rollout's own, whether it was counted now or, written between the two looks, with those before.
        last = fresh.index("status", first) + 1 if "status" in fresh[first:] else 0
        steps = sum(this != before for before, this in pairwise(weights))
        return Flight(phase, steps, [*asked, fresh[:last]], fresh[last:] + self.news())

    async def live(self, scrapes: int) -> None:
        """Let the mesh live, slowly enough for the daemon to do all that it does in each scrape interval."""
        for _ in range(scrapes):
            self.mesh.scrape()
            await asyncio.sleep(0.08)


@asynccontextmanager
async def running(api_server: ApiServer, mesh: RealMesh) -> AsyncIterator[Running]:
    async with (
        FaultProxy(api_server.url, tls=api_server.tls).running() as proxy,
        connect(Credentials(str(api_server.kubeconfig(server=proxy.url))), watch_s=WATCH_S / FASTER) as cluster,
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


@pytest.fixture(autouse=True)
def defaults_served(api_server: ApiServer) -> Iterator[None]:
    """Let every kind that is followed be there."""
    crd = defaults_crd()
    api_server.apply_crds([crd])
    yield
    api_server.call("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}")


@pytest.fixture
async def idle_pair(api_server: ApiServer) -> AsyncIterator[FaultProxy]:
    """The caches of two replicas, and the proxy that they ask; nothing happens in the cluster."""
    async with (
        FaultProxy(api_server.url, tls=api_server.tls).running() as proxy,
        AsyncExitStack() as stack,
        asyncio.TaskGroup() as group,
    ):
        tasks = []
        for _ in range(REPLICAS):
            credentials = Credentials(str(api_server.kubeconfig(server=proxy.url)))
            cluster = await stack.enter_async_context(connect(credentials, watch_s=WATCH_S / IDLE_FASTER))
            cache = ClusterCache(
                cluster, WATCHED, clock=SystemClock(), optional=OPTIONAL, resync_s=RESYNC_S / IDLE_FASTER
            )
            tasks.append(group.create_task(cache.run()))
            async with asyncio.timeout(30):
                await cache.synced.wait()
        yield proxy
        for task in tasks:
            task.cancel()


async def test_rollouts_of_the_example_ask_little_of_the_api_server(
    api_server: ApiServer, record_property: Callable[[str, object], None]
) -> None:
    mesh = RealMesh(api_server, requests_per_s=400.0)
    logged = len(api_server.audited("serin/"))
    async with running(api_server, mesh) as serin:
        adopted = await serin.fly()  # and the cluster is read for the first time
        assert adopted.end == "Promoted", adopted
        mesh.release("v1", "helloworld:next", Behaviour())
        promoted = await serin.fly()
        assert (promoted.end, promoted.steps) == ("Promoted", 6), promoted
        mesh.release("v2", "helloworld:next", Behaviour(error_rate=0.1))
        rolled_back = await serin.fly()
        assert rolled_back.end == "RolledBack", rolled_back
        await serin.live(10 * MINUTE)
        assert set(serin.news()) <= FOLLOWING, "nothing is in flight"
    for flight in (promoted, rolled_back):
        record_property(flight.end, str(flight))
        print(flight)  # noqa: T201  pytest -rP shows it
        assert flight.mean <= IN_FLIGHT_PER_MINUTE, str(flight)
        assert flight.busiest <= IN_FLIGHT_PER_MINUTE, str(flight)
        assert set(flight.after) <= {"event", "status", *FOLLOWING}, flight.after
    assert {event["reason"] for event in _events(api_server)} >= {"Promoted", "RolledBack"}
    answered = {event["responseStatus"]["code"] for event in api_server.audited("serin/")[logged:]}
    assert answered == {200, 201}, "every kind is there, and nothing was refused"


async def test_two_replicas_that_idle_ask_little_even_where_there_is_one_policy(
    idle_pair: FaultProxy, record_property: Callable[[str, object], None]
) -> None:
    await asyncio.sleep(1.0)  # until the first watches are open
    before, minutes = len(idle_pair.requests), 2 * RESYNC_S / 60
    await asyncio.sleep(60 * minutes / IDLE_FASTER)  # the time is what is measured: two rounds
    asked = Counter(map(_what, idle_pair.requests[before:]))
    rate = asked.total() / minutes
    figures = f"{REPLICAS} idle replicas: {rate:.2f} requests a minute; {dict(asked)} in {minutes:.0f} min"
    record_property("figures", figures)
    print(figures)  # noqa: T201  pytest -rP shows it
    assert set(asked) == FOLLOWING
    assert rate <= IDLE_PER_MINUTE
