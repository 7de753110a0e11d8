"""Roots and delegates: VirtualServices whose routes are in other VirtualServices.

A root's route may say `delegate: {name, namespace}`. Istio then puts the delegate's routes in its place, each under the
joined name `root-delegate`, which is also what telemetry calls it. A delegate has no hosts; it holds the weights, and may be
in another namespace than the root.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from analyzer.policy import mesh
from analyzer.policy.mesh import Object, RouteView


class Delegation(NamedTuple):
    """A route that leads to the routes of another VirtualService."""

    root: str  # `namespace/name` of the VirtualService that delegates
    route: str | None  # the name of its route
    namespace: str  # of the delegate
    name: str  # of the delegate

    @property
    def delegate(self) -> str:
        """`namespace/name` of the delegate."""
        return f"{self.namespace}/{self.name}"


def full_name(virtual_service: Object) -> str:
    """`namespace/name`."""
    return f"{mesh.namespace_of(virtual_service)}/{mesh.name_of(virtual_service)}"


def is_delegate(virtual_service: Object) -> bool:
    """Tell whether it is in effect only through roots: it has no hosts."""
    return not mesh.get_list(virtual_service, "spec", "hosts")


def delegations_of(virtual_service: Object) -> list[Delegation]:
    """List where a root's routes lead; none where it delegates nothing."""
    found: list[Delegation] = []
    for route in mesh.get_maps(virtual_service, "spec", "http"):
        delegate = mesh.get_map(route, "delegate")
        if delegate:
            namespace = str(delegate.get("namespace") or mesh.namespace_of(virtual_service))
            name = str(route["name"]) if route.get("name") else None
            found.append(Delegation(full_name(virtual_service), name, namespace, str(delegate.get("name") or "")))
    return found


def leads_to(virtual_service: Object) -> set[str]:
    """List the hosts that its http routes lead to, fully qualified, and its delegates as `namespace/name`."""
    hosts = {destination.host for view in mesh.find_routes(virtual_service) for destination in view.destinations}
    return hosts | {delegation.delegate for delegation in delegations_of(virtual_service)}


def find_delegations(delegate: Object, others: Iterable[Object]) -> list[Delegation]:
    """List the routes that lead to a delegate; a delegate itself leads nowhere: Istio follows one level."""
    if not is_delegate(delegate):
        return []
    wanted = full_name(delegate)
    return [
        delegation
        for other in others
        if not is_delegate(other)
        for delegation in delegations_of(other)
        if delegation.delegate == wanted
    ]


def is_exported(virtual_service: Object, namespace: str) -> bool:
    """Tell whether `exportTo` lets a namespace see it; without one everybody does, as far as the mesh's defaults say."""
    exported = mesh.get_list(virtual_service, "spec", "exportTo")
    own = mesh.namespace_of(virtual_service)
    return not exported or "*" in exported or namespace in {own if to == "." else to for to in exported}


def effective(delegate: Object, delegations: Sequence[Delegation]) -> tuple[list[Delegation], list[Delegation]]:
    """Part the delegations into those that Istio follows, and those that it ignores since `exportTo` hides the delegate."""
    seen = [d for d in delegations if is_exported(delegate, d.root.partition("/")[0])]
    return seen, [d for d in delegations if d not in seen]


def joined_name(root: str | None, route: str | None) -> str | None:
    """Name a delegate's route as Istio does; None where neither has a name."""
    return f"{root}-{route}" if root and route else root or route


def root_names(virtual_service: Object, others: Sequence[Object]) -> tuple[str | None, ...]:
    """Name the routes that lead to a delegate; for any other VirtualService there is one, without a name."""
    if not is_delegate(virtual_service):
        return (None,)
    followed, _ = effective(virtual_service, find_delegations(virtual_service, others))
    return tuple(dict.fromkeys(d.route for d in followed))


def routes_beside(virtual_service: Object, others: Sequence[Object]) -> list[tuple[str | None, RouteView]]:
    """List the routes of other VirtualServices, each with the name that telemetry gives it.

    Where one is put in a root's place, its name is the joined one. What is not among `others` is not thought to lead to the
    same versions.
    """
    own = full_name(virtual_service)
    joined: dict[str, list[str | None]] = {}
    for delegation in (d for root in (virtual_service, *others) for d in delegations_of(root)):
        joined.setdefault(delegation.delegate, []).append(delegation.route)
    return [
        (joined_name(root, view.name), view)
        for other in others
        if full_name(other) != own
        for root in (joined.get(full_name(other), [None]) if is_delegate(other) else [None])
        for view in mesh.find_routes(other)
    ]
