"""State changes, each in one place, with what people are told of them."""

from dataclasses import replace

from analyzer.core.judge.types import Verdict
from analyzer.core.rollout import wording
from analyzer.core.rollout.model import (
    Hold,
    HoldReason,
    Intent,
    Judged,
    Outcome,
    Problem,
    RolloutState,
    Snapshot,
    TargetView,
    TelemetryHealth,
    Urgency,
    Weights,
)
from analyzer.core.rollout.notices import close, headline, tell, tell_once, untell
from analyzer.core.rollout.phases import IN_FLIGHT, Phase, Trigger, after
from analyzer.core.rollout.plan import RolloutPlan
from analyzer.core.rollout.weights import active_stage, any_traffic, completes, same, show, zero

_KEEP_JUDGED = 20


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
        paused=state.paused,
        request=state.request,
        answered=state.answered,
        judged=state.judged,
        notices=close(state).notices,
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
        said = tell_once(
            state,
            reason,
            Urgency.NOTICE,
            f"{message.rstrip('.')}.",
            title=f"Would roll back: {headline(message)}",
            done="Nothing: Serin only observes here (mode: observe, or --dry-run). "
            f"{state.canary} keeps {show(live)} of the traffic.",
            to_do=f"Take {state.canary} out of the traffic by hand, if you agree:",
        )
        return replace(said, reason=reason, message=f"Would roll back: {message}")
    aborted = replace(
        state,
        phase=after(state.phase, Trigger.ABORT),
        reason=reason,
        message=message,
        cleared=(),
        awaits=(),
        promotion=None,
        restoring=False,
        returning_s=0.0,
        severity=None,
        course="",
    )
    if not any_traffic(live):
        return zeroed(replace(aborted, weights=live), had_traffic=False)
    return intend(aborted, live, zero(plan), reason=reason, message=message)


_QUIET_ABORTS = {
    "CanaryChanged": Urgency.NOTICE,
    "PolicyDeleted": Urgency.NOTICE,
    "TakenOut": Urgency.NOTICE,
    "AbortedByPerson": Urgency.NOTICE,
}
_PODS = (
    "When its pods are ready, `serin retry` has the same {canary} judged again; a changed pod template is judged as a new "
    "release, by itself. See why they are not ready:"
)
_MORNING = "No user gets {canary} any more, so this can wait until the morning."
_NEXT_FOR_PEOPLE = {
    "Harm": f"{_MORNING} Look for the cause in what its pods logged. A changed pod template is judged as a new release, "
    "by itself.",
    # `serin retry` gets the policy's name from the loop, which knows names.
    "StableChanged": "No user gets {canary} any more. But all users get {stable} as it is now, and nobody judged that change: "
    "look now whether it fails, and undo it if it does. When it is as it shall be, `serin retry` has the same {canary} judged "
    "again. To look at {stable}:",
    "CanaryUnavailable": f"{_MORNING} {_PODS}",
    "CanaryNotReady": f"{_MORNING} {_PODS}",
    "AbortedByPerson": "A changed pod template is judged as a new release, by itself. To have the same {canary} judged again:",
    "Inconclusive": f"{_MORNING} With more traffic, or a longer spec.judge.dwell.max, there may be a verdict; with "
    "spec.judge.onInconclusive: advance it goes on without. To have the same {canary} judged again:",
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
        awaits=(),
        promotion=None,
        restoring=False,
        told=frozenset(),
        judged=_judged(state, Judged(state.canary, state.canary_revision, Outcome.ROLLED_BACK, state.reason)),
    )
    done = f"All traffic is on {state.stable} again; the weights were read back."
    if state.reason == "TakenOut":
        done = f"Stopped judging {state.canary}. Serin only observes here, and moved nothing."
    elif not had_traffic:
        done = f"Nothing had to be moved: {state.canary} had no traffic, and gets none."
    elif state.course:
        done = f"{done} {state.course}"
    return tell(
        ended,
        "RolledBack",
        urgency_of(state.reason),
        f"{state.message.rstrip('.')}.\n{_release(state)}",
        title=f"{'Rolled back' if had_traffic else 'Given up'}: {headline(state.message)}",
        done=done,
        to_do=_NEXT_FOR_PEOPLE.get(state.reason, "").format(stable=state.stable, canary=state.canary),
        ends=state.told,
    )


