"""Steps that wait for a person, and steps that wait for the hour."""

from dataclasses import replace

import pytest

from analyzer.core.judge.types import Verdict
from analyzer.core.rollout import (
    HoldReason,
    Phase,
    RolloutPlan,
    RolloutState,
    Snapshot,
    StagePlan,
    Urgency,
    Verb,
    decide,
    settle,
)
from analyzer.core.rollout.approval import unapproved, without_asking
from tests.core.rollout.scenes import PLAN, TWO_STAGES, carry_out, evidence, progressing, reasons, snapshot
from tests.core.rollout.test_hearing import ask, asked
from tests.core.rollout.test_room import view

AT_50 = replace(PLAN, approval=(50,), called="shop -n shop")
CLOSED = "outside the hours of spec.schedule: closed until Mon 09:00 (Europe/Zurich)"
AUTO = RolloutPlan(stages=(StagePlan(None, (1, 5, 7, 10, 16, 25, 35, 50, 100), auto=True),), approval=(16,))


def proven(*weights: float) -> Snapshot:
    return snapshot(*weights, verdict=Verdict.PROVEN)


def waiting(plan: RolloutPlan, state: RolloutState, seen: Snapshot) -> RolloutState:
    after = decide(plan, state, seen)
    assert after.intent is None
    assert after.hold is not None
    assert after.hold.reason is HoldReason.APPROVAL
    return after


def test_a_step_waits_for_its_approval_and_people_are_told_once_with_the_command() -> None:
    held = waiting(AT_50, progressing(25.0), proven(25.0))
    (notice,) = held.notices
    assert (notice.reason, notice.urgency, notice.command) == ("Approval", Urgency.NOTICE, "serin resume shop -n shop")
    assert "v2@bbb waits for approval of 50 %" in notice.what
    assert waiting(AT_50, replace(held, notices=()), proven(25.0)).notices == ()


def test_other_steps_do_not_wait() -> None:
    after = decide(AT_50, progressing(10.0), proven(10.0))
    assert after.intent is not None
    assert after.intent.after == (25.0,)


def test_an_approval_is_for_its_step_and_not_for_the_next() -> None:
    plan = replace(PLAN, approval=(25, 50))
    held = waiting(plan, progressing(10.0), proven(10.0))
    granted = decide(plan, held, asked(proven(10.0), ask(Verb.RESUME)))
    assert granted.intent is not None
    assert granted.intent.after == (25.0,)
    assert [n.reason for n in granted.notices if n.resolved] == ["Approval"], "the alert ends"
    there = settle(granted, (25.0,), now_s=1.0)
    again = waiting(plan, replace(there, notices=()), proven(25.0))
    assert reasons(again) == ["Approval"], "the next one is asked for anew"


def test_an_approval_is_for_its_rollout() -> None:
    held = waiting(AT_50, progressing(25.0), proven(25.0))
    refused = decide(AT_50, held, asked(proven(25.0), ask(Verb.RESUME, rollout="")))
    assert refused.request is not None
    assert refused.request.message == "An approval has to name the rollout that it is for."
    granted = decide(AT_50, held, asked(snapshot(25.0), ask(Verb.RESUME)))
    assert granted.approved == (50.0,)
    ended = replace(granted, phase=Phase.ROLLED_BACK, weights=(0.0,))
    assert decide(AT_50, ended, snapshot(0.0)).approved == (), "the next rollout begins without it"


def test_before_it_waits_there_is_nothing_to_approve() -> None:
    after = decide(AT_50, progressing(25.0), asked(snapshot(25.0), ask(Verb.RESUME)))
    assert after.approved == ()


def test_while_it_waits_harm_is_rolled_back() -> None:
    held = waiting(AT_50, progressing(25.0), proven(25.0))
    after = carry_out(AT_50, held, snapshot(25.0, verdict=Verdict.HARM))
    assert (after.phase, after.awaits) == (Phase.ROLLED_BACK, ())


def test_while_it_waits_suspicion_keeps_it_and_an_approval_does_not_override() -> None:
    held = waiting(AT_50, progressing(25.0), proven(25.0))
    granted = decide(AT_50, held, asked(snapshot(25.0), ask(Verb.RESUME)))
    after = decide(AT_50, granted, snapshot(25.0, verdict=Verdict.INCONCLUSIVE, seen=evidence(log_e=3.0)))
    assert after.intent is None


