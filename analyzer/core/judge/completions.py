"""Requests that never come back.

A request that hangs is in no counter until somebody gives up, so neither its errors nor its latency show. But the mesh
routes each request by the weights alone: of N completed requests the canary's n2 are binomial with share

    theta(k) = k w / (k w + 1 - w),        w the weight, k the share of its requests that the canary completes.

Conditioning on N takes out every change of load; the stable version's arrivals are in it as N - n2. Intervals of which
the weight is unknown or mixed (0), or that gave everything to one version, say nothing.

Users that stick to a version make its share wander. A history shows how unequal the loads of pods are beyond chance; the
canary's may be lower by three standard deviations of that for a long time, at its weight.

Three questions are asked of the same numbers: harm (k >= 0.9 is tolerated: requests in flight, retries), proof
(k > 0.85, for going on), and the quality of the data (k = 1 exactly, both directions; no verdict depends on it).
"""

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from analyzer.core.judge.evalues import FloatArray

TOLERATED: Final = 0.9
KEPT_EFFECTS: Final = np.array([0.95, 0.88, 0.78, 0.6, 0.3, 0.01])
"""shape (L,): share kept, as a part of the tolerated one."""
KEPT_SHARE: Final = 0.85
"""Proof is against this share. A canary that hangs a fifth (0.8) is beyond it."""
RATIOS: Final = np.array([0.5, 0.8, 0.92, 1.09, 1.25, 2.0])
"""shape (Q,): canary's completed requests over what its weight says, for the sample ratio."""
PHI: Final = 1.5
_PHI_PROOF: Final = 1.5
"""Routing is by request, so counts are binomial; some are retries."""
_LOAD_QUANTILE: Final = 3.0
_LOWEST_TOLERATED: Final = 0.1
_PHI_RATIO: Final = 2.0
_MOST_RATIO: Final = np.log(1e5)


def usable(weight: "FloatArray") -> "FloatArray":
    """Mark weights that say how the traffic was split (1, else 0)."""
    marked: FloatArray = ((weight > 0.0) & (weight < 100.0)).astype(np.float64)
    return marked


def _log_ratio(
    n1: "FloatArray", n2: "FloatArray", weight: "FloatArray", *, kept: "FloatArray", against: "FloatArray | float"
) -> "FloatArray":
    """Log likelihood ratio of shares `kept` against one share, shape (R, len(kept)).

    For kept < against it falls with n2, so it is an e-value for every larger share too; for kept > against the other
    way round.
    """
    split = usable(weight)
    w = np.where(split > 0, weight, 50.0)[:, None] / 100.0
    log_total = np.log1p(-w * (1.0 - against)) - np.log1p(-w * (1.0 - kept))
    log_e = n2[:, None] * np.log(kept / against) + (n1 + n2)[:, None] * log_total
    weighed: FloatArray = split[:, None] * log_e
    return weighed


def tolerated(weight: "FloatArray", load: "FloatArray") -> "FloatArray":
    """Smallest share of completed requests that is no harm, shape (R,).

    Parameters
    ----------
    weight
        The weight in effect [per cent].
    load
        Relative standard deviation of the whole service's load by sticky users.
    """
    w = np.where(usable(weight) > 0, weight, 50.0) / 100.0
    kept: FloatArray = TOLERATED * np.exp(-_LOAD_QUANTILE * load * np.sqrt((1.0 - w) / np.maximum(w, 1e-9)))
    return np.maximum(kept, _LOWEST_TOLERATED)


def harm(n1: "FloatArray", n2: "FloatArray", weight: "FloatArray", *, load: "FloatArray") -> "FloatArray":
    """Log e that the canary loses more requests than is tolerated, per effect.

    Parameters
    ----------
    n1, n2 : ndarray, shape (R,)
        Completed requests of both versions [count].
    weight : ndarray, shape (R,)
        The weight in effect [per cent].
    load : ndarray, shape (R,)
        See `tolerated`.

    Returns
    -------
    ndarray, shape (R, L)
        Tempered; 0 where the weight says nothing.
    """
    against = tolerated(weight, load)[:, None]
    return _log_ratio(n1, n2, weight, kept=against * KEPT_EFFECTS, against=against) / PHI


def proof(n1: "FloatArray", n2: "FloatArray", weight: "FloatArray") -> "FloatArray":
    """Log e that the canary completes more than `KEPT_SHARE` of what its weight sends it, shape (R,)."""
    return _log_ratio(n1, n2, weight, kept=np.array([1.0]), against=KEPT_SHARE)[:, 0] / _PHI_PROOF


def sample_ratio(n1: "FloatArray", n2: "FloatArray", weight: "FloatArray") -> "FloatArray":
    """Log e that the share of the requests is not that of the weights, per ratio, shape (R, Q)."""
    return _log_ratio(n1, n2, weight, kept=RATIOS, against=1.0) / _PHI_RATIO


def follow_ratio(log_ratio: "FloatArray", step: "FloatArray") -> "FloatArray":
    """Add an interval's evidence to that of the sample ratio, per ratio, shape (R, Q).

    A cumulative sum that starts anew wherever it is below zero (Page 1954), so that weeks of good intervals do not delay
    what a stale proxy shows; and it is cut at 100,000 to one, so that hours of a bad ratio are soon forgotten when the
    weights are in effect. Where they are, it exceeds c by chance once in e^c intervals on average, or less (Lorden 1971).
    """
    return np.minimum(np.maximum(log_ratio, 0.0) + step, _MOST_RATIO)


def ratio_evidence(log_ratio: "FloatArray") -> "FloatArray":
    """Log evidence that the share of the requests is not that of the weights: the mean over the ratios, shape (R,)."""
    log_e = log_ratio.astype(np.float64)
    top = log_e.max(axis=1, keepdims=True)
    mean: FloatArray = np.log(np.exp(log_e - top).mean(axis=1)) + top[:, 0]
    return mean
