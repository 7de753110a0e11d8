"""Series as the ledger keeps them: one line per series and demand, all samples in three columns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.app.ledger.routing import UNATTRIBUTED, Hit, Labels, Routing, is_error, is_injected
from analyzer.app.ledger.types import Anomaly

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.ports import SeriesBatch

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

Reporters = dict[tuple[str, str], int]
"""The number of each (job, instance), in order of appearance."""


class Entry(NamedTuple):
    """One series for one demand."""

    demand: int
    role: int
    error: bool
    edge_ms: float  # upper edge of a histogram bucket; NaN for a plain counter


@dataclass(frozen=True, slots=True)
class Lines:
    """Many series, each for one demand, with their samples.

    Attributes
    ----------
    demand, reporter, role : ndarray, shape (n_lines,), int64
    error : ndarray, shape (n_lines,), bool
    edge_ms : ndarray, shape (n_lines,), float64
    line : ndarray, shape (n_samples,), int64
        Ascending.
    t_ms : ndarray, shape (n_samples,), int64
        Ascending within a line, no instant twice [unix ms].
    value : ndarray, shape (n_samples,), float64
        Zero where `bad`.
    bad : ndarray, shape (n_samples,), bool
        No counter can have this value.
    odd
        What was odd with a sample, by sample.
    labelled
        Demands with a series of a version that carries a `route_name`.
    versions
        Demands with a series of a version, whatever the route.
    """

    demand: "Ints"
    reporter: "Ints"
    role: "Ints"
    error: "Bools"
    edge_ms: "Floats"
    line: "Ints"
    t_ms: "Ints"
    value: "Floats"
    bad: "Bools"
    odd: Sequence[tuple[Anomaly, "Ints"]]
    labelled: frozenset[int]
    versions: frozenset[int]


def to_ms(times: "Floats") -> "Ints":
    """Prometheus keeps whole milliseconds: so do we, and sums and comparisons are exact."""
    whole: Ints = np.rint(times * 1000.0).astype(np.int64)
    return whole


def ranges(starts: "Ints", lengths: "Ints") -> "Ints":
    """Concatenate `arange(start, start + length)`."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if ends.size else 0
    places: Ints = np.arange(total, dtype=np.int64) + np.repeat(starts - (ends - lengths), lengths)
    return places


def joined(*parts: "Ints") -> "Ints":
    """Join columns of whole numbers ≥ 0 into one that sorts by the first, then the second, and so on."""
    key = parts[0]
    for part in parts[1:]:
        low = int(part.min()) if part.size else 0
        span = int(part.max()) - low + 1 if part.size else 1
        key = key * span + (part - low)
    return key


class Collector:
    """Sorts the rows of batches into lines; rows with the same labels share one."""

    def __init__(self, batch: "SeriesBatch", reporters: Reporters) -> None:
        self._batch = batch
        self._reporters = reporters
        self._seen: dict[tuple[int, int], tuple[int, int]] = {}
        self._entries: list[Entry] = []
        self._of_reporter: list[int] = []
        self._rows: list[int] = []
        self._row_lines: list[int] = []
        self.labelled: set[int] = set()
        self.versions: set[int] = set()

    def add(self, row: int, entries: Iterable[Entry]) -> None:
        """Take one row for the demands that want it."""
        labels = self._batch.labels[row]
        identity = hash(frozenset(labels.items()))
        reporter = self._reporters.setdefault(reporter_of(labels), len(self._reporters))
        for entry in entries:
            line, first = self._seen.get((identity, entry.demand), (-1, -1))
            if line < 0 or self._batch.labels[first] != labels:
                line = len(self._entries)
                self._seen[identity, entry.demand] = (line, row)
                self._entries.append(entry)
                self._of_reporter.append(reporter)
            self._rows.append(row)
            self._row_lines.append(line)

    def note(self, labels: Labels, hits: Sequence[Hit]) -> None:
        """Remember which demands have series of a version at all, and a route label on them."""
        numbers = [hit.demand for hit in hits]
        self.versions.update(numbers)
        if labels.get("route_name"):
            self.labelled.update(numbers)

    def lines(self) -> Lines:
        """Lay the samples out in columns."""
        rows = np.array(self._rows, dtype=np.int64)
        starts = self._batch.offsets[rows]
        lengths = self._batch.offsets[rows + 1] - starts
        at = ranges(starts, lengths)
        line = np.repeat(np.array(self._row_lines, dtype=np.int64), lengths)
        line, t_ms, value, again, conflict = _without_duplicates(
            line, to_ms(self._batch.times[at]), self._batch.values[at]
        )
        impossible = _impossible(value)
        bad = conflict.copy()
        for _, samples in impossible:
            bad[samples] = True
        return Lines(
            demand=np.array([entry.demand for entry in self._entries], dtype=np.int64),
            reporter=np.array(self._of_reporter, dtype=np.int64),
            role=np.array([entry.role for entry in self._entries], dtype=np.int64),
            error=np.array([entry.error for entry in self._entries], dtype=np.bool_),
            edge_ms=np.array([entry.edge_ms for entry in self._entries], dtype=np.float64),
            line=line,
            t_ms=t_ms,
            value=np.where(bad, 0.0, value),
            bad=bad,
            odd=[(Anomaly.DUPLICATE, again), *impossible],
            labelled=frozenset(self.labelled),
            versions=frozenset(self.versions),
        )


