"""What people ask for: each request is dealt with once, and answered.

An answer is part of the state, and so is what follows from it: both are recorded in one write, before any weight moves.
"""

from dataclasses import replace
from typing import Final

from analyzer.core.judge.types import Verdict
from analyzer.core.rollout.approval import stop_asking
from analyzer.core.rollout.model import (
    HoldReason,
    Problem,
    RolloutState,
    Snapshot,
    TargetView,
    Urgency,
    Weights,
)
from analyzer.core.rollout.notices import tell
from analyzer.core.rollout.phases import IN_FLIGHT, Phase
from analyzer.core.rollout.plan import RolloutPlan
from analyzer.core.rollout.requests import (
    Answer,
    AnswerOutcome,
    DriftAnswer,
    Malformed,
    Pause,
    Promotion,
    Request,
    Verb,
)
from analyzer.core.rollout.room import as_pods_allow
from analyzer.core.rollout.transitions import abort, forget_evidence, intend
from analyzer.core.rollout.weights import FULL, active_stage, any_traffic, completes, full, moved, same, show

_KEEP_ANSWERED: Final = 20

_EVENTS: Final = {
    Verb.PAUSE: "Paused",
    Verb.RESUME: "Resumed",
    Verb.RETRY: "RetryRequested",
    Verb.PROMOTE: "PromoteRequested",
    Verb.ABORT: "AbortRequested",
}


class _Refused(Exception):
    """Not now, or not so."""


def hear(plan: RolloutPlan, state: RolloutState, snapshot: Snapshot) -> RolloutState:
    """Deal with what a person asks for, unless that was done.

    Parameters
    ----------
    plan, state, snapshot
        As of `decide`.

    Returns
    -------
    RolloutState
        With the answer, and with what follows from it; the decision then goes on from there.
    """
    request = snapshot.request
    if request is None or request.id in state.answered:
        return state
    if isinstance(request, Malformed):
        answer = Answer(request.id, AnswerOutcome.REFUSED, request.message)
        return tell(_answered(state, answer), "RequestRefused", Urgency.EVENT, request.message)
    try:
        heard, message = _deal_with(plan, state, snapshot, request)
        outcome = AnswerOutcome.DONE
    except _Refused as refused:
        heard, message = state, str(refused)
        outcome = AnswerOutcome.REFUSED
    answer = Answer(
        request.id,
        outcome,
        message,
        verb=request.verb.value,
        by=request.by,
        why=request.why,
        at=request.at,
    )
    why = f" Why: {request.why}" if request.why else ""
    if outcome is AnswerOutcome.DONE:
        what = f"{request.by} asked: {request.verb.value}. {message}{why}"
        return tell(_answered(heard, answer), _EVENTS[request.verb], Urgency.EVENT, what)
    what = f"Refused to {request.by}: {request.verb.value}. {message}{why}"
    return tell(_answered(heard, answer), "RequestRefused", Urgency.EVENT, what)


def _answered(state: RolloutState, answer: Answer) -> RolloutState:
    return replace(state, request=answer, answered=(*state.answered, answer.id)[-_KEEP_ANSWERED:])


def _deal_with(
    plan: RolloutPlan, state: RolloutState, snapshot: Snapshot, request: Request
) -> tuple[RolloutState, str]:
    target = snapshot.target
    if request.verb is not Verb.RETRY and request.rollout not in {"", state.rollout}:
        now = state.rollout if state.canary else "there is none"
        raise _Refused(f"It speaks of the rollout {request.rollout}, and that is over; now: {now}.")
    if request.verb is Verb.PAUSE:
        return _pause(state, request)
    if request.verb is Verb.RESUME and state.paused is not None and request.weights is None:
        return replace(state, paused=None), f"The pause of {state.paused.by} is over."
    if isinstance(target, Problem):
        raise _Refused(f"The policy cannot work now: {target.message}")
    if request.verb is Verb.RETRY:
        return _retry(state, target, request)
    live = target.shares.get(state.canary)
    if live is None or state.phase not in IN_FLIGHT:
        raise _Refused(_nothing_in_flight(state))
    if state.phase is Phase.ROLLING_BACK:
        raise _Refused(f"{state.rollout} is being rolled back ({state.reason}).")
    match request.verb:
        case Verb.ABORT:
            return _abort(plan, state, request, live)
        case Verb.PROMOTE:
            return _promote(plan, state, target, request)
        case _:
            return _resume(state, request, live)


def _nothing_in_flight(state: RolloutState) -> str:
    if state.phase is Phase.PROMOTED:
        return f"{state.rollout} has all of the traffic, and no rollout is in flight."
    if state.phase is Phase.ROLLED_BACK:
        return f"{state.rollout} was rolled back; `retry` judges it again."
    return "No rollout is in flight."


def _pause(state: RolloutState, request: Request) -> tuple[RolloutState, str]:
    if state.paused is not None:
        raise _Refused(f"It is paused already. {state.paused}")
    paused = replace(state, paused=Pause(by=request.by, why=request.why, at=request.at))
    return paused, "No step forward until `resume`; a rollback would still be made."


