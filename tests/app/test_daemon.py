"""The whole daemon on a model mesh: real cache, real tasks, real time in the loop, manual time in the mesh."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from analyzer.app.cache import ClusterCache
from analyzer.app.daemon import WATCHED, Changes, Daemon
from analyzer.app.judging import Judging
from analyzer.app.metrics import Metrics
from analyzer.app.outbox import Outbox
from analyzer.app.target import ObservedTarget, observe_target
from analyzer.app.view import ClusterView
from analyzer.app.writer import Services
from analyzer.core.judge import judge
from analyzer.core.judge.types import Assessment, JudgeRequest
from analyzer.core.rollout import Problem
from analyzer.errors import ClusterUnavailable, MetricsUnavailable, WriteRefused
from analyzer.policy.model import CanaryPolicy
from analyzer.ports import CANARY_POLICY, POD, Cluster, Object, Ref, Telemetry, TelemetryQuery, TelemetryWindow
from tests.app.model import NAMESPACE, POLICY, ROUTE, Behaviour, ModelMesh
from tests.app.test_turns import quick_mesh
from tests.fakes import FakeTelemetry, FaultyCluster, RecordingSink


class Running:
    """A daemon that runs, with what a test looks at."""

    def __init__(
        self,
        mesh: ModelMesh,
        telemetry: Telemetry | None = None,
        *,
        dry_run: bool = False,
        cluster: Cluster | None = None,
    ) -> None:
        self.mesh = mesh
        cluster = cluster or mesh.cluster
        self.sink = RecordingSink()
        self.metrics = Metrics()
        changes = Changes()
        cache = ClusterCache(cluster, WATCHED, clock=mesh.clock, on_change=changes.note)
        outbox = Outbox(
            {"log": self.sink}, default=("log",), clock=mesh.clock, metrics=self.metrics, rng=random.Random(1)
        )
        services = Services(
            cluster=cluster, cache=cache, clock=mesh.clock, outbox=outbox, metrics=self.metrics, dry_run=dry_run
        )
        judging = Judging(
            telemetry or FakeTelemetry(mesh.clock, mesh.window),
            mesh.clock,
            self.metrics,
            period_s=0.01,
            call_timeout_s=5,
        )
        self.daemon = Daemon(services, cache=cache, judging=judging, changes=changes)

    def status(self, ref: Ref = POLICY) -> Object:
        """Return a policy's status."""
        status: Object = self.mesh.read(ref).get("status") or {}
        return status

    async def until(self, condition: Callable[[], bool], *, scrapes: int = 300) -> None:
        """Let the mesh live until `condition` holds."""
        for _ in range(scrapes):
            if condition():
                return
            self.mesh.scrape()
            await asyncio.sleep(0.02)
        raise AssertionError(
            f"not within {scrapes} scrapes: {self.status().get('phase')}: {self.status().get('message')}"
        )

    async def live(self, scrapes: int) -> None:
        """Let the mesh live for a while."""
        for _ in range(scrapes):
            self.mesh.scrape()
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(
    mesh: ModelMesh, telemetry: Telemetry | None = None, *, dry_run: bool = False, cluster: Cluster | None = None
) -> AsyncIterator[Running]:
    serin = Running(mesh, telemetry, dry_run=dry_run, cluster=cluster)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        task = group.create_task(serin.daemon.run())
        yield serin
        serin.daemon.stop()
        await task


def second_policy(mesh: ModelMesh, name: str, virtual_service: str) -> Ref:
    obj = mesh.read(POLICY)
    policy = {key: obj[key] for key in ("apiVersion", "kind", "spec")}
    policy["metadata"] = {"name": name, "namespace": NAMESPACE}
    policy["spec"]["target"]["virtualService"] = virtual_service
    mesh.cluster.apply(policy)
    return Ref(CANARY_POLICY, NAMESPACE, name)


