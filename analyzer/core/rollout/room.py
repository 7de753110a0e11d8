"""Capacity in the decision: how far a step may go now.

What a step was cleared for (by proof, or by dwelling) is remembered; the weights then follow the pods, and the judge already
works on what comes next.
"""

import math
from dataclasses import replace
from typing import Final

from analyzer.core.capacity import Gate, Load, Passage, admit
from analyzer.core.capacity.demand import carries, pods_carry, saturates
from analyzer.core.capacity.report import CapacityReport, report_passage, report_version
from analyzer.core.rollout.approval import ask, stop_asking, without_asking
from analyzer.core.rollout.loads import canary_load
from analyzer.core.rollout.model import CapacityView, HoldReason, RolloutState, Snapshot, Urgency, Weights
from analyzer.core.rollout.notices import stays, tell_once, untell
from analyzer.core.rollout.phases import JUDGED
from analyzer.core.rollout.plan import RolloutPlan
from analyzer.core.rollout.transitions import hold, intend
from analyzer.core.rollout.weights import FULL, active_stage, next_weights, same, show

NEVER: Final = "CapacityNeverFits"
"""Under this name people are told that no waiting will help."""

_ROUNDING: Final = 1e-6
_OVERDUE: Final = 0.5
"""An estimate that was not kept for so much of the time that a canary may take to get ready is made no more."""
_LEARNING: Final = "looks first at how many requests there are, and at what one costs"


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
    weights, passage = _passage(plan, state, capacity, wanted)
    if passage.gate is Gate.OPEN:
        what = f"{state.canary} has room for {show(wanted)} now; the rollout goes on."
        through = untell(state, NEVER, what, urgency=Urgency.NOTICE)
        message = f"{show(state.weights)} to {show(wanted)}: {why}."
        return intend(through, state.weights, wanted, reason=reason, message=message)
    if passage.gate is Gate.PART:
        message = f"{show(state.weights)} to {show(weights)} on the way to {show(wanted)}: {why}; {passage.reason}."
        return intend(state, state.weights, weights, reason="CapacityPart", message=message)
    trouble = f". {capacity.trouble}" if capacity is not None and capacity.trouble else ""
    held = hold(state, HoldReason.CAPACITY, f"Cleared for {show(wanted)} ({why}); {passage.reason}{trouble}.")
    return held if passage.gate is Gate.WAIT else never_fits(state, passage.reason)


def never_fits(state: RolloutState, why: str) -> RolloutState:
    """Hold, and tell a person that no waiting will help."""
    told = tell_once(
        state,
        NEVER,
        Urgency.NOTICE,
        f"{why[:1].upper()}{why[1:]}.",
        title=f"{state.canary} waits at {show(state.weights)} for pods that its autoscaler will never start",
        done=stays(state),
        to_do="Raise maxReplicas of its HorizontalPodAutoscaler (HPA), or do what is said above; the rollout then goes on by "
        "itself. What the autoscalers say now:",
    )
    return hold(told, HoldReason.CAPACITY, f"{why[:1].upper()}{why[1:]}.")


def refuse(plan: RolloutPlan, state: RolloutState, capacity: CapacityView | None) -> str:
    """Say before the first request which stage can never be completed, and why; empty where nothing speaks against any."""
    if not plan.capacity_gate or capacity is None:
        return ""
    for stage in range(len(state.weights)):
        load = canary_load(capacity, state.weights, stage=stage, others=_through(state.weights, until=stage))
        if load.moving <= 0.0:
            continue
        passage = admit(capacity.canary, load, wanted=FULL, headroom=plan.headroom)
        adopted = 0.0 < state.weights[stage] >= (passage.fits or 0.0)  # it has as much already, whatever fits
        if passage.gate is Gate.NEVER and not adopted:
            return passage.reason
    return ""


def _through(weights: Weights, *, until: int) -> Weights:
    """Give the weights when all stages before are through."""
    return tuple(FULL if i < until else weight for i, weight in enumerate(weights))


