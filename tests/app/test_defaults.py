"""`CanaryDefaults` while the daemon runs."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from analyzer.adapters.memory import MemoryCluster
from analyzer.adapters.memory.cluster import KINDS
from analyzer.core.rollout import HoldReason
from analyzer.errors import ObjectMissing
from analyzer.policy.defaults import HOME
from analyzer.ports import CANARY_DEFAULTS, SERVICE, Ref, Severity
from tests.app.loop import POLICY, Loop
from tests.app.model import NAMESPACE, Behaviour, ModelMesh
from tests.app.test_cache import cache_of, following, service, virtually
from tests.app.test_daemon import running
from tests.app.test_turns import quick_mesh
from tests.fakes import FaultyCluster, ManualClock
from tests.golden.scenes import until_told


def set_defaults(mesh: ModelMesh, namespace: str = NAMESPACE, **spec: Any) -> None:
    mesh.cluster.apply(
        {
            "apiVersion": "serin.dev/v1alpha1",
            "kind": "CanaryDefaults",
            "metadata": {"name": "default", "namespace": namespace},
            "spec": spec,
        }
    )


def drop_defaults(mesh: ModelMesh, namespace: str = NAMESPACE) -> None:
    mesh.cluster.delete(Ref(CANARY_DEFAULTS, namespace, "default"))


def shown(mesh: ModelMesh) -> Any:
    return mesh.read(POLICY)["status"]["inherited"]


@pytest.mark.parametrize("namespace", [NAMESPACE, HOME])
async def test_suspended_by_default_no_step_is_made_and_no_evidence_lost(namespace: str) -> None:
    mesh = quick_mesh()
    loop = Loop(mesh)
    await loop.until(lambda: loop.state.evidence is not None)
    rollout = loop.state.rollout
    set_defaults(mesh, namespace, suspend=True)
    for _ in range(20):
        before = loop.state.evidence
        await loop.cycle()
        assert before is not None
        assert loop.state.evidence is not None
        assert loop.state.evidence.intervals >= before.intervals
    assert loop.state.hold is not None
    assert loop.state.hold.reason is HoldReason.PAUSED
    assert shown(mesh) == {"suspend": f"true ({namespace})"}
    assert loop.weights == [10]
    drop_defaults(mesh, namespace)
    await loop.cycle()
    assert shown(mesh) == {}
    assert loop.state.rollout == rollout
    await loop.until(lambda: loop.phase == "Promoted")
    assert loop.weights == [10, 50, 100]


async def test_a_policy_goes_before_its_namespace_and_that_before_the_cluster() -> None:
    mesh = quick_mesh()
    mesh.set_policy(suspend=False)
    set_defaults(mesh, suspend=True, alerts=["shop"], judge={"limits": {"p99": "1s"}})
    set_defaults(mesh, HOME, alerts=["everybody"], judge={"limits": {"errorRate": "5%"}, "dwell": {"min": "1h"}})
    loop = Loop(mesh)
    await loop.until(lambda: loop.phase == "Promoted")
    assert shown(mesh) == {
        "alerts": f'["shop"] ({NAMESPACE})',
        "judge.limits.errorRate": f"5% ({HOME})",
        "judge.limits.p99": f"1s ({NAMESPACE})",
    }


async def test_new_receivers_do_not_disturb_a_rollout() -> None:
    mesh = quick_mesh()
    loop = Loop(mesh)
    await loop.until(lambda: loop.state.evidence is not None and loop.state.evidence.canary.requests > 0)
    rollout, before = loop.state.rollout, loop.state.evidence
    set_defaults(mesh, HOME, alerts=["everybody"])
    await loop.cycle()
    after = loop.state.evidence
    assert loop.state.rollout == rollout
    assert before is not None
    assert after is not None
    assert after.canary.requests > before.canary.requests > 0
    assert shown(mesh) == {"alerts": f'["everybody"] ({HOME})'}


async def test_receivers_and_urgency_by_default_are_those_that_people_are_told_by() -> None:
    mesh = quick_mesh()
    set_defaults(mesh, alerts=["pager"], onRollback="notice")
    mesh.behaviours["v2"] = Behaviour(error_rate=0.2)
    loop = Loop(mesh)
    alerts = await until_told(loop, "RolledBack")
    assert [(each.receivers, each.severity) for each in alerts] == [(("pager",), Severity.NOTICE)]


async def test_what_contradicts_only_together_stops_and_names_both() -> None:
    mesh = quick_mesh()
    loop = Loop(mesh)
    await loop.until(lambda: loop.state.evidence is not None)
    quick = {"bake": "20s", "harmBudget": "1%", "latency": {"warmUp": "10s"}}
    mesh.set_policy(judge={**quick, "dwell": {"max": "1m"}})
    set_defaults(mesh, judge={"dwell": {"min": "2m"}})
    await loop.until(lambda: loop.phase == "Invalid")
    message = mesh.read(POLICY)["status"]["message"]
    assert "`min` (2m) is longer than `max` (1m)" in message
    assert f"with CanaryDefaults: judge.dwell.min: 2m ({NAMESPACE})" in message
    assert loop.weights == [10]
    drop_defaults(mesh)
    await loop.until(lambda: loop.phase == "Promoted")


async def test_a_change_of_defaults_wakes_those_whom_it_concerns() -> None:
    """Nothing is in flight and no timer is due: only the watch can have told."""
    async with running(quick_mesh()) as serin:
        await serin.until(lambda: serin.status().get("phase") == "Promoted")
        set_defaults(serin.mesh, mode="observe", onDelete="keep")
        await serin.until(lambda: serin.status()["inherited"] == {})  # the policy says both itself
        set_defaults(serin.mesh, HOME, suspend=True)
        await serin.until(lambda: serin.status()["inherited"] == {"suspend": f"true ({HOME})"})
        drop_defaults(serin.mesh, HOME)
        await serin.until(lambda: serin.status()["inherited"] == {})


# --- a server without the kind ----------------------------------------------------------------------------------------


def test_where_the_kind_is_not_installed_there_are_no_defaults() -> None:
    async def story() -> None:
        memory = MemoryCluster(ManualClock(), kinds=KINDS - {CANARY_DEFAULTS})
        memory.apply(service("a"))
        cache = cache_of(memory, kinds=(SERVICE, CANARY_DEFAULTS), optional={CANARY_DEFAULTS})
        with capture_logs() as lines:
            async with following(cache):
                await cache.synced.wait()
                await asyncio.sleep(600)
                assert cache.list(CANARY_DEFAULTS) == []
                assert cache.stale_s() < 150.0
        assert lines == []

    virtually(story)


def test_a_kind_that_comes_later_is_found() -> None:
    async def story() -> None:
        memory = MemoryCluster(ManualClock())
        installed = False

        def fault(_number: int, method: str, _phase: str) -> Exception | None:
            missing = method == "list" and not installed
            return ObjectMissing("404: the server could not find the requested resource") if missing else None

        cache = cache_of(
            FaultyCluster(memory, fault), kinds=(CANARY_DEFAULTS,), optional={CANARY_DEFAULTS}, resync_s=30
        )
        async with following(cache):
            await cache.synced.wait()
            installed = True
            memory.apply(
                {
                    "apiVersion": "serin.dev/v1alpha1",
                    "kind": "CanaryDefaults",
                    "metadata": {"name": "default", "namespace": "shop"},
                    "spec": {},
                }
            )
            await asyncio.sleep(61)
            assert [obj["metadata"]["namespace"] for obj in cache.list(CANARY_DEFAULTS)] == ["shop"]
            installed = False  # the server is wrong: what is known stays
            await asyncio.sleep(120)
            assert [obj["metadata"]["namespace"] for obj in cache.list(CANARY_DEFAULTS)] == ["shop"]

    virtually(story)
