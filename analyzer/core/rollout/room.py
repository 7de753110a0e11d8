"""Capacity in the decision: how far a step may go now, and how fast a rollback gives the traffic back.

What a step was cleared for (by proof, or by dwelling) is remembered; the weights then follow the pods, and the judge already
works on what comes next.
"""

from dataclasses import replace
from typing import Final

from analyzer.core.capacity import Gate, Load, Passage, Severity, admit, plan_giveback
from analyzer.core.capacity.demand import carries, pods_carry, saturates
from analyzer.core.capacity.gate import largest_fit
from analyzer.core.capacity.report import CapacityReport, report_passage, report_version
from analyzer.core.judge.types import Channel
from analyzer.core.rollout import wording
from analyzer.core.rollout.approval import ask, stop_asking, without_asking
from analyzer.core.rollout.model import CapacityView, HoldReason, RolloutState, Snapshot, Urgency, Weights
from analyzer.core.rollout.notices import headline, tell_once, untell
from analyzer.core.rollout.phases import JUDGED, Phase
from analyzer.core.rollout.plan import RolloutPlan
from analyzer.core.rollout.transitions import hold, intend, urgency_of
from analyzer.core.rollout.weights import FULL, active_stage, any_traffic, next_weights, same, show

NEVER: Final = "CapacityNeverFits"
"""Under this name people are told that no waiting will help."""

_SLOW: Final = 0.25
"""A request that is answered late, or never counted, hurts so much of one that fails."""


def clear(
    plan: RolloutPlan, state: RolloutState, snapshot: Snapshot, *, wanted: Weights, reason: str, why: str
) -> RolloutState:
    """Go to `wanted` as far as the hour, people and ready pods allow it now; what pods do not allow is remembered for later."""
    if snapshot.closed:
        return _closed(state, snapshot, wanted, why)
    free = without_asking(plan, state, wanted)
    if free is None:
        return ask(plan, state, wanted, why=why)
    return follow(plan, replace(stop_asking(state), cleared=free), snapshot, reason=reason, why=why)


def _closed(state: RolloutState, snapshot: Snapshot, wanted: Weights, why: str) -> RolloutState:
    return hold(state, HoldReason.SCHEDULE, f"Cleared for {show(wanted)} ({why}); {snapshot.closed}.")


def is_under_way(state: RolloutState) -> bool:
    """Tell whether more was cleared than the weights are."""
    return bool(state.cleared) and not same(state.cleared, state.weights)


def follow(plan: RolloutPlan, state: RolloutState, snapshot: Snapshot, *, reason: str, why: str) -> RolloutState:
    """Go on towards what was cleared, if this is the hour for it."""
    if snapshot.closed:
        return _closed(state, snapshot, state.cleared, why)
    return as_pods_allow(plan, state, snapshot.capacity, reason=reason, why=why)


def as_pods_allow(
    plan: RolloutPlan, state: RolloutState, capacity: CapacityView | None, *, reason: str, why: str
) -> RolloutState:
    """Go on towards what was cleared, at whatever hour."""
    wanted = state.cleared
    passage = _passage(plan, state, capacity, wanted)
    if passage.gate is Gate.OPEN:
        what = f"{state.canary} has room for {show(wanted)} now; the rollout goes on."
        through = untell(state, NEVER, what, urgency=Urgency.NOTICE)
        message = f"{show(state.weights)} to {show(wanted)}: {why}."
        return intend(through, state.weights, wanted, reason=reason, message=message)
    if passage.gate is Gate.PART:
        part = _with(state.weights, passage.weight)
        message = f"{show(state.weights)} to {show(part)} on the way to {show(wanted)}: {why}; {passage.reason}."
        return intend(state, state.weights, part, reason="CapacityPart", message=message)
    held = hold(state, HoldReason.CAPACITY, f"Cleared for {show(wanted)} ({why}); {passage.reason}.")
    return held if passage.gate is Gate.WAIT else never_fits(state, passage.reason)


def never_fits(state: RolloutState, why: str) -> RolloutState:
    """Hold, and tell a person that no waiting will help."""
    told = tell_once(
        state,
        NEVER,
        Urgency.NOTICE,
        f"{why[:1].upper()}{why[1:]}.",
        title=f"{state.canary} waits at {show(state.weights)} for pods that its autoscaler will never start",
        done=f"The weights stay at {show(state.weights)}"
        + (f"; {state.canary} is still judged, and would be rolled back." if any_traffic(state.weights) else "."),
        to_do="Raise maxReplicas of its HorizontalPodAutoscaler (HPA), or do what is said above; the rollout then goes on by "
        "itself. What the autoscalers say now:",
    )
    return hold(told, HoldReason.CAPACITY, f"{why[:1].upper()}{why[1:]}.")


def refuse(plan: RolloutPlan, state: RolloutState, capacity: CapacityView | None) -> str:
    """Say before the first request why a stage can never be completed; empty where nothing speaks against it."""
    if not plan.capacity_gate or capacity is None or capacity.moving <= 0.0:
        return ""
    load = Load(capacity.moving, elsewhere=capacity.canary_elsewhere)
    passage = admit(capacity.canary, load, wanted=FULL, headroom=plan.headroom)
    if passage.gate is not Gate.NEVER:
        return ""
    fits = largest_fit(capacity.canary, load) or 0.0
    if any(w >= fits for w in state.weights):
        return ""  # it has as much already: adopted, whatever fits
    return passage.reason


