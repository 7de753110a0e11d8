"""What "at most x % slower" means at each histogram edge.

Were the canary slower by the factor 1 + x, the share of its requests above an edge b would be the stable version's
share above b / (1 + x). That is read off the stable version's own histogram, on the scale logit(share) against
log(edge). Within the bucket below edge j, of width w in log(edge) and steepness k = (logit S_{j-1} - logit S_j) / w,
a parabola goes through both ends with the slope d at edge j that three neighbouring edges give:

    logit S(b_j / (1 + x)) = logit S_j + d h + (k - d) h^2 / w,    h = ln(1 + x) <= w;    beyond w straight on with k.

A straight line within the bucket (d = k) errs by up to a fifth of the odds for a log-normal latency, on the strict side
in the upper tail. The histogram is that of the intervals before (a running mean), so every tolerance is fixed before
the counts it is applied to.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy.special import expit

if TYPE_CHECKING:
    from analyzer.core.judge.evalues import FloatArray

TAIL_FLOOR: Final = 2e-4
"""Share of all requests that may lie above a tail edge in addition, for harm (delta of E1)."""
_LEAST_SLOPE: Final = 0.5
_LARGEST_SLOPE: Final = 12.0
LARGEST_HARM_RATIO: Final = 100.0
LARGEST_PROOF_RATIO: Final = 4.0
"""A steep histogram turns "twice as slow" into many times the share above an edge. For harm that must be tolerated: capped
at 4, a canary within its warm-up envelope is rolled back in most rollouts at 3,000 requests/s (simulated). For proof the
narrower margin is the safe one."""


class Ratios(NamedTuple):
    """The tolerance at an edge: for the share of slow requests p2 <= slow * p1, for that of fast ones p2 >= p1 / fast."""

    slow: "FloatArray"
    fast: "FloatArray"


@dataclass(frozen=True, slots=True)
class Curve:
    """The stable version's latency distribution at its edges, shape (R, E) each.

    Attributes
    ----------
    log_odds
        logit of the share above the edge.
    below, local
        Fall of log_odds per unit of log(edge): over the bucket below (k), and at the edge itself (d).
    width
        Width of the bucket below, in log(edge).
    """

    log_odds: "FloatArray"
    below: "FloatArray"
    local: "FloatArray"
    width: "FloatArray"

    def shift(self, log_slower: "FloatArray") -> "FloatArray":
        """By how much the log-odds rise when everything takes exp(log_slower) times as long.

        Parameters
        ----------
        log_slower : ndarray, shape (R,) or (R, E), >= 0

        Returns
        -------
        ndarray, shape (R, E)
        """
        h = log_slower[:, None] if log_slower.ndim == 1 else log_slower
        inside = np.minimum(h, self.width)
        bent: FloatArray = self.local * inside + (self.below - self.local) * inside**2 / self.width
        return bent + self.below * (h - inside)


def curve(edges_ms: "FloatArray", share: "FloatArray") -> Curve:
    """Describe a latency distribution.

    Parameters
    ----------
    edges_ms : ndarray, shape (R, E)
        Histogram edges, ascending [ms].
    share : ndarray, shape (R, E)
        The stable version's share of requests above each edge, in (0, 1).

    Returns
    -------
    Curve
        Slopes are within [0.5, 12]. Below the lowest edge nothing is known, and a latency falls off ever faster: it takes twice
        the slope of the next. A lone edge takes the least, which is the strictest.
    """
    log_odds = np.log(share) - np.log1p(-share)
    if edges_ms.shape[-1] < 2:
        flat = np.full(share.shape, _LEAST_SLOPE)
        return Curve(log_odds, flat, flat, np.ones(share.shape))
    gaps = np.diff(np.log(edges_ms), axis=-1)
    fall = np.clip(-np.diff(log_odds, axis=-1) / gaps, _LEAST_SLOPE, _LARGEST_SLOPE)
    lowest = np.minimum(2.0 * fall[:, :1], _LARGEST_SLOPE)
    below = np.concatenate([lowest, fall], axis=-1)
    width = np.concatenate([gaps[:, :1], gaps], axis=-1)
    local = below.copy()
    local[:, 0] = fall[:, 0]
    local[:, 1:-1] = (fall[:, :-1] * gaps[:, 1:] + fall[:, 1:] * gaps[:, :-1]) / (gaps[:, 1:] + gaps[:, :-1])
    return Curve(log_odds, below, np.minimum(local, 2.0 * below), width)


def ratios(share: "FloatArray", shifted: "FloatArray", *, largest: float) -> Ratios:
    """Turn tolerated shares above an edge into ratios to the expected ones, both within [1, largest]."""
    return Ratios(
        slow=np.clip(shifted / share, 1.0, largest),
        fast=np.clip((1.0 - share) / np.maximum(1.0 - shifted, 1e-300), 1.0, largest),
    )


def fade(age_s: "FloatArray", warm_up_s: "FloatArray") -> "FloatArray":
    """Give what is left of a warm-up at an age [s], with a time constant [s]."""
    left: FloatArray = np.exp(-age_s / np.maximum(warm_up_s, 1e-9))
    return left


def share_of(log_odds: "FloatArray") -> "FloatArray":
    """Give the share that has these log-odds."""
    share: FloatArray = expit(log_odds)
    return share
