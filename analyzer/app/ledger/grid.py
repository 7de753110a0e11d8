"""The grid of bins: `(n - 1) · width < t - phase <= n · width`.

A demand's `since_s` lies on its grid and so tells the phase; without one it is 0. Turns pass `Statement.until_s` on, so
that the grid stays, live and in a replay alike.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analyzer.app.ledger.steps import measure_steps
from analyzer.app.ledger.types import EMPTY_BINS, EXPECTED_INTERVALS, Demand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analyzer.app.ledger.lines import Bools, Ints, Lines
    from analyzer.app.ledger.scrapes import Scrapes
    from analyzer.app.ledger.steps import Steps
    from analyzer.ports import TelemetryQuery


@dataclass(frozen=True, slots=True)
class Grid:
    """Per demand, the bins that this turn closes.

    Attributes
    ----------
    width_ms : ndarray, shape (n_demands,), int64
        0 where it is not known.
    phase_ms : ndarray, shape (n_demands,), int64
        0 <= phase < width.
    since_ms : ndarray, shape (n_demands,), int64
        Samples after this count [unix ms].
    first, last : ndarray, shape (n_demands,), int64
        Numbers of the first and the last bin closed; last < first means none.
    jumped : ndarray, shape (n_demands,), bool
        The window does not reach back to the end of the last interval.
    offset : ndarray, shape (n_demands + 1,), int64
        Where each demand's bins begin among all cells.
    """

    width_ms: "Ints"
    phase_ms: "Ints"
    since_ms: "Ints"
    first: "Ints"
    last: "Ints"
    jumped: "Bools"
    offset: "Ints"

    @property
    def size(self) -> int:
        """How many cells there are."""
        return int(self.offset[-1])

    def interval_s(self, demand: int) -> float | None:
        """Tell a demand's width [s]; None where it is not known."""
        return int(self.width_ms[demand]) / 1000 or None

    def demand_of(self, cells: "Ints") -> "Ints":
        """Tell whose the cells are."""
        return np.searchsorted(self.offset, cells, side="right") - 1

    def spans(self, demand: int, filled: "Bools", usable: "Bools") -> tuple[list[tuple[int, int, int]], int]:
        """Walk a demand's bins: (cell, start, end) [unix ms] of each interval, and until when all is said.

        `filled` are cells with a scrape; `usable` those of them with a scrape that can be relied on. A bin without a
        scrape is added to the next interval; after more than `EMPTY_BINS` of them nobody waits, since it is a gap.
        """
        width, first, last = int(self.width_ms[demand]), int(self.first[demand]), int(self.last[demand])
        phase = int(self.phase_ms[demand])
        until, base, found = int(self.since_ms[demand]), int(self.offset[demand]) - first, []
        for number in range(first, last + 1):
            if filled[base + number]:
                end = number * width + phase
                if usable[base + number]:
                    found.append((base + number, max(until, end - (1 + EMPTY_BINS) * width), end))
                until = end
        return found, max(until, (last - EMPTY_BINS) * width + phase)


def build_grid(
    demands: "Sequence[Demand]", lines: "Lines", scrapes: "Scrapes", *, query: "TelemetryQuery", settle_s: float
) -> Grid:
    """Find each demand's bins."""
    end_ms, start_ms = round(query.end_s * 1000), round((query.end_s - query.window_s) * 1000)
    ends = _last_seen(lines)
    width, phase, since, jumped = (np.zeros(len(demands), dtype=np.int64) for _ in range(4))
    for number, demand in enumerate(demands):
        given = demand.interval_s
        reporters = ends.reporters(number) if given is None or _starts_late(demand, start_ms) else ends.none
        width[number] = round(given * 1000) if given else _median_ms(scrapes.spacings_ms(reporters))
        since[number] = round(demand.since_s * 1000) if demand.since_s is not None else 0
        phase[number] = since[number] % max(width[number], 1)
        if _starts_late(demand, start_ms):
            jumped[number] = demand.since_s is not None
            begun = _first_complete_ms(scrapes.first_ms(reporters), start_ms, int(width[number]), int(phase[number]))
            since[number] = begun
    safe = np.maximum(width, 1)
    settled_ms = end_ms - round(settle_s * 1000) - phase
    last = settled_ms // safe
    last -= _is_early(ends, safe, last, phase_ms=phase, settled_ms=settled_ms)
    first = (since - phase) // safe + 1
    last = np.where(width > 0, np.maximum(last, first - 1), first - 1)
    offset = np.concatenate(([0], np.cumsum(last - first + 1)))
    return Grid(
        width_ms=width, phase_ms=phase, since_ms=since, first=first, last=last, jumped=jumped > 0, offset=offset
    )


