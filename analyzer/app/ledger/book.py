"""From raw samples to statements: the whole way, for all demands at once."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from analyzer.app.ledger.grid import Grid, Part, build_grid, place_steps
from analyzer.app.ledger.health import assess_health
from analyzer.app.ledger.latency import Histogram, count_latencies
from analyzer.app.ledger.lines import Reporters, collect_durations, collect_requests
from analyzer.app.ledger.notes import Notes
from analyzer.app.ledger.routing import CANARY, STABLE, UNATTRIBUTED, Routing
from analyzer.app.ledger.scrapes import Scrapes
from analyzer.app.ledger.steps import find_hidden_restarts
from analyzer.app.ledger.types import ERROR_CODES, MAX_WINDOW_S, Anomaly, Demand, Statement, reach_s
from analyzer.core.judge.types import Interval, VersionCounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analyzer.app.ledger.lines import Bools, Ints, Lines
    from analyzer.app.ledger.types import Health
    from analyzer.ports import TelemetryWindow

SETTLE_S: Final = 1.0
"""A scrape is stored when it ends, with the time at which it began: so long a bin stays open for it."""

UNKNOWN_INTERVAL_S: Final = 15.0
"""What the scrape interval is taken for until two scrapes tell it: Prometheus as Istio's sample sets it up."""

_SLOTS: Final = 5  # per cell: stable, stable errors, canary, canary errors, unattributed errors


def window_for(demands: "Sequence[Demand]", now_s: float) -> float:
    """Tell how far back one read for all demands must reach [s], at most `MAX_WINDOW_S`."""
    back = [_lag_s(demand, now_s) + reach_s(demand.interval_s or UNKNOWN_INTERVAL_S) for demand in demands]
    return min(max(back, default=reach_s(UNKNOWN_INTERVAL_S)), MAX_WINDOW_S)


def _lag_s(demand: Demand, now_s: float) -> float:
    return max(now_s - demand.since_s, 0.0) if demand.since_s is not None else 0.0


def build_intervals(
    window: "TelemetryWindow",
    demands: "Sequence[Demand]",
    *,
    settle_s: float = SETTLE_S,
    error_codes: frozenset[str] = ERROR_CODES,
) -> list[Statement]:
    """Turn raw samples into exact counts per interval: one statement per demand, in order.

    Pure and stateless. The window reaches back before `since_s`, samples up to there are baselines only, and each turn
    computes anew: a restart loses nothing and counts nothing twice. Both versions of an interval come from the same
    scrapes of the same reporters.
    """
    start_ms = round((window.query.end_s - window.query.window_s) * 1000)
    routing, reporters = Routing(demands), Reporters()
    requests = collect_requests(window.requests, routing, reporters, error_codes)
    durations = collect_durations(window.durations, routing, reporters)
    scrapes = Scrapes(window, reporters)
    for lines in (requests, durations):
        find_hidden_restarts(lines, scrapes)
    grid = build_grid(demands, requests, scrapes, query=window.query, settle_s=settle_s)
    notes = Notes(len(demands), grid)
    part = place_steps(requests, scrapes, grid, start_ms=start_ms)
    totals = _count(part, place_steps(durations, scrapes, grid, start_ms=start_ms), grid, notes)
    notes.add_steps(part, scrapes)
    healths = _healths(demands, requests, grid, end_s=window.query.end_s)
    return [
        _state(demand, number, health, grid=grid, totals=totals, notes=notes, end_s=window.query.end_s)
        for number, (demand, health) in enumerate(zip(demands, healths, strict=True))
    ]


# --- counting ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Totals:
    """Sums per cell.

    Attributes
    ----------
    counts : ndarray, shape (n_cells, 5), int64
    filled, usable : ndarray, shape (n_cells,), bool
        Cells with a scrape, and with one that can be relied on.
    histograms
        By demand.
    """

    counts: "Ints"
    filled: "Bools"
    usable: "Bools"
    histograms: dict[int, Histogram]


