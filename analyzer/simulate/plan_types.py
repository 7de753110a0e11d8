"""What `serin plan` tells: how a policy would treat releases of a service."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from analyzer.simulate.outcomes import upper_bound

if TYPE_CHECKING:
    from analyzer.simulate.traffic import Traffic


@dataclass(frozen=True, slots=True)
class HarmlessPlan:
    """What becomes of harmless releases.

    Attributes
    ----------
    rollouts, rolled_back
        How many were simulated, and how many of them were rolled back wrongly.
    promoted_s
        After how long they had all traffic: 10 %, 50 % and 90 % of them [s]; infinity where so many never had.
    canary_requests
        Requests to the canary until then (median).
    steps, unproven_steps
        Steps per rollout, and those made without proof (means).
    weights
        Per interval, the canary's weight [per cent]: low, median, high (10 %, 50 %, 90 %).
    """

    rollouts: int
    rolled_back: int
    promoted_s: tuple[float, float, float]
    canary_requests: float
    steps: float
    unproven_steps: float
    weights: tuple[tuple[float, float, float], ...]

    @property
    def false_rollback(self) -> float:
        """Share rolled back wrongly."""
        return self.rolled_back / self.rollouts

    @property
    def upper_bound(self) -> float:
        """Upper 95 % bound of the chance of it: what so many rollouts can tell."""
        return upper_bound(self.rolled_back, self.rollouts)


@dataclass(frozen=True, slots=True)
class BadPlan:
    """What becomes of releases with one kind of harm.

    Attributes
    ----------
    name
        The harm.
    rollouts, rolled_back, promoted
        How many were simulated, rolled back, given all traffic; the rest still held at the end.
    found_s
        Times after which they were rolled back, ascending [s].
    median_s, most_s
        Until when a half and nine in ten of all were rolled back [s]; infinity where fewer were.
    canary_requests
        Requests that the canary got until the end (median).
    users_hurt
        Users whose request failed or was slower because of it, until the end (mean).
    """

    name: str
    rollouts: int
    rolled_back: int
    promoted: int
    found_s: tuple[float, ...]
    median_s: float
    most_s: float
    canary_requests: float
    users_hurt: float


@dataclass(frozen=True, slots=True)
class PlanReport:
    """All of it, with what it rests on."""

    policy: str
    traffic: "Traffic"
    interval_s: float
    horizon_s: float
    history: bool
    seed: int
    allowed_false_rollback: float
    weights: tuple[tuple[int, ...], ...]
    harmless: HarmlessPlan
    bad: tuple[BadPlan, ...]
    assumptions: tuple[str, ...]
