import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.core.judge import (
    ISTIO_EDGES_MS,
    Channel,
    Interval,
    JudgeRequest,
    JudgeSettings,
    Step,
    Verdict,
    VersionCounts,
    initial_state,
    judge,
)
from tests.core.judge.worlds import TO_25, Behaviour, World, counts, feed

OUTAGE = Behaviour(errors=1.0)
WARM = JudgeSettings(warm_up_s=0.0)
LENIENT = JudgeSettings(warm_up_s=0.0, harm_budget=0.005)


def warmed(world: World, *, intervals: int = 8) -> list[Interval]:
    return [world.interval() for _ in range(intervals)]


def test_judging_nobody_gives_nothing() -> None:
    assert judge([]) == []


def test_before_any_interval_there_is_no_data() -> None:
    answer = feed(initial_state(), [])
    assert answer.verdict is Verdict.NO_DATA
    assert answer.evidence.culprit is None
    assert answer.evidence.p_value == 1.0
    assert math.isnan(answer.evidence.canary.error_rate)


def test_an_interval_without_canary_requests_is_no_data_and_no_failure() -> None:
    world = World(weight=0.0)
    answer = feed(initial_state(), warmed(world))
    assert answer.verdict is Verdict.NO_DATA
    assert answer.evidence.log_e == pytest.approx(0.0, abs=1e-6)
    assert answer.evidence.stable.requests == 0


def test_time_counts_from_the_interval_on_in_which_the_canary_has_weight_or_requests() -> None:
    before, after = World(weight=0.0), World(weight=10.0)
    history = warmed(before)
    answer = feed(initial_state(), history)
    assert (answer.evidence.seconds, answer.evidence.intervals) == (0.0, 0)
    assert (answer.evidence.step_seconds, answer.evidence.step_intervals) == (0.0, 0)
    mixed = replace(after.interval(), weight=0.0)  # the weight changed in it
    unused = replace(after.interval(), canary=counts(0, 0, edges=len(after.edges_ms)))
    answer = feed(answer.state, [mixed, unused, *warmed(after)])
    assert (answer.evidence.seconds, answer.evidence.intervals) == (20.0, 10)
    assert (answer.evidence.step_seconds, answer.evidence.step_intervals) == (20.0, 10)


def test_both_versions_are_counted_over_the_same_time_and_not_while_the_canary_waits() -> None:
    """A release may wait for days, for a schedule: what the stable version did then is no figure to compare with."""
    waiting, after = World(weight=0.0), World(weight=10.0)
    bad_days = feed(
        initial_state(), [waiting.interval(stable=Behaviour(errors=0.5, median_ms=2e3)) for _ in range(100)]
    )
    answer = feed(bad_days.state, warmed(after))
    assert answer.evidence.stable.requests == pytest.approx(9 * answer.evidence.canary.requests, rel=0.2)
    assert answer.evidence.stable.error_rate < 0.05
    assert answer.evidence.stable.p99_ms < 1e3


def test_no_traffic_at_all_is_no_data() -> None:
    world = World(rate=0.0)
    assert feed(initial_state(), warmed(world)).verdict is Verdict.NO_DATA


def test_the_first_interval_of_an_unknown_stable_version_only_teaches_what_latency_to_expect() -> None:
    world = World(rate=2000.0)
    answer = feed(initial_state(), [world.interval(Behaviour(errors=1.0, median_ms=2e4), stable=Behaviour())])
    assert answer.verdict is Verdict.INCONCLUSIVE
    assert answer.evidence.channels[Channel.LATENCY] == pytest.approx(0.0, abs=1e-6)
    assert answer.evidence.channels[Channel.ERRORS] > 1.0


def test_an_outage_is_found_in_two_intervals_of_an_unknown_service() -> None:
    world = World(rate=1000.0, weight=1.0, seconds=15.0)
    answer = feed(initial_state(), [world.interval(OUTAGE, stable=Behaviour()) for _ in range(2)])
    assert answer.verdict is Verdict.HARM
    assert answer.evidence.culprit is Channel.ERRORS