def ease(plan: RolloutPlan, state: RolloutState, capacity: CapacityView | None) -> RolloutState | None:
    """Take weight off a canary whose ready pods are fuller than they can be; None where they are not.

    Overload is no harm of the release: it would fail as well with the stable version's code. What is taken off comes back with
    the pods. It goes to the stable version, and so no more is taken off than that one's ready pods have room for; where both
    together have too few, they are made equally full.
    """
    if not plan.capacity_gate or plan.observe_only or capacity is None or capacity.canary.ready == 0:
        return None
    most, room = saturates(capacity.canary), carries(capacity.canary, headroom=plan.headroom)
    stage = active_stage(state.weights)
    weight = state.weights[stage]
    load = Load(capacity.moving, capacity.canary_elsewhere, weight)
    if most is None or room is None or load.at(weight) <= most or capacity.moving <= 0.0:
        return None
    wanted = (room - capacity.canary_elsewhere) / capacity.moving * FULL
    least = _least_for(capacity, most)
    eased = float(max(1, math.floor(wanted), math.ceil(least - _ROUNDING)))
    if eased >= weight:
        return None
    part = _with(state.weights, stage, eased)
    also = f"; no more, for {pods_carry(capacity.stable, saturates(capacity.stable) or 0.0)}" if least > wanted else ""
    message = (
        f"{show(state.weights)} to {show(part)}: {load.at(weight):.4g} requests/s are more than "
        f"{pods_carry(capacity.canary, most)}{also}; overload is not held against the release."
    )
    remembered = replace(state, cleared=state.cleared or state.weights)
    return intend(remembered, state.weights, part, reason="CapacityLost", message=message)


def _least_for(capacity: CapacityView, most: float) -> float:
    """Give the weight below which the stable version would be full, or fuller than the canary; 0 where nobody knows."""
    stable = saturates(capacity.stable)
    if stable is None:
        return 0.0
    whole = capacity.moving + capacity.stable_elsewhere + capacity.canary_elsewhere
    kept = max(whole - stable, 0.0) if whole <= most + stable else whole * most / (most + stable)
    return (kept - capacity.canary_elsewhere) / capacity.moving * FULL


def report(plan: RolloutPlan, state: RolloutState, capacity: CapacityView | None) -> CapacityReport | None:
    """Say what is known of capacity, as the rollout stands after a decision; None where nothing is."""
    if capacity is None or capacity.moving <= 0.0 or not state.weights:
        return None
    stage = active_stage(state.weights)
    weight = state.weights[stage]
    wanted = state.cleared or next_weights(plan, state.weights)
    asked = state.phase in JUDGED and not same(wanted, state.weights)
    last = max((i for i, new in enumerate(wanted) if new != state.weights[i]), default=stage)
    now = Load(capacity.moving, capacity.canary_elsewhere, weight)
    then = canary_load(capacity, state.weights, stage=last, others=wanted)
    at = wanted[last]
    canary = replace(report_version(capacity.canary, then, at=at, headroom=plan.headroom), load=now.at(weight))
    rest = Load(capacity.moving, capacity.stable_elsewhere, FULL - weight)
    stable = report_version(capacity.stable, rest, at=FULL, headroom=plan.headroom)
    if not asked:
        return CapacityReport(None, None, "", None, stable, canary)
    _, passage = _passage(plan, state, capacity, wanted)
    reason = report_passage(passage, canary, at=at)
    return CapacityReport(at, passage.gate, reason, passage.eta_s, stable, canary)


def _passage(
    plan: RolloutPlan, state: RolloutState, capacity: CapacityView | None, wanted: Weights
) -> tuple[Weights, Passage]:
    """Ask the gate how far towards `wanted` the weights may go, stage by stage: all of them load the same pods.

    A stage gives its last per cent only with the next one's first: nobody waits at a weight of zero, where there is nothing to
    compare.
    """
    if not plan.capacity_gate or capacity is None:
        return wanted, Passage(Gate.OPEN, FULL, sure=False)
    scaler = capacity.canary.scaler
    if capacity.learning and scaler is not None and scaler.metrics:
        return state.weights, Passage(Gate.WAIT, state.weights[active_stage(state.weights)], reason=_LEARNING)
    overdue = bool(capacity.trouble) or state.short_s >= _OVERDUE * plan.canary_ready_s
    reached, passage = state.weights, Passage(Gate.OPEN, FULL, sure=False)
    for stage, (now, new) in enumerate(zip(state.weights, wanted, strict=True)):
        load = canary_load(capacity, state.weights, stage=stage, others=reached)
        if new <= now or load.moving <= 0.0:
            reached = _with(reached, stage, new)
            continue
        passage = admit(capacity.canary, load, wanted=new, headroom=plan.headroom, overdue=overdue)
        if passage.gate is Gate.NEVER:
            return state.weights, passage
        if passage.gate is Gate.WAIT and stage > 0 and reached[stage - 1] > state.weights[stage - 1]:
            reached = _with(reached, stage - 1, max(state.weights[stage - 1], FULL - 1.0))
        reached = _with(reached, stage, passage.weight)
        if passage.gate is not Gate.OPEN:
            break
    if passage.gate is Gate.OPEN:
        return wanted, passage
    gate = Gate.WAIT if same(reached, state.weights) else Gate.PART
    return reached, replace(passage, gate=gate)


def _with(weights: Weights, stage: int, weight: float) -> Weights:
    return (*weights[:stage], weight, *weights[stage + 1 :])
