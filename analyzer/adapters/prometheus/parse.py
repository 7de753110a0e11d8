"""PromQL, and its answers as columns."""

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, Final

import numpy as np

from analyzer.ports import SeriesBatch, TelemetryQuery, Workload

REQUESTS: Final = "istio_requests_total"
DURATIONS: Final = "istio_request_duration_milliseconds_bucket"
UNKNOWN: Final = "unknown"  # errors for which Istio picked no workload

_RE2_SPECIAL: Final = re.compile(r"([\\.+*?()|\[\]{}^$])")


def build_traffic_query(metric: str, query: TelemetryQuery, *, reporter: str, unknown: bool) -> str:
    """Select the raw samples of all workloads at once; what the two lists do not mean together is left out later."""
    extra = {UNKNOWN} if unknown else set()
    names = {workload.name for workload in query.workloads} | extra
    namespaces = {workload.namespace for workload in query.workloads} | extra
    return (
        f"{metric}{{reporter={_string(reporter)},destination_workload=~{_one_of(names)},"
        f"destination_workload_namespace=~{_one_of(namespaces)}}}{_range(query)}"
    )


def build_reporters_query(query: TelemetryQuery, reporters: Iterable[tuple[str, str]]) -> str:
    """Select `up` and the uptime of (job, instance) pairs."""
    pairs = list(reporters)
    jobs, instances = {job for job, _ in pairs}, {instance for _, instance in pairs}
    return f'{{__name__=~"up|envoy_server_uptime",job=~{_one_of(jobs)},instance=~{_one_of(instances)}}}{_range(query)}'


def is_of(workloads: frozenset[Workload], *, unknown: bool) -> Callable[[Mapping[str, str]], bool]:
    """Build the filter for series of these workloads, and of those without a workload if `unknown`."""

    def keep(labels: Mapping[str, str]) -> bool:
        name = labels.get("destination_workload", "")
        own = (labels.get("destination_workload_namespace", ""), name) in workloads
        return own or (unknown and name == UNKNOWN)

    return keep


def parse_matrix(
    result: Any,  # noqa: ANN401 — JSON
    keep: Callable[[Mapping[str, str]], bool],
    *,
    after_s: float,
) -> SeriesBatch:
    """Lay the samples of a matrix out in columns: those after a time, of the series to keep.

    (Prometheus before 3.0 includes the left end of a range.)

    Raises
    ------
    KeyError, TypeError, ValueError
        This is no matrix.
    """
    series = [one for one in result if keep(one["metric"])]
    counts = np.fromiter((len(one["values"]) for one in series), dtype=np.int64, count=len(series))
    pairs = list(chain.from_iterable(one["values"] for one in series))
    times = np.fromiter((pair[0] for pair in pairs), dtype=np.float64, count=len(pairs))
    values = np.fromiter((float(pair[1]) for pair in pairs), dtype=np.float64, count=len(pairs))
    inside = times > after_s
    before = np.concatenate(([0], np.cumsum(inside)))
    return SeriesBatch(
        labels=[one["metric"] for one in series],
        offsets=before[np.concatenate(([0], np.cumsum(counts)))].astype(np.int64),
        times=times[inside],
        values=values[inside],
    )


def _one_of(words: Iterable[str]) -> str:
    return _string("|".join(_RE2_SPECIAL.sub(r"\\\1", word) for word in sorted(words)))


def _string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _range(query: TelemetryQuery) -> str:
    return f"[{max(round(query.window_s * 1000), 1)}ms]"