async def test_a_bad_release_is_rolled_back_and_people_are_told_once() -> None:
    mesh = quick_mesh()
    mesh.behaviours["v2"] = Behaviour(error_rate=0.05)
    async with running(mesh) as serin:
        await serin.until(lambda: mesh.weights()["v2"] == 0)
        await serin.until(lambda: bool(serin.sink.sent))
        await serin.live(10)
        (alert,) = serin.sink.sent
        assert (alert.reason, alert.severity, alert.policy) == ("RolledBack", "page", "helloworld/helloworld")
        assert re.search(r"v2 fails \d", alert.what)
        await serin.until(lambda: serin.status()["notices"] == [])


async def test_the_next_release_goes_into_the_version_that_was_freed() -> None:
    mesh = quick_mesh()
    async with running(mesh) as serin:
        await serin.until(lambda: serin.status().get("phase") == "Promoted")
        assert mesh.weights() == {"v1": 0, "v2": 100}
        mesh.release("v1", "v1.next", Behaviour(error_rate=0.3))
        await serin.until(lambda: serin.status()["phase"] == "RolledBack")
        assert mesh.weights() == {"v1": 0, "v2": 100}
        assert serin.status()["canary"]["version"] == "v1"


async def test_a_deleted_policy_takes_its_canary_back() -> None:
    async with running(quick_mesh()) as serin:
        await serin.until(lambda: serin.status().get("phase") == "Progressing")
        serin.mesh.cluster.delete(POLICY)
        await serin.until(lambda: serin.mesh.weights()["v2"] == 0)
        await serin.until(lambda: [alert.reason for alert in serin.sink.sent] == ["RolledBack"])


async def test_a_deleted_policy_leaves_nothing_in_memory() -> None:
    async with running(quick_mesh()) as serin:
        await serin.until(lambda: serin.status().get("phase") == "Progressing")
        serin.mesh.cluster.delete(POLICY)
        await serin.until(lambda: serin.mesh.weights()["v2"] == 0)
        await serin.until(lambda: not serin.daemon._leaving)
        assert not serin.daemon._runners


async def test_a_deleted_policy_that_keeps_leaves_the_weights_alone() -> None:
    mesh = quick_mesh()
    mesh.set_policy(onDelete="keep")
    async with running(mesh) as serin:
        await serin.until(lambda: serin.status().get("phase") == "Progressing")
        weight = mesh.weights()["v2"]
        mesh.cluster.delete(POLICY)
        await serin.live(10)
        assert mesh.weights()["v2"] == weight


async def test_of_two_policies_on_one_virtual_service_the_older_one_has_it() -> None:
    mesh = quick_mesh()
    mesh.clock.advance(60)
    rival = second_policy(mesh, "a-rival", "helloworld")
    async with running(mesh) as serin:
        await serin.until(lambda: serin.status(rival).get("phase") == "Invalid")
        assert serin.status(rival)["reason"] == "TargetTaken"
        assert "already has a policy, helloworld, which is older" in serin.status(rival)["message"]
        await serin.until(lambda: serin.status().get("phase") == "Progressing")
        mesh.cluster.delete(POLICY)
        await serin.until(lambda: serin.status(rival).get("phase") != "Invalid")


async def test_a_policy_whose_status_is_not_ours_is_left_alone_and_the_others_go_on() -> None:
    mesh = quick_mesh()
    foreign = second_policy(mesh, "foreign", "another")
    mesh.cluster.set_status(foreign, {"turn": 7, "phase": "Sideways"})
    async with running(mesh) as serin:
        await serin.until(lambda: serin.status().get("phase") == "Promoted")
        assert mesh.read(foreign)["status"] == {"turn": 7, "phase": "Sideways"}


async def test_a_policy_that_makes_a_turn_fail_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = quick_mesh()
    second_policy(mesh, "cursed", "another")

    def cursed(cache: ClusterView, policy: CanaryPolicy) -> ObservedTarget | Problem:
        if policy.metadata.name == "cursed":
            raise ZeroDivisionError("a bug")
        return observe_target(cache, policy)

    monkeypatch.setattr("analyzer.app.observe.observe_target", cursed)
    async with running(mesh) as serin:
        await serin.until(lambda: serin.status().get("phase") == "Promoted")
        assert b'serin_turn_failures_total{reason="InvariantViolation"}' in serin.metrics.render("")[0]


