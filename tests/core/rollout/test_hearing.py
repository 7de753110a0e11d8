"""What people ask for, phase by phase: done once, answered always, refused with a reason where it makes no sense."""

from dataclasses import replace
from itertools import product

import pytest

from analyzer.core.judge.types import Verdict
from analyzer.core.rollout import (
    AnswerOutcome,
    CapacityView,
    DriftAnswer,
    HoldReason,
    Judged,
    Malformed,
    Outcome,
    Phase,
    Problem,
    Request,
    RolloutState,
    Snapshot,
    Urgency,
    Verb,
    decide,
    settle,
)
from tests.core.rollout.scenes import (
    BLIND,
    CANARY,
    PLAN,
    TWO_STAGES,
    carry_out,
    evidence,
    progressing,
    reasons,
    snapshot,
    target,
)
from tests.core.rollout.test_room import view

ROLLOUT = "v2@bbb"
_numbers = iter(range(10**6))


def ask(
    verb: Verb, *, rollout: str = ROLLOUT, why: str = "", weights: DriftAnswer | None = None, force: bool = False
) -> Request:
    return Request(
        id=f"{next(_numbers):08x}",
        verb=verb,
        by="alice",
        why=why,
        at="2026-11-28T13:00:00Z",
        rollout=rollout,
        weights=weights,
        force=force,
    )


def asked(seen: Snapshot, request: Request | Malformed, capacity: CapacityView | None = None) -> Snapshot:
    return replace(seen, request=request, capacity=capacity)


def answer(state: RolloutState) -> tuple[AnswerOutcome, str]:
    assert state.request is not None
    return state.request.outcome, state.request.message


PROVEN = snapshot(10.0, verdict=Verdict.PROVEN)


# --- once -------------------------------------------------------------------------------------------------------------


def test_a_request_is_dealt_with_once_however_often_it_is_read() -> None:
    request = ask(Verb.PAUSE, why="odd logs")
    paused = decide(PLAN, progressing(10.0), asked(snapshot(10.0), request))
    assert answer(paused)[0] is AnswerOutcome.DONE
    resumed = decide(PLAN, paused, asked(snapshot(10.0), ask(Verb.RESUME)))
    assert resumed.paused is None
    again = decide(PLAN, resumed, asked(snapshot(10.0), request))
    assert again.paused is None
    assert again.answered == resumed.answered


def test_who_asked_and_why_are_in_the_event_and_in_the_answer() -> None:
    after = decide(PLAN, progressing(10.0), asked(snapshot(10.0), ask(Verb.PAUSE, why="odd logs")))
    (notice,) = after.notices
    assert (notice.reason, notice.urgency) == ("Paused", Urgency.EVENT)
    assert notice.what == (
        "alice asked: pause. No step forward until `resume`; a rollback would still be made. Why: odd logs"
    )
    assert after.request is not None
    assert (after.request.verb, after.request.by, after.request.why) == ("pause", "alice", "odd logs")


def test_a_request_that_cannot_be_read_is_refused_once() -> None:
    bad = Malformed("deadbeef", "The annotation is no request: it is not JSON.")
    after = decide(PLAN, progressing(10.0), asked(snapshot(10.0), bad))
    assert answer(after) == (AnswerOutcome.REFUSED, bad.message)
    assert reasons(after) == ["RequestRefused"]
    assert decide(PLAN, replace(after, notices=()), asked(snapshot(10.0), bad)).notices == ()


def test_a_request_for_an_earlier_rollout_never_hits_the_next() -> None:
    for verb in (Verb.PAUSE, Verb.RESUME, Verb.PROMOTE, Verb.ABORT):
        after = decide(PLAN, progressing(10.0), asked(PROVEN, ask(verb, rollout="v2@older")))
        assert answer(after)[0] is AnswerOutcome.REFUSED, verb
        assert "v2@older, and that is over; now: v2@bbb" in answer(after)[1]
        assert after.phase is Phase.PROGRESSING
        assert after.paused is None


