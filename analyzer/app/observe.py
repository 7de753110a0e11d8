"""A policy with all that it points to, as one turn finds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analyzer.app.plan import rollout_plan
from analyzer.app.target import ObservedTarget, observe_target
from analyzer.app.view import ClusterView
from analyzer.core.rollout import Problem, RolloutPlan
from analyzer.errors import PolicyError
from analyzer.policy.defaults import inherited, layers_for, with_defaults
from analyzer.policy.model import CanaryPolicy
from analyzer.policy.parse import parse_policy
from analyzer.ports import CANARY_DEFAULTS, CANARY_POLICY, VIRTUAL_SERVICE, Object, Ref


@dataclass(frozen=True, slots=True)
class Observed:
    """A policy that works, with all that it points to; `spec` is its own, over the defaults."""

    policy: CanaryPolicy
    plan: RolloutPlan
    target: ObservedTarget
    spec: Mapping[str, Any]

    @property
    def virtual_service(self) -> Ref:
        """Name the object whose weights move."""
        return Ref(VIRTUAL_SERVICE, self.policy.metadata.namespace, self.policy.spec.target.virtual_service)


def observe(
    cache: ClusterView, obj: Object, ref: Ref, *, salvage: bool, dry_run: bool, home: str
) -> Observed | Problem:
    """Read a policy, over the defaults of its namespace and of Serin's own (`home`), and make out its target.

    With `salvage`, a policy that is broken is read as far as a rollback needs it.
    """
    layers = defaults_of(cache, obj, home=home)
    effective = with_defaults(obj, layers)
    try:
        policy = parse_policy(effective)
    except PolicyError as error:
        salvaged = read_for_rollback(effective) if salvage else None
        if salvaged is None:
            return Problem(error.reason, f"{error}{_with(obj, layers)}")
        policy = salvaged
    taken = _taken(cache, policy, ref)
    if taken is not None:
        return taken
    target = observe_target(cache, policy)
    if isinstance(target, Problem):
        return target
    plan = rollout_plan(policy)
    plan = replace(plan, observe_only=plan.observe_only or dry_run)
    return Observed(policy, plan, target, effective.get("spec") or {})


def defaults_of(cache: ClusterView, obj: Object, *, home: str) -> Sequence[Mapping[str, Any]]:
    """List the `CanaryDefaults` that count for a policy."""
    return layers_for(obj["metadata"]["namespace"], cache.list(CANARY_DEFAULTS), home=home)


def _with(obj: Object, layers: Sequence[Mapping[str, Any]]) -> str:
    """Name what a policy that does not work has from elsewhere."""
    fields = ", ".join(f"{name}: {value}" for name, value in inherited(obj, layers).items())
    return f" (with CanaryDefaults: {fields})" if fields else ""


def _taken(cache: ClusterView, policy: CanaryPolicy, ref: Ref) -> Problem | None:
    """Two policies on one VirtualService would fight: the older one has it."""
    target = policy.spec.target.virtual_service
    rivals = [
        other
        for other in cache.list(CANARY_POLICY, ref.namespace)
        if ((other.get("spec") or {}).get("target") or {}).get("virtualService") == target
    ]
    first = min((_age(rival) for rival in rivals), default=("", ref.name))[1]
    if first == ref.name:
        return None
    return Problem(
        "TargetTaken",
        f"VirtualService {target} already has a policy, {first}, which is older: "
        "delete one of the two, or join their stages in one policy.",
    )


def read_for_rollback(obj: Object) -> CanaryPolicy | None:
    """Read as much of an invalid policy as a rollback needs: where the weights are. A due rollback waits for no typo."""
    spec = obj.get("spec") or {}
    wanted = {name: spec[name] for name in ("target", "stages") if name in spec}
    for kept in (wanted, {"target": wanted.get("target")}):
        try:
            return parse_policy({**obj, "spec": kept})
        except PolicyError:
            continue
    return None


def _age(policy: Object) -> tuple[str, str]:
    metadata = policy["metadata"]
    return metadata.get("creationTimestamp") or "", metadata["name"]
