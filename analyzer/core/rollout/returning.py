"""Capacity in a rollback: how fast the traffic goes back to a stable version that has shrunk."""

from dataclasses import replace
from typing import Final

from analyzer.core.capacity import Severity, plan_giveback
from analyzer.core.capacity.demand import pods_carry, saturates
from analyzer.core.judge.types import Channel
from analyzer.core.rollout import wording
from analyzer.core.rollout.loads import keep_share, returning_load
from analyzer.core.rollout.model import CapacityView, RolloutState, Weights
from analyzer.core.rollout.notices import headline, tell_once
from analyzer.core.rollout.phases import Phase
from analyzer.core.rollout.plan import RolloutPlan
from analyzer.core.rollout.transitions import abort, intend, urgency_of
from analyzer.core.rollout.weights import same, zero

RETURNING: Final = "RollingBack"
"""Under this name people are told that the traffic goes back in parts."""

_SLOW: Final = 0.25
"""A request that is answered late, or never counted, hurts so much of one that fails."""


def pace(plan: RolloutPlan, state: RolloutState, capacity: CapacityView | None) -> RolloutState:
    """Let a rollback give back in parts where one jump would hurt more: the intent of zero becomes one of less.

    Without a view of capacity the jump stays a jump: a rollback has the fewest preconditions.
    """
    intent = state.intent
    if state.phase is not Phase.ROLLING_BACK or intent is None or capacity is None or not plan.capacity_gate:
        return state
    left_s = plan.return_within_s - state.returning_s
    if capacity.learning and RETURNING in state.told and left_s > 0.0 and not _at_once(state, capacity):
        return replace(state, intent=None)  # what an earlier life knew is known again within seconds
    severity = worse(state.severity, _severity(state, capacity))
    state = replace(state, severity=severity)
    load = returning_load(capacity, intent.before)
    if load.weight <= 0.0:
        return state
    move = plan_giveback(capacity.stable, load, severity, left_s=left_s)
    whatever = _at_once(state, capacity)
    if not move.ramped or whatever:
        reason = f"at once: {whatever}" if move.ramped else move.reason
        return replace(state, course=state.course or f"In one step, {reason}.")
    state = replace(state, course=state.course or f"Step by step, {move.reason}.")
    after = keep_share(load, intent.before, move.weight)
    why = state.message.rstrip(".")
    told = tell_once(
        state,
        RETURNING,
        urgency_of(state.reason),
        f"{why}.",
        title=f"Rolling back step by step: {headline(why)}",
        done=f"Gives the traffic back {move.reason}; everything within {wording.duration(plan.return_within_s)}.",
        to_do=f"Nothing, if {state.stable} gets its pods: you are told when all traffic is back. To have it back now, whatever "
        f"that does to {state.stable}:",
    )
    if same(after, intent.before):
        return replace(told, intent=None)  # until more pods are ready
    return replace(told, intent=replace(intent, after=after))


def abandon(
    plan: RolloutPlan, state: RolloutState, live: Weights, *, message: str, capacity: CapacityView | None = None
) -> RolloutState:
    """Take the canary of a deleted policy back in one step, and say what that does to the stable version.

    A return in parts would be remembered nowhere: should this process end, whoever leads next would find a split that belongs
    to nobody. One that has begun is ended.
    """
    if state.phase is Phase.ROLLING_BACK:
        gone = intend(state, live, zero(plan), reason=state.reason, message=state.message)
    else:
        gone = abort(plan, state, live, reason="PolicyDeleted", message=message)
    if gone.intent is None:
        return gone
    most = None if capacity is None else saturates(capacity.stable)
    if capacity is None or most is None:
        return gone
    load = returning_load(capacity, live)
    whole = load.elsewhere + load.moving
    if whole <= most:
        return gone
    carry = f"{pods_carry(capacity.stable, most)} of {whole:.4g}, and the rest fails until more are ready"
    why = "a return in parts would be remembered nowhere, for the policy is gone"
    return replace(gone, course=f"In one step, though {carry}: {why}.")


def _at_once(state: RolloutState, capacity: CapacityView) -> str:
    """Say why no request may stay with the canary, whatever the stable version can carry; empty where some may."""
    if state.reason == "CanaryUnavailable" or capacity.canary.ready == 0:
        return f"{state.canary} has no ready pod"
    if state.reason == "AbortedByPerson":
        # What a person sees need not show in counts: a wrong price is answered with 200.
        return f"a person took it back, and how bad {state.canary} is need not show in what is counted"
    return ""


def _severity(state: RolloutState, capacity: CapacityView) -> Severity | None:
    seen = capacity.severity
    slow = state.evidence is not None and state.evidence.culprit in {Channel.LATENCY, Channel.COMPLETIONS}
    if seen is None or not slow:
        return seen
    return Severity(*(max(share, _SLOW) for share in (seen.failing, seen.low, seen.high)))


def worse(known: Severity | None, seen: Severity | None) -> Severity | None:
    """Take what is seen now for what was known, unless that is surely less: traffic that is gone fails no more."""
    if known is None or seen is None:
        return known or seen
    return seen if seen.low >= known.low else known
