"""The exact increment that ends at each sample, and whether it can be relied on.

The rules (semantics.md §1):

1. A series goes on: the difference to its sample before.
2. It fell, or its reporter's process began anew: the counter began at zero, its value counts in full.
3. It appeared at a reporter that was scraped before without it: it began at zero. So did one that a living reporter did
   not show for longer than a gap: Envoy had evicted it.
4. The reporter itself appeared, and its process is young: everything began at zero.
5. Otherwise nobody knows what the value was before. Neither can more than a gap be put into one interval, nor a value
   that no counter can have: these steps are not used.

Nothing here depends on how far the window reaches back beyond `reach_s`: turns of any length give the same.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from analyzer.app.ledger.scrapes import UPTIME_LAG_S, Scrapes
from analyzer.app.ledger.types import GAP_INTERVALS, REACH_INTERVALS, REACH_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.app.ledger.lines import Bools, Floats, Ints, Lines

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Steps:
    """One step per sample of `Lines`.

    Attributes
    ----------
    scrape : ndarray, shape (n_samples,), int64
        The scrape at its end.
    increment : ndarray, shape (n_samples,), float64
        What was counted in it; zero where it cannot be relied on.
    reset, birth, restart : ndarray, shape (n_samples,), bool
        Why the value counts in full.
    unknown, gap, bad : ndarray, shape (n_samples,), bool
        Why it cannot be relied on.
    """

    scrape: "Ints"
    increment: "Floats"
    reset: "Bools"
    birth: "Bools"
    restart: "Bools"
    unknown: "Bools"
    gap: "Bools"
    bad: "Bools"

    @property
    def doubtful(self) -> "Bools":
        """The steps that cannot be relied on."""
        return self.unknown | self.gap | self.bad


def _shifted(column: "NDArray[Scalar]") -> "NDArray[Scalar]":
    """Put each sample's predecessor in its place; the first stays."""
    return np.concatenate((column[:1], column[:-1]))


def find_hidden_restarts(lines: "Lines", scrapes: Scrapes) -> None:
    """Mark a restart where a counter fell and the uptime allows it.

    A process that dies within seconds of its start leaves an uptime that hardly fell behind; one falling counter tells
    it for all the others.
    """
    same = lines.line[1:] == lines.line[:-1]
    fell = same & (lines.value[1:] < lines.value[:-1]) & ~(lines.bad[1:] | lines.bad[:-1])
    ends = np.flatnonzero(fell) + 1
    if ends.size:
        at = scrapes.locate(lines.reporter[lines.line[ends]], lines.t_ms[ends])
        within = lines.t_ms[ends - 1] == scrapes.before_ms[at]  # or it fell at an earlier scrape that did not show it
        scrapes.add_restarts(at[within & scrapes.may_be_restart()[at]])


def measure_steps(lines: "Lines", scrapes: Scrapes, *, interval_ms: "Ints", start_ms: int) -> Steps:
    """Turn samples into increments.

    `interval_ms` is the grid's width per sample [ms], `start_ms` where the window starts [unix ms].
    """
    t_ms, value = lines.t_ms, lines.value
    gap_ms = GAP_INTERVALS * interval_ms
    scrape = scrapes.locate(lines.reporter[lines.line], t_ms)
    before_ms = scrapes.before_ms[scrape]
    first = np.concatenate(([True], lines.line[1:] != lines.line[:-1]))[: lines.line.size]

    started_ms = t_ms - (scrapes.uptime_s[scrape] + UPTIME_LAG_S) * 1000
    reach_ms = REACH_INTERVALS * interval_ms + REACH_S * 1000
    young = (t_ms - started_ms <= reach_ms) & (started_ms >= start_ms)  # False where the uptime is NaN

    seen = before_ms >= 0
    restart = ~first & (scrapes.epoch[scrape] != _shifted(scrapes.epoch[scrape]))
    evicted = ~first & ~restart & (t_ms - _shifted(t_ms) > gap_ms) & (t_ms - before_ms <= gap_ms)
    goes_on = ~first & ~restart & ~evicted
    birth = (first & (seen | young)) | evicted
    reset = goes_on & (value < _shifted(value))

    since_ms = np.where(goes_on, _shifted(t_ms), before_ms)
    just_begun = young & (scrapes.restarted[scrape] | ~seen)
    gap = (t_ms - since_ms > gap_ms) & ~just_begun & (seen | goes_on)
    unknown = first & ~seen & ~young
    bad = lines.bad | (goes_on & _shifted(lines.bad))
    increment = np.where(goes_on & ~reset, value - _shifted(value), value)
    return Steps(
        scrape=scrape,
        increment=np.where(unknown | gap | bad, 0.0, increment),
        reset=reset & ~bad,
        birth=birth,
        restart=restart,
        unknown=unknown,
        gap=gap,
        bad=bad,
    )
