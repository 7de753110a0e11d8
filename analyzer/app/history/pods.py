"""A workload's own past, pod by pod and interval by interval.

The pods' own proxies count (`reporter="destination"`), so the reporter is the pod. Each pod becomes a version of its own
for the ledger, which knows resets, births and gaps; all are counted on one grid.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from analyzer.app.history.reading import TIMEOUT_S, UNKNOWN_INTERVAL_S, WINDOW_S, FetchesTelemetry, anchor, fetch
from analyzer.app.ledger import SETTLE_S, Demand, VersionSource, build_intervals
from analyzer.app.ledger.scrapes import UPTIME
from analyzer.app.ledger.types import reach_s
from analyzer.ports import SeriesBatch, TelemetryWindow, Workload

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.types import Interval

_POD_LABELS: Final = ("pod", "pod_name", "kubernetes_pod_name")
"""What scrape configurations call the pod; without any, its address stands for it."""
_NOBODY: Final = Workload("", "")
_LONGEST_WAIT: Final = 4  # intervals after a window, until all its bins are closed

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PodCounts:
    """A workload's past.

    Attributes
    ----------
    seconds
        Length of an interval [s].
    start_s
        Beginning of the first interval [unix seconds].
    pods
        Names.
    edges_ms
        Finite edges that all pods have, ascending [ms].
    requests, errors : ndarray, shape (n_intervals, n_pods), int32
    latency_counts : ndarray, shape (n_intervals, n_pods, n_edges + 1), int32
        Not cumulative.
    age_s : ndarray, shape (n_intervals, n_pods), float64
        Age of the pod's proxy at the interval's end [s]; NaN where it is not known.
    """

    seconds: float
    start_s: float
    pods: tuple[str, ...]
    edges_ms: tuple[float, ...]
    requests: "NDArray[np.int32]"
    errors: "NDArray[np.int32]"
    latency_counts: "NDArray[np.int32]"
    age_s: "NDArray[np.float64]"

    @property
    def n_intervals(self) -> int:
        """How many intervals there are."""
        return int(self.requests.shape[0])

    def newest(self, intervals: int) -> "PodCounts":
        """Keep the newest intervals, of those from the first with a request on."""
        used = np.flatnonzero(self.requests.any(axis=1))
        first = max(int(used[0]) if used.size else self.n_intervals, self.n_intervals - intervals)
        return replace(
            self,
            start_s=self.start_s + first * self.seconds,
            requests=self.requests[first:],
            errors=self.errors[first:],
            latency_counts=self.latency_counts[first:],
            age_s=self.age_s[first:],
        )


@dataclass(frozen=True, slots=True)
class _Grid:
    start_s: float
    seconds: float
    n_intervals: int


@dataclass(frozen=True, slots=True)
class _Row:
    """One pod's interval, by its number on the grid."""

    number: int
    interval: "Interval"
    age_s: float


def pod_of(labels: Labels) -> str:
    """Name the pod whose proxy reports a series."""
    return next((labels[name] for name in _POD_LABELS if labels.get(name)), labels.get("instance", ""))


async def read_pods(
    telemetry: FetchesTelemetry, workload: Workload, *, from_s: float, to_s: float, timeout_s: float = TIMEOUT_S
) -> PodCounts | None:
    """Read a workload's past; None where there is nothing.

    Parameters
    ----------
    telemetry
        Of `reporter="destination"`.
    workload, from_s, to_s
        Whose past, and when [unix seconds].
    timeout_s
        For one read [s].

    Raises
    ------
    MetricsUnavailable
        Telemetry could not be read.
    """
    found = await read_all_pods(telemetry, frozenset({workload}), from_s=from_s, to_s=to_s, timeout_s=timeout_s)
    return found.get(workload)


