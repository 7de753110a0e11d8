import math

import numpy as np
import pytest
from scipy.stats import beta, binom

from analyzer.core.judge import (
    ISTIO_EDGES_MS,
    JudgeSettings,
    dispersion,
    harm,
    initial_state,
    noninferiority,
    tolerance,
)
from analyzer.core.judge.evalues import Tables
from analyzer.core.judge.rates import clopper_pearson, quantiles
from tests.core.judge.worlds import Behaviour, World, feed


def row(*values: float) -> np.ndarray:
    return np.array([values], dtype=np.float64)


# --- tolerance


def test_a_log_logistic_latency_is_shifted_exactly() -> None:
    # logit S(b) = -4 ln(b / 20) is straight on this scale, so reading it off loses nothing.
    edges = row(5.0, 10.0, 25.0, 50.0)
    share = 1.0 / (1.0 + (edges / 20.0) ** 4)
    slopes = tolerance.log_slopes(edges, share)
    assert slopes == pytest.approx(row(4.0, 4.0, 4.0, 4.0))
    ratios = tolerance.ratios(share, slopes * np.log1p(0.1), largest=100.0)
    slower = 1.0 / (1.0 + (edges / 1.1 / 20.0) ** 4)
    assert ratios.slow == pytest.approx(slower / share)
    assert ratios.fast == pytest.approx((1.0 - share) / (1.0 - slower))


def test_ratios_and_slopes_stay_within_their_limits() -> None:
    steep = tolerance.log_slopes(row(1.0, 1.1), row(0.999, 0.001))
    assert steep == pytest.approx(row(8.0, 8.0))
    assert tolerance.log_slopes(row(1.0, 10.0), row(0.5, 0.5)) == pytest.approx(row(0.5, 0.5))
    assert tolerance.log_slopes(row(1.0), row(0.5)) == pytest.approx(row(0.5))
    assert tolerance.ratios(row(0.01), row(9.0), largest=4.0).slow == pytest.approx(row(4.0))


def test_the_warm_up_envelope_fades_and_can_be_off() -> None:
    tolerated = tolerance.warm_tolerance(
        np.full(4, 0.05), age_s=np.array([0.0, 60.0, np.inf, 0.0]), warm_up_s=np.array([60.0, 60.0, 60.0, 0.0])
    )
    assert tolerated == pytest.approx([1.05, 0.05 + math.exp(-1), 0.05, 0.05])


# --- dispersion


def test_dispersion_grows_with_traffic_and_shrinks_with_pods() -> None:
    tables = Tables(x1=row(90.0), n1=row(900.0), x2=row(10.0), n2=row(100.0))
    few = dispersion.pod_noise(row(2.0), row(1.0))
    many = dispersion.pod_noise(row(20.0), row(10.0))
    variance = 0.1 * 0.9 * 900 * 100 / 999
    assert dispersion.phi_proof(tables, q1=row(0.1), noise=few, b=0.1) == pytest.approx(row(1.5 + 0.15 * variance))
    assert dispersion.phi_proof(tables, q1=row(0.1), noise=many, b=0.1) == pytest.approx(row(1.5 + 0.015 * variance))


def test_only_evidence_of_harm_is_tempered_by_what_was_observed() -> None:
    tables = Tables(x1=row(90.0), n1=row(900.0), x2=row(10.0), n2=row(100.0))
    noise = dispersion.pod_noise(row(1.0), row(1.0))
    assert dispersion.phi_harm(tables, q1=row(0.001), noise=noise, b=0.1) == pytest.approx(
        dispersion.phi_proof(tables, q1=row(0.1), noise=noise, b=0.1)
    )
    assert (dispersion.phi_proof(tables, q1=row(0.001), noise=noise, b=0.1) < 1.6).all()


def test_a_single_pod_on_each_side_widens_the_tolerance_within_reason() -> None:
    odds = np.exp(dispersion.pod_tolerance(dispersion.POD_SPREAD_ERRORS, dispersion.pod_noise(row(1.0), row(0.0))))
    assert odds == pytest.approx(row(1.416), abs=1e-3)


# --- harm


def test_money_joins_at_the_same_pace_however_time_is_cut() -> None:
    whole = harm.start_rate(np.array([15.0]))
    parts = 1.0 - (1.0 - harm.start_rate(np.array([3.0]))) ** 5
    assert whole == pytest.approx([1 / 64])
    assert parts == pytest.approx(whole)


def test_a_bet_at_even_odds_keeps_its_sum() -> None:
    log_a = np.full((1, harm.N_EFFECTS), np.log(0.5 / harm.N_EFFECTS))
    log_cash = np.log([0.5])
    for _ in range(100):
        log_a, log_cash = harm.bet(log_a, log_cash, increment=np.zeros_like(log_a), rate=np.array([1 / 64]))
    assert harm.channel_evidence(log_a, log_cash) == pytest.approx([0.0], abs=1e-12)
    assert log_cash == pytest.approx([np.log(0.5) + 100 * np.log(63 / 64)])


