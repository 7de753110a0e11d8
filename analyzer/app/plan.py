"""The policy as the core wants it: seconds, ratios, tuples."""

from analyzer.core.judge.types import JudgeSettings
from analyzer.core.rollout import Limits, OnInconclusive, RolloutPlan, StagePlan
from analyzer.policy.fields import AUTO_WEIGHTS
from analyzer.policy.model import CanaryPolicy, CapacityMode, Stage


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
        sticky_users=spec.judge.sticky_users,
        capacity_gate=spec.capacity.mode is not CapacityMode.OFF,
        headroom=spec.capacity.headroom,
        return_within_s=spec.capacity.rollback_within_s,
        limits=limits_of(policy),
        approval=spec.approval,
        called=f"{policy.metadata.name} -n {policy.metadata.namespace}",
    )


def _stage_plan(stage: Stage) -> StagePlan:
    if stage.weights == "auto":
        return StagePlan(route=stage.route, weights=AUTO_WEIGHTS, auto=True)
    return StagePlan(route=stage.route, weights=stage.weights)


def limits_of(policy: CanaryPolicy) -> Limits:
    """Translate the absolute limits."""
    limits = policy.spec.judge.limits
    if limits is None:
        return Limits()
    return Limits(
        error_rate=limits.error_rate, p99_ms=None if limits.p99_s is None else round(1000.0 * limits.p99_s, 6)
    )


def judge_settings(policy: CanaryPolicy) -> JudgeSettings:
    """Translate the parts that the judge depends on.

    Each stage is judged by its own users from scratch; the chance of a false rollback is shared out, so that it holds for the
    whole rollout.
    """
    judge = policy.spec.judge
    limits = limits_of(policy)
    return JudgeSettings(
        false_rollback=judge.false_rollback / _tests(policy),
        error_tolerance=judge.errors.tolerance,
        error_floor=judge.errors.floor,
        latency_tolerance=judge.latency.tolerance,
        warm_up_s=judge.latency.warm_up_s,
        harm_budget=judge.harm_budget,
        limit_error_rate=limits.error_rate,
        limit_p99_ms=limits.p99_ms,
        sticky_users=judge.sticky_users,
    )


def _tests(policy: CanaryPolicy) -> int:
    """Count the tests that may find harm: one per stage; with limits, from the second stage on one more, of those through."""
    stages = len(policy.spec.stages)
    return stages if policy.spec.judge.limits is None else 2 * stages - 1
