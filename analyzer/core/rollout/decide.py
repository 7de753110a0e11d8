"""The decision: policy, state and snapshot in, state out.

A weight change is wanted when the returned state has an intent; the loop records that state, writes the weights, reads them
back and hands them to `transitions.settle`. Rules are tried in the order of the code: first what takes traffic away, then what
holds, last what moves forward.
"""

import math
from dataclasses import replace
from typing import Final

from analyzer.core.judge.types import Evidence, Step, Verdict
from analyzer.core.rollout import wording
from analyzer.core.rollout.hearing import hear, promote
from analyzer.core.rollout.model import (
    HoldReason,
    Problem,
    RolloutState,
    Snapshot,
    TargetView,
    Urgency,
    VersionView,
    Weights,
)
from analyzer.core.rollout.notices import tell, tell_once, untell
from analyzer.core.rollout.passed import harm_to_those_who_passed
from analyzer.core.rollout.phases import IN_FLIGHT, Phase, Trigger, after
from analyzer.core.rollout.plan import OnInconclusive, RolloutPlan
from analyzer.core.rollout.returning import pace
from analyzer.core.rollout.room import clear, ease, follow, is_under_way, never_fits, refuse, report
from analyzer.core.rollout.sampling import clear_share, watch_share
from analyzer.core.rollout.transitions import (
    abort,
    begin,
    break_off,
    hold,
    intend,
    mend,
    promoted,
    watch_telemetry,
    zeroed,
)
from analyzer.core.rollout.waiting import watch_wait
from analyzer.core.rollout.weights import (
    FULL,
    active_stage,
    any_traffic,
    completes,
    entry_weights,
    grown_weights,
    ladder,
    next_weights,
    same,
    show,
    zero,
)

SUSPICION: Final = math.log(10.0)
"""Above this evidence of harm nothing moves forward, proof or not (statistics.md §7)."""

MIN_STEP_INTERVALS: Final = 2
"""One interval may be a coincidence of two scrapes."""

_OF_TELEMETRY: Final = frozenset(
    {HoldReason.BLIND, HoldReason.SAMPLE_RATIO, HoldReason.CAPACITY, HoldReason.SCHEDULE, HoldReason.APPROVAL}
)
"""Holds that stand until telemetry says otherwise; a turn that did not ask it says nothing."""


def step_of(plan: RolloutPlan, state: RolloutState) -> Step:
    """Say what the judge has to prove now."""
    stage = active_stage(state.weights)
    # What a step was cleared for need not be proven again while its pods get ready.
    at = state.cleared if state.cleared and active_stage(state.cleared) == stage else state.weights
    key = f"{stage}:{at[stage]:g}:{state.phase.value}"
    if at[stage] != state.weights[stage]:
        key += f"@{state.weights[stage]:g}"  # it is watched from when its own weight is there
    if state.phase is not Phase.PROGRESSING:
        return Step(key=key, next_weight=None)
    return Step(key=key, next_weight=next_weights(plan, at)[stage], ladder=ladder(plan, at))


def decide(plan: RolloutPlan, state: RolloutState, snapshot: Snapshot) -> RolloutState:
    """Decide what follows from what is there.

    Parameters
    ----------
    plan
        The policy.
    state
        What is remembered; an intent in it has been settled.
    snapshot
        What is there now.

    Returns
    -------
    RolloutState
        What to remember. With an intent: the weights to write.
    """
    decided = watch_wait(plan, _decide(plan, hear(plan, state, snapshot), snapshot), snapshot)
    decided = pace(plan, decided, snapshot.capacity)
    return replace(decided, capacity=report(plan, decided, snapshot.capacity))


def _decide(plan: RolloutPlan, state: RolloutState, snapshot: Snapshot) -> RolloutState:
    target = snapshot.target
    if isinstance(target, Problem):
        return break_off(state, target)
    unfit = _unfit(state, target)
    if unfit is not None:
        return break_off(state, unfit)
    state = mend(state)
    if state.phase not in IN_FLIGHT:
        return _look_for_revision(plan, state, target)
    canary = target.version(state.canary)
    if canary is None or target.version(state.stable) is None:
        names = " and ".join(v.name for v in target.versions)
        return break_off(
            state, Problem("VersionsChanged", f"The route now splits {names}, not {state.stable} and {state.canary}.")
        )
    live = target.shares[state.canary]
    if state.phase is Phase.ROLLING_BACK:
        returning = replace(state, returning_s=state.returning_s + snapshot.elapsed_s)
        return _roll_back(plan, returning, live)
    state = _take_in(watch_telemetry(plan, _standing(state, snapshot), snapshot), snapshot)
    if len(state.weights) != len(plan.stages):
        # The policy's stages were edited: what is there is adopted, with new evidence.
        state = begin(replace(state, phase=Phase.IDLE), target, stable=state.stable)
    if state.phase is Phase.PENDING:
        return _wait_for_canary(plan, state, snapshot, target, canary)
    forced = state.promotion is not None and state.promotion.force
    passed = None if forced else harm_to_those_who_passed(plan, state, snapshot, live)
    lost = passed or _traffic_to_take_away(plan, state, target, canary, live)
    if lost is not None:
        return lost
    return _hold_or_go(plan, state, snapshot, live)