def _abort(plan: RolloutPlan, state: RolloutState, request: Request, live: Weights) -> tuple[RolloutState, str]:
    if plan.observe_only:
        raise _Refused("The policy only observes; take the weights back by hand.")
    why = f"{request.by} took it back{f': {request.why}' if request.why else ''}."
    return abort(plan, state, live, reason="AbortedByPerson", message=why), f"{state.rollout} loses its traffic."


def _retry(state: RolloutState, target: TargetView, request: Request) -> tuple[RolloutState, str]:
    if state.phase in IN_FLIGHT:
        raise _Refused(f"{state.rollout} is in flight: there is nothing to judge again.")
    if target.default_stable is None or target.unfit is not None:
        raise _Refused(target.unfit.message if target.unfit else "Both versions have the same weight.")
    candidate = target.other(target.default_stable)
    named = f"{candidate.name}@{candidate.revision}"
    if request.rollout != named:
        raise _Refused(
            f"{request.rollout} cannot be judged now: {target.default_stable} is stable, the other is {named}."
        )
    kept = tuple(j for j in state.judged if (j.version, j.revision) != (candidate.name, candidate.revision))
    if kept == state.judged:
        raise _Refused(f"{named} was not judged yet; there is nothing to forget.")
    return replace(state, judged=kept), f"{named} is judged again, with new evidence."


# --- resume -----------------------------------------------------------------------------------------------------------


def _resume(state: RolloutState, request: Request, live: Weights) -> tuple[RolloutState, str]:
    drifted = state.phase is not Phase.PENDING and not same(live, state.weights)
    if request.weights is not None and not drifted:
        raise _Refused("Nobody else's weights are there; leave `weights` out.")
    if drifted:
        return _end_drift(state, request, live)
    held = state.hold.reason if state.hold is not None else None
    if held is HoldReason.APPROVAL and state.awaits:
        if not request.rollout:
            raise _Refused("An approval has to name the rollout that it is for.")
        message = f"{show(state.awaits)} is approved."
        approved = replace(state, approved=state.awaits, hold=None, message=message)
        return stop_asking(approved), message
    raise _Refused(f"Nothing waits for a person. {state.message}")


def _end_drift(state: RolloutState, request: Request, live: Weights) -> tuple[RolloutState, str]:
    there, before = show(live), show(state.weights)
    if not request.rollout:
        raise _Refused("It has to name the rollout whose weights are meant.")
    if request.weights is None:
        raise _Refused(f"Somebody wrote {there}, and it was {before}: say which, with `weights: adopt` or `restore`.")
    less = all(now >= then for now, then in zip(live, state.weights, strict=True))
    if request.weights is DriftAnswer.RESTORE and less:
        return replace(state, restoring=True, hold=None), f"{before} is written again."
    if request.weights is DriftAnswer.ADOPT and not any_traffic(live):
        raise _Refused(f"{state.canary} has no traffic: `abort` ends the rollout, `restore` gives it {before} again.")
    if request.weights is DriftAnswer.ADOPT and completes(live):
        raise _Refused(f"{state.canary} has all of the traffic: `promote` ends the rollout so, `restore` undoes it.")
    if active_stage(live) != active_stage(state.weights):
        state = forget_evidence(state)
    adopted = replace(state, weights=live, weights_before=(), cleared=(), hold=None)
    if request.weights is DriftAnswer.ADOPT:
        return adopted, f"It goes on from {there}."
    # Up again means more traffic: as far as pods carry it, like any step.
    return replace(adopted, cleared=state.weights), f"It goes back to {before}, as ready pods allow."


# --- promote ----------------------------------------------------------------------------------------------------------


def _promote(plan: RolloutPlan, state: RolloutState, target: TargetView, request: Request) -> tuple[RolloutState, str]:
    if plan.observe_only:
        raise _Refused("The policy only observes; move the weights by hand.")
    if plan.suspended or state.paused is not None:
        raise _Refused(f"{state.paused or 'The policy is suspended (spec.suspend).'} End that first.")
    canary = target.version(state.canary)
    if state.phase is Phase.PENDING and (canary is None or not canary.settled):
        raise _Refused(f"The pods of {state.rollout} are not ready.")
    if state.verdict is Verdict.HARM and not request.force:
        raise _Refused(f"{state.rollout} is proven harmful; only with `force`.")
    ordered = replace(state, promotion=Promotion(by=request.by, why=request.why, force=request.force), hold=None)
    how = "whatever evidence and pods say" if request.force else "as ready pods allow"
    return stop_asking(ordered), f"{state.rollout} gets everybody, {how}."


def promote(plan: RolloutPlan, state: RolloutState, snapshot: Snapshot, order: Promotion) -> RolloutState:
    """Give everybody the canary because a person ordered it: at any hour, without proof.

    One stage after the other, as far as ready pods allow; with `force` all at once. `state.weights` are those that are there.
    """
    why = f"{order.by} promotes it{f': {order.why}' if order.why else ''}"
    if order.force:
        message = f"{show(state.weights)} to {show(full(plan))}: {why}."
        return intend(state, state.weights, full(plan), reason="PromotedByPerson", message=message)
    cleared = replace(state, cleared=moved(plan, state.weights, FULL))
    return as_pods_allow(plan, cleared, snapshot.capacity, reason="PromotedByPerson", why=why)