def _release(state: RolloutState) -> str:
    """Say what the canary is, and how much it had."""
    before = () if "RollingBack" in state.told else state.weights_before  # of a return in parts only the last is known
    had = f" It had {show(before)} of the traffic." if any_traffic(before) and not any_traffic(state.weights) else ""
    return f"The release is revision {state.canary_revision} of {state.canary}.{had}"


def _judged(state: RolloutState, *new: Judged) -> tuple[Judged, ...]:
    names = {(j.version, j.revision) for j in new}
    return (*(j for j in state.judged if (j.version, j.revision) not in names), *new)[-_KEEP_JUDGED:]


def promoted(state: RolloutState, *, by_others: bool = False) -> RolloutState:
    """End a rollout that has all traffic, by Serin's steps or (in observe mode) by those of others."""
    state = close(state)
    ended = replace(
        state,
        phase=after(state.phase, Trigger.COMPLETED),
        reason="Promoted",
        message=f"{state.rollout} has all traffic; the next release goes into {state.stable}.",
        hold=None,
        awaits=(),
        promotion=None,
        restoring=False,
        judged=_judged(
            state,
            Judged(state.stable, state.stable_revision, Outcome.SUPERSEDED, "Superseded"),
            Judged(state.canary, state.canary_revision, Outcome.PROMOTED, "Promoted"),
        ),
    )
    proven = (
        f"At every weight {state.canary} was proven to be no worse than {state.stable} by more than the policy allows."
    )
    if by_others:
        proven = "Somebody gave it all traffic; Serin only observes here, and moved nothing."
    elif state.unproven:
        at = ", ".join(f"{w:g} %" for w in state.unproven)
        proven = (
            f"No harm was found. That there is none was not proven at {at}: there were too few requests for it within "
            "spec.judge.dwell.max, and spec.judge.onInconclusive is advance."
        )
    return tell(
        ended,
        "Promoted",
        Urgency.INFO,
        f"{proven}\nThe release is revision {state.canary_revision} of {state.canary}.",
        title=f"Promoted: {state.canary} has all traffic{', part of the way without proof' if state.unproven else ''}",
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
    moved = replace(
        state,
        weights=intent.after,
        intent=None,
        weights_since_s=now_s,
        weights_before=intent.before,
        awaits=(),
        restoring=False,
    )
    if state.phase is Phase.ROLLING_BACK:
        return moved if any_traffic(moved.weights) else zeroed(moved)
    if same(moved.weights, moved.cleared):
        moved = replace(moved, cleared=())
    if completes(intent.after):
        return promoted(moved)
    if moved.verdict is Verdict.PROVEN:  # of the weight that is there now; of the next one nothing is
        moved = replace(moved, verdict=Verdict.INCONCLUSIVE)
    if active_stage(intent.after) != active_stage(intent.before):
        moved = forget_evidence(moved)
    trigger = Trigger.BEGUN if state.phase is Phase.PENDING else Trigger.STEPPED
    moved = replace(moved, phase=after(state.phase, trigger), reason=intent.reason, message=intent.message)
    return tell(moved, "WeightAdvanced", Urgency.EVENT, intent.message)


def forget_evidence(state: RolloutState) -> RolloutState:
    """Begin another stage. Its users are another population: the evidence of those before must not be added to theirs."""
    return replace(
        state,
        judge=None,
        judged_until_s=None,
        evidence=None,
        verdict=Verdict.NO_DATA,
        dispersion="",
        passed=None,
        passed_until_s=None,
    )


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
        awaits=(),
        promotion=None,
        restoring=False,
    )
    return tell_once(
        broken,
        problem.reason,
        _urgency_of_problem(state),
        problem.message,
        title=f"Stopped judging {state.canary} at {show(state.weights)}: policy and cluster do not fit together"
        if in_flight
        else "The policy does not work: no release is judged",
        done=f"The weights stay at {show(state.weights)}. Nobody watches {state.canary}, and it would not be rolled back."
        if in_flight
        else "",
        to_do="Mend the policy, or what it points to; judging starts again by itself. "
        + (
            f"If that takes long, give {state.canary} the weight 0 in the VirtualService. "
            if any_traffic(state.weights)
            else ""
        )
        + "What is there:",
    )


