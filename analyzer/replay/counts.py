"""The counts format: recorded intervals of many rollouts as JSON lines.

Each line is one object; lines of several rollouts may be interleaved. Per rollout, in this order:

1. One header, before everything else of the rollout::

       {"rollout": "r1", "edges_ms": [5, 10, 25], "policy": {"falseRollback": "1%"}}

   `edges_ms`: the histogram's finite edges, ascending; empty without a histogram. `policy` (optional): overrides of
   `spec.judge`, written as in a policy.

2. History (optional): the stable version alone, per pod, before the rollout::

       {"rollout": "r1", "t": -3600.0, "seconds": 15.0,
        "history": {"requests": [620, 655], "errors": [0, 1], "latency_counts": [[..], [..]]}}

   A pod keeps its place in the lists; pods that come later are added at the end.

3. Its intervals::

       {"rollout": "r1", "t": 15.0, "seconds": 15.0, "weight": 10, "next_weight": 25,
        "stable": {"pods": 20, "requests": 13500, "errors": 13, "latency_counts": [..]},
        "canary": {"pods": 2, "pod_age_s": 15.0, "requests": 1500, "errors": 2, "latency_counts": [..]}}

   `t` is the interval's end [s] on any clock, ascending within a rollout, history included; `seconds` its length;
   `weight` the canary's share by the route [per cent]; `next_weight` what proof would allow (null, or left out: nothing
   is to be proven); `pod_age_s` the age of the youngest canary pod at the interval's end (null, or left out: not known
   to be young). `latency_counts` are per bucket, not cumulative, one more than there are edges; they need not add up to
   `requests`. Counts are of the interval alone. An interval that is not there is a gap.

A whole number may be written with a fraction of zero (`12.0`), as JSON Schema has it; lines of white space are no
lines. All else that is not as above is a bad line: `file:line: message; mend`. The JSON Schema is
`policies/schema/counts.schema.json`.
"""

import gzip
import math
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, cast

import numpy as np

from analyzer.core.judge.types import Interval, VersionCounts
from analyzer.policy.model import CanaryPolicy
from analyzer.policy.quantities import show
from analyzer.replay.fields import (
    Fault,
    Obj,
    check_keys,
    check_length,
    parse_object,
    read_count,
    read_counts,
    read_number,
    read_object,
    read_text,
)
from analyzer.replay.overrides import Overrides

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_LINE_BYTES: Final = 16 << 20
MAX_EDGES: Final = 255
MAX_REPORTED: Final = 20

_HEADER: Final = {"rollout": True, "edges_ms": True, "policy": False}
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
    """One interval of the stable version's pods: arrays of shape (n_pods,), (n_pods,), (n_pods, n_edges + 1)."""

    rollout: str
    t: float
    seconds: float
    requests: "NDArray[np.integer]"
    errors: "NDArray[np.integer]"
    latency_counts: "NDArray[np.integer]"


class IntervalLine(NamedTuple):
    """One interval of both versions, and the weight that proof would allow [per cent]."""

    rollout: str
    interval: Interval
    next_weight: float | None


Record = Header | HistoryLine | IntervalLine


class BadLine(NamedTuple):
    """A line that does not follow the format."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(slots=True)
class _Known:
    """What was read of a rollout so far; `edges_ms` is None where its header is bad."""

    edges_ms: tuple[float, ...] | None
    last_t: float = -math.inf
    begun: bool = False


@dataclass(slots=True)
class CountsReader:
    """Reads lines into records.

    Attributes
    ----------
    file
        As the user named it.
    bad
        The first `MAX_REPORTED` bad lines.
    bad_count
        How many there are.
    """

    file: str
    bad: list[BadLine] = field(default_factory=list)
    bad_count: int = 0
    _known: dict[str, _Known] = field(default_factory=dict)
    _overrides: Overrides = field(default_factory=Overrides)

    def read(self, stream: BinaryIO) -> Iterator[Record]:
        """Read a stream to its end; bad lines are noted, and give no record."""
        number = 0
        try:
            while raw := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(raw) > MAX_LINE_BYTES:
                    self._note(number, Fault("the line is longer than 16 MiB", "write one interval a line"))
                    _skip_line(stream, raw)
                elif not raw.isspace():
                    try:
                        yield self._record(parse_object(raw))
                    except Fault as fault:
                        self._note(number, fault)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self._note(number + 1, Fault(f"the compressed file is damaged: {error}", "copy it again"))

    def _note(self, number: int, fault: Fault) -> None:
        self.bad_count += 1
        if len(self.bad) < MAX_REPORTED:
            self.bad.append(BadLine(self.file, number, str(fault)))

    def _record(self, obj: Obj) -> Record:
        if "rollout" not in obj:
            raise Fault("`rollout` is missing", 'add `"rollout": "…"`: it names the rollout that the line belongs to')
        rollout = read_text(obj, "rollout")
        if "edges_ms" in obj or "policy" in obj:
            return self._header(rollout, obj)
        known = self._known.get(rollout)
        if known is None:
            mend = f'write its header first: {{"rollout": "{rollout}", "edges_ms": […]}}'
            raise Fault(f"there is no header of the rollout {show(rollout)} before this line", mend)
        return _history(rollout, obj, known) if "history" in obj else _interval(rollout, obj, known)

    def _header(self, rollout: str, obj: Obj) -> Header:
        if rollout in self._known:
            mend = "give each rollout a name of its own, and one header"
            raise Fault(f"the rollout {show(rollout)} has a header already", mend)
        known = self._known[rollout] = _Known(None)
        check_keys(obj, _HEADER)
        edges_ms = _edges(obj["edges_ms"])
        policy = self._overrides.policy(read_object(obj, "policy") if "policy" in obj else {})
        known.edges_ms = edges_ms
        return Header(rollout, edges_ms, policy)


def _skip_line(stream: BinaryIO, raw: bytes) -> None:
    while raw and not raw.endswith(b"\n"):
        raw = stream.readline(MAX_LINE_BYTES)


def _edges(values: object) -> tuple[float, ...]:
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


def _history(rollout: str, obj: Obj, known: _Known) -> HistoryLine:
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


def _interval(rollout: str, obj: Obj, known: _Known) -> IntervalLine:
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


def _time(obj: Obj, known: _Known) -> tuple[float, float]:
    t = read_number(obj, "t")
    seconds = read_number(obj, "seconds", lowest=math.ulp(0.0), wanted="of seconds above 0")
    if t <= known.last_t:
        raise Fault(f"`t`: {t:g} is not after {known.last_t:g}, the rollout's line before", "write lines in time order")
    return t, seconds


def _version(obj: Obj, known: _Known, *, where: str, age_s: float) -> VersionCounts:
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


def _buckets(values: object, known: _Known, *, where: str) -> list[int]:
    counts = read_counts(values, where)
    if known.edges_ms is not None:
        why = f"the header's {len(known.edges_ms)} edges make {len(known.edges_ms) + 1} buckets"
        if len(counts) != len(known.edges_ms) + 1:
            check_length(counts, len(known.edges_ms) + 1, where=where, why=why)
    return counts


# --- files ------------------------------------------------------------------------------------------------------------


@contextmanager
def open_counts(name: str) -> Iterator[BinaryIO]:
    """Open a file, gzipped if it is called `.gz`, or standard input for `-`.

    Raises
    ------
    OSError
        It cannot be opened.
    """
    if name == "-":
        yield sys.stdin.buffer
    elif name.endswith(".gz"):
        with gzip.open(name, "rb") as stream:
            yield cast("BinaryIO", stream)
    else:
        with Path(name).open("rb") as stream:
            yield stream
