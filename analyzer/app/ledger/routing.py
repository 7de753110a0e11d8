"""Which demand, and which of its versions, a series belongs to: all that labels decide."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from analyzer.app.ledger.types import GRPC_ERRORS, Demand, VersionSource

Labels = Mapping[str, str]

STABLE: Final = 0
CANARY: Final = 1
UNATTRIBUTED: Final = 2
UNKNOWN: Final = "unknown"  # Istio's word for a workload that it does not know


class Hit(NamedTuple):
    """A demand that wants a series, and as what."""

    demand: int
    role: int


def is_injected(labels: Labels) -> bool:
    """Tell whether a fault filter made the answer (`FI`): then no version did."""
    flags = labels.get("response_flags", "")
    return "FI" in flags and "FI" in flags.split(",")


def is_error(labels: Labels, error_codes: frozenset[str]) -> bool:
    """Tell whether the answers of a series are failures, by HTTP code or gRPC status."""
    return labels.get("response_code", "") in error_codes or labels.get("grpc_response_status", "") in GRPC_ERRORS


def on_route(labels: Labels, routes: frozenset[str] | None) -> bool:
    """Tell whether a series is of one of these routes; Istio writes a match's name behind the route's, after a dot."""
    if routes is None:
        return True
    name = labels.get("route_name", "")
    return name in routes or any(name.startswith(f"{route}.") for route in routes)


def parse_cluster(name: str) -> tuple[str, str] | None:
    """Read (host, subset) from `outbound|80|v2|host.ns.svc.cluster.local;`."""
    parts = name.rstrip(";").split("|")
    return (parts[3], parts[2]) if len(parts) == 4 else None


class Routing:
    """Finds the demands of a series by its labels."""

    def __init__(self, demands: Sequence[Demand]) -> None:
        self._demands = demands
        self._workloads: dict[tuple[str, str], list[Hit]] = defaultdict(list)
        self._clusters: dict[tuple[str, str], list[Hit]] = defaultdict(list)
        self._services: dict[str, list[Hit]] = defaultdict(list)
        for index, demand in enumerate(demands):
            for role, source in ((STABLE, demand.stable), (CANARY, demand.canary)):
                self._add_version(source, Hit(index, role))
            for service in demand.services:
                self._services[service].append(Hit(index, UNATTRIBUTED))

    def _add_version(self, source: VersionSource, hit: Hit) -> None:
        self._workloads[source.workload].append(hit)
        namespace = source.workload.namespace
        for host, subset in source.clusters:
            self._clusters[host, subset].append(hit)
            if "." not in host:  # short: it means a service of the workload's own namespace
                self._clusters[f"{host}.{namespace}", subset].append(hit)
                self._clusters[f"{host}.{namespace}.svc", subset].append(hit)
                self._clusters[f"{host}.{namespace}.svc.cluster.local", subset].append(hit)

    def versions(self, labels: Labels) -> Sequence[Hit]:
        """Find the demands whose version answered, whatever the route."""
        key = (labels.get("destination_workload_namespace", ""), labels.get("destination_workload", ""))
        return self._workloads.get(key, ())

    def strangers(self, labels: Labels) -> Sequence[Hit]:
        """Find the demands of a series that names no workload: by its cluster, or at least by its service."""
        if labels.get("destination_workload", UNKNOWN) != UNKNOWN:
            return ()
        cluster = parse_cluster(labels.get("upstream_cluster", ""))
        exact = self._clusters.get(cluster, ()) if cluster else ()
        sure = {hit.demand for hit in exact}
        names = {labels.get("destination_service", ""), labels.get("destination_service_name", "")}
        vague = {hit for name in names for hit in self._services.get(name, ()) if hit.demand not in sure}
        return [*exact, *sorted(vague)]

    def is_wanted(self, labels: Labels, hit: Hit) -> bool:
        """Tell whether the series is on the demand's routes."""
        return on_route(labels, self._demands[hit.demand].routes)
