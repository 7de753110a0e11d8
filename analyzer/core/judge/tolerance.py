"""What "at most x % slower" means at each histogram edge.

Were the canary slower by the factor 1 + x, the share of its requests above an edge b would be the stable version's
share above b / (1 + x). That is read off the stable version's own histogram, straight between two edges on the scale
logit(share) against log(edge):

    logit S(b_j / (1 + x)) = logit S_j + k_j ln(1 + x),    k_j = (logit S_{j-1} - logit S_j) / ln(b_j / b_{j-1})

The histogram is that of the intervals before (a running mean), so every tolerance is fixed before the counts it is
applied to.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy.special import expit, logit

if TYPE_CHECKING:
    from analyzer.core.judge.evalues import FloatArray

TAIL_FLOOR: Final = 2e-4
"""Share of all requests that may lie above a tail edge in addition, for harm (delta of E1)."""
_LEAST_SLOPE: Final = 0.5
_LARGEST_SLOPE: Final = 8.0
LARGEST_HARM_RATIO: Final = 100.0
LARGEST_PROOF_RATIO: Final = 4.0
"""A steep histogram turns "twice as slow" into many times the share above an edge. For harm that must be tolerated: capped
at 4, a canary within its warm-up envelope is rolled back in most rollouts at 3,000 requests/s (simulated). For proof the
narrower margin is the safe one."""
_EXTRA_AT_BIRTH: Final = 1.0
"""A canary just born may be this much slower than its tolerance says (twice as slow)."""


class Ratios(NamedTuple):
    """The tolerance at an edge: for the share of slow requests p2 <= slow * p1, for that of fast ones p2 >= p1 / fast."""

    slow: "FloatArray"
    fast: "FloatArray"


def log_slopes(edges_ms: "FloatArray", share: "FloatArray") -> "FloatArray":
    """Steepness k of the latency distribution below each edge.

    Parameters
    ----------
    edges_ms : ndarray, shape (R, E)
        Histogram edges, ascending [ms], E >= 1.
    share : ndarray, shape (R, E)
        The stable version's share of requests above each edge, in (0, 1).

    Returns
    -------
    ndarray, shape (R, E)
        Fall of logit(share) per unit of log(edge), within [0.5, 8]. The lowest edge takes the slope of the next; a lone
        edge takes the least, which is the strictest.
    """
    if edges_ms.shape[-1] < 2:
        return np.full(share.shape, _LEAST_SLOPE)
    fall = -np.diff(logit(share), axis=-1) / np.diff(np.log(edges_ms), axis=-1)
    slopes = np.concatenate([fall[..., :1], fall], axis=-1)
    clipped: FloatArray = np.clip(slopes, _LEAST_SLOPE, _LARGEST_SLOPE)
    return clipped


def ratios(share: "FloatArray", log_odds: "FloatArray", *, largest: float) -> Ratios:
    """Turn a tolerated shift of the log-odds into ratios of shares, both within [1, largest]."""
    shifted = expit(logit(share) + log_odds)
    return Ratios(
        slow=np.clip(shifted / share, 1.0, largest),
        fast=np.clip((1.0 - share) / np.maximum(1.0 - shifted, 1e-300), 1.0, largest),
    )


def warm_tolerance(tolerance: "FloatArray", *, age_s: "FloatArray", warm_up_s: "FloatArray") -> "FloatArray":
    """Latency tolerance while the canary's youngest pod is still warming up.

    Parameters
    ----------
    tolerance
        The tolerance of a warm canary [ratio].
    age_s
        Age of its youngest pod at the interval's beginning [s]; infinity if none is young. A new pod arms the envelope
        anew.
    warm_up_s
        Time constant [s]; 0 turns the envelope off.
    """
    decay = np.exp(-age_s / np.maximum(warm_up_s, 1e-9))
    return tolerance + np.where(warm_up_s > 0, _EXTRA_AT_BIRTH * decay, 0.0)