# --- pause ------------------------------------------------------------------------------------------------------------


def test_a_pause_holds_what_is_proven_and_its_end_lets_it_go() -> None:
    paused = decide(PLAN, progressing(10.0), asked(PROVEN, ask(Verb.PAUSE, rollout="", why="odd logs")))
    assert paused.intent is None
    assert paused.hold is not None
    assert (paused.hold.reason, paused.hold.message) == (
        HoldReason.PAUSED,
        "Paused by alice (odd logs); `resume` ends it.",
    )
    resumed = decide(PLAN, paused, asked(PROVEN, ask(Verb.RESUME)))
    assert resumed.intent is not None
    assert resumed.intent.after == (25.0,)


def test_while_paused_harm_is_still_rolled_back() -> None:
    paused = decide(PLAN, progressing(10.0), asked(snapshot(10.0), ask(Verb.PAUSE)))
    after = carry_out(PLAN, paused, snapshot(10.0, verdict=Verdict.HARM))
    assert after.phase is Phase.ROLLED_BACK
    assert after.paused is not None, "the next release waits as well, until somebody says otherwise"


def test_while_paused_a_new_revision_waits() -> None:
    idle = decide(PLAN, RolloutState(), asked(snapshot(0.0), ask(Verb.PAUSE, rollout="")))
    assert idle.phase is Phase.IDLE
    assert idle.hold is not None
    assert idle.hold.reason is HoldReason.PAUSED
    begun = decide(PLAN, idle, asked(snapshot(0.0), ask(Verb.RESUME, rollout="")))
    assert begun.phase is Phase.PENDING


def test_a_second_pause_is_refused_with_the_first() -> None:
    paused = decide(PLAN, progressing(10.0), asked(snapshot(10.0), ask(Verb.PAUSE)))
    after = decide(PLAN, paused, asked(snapshot(10.0), replace(ask(Verb.PAUSE), by="bob")))
    assert answer(after) == (AnswerOutcome.REFUSED, "It is paused already. Paused by alice; `resume` ends it.")
    assert after.paused == paused.paused


def test_a_policy_that_does_not_work_can_be_paused_and_no_more() -> None:
    broken = Snapshot(target=Problem("VirtualServiceMissing", "There is no VirtualService."), elapsed_s=1.0)
    paused = decide(PLAN, progressing(10.0), asked(broken, ask(Verb.PAUSE)))
    assert paused.phase is Phase.INVALID
    assert paused.paused is not None
    for verb in (Verb.RETRY, Verb.PROMOTE, Verb.ABORT):
        after = decide(PLAN, progressing(10.0), asked(broken, ask(verb)))
        assert answer(after) == (AnswerOutcome.REFUSED, "The policy cannot work now: There is no VirtualService.")


# --- resume -----------------------------------------------------------------------------------------------------------


def test_resume_without_anything_that_waits_is_refused() -> None:
    watching = replace(progressing(10.0), message="Watches: 10 s at 10 %.")
    after = decide(PLAN, watching, asked(snapshot(10.0), ask(Verb.RESUME)))
    assert answer(after) == (AnswerOutcome.REFUSED, "Nothing waits for a person. Watches: 10 s at 10 %.")


def drifted(*live: float, weights: DriftAnswer | None, at: float = 25.0) -> RolloutState:
    held = decide(PLAN, progressing(at), snapshot(*live))
    assert held.hold is not None
    assert held.hold.reason is HoldReason.DRIFT
    return decide(PLAN, held, asked(snapshot(*live), ask(Verb.RESUME, weights=weights)))


def test_drift_is_not_resolved_by_guessing() -> None:
    after = drifted(40.0, weights=None)
    assert answer(after)[0] is AnswerOutcome.REFUSED
    assert "Somebody wrote 40 %, and it was 25 %" in answer(after)[1]
    assert after.hold is not None


