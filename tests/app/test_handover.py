"""Two whole daemons of one lease on virtual time: rollouts go on from one to the other as if there were one."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import looptime
import pytest

from analyzer.app.cache import ClusterCache
from analyzer.app.daemon import WATCHED, Changes, Daemon
from analyzer.app.fence import epoch_of, highest_epoch
from analyzer.app.judging import Judging
from analyzer.app.leadership import LeaseLeadership
from analyzer.app.metrics import Metrics
from analyzer.app.outbox import Outbox
from analyzer.app.writer import Services
from analyzer.core.identity import alert_id
from analyzer.errors import ClusterUnavailable
from analyzer.ports import EVENT, LEASE, VIRTUAL_SERVICE, Alert, Object, Ref
from tests.app.model import NAMESPACE, POLICY, ROUTE, SCRAPE_S, Behaviour, ModelMesh
from tests.app.test_turns import QUICK
from tests.fakes import FakeTelemetry, FaultyCluster, ManualClock, RecordingSink

NAME = Ref(LEASE, "serin-system", "serin")


class LoopClock(ManualClock):
    """The time of the virtual event loop; it passes by itself."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop

    def now_s(self) -> float:
        return self.wall_s + self._loop.time()

    def monotonic_s(self) -> float:
        return self._loop.time()

    def advance(self, seconds: float) -> None:
        """Do nothing: who scrapes waits first."""


class Pod:
    """A daemon, its way to the API server, and all that dies with it."""

    def __init__(self, mesh: ModelMesh, sink: RecordingSink) -> None:
        self.cut = False
        self.cluster = FaultyCluster(
            mesh.cluster, lambda *_: ClusterUnavailable("no route to the API server") if self.cut else None
        )
        self.metrics = Metrics()
        changes = Changes()
        cache = ClusterCache(self.cluster, WATCHED, clock=mesh.clock, on_change=changes.note, rng=random.Random(1))
        self.leadership = LeaseLeadership(
            self.cluster,
            mesh.clock,
            self.metrics,
            ref=NAME,
            name="serin",
            floor=lambda: highest_epoch(cache.list(VIRTUAL_SERVICE)),
        )
        outbox = Outbox({"log": sink}, default=("log",), clock=mesh.clock, metrics=self.metrics, rng=random.Random(1))
        self.telemetry = FakeTelemetry(mesh.clock, mesh.window)
        self.daemon = Daemon(
            Services(
                cluster=self.cluster,
                cache=cache,
                clock=mesh.clock,
                outbox=outbox,
                metrics=self.metrics,
                leadership=self.leadership,
            ),
            cache=cache,
            judging=Judging(self.telemetry, mesh.clock, self.metrics, period_s=SCRAPE_S, call_timeout_s=5),
            changes=changes,
        )
        self.task: asyncio.Task[None] | None = None

    async def kill(self) -> None:
        """Let the process die: nothing more reaches the server."""
        self.cut = True
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])