def _starts_late(demand: Demand, start_ms: int) -> bool:
    return demand.since_s is None or round(demand.since_s * 1000) < start_ms


def _median_ms(spacings_ms: "Ints") -> int:
    return int(np.ceil(np.median(spacings_ms))) if spacings_ms.size else 0


def _first_complete_ms(first_ms: "Ints", start_ms: int, width_ms: int, phase_ms: int) -> int:
    """End of the first bin in which every reporter that was there from the start has a scrape to begin with."""
    if not first_ms.size or not width_ms:
        return start_ms
    initial = first_ms[first_ms < start_ms + 2 * width_ms]
    begun = int(initial.max() if initial.size else first_ms.min())
    return -(-(begun - phase_ms) // width_ms) * width_ms + phase_ms


@dataclass(frozen=True, slots=True)
class Part:
    """The steps that fall into the grid's cells.

    Attributes
    ----------
    lines, steps
        Where they come from.
    at : ndarray, shape (n,), int64
        Their samples.
    cell : ndarray, shape (n,), int64
        Their cells.
    share : ndarray, shape (n,), int64
        Cell and reporter in one number: what is used or left out as a whole.
    """

    lines: "Lines"
    steps: "Steps"
    at: "Ints"
    cell: "Ints"
    share: "Ints"

    def owners(self, grid: Grid, chosen: "Bools") -> "Ints":
        """Tell the demands of chosen samples, once for each share."""
        _, once = np.unique(self.share[chosen], return_index=True)
        return grid.demand_of(self.cell[chosen][once])


def place_steps(lines: "Lines", scrapes: "Scrapes", grid: Grid, *, start_ms: int) -> Part:
    """Measure the steps of lines and put them into cells: an increment belongs where it ends."""
    demand = lines.demand[lines.line]
    width_ms = grid.width_ms[demand]
    bins = -(-(lines.t_ms - grid.phase_ms[demand]) // np.maximum(width_ms, 1))
    steps = measure_steps(lines, scrapes, interval_ms=width_ms, start_ms=start_ms)
    inside = (lines.t_ms > grid.since_ms[demand]) & (bins >= grid.first[demand]) & (bins <= grid.last[demand])
    at = np.flatnonzero(inside)
    cell = grid.offset[demand[at]] + bins[at] - grid.first[demand[at]]
    return Part(lines, steps, at, cell, cell * scrapes.reporters + lines.reporter[lines.line[at]])


@dataclass(frozen=True, slots=True)
class _LastSeen:
    """The newest sample of each demand at each of its reporters."""

    demand: "Ints"
    reporter: "Ints"
    t_ms: "Ints"
    none: "Ints"

    def reporters(self, demand: int) -> "Ints":
        """Tell the reporters that show a demand's versions."""
        low, high = np.searchsorted(self.demand, (demand, demand + 1))
        return self.reporter[low:high]


def _last_seen(lines: "Lines") -> _LastSeen:
    demand, reporter = lines.demand[lines.line], lines.reporter[lines.line]
    order = np.lexsort((lines.t_ms, reporter, demand))
    demand, reporter, t_ms = demand[order], reporter[order], lines.t_ms[order]
    last = np.ones(order.size, dtype=np.bool_)
    last[:-1] = (demand[1:] != demand[:-1]) | (reporter[1:] != reporter[:-1])
    return _LastSeen(demand[last], reporter[last], t_ms[last], np.empty(0, dtype=np.int64))


def _is_early(ends: _LastSeen, width_ms: "Ints", last: "Ints", *, phase_ms: "Ints", settled_ms: "Ints") -> "Ints":
    """Tell (1 or 0) the demands whose newest bin still lacks a scrape of a reporter that is expected.

    After one more interval of patience nobody waits: so only the newest bin can be in question.
    """
    start_ms = ((last - 1) * width_ms + phase_ms)[ends.demand]
    expected = ends.t_ms > start_ms - EXPECTED_INTERVALS * width_ms[ends.demand]
    early = np.zeros(width_ms.size, dtype=np.int64)
    early[ends.demand[expected & (ends.t_ms <= start_ms)]] = 1
    impatient = settled_ms < (last + 1) * width_ms
    return early * impatient