def _count(requests: Part, durations: Part, grid: Grid, notes: Notes) -> _Totals:
    """Sum the increments; one doubtful step leaves its reporter's whole share of a cell out."""
    refused = np.unique(requests.share[requests.steps.doubtful[requests.at]])
    left_out = np.isin(requests.share, refused)
    cell, at = requests.cell[~left_out], requests.at[~left_out]
    lines = requests.lines
    slot = np.where(lines.role == UNATTRIBUTED, 2 * UNATTRIBUTED, 2 * lines.role + lines.error)[lines.line]
    sums = np.bincount(cell * _SLOTS + slot[at], weights=requests.steps.increment[at], minlength=grid.size * _SLOTS)
    refused = np.union1d(refused, durations.share[durations.steps.doubtful[durations.at]])
    latency = count_latencies(durations, ~np.isin(durations.share, refused), grid)

    notes.add(Anomaly.DISCARDED, requests.owners(grid, left_out))
    notes.add(Anomaly.HISTOGRAM, latency.refused)
    notes.add_samples(requests)
    notes.add_samples(durations)
    return _Totals(
        counts=sums.astype(np.int64).reshape(grid.size, _SLOTS),
        filled=np.bincount(requests.cell, minlength=grid.size) > 0,
        usable=np.bincount(cell, minlength=grid.size) > 0,
        histograms=latency.histograms,
    )


# --- stating ----------------------------------------------------------------------------------------------------------


def _healths(demands: "Sequence[Demand]", lines: "Lines", grid: Grid, *, end_s: float) -> "list[Health]":
    newest_ms = np.zeros(len(demands), dtype=np.int64)
    named = (lines.role != UNATTRIBUTED)[lines.line]
    np.maximum.at(newest_ms, lines.demand[lines.line[named]], lines.t_ms[named])
    return [
        assess_health(
            demand,
            newest_s=int(newest_ms[number]) / 1000 if newest_ms[number] else None,
            end_s=end_s,
            interval_s=grid.interval_s(number),
            known=number in lines.versions,
            labelled=number in lines.labelled,
            jumped=bool(grid.jumped[number]),
        )
        for number, demand in enumerate(demands)
    ]


def _state(
    demand: Demand, number: int, health: "Health", *, grid: Grid, totals: _Totals, notes: Notes, end_s: float
) -> Statement:
    interval_s, since_s = grid.interval_s(number), demand.since_s
    if interval_s is None:  # nothing to count by: what is longer ago than baselines reach need not be read again
        until_s = max(since_s, end_s - reach_s(UNKNOWN_INTERVAL_S)) if since_s is not None else None
        return Statement((), until_s, None, health, notes.of(number))
    spans, until_ms = grid.spans(number, totals.filled, totals.usable)
    intervals = tuple(
        _interval(demand, totals.counts[cell], _latency(totals, number, cell), start_ms=start, end_ms=end)
        for cell, start, end in spans
    )
    return Statement(intervals, until_ms / 1000, interval_s, health, notes.of(number))


def _latency(totals: _Totals, number: int, cell: int) -> Histogram:
    """Read one cell of a demand's histograms; without any there is one bucket, and it is empty."""
    own = totals.histograms.get(number)
    return Histogram(own.edges_ms, own.counts[cell]) if own else Histogram((), np.zeros((2, 1), dtype=np.int64))


def _interval(demand: Demand, counts: "Ints", latency: Histogram, *, start_ms: int, end_ms: int) -> Interval:
    fine, failed, canary_fine, canary_failed, unattributed = counts.tolist()
    born_s = demand.canary_youngest_pod_at_s
    return Interval(
        end_s=end_ms / 1000,
        seconds=(end_ms - start_ms) / 1000,
        weight=demand.weight,
        edges_ms=latency.edges_ms,
        stable=VersionCounts(fine + failed, failed, latency.counts[STABLE], pods=demand.stable_pods),
        canary=VersionCounts(
            canary_fine + canary_failed,
            canary_failed,
            latency.counts[CANARY],
            pods=demand.canary_pods,
            youngest_pod_age_s=float("inf") if born_s is None else max(end_ms / 1000 - born_s, 0.0),
        ),
        unattributed_errors=unattributed,
    )