class Deployment:
    """The pods of Serin, and the mesh they work on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, group: asyncio.TaskGroup) -> None:
        self.mesh = ModelMesh(requests_per_s=1000.0, clock=LoopClock(loop))
        self.mesh.set_policy(**QUICK)
        self.sink = RecordingSink()
        self.pods: list[Pod] = []
        self._group = group
        self.weights = [self.mesh.weights()["v2"]]
        self.epochs: list[int] = []

    def add(self) -> Pod:
        """Start a pod."""
        pod = Pod(self.mesh, self.sink)
        pod.task = self._group.create_task(pod.daemon.run())
        self.pods.append(pod)
        return pod

    async def pair(self) -> tuple[Pod, Pod]:
        """Start two, and return the leader and the one that stands by."""
        first = self.add()
        await self.until(lambda: first.daemon.leads, within_s=17)  # the Lease is made, and might have been deleted
        self.add()
        await self.live(1)
        leader, other = self.pods
        assert (leader.daemon.leads, other.daemon.leads) == (True, False)
        return leader, other

    def status(self) -> Object:
        status: Object = self.mesh.read(POLICY).get("status") or {}
        return status

    @property
    def phase(self) -> str:
        return str(self.status().get("phase"))

    async def live(self, seconds: float) -> None:
        """Let time pass, scrapes included, and note every change of the weights."""
        end_s = self.mesh.clock.monotonic_s() + seconds
        while (now_s := self.mesh.clock.monotonic_s()) < end_s:
            await asyncio.sleep(max(0.01, min(0.25, end_s - now_s)))  # not less than the loop resolves
            if now_s // SCRAPE_S != self.mesh.clock.monotonic_s() // SCRAPE_S:
                self.mesh.scrape()
            self._note()

    async def until(self, condition: Callable[[], bool], *, within_s: float = 600) -> float:
        """Let time pass until `condition` holds; how long that took [s]."""
        began_s = self.mesh.clock.monotonic_s()
        while not condition():
            passed_s = self.mesh.clock.monotonic_s() - began_s
            assert passed_s < within_s, f"not within {within_s} s: {self.phase}: {self.status().get('message')}"
            await self.live(0.25)
        return self.mesh.clock.monotonic_s() - began_s

    def _note(self) -> None:
        weight, epoch = self.mesh.weights()["v2"], epoch_of(self.mesh.read(ROUTE))
        if weight != self.weights[-1]:
            self.weights.append(weight)
        if epoch is not None and epoch not in self.epochs[-1:]:
            self.epochs.append(epoch)
        assert all(before < after for before, after in pairwise(self.epochs)), self.epochs
        assert sum(self._may_write(pod) for pod in self.pods if not pod.cut) <= 1

    @staticmethod
    def _may_write(pod: Pod) -> bool:
        return pod.leadership.leads and pod.leadership._left_s() > 0

    async def events(self) -> Counter[str]:
        """Count the Events by reason."""
        return Counter(event["reason"] for event in (await self.mesh.cluster.list(EVENT, namespace=NAMESPACE)).items)

    def told(self) -> Counter[str]:
        """Count the alerts sent, by reason."""
        return Counter(alert.reason for alert in self.sink.sent)


Story = Callable[[Deployment], Coroutine[Any, Any, None]]


def play(story: Story) -> None:
    """Run a story on a loop of virtual time."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(asyncio.timeout(7200))
            group = await stack.enter_async_context(asyncio.TaskGroup())
            deployment = Deployment(asyncio.get_running_loop(), group)
            await story(deployment)
            for pod in deployment.pods:
                pod.daemon.stop()

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(run())


def identity(alert: Alert) -> str:
    return alert_id(dedup_key=alert.dedup_key, reason=alert.reason, resolved=alert.resolved, at_s=alert.at_s)


ENDS = [
    pytest.param(Behaviour(), [10, 50, 100], "Promoted", id="harmless"),
    pytest.param(Behaviour(error_rate=0.05), [10, 0], "RolledBack", id="5 % errors"),
]


def test_a_leader_that_is_told_to_stop_hands_its_rollout_over_within_two_seconds() -> None:
    async def story(serin: Deployment) -> None:
        leader, other = await serin.pair()
        await serin.until(lambda: serin.weights[-1] == 50)
        leader.daemon.stop()
        assert await serin.until(lambda: other.daemon.leads) <= 2
        intervals = serin.status()["evidence"]["intervals"]
        assert intervals > 0
        await serin.until(lambda: serin.phase == "Promoted")
        await serin.live(30)
        assert serin.weights == [10, 50, 100]
        assert serin.epochs == [1, 2]
        assert (await serin.events())["Promoted"] == serin.told()["Promoted"] == 1

    play(story)


