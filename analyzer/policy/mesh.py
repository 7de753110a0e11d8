"""Reading Istio's routing objects: who leads where, with which weight, and what runs behind it.

Pure functions over objects as the API server writes them. `versions.py`, `routes.py` and `target.py` put them
together for one policy.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from analyzer.policy.findings import Code, Problem, Subject

Object = Mapping[str, Any]

CLUSTER_DOMAIN = "svc.cluster.local"


class Destination(NamedTuple):
    """One destination of a route."""

    host: str  # fully qualified
    subset: str | None
    weight: int  # in effect: a single destination without a weight has 100

    @property
    def key(self) -> tuple[str, str | None]:
        """What tells one version from another."""
        return self.host, self.subset


@dataclass(frozen=True, slots=True)
class RouteView:
    """One http route of a VirtualService.

    Attributes
    ----------
    index
        Its position in `spec.http`.
    name
        As written; names are optional and Istio does not make them unique.
    destinations
        In the order of the route; empty for redirects and the like.
    matches
        False for a route that takes everything.
    """

    index: int
    name: str | None
    destinations: tuple[Destination, ...]
    matches: bool

    @property
    def total(self) -> int:
        """Sum of the weights; Istio does not require 100."""
        return sum(destination.weight for destination in self.destinations)

    def leads_to(self, key: tuple[str, str | None]) -> bool:
        """Tell whether any of its requests come to a version; those to a host without a subset come to all of its subsets."""
        host, subset = key
        return any(d.host == host and (None in (d.subset, subset) or d.subset == subset) for d in self.destinations)

    def position(self, key: tuple[str, str | None]) -> int | None:
        """Find a version in the list of destinations."""
        return next((at for at, destination in enumerate(self.destinations) if destination.key == key), None)

    def __str__(self) -> str:
        return f"route `{self.name}`" if self.name else f"route {self.index} (without a name)"


# --- objects in general -----------------------------------------------------------------------------------------------


def get_map(value: object, *path: str) -> Object:
    """Follow keys through mappings; an empty mapping where anything on the way is not one."""
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def get_maps(value: object, *path: str) -> list[Object]:
    """Follow keys to a list, and keep its mappings."""
    return [item for item in get_list(value, *path) if isinstance(item, Mapping)]


def get_list(value: object, *path: str) -> Sequence[object]:
    """Follow keys to a list; an empty one where there is none."""
    found = get_map(value, *path[:-1]).get(path[-1])
    return found if isinstance(found, Sequence) and not isinstance(found, str) else ()


def name_of(obj: object) -> str:
    """`metadata.name`, or an empty string."""
    return str(get_map(obj, "metadata").get("name") or "")


def namespace_of(obj: object) -> str:
    """`metadata.namespace`, or `default`."""
    return str(get_map(obj, "metadata").get("namespace") or "default")


# --- VirtualService ---------------------------------------------------------------------------------------------------


def resolve_host(host: str, namespace: str) -> str:
    """Make a short name fully qualified, as Istio does: only a name without a dot is short."""
    return host if "." in host or "*" in host else f"{host}.{namespace}.{CLUSTER_DOMAIN}"


def destinations(route: Object, *, namespace: str = "default") -> list[Destination]:
    """List the destinations of one http route, hosts fully qualified.

    `namespace` is the VirtualService's. A weight that is not written is 0, or 100 where the destination is alone.
    """
    entries = get_maps(route, "route")
    found: list[Destination] = []
    for entry in entries:
        destination = get_map(entry, "destination")
        weight = 100 if len(entries) == 1 else entry.get("weight", 0)
        host = resolve_host(str(destination.get("host") or ""), namespace)
        subset = destination.get("subset")
        found.append(Destination(host, str(subset) if subset else None, weight if isinstance(weight, int) else 0))
    return found


def find_routes(virtual_service: Object) -> list[RouteView]:
    """List the http routes in their order."""
    namespace = namespace_of(virtual_service)
    return [
        RouteView(
            index=index,
            name=str(route["name"]) if route.get("name") else None,
            destinations=tuple(destinations(route, namespace=namespace)),
            matches=bool(route.get("match")),
        )
        for index, route in enumerate(get_list(virtual_service, "spec", "http"))
        if isinstance(route, Mapping)
    ]


def version_name(destination: Destination, *, namespace: str = "default") -> str:
    """Name a version as its user would: the subset, or else the host (short within its own namespace)."""
    return destination.subset or destination.host.removesuffix(f".{namespace}.{CLUSTER_DOMAIN}")


def host_namespace(host: str) -> str | None:
    """Tell the namespace of a cluster-local host; None for any other."""
    name, _, rest = host.partition(".")
    namespace = rest.removesuffix(f".{CLUSTER_DOMAIN}")
    return namespace if name and namespace != rest and "." not in namespace else None


def check_virtual_service(virtual_service: Object) -> list[Problem]:
    """Find what keeps Serin from moving the weights of this VirtualService safely, whatever the policy."""
    spec = get_map(virtual_service, "spec")
    problems = [
        _problem(
            Code.UNSUPPORTED_ROUTE,
            f"{protocol} routes are not supported yet: their telemetry has no error codes",
            f"keep {protocol} routes in a VirtualService of their own",
            "spec",
            protocol,
        )
        for protocol in ("tcp", "tls")
        if spec.get(protocol)
    ]
    return problems + _duplicates(find_routes(virtual_service))


def _duplicates(routes: Sequence[RouteView]) -> list[Problem]:
    problems: list[Problem] = []
    first: dict[str, int] = {}
    for view in routes:
        at = ("spec", "http", view.index)
        if view.name and first.setdefault(view.name, view.index) != view.index:
            message = f"the name `{view.name}` is already that of route {first[view.name]}"
            problems.append(_problem(Code.DUPLICATE_ROUTE, message, "give each route a name of its own", *at, "name"))
        keys = [destination.key for destination in view.destinations]
        if twice := [position for position, key in enumerate(keys) if key in keys[:position]]:
            message = f"{view} has the destination {_label(view.destinations[twice[0]])} twice"
            mend = "write it once, with the sum of the weights"
            problems.append(_problem(Code.DUPLICATE_DESTINATION, message, mend, *at, "route", twice[0]))
    return problems


def _label(destination: Destination) -> str:
    return f"{destination.host} subset {destination.subset}" if destination.subset else destination.host


def _problem(code: Code, message: str, mend: str, *path: str | int) -> Problem:
    return Problem(code, message, mend, path, Subject.VIRTUAL_SERVICE)


# --- what runs behind a destination -----------------------------------------------------------------------------------


def find_service(services: Iterable[Object], host: str) -> Object | None:
    """Find the Service that a fully qualified host means."""
    return next((s for s in services if resolve_host(name_of(s), namespace_of(s)) == host), None)


def rules_for(destination_rules: Iterable[Object], host: str) -> list[Object]:
    """Keep the DestinationRules of a fully qualified host."""
    return [
        rule
        for rule in destination_rules
        if resolve_host(str(get_map(rule, "spec").get("host") or ""), namespace_of(rule)) == host
    ]


def find_subset(destination_rules: Iterable[Object], *, host: str, subset: str) -> Object | None:
    """Find a subset in the DestinationRules of a fully qualified host."""
    candidates = (c for rule in rules_for(destination_rules, host) for c in get_maps(rule, "spec", "subsets"))
    return next((candidate for candidate in candidates if candidate.get("name") == subset), None)


def workload_labels(service: Object | None, subset: Object | None) -> dict[str, str]:
    """Join the Service's selector and the subset's labels: the labels of the version's pods."""
    return {**get_map(service, "spec", "selector"), **get_map(subset, "labels")}


def matching_deployments(deployments: Iterable[Object], labels: Mapping[str, str]) -> list[Object]:
    """List the Deployments whose pods have all these labels; none for no labels at all."""
    if not labels:
        return []
    return [
        deployment
        for deployment in deployments
        if labels.items() <= get_map(deployment, "spec", "template", "metadata", "labels").items()
    ]
