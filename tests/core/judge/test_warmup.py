"""Young pods: what they are excused for, and how soon no more."""

from dataclasses import replace

import numpy as np
import pytest

from analyzer.core.judge import (
    Assessment,
    Channel,
    History,
    JudgeSettings,
    JudgeState,
    Verdict,
    initial_state,
    learn,
    warmup,
)
from analyzer.core.judge.state import layout
from tests.core.judge.test_learning import EDGES, history
from tests.core.judge.worlds import Behaviour, World, feed

SETTINGS = JudgeSettings()
BODY = Behaviour(median_ms=20.0, sigma=0.5)
SECONDS = 15.0


def slower(factor: float) -> Behaviour:
    return replace(BODY, median_ms=20.0 * factor)


def cold(age_s: float, extra: float = 1.0, tau_s: float = 60.0) -> Behaviour:
    middle = age_s + SECONDS / 2
    return slower(1.0 + extra * float(np.exp(-middle / tau_s)))


def newborn_history(extra: float, *, told: bool) -> History:
    """Five of twenty pods are born one after the other."""
    births = {15 + n: 20 + 40 * n for n in range(5)}
    age = np.full((240, 20), np.inf)
    for pod, at in births.items():
        age[at:, pod] = SECONDS * np.arange(240 - at)
    factor = 1.0 + extra * np.exp(-(np.where(np.isfinite(age), age, 1e9) + SECONDS / 2) / 60.0)
    past = history(slower=factor)
    there = np.ones((240, 20), np.int64)
    for pod, at in births.items():
        there[:at, pod] = 0
    return replace(
        past,
        requests=past.requests * there,
        errors=past.errors * there,
        latency_counts=past.latency_counts * there[..., None],
        pod_age_s=age + SECONDS if told else None,
    )


def world(seed: int = 1, *, rate: float = 3000.0, weight: float = 5.0) -> World:
    made = World(seed=seed, rate=rate, seconds=SECONDS, weight=weight, pods=(20, 2))
    made.edges_ms = EDGES
    return made


def warm_state(seed: int = 1) -> JudgeState:
    return initial_state(learn(history(seed), SETTINGS))


def harm_at(
    state: JudgeState, made: World, behaviour: dict[float, Behaviour] | Behaviour, *, until_s: float = 600.0
) -> float:
    """Seconds until harm is found; infinity if never."""
    for age_s in np.arange(0.0, until_s, SECONDS).tolist():
        canary = behaviour[age_s] if isinstance(behaviour, dict) else behaviour
        answer = feed(state, [made.interval(canary, stable=BODY, pod_age_s=age_s + SECONDS)])
        if answer.verdict is Verdict.HARM:
            return float(age_s + SECONDS)
        state = answer.state
    return float("inf")


def number(answer: Assessment, name: str) -> float:
    return float(np.frombuffer(answer.state.record, layout(len(EDGES)))[name][0])


def test_a_cold_start_within_the_envelope_is_no_harm() -> None:
    ages = np.arange(0.0, 600.0, SECONDS).tolist()
    for extra, tau_s in ((1.0, 60.0), (1.0, 20.0), (0.4, 45.0)):
        start = {age: cold(age, extra, tau_s) for age in ages}
        assert harm_at(warm_state(), world(weight=1.0), start) == float("inf")


def test_a_canary_that_needs_no_envelope_soon_has_none() -> None:
    state, made = warm_state(), world()
    for age_s in (15.0, 30.0):
        answer = feed(state, [made.interval(BODY, stable=BODY, pod_age_s=age_s)])
        state = answer.state
    assert warmup._ALLOWED[int(number(answer, "warm_rejected"))] <= 0.15


def test_a_canary_in_need_of_the_whole_envelope_keeps_it() -> None:
    state, made = warm_state(), world()
    for age_s in (0.0, 15.0, 30.0):
        answer = feed(state, [made.interval(cold(age_s), stable=BODY, pod_age_s=age_s + SECONDS)])
        state = answer.state
    assert number(answer, "warm_rejected") <= warmup._GIVEN


