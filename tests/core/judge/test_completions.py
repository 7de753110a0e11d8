import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from analyzer.core.judge import Channel, Step, Verdict, completions, initial_state
from tests.core.judge.worlds import Behaviour, World, counts, feed


def of(value: float) -> np.ndarray:
    return np.array([value])


def share(weight: float, kept: float) -> float:
    w = weight / 100.0
    return w * kept / (w * kept + 1.0 - w)


def expectation(log_e: np.ndarray, n: int, *, weight: float, kept: float) -> np.ndarray:
    return np.asarray(binom.pmf(np.arange(n + 1), n, share(weight, kept)) @ np.exp(log_e))


N = 60
N2 = np.arange(N + 1.0)


@pytest.mark.parametrize("weight", [1.0, 10.0, 50.0, 90.0])
@pytest.mark.parametrize("kept", [0.9, 0.95, 1.0, 1.3])
@pytest.mark.parametrize("load", [0.0, 0.02])
def test_harm_expects_at_most_one_where_the_canary_answers_what_is_tolerated(
    weight: float, kept: float, load: float
) -> None:
    log_e = completions.harm(N - N2, N2, np.full(N + 1, weight), load=np.full(N + 1, load))
    assert (expectation(log_e, N, weight=weight, kept=kept) <= 1.0 + 1e-12).all()


@pytest.mark.parametrize("weight", [1.0, 10.0, 50.0])
@pytest.mark.parametrize("kept", [0.85, 0.8, 0.3])
def test_proof_expects_at_most_one_where_the_canary_loses_requests(weight: float, kept: float) -> None:
    log_e = completions.proof(N - N2, N2, np.full(N + 1, weight))
    assert expectation(log_e, N, weight=weight, kept=kept) <= 1.0 + 1e-12


@pytest.mark.parametrize("weight", [1.0, 10.0, 50.0])
def test_the_sample_ratio_expects_at_most_one_where_the_weights_are_in_effect(weight: float) -> None:
    log_e = completions.sample_ratio(N - N2, N2, np.full(N + 1, weight))
    assert (expectation(log_e, N, weight=weight, kept=1.0) <= 1.0 + 1e-12).all()


@pytest.mark.parametrize("weight", [0.0, 100.0, -5.0, 250.0])
def test_a_weight_that_splits_nothing_says_nothing(weight: float) -> None:
    assert completions.harm(of(10.0), of(5.0), of(weight), load=of(0.0)) == pytest.approx(0.0)
    assert completions.proof(of(10.0), of(5.0), of(weight)) == pytest.approx(0.0)
    assert completions.sample_ratio(of(10.0), of(5.0), of(weight)) == pytest.approx(0.0)


def test_users_that_stick_are_tolerated_the_more_the_smaller_the_weight() -> None:
    kept = completions.tolerated(np.array([1.0, 10.0, 50.0]), np.full(3, 0.013))
    assert (np.diff(kept) > 0).all()
    assert kept[0] == pytest.approx(completions.TOLERATED * math.exp(-3.0 * 0.013 * math.sqrt(99.0)))
    assert completions.tolerated(of(10.0), of(0.0)) == pytest.approx(completions.TOLERATED)


def test_proof_takes_half_a_minute_at_20_requests_per_second() -> None:
    # The mean of log e per second at 10 % of 200 requests/s, as the canary completes everything.
    per_second = completions.proof(of(180.0), of(20.0), of(10.0))[0]
    assert math.log(20.0) / per_second < 30.0


def test_a_canary_that_hangs_a_fifth_is_found_without_one_error() -> None:
    world = World(rate=1000.0, seconds=15.0, weight=10.0)
    answer = feed(initial_state(), [world.interval(Behaviour(errors=0.0, completed=0.8)) for _ in range(12)])
    assert answer.verdict is Verdict.HARM
    assert answer.evidence.culprit is Channel.COMPLETIONS


