"""A policy against the other objects in the files: its target, its autoscalers, and known traps."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path as FilePath

from analyzer.policy.autoscaling import check_autoscaling
from analyzer.policy.delegation import full_name
from analyzer.policy.expressions import check_expressions
from analyzer.policy.findings import Code, Finding, Problem, Severity, Subject, dotted, suggest
from analyzer.policy.load import CLUSTER, Document
from analyzer.policy.matches import check_matches
from analyzer.policy.mesh import Object, check_virtual_service, name_of, namespace_of, rules_for
from analyzer.policy.model import CanaryPolicy
from analyzer.policy.reach import check_reach
from analyzer.policy.routes import check_sums, check_weights, resolve_routes
from analyzer.policy.target import VersionTarget, check_workloads, resolve_workload
from analyzer.policy.telling import check_telemetry_names
from analyzer.policy.versions import Version


def check_against(
    item: Document, policy: CanaryPolicy, *, others: Sequence[Document], live: bool = False
) -> list[Finding]:
    """Check a policy against what else was read.

    Without its VirtualService there is nothing to say, unless `others` holds all that is in the cluster (`live`): then what
    is not there is missing.
    """
    namespace = policy.metadata.namespace
    everywhere = nearest(item, others)
    near = [other for other in everywhere if namespace_of(other.value) == namespace]
    routing = [other for other in everywhere if _is(other, "networking.istio.io", "VirtualService")]
    name = policy.spec.target.virtual_service
    virtual_service = next((other for other in routing if full_name(other.value) == f"{namespace}/{name}"), None)
    if virtual_service is None:
        services = [other for other in routing if namespace_of(other.value) == namespace]
        return [_no_virtual_service(item, namespace, name, services)] if live else []
    beside = [other.value for other in routing if other is not virtual_service]
    problems = check_virtual_service(virtual_service.value)
    routes = resolve_routes(policy, virtual_service.value, others=beside)
    if isinstance(routes, list):
        problems += routes
    else:
        versions, stages = routes
        problems += check_weights(policy, stages) + _workloads(policy, versions, near=near, live=live)
        problems += _unseen_are_warnings(check_telemetry_names(virtual_service.value, stages, others=beside))
        problems += check_reach(virtual_service.value, versions, others=beside)
        problems += check_matches(virtual_service.value, [stage.indices for stage in stages])
        problems += check_sums(virtual_service.value, known={problem.path for problem in problems})
    problems += check_expressions(virtual_service.value)
    return [_finding(item, virtual_service, problem) for problem in problems]


def _no_virtual_service(item: Document, namespace: str, name: str, others: Sequence[Document]) -> Finding:
    message = f"there is no VirtualService {namespace}/{name}"
    mend = suggest(name, [name_of(other.value) for other in others])
    path = ("spec", "target", "virtualService")
    return item.finding(Code.VIRTUAL_SERVICE_MISSING, message, mend, path=path)


def _finding(item: Document, virtual_service: Document, problem: Problem) -> Finding:
    """Place a problem in its file; one of a VirtualService that has none, where the policy names it."""
    if problem.subject is Subject.POLICY:
        place, message, path = item, problem.message, problem.path
    elif virtual_service.file != CLUSTER:
        place, message, path = virtual_service, problem.message, problem.path
    else:
        there = f"VirtualService {name_of(virtual_service.value)} in the cluster, {dotted(problem.path)}"
        place, message, path = item, f"{there}: {problem.message}", ("spec", "target", "virtualService")
    return place.finding(problem.code, message, problem.mend, path=path, severity=problem.severity)


def _unseen_are_warnings(problems: Sequence[Problem]) -> list[Problem]:
    """Take a root that is not among the files for one that other people have elsewhere, as a rule."""
    return [
        replace(problem, severity=Severity.WARNING) if problem.code is Code.ROOT_UNSEEN else problem
        for problem in problems
    ]


def nearest(item: Document, others: Sequence[Document]) -> list[Document]:
    """Keep one of the objects with the same name: that of the policy's own file or folder (overlays repeat objects).

    What is in the files is to be applied, and counts before what is in the cluster; but the cluster knows its status.
    """
    folder = FilePath(item.file).parent

    def distance(other: Document) -> tuple[bool, bool, bool]:
        return other.file == CLUSTER, other.file != item.file, FilePath(other.file).parent != folder

    unique: dict[tuple[str, str], Document] = {}
    for other in sorted(others, key=distance):
        key = str(other.value.get("kind")), full_name(other.value)
        first = unique.setdefault(key, other)
        if other.file == CLUSTER and first is not other:
            unique[key] = replace(first, value={**first.value, "status": other.value.get("status")})
    return list(unique.values())


def _is(item: Document, group: str, kind: str) -> bool:
    api_version = str(item.value.get("apiVersion"))
    return item.value.get("kind") == kind and (api_version.rpartition("/")[0] == group)


def _workloads(
    policy: CanaryPolicy, versions: Sequence[Version], *, near: Sequence[Document], live: bool
) -> list[Problem]:
    """Check what runs behind the versions; without a cluster, as far as such objects are among the files."""
    all_rules = _all(near, "networking.istio.io", "DestinationRule")
    services = _all(near, "", "Service")
    deployments = _all(near, "apps", "Deployment")
    problems: list[Problem] = []
    behind: list[VersionTarget] = []
    for version in versions:
        rules = rules_for(all_rules, version.host)
        present = {Code.SUBSET_MISSING: rules, Code.SERVICE_MISSING: services, Code.DEPLOYMENT_MISSING: deployments}
        found = resolve_workload(
            version, policy.spec.target, destination_rules=rules, services=services, deployments=deployments
        )
        if isinstance(found, list):
            problems += [problem for problem in found if live or present.get(problem.code, True)]
        else:
            behind.append(found)
    if len(behind) == 2:
        problems += check_workloads(behind[0], behind[1])
    autoscalers = _all(near, "autoscaling", "HorizontalPodAutoscaler")
    names = {version.deployment for version in behind}
    known = [deployment for deployment in deployments if name_of(deployment) in names]
    return [*problems, *check_autoscaling(policy, deployments=known, autoscalers=autoscalers, live=live)]


def _all(items: Sequence[Document], group: str, kind: str) -> list[Object]:
    return [item.value for item in items if _is(item, group, kind)]
