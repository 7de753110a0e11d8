"""What goes into the ledger and what comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from analyzer.core.judge.types import Interval
    from analyzer.ports import Workload

ERROR_CODES: Final = frozenset({"0", *map(str, range(500, 600))})
"""`response_code`s that are errors: 5xx, and 0 (the client gave up: a hung version shows nothing else)."""

GRPC_ERRORS: Final = frozenset({"2", "4", "13", "14", "15"})
"""`grpc_response_status`es that are the server's fault: Unknown, DeadlineExceeded, Internal, Unavailable, DataLoss.

The others (NotFound, InvalidArgument, Cancelled …) are what 4xx is to HTTP: the caller's.
"""

MAX_WINDOW_S: Final = 600.0  # no turn reads further back
GAP_INTERVALS: Final = 2.5  # a reporter silent for longer says nothing about the interval in which it speaks again
EXPECTED_INTERVALS: Final = 3  # a reporter seen this recently is waited for
EMPTY_BINS: Final = 2  # so many bins without a scrape are added to the next interval; more are a gap
REACH_INTERVALS: Final = 4  # baselines lie within so many intervals …
REACH_S: Final = 10.0  # … and this before the first bin


class Anomaly(StrEnum):
    """What was odd in the samples, and handled."""

    RESET = "reset"  # a counter fell: its new value counts in full
    BIRTH = "birth"  # a series appeared at a live reporter: its first value counts in full
    RESTART = "restart"  # a reporter's process began anew: all its values count in full
    GAP = "gap"  # a reporter was silent too long
    STALE = "stale"  # a series ended while its reporter lived on
    DUPLICATE = "duplicate"  # the same sample twice, or two values for one instant
    NEGATIVE = "negative"  # a counter below zero
    NOT_FINITE = "not_finite"  # NaN or infinity
    FRACTIONAL = "fractional"  # a counter of requests that is no whole number
    HISTOGRAM = "histogram"  # buckets that do not add up, or lack +Inf: no latency from that reporter
    UNKNOWN_BASELINE = "unknown_baseline"  # a first value without knowledge of what it was before
    DISCARDED = "discarded"  # one reporter's share of one interval was left out, for both versions


@dataclass(frozen=True, slots=True)
class VersionSource:
    """How one version is named in Istio's labels.

    Attributes
    ----------
    workload
        Its Deployment.
    clusters
        (host, subset) pairs of this version in `upstream_cluster` labels; the host in full, or short within the
        workload's namespace.
    """

    workload: "Workload"
    clusters: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Demand:
    """What one rollout wants to know.

    Attributes
    ----------
    key
        Names the rollout in messages.
    stable, canary
        The versions.
    services
        `destination_service` or `destination_service_name` values that errors without a version may carry.
    routes
        Only series with one of these as `route_name` count; None: all.
    since_s
        End of the last interval already judged [unix seconds]: `Statement.until_s` of the last turn, or the moment when
        the rollout began. None: everything in the window, from the first complete interval on.
    interval_s
        Width of the grid [s]; None: the median spacing of the reporters' scrapes. Pass `Statement.interval_s` back, so
        that the grid stays.
    weight
        Share of the traffic that the route gives the canary [per cent].
    stable_pods, canary_pods
        Ready pods [count].
    canary_youngest_pod_at_s
        When the youngest canary pod was created [unix seconds].
    """

    key: str
    stable: VersionSource
    canary: VersionSource
    services: frozenset[str] = frozenset()
    routes: frozenset[str] | None = None
    since_s: float | None = None
    interval_s: float | None = None
    weight: float = 0.0
    stable_pods: int = 1
    canary_pods: int = 1
    canary_youngest_pod_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the telemetry of one rollout can be relied on.

    Attributes
    ----------
    fresh
        Recent samples are there. False: hold the weights.
    reason
        CamelCase, or empty: `NoSeries`, `TooFewScrapes`, `Stale`, `RouteLabelMissing`; `WindowExceeded` where data are
        fresh but some time before them could not be judged.
    message
        The reason for a person, and what to check.
    newest_s
        The newest scrape that showed either version [unix seconds].
    """

    fresh: bool
    reason: str
    message: str
    newest_s: float | None


@dataclass(frozen=True, slots=True)
class Statement:
    """What the ledger says to one demand.

    Attributes
    ----------
    intervals
        Closed intervals after `Demand.since_s`, oldest first.
    until_s
        `since_s` for the next turn [unix seconds].
    interval_s
        Width of the grid [s]; None while it is unknown.
    health
        Whether to rely on it.
    anomalies
        How often what was odd in these intervals [count]; absent means never.
    """

    intervals: tuple["Interval", ...]
    until_s: float | None
    interval_s: float | None
    health: Health
    anomalies: Mapping[Anomaly, int]


def reach_s(interval_s: float) -> float:
    """Tell how far before an interval its baselines may lie [s]."""
    return REACH_INTERVALS * interval_s + REACH_S