def test_the_weights_of_all_channels_sum_to_one() -> None:
    assert pytest.approx(1.0) == harm.WEIGHT_ERRORS + harm.WEIGHT_LATENCY + harm.WEIGHT_IDLE
    weights = harm.edge_weights(row(1.0, 0.0, 1.0, 0.0))
    assert weights.sum() == pytest.approx(1.0)
    assert weights[0, 1] == pytest.approx(0.12 * weights[0, 0])


# --- non-inferiority


def test_the_margins_spend_a_constant_budget() -> None:
    margins = noninferiority.margins(np.full(4, 1e-3), np.array([1.0, 10.0, 50.0, 100.0]))
    assert margins.delta == pytest.approx([0.02, 0.01, 0.002, 0.001])
    assert margins.slower == pytest.approx([1.0, 1.0, 0.2, 0.1])


def test_a_budget_above_two_per_cent_is_the_margin() -> None:
    assert noninferiority.margins(np.array([0.05]), np.array([10.0])).delta == pytest.approx([0.05])


def test_the_claims_take_the_edges_nearest_to_their_share() -> None:
    share = row(0.999, 0.6, 0.2, 0.03, 0.0001)
    assert noninferiority.choose_edges(share, np.full((1, 5), True)).tolist() == [[1, 2, 3]]
    only = np.array([[False, False, False, False, True]])
    assert noninferiority.choose_edges(share, only).tolist() == [[4, 4, 4]]
    assert noninferiority.choose_edges(share, np.full((1, 5), False)).tolist() == [[-1, -1, -1]]


@pytest.mark.parametrize("weight", [1.0, 10.0, 50.0])
@pytest.mark.parametrize("kept", [0.85, 0.8, 0.3])
def test_completions_expect_at_most_one_where_the_canary_loses_requests(weight: float, kept: float) -> None:
    n = 60
    n2 = np.arange(n + 1.0)
    w = weight / 100.0
    share = w * kept / (w * kept + 1.0 - w)
    log_e = noninferiority.completions(n - n2, n2, np.full(n + 1, weight))
    assert float((binom.pmf(n2, n, share) * np.exp(log_e)).sum()) <= 1.0 + 1e-12


@pytest.mark.parametrize("weight", [0.0, 100.0, -5.0, 250.0])
def test_completions_say_nothing_where_one_version_gets_everything(weight: float) -> None:
    assert noninferiority.completions(row(10.0), row(5.0), row(weight)) == pytest.approx(row(0.0))


def test_completions_are_proven_in_half_a_minute_at_20_requests_per_second() -> None:
    # The mean of log e per second at 10 % of 200 requests/s, as the canary completes everything.
    per_second = noninferiority.completions(np.array([180.0]), np.array([20.0]), np.array([10.0]))[0]
    assert math.log(20.0) / per_second < 30.0


# --- rates


def quantile(level: float, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(beta.ppf(level, a, b), dtype=np.float64)


def test_the_interval_of_the_error_rate_is_that_of_clopper_and_pearson() -> None:
    events, requests = np.array([0, 3, 50, 10, 0]), np.array([100, 1000, 50, 20, 0])
    low, high = clopper_pearson(events, requests)
    assert low[:4] == pytest.approx([0.0, *quantile(0.025, events[1:4], requests[1:4] - events[1:4] + 1)])
    assert high[[0, 1, 3]] == pytest.approx(quantile(0.975, events + 1, requests - events)[[0, 1, 3]])
    assert high[2] == 1.0
    assert math.isnan(low[4])
    assert math.isnan(high[4])


def test_quantiles_are_read_within_their_bucket() -> None:
    edges = row(10.0, 20.0, 40.0)
    histogram = np.array([[[10, 10, 0, 0], [0, 0, 0, 5], [0, 0, 0, 0]]])
    p50, p75 = quantiles(edges, histogram, (0.5, 0.75))
    assert p50[0, :2] == pytest.approx([10.0, 40.0])
    assert p75[0, :2] == pytest.approx([15.0, 40.0])
    assert np.isnan(p50[0, 2])


def test_the_rates_for_people_are_those_of_the_world() -> None:
    world = World(rate=5000.0)
    slow = Behaviour(errors=0.02, median_ms=40.0)
    answer = feed(initial_state(), [world.interval(slow) for _ in range(20)], settings=JudgeSettings())
    canary, stable = answer.evidence.canary, answer.evidence.stable
    assert canary.requests == answer.evidence.step_canary_requests
    assert canary.error_rate_low < 0.02 < canary.error_rate_high
    assert canary.p50_ms == pytest.approx(40.0, rel=0.1)
    assert stable.p50_ms == pytest.approx(20.0, rel=0.1)
    assert answer.evidence.seconds == 40.0
    assert answer.state.edges_ms == ISTIO_EDGES_MS
