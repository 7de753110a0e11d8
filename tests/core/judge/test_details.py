"""Single rules of the judge's parts, by numbers that can be checked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from analyzer.core.judge import (
    Interval,
    JudgeRequest,
    JudgeSettings,
    Step,
    Verdict,
    batch,
    dispersion,
    initial_state,
    load_state,
    newborn,
    warmup,
)
from analyzer.core.judge import state as state_module
from analyzer.core.judge.cells import Cells
from analyzer.core.judge.course import foresee
from analyzer.core.judge.evalues import Tables, gro_affine, gro_ratio
from analyzer.core.judge.noninferiority import choose_edges
from analyzer.core.judge.oneedge import CAUTION, OneEdge
from analyzer.core.judge.prediction import lesson, predict
from analyzer.core.judge.rates import clopper_pearson
from analyzer.core.judge.tolerance import Curve, share_of
from tests.core.judge.worlds import counts, feed

EDGES = (10.0, 20.0)


def columns(*sides: tuple[int, int, int], edges: tuple[float, ...] = EDGES) -> batch.Columns:
    """Intervals of a stable version with (requests, errors, slow) and a canary with the same."""
    made = [counts(n, x, slow=slow, edges=len(edges)) for n, x, slow in sides]
    return batch.columns([Interval(15.0, 15.0, 10.0, edges, side, side) for side in made], [edges] * len(made))


def record(**fields: object) -> np.ndarray:
    made = state_module.fresh(len(EDGES))
    for name, value in fields.items():
        made[name] = value
    return made


# --- the running mean and its surprises ---


def test_an_unexpected_number_of_errors_counts_by_its_variance() -> None:
    known = record(mean_n=1000.0, mean_x=9.5)
    [[usable, square]] = dispersion.surprise(known, np.array([20.0]), np.array([500.0]))
    q = 10.0 / 1001.0
    assert usable == 1.0
    assert square == pytest.approx((20.0 - 500.0 * q) ** 2 / (500.0 * q * (1.0 - q) * 1.5))


def test_frequent_errors_surprise_by_their_binomial_variance() -> None:
    [[_, square]] = dispersion.surprise(record(mean_n=99.0, mean_x=49.5), np.array([20.0]), np.array([99.0]))
    assert square == pytest.approx(29.5**2 / (99.0 * 0.25 * 2.0))


def test_nothing_is_unexpected_of_a_version_that_was_never_seen() -> None:
    assert dispersion.surprise(record(), np.array([9.0]), np.array([500.0])).tolist() == [[0.0, 0.0]]


def test_one_surprise_cannot_outweigh_everything() -> None:
    known = record(mean_n=1e9, mean_x=1e3)
    assert dispersion.surprise(known, np.array([1e9]), np.array([1e9])).tolist() == [[1.0, 1e6]]


def test_an_interval_without_requests_teaches_nothing() -> None:
    silent = lesson(columns((0, 0, 0)))
    n, x = silent.move(np.full((1, 3), 7.0), np.full((1, 3), 2.0))
    assert (n.tolist(), x.tolist()) == ([[7.0] * 3], [[2.0] * 3])


def test_a_channel_that_is_not_there_teaches_nothing() -> None:
    absent = replace(columns((100, 3, 10)), present=np.array([[True, False, False]]))
    n, x = lesson(absent).move(np.full((1, 3), 7.0), np.full((1, 3), 2.0))
    assert n[0, 0] > 100.0
    assert x[0, 0] == pytest.approx(3.0 + 2.0 * (n[0, 0] - 100.0) / 7.0)
    assert (n[0, 1:].tolist(), x[0, 1:].tolist()) == ([7.0, 7.0], [2.0, 2.0])


def test_a_part_of_a_request_is_something_seen() -> None:
    prediction = predict(record(mean_n=0.5))
    assert prediction.known.all()
    assert not predict(record()).known.any()


# --- which test is used, and on what ---


def cells(share: float, *, latency: int, tau: float = 1.1, delta: float = 1e-3) -> Cells:
    counted = Tables(*(np.array([value]) for value in (300.0, 3000.0, 60.0, 400.0)))
    return Cells(
        row=np.array([0]),
        latency=np.array([latency]),
        tables=counted,
        share=np.array([share]),
        tau_slow=np.array([tau]),
        tau_fast=np.array([tau]),
        delta=np.array([delta]),
    )


def test_frequent_errors_are_tested_by_the_likelihood_ratio() -> None:
    one = cells(0.1, latency=0)
    log_e = one.log_e(np.array([[2.0]]), harmful=True)
    odds = 2.0 * 0.111 / (1.0 - 0.111)
    wanted = gro_affine(
        Tables(*(a[:, None] for a in (one.tables.x1, one.tables.n1, one.tables.x2, one.tables.n2))),
        q1=np.array([[0.1]]),
        q2=np.array([[odds / (1.0 + odds)]]),
        tau=np.array([[1.1]]),
        delta=np.array([[1e-3]]),
    )
    assert log_e == pytest.approx(wanted)


@pytest.mark.parametrize("flipped", [False, True])
def test_one_edge_is_tested_on_its_rarer_side_and_tempered(*, flipped: bool) -> None:
    log_odds = 0.8 if flipped else -0.8
    one = np.ones((1, 1))
    curve = Curve(log_odds * one, 2.0 * one, 2.0 * one, one)
    counted = Tables(310.0 * one, 1000.0 * one, 29.0 * one, 100.0 * one)
    edge = OneEdge(np.array([0]), counted, np.array([[flipped]]), curve, phi=4.0 * one, so_far=0.2 * one)
    sign = -1.0 if flipped else 1.0

    def log_e(guessed: float) -> np.ndarray:
        q1, boundary, guess = (share_of(sign * (log_odds + shift * one)) for shift in (0.0, 1.8 * np.log(1.3), guessed))
        return gro_ratio(counted, q1=q1, q2=guess, ratio=boundary / q1)

    assert CAUTION == 0.9
    wanted = np.logaddexp(log_e(0.2) / 4.0, log_e(1.8 * np.log1p(0.15)) / 4.0) - np.log(2.0)
    assert edge.less_than(np.array([[0.3]])) == pytest.approx(wanted)


def test_rollouts_without_a_known_edge_claim_none_whatever_the_others_know() -> None:
    share = np.array([[0.5, 0.1], [0.5, 0.1]])
    assert choose_edges(share, np.array([[True, True], [False, False]])).tolist() == [[0, 1, 1], [-1, -1, -1]]


def test_noise_that_all_of_the_canarys_pods_share_tempers_a_limit_at_any_traffic() -> None:
    above = counts(10**7, 130_000)
    interval = Interval(15.0, 15.0, 0.0, (100.0,), above, above)
    answer = feed(initial_state(), [interval] * 4, settings=JudgeSettings(limit_error_rate=0.01))
    assert answer.verdict is not Verdict.HARM
    assert answer.evidence.limits["error rate"] < 1.0


def test_one_error_is_surely_more_than_none() -> None:
    [low], [high] = clopper_pearson(np.array([1]), np.array([100]))
    assert low == pytest.approx(1.0 - 0.975**0.01, rel=1e-3)
    assert high == pytest.approx(0.0545, abs=1e-4)


@pytest.mark.parametrize(("text", "found"), [("1.4567890123", "'1.4567890123'"), ("1.45678901234", "'1.4567890123…'")])
def test_an_unknown_state_is_quoted_by_its_first_letters(text: str, found: str) -> None:
    with pytest.raises(ValueError, match="must begin with") as caught:
        load_state(text)
    assert f"found {found}:" in str(caught.value)


# --- foresight ---


def test_ages_and_pods_are_foreseen_where_the_canary_had_requests() -> None:
    given = columns((100, 0, 0), (100, 0, 0), (0, 0, 0), (100, 0, 0))
    given = replace(
        given,
        age_s=np.array([30.0, 45.0, np.inf, 75.0]),
        pods=np.array([[2.0, 3.0], [2.0, 4.0], [2.0, 9.0], [2.0, 5.0]]),
    )
    seen = foresee(record(warm_age=30.0, warm_pods=1.0), given)
    assert seen["warm_age"].tolist() == [30.0, 45.0, 60.0, 60.0]
    assert seen["warm_pods"].tolist() == [1.0, 3.0, 4.0, 4.0]


# --- young pods ---


def test_a_pod_is_young_until_it_is_grown_up() -> None:
    ages = np.array([-1.0, 0.0, 239.0, 240.0])
    assert warmup._is_young(ages).tolist() == [False, True, True, False]


def test_a_later_pod_may_be_as_slow_as_the_first_one_at_its_own_age() -> None:
    later = record(warm_births=2)
    later["warm_table"][0, :3] = [0, 2, 5]
    given = [float(warmup._level(later, np.array([age]))[0]) for age in (0.0, 15.0, 29.0, 30.0, 200.0)]
    assert given == [2.2, warmup.LEVELS[1], warmup.LEVELS[1], warmup.LEVELS[4], warmup.LEVELS[4]]


def test_a_single_request_of_a_young_pod_is_excused() -> None:
    given = replace(columns((1, 0, 0)), age_s=np.array([15.0]))
    one = JudgeRequest(initial_state(), JudgeSettings(), Step("", None))
    curve = Curve(*np.ones((4, 1, 2)))
    assert warmup.tolerated(record(), given, batch.parameters([one]), curve).rows.tolist() == [0]


def test_a_pod_is_born_at_age_zero_when_its_requests_begin() -> None:
    requests = np.full((6, 2), 100.0)
    requests[:3, 1] = 0.0
    assert newborn.births(requests, 15.0)[:, 1].tolist() == [np.inf, np.inf, np.inf, 0.0, 15.0, 30.0]