def ease(plan: RolloutPlan, state: RolloutState, capacity: CapacityView | None) -> RolloutState | None:
    """Take weight off a canary whose ready pods are fuller than they can be; None where they are not.

    Overload is no harm of the release: it would fail as well with the stable version's code. What is taken off comes back with
    the pods.
    """
    if not plan.capacity_gate or plan.observe_only or capacity is None or capacity.canary.ready == 0:
        return None
    full, room = saturates(capacity.canary), carries(capacity.canary, headroom=plan.headroom)
    weight = state.weights[active_stage(state.weights)]
    load = Load(capacity.moving, capacity.canary_elsewhere, weight).at(weight)
    if full is None or room is None or load <= full or capacity.moving <= 0.0:
        return None
    eased = max(1.0, float((room - capacity.canary_elsewhere) / capacity.moving * FULL // 1))
    if eased >= weight:
        return None
    part = _with(state.weights, eased)
    message = (
        f"{show(state.weights)} to {show(part)}: {load:.4g} requests/s are more than "
        f"{pods_carry(capacity.canary, full)}; overload is not held against the release."
    )
    remembered = replace(state, cleared=state.cleared or state.weights)
    return intend(remembered, state.weights, part, reason="CapacityLost", message=message)


def pace(plan: RolloutPlan, state: RolloutState, capacity: CapacityView | None) -> RolloutState:
    """Let a rollback give back in parts where one jump would hurt more: the intent of zero becomes one of less.

    Without a view of capacity the jump stays a jump: a rollback has the fewest preconditions.
    """
    intent = state.intent
    if state.phase is not Phase.ROLLING_BACK or intent is None or capacity is None or not plan.capacity_gate:
        return state
    severity = state.severity or _severity(state, capacity)
    state = replace(state, severity=severity)
    stage = active_stage(intent.before)
    load = Load(capacity.moving, capacity.stable_elsewhere, weight=intent.before[stage])
    if load.weight <= 0.0 or load.moving <= 0.0:
        return state
    move = plan_giveback(capacity.stable, load, severity, left_s=plan.return_within_s - state.returning_s)
    if not move.ramped:
        return replace(state, course=state.course or f"In one step, {move.reason}.")
    state = replace(state, course=state.course or f"Step by step, {move.reason}.")
    after = tuple(move.weight if i == stage else 0.0 for i in range(len(intent.before)))
    why = state.message.rstrip(".")
    told = tell_once(
        state,
        "RollingBack",
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


def report(plan: RolloutPlan, state: RolloutState, capacity: CapacityView | None) -> CapacityReport | None:
    """Say what is known of capacity, as the rollout stands after a decision; None where nothing is."""
    if capacity is None or capacity.moving <= 0.0 or not state.weights:
        return None
    stage = active_stage(state.weights)
    weight = state.weights[stage]
    wanted = (state.cleared or next_weights(plan, state.weights))[stage]
    asked = state.phase in JUDGED and wanted > weight
    load = Load(capacity.moving, capacity.canary_elsewhere, weight)
    at = wanted if asked else weight
    canary = report_version(capacity.canary, load, at=at, headroom=plan.headroom)
    rest = Load(capacity.moving, capacity.stable_elsewhere, FULL - weight)
    stable = report_version(capacity.stable, rest, at=FULL, headroom=plan.headroom)
    if not asked:
        return CapacityReport(None, None, "", None, stable, canary)
    passage = admit(capacity.canary, load, wanted=wanted, headroom=plan.headroom)
    reason = report_passage(passage, canary, at=wanted)
    return CapacityReport(wanted, passage.gate, reason, passage.eta_s, stable, canary)


def _severity(state: RolloutState, capacity: CapacityView) -> Severity | None:
    if state.reason == "CanaryUnavailable":
        return Severity(1.0, 1.0, 1.0)
    seen = capacity.severity
    slow = state.evidence is not None and state.evidence.culprit in {Channel.LATENCY, Channel.COMPLETIONS}
    if seen is None or not slow:
        return seen
    return Severity(max(seen.failing, _SLOW), seen.low, max(seen.high, _SLOW))


def _passage(plan: RolloutPlan, state: RolloutState, capacity: CapacityView | None, wanted: Weights) -> Passage:
    stage = active_stage(state.weights)
    if not plan.capacity_gate or capacity is None or capacity.moving <= 0.0:
        return Passage(Gate.OPEN, wanted[stage], sure=False)
    load = Load(capacity.moving, capacity.canary_elsewhere, weight=state.weights[stage])
    return admit(capacity.canary, load, wanted=wanted[stage], headroom=plan.headroom)


def _with(weights: Weights, weight: float) -> Weights:
    stage = active_stage(weights)
    return (*weights[:stage], weight, *weights[stage + 1 :])
