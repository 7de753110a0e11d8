"""How rollouts went."""

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.special import betaincinv

from analyzer.core.judge.types import Channel, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from analyzer.core.judge.types import Assessment
    from analyzer.simulate.noise import FloatArray


@dataclass(slots=True)
class Outcomes:
    """R rollouts; times in seconds since they began, NaN for what never happened. Arrays are [R] unless said otherwise.

    Attributes
    ----------
    harm_s, proven_s
        End of the interval of the first HARM, and of the first PROVEN.
    harm_channel
        What the harm was found in.
    promoted_s, rolled_back_s
        When the canary had all traffic, or none (closed loop only).
    canary_requests, hurt
        Requests that the canary got, and users that it hurt, until harm was found (fixed schedule) or the rollout ended.
    steps, unproven_steps
        Steps made, and those of them that were made without proof (closed loop only).
    weights : ndarray, shape (T, R)
        The canary's weight in each interval [per cent]; 0 after the end.
    """

    harm_s: "FloatArray"
    proven_s: "FloatArray"
    promoted_s: "FloatArray"
    rolled_back_s: "FloatArray"
    canary_requests: "FloatArray"
    hurt: "FloatArray"
    steps: "NDArray[np.int64]"
    unproven_steps: "NDArray[np.int64]"
    weights: "FloatArray"
    harm_channel: list[Channel | None] = field(default_factory=list)

    @classmethod
    def empty(cls, rollouts: int) -> Self:
        """Nothing has happened yet."""
        never = np.full(rollouts, np.nan)
        return cls(
            harm_s=never.copy(),
            proven_s=never.copy(),
            promoted_s=never.copy(),
            rolled_back_s=never.copy(),
            canary_requests=np.zeros(rollouts),
            hurt=np.zeros(rollouts),
            steps=np.zeros(rollouts, dtype=np.int64),
            unproven_steps=np.zeros(rollouts, dtype=np.int64),
            weights=np.zeros((0, rollouts)),
            harm_channel=[None] * rollouts,
        )

    @classmethod
    def joined(cls, parts: "Iterable[Outcomes]") -> Self:
        """Put rollouts of several runs side by side."""
        several = list(parts)
        longest = max(len(part.weights) for part in several)
        padded = [np.pad(part.weights, ((0, longest - len(part.weights)), (0, 0))) for part in several]
        columns = {
            f.name: np.concatenate([getattr(part, f.name) for part in several])
            for f in fields(cls)
            if f.name not in {"weights", "harm_channel"}
        }
        channels = [channel for part in several for channel in part.harm_channel]
        return cls(**columns, weights=np.concatenate(padded, axis=1), harm_channel=channels)

    def note(self, number: int, assessment: "Assessment", *, now_s: float) -> None:
        """Take in what the judge says of one rollout."""
        if assessment.verdict is Verdict.HARM and np.isnan(self.harm_s[number]):
            self.harm_s[number] = now_s
            self.harm_channel[number] = assessment.evidence.culprit
        if assessment.verdict is Verdict.PROVEN and np.isnan(self.proven_s[number]):
            self.proven_s[number] = now_s

    @property
    def rollouts(self) -> int:
        """How many there are."""
        return len(self.harm_s)

    def share(self, times: "FloatArray") -> float:
        """Give the share of rollouts for which something happened."""
        return float(np.isfinite(times).mean())


def median_of(times: "FloatArray") -> float:
    """Give the median over all rollouts, those included for which it never happened: infinity if for most of them."""
    return float(np.median(np.nan_to_num(times, nan=np.inf)))


def standard_error(events: int, of: int) -> float:
    """Give the standard error of a share; of one half event where there were none or only events."""
    share = min(max(events, 0.5), of - 0.5) / of
    return float(np.sqrt(share * (1.0 - share) / of))


def upper_bound(events: int, of: int, *, confidence: float = 0.95) -> float:
    """Give the exact (Clopper-Pearson) one-sided upper bound of a share."""
    return 1.0 if events >= of else float(betaincinv(events + 1, of - events, confidence))


def quantiles_of(times: "FloatArray", *shares: float) -> tuple[float, ...]:
    """Give the times until when these shares of all rollouts had something happen; infinity if fewer ever had."""
    in_order = np.sort(np.nan_to_num(times, nan=np.inf))
    places = [min(max(int(np.ceil(share * len(in_order))) - 1, 0), len(in_order) - 1) for share in shares]
    return tuple(float(in_order[place]) for place in places)
