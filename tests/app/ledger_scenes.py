"""Telemetry windows written by hand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from analyzer.app.ledger import Demand, Statement, VersionSource, build_intervals
from analyzer.core.judge.types import Interval
from analyzer.ports import SeriesBatch, TelemetryQuery, TelemetryWindow, Workload

Samples = Sequence[tuple[float, float]]
Row = tuple[Mapping[str, str], Samples]

V1 = Workload("shop", "cart-v1")
V2 = Workload("shop", "cart-v2")
DEMAND = Demand(
    key="shop/cart",
    stable=VersionSource(V1, frozenset({("cart.shop.svc.cluster.local", "v1")})),
    canary=VersionSource(V2, frozenset({("cart", "v2")})),
    services=frozenset({"cart.shop.svc.cluster.local", "cart"}),
    since_s=100.0,
    interval_s=10.0,
    weight=10.0,
)


def batch(rows: Iterable[Row]) -> SeriesBatch:
    rows = list(rows)
    flat = [sample for _, samples in rows for sample in samples]
    table = np.array(flat, dtype=np.float64).reshape(-1, 2)
    offsets = np.cumsum([0, *(len(samples) for _, samples in rows)], dtype=np.int64)
    return SeriesBatch([labels for labels, _ in rows], offsets, table[:, 0].copy(), table[:, 1].copy())


def cut(row: Row, query: TelemetryQuery) -> Row | None:
    """What a store returns of one series: nothing at all, where no sample is in the window."""
    labels, samples = row
    inside = [s for s in samples if query.end_s - query.window_s < s[0] <= query.end_s]
    return (labels, inside) if inside else None


@dataclass
class Scene:
    requests: list[Row] = field(default_factory=list)
    durations: list[Row] = field(default_factory=list)
    reporters: list[Row] = field(default_factory=list)

    def add(self, workload: Workload, samples: Samples, *, at: str = "gw:15020", **labels: str) -> None:
        """A counter of requests; 200 unless `response_code` is given."""
        self.requests.append((request_labels(workload, at, labels), samples))

    def add_latency(self, workload: Workload, buckets: Mapping[str, Samples], *, at: str = "gw:15020") -> None:
        for edge, samples in buckets.items():
            name = "istio_request_duration_milliseconds_bucket"
            self.durations.append((request_labels(workload, at, {"le": edge, "__name__": name}), samples))

    def add_uptime(self, samples: Samples, *, at: str = "gw:15020") -> None:
        self.reporters.append(({"__name__": "envoy_server_uptime", "job": "mesh", "instance": at}, samples))

    def window(self, end_s: float, window_s: float = 100.0) -> TelemetryWindow:
        query = TelemetryQuery(workloads=frozenset({V1, V2}), end_s=end_s, window_s=window_s)
        kept = [
            batch(row for full in rows if (row := cut(full, query)) is not None)
            for rows in (self.requests, self.durations, self.reporters)
        ]
        return TelemetryWindow(query, *kept)

    def state(self, end_s: float, demand: Demand = DEMAND, *, window_s: float = 100.0) -> Statement:
        [statement] = build_intervals(self.window(end_s, window_s), [demand])
        return statement


def request_labels(workload: Workload, at: str, labels: Mapping[str, str]) -> dict[str, str]:
    return {
        "__name__": "istio_requests_total",
        "job": "mesh",
        "instance": at,
        "reporter": "source",
        "destination_workload": workload.name,
        "destination_workload_namespace": workload.namespace,
        "response_code": "200",
        "response_flags": "-",
        "grpc_response_status": "",
        **labels,
    }


def steady(
    first: float, step: float, *, start: float = 55.0, every: float = 10.0, count: int = 12
) -> list[tuple[float, float]]:
    """A counter that grows by the same at every scrape."""
    return [(start + k * every, first + k * step) for k in range(count)]


def ups(first: float, *, start: float = 55.0, every: float = 10.0, count: int = 12) -> list[tuple[float, float]]:
    """The uptime of a process that lives on."""
    return steady(first, every, start=start, every=every, count=count)


def stable_counts(statement: Statement) -> list[tuple[float, int, int]]:
    return [(i.end_s, i.stable.requests, i.stable.errors) for i in statement.intervals]


def canary_counts(statement: Statement) -> list[tuple[float, int, int]]:
    return [(i.end_s, i.canary.requests, i.canary.errors) for i in statement.intervals]


def latencies(interval: Interval) -> tuple[list[int], list[int]]:
    return interval.stable.latency_counts.tolist(), interval.canary.latency_counts.tolist()