def test_drift_that_is_adopted_is_gone_on_from_with_a_step_of_its_own() -> None:
    after = drifted(40.0, weights=DriftAnswer.ADOPT)
    assert (after.weights, after.intent, after.hold) == ((40.0,), None, None)
    gone_on = decide(PLAN, after, snapshot(40.0, verdict=Verdict.PROVEN))
    assert gone_on.intent is not None
    assert gone_on.intent.after == (50.0,)


def test_drift_to_less_is_restored_as_pods_allow() -> None:
    after = drifted(10.0, weights=DriftAnswer.RESTORE)
    assert (after.weights, after.cleared) == ((10.0,), (25.0,))
    gone_on = decide(PLAN, after, replace(snapshot(10.0, verdict=Verdict.INCONCLUSIVE)))
    assert gone_on.intent is not None
    assert gone_on.intent.after == (25.0,)


def test_drift_to_more_is_restored_until_that_is_confirmed() -> None:
    after = drifted(40.0, weights=DriftAnswer.RESTORE)
    assert after.intent is not None
    assert (after.intent.before, after.intent.after) == ((40.0,), (25.0,))
    lost = settle(after, (40.0,), now_s=1000.0)  # the write did not come through
    again = decide(PLAN, lost, snapshot(40.0))
    assert again.intent is not None
    assert again.intent.after == (25.0,)
    there = settle(again, (25.0,), now_s=1000.0)
    assert (there.weights, there.restoring) == ((25.0,), False)


@pytest.mark.parametrize(
    ("live", "said"), [(0.0, "`abort` ends the rollout"), (100.0, "`promote` ends the rollout so")]
)
def test_drift_to_an_end_is_not_adopted(live: float, said: str) -> None:
    after = drifted(live, weights=DriftAnswer.ADOPT)
    assert answer(after)[0] is AnswerOutcome.REFUSED
    assert said in answer(after)[1]


def test_drift_into_another_stage_is_adopted_with_new_evidence() -> None:
    held = decide(TWO_STAGES, replace(progressing(50.0, 0.0), evidence=evidence()), snapshot(100.0, 1.0))
    after = decide(TWO_STAGES, held, asked(snapshot(100.0, 1.0), ask(Verb.RESUME, weights=DriftAnswer.ADOPT)))
    assert after.weights == (100.0, 1.0)
    assert (after.judge, after.judged_until_s, after.evidence) == (None, None, None)


def test_adopt_and_restore_say_nothing_where_nobody_else_wrote() -> None:
    after = decide(PLAN, progressing(10.0), asked(snapshot(10.0), ask(Verb.RESUME, weights=DriftAnswer.ADOPT)))
    assert answer(after) == (AnswerOutcome.REFUSED, "Nobody else's weights are there; leave `weights` out.")


# --- retry ------------------------------------------------------------------------------------------------------------

ROLLED_BACK = replace(
    progressing(0.0, phase=Phase.ROLLED_BACK),
    judged=(Judged("v2", "bbb", Outcome.ROLLED_BACK, "Harm"),),
    answered=(),
)


def test_a_revision_that_was_rolled_back_is_judged_again_from_nothing() -> None:
    seen = replace(ROLLED_BACK, evidence=evidence(log_e=6.0), verdict=Verdict.HARM)
    after = decide(PLAN, seen, asked(snapshot(0.0), ask(Verb.RETRY)))
    assert answer(after) == (AnswerOutcome.DONE, "v2@bbb is judged again, with new evidence.")
    assert (after.phase, after.judge, after.evidence, after.verdict) == (Phase.PENDING, None, None, Verdict.NO_DATA)


def test_retry_is_refused_where_there_is_nothing_to_judge_again() -> None:
    after = decide(PLAN, progressing(10.0), asked(snapshot(10.0), ask(Verb.RETRY)))
    assert answer(after) == (AnswerOutcome.REFUSED, "v2@bbb is in flight: there is nothing to judge again.")
    after = decide(PLAN, ROLLED_BACK, asked(snapshot(0.0), ask(Verb.RETRY, rollout="v2@older")))
    assert answer(after)[1] == "v2@older cannot be judged now: v1 is stable, the other is v2@bbb."