@pytest.mark.parametrize(("rate", "weight", "seconds"), [(200.0, 10.0, 2.0), (1000.0, 1.0, 15.0)])
def test_an_outage_is_found_in_two_intervals(rate: float, weight: float, seconds: float) -> None:
    world = World(rate=rate, weight=weight, seconds=seconds)
    past = feed(initial_state(), warmed(world))
    once = feed(past.state, [world.interval(OUTAGE)])
    twice = feed(once.state, [world.interval(OUTAGE)])
    assert once.verdict is not Verdict.HARM
    assert twice.verdict is Verdict.HARM
    assert twice.evidence.culprit is Channel.ERRORS


@pytest.mark.parametrize("rate", [200.0, 20_000.0])
def test_one_interval_is_never_enough_to_roll_back(rate: float) -> None:
    world = World(rate=rate, weight=50.0)
    blip = Behaviour(errors=1.0, median_ms=20_000.0)
    past = feed(initial_state(), warmed(world, intervals=1), settings=WARM)
    answer = feed(past.state, [world.interval(blip)], settings=WARM)
    assert answer.verdict is not Verdict.HARM
    assert answer.evidence.log_e > 2.0
    after = feed(answer.state, warmed(world, intervals=30), settings=WARM)
    assert after.verdict is not Verdict.HARM


def test_harm_stays_harm_when_the_canary_recovers() -> None:
    world = World(rate=1000.0, weight=50.0)
    bad = feed(initial_state(), [*warmed(world), *(world.interval(OUTAGE) for _ in range(3))])
    assert bad.verdict is Verdict.HARM
    better = feed(bad.state, warmed(world, intervals=300), step=replace(TO_25, key="later"))
    assert better.evidence.log_e < better.evidence.log_threshold
    assert better.verdict is Verdict.HARM
    assert better.evidence.p_value == pytest.approx(bad.evidence.p_value)


def test_a_new_step_begins_its_proof_anew_and_keeps_the_evidence_of_harm() -> None:
    world = World()
    before = feed(initial_state(), warmed(world, intervals=30))
    after = feed(before.state, [], step=Step(key="primary/25", next_weight=50.0))
    assert before.evidence.proof["errors"] != 0.0
    assert list(after.evidence.proof.values())[:4] == pytest.approx([0.0] * 4, abs=1e-6)
    # What completions must prove is the same in every step.
    assert after.evidence.proof["completions"] == pytest.approx(
        min(before.evidence.proof["completions"], 2.5), abs=1e-6
    )
    assert after.evidence.step_intervals == 0
    assert after.evidence.step_seconds == 0.0
    assert after.evidence.intervals == 30
    assert after.evidence.log_e == before.evidence.log_e
    assert after.state.step_key == "primary/25"


def test_a_step_whose_weight_comes_later_keeps_its_proof_and_is_watched_from_then() -> None:
    world = World()
    before = feed(initial_state(), warmed(world, intervals=30), step=replace(TO_25, key="primary/10@5"))
    after = feed(before.state, [], step=replace(TO_25, key="primary/10"))
    assert before.evidence.proof["errors"] != 0.0
    assert after.evidence.proof == before.evidence.proof
    assert (after.evidence.step_intervals, after.evidence.step_seconds) == (0, 0.0)
    assert (after.evidence.step_stable_requests, after.evidence.step_canary_requests) == (0, 0)
    assert after.evidence.intervals == 30
    other = feed(before.state, [], step=replace(TO_25, key="primary/25"))
    assert other.evidence.proof["errors"] == pytest.approx(0.0, abs=1e-6)


def test_reporting_again_changes_nothing() -> None:
    world = World()
    first = feed(initial_state(), warmed(world))
    again = feed(first.state, [])
    assert again == first


def test_nothing_to_prove_is_never_proven() -> None:
    world = World(rate=2000.0)
    answer = feed(initial_state(), warmed(world, intervals=100), step=Step("primary/100", None), settings=LENIENT)
    assert answer.verdict is Verdict.INCONCLUSIVE
    assert answer.evidence.proof == {}
    assert not answer.evidence.margins


def test_a_harmless_release_is_proven_and_says_what_was() -> None:
    world = World()
    answer = feed(initial_state(), warmed(world, intervals=60), settings=LENIENT)
    assert answer.verdict is Verdict.PROVEN
    assert min(answer.evidence.proof.values()) >= answer.evidence.log_proof_threshold
    assert answer.evidence.margins == (
        "errors at most 1.1 × stable + 2.00 %, latency at most +40 %, at least 85 % of its requests completed"
    )


