"""What was odd, counted per demand."""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from analyzer.app.ledger.types import Anomaly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analyzer.app.ledger.grid import Grid, Part
    from analyzer.app.ledger.lines import Ints
    from analyzer.app.ledger.scrapes import Scrapes


class Notes:
    """Counts anomalies."""

    def __init__(self, demands: int, grid: "Grid") -> None:
        self._grid = grid
        self._counts = [Counter[Anomaly]() for _ in range(demands)]

    def of(self, demand: int) -> "Mapping[Anomaly, int]":
        """Tell what was odd for one demand."""
        return self._counts[demand]

    def add(self, anomaly: Anomaly, demands: "Ints") -> None:
        """Count an anomaly once for each demand given."""
        for number, count in zip(*np.unique(demands, return_counts=True), strict=True):
            self._counts[int(number)][anomaly] += int(count)

    def add_samples(self, part: "Part") -> None:
        """Count what no counter should show, in closed bins."""
        owner = self._grid.demand_of(part.cell)
        for anomaly, samples in part.lines.odd:
            if samples.size:
                self.add(anomaly, owner[np.isin(part.at, samples)])

    def add_steps(self, part: "Part", scrapes: "Scrapes") -> None:
        """Count how steps began, in closed bins."""
        steps, owner = part.steps, self._grid.demand_of(part.cell)
        for anomaly, flags in (
            (Anomaly.RESET, steps.reset),
            (Anomaly.BIRTH, steps.birth),
            (Anomaly.GAP, steps.gap),
            (Anomaly.UNKNOWN_BASELINE, steps.unknown),
        ):
            self.add(anomaly, owner[flags[part.at]])
        self.add(Anomaly.RESTART, part.owners(self._grid, scrapes.restarted[steps.scrape[part.at]]))
        self._add_stale(part, scrapes)

    def _add_stale(self, part: "Part", scrapes: "Scrapes") -> None:
        """Count series that ended while their reporter lived on."""
        lines = part.lines
        newest = np.zeros(scrapes.reporters, dtype=np.int64)
        np.maximum.at(newest, scrapes.reporter, scrapes.t_ms)
        ends = np.zeros(lines.demand.size, dtype=np.int64)
        ends[lines.line] = lines.t_ms  # ascending within a line: the last one stays
        width_ms = self._grid.width_ms[lines.demand]
        self.add(Anomaly.STALE, lines.demand[(width_ms > 0) & (newest[lines.reporter] - ends > width_ms)])
