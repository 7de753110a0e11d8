"""What a rollout in flight wants to have judged."""

from analyzer.app.judging import JudgeOrder
from analyzer.app.ledger import Demand, VersionSource
from analyzer.app.plan import judge_settings
from analyzer.app.target import ObservedTarget
from analyzer.core.capacity.demand import saturates
from analyzer.core.judge import initial_state
from analyzer.core.rollout import JUDGED, CapacityView, RolloutPlan, RolloutState, step_of
from analyzer.core.rollout.weights import active_stage
from analyzer.policy.model import CanaryPolicy
from analyzer.ports import Workload

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
    if state.phase not in JUDGED or stable is None or canary is None:
        return None
    stage = active_stage(state.weights)
    key = f"{namespace}/{policy.metadata.name}"
    hosts = {version.host for version in target.versions}
    since_s = state.weights_since_s
    return JudgeOrder(
        key=key,
        rollout=state.rollout,
        demand=Demand(
            key=key,
            stable=stable,
            canary=canary,
            services=frozenset(hosts | {host.partition(".")[0] for host in hosts}),
            route=target.stages[stage].routes[0].name if target.stages[stage].shared else None,
            since_s=state.judged_until_s,
            interval_s=state.interval_s,
            weight=state.weights[stage],
            stable_pods=max(1, target.pods[state.stable].ready),
            canary_pods=max(1, target.pods[state.canary].ready),
            canary_youngest_pod_at_s=target.pods[state.canary].youngest_at_s,
        ),
        state=state.judge or initial_state(),
        settings=judge_settings(policy),
        step=step_of(plan, state),
        mixed_until_s=None if since_s is None else since_s + PROPAGATION_S,
        weight_before=_weight_before(plan, state),
        canary_full_at=saturates(capacity.canary) if capacity is not None and plan.capacity_gate else None,
    )


def _weight_before(plan: RolloutPlan, state: RolloutState) -> float | None:
    if plan.sticky_users or len(state.weights_before) != len(state.weights):
        return None
    return state.weights_before[active_stage(state.weights)]


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