def test_the_default_margins_follow_the_harm_budget_and_the_next_weight() -> None:
    told = {w: feed(initial_state(), [], step=Step("s", w)).evidence.margins for w in (1.0, 25.0, 100.0)}
    assert "+ 2.00 %, latency at most +100 %" in told[1.0]
    assert "+ 0.40 %, latency at most +40 %" in told[25.0]
    assert "+ 0.10 %, latency at most +10 %" in told[100.0]


def test_a_canary_that_hangs_a_fifth_of_its_requests_is_not_proven() -> None:
    world = World(rate=1000.0)
    hanging = Behaviour(completed=0.8)
    answer = initial_state()
    for _ in range(150):
        assessment = feed(answer, [world.interval(hanging)], settings=LENIENT)
        assert assessment.verdict is not Verdict.PROVEN
        answer = assessment.state
    assert assessment.evidence.proof["errors"] > assessment.evidence.log_proof_threshold
    assert assessment.evidence.proof["completions"] < 0.0


def test_errors_of_nobody_withhold_proof_while_they_matter() -> None:
    world = World()
    clean = warmed(world, intervals=60)
    few = [replace(i, unattributed_errors=int(n % 20 == 0)) for n, i in enumerate(clean)]
    many = [replace(i, unattributed_errors=4) for i in clean]
    assert feed(initial_state(), few, settings=LENIENT).verdict is Verdict.PROVEN
    withheld = feed(initial_state(), many, settings=LENIENT)
    assert withheld.verdict is Verdict.INCONCLUSIVE
    assert withheld.evidence.unattributed_errors == 240
    assert withheld.evidence.log_e == feed(initial_state(), clean, settings=LENIENT).evidence.log_e


def test_a_canary_worse_than_the_margin_is_not_proven_even_where_it_is_tolerated() -> None:
    world = World(rate=1000.0)
    tolerant = replace(LENIENT, error_floor=0.5)  # so that harm is never found
    bad = Behaviour(errors=0.03)
    answer = feed(initial_state(), [world.interval(bad) for _ in range(60)], settings=tolerant)
    assert answer.verdict is Verdict.INCONCLUSIVE
    assert answer.evidence.proof["errors"] < 0.0


def test_suspicion_withholds_proof() -> None:
    # Errors in the rollout's past speak for harm; the step's own proof is complete.
    world = World(rate=1000.0)
    strict = replace(LENIENT, false_rollback=1e-300)
    past = feed(
        initial_state(),
        [*warmed(world), world.interval(OUTAGE)],
        settings=strict,
    )
    answer = feed(past.state, warmed(world, intervals=10), step=Step("next", 25.0), settings=strict)
    assert min(answer.evidence.proof.values()) >= answer.evidence.log_proof_threshold
    assert answer.evidence.log_e > math.log(10.0)
    assert answer.verdict is Verdict.INCONCLUSIVE


def test_a_young_canary_may_be_slow_and_an_old_one_may_not() -> None:
    # One and a half times as slow is within the envelope of a canary just born.
    slow = Behaviour(median_ms=30.0)
    verdicts = {}
    for age_s in (0.0, float("inf")):
        world = World(rate=1000.0)
        past = feed(initial_state(), warmed(world))
        intervals = [world.interval(slow, stable=Behaviour(), pod_age_s=age_s) for _ in range(30)]
        verdicts[age_s] = feed(past.state, intervals)
    assert verdicts[0.0].verdict is Verdict.INCONCLUSIVE
    assert verdicts[float("inf")].verdict is Verdict.HARM
    assert verdicts[float("inf")].evidence.culprit is Channel.LATENCY


def test_the_warm_up_excuses_no_errors() -> None:
    world = World(rate=1000.0)
    bad = Behaviour(errors=0.05)
    answer = feed(initial_state(), [world.interval(bad, stable=Behaviour(), pod_age_s=1.0) for _ in range(20)])
    assert answer.verdict is Verdict.HARM


def test_edges_that_only_one_side_of_the_rollout_has_are_merged_away() -> None:
    world = World(rate=1000.0)
    past = feed(initial_state(), warmed(world), settings=WARM)
    world.edges_ms = (10.0, 25.0, 33.0, 50.0, 1e3)
    slow = Behaviour(median_ms=40.0)
    answer = feed(past.state, [world.interval(slow) for _ in range(10)], settings=WARM)
    assert answer.state.edges_ms == ISTIO_EDGES_MS
    assert answer.verdict is Verdict.HARM
    assert answer.evidence.culprit is Channel.LATENCY