def _take_in(state: RolloutState, snapshot: Snapshot) -> RolloutState:
    assessment = snapshot.assessment
    if snapshot.passed is not None:
        state = replace(state, passed=snapshot.passed.state)
    if assessment is None:
        return state
    return replace(state, judge=assessment.state, verdict=assessment.verdict, evidence=assessment.evidence)


def _standing(state: RolloutState, snapshot: Snapshot) -> RolloutState:
    """Drop the hold, for it is found anew; but not one that only telemetry can end, in a turn that did not ask it."""
    if snapshot.telemetry is not None or state.hold is None or state.hold.reason not in _OF_TELEMETRY:
        return replace(state, hold=None)
    if state.hold.reason is HoldReason.SAMPLE_RATIO:
        return replace(state, mismatch_s=state.mismatch_s + snapshot.elapsed_s)
    return state


def _unfit(state: RolloutState, target: TargetView) -> Problem | None:
    """Say why no rollout can begin here, if none is in flight."""
    if state.phase in IN_FLIGHT:
        return None
    if target.default_stable is None:
        message = "Both versions have the same weight: name the stable one in spec.target.stable."
        return Problem("RolesAmbiguous", message)
    return target.unfit


def _look_for_revision(plan: RolloutPlan, state: RolloutState, target: TargetView) -> RolloutState:
    stable = target.default_stable
    assert stable is not None, "an unfit target does not come here"
    canary = target.other(stable)
    state = replace(state, hold=None)
    if not canary.revision:
        return replace(state, message=f"{canary.name} has no Deployment yet.")
    if any(j.version == canary.name and j.revision == canary.revision for j in state.judged):
        return state
    if paused := _paused(plan, state):
        message = f"{paused} {canary.name} has a new revision, {canary.revision}, that waits."
        return hold(state, HoldReason.PAUSED, message)
    return begin(state, target, stable=stable)


def _roll_back(plan: RolloutPlan, state: RolloutState, live: Weights) -> RolloutState:
    if not any_traffic(live):
        return zeroed(replace(state, weights=live))
    return intend(state, live, zero(plan), reason=state.reason, message=state.message)


def _wait_for_canary(
    plan: RolloutPlan, state: RolloutState, snapshot: Snapshot, target: TargetView, canary: VersionView
) -> RolloutState:
    live = target.shares[state.canary]
    if canary.revision != state.canary_revision or target.other(canary.name).revision != state.stable_revision:
        # Nothing was judged yet: begin again with what is there now.
        return begin(replace(state, phase=Phase.IDLE), target, stable=state.stable)
    state = replace(state, weights=live, waiting_s=state.waiting_s + snapshot.elapsed_s)
    if not canary.settled:
        return _wait_for_pods(plan, state, canary, live)
    if paused := _paused(plan, state):
        return hold(state, HoldReason.PAUSED, paused)
    if state.promotion is not None:
        return promote(plan, state, snapshot, state.promotion)
    blind = _blind(state, snapshot)
    if blind is not None:
        return blind
    if any_traffic(live):
        message = f"Judging {state.rollout} at {show(live)}."
        return replace(state, phase=after(state.phase, Trigger.BEGUN), reason="Adopted", message=message)
    if plan.observe_only:
        return replace(state, message=f"Observes: waits until someone gives {state.canary} traffic.")
    if plan.capacity_gate and snapshot.capacity is not None and snapshot.capacity.learning:
        return replace(state, message=f"{state.rollout} is ready; looks at what a request costs before the first step.")
    never = refuse(plan, state, snapshot.capacity)
    if never:
        return never_fits(state, never)
    wanted = next_weights(plan, live)
    return clear(plan, state, snapshot, wanted=wanted, reason="CanaryReady", why=f"{state.rollout} is ready")


