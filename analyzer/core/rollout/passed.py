"""Users of stages that are through: all of them are on the canary.

Nobody of them is left on the stable version, so there is nothing to compare with at the same instants. Absolute limits can
still be tested.
"""

from dataclasses import replace

from analyzer.core.judge.types import Verdict
from analyzer.core.rollout import wording
from analyzer.core.rollout.model import RolloutState, Snapshot, Weights
from analyzer.core.rollout.plan import RolloutPlan
from analyzer.core.rollout.transitions import abort
from analyzer.core.rollout.weights import active_stage


def harm_to_those_who_passed(
    plan: RolloutPlan, state: RolloutState, snapshot: Snapshot, live: Weights
) -> RolloutState | None:
    """Take all routes back where harm is found on one whose stage is through; None where none is found."""
    passed = snapshot.passed
    if passed is None or passed.verdict is not Verdict.HARM:
        return None
    names = ", ".join(stage.route or "" for stage in plan.stages[: active_stage(state.weights)])
    found = wording.culprit(
        passed.evidence, stable=state.stable, canary=state.canary, limits=plan.limits, edges_ms=passed.state.edges_ms
    )
    message = f"On {names}, where everybody has {state.canary}: {found}"
    # What people are shown is what it is rolled back for, not what the other users saw.
    seen = replace(
        state,
        judge=passed.state,
        judged_until_s=state.passed_until_s,
        evidence=passed.evidence,
        verdict=passed.verdict,
    )
    aborted = abort(plan, seen, live, reason="Harm", message=message)
    if not plan.observe_only:
        return aborted
    return replace(  # and goes on judging
        aborted,
        judge=state.judge,
        judged_until_s=state.judged_until_s,
        evidence=state.evidence,
        verdict=state.verdict,
    )
