"""State changes, each in one place, with what people are told of them."""

from dataclasses import replace

from analyzer.core.judge.types import Verdict
from analyzer.core.rollout import wording
from analyzer.core.rollout.model import (
    Hold,
    HoldReason,
    Intent,
    Judged,
    Notice,
    Outcome,
    Problem,
    RolloutState,
    Snapshot,
    TargetView,
    TelemetryHealth,
    Urgency,
    Weights,
)
from analyzer.core.rollout.phases import IN_FLIGHT, Phase, Trigger, after
from analyzer.core.rollout.plan import RolloutPlan
from analyzer.core.rollout.weights import active_stage, any_traffic, completes, same, show, zero

_KEEP_JUDGED = 20
_KEEP_NOTICES = 20


def tell(
    state: RolloutState, reason: str, urgency: Urgency, what: str, *, done: str = "", to_do: str = ""
) -> RolloutState:
    """Add a notice with the evidence of the moment."""
    notice = Notice(
        reason=reason,
        urgency=urgency,
        rollout=state.rollout,
        what=what,
        evidence=_evidence(state),
        done=done,
        to_do=to_do,
    )
    return replace(state, notices=(*state.notices, notice)[-_KEEP_NOTICES:])


def _evidence(state: RolloutState) -> str:
    if not state.canary:
        return ""
    said = wording.full(state.evidence, stable=state.stable, canary=state.canary)
    return f"{said}\ndispersion: {state.dispersion}" if state.dispersion else said


def tell_once(
    state: RolloutState, reason: str, urgency: Urgency, what: str, *, done: str = "", to_do: str = ""
) -> RolloutState:
    """Add a notice of a condition, unless people were told of it already."""
    if reason in state.told:
        return state
    told = tell(state, reason, urgency, what, done=done, to_do=to_do)
    return replace(told, told=state.told | {reason})


def untell(state: RolloutState, reason: str, what: str) -> RolloutState:
    """Resolve a condition that people were told of."""
    if reason not in state.told:
        return state
    notice = Notice(reason=reason, urgency=Urgency.INFO, rollout=state.rollout, what=what, resolved=True)
    return replace(state, told=state.told - {reason}, notices=(*state.notices, notice)[-_KEEP_NOTICES:])


def begin(state: RolloutState, target: TargetView, *, stable: str) -> RolloutState:
    """Fix the roles for a new canary revision; a service that is split already is adopted at its weights."""
    canary = target.other(stable)
    stable_view = target.version(stable)
    weights = target.shares[canary.name]
    begun = RolloutState(
        phase=after(state.phase, Trigger.NEW_REVISION),
        reason="NewRevision",
        message=f"{canary.name} runs a new revision, {canary.revision}.",
        stable=stable,
        canary=canary.name,
        stable_revision=stable_view.revision if stable_view else "",
        canary_revision=canary.revision,
        weights=weights,
        judged=state.judged,
        notices=state.notices,
    )
    found = f" It already has {show(weights)} and is adopted there." if any_traffic(weights) else ""
    aside = f" {target.aside}" if target.aside else ""
    return tell(begun, "RolloutStarted", Urgency.EVENT, f"{begun.message}{found}{aside}")


def intend(state: RolloutState, before: Weights, wanted: Weights, *, reason: str, message: str) -> RolloutState:
    """Record a weight change to be made."""
    return replace(state, intent=Intent(before=before, after=wanted, reason=reason, message=message), message=message)


def abort(plan: RolloutPlan, state: RolloutState, live: Weights, *, reason: str, message: str) -> RolloutState:
    """Take the canary's traffic away. In observe mode, only say so."""
    if plan.observe_only:
        said = tell_once(state, reason, Urgency.NOTICE, message, done="Nothing: the policy only observes.")
        return replace(said, reason=reason, message=f"Would roll back: {message}")
    aborted = replace(
        state,
        phase=after(state.phase, Trigger.ABORT),
        reason=reason,
        message=message,
        cleared=(),
        returning_s=0.0,
        severity=None,
        course="",
    )
    if not any_traffic(live):
        return zeroed(replace(aborted, weights=live), had_traffic=False)
    return intend(aborted, live, zero(plan), reason=reason, message=message)