def _without_duplicates(
    line: "Ints", t_ms: "Ints", value: "Floats"
) -> tuple["Ints", "Ints", "Floats", "Ints", "Bools"]:
    """Keep each instant of a line once; tell which samples came again, and which of them with another value."""
    conflict = np.zeros(line.size, dtype=np.bool_)
    key = joined(line, t_ms)
    if bool(np.all(key[1:] > key[:-1])):
        return line, t_ms, value, np.empty(0, dtype=np.int64), conflict
    order = np.argsort(key, kind="stable")
    line, t_ms, value, key = line[order], t_ms[order], value[order], key[order]
    keep = np.concatenate(([True], key[1:] != key[:-1]))
    kept = np.cumsum(keep) - 1  # which sample kept each one belongs to
    again = np.flatnonzero(~keep)
    before, now = value[again - 1], value[again]
    differs = ~((before == now) | (np.isnan(before) & np.isnan(now)))
    conflict[kept[again[differs]]] = True
    return line[keep], t_ms[keep], value[keep], kept[again], conflict[: int(keep.sum())]


def _impossible(value: "Floats") -> list[tuple[Anomaly, "Ints"]]:
    finite = np.isfinite(value)
    number = np.where(finite, value, 0.0)
    return [
        (Anomaly.NOT_FINITE, np.flatnonzero(~finite)),
        (Anomaly.NEGATIVE, np.flatnonzero(number < 0)),
        (Anomaly.FRACTIONAL, np.flatnonzero(number != np.floor(number))),
    ]


def reporter_of(labels: Labels) -> tuple[str, str]:
    """Name the scraped proxy."""
    return labels.get("job", ""), labels.get("instance", "")


def collect_requests(
    batch: "SeriesBatch", routing: Routing, reporters: Reporters, error_codes: frozenset[str]
) -> Lines:
    """Read `istio_requests_total`; of series without a workload only what can be attributed, or is an error."""
    collector = Collector(batch, reporters)
    for row, labels in enumerate(batch.labels):
        hits = routing.versions(labels)
        if hits:
            collector.note(labels, hits)
        hits = [hit for hit in hits or routing.strangers(labels) if routing.is_wanted(labels, hit)]
        if not hits or is_injected(labels):
            continue
        error = is_error(labels, error_codes)
        collector.add(row, [Entry(*hit, error, np.nan) for hit in hits if error or hit.role != UNATTRIBUTED])
    return collector.lines()


def collect_durations(batch: "SeriesBatch", routing: Routing, reporters: Reporters) -> Lines:
    """Read `istio_request_duration_milliseconds_bucket` of both versions."""
    collector = Collector(batch, reporters)
    for row, labels in enumerate(batch.labels):
        hits = [hit for hit in routing.versions(labels) if routing.is_wanted(labels, hit)]
        if hits and not is_injected(labels):
            edge = _edge(labels)
            collector.add(row, [Entry(*hit, False, edge) for hit in hits])
    return collector.lines()


def _edge(labels: Labels) -> float:
    try:
        return float(labels.get("le", "nan"))
    except ValueError:
        return float("nan")
