"""One line of the counts format: an object in, a record out; the format itself is told in `counts.py`."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import numpy as np

from analyzer.core.judge.types import Interval, VersionCounts
from analyzer.policy.model import CanaryPolicy
from analyzer.policy.quantities import show
from analyzer.replay.fields import (
    Fault,
    Obj,
    check_keys,
    check_length,
    read_count,
    read_counts,
    read_number,
    read_object,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_EDGES: Final = 255

HEADER: Final = {"rollout": True, "edges_ms": True, "policy": False}
_HISTORY: Final = {"rollout": True, "t": True, "seconds": True, "history": True}
_PODS: Final = {"requests": True, "errors": True, "latency_counts": True}
_INTERVAL: Final = {
    "rollout": True, "t": True, "seconds": True, "weight": True, "next_weight": False, "stable": True, "canary": True,
}  # fmt: skip
_STABLE: Final = {"pods": True, **_PODS}
_CANARY: Final = {"pods": True, "pod_age_s": False, **_PODS}


class Header(NamedTuple):
    """A rollout begins."""

    rollout: str
    edges_ms: tuple[float, ...]
    policy: CanaryPolicy


class HistoryLine(NamedTuple):
    """One interval of the stable version's pods: arrays of shape (n_pods,), latency (n_pods, n_edges + 1).

    `pod_age_s` is not part of the format; NaN is an age that is not known.
    """

    rollout: str
    t: float
    seconds: float
    requests: "NDArray[np.integer]"
    errors: "NDArray[np.integer]"
    latency_counts: "NDArray[np.integer]"
    pod_age_s: "NDArray[np.float64] | None" = None


class IntervalLine(NamedTuple):
    """One interval of both versions, and the weight that proof would allow [per cent]."""

    rollout: str
    interval: Interval
    next_weight: float | None


Record = Header | HistoryLine | IntervalLine


@dataclass(slots=True)
class Known:
    """What was read of a rollout so far; `edges_ms` is None where its header is bad."""

    edges_ms: tuple[float, ...] | None
    last_t: float = -math.inf
    begun: bool = False


def parse_edges(values: object) -> tuple[float, ...]:
    """Read a histogram's finite edges [ms].

    Raises
    ------
    Fault
        It does not follow the format.
    """
    if not isinstance(values, list):
        raise Fault(f"`edges_ms`: {show(values)} is no list", "write `[5, 10, 25]`, or `[]` without a histogram")
    if len(values) > MAX_EDGES:
        raise Fault(f"`edges_ms` has {len(values)} edges", f"merge buckets: at most {MAX_EDGES} are judged")
    named = {f"edges_ms[{place}]": value for place, value in enumerate(values)}
    lowest = math.ulp(0.0)
    edges = tuple(read_number(named, name, lowest=lowest, wanted="above 0: +Inf is left out") for name in named)
    if any(low >= high for low, high in pairwise(edges)):
        raise Fault("`edges_ms` does not ascend", "write the upper edges of the buckets, each once, in order")
    return edges


# --- history ----------------------------------------------------------------------------------------------------------


def parse_history(rollout: str, obj: Obj, known: Known) -> HistoryLine:
    """Read one interval of the stable version's pods, and move the rollout's time on.

    Raises
    ------
    Fault
        It does not follow the format.
    """
    check_keys(obj, _HISTORY)
    t, seconds = _time(obj, known)
    if known.begun:
        raise Fault("history after the rollout's first interval", "write all history before it")
    pods = read_object(obj, "history")
    check_keys(pods, _PODS, where="history")
    requests, errors = (read_counts(pods[name], f"history.{name}") for name in ("requests", "errors"))
    rows = pods["latency_counts"]
    if not isinstance(rows, list):
        raise Fault("`history.latency_counts` is no list", "write `[[…], …]`: one list of buckets per pod")
    if not requests:
        raise Fault("`history.requests` is empty", "leave the line out where there are no pods")
    for name, values in (("errors", errors), ("latency_counts", rows)):
        check_length(values, len(requests), where=f"history.{name}", why=f"`history.requests` has {len(requests)} pods")
    buckets = [_buckets(row, known, where=f"history.latency_counts[{place}]") for place, row in enumerate(rows)]
    _check_errors(errors, requests, "history.errors")
    known.last_t = t
    if known.edges_ms is None:  # a bad header: nobody knows how long the rows should be, and nothing will be judged
        buckets = [[0] for _ in buckets]
    return HistoryLine(rollout, t, seconds, _compact(requests), _compact(errors), _compact(buckets))


def _compact(values: list[int] | list[list[int]]) -> "NDArray[np.integer]":
    """Keep counts in the smallest type that holds them: many rollouts' histories may wait for their first interval."""
    counts = np.array(values, dtype=np.int64)
    return cast("NDArray[np.integer]", counts.astype(np.min_scalar_type(int(counts.max(initial=0)))))


