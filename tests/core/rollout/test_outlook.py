"""What lies ahead of a rollout, in figures and in words: the real judge fed through a real plan."""

from dataclasses import replace

import pytest

from analyzer.core.judge import JudgeSettings, initial_state
from analyzer.core.judge.outlook import Found, Need
from analyzer.core.judge.types import Verdict
from analyzer.core.rollout import Hold, HoldReason, OnInconclusive, Phase, RolloutPlan, RolloutState, StagePlan, explain
from analyzer.core.rollout.decide import step_of
from analyzer.core.rollout.outlook import Outlook, judged_again, look_out
from tests.core.judge.worlds import Behaviour, World, feed
from tests.core.rollout.scenes import PLAN, TWO_STAGES, evidence, progressing

SETTINGS = JudgeSettings()


def judged(
    state: RolloutState, count: int, *, canary: Behaviour | None = None, plan: RolloutPlan = PLAN
) -> RolloutState:
    """Feed the judge so many intervals at the state's step."""
    world = World(seconds=15.0, weight=10.0, pods=(4, 2))
    intervals = [world.interval(canary, stable=Behaviour()) for _ in range(count)]
    assessment = feed(initial_state(), intervals, step=step_of(plan, state), settings=SETTINGS)
    return replace(state, judge=assessment.state, evidence=None, interval_s=15.0, verdict=assessment.verdict)


def outlook(state: RolloutState, plan: RolloutPlan = PLAN) -> Outlook:
    found = look_out(plan, SETTINGS, state, pods=(4, 2))
    assert found is not None
    return found


def test_times_of_the_plan_run_from_the_step_and_the_judge_says_the_rest() -> None:
    state = judged(progressing(10), 4)
    ahead = outlook(state)
    assert ahead.following == (25.0,)
    assert ahead.watch_left_s == 0.0
    assert ahead.patience_left_s == PLAN.dwell_max_s - 60.0
    assert ahead.lacking
    assert ahead.if_harmless is not None
    assert ahead.if_harmless.verdict is Verdict.PROVEN
    assert ahead.canary_rps == pytest.approx(20.0, rel=0.1)
    assert ahead.found is not None


def test_with_everything_proven_nothing_is_missing() -> None:
    state = judged(progressing(10), 40)
    assert state.verdict is Verdict.PROVEN
    ahead = outlook(state)
    assert (ahead.lacking, ahead.if_harmless, ahead.as_so_far) == ({}, None, None)
    assert explain.missing(PLAN, state, ahead) == []
    [line] = explain.why_not_next(PLAN, judged_again(PLAN, SETTINGS, state), ahead)
    assert line.endswith("all is proven: the step is due.")


@pytest.mark.parametrize("phase", [Phase.IDLE, Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.PROMOTED, Phase.INVALID])
def test_where_nothing_is_judged_nothing_lies_ahead(phase: Phase) -> None:
    assert look_out(PLAN, SETTINGS, progressing(10, phase=phase)) is None


def test_a_policy_with_other_stages_by_now_is_no_trouble() -> None:
    state = judged(progressing(10), 4)
    assert look_out(TWO_STAGES, SETTINGS, state) is None
    assert judged_again(TWO_STAGES, SETTINGS, state).evidence is None


def test_before_the_first_interval_only_the_plan_speaks() -> None:
    ahead = outlook(progressing(10))
    assert ahead == Outlook(following=(25.0,), watch_left_s=PLAN.dwell_min_s)
    [line] = explain.why_not_next(PLAN, progressing(10), ahead)
    assert line.startswith("Nothing that was judged is stored yet")


def test_a_bake_lacks_time_and_nothing_else() -> None:
    state = judged(progressing(50, phase=Phase.BAKING), 4)
    ahead = outlook(state)
    assert ahead.watch_left_s == PLAN.bake_s - 60.0
    assert ahead.patience_left_s is None
    assert explain.next_step(PLAN, state, ahead) == "100 %"


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (OnInconclusive.ADVANCE, "goes on to 25 % unproven"),
        (OnInconclusive.HOLD, "goes on waiting for proof"),
        (OnInconclusive.ROLLBACK, "rolls back"),
    ],
)
@pytest.mark.parametrize(
    ("left_s", "when"), [(90.0, "In 1 min 30 s without proof it "), (0.0, "Without proof it now ")]
)
def test_what_comes_without_proof_is_said(then: OnInconclusive, words: str, left_s: float, when: str) -> None:
    plan = replace(PLAN, on_inconclusive=then)
    need = Need(Verdict.PROVEN, 300.0, 6012)
    ahead = Outlook((25.0,), patience_left_s=left_s, canary_rps=20.0, if_harmless=need, as_so_far=need)
    lines = explain.missing(plan, progressing(10), ahead)
    assert lines[0] == "About 6,000 more requests to the canary and 5 min at 20 requests/s, if v2 is as good as v1."
    assert lines[2].startswith(f"{when}{words}")
    held = replace(progressing(10), hold=Hold(HoldReason.BLIND, "No telemetry."))
    assert len(explain.missing(plan, held, ahead)) == 2  # while it is held, no time runs out


def test_each_hold_says_what_ends_it() -> None:
    for reason in HoldReason:
        state = replace(progressing(10), hold=Hold(reason, "So it is."), evidence=evidence())
        lines = explain.why_not_next(PLAN, state, Outlook((25.0,)))
        assert lines[0] == f"Held, {reason.value}: So it is."
        assert "It ends " in lines[1]


@pytest.mark.parametrize(
    ("log_e", "p_value", "words"),
    [(-1.0, 1.0, "Nothing speaks"), (1.0, 0.4, "A little"), (2.5, 0.08, "Suspicious"), (4.0, 0.001, "Harm is proven")],
)
def test_evidence_of_harm_is_said_in_words_first(log_e: float, p_value: float, words: str) -> None:
    seen = replace(evidence(log_e=log_e), p_value=p_value)
    assert explain.evidence_of_harm(seen).startswith(words)


def test_what_would_have_been_found_is_said_in_two_digits() -> None:
    assert explain.found(Found(0.00512, 0.00104, 1.1349)) == [
        "An error rate of 0.51 % instead of 0.1 % would have been found by now with 95 %.",
        "So would everything taking 13 % longer.",
    ]
    assert explain.found(Found(None, 0.001, 2.51)) == [
        "No error rate would have been found by now with 95 %: too few requests.",
        "Everything taking 2.5 times as long would have been found by now with 95 %.",
    ]
    assert explain.found(None) == []


def test_the_last_step_names_the_watch_before_it() -> None:
    plan = replace(PLAN, stages=(StagePlan(None, (50, 100)),))
    assert explain.next_step(plan, progressing(50), Outlook((100.0,))) == "the last watch (10 min of bake), then 100 %"