_QUIET_ABORTS = {"CanaryChanged": Urgency.NOTICE, "PolicyDeleted": Urgency.NOTICE}
_NEXT_FOR_PEOPLE = {
    "Harm": "See what its pods logged while they had traffic. A mended template starts a new rollout by itself.",
    "StableChanged": "Finish the change of the stable version, then `serin retry` (or change the canary's template).",
    "CanaryUnavailable": "See why its pods are not ready: kubectl get pods, describe, logs --previous.",
    "CanaryNotReady": "See why its pods are not ready: kubectl get pods, describe, logs --previous.",
    "Inconclusive": "Give the canary more traffic, or let spec.judge.onInconclusive be advance or hold.",
}


def urgency_of(reason: str) -> Urgency:
    """Say who has to know of a rollback for this reason."""
    return _QUIET_ABORTS.get(reason, Urgency.PAGE)


def zeroed(state: RolloutState, *, had_traffic: bool = True) -> RolloutState:
    """End a rollout that lost its traffic."""
    ended = replace(
        state,
        phase=after(state.phase, Trigger.ZEROED),
        intent=None,
        hold=None,
        told=frozenset(),
        judged=_judged(state, Judged(state.canary, state.canary_revision, Outcome.ROLLED_BACK, state.reason)),
    )
    done = f"All traffic is back on {state.stable}." if had_traffic else f"{state.canary} had no traffic; it stays so."
    if had_traffic and state.course:
        done = f"{done} {state.course}"
    return tell(
        ended,
        "RolledBack",
        urgency_of(state.reason),
        f"Rolled back {state.rollout} ({state.reason}): {state.message}",
        done=done,
        to_do=_NEXT_FOR_PEOPLE.get(state.reason, ""),
    )


def _judged(state: RolloutState, *new: Judged) -> tuple[Judged, ...]:
    names = {(j.version, j.revision) for j in new}
    return (*(j for j in state.judged if (j.version, j.revision) not in names), *new)[-_KEEP_JUDGED:]


def promoted(state: RolloutState) -> RolloutState:
    """End a rollout that has all traffic."""
    ended = replace(
        state,
        phase=after(state.phase, Trigger.COMPLETED),
        reason="Promoted",
        message=f"{state.rollout} has all traffic; the next release goes into {state.stable}.",
        hold=None,
        told=frozenset(),
        judged=_judged(
            state,
            Judged(state.stable, state.stable_revision, Outcome.SUPERSEDED, "Superseded"),
            Judged(state.canary, state.canary_revision, Outcome.PROMOTED, "Promoted"),
        ),
    )
    return tell(
        ended,
        "Promoted",
        Urgency.INFO,
        f"Promoted {state.rollout}.",
        done=f"{state.canary} has 100 % of the traffic. {state.stable} is free for the next release.",
    )


def settle(state: RolloutState, live: Weights, *, now_s: float | None) -> RolloutState:
    """Compare an intent with what is there: confirm it, or forget it and decide anew.

    Parameters
    ----------
    state
        With or without an intent.
    live
        The weights read back [per cent].
    now_s
        The telemetry store's clock [unix seconds].
    """
    intent = state.intent
    if intent is None:
        return state
    if not same(live, intent.after):
        # Not made, or not any more. Deciding again from what is there repeats it if it is still due.
        return replace(state, intent=None)
    moved = replace(state, weights=intent.after, intent=None, weights_since_s=now_s, weights_before=intent.before)
    if state.phase is Phase.ROLLING_BACK:
        return moved if any_traffic(moved.weights) else zeroed(moved)
    if same(moved.weights, moved.cleared):
        moved = replace(moved, cleared=())
    if completes(intent.after):
        return promoted(moved)
    if active_stage(intent.after) != active_stage(intent.before):
        # Other users, another population: their evidence must not be added to this.
        moved = replace(moved, judge=None, judged_until_s=None, evidence=None, verdict=Verdict.NO_DATA, dispersion="")
    trigger = Trigger.BEGUN if state.phase is Phase.PENDING else Trigger.STEPPED
    moved = replace(moved, phase=after(state.phase, trigger), reason=intent.reason, message=intent.message)
    return tell(moved, "WeightAdvanced", Urgency.EVENT, intent.message)