@pytest.mark.parametrize(("completed", "suspicious"), [(1.0, False), (0.8, True)])
def test_the_sample_ratio_is_evidence_of_its_own(completed: float, *, suspicious: bool) -> None:
    world = World(rate=1000.0, seconds=15.0, weight=10.0)
    stable = Behaviour(completed=completed)  # then the canary gets more than its weight
    answer = feed(initial_state(), [world.interval(Behaviour(), stable=stable) for _ in range(20)])
    assert (answer.evidence.sample_ratio_log_e > 5.0) is suspicious
    assert answer.verdict is not Verdict.HARM


def test_the_sample_ratio_clears_when_the_weights_are_in_effect_again() -> None:
    world = World(rate=1000.0, seconds=5.0, weight=10.0)
    stale = replace(world.interval(), canary=counts(0, 0, edges=len(world.edges_ms)), in_effect=False)
    doubtful = feed(initial_state(), [replace(stale, end_s=5.0 * n) for n in range(24)])
    assert doubtful.evidence.sample_ratio_log_e > math.log(1e4)
    assert doubtful.verdict is not Verdict.HARM
    cleared = feed(doubtful.state, [world.interval() for _ in range(24)])
    assert cleared.evidence.sample_ratio_log_e < 1.0


def test_a_week_of_good_intervals_does_not_delay_what_a_stale_proxy_shows() -> None:
    world = World(rate=1000.0, seconds=15.0, weight=10.0)
    good = [world.interval() for _ in range(10)]
    settled = feed(initial_state(), good * 100)
    world.weight = 5.0
    stale = feed(settled.state, [replace(world.interval(), weight=10.0) for _ in range(2)])
    assert stale.evidence.sample_ratio_log_e > math.log(1e4)


def test_a_new_step_doubts_its_weight_anew() -> None:
    world = World(rate=1000.0, seconds=15.0, weight=5.0)
    doubtful = feed(initial_state(), [replace(world.interval(), weight=10.0) for _ in range(5)])
    assert doubtful.evidence.sample_ratio_log_e > math.log(1e4)
    moved = feed(doubtful.state, [], step=Step("primary/25", 50.0))
    assert moved.evidence.sample_ratio_log_e == 0.0


def test_requests_missing_at_a_weight_that_is_not_in_effect_are_no_harm_and_no_proof() -> None:
    world = World(rate=1000.0, seconds=15.0, weight=10.0)
    old = [replace(world.interval(), weight=50.0, in_effect=False) for _ in range(20)]
    answer = feed(initial_state(), old)
    assert answer.verdict is Verdict.INCONCLUSIVE
    assert answer.evidence.channels[Channel.COMPLETIONS] == pytest.approx(0.0, abs=1e-6)
    assert answer.evidence.proof["completions"] < answer.evidence.log_proof_threshold
    assert (answer.evidence.intervals, answer.evidence.step_intervals) == (20, 0)
    taken_at_its_word = feed(initial_state(), [replace(interval, in_effect=True) for interval in old])
    assert taken_at_its_word.verdict is Verdict.HARM


@pytest.mark.parametrize("seed", range(5))
def test_the_sample_ratio_seldom_doubts_weights_that_are_in_effect(seed: int) -> None:
    world = World(seed=seed, rate=200.0, seconds=5.0, weight=10.0)
    state, most = initial_state(), 0.0
    for _ in range(40):
        answer = feed(state, [world.interval() for _ in range(10)])
        state, most = answer.state, max(most, answer.evidence.sample_ratio_log_e)
    assert most < math.log(1e4), f"seed {seed}"


def test_the_sample_ratio_is_the_mean_over_its_ratios_rollout_by_rollout() -> None:
    log_e = np.array([[0.0, 1.0, -2.0, 0.5, 3.0, -1.0], [50.0, -60.0, 0.0, 1.0, 2.0, 3.0]], dtype=np.float32)
    assert completions.ratio_evidence(log_e) == pytest.approx(np.log(np.exp(log_e.astype(float)).mean(axis=1)))
