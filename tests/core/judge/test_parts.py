import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit, ndtr
from scipy.stats import beta

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


EDGES = row(5.0, 10.0, 25.0, 50.0, 100.0)


def test_a_log_logistic_latency_is_shifted_exactly() -> None:
    # logit S(b) = -4 ln(b / 20) is straight on this scale, so reading it off loses nothing.
    share = 1.0 / (1.0 + (EDGES / 20.0) ** 4)
    curve = tolerance.curve(EDGES, share)
    assert curve.below == pytest.approx(row(8.0, 4.0, 4.0, 4.0, 4.0))  # nothing is known below the lowest
    known = np.s_[:, 1:]
    for slower in (0.1, 1.0, 3.0):
        shifted = tolerance.share_of(curve.log_odds + curve.shift(np.log1p(np.array([slower]))))
        truth = 1.0 / (1.0 + (EDGES / (1.0 + slower) / 20.0) ** 4)
        assert shifted[known] == pytest.approx(truth[known])
        assert (shifted >= truth - 1e-12).all()
        ratios = tolerance.ratios(share, shifted, largest=1e6)
        assert ratios.slow[known] == pytest.approx((truth / share)[known])
        assert ratios.fast[known] == pytest.approx(((1.0 - share) / (1.0 - truth))[known])


@pytest.mark.parametrize("slower", [0.05, 0.2, 0.5])
def test_a_log_normal_latency_is_shifted_better_than_by_a_straight_line(slower: float) -> None:
    share = ndtr(-np.log(EDGES / 20.0) / 0.5)
    curve = tolerance.curve(EDGES, share)
    truth = logit(ndtr(-np.log(EDGES / (1.0 + slower) / 20.0) / 0.5))
    bent = curve.log_odds + curve.shift(np.log1p(np.array([slower])))
    straight = curve.log_odds + curve.below * np.log1p(slower)
    middle = np.s_[0, 1:4]  # the outermost edges have one neighbour only
    assert np.abs(bent - truth)[middle].sum() < 0.7 * np.abs(straight - truth)[middle].sum()


@given(
    share=st.lists(st.floats(1e-9, 1.0 - 1e-9), min_size=5, max_size=5),
    slower=st.lists(st.floats(0.0, 50.0), min_size=2, max_size=2),
)
def test_slower_is_never_a_smaller_shift(share: list[float], slower: list[float]) -> None:
    curve = tolerance.curve(EDGES, np.array([sorted(share, reverse=True)]))
    less, more = (curve.shift(np.log1p(np.array([x]))) for x in sorted(slower))
    assert (less >= 0.0).all()
    assert (more >= less - 1e-9).all()


def test_ratios_and_slopes_stay_within_their_limits() -> None:
    steep = tolerance.curve(row(1.0, 1.1), row(0.999, 0.001))
    assert steep.below == pytest.approx(row(12.0, 12.0))
    assert tolerance.curve(row(1.0, 10.0), row(0.5, 0.5)).below == pytest.approx(row(1.0, 0.5))
    assert tolerance.curve(row(1.0), row(0.5)).local == pytest.approx(row(0.5))
    assert tolerance.ratios(row(0.01), row(0.99), largest=4.0).slow == pytest.approx(row(4.0))


# --- dispersion


def known(clump: float, noise: float, base: float = 1.0) -> dispersion.Known:
    return dispersion.Known(row(clump), row(noise), row(base))


TABLES = Tables(x1=row(90.0), n1=row(900.0), x2=row(10.0), n2=row(100.0))
VARIANCE = 0.1 * 0.9 * 900 * 100 / 999


def test_noise_grows_with_traffic_and_shrinks_with_pods() -> None:
    variance = dispersion.proof_variance(TABLES, row(0.1))
    assert variance == pytest.approx(row(VARIANCE))
    few, many = (dispersion.pod_noise(row(p), row(p / 2)) for p in (2.0, 20.0))
    assert dispersion.phi(known(1.0, 0.1), few * variance) == pytest.approx(row(1.0 + 0.15 * VARIANCE))
    assert dispersion.phi(known(1.0, 0.1), many * variance) == pytest.approx(row(1.0 + 0.015 * VARIANCE))