@pytest.mark.parametrize(("extra", "tau_s"), [(2.0, 60.0), (1.0, 120.0), (1.0, 60.0)])
def test_without_any_history_pods_may_be_three_times_as_slow_or_twice_as_long(extra: float, tau_s: float) -> None:
    start = {age: cold(age, extra, tau_s) for age in np.arange(0.0, 900.0, SECONDS).tolist()}
    assert harm_at(initial_state(), world(weight=1.0), start, until_s=900.0) == float("inf")


def test_without_any_history_a_canary_that_stays_slow_is_found() -> None:
    assert harm_at(initial_state(), world(), slower(1.25)) <= 360.0
    assert harm_at(initial_state(), world(), slower(2.0)) <= 180.0


def test_a_slow_canary_is_found_earlier_because_it_did_not_need_the_whole_envelope() -> None:
    assert harm_at(warm_state(), world(), slower(1.25)) <= 120.0  # 180 s with the envelope that is given at first


def test_pods_that_join_later_are_excused_as_the_first_ones_were_at_their_age() -> None:
    state, made = warm_state(), world(weight=10.0)
    ages = [*np.arange(0.0, 150.0, SECONDS), *np.arange(0.0, 300.0, SECONDS)]
    verdicts = []
    for age_s in ages:
        interval = made.interval(cold(age_s), stable=BODY, pod_age_s=age_s + SECONDS)
        answer = feed(state, [interval])
        state = answer.state
        verdicts.append(answer.verdict)
    assert number(answer, "warm_births") == 2
    assert Verdict.HARM not in verdicts


def test_old_pods_are_not_excused_by_new_ones() -> None:
    # Two pods are slow for good; two more join. Half of the requests are held to the tolerance alone.
    made = world(weight=10.0)
    state = warm_state()
    answer = feed(state, [made.interval(BODY, stable=BODY, pod_age_s=300.0) for _ in range(3)])
    joined = replace(made.interval(BODY, stable=BODY, pod_age_s=15.0))
    joined = replace(joined, canary=replace(joined.canary, pods=4))
    answer = feed(answer.state, [joined])
    assert number(answer, "warm_share") == pytest.approx(0.5)


def test_without_a_number_more_any_new_pod_may_be_all_of_them() -> None:
    made = world(weight=10.0)
    answer = feed(warm_state(), [made.interval(BODY, stable=BODY, pod_age_s=300.0) for _ in range(3)])
    answer = feed(answer.state, [made.interval(BODY, stable=BODY, pod_age_s=15.0)])
    assert number(answer, "warm_share") == pytest.approx(1.0)


@pytest.mark.parametrize("told", [True, False])
def test_young_stable_pods_teach_the_warm_up(*, told: bool) -> None:
    known = initial_state(learn(newborn_history(1.0, told=told), SETTINGS))
    record = np.frombuffer(known.record, layout(len(EDGES)))[0]
    assert record["warm_known"] == 1
    shifts = record["warm_shift"].astype(float)
    assert (np.diff(shifts, axis=1) <= 0).all()
    assert shifts[2, 0] > 4 * shifts[2, -1]
    ages = np.arange(0.0, 600.0, SECONDS).tolist()
    assert harm_at(known, world(), {age: cold(age) for age in ages}) == float("inf")


@pytest.mark.parametrize("told", [True, False])
def test_a_service_that_starts_warm_excuses_nobody(*, told: bool) -> None:
    known = initial_state(learn(newborn_history(0.0, told=told), SETTINGS))
    assert harm_at(known, world(), slower(1.25)) <= 45.0


def test_a_service_that_starts_three_times_as_slow_is_known_to() -> None:
    known = initial_state(learn(newborn_history(2.0, told=True), SETTINGS))
    ages = np.arange(0.0, 600.0, SECONDS).tolist()
    assert harm_at(known, world(), {age: cold(age, 2.0) for age in ages}) == float("inf")
    assert harm_at(warm_state(), world(), {age: cold(age, 2.0) for age in ages}) < 60.0


def test_no_warm_up_means_none() -> None:
    off = replace(SETTINGS, warm_up_s=0.0)
    made = world()
    state = initial_state(learn(newborn_history(1.0, told=True), off))
    intervals = [made.interval(cold(age), stable=BODY, pod_age_s=age + SECONDS) for age in (0.0, 15.0, 30.0)]
    answer = feed(state, intervals, settings=off)
    assert answer.verdict is Verdict.HARM
    assert answer.evidence.culprit is Channel.LATENCY
