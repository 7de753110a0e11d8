"""Weights that are written and not in effect: istiod is down, and the proxies go on with what they have."""

from dataclasses import replace

import pytest

from analyzer.app.splits import NOTHING, Split, mark_old_splits
from analyzer.core.judge import Interval
from analyzer.core.rollout import HoldReason
from tests.app.loop import POLICY, Loop
from tests.app.test_turns import QUICK, quick_mesh
from tests.core.judge.worlds import Behaviour, World


async def without_istiod(*, start: int = 10, **judge: object) -> Loop:
    """Bring a rollout to where its next weight is about to be written, and stop istiod."""
    mesh = quick_mesh()
    mesh.set_policy(judge={**QUICK["judge"], **judge})
    if start == 0:
        mesh.set_weights(100, 0)
        mesh.scrape()
    loop = Loop(mesh)
    await loop.until(lambda: loop.phase == ("Progressing" if start else "Pending"))
    mesh.istiod_up = False
    return loop


def held(loop: Loop) -> bool:
    return loop.state.hold is not None and loop.state.hold.reason is HoldReason.SAMPLE_RATIO


def told(loop: Loop, reason: str) -> list[bool]:
    """Alerts of a reason, by whether they resolve it."""
    history = loop.mesh.read(POLICY)["status"]["history"]
    return ["share of the requests that its weight says" in e["message"] for e in history if e["reason"] == reason]


@pytest.mark.parametrize("start", [0, 10])
async def test_a_weight_that_is_not_in_effect_holds_and_is_no_harm(start: int) -> None:
    loop = await without_istiod(start=start)
    await loop.until(lambda: held(loop))
    reached = loop.weights[-1]
    for _ in range(24):
        await loop.cycle()
        assert held(loop)
    assert loop.weights[-1] == reached
    assert loop.phase == "Progressing"
    assert f"v2 should get {reached} % of the requests by its weight and got" in loop.state.message
    assert told(loop, "SampleRatio") == [False]


@pytest.mark.parametrize("start", [0, 10])
async def test_the_rollout_goes_on_when_the_weights_take_effect(start: int) -> None:
    loop = await without_istiod(start=start)
    await loop.until(lambda: held(loop))
    for _ in range(24):
        await loop.cycle()
    loop.mesh.istiod_up = True
    await loop.until(lambda: loop.phase == "Promoted")
    assert loop.weights[-2:] == [50, 100]
    assert told(loop, "SampleRatio") == [False, True]


async def test_a_weight_not_in_effect_dwells_from_when_it_is() -> None:
    loop = await without_istiod()
    await loop.until(lambda: held(loop))
    assert loop.state.evidence is not None
    before_s = loop.state.evidence.step_seconds
    for _ in range(10):
        await loop.cycle()
    assert loop.state.evidence.step_seconds == before_s


async def test_harm_rolls_back_though_the_weights_are_not_in_effect() -> None:
    loop = await without_istiod()
    await loop.until(lambda: held(loop))
    loop.mesh.behaviours["v2"].error_rate = 0.2
    await loop.until(lambda: loop.phase == "RolledBack" or loop.weights[-1] == 0, cycles=20)


async def test_a_mismatch_that_lasts_pages_once() -> None:
    loop = await without_istiod()
    loop.mesh.set_policy(deadlines={"blind": "1m"})
    await loop.until(lambda: bool(told(loop, "SampleRatioLasts")))
    for _ in range(12):
        await loop.cycle()
    assert told(loop, "SampleRatioLasts") == [False]


async def test_a_hold_that_lasts_is_written_no_oftener_than_evidence_is() -> None:
    loop = await without_istiod()
    await loop.until(lambda: held(loop))
    written = loop.mesh.read(POLICY)["status"]["turn"]
    for _ in range(24):
        await loop.cycle()
    assert loop.mesh.read(POLICY)["status"]["turn"] - written <= 5  # two minutes, a checkpoint each 30 s


