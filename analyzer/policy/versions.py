"""Which two versions a policy compares."""

from collections.abc import Sequence
from dataclasses import dataclass

from analyzer.policy import mesh
from analyzer.policy.findings import Code, Path, Problem, suggest
from analyzer.policy.mesh import Object, RouteView
from analyzer.policy.model import Stage, TargetSpec


@dataclass(frozen=True, slots=True)
class Version:
    """One version as the mesh knows it.

    Attributes
    ----------
    name
        As the policy calls it: the subset, or the host.
    host
        Fully qualified.
    subset
        None where the versions are different hosts.
    """

    name: str
    host: str
    subset: str | None

    @property
    def key(self) -> tuple[str, str | None]:
        """What a destination is compared by."""
        return self.host, self.subset


def resolve_versions(
    virtual_service: Object, target: TargetSpec, *, stages: Sequence[Stage] = ()
) -> tuple[Version, Version] | list[Problem]:
    """Find the two versions: those that the policy names, or the only two that a route is split between.

    `stages` narrows the search to their routes.
    """
    namespace = mesh.namespace_of(virtual_service)
    views = mesh.find_routes(virtual_service)
    if target.versions is not None:
        return _named_versions(views, target.versions, namespace=namespace, where=("spec", "target", "versions"))
    if target.deployments is not None:
        return _named_versions(
            views, tuple(target.deployments), namespace=namespace, where=("spec", "target", "deployments")
        )
    named = {stage.route for stage in stages} & {view.name for view in views} - {None}
    where: Path = ("spec", "target", "virtualService")
    relevant = [view for view in views if view.name in named] if named else views
    pairs = {frozenset(d.key for d in view.destinations): view for view in relevant if len(view.destinations) == 2}
    pairs = {keys: view for keys, view in pairs.items() if len(keys) == 2}
    if len(pairs) == 1:
        (view,) = pairs.values()
        first, second = (
            Version(mesh.version_name(d, namespace=namespace), d.host, d.subset) for d in view.destinations
        )
        return _checked(first, second, namespace=namespace, where=where)
    known = _names(relevant, namespace=namespace)
    if not pairs and len(known) < 2:
        there = f"knows one version only: {known[0]}" if known else "has no http route with a destination"
        mend = "write the second version into the route, with `weight: 0`"
        message = f"VirtualService {mesh.name_of(virtual_service)} {there}"
        return [Problem(Code.ONE_VERSION, message, mend, where)]
    message = (
        f"VirtualService {mesh.name_of(virtual_service)} leads to {', '.join(known)}: which two are to be compared?"
    )
    mend = f"name them: `versions: [{known[0]}, {known[1]}]`"
    return [Problem(Code.VERSIONS_AMBIGUOUS, message, mend, ("spec", "target"))]


def _named_versions(
    views: Sequence[RouteView], names: Sequence[str], *, namespace: str, where: Path
) -> tuple[Version, Version] | list[Problem]:
    found: list[Version] = []
    problems: list[Problem] = []
    everything = {destination.key: destination for view in views for destination in view.destinations}
    for index, name in enumerate(names):
        place: Path = (*where, name if where[-1] == "deployments" else index)
        host = mesh.resolve_host(name, namespace)
        keys = [d.key for d in everything.values() if d.subset == name or (d.subset is None and d.host == host)]
        if len(keys) == 1:
            found.append(Version(name, *keys[0]))
        elif keys:
            message = f"`{name}` is a destination at {' and at '.join(sorted(host for host, _ in keys))}"
            mend = "give each service a VirtualService and a policy of its own"
            problems.append(Problem(Code.VERSIONS_AMBIGUOUS, message, mend, place))
        else:
            message = f"no route of the VirtualService has the subset or host `{name}`"
            mend = suggest(name, _names(views, namespace=namespace))
            problems.append(Problem(Code.VERSION_MISSING, message, mend, place))
    if problems:
        return problems
    first, second = found
    return _checked(first, second, namespace=namespace, where=where)


def _checked(
    first: Version, second: Version, *, namespace: str, where: Path
) -> tuple[Version, Version] | list[Problem]:
    if first.name == second.name:
        message = f"both versions are called {first.name}"
        return [Problem(Code.VERSIONS_AMBIGUOUS, message, "give the subsets different names", where)]
    foreign = [v for v in (first, second) if (mesh.host_namespace(v.host) or namespace) != namespace]
    if foreign:
        message = f"{foreign[0].host} is not in the policy's namespace, {namespace}"
        mend = "keep policy, VirtualService and both versions in one namespace"
        return [Problem(Code.FOREIGN_HOST, message, mend, where)]
    return first, second


def _names(views: Sequence[RouteView], *, namespace: str) -> list[str]:
    """Names of all versions, in order of appearance."""
    return list(dict.fromkeys(mesh.version_name(d, namespace=namespace) for view in views for d in view.destinations))