def test_a_turn_without_telemetry_keeps_it_waiting() -> None:
    held = waiting(AT_50, progressing(25.0), proven(25.0))
    assert waiting(AT_50, held, snapshot(25.0, telemetry=None)) == held


def test_a_stage_waits_before_its_first_request_also_where_the_one_before_hands_over() -> None:
    plan = replace(TWO_STAGES, approval=("insiders", "primary"))
    pending = progressing(0.0, 0.0, phase=Phase.PENDING)
    first = waiting(plan, pending, snapshot(0.0, 0.0))
    assert "the route insiders waits for approval" in first.message
    second = waiting(plan, progressing(50.0, 0.0), proven(50.0, 0.0))
    assert "the route primary waits for approval" in second.message
    granted = decide(plan, second, asked(proven(50.0, 0.0), ask(Verb.RESUME)))
    assert granted.intent is not None
    assert granted.intent.after == (100.0, 1.0)


def test_before_everybody_gets_it_the_bake_comes_first() -> None:
    plan = replace(PLAN, approval=(100,))
    baking = decide(plan, progressing(50.0), proven(50.0))
    assert baking.phase is Phase.BAKING
    held = waiting(plan, baking, snapshot(50.0, verdict=Verdict.PROVEN, seen=evidence(step_seconds=700)))
    assert "100 % waits for approval" in held.message


def test_a_ramp_goes_as_far_as_nobody_has_to_be_asked() -> None:
    state = progressing(7.0)
    assert without_asking(AUTO, state, (25.0,)) == (10.0,)
    assert without_asking(AUTO, progressing(10.0), (25.0,)) is None
    assert without_asking(AUTO, replace(progressing(10.0), approved=(16.0,)), (25.0,)) == (25.0,)


def test_what_is_there_already_is_not_asked_for() -> None:
    assert unapproved(AT_50, progressing(50.0), (100.0,)) == []
    assert unapproved(AT_50, replace(progressing(39.0), approved=(50.0,)), (50.0,)) == []


def test_a_point_that_the_policy_drops_is_waited_for_no_longer() -> None:
    held = waiting(AT_50, progressing(25.0), proven(25.0))
    after = decide(PLAN, held, proven(25.0))
    assert after.intent is not None
    assert [n.reason for n in after.notices if n.resolved] == ["Approval"]


# --- the hour ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "seen"),
    [
        (progressing(0.0, phase=Phase.PENDING), snapshot(0.0)),
        (progressing(25.0), proven(25.0)),
        (replace(progressing(39.0), cleared=(50.0,)), proven(39.0)),
        (
            progressing(50.0, phase=Phase.BAKING),
            snapshot(50.0, verdict=Verdict.PROVEN, seen=evidence(step_seconds=700)),
        ),
    ],
    ids=["the first step", "a step", "the rest of a step", "the last step"],
)
def test_outside_its_hours_no_step_is_made(state: RolloutState, seen: Snapshot) -> None:
    held = decide(PLAN, state, replace(seen, closed=CLOSED, capacity=view(canary=6)))
    assert held.intent is None
    assert held.hold is not None
    assert held.hold.reason is HoldReason.SCHEDULE
    assert "closed until Mon 09:00" in held.hold.message
    opened = decide(PLAN, held, replace(seen, capacity=view(canary=6)))
    assert opened.intent is not None


def test_outside_its_hours_harm_is_rolled_back_and_a_new_revision_is_taken_on() -> None:
    seen = replace(snapshot(25.0, verdict=Verdict.HARM), closed=CLOSED)
    assert carry_out(PLAN, progressing(25.0), seen).phase is Phase.ROLLED_BACK
    assert decide(PLAN, RolloutState(), replace(snapshot(0.0), closed=CLOSED)).phase is Phase.PENDING


def test_an_approval_is_asked_for_when_the_step_could_be_made() -> None:
    night = decide(AT_50, progressing(25.0), replace(proven(25.0), closed=CLOSED))
    assert (night.hold and night.hold.reason, night.notices) == (HoldReason.SCHEDULE, ())


def test_a_person_promotes_at_any_hour() -> None:
    after = decide(AT_50, progressing(25.0), asked(replace(snapshot(25.0), closed=CLOSED), ask(Verb.PROMOTE)))
    assert after.intent is not None
    assert after.intent.after == (100.0,)