def _wait_for_pods(plan: RolloutPlan, state: RolloutState, canary: VersionView, live: Weights) -> RolloutState:
    waited = wording.duration(state.waiting_s)
    if state.waiting_s < plan.canary_ready_s:
        return replace(state, reason="CanaryNotReady", message=f"Waits for the pods of {state.rollout} ({waited}).")
    message = (
        f"After {waited} not all pods of {state.canary} are ready with this revision ({canary.ready_pods} are ready)."
    )
    return abort(plan, state, live, reason="CanaryNotReady", message=message)


def _traffic_to_take_away(
    plan: RolloutPlan, state: RolloutState, target: TargetView, canary: VersionView, live: Weights
) -> RolloutState | None:
    """Everything that ends a rollout. None of it needs telemetry to be there now."""
    if plan.observe_only and (completes(live) or not any_traffic(live)):
        return _ended_by_others(plan, state, live)
    if state.verdict is Verdict.HARM and not (state.promotion is not None and state.promotion.force):
        message = wording.culprit(
            state.evidence,
            stable=state.stable,
            canary=state.canary,
            limits=plan.limits,
            edges_ms=state.judge.edges_ms if state.judge else (),
        )
        return abort(plan, state, live, reason="Harm", message=message)
    if canary.revision and canary.revision != state.canary_revision:
        message = f"{state.canary} was changed to {canary.revision} during the rollout; it is judged anew from zero."
        return abort(plan, state, live, reason="CanaryChanged", message=message)
    if any_traffic(live) and canary.ready_pods == 0:
        message = f"{state.canary} has {show(live)} of the traffic and not one ready pod."
        return abort(plan, state, live, reason="CanaryUnavailable", message=message)
    stable = target.other(state.canary)
    if stable.revision != state.stable_revision:
        message = (
            f"{state.stable} was changed to {stable.revision or 'nothing'} during the rollout; "
            f"there is nothing left to compare {state.canary} with."
        )
        return abort(plan, state, live, reason="StableChanged", message=message)
    return None


def _ended_by_others(plan: RolloutPlan, state: RolloutState, live: Weights) -> RolloutState:
    """In observe mode others move the weights; their 0 or 100 ends the rollout."""
    if completes(live):
        return promoted(replace(state, weights=live), by_others=True)
    acting = replace(plan, observe_only=False)
    return abort(acting, state, live, reason="TakenOut", message=f"Someone took {state.canary} out of the traffic.")


def _hold_or_go(plan: RolloutPlan, state: RolloutState, snapshot: Snapshot, live: Weights) -> RolloutState:
    if plan.observe_only:
        state = replace(state, weights=live)
    paused = _paused(plan, state)
    if state.promotion is not None and not paused:
        return promote(plan, replace(state, weights=live), snapshot, state.promotion)
    if not same(live, state.weights):
        return _restore(state, live) if state.restoring else _drift(plan, state, live)
    if paused:
        return hold(state, HoldReason.PAUSED, paused)
    blind = _blind(state, snapshot)
    if blind is not None:
        return blind
    state = _back(state, snapshot)
    if snapshot.assessment is None:
        return state
    held = watch_share(plan, state, snapshot)
    if held is not None:
        return held
    state = clear_share(state)
    eased = ease(plan, state, snapshot.capacity)
    return eased if eased is not None else _go(plan, state, snapshot)


def _paused(plan: RolloutPlan, state: RolloutState) -> str:
    """Say who lets nothing move forward; empty where nobody does."""
    return "Suspended by the policy." if plan.suspended else str(state.paused or "")


def _restore(state: RolloutState, live: Weights) -> RolloutState:
    message = f"{show(live)} back to {show(state.weights)}: a person wants the weights as they were."
    return intend(state, live, state.weights, reason="Restored", message=message)


def _drift(plan: RolloutPlan, state: RolloutState, live: Weights) -> RolloutState:
    message = f"Someone else changed the weights: {state.canary} has {show(live)}, not {show(state.weights)}."
    told = tell_once(
        state,
        HoldReason.DRIFT.value,
        Urgency.NOTICE,
        message,
        title=f"Held: someone else changed the weights, {state.canary} has {show(live)} instead of {show(state.weights)}",
        done="Nothing is moved until the weights are back, and nobody's change is undone; a rollback would still be made.",
        to_do=f"Find out who it was (a GitOps tool, a colleague). To go on from what is there: `serin resume {plan.called} "
        f"--adopt`. To give {state.canary} {show(state.weights)} again (or `--restore`):",
    )
    return hold(told, HoldReason.DRIFT, message)