async def test_users_that_stick_are_not_held_to_the_weights() -> None:
    loop = await without_istiod(stickyUsers=True)
    for _ in range(20):
        await loop.cycle()
        assert not held(loop)


async def test_a_hold_stands_in_turns_that_ask_no_telemetry_and_in_a_new_life() -> None:
    loop = await without_istiod()
    await loop.until(lambda: held(loop))
    assert loop.life is not None
    await loop.life.view.refresh()
    await loop.life.reconciler.turn(None)
    assert held(loop)
    loop.life = None
    for _ in range(8):
        await loop.cycle()
    assert held(loop)
    assert told(loop, "SampleRatio") == [False]


async def test_of_a_quiet_service_several_intervals_tell_together() -> None:
    mesh = quick_mesh()
    mesh.requests_per_s = 4.0
    mesh.behaviours["v1"].error_rate = mesh.behaviours["v2"].error_rate = 0.0
    mesh.set_policy(judge={**QUICK["judge"], "dwell": {"min": "10s", "max": "30s"}})
    loop = Loop(mesh)
    await loop.until(lambda: loop.phase == "Progressing")
    mesh.istiod_up = False
    await loop.until(lambda: held(loop))
    assert loop.weights[-1] == 50
    for _ in range(60):
        await loop.cycle()
    assert held(loop)


def is_old(interval: Interval, *, before: float, seen: Split = NOTHING) -> bool:
    [marked] = mark_old_splits([interval], before=before, seen=seen)
    return not marked.in_effect


@pytest.mark.parametrize(("weight", "split_by", "before", "same"), [
    (50.0, 10.0, 10.0, True),
    (50.0, 50.0, 10.0, False),
    (50.0, 25.0, 10.0, False),  # neither: it may well be the canary
    (10.0, 0.0, 0.0, True),
    (10.0, 10.0, 0.0, False),
    (10.0, 10.0, 10.0, False),
])  # fmt: skip
def test_only_the_very_share_of_the_old_weight_is_taken_for_it(
    weight: float, split_by: float, before: float, *, same: bool
) -> None:
    world = World(rate=1000.0, seconds=5.0, weight=split_by)
    interval = world.interval()
    assert is_old(replace(interval, weight=weight), before=before) is same


@pytest.mark.parametrize("seed", range(20))
def test_a_few_requests_are_not_taken_for_an_old_split(seed: int) -> None:
    world = World(seed=seed, rate=1.0, seconds=15.0, weight=50.0)
    assert not is_old(world.interval(), before=10.0), f"seed {seed}"


def test_a_canary_that_hangs_half_of_its_requests_is_not_taken_for_an_old_split() -> None:
    world = World(rate=1000.0, seconds=5.0, weight=50.0)
    interval = world.interval(Behaviour(completed=0.5))
    assert not is_old(interval, before=10.0)


def test_what_the_step_has_seen_helps_an_interval_that_cannot_tell_by_itself() -> None:
    world = World(seed=4, rate=1.0, seconds=10.0, weight=10.0)
    few = replace(world.interval(), weight=50.0)
    assert not is_old(few, before=10.0)
    assert is_old(few, before=10.0, seen=Split(stable=45, canary=5))
    assert not is_old(few, before=10.0, seen=Split(stable=45, canary=45))


def test_an_interval_of_the_new_split_is_not_taken_for_an_old_one_because_of_those_before() -> None:
    world = World(rate=1000.0, seconds=5.0, weight=50.0)
    assert not is_old(world.interval(), before=10.0, seen=Split(stable=900_000, canary=100_000))


async def test_what_another_writer_shared_out_raises_no_doubt_about_the_weights() -> None:
    mesh = quick_mesh()
    loop = Loop(mesh)
    await loop.until(lambda: loop.phase == "Progressing")
    mesh.set_weights(40, 60)
    for _ in range(6):
        await loop.cycle()
    assert loop.state.hold is not None
    assert loop.state.hold.reason is HoldReason.DRIFT
    mesh.set_weights(90, 10)
    await loop.until(lambda: loop.phase == "Promoted")
    assert told(loop, "SampleRatio") == []
