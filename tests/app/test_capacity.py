"""Two HPAs and one set of weights: whole turns against a model whose pods fill up and whose HPAs follow."""

from typing import Any

import pytest

from analyzer.app.reserve import ANNOTATION, LINGERS_S
from analyzer.core.capacity import Samples, fit
from analyzer.core.rollout import HoldReason
from analyzer.ports import HORIZONTAL_POD_AUTOSCALER, Ref
from tests.app.loop import Loop
from tests.app.model import NAMESPACE, POLICY, SCRAPE_S, Behaviour
from tests.app.scaling import FULL, REQUEST_M, ScalingMesh

STAGES = [{"route": "primary", "weights": [10, 30, 60, 90, 100]}]
JUDGE: dict[str, Any] = {
    "dwell": {"min": "30s", "max": "60s"}, "bake": "60s", "harmBudget": "2%", "latency": {"warmUp": "0s"},
}  # fmt: skip


def scaling_loop(*, start: int = 10, startup_s: float = 15.0, **capacity: Any) -> Loop:
    mesh = ScalingMesh(startup_s=startup_s)
    mesh.set_policy(stages=STAGES, judge=JUDGE, capacity=capacity)
    mesh.set_weights(100 - start, start)
    return Loop(mesh)


def told(loop: Loop) -> list[str]:
    return [entry["reason"] for entry in loop.mesh.read(POLICY)["status"]["history"]]


def weight(loop: Loop) -> int:
    return loop.mesh.weights()["v2"]


def mesh_of(loop: Loop) -> ScalingMesh:
    assert isinstance(loop.mesh, ScalingMesh)
    return loop.mesh


async def test_a_harmless_release_is_promoted_without_a_request_that_had_no_pod() -> None:
    loop = scaling_loop(startup_s=60.0)
    await loop.until(lambda: loop.phase == "Promoted", cycles=400)
    mesh = mesh_of(loop)
    assert dict(mesh.refused) == {"v1": 0, "v2": 0}
    assert loop.weights[-1] == 100
    assert len(loop.weights) > 5, f"steps beyond ready pods are split: {loop.weights}"


@pytest.mark.parametrize("lag_scrapes", [0, 3, 6])
async def test_what_pods_carry_is_not_overrated_however_late_the_hpa_sees_their_use(lag_scrapes: int) -> None:
    """While a version loses traffic, its old use set against its new load makes more requests look cheap."""
    loop = scaling_loop()
    mesh_of(loop).metrics_lag_scrapes = lag_scrapes
    seen: list[float] = []
    while loop.phase != "Promoted" and len(seen) < 400:
        await loop.cycle()
        assert loop.phase != "RolledBack", loop.state.message
        seen.append(known_to_carry(loop))
    assert loop.phase == "Promoted"
    assert max(seen) <= 1.05 * FULL
    assert min(seen[20:]) >= 0.9 * FULL
    assert dict(mesh_of(loop).refused) == {"v1": 0, "v2": 0}


def known_to_carry(loop: Loop) -> float:
    """What one pod of the stable version is taken to carry [requests/s]; 0 while nobody knows."""
    assert loop.life is not None
    samples = loop.life.reconciler._capacity._samples.get(("v1", "cpu"), Samples())
    cost = fit(samples)
    return 0.0 if cost is None else cost.load_at(REQUEST_M)


async def test_weights_that_follow_the_proof_take_the_same_bound() -> None:
    loop = scaling_loop(startup_s=60.0)
    loop.mesh.set_policy(stages=[{"route": "primary", "weights": "auto"}])
    await loop.until(lambda: loop.phase == "Promoted", cycles=600)
    assert dict(mesh_of(loop).refused) == {"v1": 0, "v2": 0}
    assert any(weight not in {10, 16, 25, 35, 50, 100} for weight in loop.weights), f"split: {loop.weights}"


async def test_waiting_for_pods_does_not_stop_evidence() -> None:
    loop = scaling_loop(startup_s=120.0)
    await loop.until(lambda: loop.state.hold is not None and loop.state.hold.reason is HoldReason.CAPACITY, cycles=200)
    seen: list[int] = []
    while loop.state.hold is not None and len(seen) < 10:
        assert loop.state.evidence is not None
        seen.append(loop.state.evidence.canary.requests)
        await loop.cycle()
    assert len(seen) > 2
    assert seen == sorted(set(seen)), "each interval adds requests"


