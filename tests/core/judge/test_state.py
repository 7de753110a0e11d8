import base64
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.core.judge import JudgeState, Step, dump_state, initial_state, load_state
from tests.core.judge.worlds import Behaviour, World, feed


def test_the_initial_state_survives_storing() -> None:
    assert load_state(dump_state(initial_state())) == initial_state()


@given(seed=st.integers(0, 10_000), cuts=st.sets(st.integers(0, 10)))
@settings(max_examples=12, deadline=None)
def test_storing_restoring_and_going_on_equals_never_having_stopped(seed: int, cuts: set[int]) -> None:
    world = World(seed=seed)
    intervals = [world.interval(Behaviour(errors=0.02)) for _ in range(10)]
    unbroken = broken = initial_state()
    for number, interval in enumerate(intervals):
        step = Step(key=f"primary/{number // 4}", next_weight=25.0)
        unbroken = feed(unbroken, [interval], step=step).state
        broken = load_state(dump_state(broken)) if number in cuts else broken
        broken = feed(broken, [interval], step=step).state
    assert broken == unbroken
    assert broken.record == unbroken.record


LADDER = (5.0, 7.0, 10.0, 16.0, 25.0, 35.0, 50.0, 100.0)


@given(seed=st.integers(0, 10_000), cuts=st.sets(st.integers(0, 12)))
@settings(max_examples=12, deadline=None)
def test_a_ramp_that_is_stored_and_restored_midway_equals_one_that_never_stopped(seed: int, cuts: set[int]) -> None:
    world = World(seed=seed)
    unbroken = broken = initial_state()
    steps = [Step(f"0:{w:g}:Progressing", following, LADDER) for w, following in ((1, 5.0), (7, 10.0), (35, 50.0))]
    for number in range(12):
        interval = world.interval(Behaviour(errors=0.002))
        step = steps[number // 4]
        unbroken = feed(unbroken, [interval], step=step).state
        broken = load_state(dump_state(broken)) if number in cuts else broken
        broken = feed(broken, [interval], step=step).state
    assert broken == unbroken


def test_a_long_ramp_with_nineteen_edges_fits_into_four_kilobytes() -> None:
    world = World(rate=3000.0, noise=0.5)
    wide = Behaviour(median_ms=200.0, sigma=3.0)
    step = Step("0:16:Progressing", 25.0, LADDER)
    state = feed(initial_state(), [world.interval(wide, stable=wide) for _ in range(300)], step=step).state
    assert state.ladder == LADDER
    assert len(dump_state(state)) <= 4096


def test_a_long_rollout_with_nineteen_edges_fits_into_four_kilobytes() -> None:
    world = World(rate=3000.0, noise=0.5)
    wide = Behaviour(median_ms=200.0, sigma=3.0)  # so that every edge has evidence of its own
    state = feed(initial_state(), [world.interval(wide, stable=wide) for _ in range(300)]).state
    assert len(state.edges_ms) == 19
    assert len(dump_state(state)) <= 4096


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must begin with '3.'"),
        ("garbage", "must begin with '3.'"),
        ("1.AAAA", "must begin with '3.', found '1.AAAA'"),
        ("3.", "damaged"),
        ("3.&&&&", "damaged"),
        ("3.AAAA", "damaged"),
        ("3." + base64.b64encode(zlib.compress(b"\x01")).decode(), "damaged"),
        (
            "3." + base64.b64encode(zlib.compress(b"\x02\x00\x00\x00\x00\x00" + bytes(16))).decode(),
            "do not fit 2 histogram edges",
        ),
        ("3." + base64.b64encode(zlib.compress(bytes(1 << 20))).decode(), "longer than any state"),
    ],
)
def test_text_that_is_no_state_is_refused_with_the_way_out(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"remove it to judge this rollout anew") as caught:
        load_state(text)
    assert why in str(caught.value)


def test_a_state_that_is_cut_off_is_refused() -> None:
    text = dump_state(feed(initial_state(), [World().interval()]).state)
    for kept in range(2, len(text), 97):
        with pytest.raises(ValueError, match="damaged"):
            load_state(text[:kept])


def test_a_state_with_impossible_numbers_is_refused() -> None:
    good = feed(initial_state(), [World().interval()]).state
    with pytest.raises(ValueError, match="numbers that no judge writes"):
        load_state(dump_state(JudgeState(good.edges_ms, good.step_key, b"\xff" * len(good.record))))
    with pytest.raises(ValueError, match="numbers that no judge writes"):
        load_state(dump_state(JudgeState(good.edges_ms[::-1], good.step_key, good.record)))


@given(st.text(max_size=80))
def test_any_other_text_is_refused(text: str) -> None:
    for candidate in (text, "3." + text):
        with pytest.raises(ValueError, match="stored evidence"):
            load_state(candidate)
