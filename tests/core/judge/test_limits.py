import numpy as np
import pytest
from scipy.stats import binom

from analyzer.core.judge import Channel, JudgeSettings, Verdict, initial_state, limits
from tests.core.judge.worlds import Behaviour, World, feed

ERRORS_AT_MOST = JudgeSettings(warm_up_s=0.0, limit_error_rate=0.05)
P99_AT_MOST = JudgeSettings(warm_up_s=0.0, limit_p99_ms=400.0)


def of(value: float) -> np.ndarray:
    return np.array([value])


@pytest.mark.parametrize("n", [1, 7, 60])
@pytest.mark.parametrize("limit", [0.001, 0.01, 0.3, 0.9])
@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_the_evidence_expects_at_most_one_up_to_the_limit(n: int, limit: float, part: float) -> None:
    x = np.arange(n + 1.0)
    log_e = limits.evidence(x, np.full(n + 1, float(n)), limit=np.full(n + 1, limit), phi=np.ones(n + 1))
    assert (binom.pmf(np.arange(n + 1), n, part * limit) @ np.exp(log_e) <= 1.0 + 1e-12).all()


def test_no_limit_gives_no_evidence() -> None:
    assert (limits.evidence(of(9.0), of(9.0), limit=of(np.nan), phi=of(1.0)) == 0.0).all()
    assert (limits.evidence(of(9.0), of(9.0), limit=of(1.0), phi=of(1.0)) == 0.0).all()


def test_the_p99_is_looked_for_at_the_lowest_edge_that_is_high_enough() -> None:
    edges = np.tile([100.0, 250.0, 500.0], (4, 1))
    channel, share = limits.p99_rows(edges, np.array([400.0, 100.0, 501.0, np.nan]))
    assert channel.tolist()[:2] == [3, 1]
    assert share[:2] == pytest.approx([0.01, 0.01])
    assert np.isnan(share[2:]).all()


def test_a_canary_above_the_limit_is_harmful_even_if_the_stable_version_is_no_better() -> None:
    bad = Behaviour(errors=0.1)
    world = World(rate=500.0, seconds=15.0)
    intervals = [world.interval(bad, stable=bad) for _ in range(20)]
    answer = feed(initial_state(), intervals, settings=ERRORS_AT_MOST)
    assert answer.verdict is Verdict.HARM
    assert answer.evidence.culprit is Channel.LIMITS
    assert set(answer.evidence.limits) == {"error rate"}
    assert answer.evidence.channels[Channel.LIMITS] == answer.evidence.limits["error rate"]
    assert feed(initial_state(), intervals).verdict is not Verdict.HARM


def test_a_p99_above_the_limit_is_harmful() -> None:
    slow = Behaviour(median_ms=400.0)
    world = World(rate=500.0, seconds=15.0)
    answer = feed(initial_state(), [world.interval(slow, stable=slow) for _ in range(8)], settings=P99_AT_MOST)
    assert answer.verdict is Verdict.HARM
    assert answer.evidence.culprit is Channel.LIMITS
    assert set(answer.evidence.limits) == {"p99"}


def test_a_limit_needs_nobody_to_compare_with() -> None:
    """Users of a stage that is through are all on the canary."""
    world = World(rate=500.0, weight=100.0)
    answer = feed(initial_state(), [world.interval(Behaviour(errors=0.3)) for _ in range(5)], settings=ERRORS_AT_MOST)
    assert (answer.verdict, answer.evidence.culprit) == (Verdict.HARM, Channel.LIMITS)
    assert answer.evidence.stable.requests == 0


@pytest.mark.parametrize("settings", [ERRORS_AT_MOST, P99_AT_MOST])
def test_a_canary_within_the_limits_is_not(settings: JudgeSettings) -> None:
    world = World(rate=500.0, seconds=15.0)
    close = Behaviour(errors=0.045, median_ms=150.0)
    answer = feed(initial_state(), [world.interval(close, stable=close) for _ in range(60)], settings=settings)
    assert answer.verdict is not Verdict.HARM


def test_without_limits_there_is_nothing_to_tell_of_them() -> None:
    answer = feed(initial_state(), [World().interval()])
    assert answer.evidence.limits == {}
    assert Channel.LIMITS not in answer.evidence.channels


def test_a_limit_beyond_the_histogram_says_nothing() -> None:
    world = World(rate=500.0, seconds=15.0)
    world.edges_ms = (10.0, 20.0, 40.0)
    beyond = JudgeSettings(warm_up_s=0.0, limit_p99_ms=100.0)
    slow = Behaviour(median_ms=400.0)
    answer = feed(initial_state(), [world.interval(slow, stable=slow) for _ in range(8)], settings=beyond)
    assert answer.evidence.limits["p99"] == pytest.approx(0.0, abs=1e-6)


def test_the_evidence_is_that_of_the_likelihood_tempered() -> None:
    # 30 of 100 against a limit of 10 %: x ln m - n limit (m - 1), m up to 1 / limit.
    log_e = limits.evidence(of(30.0), of(100.0), limit=of(0.1), phi=of(1.0))[0]
    assert log_e[2] == pytest.approx(30 * np.log(2.5) - 100 * 0.1 * 1.5)
    assert log_e[-1] == pytest.approx(30 * np.log(10.0) - 100 * 0.1 * 9.0)
    assert limits.evidence(of(30.0), of(100.0), limit=of(0.1), phi=of(4.0))[0] == pytest.approx(log_e / 4.0)


def test_a_limit_of_nothing_at_all_is_a_limit() -> None:
    assert (limits.evidence(of(1.0), of(100.0), limit=of(0.0), phi=of(1.0)) > 0.0).any()
    assert np.isfinite(limits.evidence(of(1.0), of(100.0), limit=of(0.0), phi=of(1.0))).all()


def test_without_a_histogram_there_is_no_edge_for_the_p99() -> None:
    channel, share = limits.p99_rows(np.empty((2, 0)), np.array([100.0, np.nan]))
    assert channel.tolist() == [0, 0]
    assert np.isnan(share).all()