def _check_errors(errors: list[int], requests: list[int], where: str) -> None:
    for place, (failed, served) in enumerate(zip(errors, requests, strict=True)):
        if failed > served:
            raise Fault(f"`{where}[{place}]`: {failed} errors of {served} requests", _ERRORS_MEND)


_ERRORS_MEND: Final = "count each error as a request too"

# --- intervals --------------------------------------------------------------------------------------------------------


def parse_interval(rollout: str, obj: Obj, known: Known) -> IntervalLine:
    """Read one interval of both versions, and move the rollout's time on.

    Raises
    ------
    Fault
        It does not follow the format.
    """
    check_keys(obj, _INTERVAL)
    t, seconds = _time(obj, known)
    weight = read_number(obj, "weight", lowest=0.0, highest=100.0, wanted="from 0 to 100, in per cent")
    next_weight = None
    if obj.get("next_weight") is not None:
        next_weight = read_number(
            obj, "next_weight", lowest=math.ulp(0.0), highest=100.0, wanted="above 0 and up to 100, in per cent"
        )
    stable, canary = read_object(obj, "stable"), read_object(obj, "canary")
    check_keys(stable, _STABLE, where="stable")
    check_keys(canary, _CANARY, where="canary")
    age_s = math.inf
    if canary.get("pod_age_s") is not None:
        age_s = read_number(canary, "pod_age_s", where="canary", lowest=0.0, wanted="of seconds, 0 or more")
    interval = Interval(
        end_s=t,
        seconds=seconds,
        weight=weight,
        edges_ms=known.edges_ms or (),
        stable=_version(stable, known, where="stable", age_s=math.inf),
        canary=_version(canary, known, where="canary", age_s=age_s),
    )
    known.last_t, known.begun = t, True
    return IntervalLine(rollout, interval, next_weight)


def _time(obj: Obj, known: Known) -> tuple[float, float]:
    t = read_number(obj, "t")
    seconds = read_number(obj, "seconds", lowest=math.ulp(0.0), wanted="of seconds above 0")
    if t <= known.last_t:
        raise Fault(f"`t`: {t:g} is not after {known.last_t:g}, the rollout's line before", "write lines in time order")
    return t, seconds


def _version(obj: Obj, known: Known, *, where: str, age_s: float) -> VersionCounts:
    requests = read_count(obj, "requests", where=where)
    errors = read_count(obj, "errors", where=where)
    if errors > requests:
        raise Fault(f"`{where}.errors`: {errors} errors of {requests} requests", _ERRORS_MEND)
    return VersionCounts(
        requests=requests,
        errors=errors,
        latency_counts=np.array(
            _buckets(obj["latency_counts"], known, where=f"{where}.latency_counts"), dtype=np.int64
        ),
        pods=read_count(obj, "pods", where=where),
        youngest_pod_age_s=age_s,
    )


def _buckets(values: object, known: Known, *, where: str) -> list[int]:
    counts = read_counts(values, where)
    if known.edges_ms is not None:
        why = f"the header's {len(known.edges_ms)} edges make {len(known.edges_ms) + 1} buckets"
        if len(counts) != len(known.edges_ms) + 1:
            check_length(counts, len(known.edges_ms) + 1, where=where, why=why)
    return counts