def test_after_a_promotion_the_old_version_can_be_released_again() -> None:
    done = decide(
        PLAN,
        progressing(50.0, phase=Phase.BAKING),
        snapshot(50.0, verdict=Verdict.PROVEN, seen=evidence(step_seconds=700)),
    )
    promoted = settle(done, (100.0,), now_s=1.0)
    assert promoted.phase is Phase.PROMOTED
    swapped = replace(snapshot(100.0), target=target(100.0, default_stable="v2"))
    refused = decide(PLAN, promoted, asked(swapped, ask(Verb.RETRY)))
    assert answer(refused)[1] == "v2@bbb cannot be judged now: v2 is stable, the other is v1@aaa."
    after = decide(PLAN, promoted, asked(swapped, ask(Verb.RETRY, rollout="v1@aaa")))
    assert (after.phase, after.canary) == (Phase.PENDING, "v1")


# --- promote ----------------------------------------------------------------------------------------------------------


def test_promote_takes_everybody_there_without_proof_and_without_telemetry() -> None:
    for telemetry in (None, BLIND):
        seen = asked(snapshot(10.0, telemetry=telemetry), ask(Verb.PROMOTE, why="a fix for the shop"))
        after = decide(PLAN, progressing(10.0), seen)
        assert after.intent is not None
        assert after.intent.after == (100.0,)
        assert after.intent.message == "10 % to 100 %: alice promotes it: a fix for the shop."
        assert settle(after, (100.0,), now_s=1.0).phase is Phase.PROMOTED


def test_promote_is_paced_by_pods_and_goes_on_by_itself() -> None:
    after = decide(PLAN, progressing(10.0), asked(snapshot(10.0), ask(Verb.PROMOTE), view(canary=1)))
    assert after.intent is not None
    assert after.intent.after == (39.0,)
    there = settle(after, (39.0,), now_s=1.0)
    waits = decide(PLAN, there, replace(snapshot(39.0), capacity=view(canary=1)))
    assert waits.hold is not None
    assert waits.hold.reason is HoldReason.CAPACITY
    grown = decide(PLAN, waits, replace(snapshot(39.0), capacity=view(canary=6)))
    assert grown.intent is not None
    assert grown.intent.after == (100.0,)


def test_forced_it_waits_for_nothing() -> None:
    after = decide(PLAN, progressing(10.0), asked(snapshot(10.0), ask(Verb.PROMOTE, force=True), view(canary=1)))
    assert after.intent is not None
    assert after.intent.after == (100.0,)


def test_promote_takes_one_stage_after_the_other() -> None:
    first = carry_out(TWO_STAGES, progressing(50.0, 0.0), asked(snapshot(50.0, 0.0), ask(Verb.PROMOTE)))
    assert first.weights == (100.0, 1.0)
    assert carry_out(TWO_STAGES, first, snapshot(100.0, 1.0)).phase is Phase.PROMOTED


def test_promote_out_of_pending_ends_promoted_too() -> None:
    pending = progressing(0.0, phase=Phase.PENDING)
    assert carry_out(PLAN, pending, asked(snapshot(0.0), ask(Verb.PROMOTE))).phase is Phase.PROMOTED
    unready = replace(CANARY, settled=False)
    after = decide(PLAN, pending, asked(snapshot(0.0, canary=unready), ask(Verb.PROMOTE)))
    assert answer(after) == (AnswerOutcome.REFUSED, "The pods of v2@bbb are not ready.")


def test_harm_takes_back_what_was_promoted_in_part_unless_it_was_forced() -> None:
    half = decide(PLAN, progressing(10.0), asked(snapshot(10.0), ask(Verb.PROMOTE), view(canary=1)))
    there = settle(half, (39.0,), now_s=1.0)
    assert decide(PLAN, there, snapshot(39.0, verdict=Verdict.HARM)).phase is Phase.ROLLING_BACK
    forced = decide(PLAN, progressing(10.0), asked(snapshot(10.0, verdict=Verdict.HARM), ask(Verb.PROMOTE, force=True)))
    assert forced.intent is not None
    assert forced.intent.after == (100.0,)