def break_off(state: RolloutState, problem: Problem) -> RolloutState:
    """Stop: the policy cannot work on what is there. The weights stay; a person has to look."""
    if state.phase is Phase.INVALID:
        return replace(state, reason=problem.reason, message=problem.message)
    in_flight = state.phase in IN_FLIGHT
    broken = replace(
        state,
        phase=after(state.phase, Trigger.BROKEN),
        reason=problem.reason,
        message=problem.message,
        intent=None,
        hold=None,
    )
    return tell_once(
        broken,
        problem.reason,
        Urgency.PAGE if in_flight else Urgency.NOTICE,
        problem.message,
        done=f"Stopped judging; the weights stay at {show(state.weights)}." if in_flight else "",
        to_do="Mend the policy or its target; judging starts again by itself.",
    )


def mend(state: RolloutState) -> RolloutState:
    """Leave Invalid. What was in flight is adopted again at its weights, with new evidence."""
    if state.phase is not Phase.INVALID:
        return state
    mended = untell(state, state.reason, "The policy and its target work again.")
    return replace(
        mended, phase=after(state.phase, Trigger.MENDED), reason="Mended", message="Works again.", told=frozenset()
    )


def hold(state: RolloutState, reason: HoldReason, message: str) -> RolloutState:
    """Let the weights stay."""
    return replace(state, hold=Hold(reason, message), message=message)


def watch_telemetry(plan: RolloutPlan, state: RolloutState, snapshot: Snapshot) -> RolloutState:
    """Count the time without telemetry, page at the deadline, resolve when it is back."""
    health: TelemetryHealth | None = snapshot.telemetry
    if health is None:
        return state
    if health.fresh:
        seen = untell(state, HoldReason.BLIND.value, "Telemetry is back; judging goes on.")
        return replace(seen, blind_s=0.0)
    blind = replace(state, blind_s=state.blind_s + snapshot.elapsed_s)
    if blind.blind_s < plan.blind_s:
        return blind
    return tell_once(
        blind,
        HoldReason.BLIND.value,
        Urgency.PAGE,
        f"No telemetry for {wording.duration(blind.blind_s)}: {health.message}",
        done=f"The weights stay at {show(state.weights)}; nothing is judged.",
        to_do="Bring telemetry back, or take the canary's weight to zero by hand.",
    )


def write_failed(state: RolloutState, *, message: str, command: str, tries: int, final: bool) -> RolloutState:
    """Note that the weights could not be written; page when it was a rollback and another try will not do.

    Parameters
    ----------
    state
        With the intent that could not be carried out.
    message
        What the API server said.
    command
        What a person can run instead.
    tries
        Failed attempts in a row, this one included.
    final
        The API server refused; trying again may not help (it is tried all the same).
    """
    held = hold(state, HoldReason.UNREACHABLE, f"Weights cannot be written: {message}")
    if state.phase is not Phase.ROLLING_BACK:
        return held
    if not final and tries < 3:
        return held
    return tell_once(
        held,
        "CannotRollBack",
        Urgency.PAGE,
        f"{state.rollout} must lose its traffic ({state.reason}) and the weights cannot be written: {message}",
        done=f"Tried {tries} times, and goes on trying.",
        to_do=f"By hand: {command}",
    )
