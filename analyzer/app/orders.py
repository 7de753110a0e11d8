"""What a rollout in flight wants to have judged."""

import math
from dataclasses import replace

from analyzer.app.judging import JudgeOrder
from analyzer.app.ledger import Demand, VersionSource
from analyzer.app.plan import judge_settings
from analyzer.app.splits import NOTHING, Split
from analyzer.app.target import ObservedTarget
from analyzer.core.capacity.demand import busy_at, full_at
from analyzer.core.judge import initial_state
from analyzer.core.judge.types import Step
from analyzer.core.rollout import JUDGED, CapacityView, HoldReason, Limits, Phase, RolloutPlan, RolloutState, step_of
from analyzer.core.rollout.weights import active_stage
from analyzer.policy.model import CanaryPolicy
from analyzer.policy.routes import StageTarget
from analyzer.ports import Workload

_READ = JUDGED | {Phase.ROLLING_BACK}
"""A rollback needs no telemetry; one in parts goes by the traffic where there is some."""

PROPAGATION_S = 5.0
"""Time that a weight may take from the API server into every proxy (semantics.md §2: debounce of 100 ms, seldom seconds)."""


def order_of(
    policy: CanaryPolicy,
    plan: RolloutPlan,
    state: RolloutState,
    target: ObservedTarget,
    *,
    capacity: CapacityView | None = None,
) -> JudgeOrder | None:
    """Return the order for the present step; None where nothing is to be judged, or there is nothing to compare."""
    namespace = policy.metadata.namespace
    stable, canary = (_source(target, namespace, name) for name in (state.stable, state.canary))
    if state.phase not in _READ or stable is None or canary is None:
        return None
    stage = active_stage(state.weights)
    key = f"{namespace}/{policy.metadata.name}"
    hosts = {version.host for version in target.versions}
    order = JudgeOrder(
        key=key,
        rollout=state.rollout,
        demand=Demand(
            key=key,
            stable=stable,
            canary=canary,
            services=frozenset(hosts | {host.partition(".")[0] for host in hosts}),
            routes=_routes(target.stages[stage]),
            since_s=state.judged_until_s,
            interval_s=state.interval_s,
            weight=state.weights[stage],
            stable_pods=max(1, target.pods[state.stable].ready),
            canary_pods=max(1, target.pods[state.canary].ready),
            canary_youngest_pod_at_s=target.pods[state.canary].youngest_at_s,
        ),
        state=state.judge or initial_state(),
        settings=replace(judge_settings(policy), sticky_users=plan.sticky_users),
        step=step_of(plan, state),
        mixed_until_s=_mixed_until(state),
        weight_before=_weight_before(plan, state),
        stages=_stages(target.stages, active=stage),
        seen=_seen(plan, state),
        canary_full_at=full_at(capacity.canary) if capacity is not None and plan.capacity_gate else None,
        canary_busy_at=busy_at(capacity.canary) if capacity is not None and plan.capacity_gate else None,
    )
    if state.phase is Phase.ROLLING_BACK:
        # It is judged no more; how much traffic there is, the newest intervals say.
        return replace(order, demand=replace(order.demand, since_s=None))
    return replace(order, passed=_passed(order, plan, state, target.stages[:stage]))


def _stages(stages: tuple[StageTarget, ...], *, active: int) -> tuple[frozenset[str] | None, ...]:
    if len(stages) == 1:
        return ()
    return tuple(None if i == active else stage.telemetry or frozenset() for i, stage in enumerate(stages))


def _passed(
    order: JudgeOrder, plan: RolloutPlan, state: RolloutState, stages: tuple[StageTarget, ...]
) -> JudgeOrder | None:
    """Order for the users of stages that are through. None of them is on the stable version: limits alone can be tested."""
    names = [stage.telemetry for stage in stages]
    routes = frozenset[str]().union(*(name for name in names if name is not None))
    if plan.limits == Limits() or not routes or None in names:
        return None
    return replace(
        order,
        key=f"{order.key} (through)",
        demand=replace(
            order.demand, key=f"{order.key} (through)", routes=routes, since_s=state.passed_until_s, weight=100.0
        ),
        state=state.passed or initial_state(),
        step=Step(key="through", next_weight=None),
        weight_before=None,
        stages=(),
        seen=NOTHING,
    )


def _mixed_until(state: RolloutState) -> float | None:
    """Tell until when requests were shared out by other weights than these; for ever, while somebody else's are there."""
    if HoldReason.DRIFT.value in state.told:
        return math.inf
    return None if state.weights_since_s is None else state.weights_since_s + PROPAGATION_S


def _seen(plan: RolloutPlan, state: RolloutState) -> Split:
    """Tell what the present step has seen; nothing, where the evidence is of another, or lost with an earlier life."""
    if state.evidence is None or state.judge is None or state.judge.step_key != step_of(plan, state).key:
        return NOTHING
    return Split(state.evidence.step_stable_requests, state.evidence.step_canary_requests)


def _weight_before(plan: RolloutPlan, state: RolloutState) -> float | None:
    if plan.sticky_users or len(state.weights_before) != len(state.weights):
        return None
    return state.weights_before[active_stage(state.weights)]


def _routes(stage: StageTarget) -> frozenset[str] | None:
    """Name the routes that a stage is judged on, as telemetry does; None: the versions as a whole.

    That is right where they serve nobody else. Where they do, and a route of the stage has lost its name, its users cannot be
    told from others, and nothing is left to judge.
    """
    return (stage.telemetry or frozenset()) if stage.shared else None


def question_of(plan: RolloutPlan, state: RolloutState) -> str | None:
    """Return the key of the step that is being judged; None where nothing is, or the weights no longer fit the plan."""
    if state.phase not in JUDGED or len(state.weights) != len(plan.stages):
        return None
    return step_of(plan, state).key


def _source(target: ObservedTarget, namespace: str, name: str) -> VersionSource | None:
    workload = target.workloads.get(name)
    if workload is None:
        return None
    return VersionSource(
        workload=Workload(namespace, workload.deployment),
        clusters=frozenset({(workload.host, workload.subset or "")}),
    )