def test_edges_with_nothing_in_common_give_no_evidence_on_latency() -> None:
    world = World(rate=1000.0)
    past = feed(initial_state(), warmed(world), settings=WARM)
    world.edges_ms = (11.0, 26.0)
    slow = Behaviour(median_ms=40.0)
    answer = feed(past.state, [world.interval(slow) for _ in range(10)], settings=WARM)
    assert answer.evidence.channels[Channel.LATENCY] == pytest.approx(past.evidence.channels[Channel.LATENCY], abs=1e-5)
    assert answer.evidence.channels[Channel.ERRORS] != past.evidence.channels[Channel.ERRORS]
    assert answer.evidence.canary.p50_ms == pytest.approx(past.evidence.canary.p50_ms)


def test_a_histogram_that_begins_late_keeps_what_errors_have_shown() -> None:
    world = World(edges_ms=())
    bad = Behaviour(errors=0.03)
    intervals = [world.interval(bad) for _ in range(6)]
    early = feed(initial_state(), intervals)
    assert early.state.edges_ms == ()
    assert math.isnan(early.evidence.canary.p50_ms)
    world.edges_ms = ISTIO_EDGES_MS
    late = feed(early.state, [world.interval(bad)])
    assert late.state.edges_ms == ISTIO_EDGES_MS
    assert late.evidence.intervals == 7
    assert late.evidence.channels[Channel.ERRORS] > 0.5


def test_a_histogram_that_does_not_fit_its_edges_is_refused_with_the_place() -> None:
    interval = Interval(
        end_s=12.0, seconds=2.0, weight=10.0, edges_ms=(1.0, 2.0), stable=counts(9, 0), canary=counts(1, 0)
    )
    with pytest.raises(
        ValueError, match=r"interval ending at 12\.0: 2 histogram edges need 3 latency counts .* 2 and 2"
    ):
        feed(initial_state(), [interval])


def many_requests(rollouts: int) -> list[JudgeRequest]:
    requests = []
    for number in range(rollouts):
        world = World(
            seed=number,
            rate=50.0 * (1 + number % 7),
            edges_ms=[ISTIO_EDGES_MS, (10.0, 20.0, 40.0), ()][number % 3],
            weight=[10.0, 0.0, 50.0, 100.0][number % 4],
        )
        canary = Behaviour(errors=[0.001, 0.02, 1.0][number % 3])
        intervals = tuple(world.interval(canary) for _ in range(number % 6))
        step = Step("s", [25.0, None][number % 2])
        requests.append(
            JudgeRequest(initial_state(), replace(WARM, false_rollback=[0.01, 0.05][number % 2]), step, intervals)
        )
    return requests


def test_many_at_once_are_judged_as_one_by_one() -> None:
    requests = many_requests(60)
    together = judge(requests)
    for request, answer in zip(requests, together, strict=True):
        alone = judge([request])[0]
        assert answer.verdict is alone.verdict
        assert answer.evidence.log_e == pytest.approx(alone.evidence.log_e, abs=1e-5)
        assert answer.evidence.proof == pytest.approx(alone.evidence.proof, abs=1e-9)
        assert answer.evidence.margins == alone.evidence.margins
        assert answer.state.edges_ms == alone.state.edges_ms


@given(seed=st.integers(0, 10_000), cut=st.integers(0, 12))
@settings(max_examples=12, deadline=None)
def test_one_call_equals_many_calls(seed: int, cut: int) -> None:
    world = World(seed=seed)
    intervals = [world.interval(Behaviour(errors=0.01)) for _ in range(12)]
    whole = feed(initial_state(), intervals)
    parts = feed(feed(initial_state(), intervals[:cut]).state, intervals[cut:])
    assert parts == whole


COUNT = st.one_of(st.integers(0, 20), st.integers(0, 10**12))


@st.composite
def versions(draw: st.DrawFn) -> VersionCounts:
    latency = np.array(draw(st.lists(COUNT, min_size=4, max_size=4)), dtype=np.int64)
    return VersionCounts(
        requests=draw(COUNT),
        errors=draw(COUNT),
        latency_counts=latency,
        pods=draw(st.integers(0, 100)),
        youngest_pod_age_s=draw(st.sampled_from([0.0, 10.0, float("inf"), float("nan")])),
    )


