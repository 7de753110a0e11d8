"""When each reporter was scraped, and when its process began anew."""

from typing import TYPE_CHECKING, Final

import numpy as np

from analyzer.app.ledger.lines import Reporters, joined, ranges, reporter_of, to_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analyzer.app.ledger.lines import Bools, Floats, Ints
    from analyzer.ports import SeriesBatch, TelemetryWindow

UPTIME: Final = "envoy_server_uptime"

UPTIME_LAG_S: Final = 8.0
"""Envoy sets its uptime at a flush (5 s), in whole seconds: it may be so much too small."""

ROUNDING_S: Final = 2.0
"""A process that began after the last scrape cannot be older than the time since, but for rounding."""


class Scrapes:
    """All scrapes of all reporters, in order of reporter and time.

    A scrape is what Envoy itself showed: its uptime, or any of its series. `up` proves nothing here: Istio's agent
    answers, and up is 1, when the Envoy behind it does not.

    Attributes
    ----------
    reporters
        How many there are, at least 1.
    reporter, t_ms : ndarray, shape (n_scrapes,), int64
    before_ms : ndarray, shape (n_scrapes,), int64
        The same reporter's scrape before [unix ms]; -1 if the window has none.
    uptime_s : ndarray, shape (n_scrapes,), float64
        NaN where it is not known.
    restarted : ndarray, shape (n_scrapes,), bool
        The process began after the scrape before.
    epoch : ndarray, shape (n_scrapes,), int64
        Grows with each restart of the reporter.
    """

    def __init__(self, window: "TelemetryWindow", reporters: Reporters) -> None:
        self.reporters = max(len(reporters), 1)
        up_reporter, up_ms, uptime = _uptimes(window.reporters, reporters)
        sources = [_instants(batch, reporters) for batch in (window.requests, window.durations)]
        reporter = np.concatenate([up_reporter, *(source[0] for source in sources)])
        t_ms = np.concatenate([up_ms, *(source[1] for source in sources)])
        self._low = int(t_ms.min()) if t_ms.size else 0
        self._span = int(t_ms.max()) - self._low + 1 if t_ms.size else 1
        self._keys = np.unique(self._key(reporter, t_ms))
        self.reporter = self._keys // self._span
        self.t_ms = self._keys % self._span + self._low
        self.before_ms = np.full(self._keys.size, -1, dtype=np.int64)
        follows = np.flatnonzero(self.reporter[1:] == self.reporter[:-1]) + 1
        self.before_ms[follows] = self.t_ms[follows - 1]
        self.uptime_s = np.full(self._keys.size, np.nan)
        self.uptime_s[self.locate(up_reporter, up_ms)] = uptime
        self.restarted = np.zeros(self._keys.size, dtype=np.bool_)
        self.restarted[self.locate(*_restarts(up_reporter, up_ms, uptime))] = True
        self.epoch = np.cumsum(self.restarted)

    def _key(self, reporter: "Ints", t_ms: "Ints") -> "Ints":
        return reporter * self._span + (t_ms - self._low)

    def locate(self, reporter: "Ints", t_ms: "Ints") -> "Ints":
        """Find the numbers of scrapes."""
        return np.searchsorted(self._keys, self._key(reporter, t_ms))

    def may_be_restart(self) -> "Bools":
        """Tell the scrapes whose uptime leaves a restart since the scrape before possible."""
        return (self.before_ms >= 0) & (self.uptime_s * 1000 <= self.t_ms - self.before_ms + ROUNDING_S * 1000)

    def add_restarts(self, scrapes: "Ints") -> None:
        """Take in restarts that only falling counters showed."""
        self.restarted[scrapes] = True
        self.epoch = np.cumsum(self.restarted)

    def spacings_ms(self, reporters: "Ints") -> "Ints":
        """Tell the times between scrapes of some reporters [ms]."""
        chosen = (self.before_ms >= 0) & np.isin(self.reporter, reporters)
        return self.t_ms[chosen] - self.before_ms[chosen]

    def first_ms(self, reporters: "Ints") -> "Ints":
        """Tell the first scrape of each of some reporters [unix ms]."""
        return self.t_ms[(self.before_ms < 0) & np.isin(self.reporter, reporters)]


def _rows(batch: "SeriesBatch", reporters: Reporters, *, name: str | None = None) -> tuple["Ints", "Ints"]:
    chosen: Sequence[tuple[int, int]] = [
        (row, number)
        for row, labels in enumerate(batch.labels)
        if (number := reporters.get(reporter_of(labels), -1)) >= 0 and name in (None, labels.get("__name__"))
    ]
    table = np.array(chosen, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _samples(batch: "SeriesBatch", rows: "Ints", numbers: "Ints") -> tuple["Ints", "Ints"]:
    starts = batch.offsets[rows]
    lengths = batch.offsets[rows + 1] - starts
    return ranges(starts, lengths), np.repeat(numbers, lengths)


def _instants(batch: "SeriesBatch", reporters: Reporters) -> tuple["Ints", "Ints"]:
    at, reporter = _samples(batch, *_rows(batch, reporters))
    return reporter, to_ms(batch.times[at])


def _uptimes(batch: "SeriesBatch", reporters: Reporters) -> tuple["Ints", "Ints", "Floats"]:
    at, reporter = _samples(batch, *_rows(batch, reporters, name=UPTIME))
    t_ms, uptime = to_ms(batch.times[at]), batch.values[at]
    fine = np.isfinite(uptime) & (uptime >= 0)
    _, once = np.unique(joined(reporter[fine], t_ms[fine]), return_index=True)  # sorts, and drops what came twice
    return reporter[fine][once], t_ms[fine][once], uptime[fine][once]


def _restarts(reporter: "Ints", t_ms: "Ints", uptime: "Floats") -> tuple["Ints", "Ints"]:
    """Find the scrapes that a new process answered.

    Its uptime fell behind, and is small enough for a process that began since: a clock that was set back, or an uptime
    flushed late, is no restart. (Taking one for a restart would count whole counters a second time.)
    """
    passed = np.diff(t_ms) / 1000.0
    grown = np.diff(uptime)
    behind = (grown < 0) | (grown < passed - UPTIME_LAG_S)
    again = (reporter[1:] == reporter[:-1]) & behind & (uptime[1:] <= passed + ROUNDING_S)
    return reporter[1:][again], t_ms[1:][again]