@pytest.mark.parametrize(("behaviour", "weights", "end"), ENDS)
@pytest.mark.parametrize("seed", range(4))
def test_whenever_leaders_die_no_step_is_lost_or_made_twice_and_people_are_told(
    behaviour: Behaviour, weights: list[int], end: str, seed: int
) -> None:
    rng = random.Random(seed)

    async def story(serin: Deployment) -> None:
        serin.mesh.behaviours["v2"] = behaviour
        await serin.pair()
        for _ in range(3):
            await serin.live(rng.uniform(0.0, 25.0))
            leader = next(pod for pod in serin.pods if pod.daemon.leads)
            await leader.kill()
            serin.pods.remove(leader)
            serin.add()
            await serin.until(lambda: any(pod.daemon.leads for pod in serin.pods), within_s=17)
        await serin.until(lambda: serin.phase == end)
        await serin.live(30)
        assert serin.weights == weights, f"seed {seed}"
        assert (await serin.events())[end] == 1, f"seed {seed}"
        last = [alert for alert in serin.sink.sent if alert.reason == end]
        assert last, f"seed {seed}"
        assert len({identity(alert) for alert in last}) == 1, f"seed {seed}"  # receivers fold what is sent twice

    play(story)


def test_a_leader_cut_off_from_the_server_is_replaced_and_stands_by_when_it_returns() -> None:
    async def story(serin: Deployment) -> None:
        leader, other = await serin.pair()
        await serin.until(lambda: serin.phase == "Progressing")
        leader.cut = True
        await serin.until(lambda: other.daemon.leads, within_s=16)
        await serin.until(lambda: serin.weights[-1] == 50)
        leader.cut = False
        await serin.until(lambda: not leader.daemon.leads, within_s=4)
        made = Counter(leader.cluster.calls)
        await serin.until(lambda: serin.phase == "Promoted")
        await serin.live(30)
        now = Counter(leader.cluster.calls)
        assert {name: now[name] - made[name] for name in ("patch", "replace_status", "create")} == dict.fromkeys(
            ("patch", "replace_status", "create"), 0
        )
        assert serin.weights == [10, 50, 100]
        assert serin.epochs == [2]  # 10 % was there before Serin, so epoch 1 had nothing to move
        assert serin.told()["Promoted"] == 1

    play(story)


def test_a_rollback_due_while_the_server_is_away_is_paged_once_and_made_when_it_is_back() -> None:
    async def story(serin: Deployment) -> None:
        leader, other = await serin.pair()
        await serin.until(lambda: serin.phase == "Progressing")
        leader.cut = other.cut = True
        serin.mesh.behaviours["v2"] = Behaviour(error_rate=0.3)
        await serin.live(60)
        assert serin.weights == [10]
        assert serin.told() == {"CannotRollBack": 1}
        assert "kubectl -n helloworld patch virtualservice" in serin.sink.sent[0].command
        assert "serin.dev/epoch" not in serin.sink.sent[0].command  # a person's patch is not ours
        leader.cut = other.cut = False
        assert await serin.until(lambda: serin.weights[-1] == 0) <= 5
        await serin.until(lambda: serin.phase == "RolledBack")
        await serin.live(30)
        assert serin.told() == {"CannotRollBack": 1, "RolledBack": 1}

    play(story)


def test_one_that_stands_by_reads_no_telemetry_writes_nothing_and_tells_nobody() -> None:
    async def story(serin: Deployment) -> None:
        serin.mesh.behaviours["v2"] = Behaviour(error_rate=0.05)
        leader, other = await serin.pair()
        other.cluster.calls.clear()
        await serin.until(lambda: serin.phase == "RolledBack")
        await serin.live(60)
        assert not {"patch", "replace_status", "create"} & set(other.cluster.calls)
        assert len(other.telemetry.queries) == 0 < len(leader.telemetry.queries)
        assert other.daemon.cache.synced.is_set()
        assert other.daemon.silent_policies() == []
        assert b'serin_phase{namespace="helloworld"' not in other.metrics.render("")[0]

    play(story)
