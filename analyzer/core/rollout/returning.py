"""Capacity in a rollback: how fast the traffic goes back to a stable version that has shrunk."""

from dataclasses import replace
from typing import Final

from analyzer.core.capacity import Severity, plan_giveback
from analyzer.core.judge.types import Channel
from analyzer.core.rollout import wording
from analyzer.core.rollout.loads import keep_share, returning_load
from analyzer.core.rollout.model import CapacityView, RolloutState
from analyzer.core.rollout.notices import headline, tell_once
from analyzer.core.rollout.phases import Phase
from analyzer.core.rollout.plan import RolloutPlan
from analyzer.core.rollout.transitions import urgency_of
from analyzer.core.rollout.weights import same

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
    at_once = _at_once(state, capacity)
    if at_once:
        return replace(state, course=state.course or f"In one step, at once: {at_once}.")
    if capacity.learning and RETURNING in state.told and left_s > 0.0:
        return replace(state, intent=None)  # what an earlier life knew is known again within seconds
    severity = _worse(state.severity, _severity(state, capacity))
    state = replace(state, severity=severity)
    load = returning_load(capacity, intent.before)
    if load.weight <= 0.0:
        return state
    move = plan_giveback(capacity.stable, load, severity, left_s=left_s)
    if not move.ramped:
        return replace(state, course=state.course or f"In one step, {move.reason}.")
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


def _worse(known: Severity | None, seen: Severity | None) -> Severity | None:
    """Take what is seen now for what was known, unless that is surely less: traffic that is gone fails no more."""
    if known is None or seen is None:
        return known or seen
    return seen if seen.low >= known.low else known
