"""The policy as the core wants it: seconds, ratios, tuples."""

from analyzer.core.judge.types import JudgeSettings
from analyzer.core.rollout import OnInconclusive, RolloutPlan, StagePlan
from analyzer.policy.fields import AUTO_WEIGHTS
from analyzer.policy.model import CanaryPolicy, Stage


def rollout_plan(policy: CanaryPolicy) -> RolloutPlan:
    """Translate the parts that decisions depend on."""
    spec = policy.spec
    return RolloutPlan(
        stages=tuple(_stage_plan(stage) for stage in spec.stages),
        observe_only=spec.mode == "observe",
        suspended=spec.suspend,
        dwell_min_s=spec.judge.dwell.min_s,
        dwell_max_s=spec.judge.dwell.max_s,
        bake_s=spec.judge.bake_s,
        on_inconclusive=OnInconclusive(spec.judge.on_inconclusive),
        canary_ready_s=spec.deadlines.canary_ready_s,
        blind_s=spec.deadlines.blind_s,
    )


def _stage_plan(stage: Stage) -> StagePlan:
    if stage.weights == "auto":
        return StagePlan(route=stage.route, weights=AUTO_WEIGHTS, auto=True)
    return StagePlan(route=stage.route, weights=stage.weights)


def judge_settings(policy: CanaryPolicy) -> JudgeSettings:
    """Translate the parts that the judge depends on.

    Each stage is judged by its own users from scratch; the chance of a false rollback is shared out, so that it holds for the
    whole rollout.
    """
    judge = policy.spec.judge
    return JudgeSettings(
        false_rollback=judge.false_rollback / len(policy.spec.stages),
        error_tolerance=judge.errors.tolerance,
        error_floor=judge.errors.floor,
        latency_tolerance=judge.latency.tolerance,
        warm_up_s=judge.latency.warm_up_s,
        harm_budget=judge.harm_budget,
    )
