"""A course of one rollout is what judging interval by interval is."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.core.judge import (
    Assessment,
    Interval,
    JudgeRequest,
    JudgeSettings,
    JudgeState,
    Step,
    Verdict,
    initial_state,
    judge,
    judge_course,
    learn,
)
from analyzer.core.judge import course as course_module
from tests.core.judge.test_learning import history
from tests.core.judge.worlds import Behaviour, World, counts

Turn = tuple[Step, Interval]
STEPS = (Step("10", 25.0), Step("25", 50.0), Step("50", None))
LIMITED = JudgeSettings(limit_error_rate=0.02, limit_p99_ms=100.0)


def one_by_one(state: JudgeState, strict: JudgeSettings, turns: list[Turn]) -> list[Assessment]:
    answers = []
    for step, interval in turns:
        [answer] = judge([JudgeRequest(state, strict, step, (interval,))])
        answers.append(answer)
        state = answer.state
    return answers


def assert_same(state: JudgeState, strict: JudgeSettings, turns: list[Turn]) -> list[Assessment]:
    course = list(judge_course(state, strict, turns))
    for seen, wanted in zip(course, one_by_one(state, strict, turns), strict=True):
        assert seen.state == wanted.state
        assert seen.verdict is wanted.verdict
        assert repr(seen.evidence) == repr(wanted.evidence)  # NaN, where there were no requests, equals nothing
    return course


def turns_of(
    world: World, count: int, *, canary: Behaviour | None = None, ages: list[float] | None = None
) -> list[Turn]:
    ages = ages or [float("inf")] * count
    return [(STEPS[3 * n // count], world.interval(canary, pod_age_s=ages[n])) for n in range(count)]


def test_a_long_course_equals_its_intervals() -> None:
    answers = assert_same(initial_state(), JudgeSettings(), turns_of(World(seconds=15.0, noise=0.3), 90))
    assert answers[-1].evidence.intervals == 90


@pytest.mark.parametrize("canary", [Behaviour(errors=0.03), Behaviour(median_ms=40.0), Behaviour(completed=0.7)])
@pytest.mark.parametrize("strict", [JudgeSettings(), LIMITED])
def test_harm_comes_at_the_same_interval(canary: Behaviour, strict: JudgeSettings) -> None:
    answers = assert_same(initial_state(), strict, turns_of(World(rate=400.0), 60, canary=canary))
    assert answers[-1].verdict is Verdict.HARM


def test_pods_that_are_born_on_the_way_are_noticed_where_they_are() -> None:
    ages = [*(2.0 * n + 2.0 for n in range(20)), *(2.0 * n + 1.0 for n in range(40))]
    world = World(rate=2000.0)
    turns = turns_of(world, 60, ages=ages)
    grown = [
        (step, replace(one, canary=replace(one.canary, pods=1 if number < 20 else 3)))
        for number, (step, one) in enumerate(turns)
    ]
    assert_same(initial_state(), JudgeSettings(), grown)


def test_what_a_history_taught_is_used() -> None:
    known = initial_state(learn(history(), JudgeSettings()))
    world = World(edges_ms=known.edges_ms, rate=2000.0, pods=(20, 2))
    assert_same(known, LIMITED, turns_of(world, 40, ages=[2.0 * n + 2.0 for n in range(40)]))


def bare(requests: int) -> Interval:
    return Interval(1.0, 15.0, 10.0, (), counts(requests, 0, edges=0), counts(requests // 9, 0, edges=0))


def test_gaps_silence_and_late_histograms_change_nothing() -> None:
    world = World(rate=300.0)
    told = [world.interval() for _ in range(12)]
    quiet = replace(told[0], stable=counts(0, 0, edges=19), canary=counts(0, 0, edges=19))
    course = [*told[:3], quiet, bare(900), *told[3:6], quiet, quiet, *told[6:], bare(0)]
    assert_same(initial_state(), JudgeSettings(), [(STEPS[0], one) for one in course])


@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(
        st.tuples(st.sampled_from([0, 1, 50, 3000, 10**12]), st.sampled_from([0, 1, 400, 10**12]), st.floats(0, 1)),
        min_size=1,
        max_size=12,
    ),
    cut=st.integers(0, 12),
)
@settings(max_examples=40, deadline=None)
def test_whatever_the_counts_and_wherever_it_is_cut(seed: int, sizes: list[tuple[int, int, float]], cut: int) -> None:
    rng = np.random.default_rng(seed)
    turns = []
    for number, (stable, canary, share) in enumerate(sizes):
        sides = [counts(n, int(n * share), slow=int(n * rng.uniform()), edges=3) for n in (stable, canary)]
        aged = replace(sides[1], youngest_pod_age_s=float(rng.choice([5.0, 40.0, np.inf])))
        turns.append((STEPS[number // 5], Interval(15.0 * number, 15.0, 10.0, (5.0, 20.0, 80.0), sides[0], aged)))
    whole = assert_same(initial_state(), LIMITED, turns)
    begun = list(judge_course(initial_state(), LIMITED, turns[:cut]))
    resumed = list(judge_course(begun[-1].state if begun else initial_state(), LIMITED, turns[cut:]))
    assert [answer.state for answer in (*begun, *resumed)] == [answer.state for answer in whole]


def test_no_more_intervals_are_weighed_than_are_asked_for() -> None:
    # Memory stays bounded by the block, not by the course.
    world = World()
    course = judge_course(initial_state(), JudgeSettings(), [(STEPS[0], world.interval()) for _ in range(8)])
    assert next(course).evidence.intervals == 1
    assert next(course).evidence.intervals == 2


def test_foresight_makes_blocks_and_is_not_needed_for_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = turns_of(World(rate=500.0), 30)
    sizes: list[int] = []

    def noted(after: np.ndarray, foreseen: np.ndarray) -> int:
        sizes.append(as_foreseen(after, foreseen))
        return sizes[-1]

    as_foreseen = course_module._as_foreseen
    monkeypatch.setattr(course_module, "_as_foreseen", noted)
    seeing = list(judge_course(initial_state(), JudgeSettings(), turns))
    assert max(sizes) >= 4
    monkeypatch.setattr(course_module, "foresee", lambda record, columns: np.repeat(record, len(columns.seconds)))
    assert list(judge_course(initial_state(), JudgeSettings(), turns)) == seeing
