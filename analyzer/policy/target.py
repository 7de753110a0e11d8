"""What runs behind a policy's versions; with `versions.py` and `routes.py`, all that a policy points to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analyzer.policy import mesh
from analyzer.policy.findings import Code, Path, Problem, suggest
from analyzer.policy.mesh import Object
from analyzer.policy.model import TargetSpec
from analyzer.policy.routes import RouteTarget, StageTarget, check_weights, heavier_version, resolve_routes
from analyzer.policy.versions import Version, resolve_versions

__all__ = [
    "RouteTarget",
    "StageTarget",
    "Version",
    "VersionTarget",
    "check_weights",
    "check_workloads",
    "heavier_version",
    "resolve_routes",
    "resolve_versions",
    "resolve_workload",
]


@dataclass(frozen=True, slots=True)
class VersionTarget:
    """One version, with what runs behind it.

    Attributes
    ----------
    name, host, subset
        As in `Version`.
    deployment
        Its Deployment's name, in the policy's namespace.
    labels
        The labels of its pods, as Service and DestinationRule tell them; may be empty where the policy names the
        Deployment.
    """

    name: str
    host: str
    subset: str | None
    deployment: str
    labels: Mapping[str, str]


def resolve_workload(
    version: Version,
    spec: TargetSpec,
    *,
    destination_rules: Sequence[Object],
    services: Sequence[Object],
    deployments: Sequence[Object],
) -> VersionTarget | list[Problem]:
    """Find the Deployment of one version: by the policy's word, or else by the labels that lead to its pods."""
    where: Path = ("spec", "target")
    problems: list[Problem] = []
    subset = service = None
    if version.subset is not None:
        subset = mesh.find_subset(destination_rules, host=version.host, subset=version.subset)
        if subset is None:
            message = f"no DestinationRule for {version.host} defines the subset `{version.subset}`"
            mend = "define it with the labels of the version's pods; until then its requests are answered with 503"
            problems.append(Problem(Code.SUBSET_MISSING, message, mend, where))
    service = mesh.find_service(services, version.host)
    labels = mesh.workload_labels(service, subset)
    if spec.deployments is not None:
        name = spec.deployments.get(version.name, "")
        if name not in (known := [mesh.name_of(d) for d in deployments]):
            problem = Problem(
                Code.DEPLOYMENT_MISSING,
                f"there is no Deployment {name}",
                suggest(name, known),
                (*where, "deployments", version.name),
            )
            problems.append(problem)
        return problems or VersionTarget(version.name, version.host, version.subset, name, labels)
    if service is None:
        message = f"there is no Service for {version.host}, so its pods are unknown"
        mend = _service_mend(version.host)
        problems.append(Problem(Code.SERVICE_MISSING, message, mend, where))
    if problems:
        return problems
    matching = [mesh.name_of(d) for d in mesh.matching_deployments(deployments, labels)]
    if len(matching) == 1:
        return VersionTarget(version.name, version.host, version.subset, matching[0], labels)
    wanted = ", ".join(f"{key}={value}" for key, value in labels.items()) or "no label at all"
    if matching:
        message = f"several Deployments have pods with {wanted}: {', '.join(matching)}"
        return [Problem(Code.DEPLOYMENT_AMBIGUOUS, message, "name both in `target.deployments`", where)]
    message = f"no Deployment has pods with {wanted} (version {version.name})"
    return [
        Problem(Code.DEPLOYMENT_MISSING, message, "label its pod template, or name both in `target.deployments`", where)
    ]


def _service_mend(host: str) -> str:
    name, _, rest = host.partition(".")
    if rest and "." not in rest:
        return f"Istio completes only names without a dot: write `{name}`, or `{host}.{mesh.CLUSTER_DOMAIN}`"
    return "create the Service, or name the Deployments in `target.deployments`"


def check_workloads(first: VersionTarget, second: VersionTarget) -> list[Problem]:
    """Find out whether both versions are one: comparing it with itself would prove anything."""
    if first.deployment != second.deployment:
        return []
    message = f"the versions {first.name} and {second.name} are both Deployment {first.deployment}"
    mend = "label the pods of each version differently, or name the Deployments in `target.deployments`"
    return [Problem(Code.DEPLOYMENT_SHARED, message, mend, ("spec", "target"))]
