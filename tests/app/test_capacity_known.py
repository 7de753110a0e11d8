"""What a policy knows of its versions' capacity, when it does not know it yet, and what it takes for known."""

import pytest

from analyzer.app.capacity import Throughput, severity_of
from analyzer.core.rollout import HoldReason
from analyzer.ports import HORIZONTAL_POD_AUTOSCALER, Ref
from tests.app.loop import Loop
from tests.app.model import NAMESPACE, POLICY, SCRAPE_S, Behaviour
from tests.app.scaling import FULL
from tests.app.test_capacity import JUDGE, known_to_carry, mesh_of, scaling_loop, shrunk, weight
from tests.app.test_focus import focused


def counted(canary: int, errors: int, *, at_s: float) -> Throughput:
    return Throughput(at_s, 5.0, 500, canary, 0, errors, 500, canary)


def test_severity_is_that_since_harm_began_and_not_the_mean_of_the_time_before() -> None:
    recent = [counted(100, 0, at_s=5.0 * i) for i in range(5)] + [counted(100, 100, at_s=25.0)]
    severity = severity_of(recent)
    assert severity is not None
    assert severity.failing == 1.0
    assert 0.95 < severity.low < severity.high == 1.0


def test_severity_of_lasting_harm_takes_all_that_was_seen_of_it() -> None:
    severity = severity_of([counted(100, 20, at_s=5.0 * i) for i in range(6)])
    assert severity is not None
    assert severity.failing == pytest.approx(0.2)
    assert severity.low < 0.2 < severity.high < 0.25


def test_few_requests_say_little_of_severity() -> None:
    severity = severity_of([counted(4, 1, at_s=0.0)])
    assert severity is not None
    assert severity.low < 0.01
    assert severity.high > 0.7
    assert severity_of([counted(0, 0, at_s=0.0)]) is None


@pytest.mark.parametrize("after", range(0, 40, 10))
async def test_a_new_leader_steps_onto_no_pods_that_are_missing(after: int) -> None:
    """What was cleared is in `.status`; what a request costs dies with the process."""
    loop = scaling_loop(startup_s=90.0)
    await loop.until(lambda: loop.state.hold is not None and loop.state.hold.reason is HoldReason.CAPACITY, cycles=200)
    for _ in range(after):
        await loop.cycle()
    loop.life = None  # killed: the next turn is another process
    mesh = mesh_of(loop)
    for _ in range(40):
        await loop.cycle()
        assert 200.0 * weight(loop) / 100 <= mesh.ready["v2"] * FULL, loop.state.message
    assert dict(mesh.refused) == {"v1": 0, "v2": 0}


async def test_a_new_leader_of_a_service_without_an_hpa_waits_for_nothing() -> None:
    loop = scaling_loop()
    for version in ("v1", "v2"):
        loop.mesh.cluster.delete(Ref(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, f"helloworld-{version}"))
    loop.mesh.behaviours["v2"] = Behaviour()
    mesh_of(loop).ready["v2"] = 5
    await loop.until(lambda: weight(loop) == 60, cycles=200)
    loop.life = None
    await loop.until(lambda: loop.phase == "Promoted", cycles=200)


async def test_each_stages_traffic_is_counted_whichever_is_active() -> None:
    loop, seen = Loop(focused()), set()
    for _ in range(30):
        await loop.cycle()
        assert loop.life is not None
        seen.add(tuple(round(rate) for rate in loop.life.reconciler._capacity._staged()))
    assert seen >= {(0, 1000), (400, 0)}


async def test_a_long_way_back_is_measured_out_by_the_traffic_of_the_moment() -> None:
    """`rollbackWithin: 5m`, and pods that take four: nothing jumps when the last judged interval is two minutes old."""
    loop = scaling_loop(startup_s=240.0, rollbackWithin="5m")
    loop.mesh.set_policy(judge={**JUDGE, "bake": "10m"})
    await loop.until(lambda: weight(loop) == 90 and mesh_of(loop).ready["v1"] == 1, cycles=1500)
    mesh = mesh_of(loop)
    mesh.behaviours["v2"] = Behaviour(error_rate=0.2)
    await loop.until(lambda: loop.phase == "RollingBack", cycles=100)
    mesh.refused.clear()
    began_s = mesh.clock.now_s()
    await loop.until(lambda: loop.phase == "RolledBack", cycles=100)
    assert 180.0 < mesh.clock.now_s() - began_s <= 300.0 + 2 * SCRAPE_S
    assert mesh.refused["v1"] == 0


async def test_an_hpa_that_nobody_renews_teaches_nothing() -> None:
    """Its controller is down after a step: the old use set against the new load would make requests look cheap."""
    loop = scaling_loop()
    await loop.until(lambda: weight(loop) == 60, cycles=200)
    for _ in range(6):
        await loop.cycle()
    mesh_of(loop).autoscale = False
    loop.mesh.set_weights(95, 5)
    for _ in range(30):
        await loop.cycle()
        assert 0.9 * FULL <= known_to_carry(loop) <= 1.05 * FULL


async def deleted(loop: Loop) -> str:
    """Delete the policy; return what its last alert says was done."""
    loop.mesh.cluster.delete(POLICY)
    life = loop.life or loop.begin_life()
    await life.view.refresh()
    assert await life.reconciler.abandon()
    assert weight(loop) == 0
    return life.reconciler.state.course


async def test_a_policy_that_is_deleted_over_a_shrunk_version_says_what_its_one_step_does() -> None:
    loop = scaling_loop()
    await shrunk(loop)
    said = await deleted(loop)
    assert said.startswith("In one step, though v1's 1 ready pod carries 9")
    assert said.endswith("a return in parts would be remembered nowhere, for the policy is gone.")


async def test_a_policy_that_is_deleted_while_its_canary_goes_back_in_parts_leaves_nothing_behind() -> None:
    loop = scaling_loop(startup_s=60.0)
    loop.mesh.set_policy(judge={**JUDGE, "bake": "10m"})
    await shrunk(loop)
    mesh_of(loop).behaviours["v2"] = Behaviour(error_rate=0.2)
    await loop.until(lambda: loop.phase == "RollingBack" and 0 < weight(loop) < 90, cycles=100)
    await deleted(loop)