def _back(state: RolloutState, snapshot: Snapshot) -> RolloutState:
    """Note that the weights are as they should be again, and since when: what was shared out before says nothing of them."""
    if HoldReason.DRIFT.value not in state.told or snapshot.telemetry is None:
        return state
    back = replace(state, weights_since_s=snapshot.telemetry.now_s)
    what = f"The weights are as they should be again ({show(state.weights)}); judging goes on."
    return untell(back, HoldReason.DRIFT.value, what, urgency=Urgency.NOTICE)


def _blind(state: RolloutState, snapshot: Snapshot) -> RolloutState | None:
    health = snapshot.telemetry
    if health is None:
        return state  # not asked in this turn: nothing to go forward by
    if health.fresh:
        return None
    return hold(state, HoldReason.BLIND, health.message)


def _go(plan: RolloutPlan, state: RolloutState, snapshot: Snapshot) -> RolloutState:
    """Make the step that nothing forbids, if it is due."""
    assert snapshot.assessment is not None, "without an assessment nothing goes forward"
    evidence = snapshot.assessment.evidence
    if is_under_way(state) and evidence.log_e < SUSPICION:
        return follow(plan, state, snapshot, reason=state.reason, why="cleared before")
    bake = state.phase is Phase.BAKING
    dwell_s = plan.bake_s if bake else plan.dwell_min_s
    watched = f"{wording.duration(evidence.step_seconds)} at {show(state.weights)}"
    if evidence.step_seconds < dwell_s or evidence.step_intervals < MIN_STEP_INTERVALS:
        return replace(state, message=f"Watches: {watched}, at least {wording.duration(dwell_s)}.")
    if evidence.log_e >= SUSPICION:
        return replace(state, message=f"Suspicious, watches on. {wording.harm(evidence)}.")
    if bake:
        return _advance(plan, state, snapshot, reason="Baked", why=f"no harm in {watched}")
    if state.verdict is Verdict.PROVEN:
        why = f"proven in {watched}: {evidence.margins}"
        return _advance(plan, state, snapshot, reason="Proven", why=why)
    entry = entry_weights(plan, state.weights, canary_rps=evidence.step_canary_requests / evidence.step_seconds)
    if not same(entry, state.weights) and min(evidence.proof.values(), default=0.0) > 0.0:
        state = _unproven(state)
        why = f"{show(state.weights)} are too few requests to prove anything by"
        return clear(plan, state, snapshot, wanted=entry, reason="Entry", why=why)
    if evidence.step_seconds < plan.dwell_max_s:
        return replace(state, message=f"Watches: {watched}; {wording.unproven(evidence)}.")
    return _inconclusive(plan, state, snapshot, evidence, watched)


def _inconclusive(
    plan: RolloutPlan, state: RolloutState, snapshot: Snapshot, evidence: Evidence, watched: str
) -> RolloutState:
    lacking = wording.unproven(evidence)
    match plan.on_inconclusive:
        case OnInconclusive.ADVANCE:
            why = f"no verdict in {watched}, {lacking}; onInconclusive: advance"
            return _advance(plan, _unproven(state), snapshot, reason="Unproven", why=why)
        case OnInconclusive.ROLLBACK:
            return abort(
                plan, state, state.weights, reason="Inconclusive", message=f"No verdict in {watched}; {lacking}."
            )
        case OnInconclusive.HOLD:
            return replace(state, message=f"No verdict in {watched}; {lacking}; onInconclusive: hold.")


def _unproven(state: RolloutState) -> RolloutState:
    """Remember that the canary goes on from here without proof."""
    weight = state.weights[active_stage(state.weights)]
    return state if weight in state.unproven else replace(state, unproven=(*state.unproven, weight))


def _advance(plan: RolloutPlan, state: RolloutState, snapshot: Snapshot, *, reason: str, why: str) -> RolloutState:
    proven = snapshot.assessment.evidence.proven_weight if snapshot.assessment and reason == "Proven" else FULL
    wanted = grown_weights(plan, state.weights, most=proven)
    if completes(wanted) and state.phase is Phase.PROGRESSING and plan.bake_s > 0:
        message = f"One more watch of {wording.duration(plan.bake_s)} at {show(state.weights)} before everybody gets it; {why}."
        baking = replace(state, phase=after(state.phase, Trigger.BAKE), reason=reason, message=message)
        return tell(baking, "Baking", Urgency.EVENT, message)
    if plan.observe_only:
        return replace(state, message=f"Would go on to {show(wanted)}: {why}.")
    return clear(plan, state, snapshot, wanted=wanted, reason=reason, why=why)
