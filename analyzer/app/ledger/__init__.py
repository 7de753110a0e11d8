"""The ledger: counter samples in, exact increments per interval out, gaps and resets marked (semantics.md §1).

routing   which demand and version a series belongs to
lines     the series' samples as columns
scrapes   when each reporter was scraped, and when it restarted
steps     the increment that ends at each sample
grid      the bins that increments fall into, and when they close
latency   histograms over common edges
notes     what was odd
health    whether to rely on it
book      all of it, in order
"""

from analyzer.app.ledger.book import SETTLE_S, build_intervals, window_for
from analyzer.app.ledger.types import (
    ERROR_CODES,
    GRPC_ERRORS,
    MAX_WINDOW_S,
    Anomaly,
    Demand,
    Health,
    Statement,
    VersionSource,
)

__all__ = [
    "ERROR_CODES",
    "GRPC_ERRORS",
    "MAX_WINDOW_S",
    "SETTLE_S",
    "Anomaly",
    "Demand",
    "Health",
    "Statement",
    "VersionSource",
    "build_intervals",
    "window_for",
]