def _urgency_of_problem(state: RolloutState) -> Urgency:
    """Tell how bad it is that nothing can be judged: a canary that nobody has passed or taken back may be hurting users."""
    known = any(j.version == state.canary and j.revision == state.canary_revision for j in state.judged)
    return Urgency.PAGE if state.canary and not known else Urgency.NOTICE


def mend(state: RolloutState) -> RolloutState:
    """Leave Invalid. What was in flight is adopted again at its weights, with new evidence."""
    if state.phase is not Phase.INVALID:
        return state
    what = "The policy and its target work again; what has traffic is judged again."
    mended = close(untell(state, state.reason, what, urgency=_urgency_of_problem(state)))
    return replace(mended, phase=after(state.phase, Trigger.MENDED), reason="Mended", message="Works again.")


def hold(state: RolloutState, reason: HoldReason, message: str) -> RolloutState:
    """Let the weights stay."""
    return replace(state, hold=Hold(reason, message), message=message)


def watch_telemetry(plan: RolloutPlan, state: RolloutState, snapshot: Snapshot) -> RolloutState:
    """Count the time without telemetry, page at the deadline, resolve when it is back."""
    health: TelemetryHealth | None = snapshot.telemetry
    if health is None:
        return state
    if health.fresh:
        what = f"Telemetry is back after {wording.duration(state.blind_s)}; judging goes on, and no evidence was lost."
        return replace(untell(state, HoldReason.BLIND.value, what, urgency=_urgency_of_blindness(state)), blind_s=0.0)
    blind = replace(state, blind_s=state.blind_s + snapshot.elapsed_s)
    if blind.blind_s < plan.blind_s:
        return blind
    lasts, weights, canary = wording.duration(blind.blind_s), show(state.weights), state.canary
    to_do = "Bring telemetry back: does Prometheus run, and does it scrape the callers of this service?"
    title, done = (
        f"Blind for {lasts}: {canary} waits for its first requests",
        "Nothing was moved; no user gets it. Judging begins by itself when telemetry is back.",
    )
    if any_traffic(state.weights):
        title = f"Blind for {lasts}: {canary} has {weights} of the traffic and nobody watches it"
        done = (
            f"The weights stay at {weights}; judging goes on by itself when telemetry is back. Until then {canary} is rolled "
            "back only if none of its pods is ready."
        )
        to_do = f"{to_do} If that takes long, take {canary} out of the traffic by hand:"
    return tell_once(
        blind,
        HoldReason.BLIND.value,
        _urgency_of_blindness(state),
        f"{health.message.rstrip('.')}.\nFor {lasts} nothing has told how {canary} behaves.",
        title=title,
        done=done,
        to_do=to_do,
    )


def _urgency_of_blindness(state: RolloutState) -> Urgency:
    """Nobody is hurt while the canary has no traffic."""
    return Urgency.PAGE if any_traffic(state.weights) else Urgency.NOTICE


def write_failed(
    state: RolloutState, *, message: str, advice: str, command: str, tries: int, final: bool
) -> RolloutState:
    """Note that the weights could not be written; page when it was a rollback and another try will not do.

    Parameters
    ----------
    state
        With the intent that could not be carried out.
    message
        What the API server said.
    advice, command
        What a person can do, and run, instead.
    tries
        Failed attempts in a row, this one included.
    final
        The API server refused; trying again may not help (it is tried all the same).
    """
    held = hold(state, HoldReason.UNREACHABLE, f"Weights cannot be written: {message}")
    if state.phase is not Phase.ROLLING_BACK:
        return held
    held = replace(held, message=state.message)  # why it is rolled back is to be told when it is
    if not final and tries < 3:
        return held
    wanted = state.intent.before if state.intent is not None else state.weights
    why = state.message.rstrip(".")
    return tell_once(
        held,
        "CannotRollBack",
        Urgency.PAGE,
        f"{why}. It must be rolled back, and the weights cannot be written:\n{message}",
        title=f"CANNOT ROLL BACK: {state.canary} still gets {show(wanted)} of the traffic ({headline(why)})",
        done=f"Tried {tries} time{'s' if tries > 1 else ''}, and goes on trying every few seconds.",
        to_do=advice,
        command=command,
    )
