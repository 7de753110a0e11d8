"""What a policy points to, made out of the cluster's objects."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analyzer.app.view import ClusterView
from analyzer.core.rollout import Problem, TargetView, VersionView, Weights
from analyzer.policy import delegation, mesh
from analyzer.policy.findings import Code, Severity
from analyzer.policy.findings import Problem as PolicyProblem
from analyzer.policy.matches import check_stages_reached
from analyzer.policy.model import CanaryPolicy
from analyzer.policy.reach import other_ways
from analyzer.policy.routes import StageTarget, check_weights, heavier_version, resolve_routes
from analyzer.policy.target import VersionTarget, check_workloads, resolve_workload
from analyzer.policy.telling import check_telemetry_names
from analyzer.policy.versions import Version
from analyzer.ports import DEPLOYMENT, DESTINATION_RULE, POD, SERVICE, VIRTUAL_SERVICE, Object, Ref


@dataclass(frozen=True, slots=True)
class Pods:
    """A version's pods.

    Attributes
    ----------
    ready
        Pods that are ready [count].
    youngest_at_s
        When the youngest ready pod was created [unix seconds]; None where there is none.
    """

    ready: int
    youngest_at_s: float | None


@dataclass(frozen=True, slots=True)
class ObservedTarget:
    """The target as decisions see it, and as the patch and the telemetry need it.

    `related`: other VirtualServices that name its routes, or share their versions.
    """

    view: TargetView
    virtual_service: Object
    versions: tuple[Version, Version]
    workloads: Mapping[str, VersionTarget | None]
    stages: tuple[StageTarget, ...]
    pods: Mapping[str, Pods]
    related: frozenset[Ref] = frozenset()

    @property
    def interest(self) -> frozenset[Ref]:
        """Name the objects whose change may change a decision."""
        metadata = self.virtual_service["metadata"]
        deployments = {
            Ref(DEPLOYMENT, metadata["namespace"], workload.deployment)
            for workload in self.workloads.values()
            if workload is not None
        }
        return frozenset({Ref(VIRTUAL_SERVICE, metadata["namespace"], metadata["name"]), *deployments, *self.related})


def observe_target(cache: ClusterView, policy: CanaryPolicy) -> ObservedTarget | Problem:
    """Make out the target from what the cluster cache holds.

    A version without a Deployment is no problem here but a fact (its revision is empty): the canary's may have been deleted,
    and that must lead to a rollback.
    """
    namespace = policy.metadata.namespace
    name = policy.spec.target.virtual_service
    virtual_service = cache.get(Ref(VIRTUAL_SERVICE, namespace, name))
    if virtual_service is None:
        return Problem("VirtualServiceMissing", f"There is no VirtualService {namespace}/{name}.")
    problems = mesh.check_virtual_service(virtual_service)
    others = _others(cache, virtual_service)
    routes = resolve_routes(policy, virtual_service, others=others)
    if isinstance(routes, list):
        problems += routes
    if isinstance(routes, list) or _errors(problems):
        return _joined(_errors(problems))
    versions, stages = routes
    workloads: dict[str, VersionTarget | None] = {}
    for version in versions:
        workload = _workload(cache, policy, version)
        if isinstance(workload, Problem):
            return workload
        workloads[version.name] = workload
    return _observed(
        cache,
        policy,
        virtual_service=virtual_service,
        others=others,
        versions=versions,
        stages=stages,
        workloads=workloads,
    )


def _others(cache: ClusterView, virtual_service: Object) -> list[Object]:
    """List the VirtualServices of its roots and delegates, and those that lead to the same hosts, wherever they are."""
    roots = cache.leading_to(delegation.full_name(virtual_service))
    delegates = [d for root in (virtual_service, *roots) for d in delegation.delegations_of(root)]
    found = [*roots, *(cache.get(Ref(VIRTUAL_SERVICE, d.namespace, d.name)) for d in delegates)]
    for name in delegation.leads_to(virtual_service):
        found += cache.leading_to(name)
    own = delegation.full_name(virtual_service)
    return list({name: obj for obj in found if obj and (name := delegation.full_name(obj)) != own}.values())


def _errors(problems: list[PolicyProblem]) -> list[PolicyProblem]:
    return [problem for problem in problems if problem.severity is Severity.ERROR]


def _joined(problems: list[PolicyProblem]) -> Problem:
    reason = "".join(word.capitalize() for word in problems[0].code.name.split("_"))
    return Problem(reason, "; ".join(str(problem) for problem in problems))


def _unfit(
    policy: CanaryPolicy, virtual_service: Object, stages: tuple[StageTarget, ...], others: list[Object]
) -> Problem | None:
    """Say what is wrong with the weights themselves, or with the routes; it matters only where a rollout would begin."""
    found = [p for p in check_weights(policy, stages) if p.code in {Code.WEIGHTS_INEXPRESSIBLE, Code.WEIGHTS_DISAGREE}]
    found += check_telemetry_names(virtual_service, stages, others=others)
    found += check_stages_reached(virtual_service, [stage.indices for stage in stages])
    return _joined(found) if found else None


def _aside(virtual_service: Object, versions: tuple[Version, Version], others: list[Object]) -> str:
    ways = [delegation.full_name(way) for way in other_ways(virtual_service, versions, others)]
    if not ways:
        return ""
    return f"VirtualService {', '.join(ways)} leads to the same versions, and is not moved."


def _refs(virtual_services: list[Object]) -> frozenset[Ref]:
    metadata = [obj["metadata"] for obj in virtual_services]
    return frozenset(Ref(VIRTUAL_SERVICE, entry["namespace"], entry["name"]) for entry in metadata)


def _workload(cache: ClusterView, policy: CanaryPolicy, version: Version) -> VersionTarget | Problem | None:
    namespace = policy.metadata.namespace
    found = resolve_workload(
        version,
        policy.spec.target,
        destination_rules=cache.list(DESTINATION_RULE, namespace),
        services=cache.list(SERVICE, namespace),
        deployments=cache.list(DEPLOYMENT, namespace),
    )
    if not isinstance(found, list):
        return found
    if all(problem.code is Code.DEPLOYMENT_MISSING for problem in _errors(found)):
        return None
    return _joined(_errors(found))


def _observed(
    cache: ClusterView,
    policy: CanaryPolicy,
    *,
    virtual_service: Object,
    others: list[Object],
    versions: tuple[Version, Version],
    stages: tuple[StageTarget, ...],
    workloads: Mapping[str, VersionTarget | None],
) -> ObservedTarget | Problem:
    namespace = policy.metadata.namespace
    first, second = (workloads[version.name] for version in versions)
    if first is not None and second is not None and (same := check_workloads(first, second)):
        return _joined(same)
    pods = {name: _pods(cache, namespace, workload) for name, workload in workloads.items()}
    views = tuple(_version_view(cache, namespace, v.name, workloads[v.name]) for v in versions)
    return ObservedTarget(
        view=TargetView(
            versions=(views[0], views[1]),
            shares={version.name: shares(stages, version.name) for version in versions},
            # The weights tell, and go on telling when the roles swap; the policy is asked only where they are equal.
            default_stable=heavier_version(stages) or policy.spec.target.stable,
            unfit=_unfit(policy, virtual_service, stages, others),
            aside=_aside(virtual_service, versions, others),
        ),
        virtual_service=virtual_service,
        versions=versions,
        workloads=workloads,
        stages=stages,
        pods=pods,
        related=_refs(others),
    )


def shares(stages: tuple[StageTarget, ...], version: str) -> Weights:
    """Return a version's share in each stage [per cent]; the largest where a stage's routes differ."""
    return tuple(
        max(100.0 * route.weights[version] / route.total if route.total else 0.0 for route in stage.routes)
        for stage in stages
    )


def revision_of(deployment: Object) -> str:
    """Hash a Deployment's pod template: what runs, independent of how many and of who wrote it when."""
    template = json.dumps(deployment["spec"]["template"], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(template.encode()).hexdigest()[:10]


def _version_view(cache: ClusterView, namespace: str, name: str, workload: VersionTarget | None) -> VersionView:
    deployment = None if workload is None else cache.get(Ref(DEPLOYMENT, namespace, workload.deployment))
    if deployment is None:
        return VersionView(name=name, revision="", ready_pods=0, settled=False)
    status = deployment.get("status") or {}
    replicas = deployment["spec"].get("replicas", 1)
    ready = status.get("readyReplicas", 0)
    settled = (
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and 0 < replicas == status.get("updatedReplicas", 0) == status.get("replicas", 0)
        and ready >= replicas
    )
    return VersionView(name=name, revision=revision_of(deployment), ready_pods=ready, settled=settled)


def _pods(cache: ClusterView, namespace: str, workload: VersionTarget | None) -> Pods:
    ready = [pod for pod in pods_of(cache, namespace, workload) if _is_ready(pod)]
    return Pods(len(ready), max((created_at_s(pod) for pod in ready), default=None))


def pods_of(cache: ClusterView, namespace: str, workload: VersionTarget | None) -> list[Object]:
    """List the pods of a version's Deployment."""
    if workload is None:
        return []
    deployment = cache.get(Ref(DEPLOYMENT, namespace, workload.deployment)) or {}
    labels = deployment.get("spec", {}).get("selector", {}).get("matchLabels") or workload.labels
    return [pod for pod in cache.list(POD, namespace) if _selected(pod, labels)]


def _selected(pod: Object, labels: Mapping[str, str]) -> bool:
    return bool(labels) and labels.items() <= (pod["metadata"].get("labels") or {}).items()


def _is_ready(pod: Object) -> bool:
    """Tell whether a pod can answer: one that is going says that it is ready to the end, and gets no new requests."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions: list[dict[str, Any]] = (pod.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def created_at_s(obj: Object) -> float:
    """Return `metadata.creationTimestamp` [unix seconds]; 0 where there is none."""
    stamp = obj["metadata"].get("creationTimestamp")
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0