async def test_data_on_which_the_judge_fails_stop_no_other_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    def cursed(requests: Sequence[JudgeRequest]) -> list[Assessment]:
        if any(request.settings.harm_budget == 0.5 for request in requests):
            raise FloatingPointError("a bug")
        return judge(requests)

    monkeypatch.setattr("analyzer.app.judging.judge", cursed)
    other = quick_mesh()
    async with running(other) as serin:
        await serin.until(lambda: serin.status().get("phase") == "Progressing")
        other.set_policy(judge={"harmBudget": "50%", "dwell": {"min": "10s"}})
        await serin.until(lambda: (serin.status().get("hold") or {}).get("reason") == "Blind")
        assert "this is a bug of Serin" in serin.status()["hold"]["message"]
        assert other.weights()["v2"] > 0


async def test_without_prometheus_the_weights_stay_and_the_reason_is_shown() -> None:
    mesh = quick_mesh()
    gone = FakeTelemetry(mesh.clock, now_error=MetricsUnavailable("Prometheus at http://p:9090: nothing listens there"))
    async with running(mesh, gone) as serin:
        await serin.until(lambda: (serin.status().get("hold") or {}).get("reason") == "Blind")
        await serin.live(20)
        assert mesh.weights()["v2"] == 10
        assert serin.status()["hold"]["message"] == "Prometheus at http://p:9090: nothing listens there"
        held = next(c for c in serin.status()["conditions"] if c["type"] == "Held")
        assert (held["status"], held["reason"]) == ("True", "Blind")


class Hanging:
    """Telemetry that never answers."""

    async def now_s(self) -> float:
        await asyncio.Event().wait()
        raise AssertionError

    async def fetch(self, query: TelemetryQuery) -> TelemetryWindow:
        raise AssertionError(query)


async def test_hanging_telemetry_does_not_keep_a_dead_canary_in_traffic() -> None:
    mesh = quick_mesh()
    async with running(mesh) as before:
        await before.until(lambda: before.status().get("phase") == "Progressing")
    async with running(mesh, Hanging()) as serin:
        await serin.live(3)
        mesh.settle("v2", ready=0)
        await serin.until(lambda: mesh.weights()["v2"] == 0)
        assert serin.status()["reason"] == "CanaryUnavailable"


async def test_a_refused_rollback_pages_at_once_with_the_command_and_is_made_as_soon_as_it_can_be() -> None:
    mesh = quick_mesh()
    mesh.behaviours["v2"] = Behaviour(error_rate=0.2)

    def refuse(_verb: object, old: Object | None, _new: Object | None) -> None:
        if old is not None and old["kind"] == ROUTE.kind.kind:
            raise WriteRefused('admission webhook "validation.istio.io" denied the request: connection refused')

    allowed = mesh.cluster.admission
    mesh.cluster.admission = refuse
    async with running(mesh) as serin:
        await serin.until(lambda: bool(serin.sink.sent))
        (page,) = serin.sink.sent
        assert (page.reason, page.severity) == ("CannotRollBack", "page")
        assert "denied the request" in page.what
        assert page.command.startswith("kubectl -n helloworld patch virtualservice helloworld --type=json -p '[")
        assert mesh.weights()["v2"] > 0
        mesh.cluster.admission = allowed
        await serin.until(lambda: mesh.weights()["v2"] == 0)
        await serin.until(lambda: [alert.reason for alert in serin.sink.sent] == ["CannotRollBack", "RolledBack"])


