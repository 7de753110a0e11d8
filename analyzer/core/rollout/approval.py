"""Steps that wait for a person: which points of the policy a step would pass, and who has approved them."""

from dataclasses import replace

from analyzer.core.rollout.model import HoldReason, RolloutState, Urgency, Weights
from analyzer.core.rollout.notices import tell_once, untell
from analyzer.core.rollout.plan import RolloutPlan, StagePlan
from analyzer.core.rollout.transitions import hold
from analyzer.core.rollout.weights import active_stage, moved, show


def unapproved(plan: RolloutPlan, state: RolloutState, wanted: Weights) -> list[str]:
    """Name the points between the present weights and `wanted` that nobody has approved.

    What was approved stays so for this rollout, also where the weight is lower by now, for want of pods say.
    """
    granted = state.approved if len(state.approved) == len(state.weights) else state.weights
    return [
        point
        for stage, now, had, then in zip(plan.stages, state.weights, granted, wanted, strict=True)
        for point in _points(plan, stage, after=max(now, had), until=then)
    ]


def _points(plan: RolloutPlan, stage: StagePlan, *, after: float, until: float) -> list[str]:
    named = [stage.route] if stage.route is not None and stage.route in plan.approval and after == 0 < until else []
    reached = sorted(p for p in plan.approval if isinstance(p, int) and p in stage.weights and after < p <= until)
    return [*(f"the route {name}" for name in named), *(f"{weight} %" for weight in reached)]


def without_asking(plan: RolloutPlan, state: RolloutState, wanted: Weights) -> Weights | None:
    """Return how far a step may go that nobody needs to approve; None where that is nowhere.

    Only a ramp (`auto`) passes several weights in a step, and can be stopped before the one that is to be approved.
    """
    if not unapproved(plan, state, wanted):
        return wanted
    index = active_stage(state.weights)
    stage = plan.stages[index]
    rungs = [float(w) for w in stage.weights if state.weights[index] < w < wanted[index]] if stage.auto else []
    shorter = (moved(plan, state.weights, rung) for rung in reversed(rungs))
    return next((weights for weights in shorter if not unapproved(plan, state, weights)), None)


def ask(plan: RolloutPlan, state: RolloutState, wanted: Weights, *, why: str) -> RolloutState:
    """Hold until a person approves the step, and say so once."""
    points = " and ".join(unapproved(plan, state, wanted))
    message = f"Cleared for {show(wanted)} ({why}); {points} waits for approval."
    told = tell_once(
        state,
        HoldReason.APPROVAL.value,
        Urgency.NOTICE,
        f"{state.rollout} waits for approval of {points}: {why}.",
        title=f"Waits for you: {state.canary} may go on to {show(wanted)} when somebody approves",
        done=f"The weights stay at {show(state.weights)}; it is watched on, and would still be rolled back.",
        to_do="Approve the step, if you agree:",
        command=f"serin resume {plan.called}",
    )
    return hold(replace(told, awaits=wanted), HoldReason.APPROVAL, message)


def stop_asking(state: RolloutState) -> RolloutState:
    """Note that nothing waits for approval any more: it was given, or the policy wants none now."""
    asked = replace(state, awaits=())
    said = f"{state.rollout} waits for approval no longer."
    return untell(asked, HoldReason.APPROVAL.value, said, urgency=Urgency.NOTICE)
