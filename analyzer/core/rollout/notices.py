"""What people are told: each thing once, with the evidence of the moment, and its end too."""

from dataclasses import replace

from analyzer.core.rollout import wording
from analyzer.core.rollout.model import Notice, RolloutState, Urgency
from analyzer.core.rollout.weights import any_traffic, show

_KEEP_NOTICES = 20


def tell(
    state: RolloutState,
    reason: str,
    urgency: Urgency,
    what: str,
    *,
    title: str = "",
    done: str = "",
    to_do: str = "",
    command: str = "",
    ends: frozenset[str] = frozenset(),
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
        title=title,
        command=command,
        ends=tuple(sorted(ends)),
    )
    return replace(state, notices=(*state.notices, notice)[-_KEEP_NOTICES:])


def _evidence(state: RolloutState) -> str:
    if not state.canary:
        return ""
    since = ""
    if state.weights_since_s is not None and any_traffic(state.weights):
        since = f"; {state.canary} has had {show(state.weights)} since {wording.clock(state.weights_since_s)}"
    # What was looked at goes on without telemetry; what was seen does not.
    until_s = state.judged_until_s if state.blind_s == 0.0 else None
    said = wording.full(state.evidence, stable=state.stable, canary=state.canary, until_s=until_s, since=since)
    return f"{said}\nOrdinary variation: {state.dispersion}." if state.dispersion and state.evidence else said


def tell_once(
    state: RolloutState,
    reason: str,
    urgency: Urgency,
    what: str,
    *,
    title: str = "",
    done: str = "",
    to_do: str = "",
    command: str = "",
) -> RolloutState:
    """Add a notice of a condition, unless people were told of it already."""
    if reason in state.told:
        return state
    told = tell(state, reason, urgency, what, title=title, done=done, to_do=to_do, command=command)
    return replace(told, told=state.told | {reason})


def untell(state: RolloutState, reason: str, what: str, *, urgency: Urgency) -> RolloutState:
    """Resolve a condition that people were told of, as urgently as they are told now."""
    if reason not in state.told:
        return state
    notice = Notice(reason=reason, urgency=urgency, rollout=state.rollout, what=what, resolved=True)
    return replace(state, told=state.told - {reason}, notices=(*state.notices, notice)[-_KEEP_NOTICES:])


def close(state: RolloutState) -> RolloutState:
    """Resolve all that people were told of, for the rollout is over."""
    for reason in sorted(state.told):
        state = untell(state, reason, f"The rollout of {state.rollout} is over.", urgency=Urgency.NOTICE)
    return state


def headline(message: str) -> str:
    """Make the rest of a headline of a message: its first clause, without a full stop."""
    clause = message.split(";", maxsplit=1)[0].rstrip(".")
    is_word = len(clause) > 1 and clause[1].islower()
    return clause[:1].lower() + clause[1:] if is_word else clause


def stays(state: RolloutState) -> str:
    """Say what a step that waits for pods leaves as it is."""
    judged = f"; {state.canary} is still judged, and would be rolled back." if any_traffic(state.weights) else "."
    return f"The weights stay at {show(state.weights)}{judged}"