async def test_what_turns_bad_while_nothing_can_be_written_is_found_and_pages() -> None:
    mesh = quick_mesh()
    stopped = False

    def refuse(_number: int, method: str, phase: str) -> ClusterUnavailable | None:
        writes = method in {"patch", "replace_status", "create"}
        return ClusterUnavailable("connection refused") if stopped and writes and phase == "before" else None

    async with running(mesh, cluster=FaultyCluster(mesh.cluster, refuse)) as serin:
        await serin.until(lambda: serin.status().get("phase") == "Progressing")
        stopped = True
        await serin.live(20)  # a checkpoint or a step falls due, and cannot be written
        mesh.behaviours["v2"] = Behaviour(error_rate=0.5)
        await serin.until(lambda: bool(serin.sink.sent), scrapes=1_000)
        (page,) = serin.sink.sent
        assert (page.reason, page.severity) == ("CannotRollBack", "page")
        stopped = False
        await serin.until(
            lambda: [alert.reason for alert in serin.sink.sent] == ["CannotRollBack", "RolledBack"], scrapes=1_000
        )
        assert mesh.weights()["v2"] == 0


async def test_a_rollback_that_is_due_is_made_although_the_policy_was_made_invalid_meanwhile() -> None:
    mesh = quick_mesh()
    mesh.behaviours["v2"] = Behaviour(error_rate=0.2)

    def refuse(_verb: object, old: Object | None, _new: Object | None) -> None:
        if old is not None and old["kind"] == ROUTE.kind.kind:
            raise WriteRefused("denied")

    allowed = mesh.cluster.admission
    mesh.cluster.admission = refuse
    async with running(mesh) as serin:
        await serin.until(lambda: serin.status().get("phase") == "RollingBack")
        mesh.set_policy(judge={"bake": 10})  # no unit
        await serin.live(5)
        mesh.cluster.admission = allowed
        await serin.until(lambda: mesh.weights()["v2"] == 0)
        await serin.until(lambda: serin.status()["phase"] == "Invalid")
        assert "judge.bake" in serin.status()["message"]


async def test_a_named_stable_version_does_not_keep_the_roles_from_swapping() -> None:
    mesh = quick_mesh()
    mesh.set_policy(target={"virtualService": "helloworld", "versions": ["v1", "v2"], "stable": "v1"})
    async with running(mesh) as serin:
        await serin.until(lambda: serin.status().get("phase") == "Promoted")
        mesh.release("v1", "v1.next", Behaviour(error_rate=0.3))
        await serin.until(lambda: serin.status()["phase"] == "RolledBack")
        assert serin.status()["canary"]["version"] == "v1"
        assert mesh.weights() == {"v1": 0, "v2": 100}


async def test_a_dry_run_writes_nothing_at_all() -> None:
    mesh = quick_mesh()
    mesh.behaviours["v2"] = Behaviour(error_rate=0.2)
    before = mesh.read(ROUTE), mesh.read(POLICY)
    async with running(mesh, dry_run=True) as serin:
        await serin.until(lambda: bool(serin.sink.sent))
        assert "v2 fails" in serin.sink.sent[0].what
        assert serin.sink.sent[0].done.startswith("Nothing: Serin only observes here")
    assert (mesh.read(ROUTE), mesh.read(POLICY)) == before


async def test_stopping_keeps_the_evidence_and_the_next_life_goes_on_with_it() -> None:
    mesh = quick_mesh()
    async with running(mesh) as serin:
        await serin.until(lambda: serin.status().get("phase") == "Progressing")
        await serin.live(2)
    kept = mesh.read(POLICY)["status"]
    assert kept["checkpoint"]["judgedUntil"] is not None
    assert kept["evidence"]["intervals"] > 0
    async with running(mesh) as again:
        await again.until(lambda: again.status().get("phase") == "Promoted")
        assert again.status()["evidence"]["intervals"] > kept["evidence"]["intervals"]


async def test_changes_of_pods_wake_nobody() -> None:
    changes = Changes()
    changes.note(POD, {"metadata": {"name": "p", "namespace": "n"}})
    changes.note(CANARY_POLICY, {"metadata": {"name": "c", "namespace": "n"}})
    assert await changes.take() == {Ref(CANARY_POLICY, "n", "c")}
