"""The stable version's own latency changes in the middle of a rollout: it was overloaded, and has more pods now."""

import numpy as np
import pytest
from scipy.special import ndtr

from analyzer.core.judge import History, JudgeSettings, Verdict, initial_state, learn
from analyzer.core.judge.course import judge_course
from analyzer.core.judge.prediction import Lesson
from tests.core.judge.worlds import TO_25, Behaviour, World

OVERLOADED = Behaviour(median_ms=30.0, sigma=0.8)
USUAL = Behaviour(median_ms=20.0, sigma=0.4)
SETTINGS = JudgeSettings(warm_up_s=0.0)
PODS = 8
PER_POD = 1_000


def quiet_history(behaviour: Behaviour, edges_ms: tuple[float, ...]) -> History:
    below = ndtr(np.log(np.array(edges_ms) / behaviour.median_ms) / behaviour.sigma)
    share = np.diff(np.concatenate([[0.0], below, [1.0]]))
    n = np.full((240, PODS), PER_POD)
    errors = np.random.default_rng(1).binomial(n, behaviour.errors)
    return History(5.0, n, errors, edges_ms, np.random.default_rng(2).multinomial(n, share / share.sum()))


def verdicts(seed: int, *, slower: float, before: Behaviour) -> list[Verdict]:
    """Judge a canary that is slower by a factor, whose stable version changes after a minute."""
    world = World(seed=seed, rate=20_000.0, seconds=5.0, weight=50.0, pods=(PODS, PODS))
    turns = []
    for number in range(45):
        stable = before if number < 12 else USUAL
        canary = Behaviour(median_ms=slower * stable.median_ms, sigma=stable.sigma)
        turns.append((TO_25, world.interval(canary, stable=stable)))
    state = initial_state(learn(quiet_history(before, world.edges_ms), SETTINGS))
    return [assessment.verdict for assessment in judge_course(state, SETTINGS, turns)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_canary_within_the_tolerance_is_not_rolled_back_when_an_overload_ends(seed: int) -> None:
    assert Verdict.HARM not in verdicts(seed, slower=1.04, before=OVERLOADED)


def test_a_canary_beyond_the_tolerance_is_found_all_the_same() -> None:
    assert Verdict.HARM in verdicts(1, slower=1.15, before=OVERLOADED)


def lesson(slow: int, requests: int) -> Lesson:
    """One interval of a version whose histogram has one edge; channel 0 is errors."""
    return Lesson(np.full((1, 2), 0.9), np.full((1, 2), float(requests)), np.array([[0.0, float(slow)]]))


@pytest.mark.parametrize(
    ("slow", "requests", "kept"),
    [
        (300, 1_000, 0.9),  # as before
        (420, 1_000, 0.9),  # log-odds higher by half: not far
        (700, 1_000, 0.0),
        (20, 1_000, 0.0),
        (7, 10, 0.9),  # as far, but perhaps by chance
    ],
)
def test_the_mean_of_latency_begins_anew_with_an_interval_that_is_far_from_it(
    slow: int, requests: int, kept: float
) -> None:
    n, x = lesson(slow, requests).move(np.full((1, 2), 10_000.0), np.array([[0.0, 3_000.0]]))
    assert n[0, 1] == pytest.approx(requests + kept * 10_000.0)
    assert x[0, 1] == pytest.approx(slow + kept * 3_000.0)
    assert n[0, 0] == pytest.approx(requests + 0.9 * 10_000.0), "errors are another matter"


def test_an_interval_without_requests_changes_nothing() -> None:
    silent = Lesson(np.ones((1, 2)), np.zeros((1, 2)), np.zeros((1, 2)))
    n, x = silent.move(np.full((1, 2), 1e6), np.array([[0.0, 0.0]]))
    assert (n == 1e6).all()
    assert (x == 0.0).all()