def test_what_is_proven_harmful_is_promoted_by_force_only() -> None:
    harmful = replace(progressing(10.0), verdict=Verdict.HARM)
    refused = decide(PLAN, harmful, asked(snapshot(10.0), ask(Verb.PROMOTE)))
    assert answer(refused) == (AnswerOutcome.REFUSED, "v2@bbb is proven harmful; only with `force`.")


def test_a_pause_stops_a_promotion_and_forbids_one() -> None:
    half = decide(PLAN, progressing(10.0), asked(snapshot(10.0), ask(Verb.PROMOTE), view(canary=1)))
    paused = decide(PLAN, settle(half, (39.0,), now_s=1.0), asked(snapshot(39.0), ask(Verb.PAUSE), view(canary=6)))
    assert (paused.intent, paused.hold and paused.hold.reason) == (None, HoldReason.PAUSED)
    refused = decide(PLAN, replace(paused, promotion=None), asked(snapshot(39.0), ask(Verb.PROMOTE)))
    assert "Paused by alice; `resume` ends it. End that first." in answer(refused)[1]


# --- abort ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.PROGRESSING, Phase.BAKING])
def test_abort_takes_all_traffic_back_and_the_revision_is_judged(phase: Phase) -> None:
    after = carry_out(PLAN, progressing(25.0, phase=phase), asked(snapshot(25.0), ask(Verb.ABORT, why="wrong build")))
    assert (after.phase, after.reason, after.weights) == (Phase.ROLLED_BACK, "AbortedByPerson", (0.0,))
    assert after.judged[-1].outcome is Outcome.ROLLED_BACK
    told = next(notice for notice in after.notices if notice.reason == "RolledBack")
    assert told.urgency is Urgency.NOTICE, "a person did it: nobody is to be woken"
    assert "alice took it back: wrong build." in told.what


def test_abort_before_any_traffic_ends_it_at_once() -> None:
    pending = progressing(0.0, phase=Phase.PENDING)
    after = decide(PLAN, pending, asked(snapshot(0.0), ask(Verb.ABORT)))
    assert (after.phase, after.reason, after.intent) == (Phase.ROLLED_BACK, "AbortedByPerson", None)


def test_who_only_observes_neither_aborts_nor_promotes() -> None:
    observing = replace(PLAN, observe_only=True)
    for verb in (Verb.ABORT, Verb.PROMOTE):
        after = decide(observing, progressing(10.0), asked(snapshot(10.0), ask(verb)))
        assert answer(after)[0] is AnswerOutcome.REFUSED
        assert "only observes" in answer(after)[1]


# --- in every phase ---------------------------------------------------------------------------------------------------

WORKS = {
    Verb.PAUSE: set(Phase),
    Verb.RESUME: set(),  # nothing waits in these scenes
    Verb.RETRY: {Phase.PROMOTED, Phase.ROLLED_BACK, Phase.IDLE, Phase.INVALID},
    Verb.PROMOTE: {Phase.PENDING, Phase.PROGRESSING, Phase.BAKING},
    Verb.ABORT: {Phase.PENDING, Phase.PROGRESSING, Phase.BAKING},
}


@pytest.mark.parametrize(("verb", "phase"), list(product(Verb, Phase)))
def test_each_request_is_answered_in_each_phase(verb: Verb, phase: Phase) -> None:
    weight = 0.0 if phase not in {Phase.PROGRESSING, Phase.BAKING, Phase.ROLLING_BACK} else 25.0
    state = replace(progressing(weight, phase=phase), judged=ROLLED_BACK.judged)
    after = decide(PLAN, state, asked(snapshot(weight), ask(verb)))
    outcome, message = answer(after)
    assert (outcome is AnswerOutcome.DONE) == (phase in WORKS[verb]), message
    assert message.endswith((".", ")."))
