"""What is looked ahead and back is what the judge does on real requests: the oracle is the judge, on drawn ones."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from analyzer.core.judge import (
    JudgeRequest,
    JudgeSettings,
    JudgeState,
    Step,
    Verdict,
    VersionCounts,
    initial_state,
    judge,
    judge_course,
)
from analyzer.core.judge.outlook import (
    HORIZON,
    SURE,
    Pace,
    found_by_now,
    need_as_so_far,
    need_if_harmless,
    pace_of,
)
from tests.core.judge.worlds import Behaviour, World, counts, feed

STEP = Step("primary/10", 25.0)
STRICT = JudgeSettings()
SEEDS = range(40)
PODS = (4, 2)


def world(seed: int, *, rate: float = 200.0, weight: float = 10.0) -> World:
    return World(seed=seed, rate=rate, weight=weight, seconds=15.0, pods=PODS)


def started(count: int, *, canary: Behaviour | None = None, rate: float = 200.0, weight: float = 10.0) -> JudgeState:
    """Judge so many intervals; they are the same in all tests, so that only what follows is chance."""
    here = world(1_000, rate=rate, weight=weight)
    return feed(initial_state(), [here.interval(canary, stable=Behaviour()) for _ in range(count)], step=STEP).state


def pace(before: JudgeState, weight: float = 10.0) -> Pace:
    found = pace_of(before, weight=weight, seconds=15.0, pods=PODS)
    assert found is not None
    return found


# --- ahead ---


def until_proven(before: JudgeState, *, seed: int, rate: float, weight: float, most: int) -> float:
    """Time that drawn requests of a harmless canary take to their proof [s]; infinity: longer than that."""
    here = world(seed, rate=rate, weight=weight)
    turns = [(STEP, here.interval()) for _ in range(most)]
    verdicts = (answer.verdict for answer in judge_course(before, STRICT, turns))
    return next((15.0 * (n + 1) for n, verdict in enumerate(verdicts) if verdict is Verdict.PROVEN), math.inf)


@pytest.mark.parametrize(("rate", "weight", "watched"), [(200.0, 10.0, 4), (50.0, 10.0, 8), (60.0, 5.0, 8)])
def test_the_time_to_proof_is_about_the_median_of_what_drawn_requests_take(
    rate: float, weight: float, watched: int
) -> None:
    before = started(watched, rate=rate, weight=weight)
    need = need_if_harmless(before, STRICT, STEP, pace(before, weight))
    assert need.verdict is Verdict.PROVEN
    most = int(4 * need.seconds / 15.0) + 10
    took = [until_proven(before, seed=seed, rate=rate, weight=weight, most=most) for seed in SEEDS]
    assert 0.6 * need.seconds - 30.0 <= np.median(took) <= 1.6 * need.seconds + 30.0
    assert need.canary_requests == pytest.approx(rate * weight / 100.0 * need.seconds, rel=0.05)


def test_a_canary_that_goes_on_failing_is_foreseen_to_be_rolled_back() -> None:
    before = started(3, canary=Behaviour(errors=0.006))
    as_so_far, if_harmless = (look(before, STRICT, STEP, pace(before)) for look in (need_as_so_far, need_if_harmless))
    assert as_so_far.verdict is Verdict.HARM
    assert if_harmless.verdict is Verdict.PROVEN
    assert if_harmless.seconds > as_so_far.seconds


def test_proof_that_will_not_come_is_said_to_be_beyond_the_horizon() -> None:
    before = started(8, rate=0.5)
    need = need_if_harmless(before, STRICT, STEP, pace(before))
    assert need.verdict is Verdict.INCONCLUSIVE
    assert need.seconds == HORIZON * 15.0


def test_the_pace_is_that_of_the_step_and_its_weight_shares_the_requests_out() -> None:
    before = started(8)
    seen = pace(before, weight=40.0)
    assert seen.canary / (seen.canary + seen.stable) == pytest.approx(0.4)
    assert seen.canary + seen.stable == pytest.approx(200.0 * 15.0, rel=0.05)


# --- back ---


class StraightWorld(World):
    """Latency whose log-odds fall straight with log(latency): nothing is lost by reading it off a few edges."""

    def _counts(self, behaviour: Behaviour, sent: int, *, pods: int) -> VersionCounts:
        drawn = super()._counts(behaviour, sent, pods=pods)
        below = expit(np.log(np.array(self.edges_ms) / behaviour.median_ms) / (0.55 * behaviour.sigma))
        share = np.diff(np.concatenate([[0.0], below, [1.0]]))
        return replace(drawn, latency_counts=self.rng.multinomial(drawn.requests, share / share.sum()))


def share_found(worlds: list[World], canary: Behaviour, *, count: int) -> float:
    """Share of rollouts with such a canary that drawn requests have found after so many intervals."""
    stable = Behaviour()
    courses = [tuple(here.interval(canary, stable=stable) for _ in range(count)) for here in worlds]
    answers = judge([JudgeRequest(initial_state(), STRICT, STEP, course) for course in courses])
    return sum(answer.verdict is Verdict.HARM for answer in answers) / len(answers)


def errors_found(errors: float, *, count: int, rate: float) -> float:
    return share_found([world(seed, rate=rate) for seed in SEEDS], Behaviour(errors=errors), count=count)


def slowness_found(slower: float, *, count: int) -> float:
    worlds: list[World] = [StraightWorld(seed=seed, seconds=15.0, pods=PODS) for seed in SEEDS]
    return share_found(worlds, Behaviour(median_ms=20.0 * slower), count=count)


@pytest.mark.parametrize(("count", "rate"), [(10, 200.0), (40, 200.0), (40, 50.0)])
def test_the_error_rate_that_would_have_been_found_is_found_that_often(count: int, rate: float) -> None:
    found = found_by_now(started(count, rate=rate), STRICT, pods=PODS)
    assert found is not None
    assert found.error_rate is not None
    assert errors_found(found.error_rate, count=count, rate=rate) >= SURE - 0.05
    assert errors_found(0.5 * found.error_rate, count=count, rate=rate) < SURE - 0.1


@pytest.mark.parametrize("count", [10, 40])
def test_the_slowness_that_would_have_been_found_is_found_that_often(count: int) -> None:
    here = StraightWorld(seed=1_000, seconds=15.0, pods=PODS)
    before = feed(initial_state(), [here.interval() for _ in range(count)], step=STEP).state
    found = found_by_now(before, STRICT, pods=PODS)
    assert found is not None
    assert found.slower is not None
    assert slowness_found(found.slower, count=count) >= SURE - 0.05
    assert slowness_found(math.sqrt(found.slower), count=count) < SURE - 0.1


def test_more_time_finds_smaller_regressions() -> None:
    rates = [found_by_now(started(count), STRICT, pods=PODS) for count in (3, 10, 40)]
    errors = [found.error_rate for found in rates if found is not None and found.error_rate is not None]
    assert errors == sorted(set(errors), reverse=True)
    assert len(errors) == 3


# --- both ---


def test_looking_ahead_and_back_changes_nothing_and_says_the_same_twice() -> None:
    before = started(5)
    kept = before.record
    said = [(need_if_harmless(before, STRICT, STEP, pace(before)), found_by_now(before, STRICT)) for _ in range(2)]
    assert said[0] == said[1]
    assert before.record == kept


def test_of_nothing_nothing_is_said() -> None:
    assert pace_of(initial_state(), weight=10.0) is None
    assert found_by_now(initial_state(), STRICT) is None
    unreached = feed(initial_state(), [replace(world(1).interval(), canary=counts(0, 0, edges=19)) for _ in range(3)])
    assert found_by_now(unreached.state, STRICT) is None