async def test_a_step_that_waited_for_pods_is_watched_from_when_its_weight_is_there() -> None:
    loop = scaling_loop(startup_s=120.0)
    await loop.until(lambda: loop.state.hold is not None and loop.state.hold.reason is HoldReason.CAPACITY, cycles=200)
    await loop.until(lambda: weight(loop) == 30, cycles=100)
    for scrapes in range(5):
        await loop.cycle()
        assert weight(loop) == 30
        assert loop.state.evidence is not None
        assert loop.state.evidence.step_seconds <= SCRAPE_S * (scrapes + 1)


async def test_without_the_gate_the_same_release_fails_for_want_of_pods() -> None:
    loop = scaling_loop(startup_s=60.0, mode="off")
    await loop.until(lambda: loop.phase in {"Promoted", "RolledBack"}, cycles=400)
    assert mesh_of(loop).refused["v2"] > 100


async def shrunk(loop: Loop) -> None:
    """Go to 90 % and wait until the stable version's HPA has shrunk it to one pod."""
    await loop.until(lambda: weight(loop) == 90 and mesh_of(loop).ready["v1"] == 1, cycles=400)
    mesh_of(loop).refused.clear()
    mesh_of(loop).failed.clear()


async def failed_by_rollback(error_rate: float, **capacity: Any) -> tuple[int, int, Loop]:
    """Failed by the canary and by overload, from the moment that harm is known until long after."""
    loop = scaling_loop(**capacity)
    await shrunk(loop)
    mesh = mesh_of(loop)
    mesh.behaviours["v2"] = Behaviour(error_rate=error_rate)
    await loop.until(lambda: loop.phase in {"RollingBack", "RolledBack"}, cycles=100)
    mesh.refused.clear()
    mesh.failed.clear()
    for _ in range(60):
        await loop.cycle()
    assert loop.phase == "RolledBack"
    return mesh.failed["v2"], mesh.refused["v1"], loop


async def test_a_rollback_onto_a_shrunk_stable_version_hurts_a_third_of_one_jump() -> None:
    _, by_overload, jumped = await failed_by_rollback(0.2, rollbackWithin="0s")
    assert jumped.weights[-1] == 0
    assert by_overload > 1000
    by_canary, overloaded, ramped = await failed_by_rollback(0.2)
    assert overloaded == 0
    assert by_canary < by_overload / 3
    assert ramped.weights[-1] == 0
    back = ramped.weights[ramped.weights.index(90) + 1 :]
    assert back[0] > 0
    assert back == sorted(back, reverse=True)


async def test_the_stable_version_is_never_given_more_than_its_pods_serve() -> None:
    loop = scaling_loop()
    await shrunk(loop)
    mesh_of(loop).behaviours["v2"] = Behaviour(error_rate=0.3)
    for _ in range(60):
        await loop.cycle()
        mesh = mesh_of(loop)
        assert 200.0 * mesh.in_effect["v1"] / 100 <= mesh.ready["v1"] * FULL
        if loop.phase == "RolledBack":
            break
    assert loop.phase == "RolledBack"
    assert told(loop)[-2:] == ["RollingBack", "RolledBack"]


async def test_an_overloaded_canary_is_eased_and_not_rolled_back() -> None:
    """A pod of the canary vanishes at 60 %: what fails then is no fault of the release."""
    loop = scaling_loop()
    await loop.until(lambda: weight(loop) == 60 and mesh_of(loop).ready["v2"] >= 2, cycles=400)
    for _ in range(8):
        await loop.cycle()
    mesh_of(loop).ready["v2"] = 1
    mesh_of(loop).settle("v2")
    await loop.until(lambda: weight(loop) < 60, cycles=10)
    assert loop.state.reason == "CapacityLost"
    await loop.until(lambda: loop.phase == "Promoted", cycles=400)


