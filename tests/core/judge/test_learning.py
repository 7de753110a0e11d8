"""What a history teaches, shown on histories whose noise is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, ndtr

from analyzer.core.judge import (
    History,
    JudgeSettings,
    Verdict,
    dispersion,
    dump_state,
    initial_state,
    learn,
    load_state,
)
from analyzer.core.judge.state import layout
from tests.core.judge.worlds import Behaviour, World, feed

EDGES = (5.0, 10.0, 25.0, 50.0, 100.0, 250.0)
SETTINGS = JudgeSettings()


def history(
    seed: int = 1,
    *,
    pods: int = 20,
    intervals: int = 240,
    per_pod: float = 1000.0,
    rate: float = 0.01,
    clump: float = 1.0,
    noise: float = 0.0,
    memory: float = 0.0,
    spread: float = 0.0,
    load: float = 0.0,
    slower: np.ndarray | None = None,
) -> History:
    """Pods whose errors come in clumps, wander and differ; `slower` are factors on latency, (intervals, pods)."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((intervals, pods))
    for t in range(1, intervals):
        z[t] = memory * z[t - 1] + np.sqrt(1.0 - memory**2) * z[t]
    n = rng.poisson(per_pod * np.exp(load * rng.standard_normal(pods)) * np.ones((intervals, 1)))
    odds = np.log(rate) + noise * z + spread * rng.standard_normal(pods)
    x = np.minimum((clump * rng.poisson(n * expit(odds) / clump)).astype(np.int64), n)
    factor = np.ones((intervals, pods)) if slower is None else slower
    below = ndtr(np.log(np.array(EDGES) / 20.0 / factor[..., None]) / 0.5)
    share = np.diff(np.concatenate([np.zeros((*n.shape, 1)), below, np.ones((*n.shape, 1))], axis=-1), axis=-1)
    return History(15.0, n, x, EDGES, rng.multinomial(n, share))


def taught(past: History) -> np.void:
    record: np.void = np.frombuffer(learn(past, SETTINGS).record, layout(len(past.edges_ms)))[0]
    return record


def errors(past: History) -> tuple[float, float, float]:
    record = taught(past)
    return float(record["clump"][0]), float(record["noise"][0]), float(record["spread"][0])


def test_independent_requests_teach_hardly_any_dispersion() -> None:
    record = taught(history())
    assert record["learned"] == 1
    seen = np.s_[[0, 2, 3, 4, 5]]  # nobody was slower than 250 ms, and few faster than 5
    assert record["clump"][seen] == pytest.approx(np.ones(5), abs=0.12)
    assert (record["noise"][seen] < 0.04).all()
    assert (record["spread"][seen] < 0.1).all()
    assert record["load"] < 0.002


@pytest.mark.parametrize("clump", [2.0, 5.0])
def test_clumps_are_measured(clump: float) -> None:
    assert errors(history(clump=clump))[0] == pytest.approx(clump, rel=0.15)


@pytest.mark.parametrize("sd", [0.2, 0.5])
def test_noise_without_memory_is_the_variance_of_the_log_odds(sd: float) -> None:
    assert errors(history(noise=sd, per_pod=5000.0))[1] == pytest.approx(sd**2, rel=0.35)


def test_memory_counts_as_often_as_it_lasts() -> None:
    # AR(1) with 0.6: the long-run variance is (1 + 0.6) / (1 - 0.6) = 4 times as large.
    noise = errors(history(noise=0.3, memory=0.6, per_pod=5000.0))[1]
    assert noise == pytest.approx(4 * 0.09, rel=0.35)


def test_what_has_a_memory_is_no_clump() -> None:
    with_memory = errors(history(noise=0.3, memory=0.9, per_pod=5000.0))[0]
    without = errors(history(noise=0.3, per_pod=5000.0))[0]
    assert with_memory - 1.0 < 0.3 * (without - 1.0)


def test_pods_that_differ_for_good_are_spread_and_not_noise() -> None:
    clump, noise, spread = errors(history(spread=0.3, per_pod=5000.0))
    assert spread == pytest.approx(0.3, rel=0.4)
    assert noise < 0.01
    assert clump < 1.2