async def read_all_pods(
    telemetry: FetchesTelemetry,
    workloads: frozenset[Workload],
    *,
    from_s: float,
    to_s: float,
    timeout_s: float = TIMEOUT_S,
    window_s: float = WINDOW_S,
    most: int | None = None,
) -> dict[Workload, PodCounts]:
    """Read the past of many workloads together, as `read_pods` does; those with nothing are left out.

    Parameters
    ----------
    telemetry, from_s, to_s, timeout_s
        As of `read_pods`.
    workloads
        Whose past.
    window_s
        Time that one read spans [s]: the shorter, the less is held at once.
    most
        Intervals wanted, the newest; None: all. What is older is not read, as soon as their length is known.

    Raises
    ------
    MetricsUnavailable
        Telemetry could not be read.
    """
    readings = {workload: _Reading(workload, from_s=from_s, to_s=to_s) for workload in workloads}
    begun_s = from_s
    while begun_s < to_s:
        until_s = min(begun_s + window_s, to_s)
        seconds = max((r.grid.seconds for r in readings.values() if r.grid), default=None)
        margin_s = seconds or UNKNOWN_INTERVAL_S
        window = await fetch(
            telemetry,
            workloads,
            since_s=begun_s - reach_s(margin_s),
            end_s=until_s + _LONGEST_WAIT * margin_s + SETTLE_S,
            timeout_s=timeout_s,
        )
        for workload, own in own_windows(window, workloads).items():
            readings[workload].take_in(own, begun_s=begun_s, until_s=until_s)
            await asyncio.sleep(0)  # others have their turn
        begun_s = until_s
        seconds = max((r.grid.seconds for r in readings.values() if r.grid), default=None)
        if most is not None and seconds is not None:
            begun_s = max(begun_s, to_s - most * seconds)
    tables = {workload: reading.table() for workload, reading in readings.items()}
    return {workload: table for workload, table in tables.items() if table is not None}


class _Reading:
    """One workload's past, as far as it was read."""

    def __init__(self, workload: Workload, *, from_s: float, to_s: float) -> None:
        self.grid: _Grid | None = None
        self._workload, self._from_s, self._to_s = workload, from_s, to_s
        self._rows: dict[str, list[_Row]] = {}

    def take_in(self, window: TelemetryWindow, *, begun_s: float, until_s: float) -> None:
        """Count one window of its own series."""
        from_s = max(begun_s, self._from_s)
        self.grid = self.grid or _find_grid(window, self._workload, from_s=from_s, to_s=self._to_s)
        if self.grid is not None:
            for pod, found in _count(window, self.grid, begun_s=begun_s, until_s=until_s).items():
                self._rows.setdefault(pod, []).extend(found)

    def table(self) -> PodCounts | None:
        """Lay out what was counted; None where there was nothing."""
        return _table(self.grid, self._rows) if self.grid is not None and self._rows else None


def own_windows(window: TelemetryWindow, workloads: frozenset[Workload]) -> dict[Workload, TelemetryWindow]:
    """Give each workload its own series; the same answer holds errors that name no workload."""
    requests, durations = (_by_workload(batch) for batch in (window.requests, window.durations))
    return {
        workload: replace(
            window,
            requests=_rows_of(window.requests, requests.get(workload, ())),
            durations=_rows_of(window.durations, durations.get(workload, ())),
        )
        for workload in workloads
    }


def _by_workload(batch: SeriesBatch) -> dict[Workload, list[int]]:
    found: dict[Workload, list[int]] = {}
    for row, labels in enumerate(batch.labels):
        names = labels.get("destination_workload_namespace", ""), labels.get("destination_workload", "")
        found.setdefault(Workload(*names), []).append(row)
    return found


def _rows_of(batch: SeriesBatch, rows: Sequence[int]) -> SeriesBatch:
    parts = [slice(int(batch.offsets[row]), int(batch.offsets[row + 1])) for row in rows]
    empty = np.empty(0)
    return SeriesBatch(
        labels=[batch.labels[row] for row in rows],
        offsets=np.cumsum([0, *(part.stop - part.start for part in parts)]).astype(np.int64),
        times=np.concatenate([empty, *(batch.times[part] for part in parts)]),
        values=np.concatenate([empty, *(batch.values[part] for part in parts)]),
    )


def _find_grid(window: TelemetryWindow, workload: Workload, *, from_s: float, to_s: float) -> _Grid | None:
    start_s = anchor(window, after_s=from_s)
    if start_s is None:
        return None
    whole = Demand(key=workload.name, stable=VersionSource(workload), canary=VersionSource(_NOBODY), since_s=start_s)
    [statement] = build_intervals(window, [whole])
    if statement.interval_s is None:
        return None
    return _Grid(start_s, statement.interval_s, max(int((to_s - start_s) / statement.interval_s), 1))


