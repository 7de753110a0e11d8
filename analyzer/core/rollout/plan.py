"""The policy, as far as decisions need it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class OnInconclusive(StrEnum):
    """What to do after `dwell.max` without a verdict."""

    ADVANCE = "advance"
    HOLD = "hold"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One focus of the rollout.

    Attributes
    ----------
    route
        Name of the http route whose weights move; None: every route that splits both versions.
    weights
        The canary's steps [per cent], strictly ascending, the last is 100.
    auto
        The weight follows the proof: a step goes as far up the weights as is proven, within a bound on growth.
    """

    route: str | None
    weights: tuple[int, ...]
    auto: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Absolute limits that the judge was given; None: no limit. Here they are only for what people are told.

    Attributes
    ----------
    error_rate
        Of the canary [ratio].
    p99_ms
        Of the canary [ms].
    """

    error_rate: float | None = None
    p99_ms: float | None = None

    def p99_edge_ms(self, edges_ms: Sequence[float]) -> float | None:
        """Give the histogram edge that the p99 is tested at: the lowest at or above it; None where none is [ms]."""
        limit_ms = self.p99_ms
        return None if limit_ms is None else min((edge for edge in edges_ms if edge >= limit_ms), default=None)


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """The policy, as far as decisions need it. All durations in seconds.

    `sticky_users`: the canary's share of the requests need not be its weight's, and is not held to it. `approval`: routes that
    wait for a person before they get any canary, and weights that no stage goes to or past without one [per cent].
    `called`: the policy as commands name it.
    """

    stages: tuple[StagePlan, ...]
    observe_only: bool = False
    suspended: bool = False
    dwell_min_s: float = 30.0
    dwell_max_s: float = 300.0
    bake_s: float = 600.0
    on_inconclusive: OnInconclusive = OnInconclusive.ADVANCE
    canary_ready_s: float = 600.0
    blind_s: float = 1800.0
    sticky_users: bool = False
    capacity_gate: bool = True
    headroom: float = 0.2
    return_within_s: float = 120.0
    limits: Limits = Limits()
    approval: tuple[str | int, ...] = ()
    called: str = "NAME"
