"""Whose requests a VirtualService splits: gateways, callers in the mesh, and who else leads to the same versions."""

from collections.abc import Iterator, Sequence

from analyzer.policy import delegation, mesh
from analyzer.policy.findings import Code, Path, Problem, Severity, Subject
from analyzer.policy.mesh import Object
from analyzer.policy.versions import Version

MESH = "mesh"
"""Istio's word for all sidecars; what a VirtualService without `gateways` is bound to."""


def gateways_of(virtual_service: Object) -> list[str]:
    """List what it is bound to, gateways as `namespace/name`; `mesh` where nothing is written."""
    namespace = mesh.namespace_of(virtual_service)
    names = [str(name) for name in mesh.get_list(virtual_service, "spec", "gateways")] or [MESH]
    return [name if name == MESH or "/" in name else f"{namespace}/{name}" for name in names]


def check_reach(virtual_service: Object, versions: Sequence[Version], *, others: Sequence[Object]) -> Iterator[Problem]:
    """Warn of requests that come to the versions, or should, and are not split by this VirtualService."""
    ways = list(_other_ways(virtual_service, versions, others))
    if not delegation.is_delegate(virtual_service):
        yield from _mesh_only(virtual_service, ways)
    yield from ways
    yield from _hidden(virtual_service)


def _mesh_only(virtual_service: Object, ways: Sequence[Problem]) -> Iterator[Problem]:
    outside = [host for host in _hosts(virtual_service) if _is_outside(host)]
    if gateways_of(virtual_service) != [MESH] or not outside or ways:
        return
    message = (
        f"it is for {', '.join(outside)} and bound to no gateway: without `gateways` only callers within the mesh are split,"
        " and requests through an ingress gateway are not"
    )
    mend = "name the gateway: `gateways: [<namespace>/<name>, mesh]`"
    path: Path = ("spec", "gateways") if mesh.get_list(virtual_service, "spec", "gateways") else ("spec", "hosts")
    yield _warning(Code.MESH_ONLY, message, mend, path)


def other_ways(virtual_service: Object, versions: Sequence[Version], others: Sequence[Object]) -> list[Object]:
    """List the other VirtualServices that lead to a version: they are not moved, and their requests are counted."""
    if delegation.is_delegate(virtual_service):
        related = {d.root for d in delegation.find_delegations(virtual_service, others)}
    else:
        related = {d.delegate for d in delegation.delegations_of(virtual_service)}
    return [
        other
        for other in others
        if delegation.full_name(other) not in related
        and any(view.leads_to(version.key) for view in mesh.find_routes(other) for version in versions)
    ]


def _other_ways(virtual_service: Object, versions: Sequence[Version], others: Sequence[Object]) -> Iterator[Problem]:
    for other in other_ways(virtual_service, versions, others):
        whose = " and ".join(gateways_of(other))
        message = (
            f"VirtualService {delegation.full_name(other)} (for {whose}) leads to the same versions: its weights are not moved,"
            " and only telemetry per route (`route_name`) tells its users from these"
        )
        mend = "make them one VirtualService with all `gateways`, or let the other delegate to this one"
        yield _warning(Code.ANOTHER_WAY, message, mend, ("spec", "gateways"))


def _hidden(virtual_service: Object) -> Iterator[Problem]:
    exported = mesh.get_list(virtual_service, "spec", "exportTo")
    if "~" in exported:
        message = '`exportTo: ["~"]` shows it to no proxy at all'
        yield _warning(Code.EXPORT_HIDES, message, "write `.` for its own namespace, or `*`", ("spec", "exportTo"))
        return
    for gateway in gateways_of(virtual_service):
        namespace = gateway.partition("/")[0]
        if gateway != MESH and not delegation.is_exported(virtual_service, namespace):
            message = f"`exportTo` hides it from {namespace}, where the gateway {gateway} is"
            yield _warning(Code.EXPORT_HIDES, message, f"add `{namespace}` to it", ("spec", "exportTo"))


def _hosts(virtual_service: Object) -> list[str]:
    return [str(host) for host in mesh.get_list(virtual_service, "spec", "hosts")]


def _is_outside(host: str) -> bool:
    """Tell whether a host is what callers from outside ask for: a public name, or all names."""
    return host == "*" or ("." in host and mesh.host_namespace(host) is None and not host.endswith(mesh.CLUSTER_DOMAIN))


def _warning(code: Code, message: str, mend: str, path: Path) -> Problem:
    return Problem(code, message, mend, path, Subject.VIRTUAL_SERVICE, Severity.WARNING)