async def test_a_service_too_large_for_the_canarys_hpa_is_refused_before_the_first_request() -> None:
    mesh = ScalingMesh(requests_per_s=800.0)
    mesh.ready["v1"] = 10
    mesh.set_policy(stages=STAGES, judge=JUDGE)
    mesh.set_weights(100, 0)
    loop = Loop(mesh)
    await loop.until(lambda: loop.state.hold is not None and loop.state.hold.reason is HoldReason.CAPACITY, cycles=60)
    assert loop.phase == "Pending"
    assert mesh.weights()["v2"] == 0
    assert "maxReplicas" in loop.state.message
    assert told(loop).count("CapacityNeverFits") == 1


# --- the reserve ----------------------------------------------------------------------------------------------------------

STABLE_HPA = Ref(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, "helloworld-v1")


def floor_of(loop: Loop) -> int:
    return int(loop.mesh.read(STABLE_HPA)["spec"].get("minReplicas", 1))


async def test_the_reserve_keeps_the_stable_version_large_while_a_rollout_is_in_flight() -> None:
    loop = scaling_loop(mode="reserve")
    await loop.until(lambda: weight(loop) == 90, cycles=400)
    for _ in range(5):
        await loop.cycle()
    assert floor_of(loop) == 5
    assert mesh_of(loop).ready["v1"] >= 5
    mesh_of(loop).refused.clear()
    mesh_of(loop).behaviours["v2"] = Behaviour(error_rate=0.3)
    await loop.until(lambda: loop.phase == "RolledBack", cycles=60)
    assert loop.weights[-2:] == [90, 0], "all at once: there is room"
    assert mesh_of(loop).refused["v1"] == 0


async def test_the_reserve_outlives_a_rollback_until_the_hpa_has_seen_what_came_back() -> None:
    """An HPA's metrics are old: given back at once, it would shrink the version by what it had before."""
    loop = scaling_loop()
    mesh = mesh_of(loop)
    mesh.metrics_lag_scrapes = 6
    mesh.set_policy(stages=STAGES, judge={**JUDGE, "bake": "10m"}, capacity={"mode": "reserve"})
    await loop.until(lambda: weight(loop) == 90, cycles=400)
    for _ in range(20):
        await loop.cycle()
    mesh.behaviours["v2"] = Behaviour(error_rate=0.3)
    await loop.until(lambda: loop.phase == "RolledBack", cycles=60)
    mesh.refused.clear()
    least = 10
    for _ in range(round(LINGERS_S / SCRAPE_S) + 10):
        await loop.cycle()
        least = min(least, mesh.ready["v1"])
    assert (least, mesh.refused["v1"]) == (5, 0)
    await loop.until(lambda: floor_of(loop) == 1, cycles=80)
    assert mesh.ready["v1"] == 5, "what its HPA itself wants"


async def test_the_reserve_is_given_back_when_the_release_is_promoted() -> None:
    loop = scaling_loop(mode="reserve")
    await loop.until(lambda: loop.phase == "Promoted", cycles=400)
    await loop.cycle()
    hpa = loop.mesh.read(STABLE_HPA)
    assert hpa["spec"]["minReplicas"] == 1
    assert ANNOTATION not in hpa["metadata"].get("annotations", {})


async def test_a_reserve_begun_by_a_life_that_was_killed_is_kept_and_given_back_by_the_next() -> None:
    loop = scaling_loop(mode="reserve")
    await loop.until(lambda: floor_of(loop) == 5, cycles=100)
    loop.life = None  # killed: the next turn is another process
    await loop.until(lambda: loop.phase == "Promoted", cycles=400)
    await loop.cycle()
    assert floor_of(loop) == 1


async def test_a_floor_that_somebody_changed_meanwhile_is_theirs() -> None:
    loop = scaling_loop(mode="reserve")
    await loop.until(lambda: floor_of(loop) == 5, cycles=100)
    change_floor(loop, 3)
    await loop.until(lambda: loop.phase == "Promoted", cycles=400)
    await loop.cycle()
    assert floor_of(loop) == 3


def change_floor(loop: Loop, replicas: int) -> None:
    """Write `minReplicas` as somebody else does."""
    hpa = loop.mesh.read(STABLE_HPA)
    hpa["spec"]["minReplicas"] = replicas
    loop.mesh.cluster.apply(hpa)