@st.composite
def any_interval(draw: st.DrawFn) -> Interval:
    return Interval(
        end_s=draw(st.floats(0, 1e10)),
        seconds=draw(st.sampled_from([0.0, 1e-3, 2.0, 15.0, 1e6])),
        weight=draw(st.sampled_from([0.0, 1.0, 10.0, 50.0, 99.0, 100.0])),
        edges_ms=(1.0, 10.0, 100.0),
        stable=draw(versions()),
        canary=draw(versions()),
        unattributed_errors=draw(COUNT),
    )


@given(st.lists(any_interval(), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_the_evidence_is_finite_whatever_the_counts(intervals: list[Interval]) -> None:
    evidence = feed(initial_state(), intervals).evidence
    figures = [evidence.log_e, evidence.p_value, *evidence.channels.values(), *evidence.proof.values()]
    assert all(map(math.isfinite, figures))
    assert 0.0 < evidence.p_value <= 1.0 or evidence.log_e > 700.0
    for rates in (evidence.stable, evidence.canary):
        if rates.requests:
            assert 0.0 <= rates.error_rate_low <= rates.error_rate <= rates.error_rate_high <= 1.0


# --- a ramp ---

RAMP = Step("0:1:Progressing", 5.0, (5.0, 10.0, 25.0, 50.0, 100.0))


def test_a_ramp_tells_the_largest_weight_that_is_proven_with_all_below_it() -> None:
    world = World(rate=3000.0)
    harmless = feed(initial_state(), warmed(world, intervals=40), step=RAMP)
    assert harmless.verdict is Verdict.PROVEN
    assert harmless.evidence.proven_weight >= 50.0
    worse = [world.interval(Behaviour(errors=0.006)) for _ in range(60)]
    settings = JudgeSettings(error_tolerance=1.0, error_floor=0.05)  # so that no harm is found
    bad = feed(initial_state(), worse, step=RAMP, settings=settings)
    assert bad.evidence.proven_weight in {5.0, 10.0}  # 1 % more errors is the margin of 10, 0.4 % that of 25


def test_a_ramp_carries_what_it_has_proven_but_must_win_a_part_again() -> None:
    world = World(rate=3000.0)
    before = feed(initial_state(), warmed(world, intervals=40), step=RAMP)
    after = feed(before.state, [], step=replace(RAMP, key="0:5:Progressing", next_weight=10.0))
    assert before.verdict is Verdict.PROVEN
    assert after.verdict is Verdict.INCONCLUSIVE
    assert 2.0 < after.evidence.proof["errors"] < after.evidence.log_proof_threshold
    again = feed(after.state, warmed(world, intervals=2), step=replace(RAMP, key="0:5:Progressing", next_weight=10.0))
    assert again.verdict is Verdict.PROVEN


def test_a_ramp_of_other_weights_begins_its_proof_anew() -> None:
    before = feed(initial_state(), warmed(World(rate=3000.0), intervals=40), step=RAMP)
    after = feed(before.state, [], step=replace(RAMP, ladder=(5.0, 20.0, 30.0, 50.0, 100.0)))
    assert after.evidence.proof["errors"] == pytest.approx(0.0, abs=1e-6)


def test_ramps_and_steps_are_judged_side_by_side_as_one_by_one() -> None:
    steps = [TO_25, RAMP, replace(TO_25, next_weight=None), replace(RAMP, ladder=(5.0, 100.0))]
    requests = [
        JudgeRequest(initial_state(), JudgeSettings(), step, tuple(warmed(World(seed=n))))
        for n, step in enumerate(steps)
    ]
    assert judge(requests) == [judge([request])[0] for request in requests]


def test_after_a_ramp_the_last_watch_keeps_the_evidence_of_harm() -> None:
    ramp = feed(initial_state(), warmed(World(), intervals=30), step=RAMP)
    bake = feed(ramp.state, [], step=Step("0:50:Baking", None))
    assert bake.evidence.log_e == ramp.evidence.log_e
    assert bake.evidence.canary == ramp.evidence.canary
    assert bake.verdict is Verdict.INCONCLUSIVE