def test_pods_that_hardly_had_an_error_teach_the_fall_backs() -> None:
    assert errors(history(per_pod=0.02, rate=0.001)) == pytest.approx(
        (dispersion.CLUMP, dispersion.NOISE_ERRORS, dispersion.SPREAD_ERRORS)
    )


@pytest.mark.parametrize("pods", [2, 3])
def test_few_pods_teach_noise_and_clumps_too(pods: int) -> None:
    clump, noise, spread = errors(history(pods=pods, clump=3.0))
    assert clump == pytest.approx(3.0, rel=0.35)
    assert noise < 0.3
    assert spread >= 0.5 * dispersion.SPREAD_ERRORS * (1.0 - 1e-6)


def test_a_single_pod_is_compared_with_itself() -> None:
    clump, noise, spread = errors(history(pods=1, clump=3.0))
    assert clump == pytest.approx(3.0, rel=0.4)
    assert noise >= dispersion.NOISE_ERRORS * (1.0 - 1e-6)
    assert spread == pytest.approx(dispersion.SPREAD_ERRORS)


def test_users_that_stick_show_in_the_load_of_the_pods() -> None:
    # One pod's load has a standard deviation of 20 %; that of 20 together is sqrt(20) times smaller.
    assert taught(history(load=0.2))["load"] == pytest.approx(0.2 / np.sqrt(20.0), rel=0.4)


def test_the_history_primes_what_is_expected() -> None:
    past = history(rate=0.02)
    record = taught(past)
    assert record["mean_x"][0] / record["mean_n"][0] == pytest.approx(0.02, rel=0.05)


def test_with_a_history_a_slow_canary_is_judged_from_its_first_interval_on() -> None:
    world = World(rate=2000.0, seconds=15.0, weight=10.0)
    world.edges_ms = EDGES
    slow = Behaviour(median_ms=60.0, sigma=0.5)
    stable = Behaviour(median_ms=20.0, sigma=0.5)
    known = initial_state(learn(history(), SETTINGS))
    intervals = [world.interval(slow, stable=stable) for _ in range(2)]
    assert feed(known, intervals).verdict is Verdict.HARM
    assert feed(initial_state(), intervals).verdict is not Verdict.HARM


def test_an_empty_history_is_none() -> None:
    past = history()
    nothing = History(15.0, past.requests[:0], past.errors[:0], EDGES, past.latency_counts[:0])
    assert np.frombuffer(learn(nothing, SETTINGS).record, layout(len(EDGES)))["learned"] == 0


def test_a_state_with_a_history_survives_storing() -> None:
    state = initial_state(learn(history(), SETTINGS))
    assert load_state(dump_state(state)) == state


@pytest.mark.parametrize(
    "change",
    [
        {"errors": np.zeros((3, 2), np.int64)},
        {"latency_counts": np.zeros((240, 20, 5), np.int64)},
        {"pod_age_s": np.zeros((240, 3))},
    ],
)
def test_a_history_whose_arrays_do_not_fit_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="history: "):
        learn(replace(history(), **change), SETTINGS)


COUNT = st.one_of(st.integers(0, 3), st.integers(0, 10**9))


@given(data=st.data(), intervals=st.integers(1, 6), pods=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_whatever_a_history_holds_what_it_teaches_is_finite(data: st.DataObject, intervals: int, pods: int) -> None:
    def draw(*shape: int) -> np.ndarray:
        size = int(np.prod(shape))
        return np.array(data.draw(st.lists(COUNT, min_size=size, max_size=size)), np.int64).reshape(shape)

    ages = st.sampled_from([0.0, 15.0, 100.0, np.inf, np.nan])
    size = intervals * pods
    age = np.array(data.draw(st.lists(ages, min_size=size, max_size=size))).reshape(intervals, pods)
    past = History(
        15.0,
        draw(intervals, pods),
        draw(intervals, pods),
        (1.0, 10.0),
        draw(intervals, pods, 3),
        data.draw(st.sampled_from([None, age])),
    )
    state = initial_state(learn(past, SETTINGS))
    assert load_state(dump_state(state)) == state  # which refuses what is not finite