def _count(window: TelemetryWindow, grid: _Grid, *, begun_s: float, until_s: float) -> dict[str, list[_Row]]:
    """Count the intervals that end in `(begun_s, until_s]`, by pod."""
    renamed = replace(window, requests=_by_pod(window.requests), durations=_by_pod(window.durations))
    pods = sorted({labels["destination_workload"] for labels in renamed.requests.labels})
    first = max(math.floor((begun_s - grid.start_s) / grid.seconds), 0)
    since_s = grid.start_s + first * grid.seconds
    demands = [
        Demand(
            key=pod,
            stable=VersionSource(Workload("", pod)),
            canary=VersionSource(Workload(" ", pod)),
            since_s=since_s,
            interval_s=grid.seconds,
        )
        for pod in pods
    ]
    uptimes = _uptimes(window)
    found: dict[str, list[_Row]] = {}
    for pod, statement in zip(pods, build_intervals(renamed, demands), strict=True):
        for interval in statement.intervals:
            number = round((interval.end_s - grid.start_s) / grid.seconds) - 1
            if begun_s < interval.end_s <= until_s and 0 <= number < grid.n_intervals:
                row = _Row(number, interval, _age_s(uptimes.get(pod), interval.end_s))
                found.setdefault(pod, []).append(row)
    return found


def _by_pod(batch: SeriesBatch) -> SeriesBatch:
    labels = [
        {**labels, "destination_workload": pod_of(labels), "destination_workload_namespace": ""}
        for labels in batch.labels
    ]
    return replace(batch, labels=labels)


def _uptimes(window: TelemetryWindow) -> dict[str, tuple["NDArray[np.float64]", "NDArray[np.float64]"]]:
    """Find the uptime of each pod's proxy: times, and values [s]."""
    pods = {(labels.get("job", ""), labels.get("instance", "")): pod_of(labels) for labels in window.requests.labels}
    batch = window.reporters
    found = {}
    for row, labels in enumerate(batch.labels):
        pod = pods.get((labels.get("job", ""), labels.get("instance", "")))
        if pod is not None and labels.get("__name__") == UPTIME:
            part = slice(int(batch.offsets[row]), int(batch.offsets[row + 1]))
            found[pod] = (batch.times[part], batch.values[part])
    return found


def _age_s(uptime: "tuple[NDArray[np.float64], NDArray[np.float64]] | None", end_s: float) -> float:
    if uptime is None:
        return math.nan
    times, values = uptime
    place = int(np.searchsorted(times, end_s, side="right")) - 1
    return float(values[place] + end_s - times[place]) if place >= 0 else math.nan


def _table(grid: _Grid, rows: Mapping[str, Sequence[_Row]]) -> PodCounts:
    pods = tuple(sorted(rows))
    edge_sets = [{*row.interval.edges_ms} for found in rows.values() for row in found if row.interval.edges_ms]
    edges_ms = tuple(sorted(set.intersection(*edge_sets))) if edge_sets else ()
    shape = (grid.n_intervals, len(pods))
    requests, errors = (np.zeros(shape, dtype=np.int32) for _ in range(2))
    latency_counts = np.zeros((*shape, len(edges_ms) + 1), dtype=np.int32)
    age_s = np.full(shape, np.nan)
    for column, pod in enumerate(pods):
        for row in rows[pod]:
            counts = row.interval.stable
            requests[row.number, column] = counts.requests
            errors[row.number, column] = counts.errors
            latency_counts[row.number, column] = _merged(counts.latency_counts, row.interval.edges_ms, edges_ms)
            age_s[row.number, column] = row.age_s
    return PodCounts(
        seconds=grid.seconds,
        start_s=grid.start_s,
        pods=pods,
        edges_ms=edges_ms,
        requests=requests,
        errors=errors,
        latency_counts=latency_counts,
        age_s=age_s,
    )


def _merged(counts: "NDArray[np.int64]", edges: Sequence[float], common: Sequence[float]) -> "NDArray[np.int64]":
    """Merge buckets to edges that are a part of their own; nothing, where there is no histogram."""
    if not edges:
        return np.zeros(len(common) + 1, dtype=np.int64)
    if len(edges) == len(common):
        return counts
    below = np.concatenate(([0], np.cumsum(counts)[[*np.searchsorted(edges, common), len(edges)]]))
    merged: NDArray[np.int64] = np.diff(below)
    return merged
