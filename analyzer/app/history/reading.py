"""One read of the past."""

import asyncio
from typing import Final, Protocol

import numpy as np

from analyzer.errors import MetricsUnavailable
from analyzer.ports import TelemetryQuery, TelemetryWindow, Workload

WINDOW_S: Final = 480.0
"""One read; with what baselines need before it, no longer than the daemon's longest."""
UNKNOWN_INTERVAL_S: Final = 15.0
TIMEOUT_S: Final = 120.0
"""For one read; hours ago, Prometheus reads from disk."""
_AFTER_SCRAPE: Final = 0.05


class FetchesTelemetry(Protocol):
    """The half of the port `Telemetry` that tells no time: the past needs no clock."""

    async def fetch(self, query: TelemetryQuery) -> TelemetryWindow:
        """Read raw samples.

        Raises
        ------
        MetricsUnavailable
            No answer, or none that can be trusted.
        """
        ...


async def fetch(
    telemetry: FetchesTelemetry, workloads: frozenset[Workload], *, since_s: float, end_s: float, timeout_s: float
) -> TelemetryWindow:
    """Read the samples in `(since_s, end_s]`.

    Raises
    ------
    MetricsUnavailable
        It did not answer, or not in time.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await telemetry.fetch(TelemetryQuery(workloads, end_s, end_s - since_s))
    except TimeoutError:
        message = f"Telemetry up to {end_s:.0f} was not read within {timeout_s:g} s."
        raise MetricsUnavailable(message) from None


def anchor(window: TelemetryWindow, *, after_s: float) -> float | None:
    """Find where intervals begin: just after the first scrape since a time, so that each ends just after one too."""
    reporters = window.reporters
    if not reporters.times.size:
        return None
    first = reporters.times[: reporters.offsets[1]]
    spacing_s = float(np.median(np.diff(first))) if first.size > 1 else 0.0
    later = first[first >= after_s]
    begun_s = float(later[0]) if later.size else after_s
    return round(begun_s + _AFTER_SCRAPE * spacing_s, 3)  # the ledger counts in milliseconds
