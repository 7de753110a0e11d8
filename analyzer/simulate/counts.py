"""The counts of one interval, of many rollouts, as arrays and as the judge takes them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from analyzer.core.judge.types import Interval, VersionCounts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from analyzer.simulate.noise import FloatArray
    from analyzer.simulate.traffic import Traffic

    IntArray = NDArray[np.int64]

START_S: Final = 1_700_000_000.0
"""When simulated rollouts begin [unix seconds]."""


@dataclass(frozen=True, slots=True)
class Counts:
    """One interval of B rollouts.

    Attributes
    ----------
    requests, errors : ndarray, shape (B, 2)
        Of [stable, canary].
    histogram : ndarray, shape (B, 2, E + 1)
        Requests per bucket.
    pods : ndarray, shape (B, 2)
        Ready pods.
    youngest_s : ndarray, shape (B,)
        Age of the youngest canary pod at the end [s].
    sent : ndarray, shape (B,)
        Requests that the canary got, answered or not.
    hurt : ndarray, shape (B,)
        Expected number of users whose request failed or was slower because of the canary.
    """

    requests: "IntArray"
    errors: "IntArray"
    histogram: "IntArray"
    pods: "IntArray"
    youngest_s: "FloatArray"
    sent: "IntArray"
    hurt: "FloatArray"


def intervals_of(counts: Counts, traffic: "Traffic", *, end_s: float, weights: "FloatArray") -> list[Interval]:
    """Write an interval for the judge, rollout by rollout.

    Parameters
    ----------
    counts, traffic
        The counts and whose they are.
    end_s
        Since the rollouts began [s].
    weights : ndarray, shape (B,)
        What the route says [per cent].
    """
    return [
        Interval(
            end_s=START_S + end_s,
            seconds=traffic.interval_s,
            weight=weight,
            edges_ms=traffic.edges_ms,
            stable=VersionCounts(n[0], x[0], h[0], pods=p[0]),
            canary=VersionCounts(n[1], x[1], h[1], pods=max(p[1], 1), youngest_pod_age_s=age),
        )
        for weight, n, x, h, p, age in zip(
            weights.tolist(),
            counts.requests.tolist(),
            counts.errors.tolist(),
            counts.histogram,
            counts.pods.tolist(),
            counts.youngest_s.tolist(),
            strict=True,
        )
    ]