@given(mix=st.floats(0.0, 1.0), traffic=st.floats(0.01, 100.0))
def test_whatever_part_of_what_pods_show_is_clumps_the_dispersion_covers_it(mix: float, traffic: float) -> None:
    # A pod with V = 1 shows a ratio of 3. Of the excess, `mix` is clumps and the rest is noise.
    covered = dispersion.phi(known(3.0, 2.0), row(traffic))
    assert (covered >= 1.0 + 2.0 * mix + 2.0 * (1.0 - mix) * traffic - 1e-9).all()


def test_only_evidence_of_harm_is_tempered_by_what_was_observed() -> None:
    assert dispersion.harm_variance(TABLES, row(0.001)) == pytest.approx(row(VARIANCE))
    assert (dispersion.proof_variance(TABLES, row(0.001)) < 0.1).all()


def test_a_single_pod_on_each_side_widens_the_tolerance_within_reason() -> None:
    odds = np.exp(dispersion.pod_tolerance(dispersion.SPREAD_ERRORS, dispersion.pod_noise(row(1.0), row(0.0))))
    assert odds == pytest.approx(row(1.416), abs=1e-3)


# --- harm


def test_money_joins_at_the_same_pace_however_time_is_cut() -> None:
    whole = harm.start_rate(np.array([15.0]))
    parts = 1.0 - (1.0 - harm.start_rate(np.array([3.0]))) ** 5
    assert whole == pytest.approx([1 / 64])
    assert parts == pytest.approx(whole)


def test_a_bet_at_even_odds_keeps_its_sum() -> None:
    bets = harm.START_SHARE * np.tile(harm.PRIOR, (1, 2, 1))
    cash = np.full((1, 2), 1.0 - harm.START_SHARE)
    rate = np.array([1 / 64])
    for _ in range(100):
        bets = harm.bet(bets, cash, increment=np.zeros_like(bets), rate=rate)
        cash = cash * (1.0 - rate)
    assert harm.purses(bets, cash) == pytest.approx(np.ones((1, 2)))
    assert cash == pytest.approx((1.0 - harm.START_SHARE) * (63 / 64) ** 100)


def test_bets_stay_within_what_single_precision_holds() -> None:
    bets = np.full((1, 1, harm.N_EFFECTS), 1.0)
    for increment in (700.0, -700.0):
        played = harm.bet(bets, row(0.0), increment=np.full_like(bets, increment), rate=np.array([0.0]))
        assert np.isfinite(played.astype(np.float32)).all()
        assert (played.astype(np.float32) > 0).all()


@pytest.mark.parametrize("limits_set", [(False, False), (True, False), (False, True), (True, True)])
def test_all_channels_together_have_what_the_warm_up_leaves(limits_set: tuple[bool, bool]) -> None:
    weights = harm.channel_weights(np.array([limits_set]))
    assert weights.sum() == pytest.approx(1.0 - harm.WEIGHT_WARM_UP)
    assert ((weights > 0) == np.array([[True, True, True, *limits_set]])).all()


def test_the_weights_of_the_edges_sum_to_one() -> None:
    weights = harm.edge_weights(np.array([[harm.BODY, harm.REST, harm.BODY, harm.REST, harm.SPARED]]))
    assert weights.sum() == pytest.approx(1.0)
    assert weights[0, 1] == pytest.approx(0.12 * weights[0, 0])
    assert weights[0, 4] == 0.0


def test_edges_that_nearly_the_same_requests_pass_are_spared() -> None:
    log_odds = row(2.0, 1.9, 1.65, 1.55, 0.0, -0.1, -3.0)
    live = np.full((1, 7), True)
    assert harm.spare(tolerance.share_of(log_odds), live).tolist() == [[False, True, True, False, False, True, False]]
    live[0, 0] = False
    assert harm.spare(tolerance.share_of(log_odds), live).tolist() == [[False, False, True, True, False, True, False]]


def test_the_prior_over_effects_is_a_distribution() -> None:
    assert harm.PRIOR.sum() == pytest.approx(1.0)
    assert noninferiority.PRIOR.sum() == pytest.approx(1.0)


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
