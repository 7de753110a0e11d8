"""Rates and quantiles of both versions, for people."""

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import betaincinv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.evalues import FloatArray

_ALPHA: Final = 0.05


def clopper_pearson(events: "NDArray[np.int64]", requests: "NDArray[np.int64]") -> tuple["FloatArray", "FloatArray"]:
    """Exact 95 % confidence interval of a binomial rate.

    Parameters
    ----------
    events, requests : ndarray, int64
        0 <= events <= requests [count].

    Returns
    -------
    tuple of ndarray
        Lower and upper end [ratio]; NaN without requests.

    References
    ----------
    Clopper & Pearson, Biometrika 1934, by quantiles of the beta distribution.
    """
    x = events.astype(np.float64)
    rest = requests - x
    low = np.where(x > 0, betaincinv(np.maximum(x, 1.0), rest + 1.0, _ALPHA / 2), 0.0)
    high = np.where(rest > 0, betaincinv(x + 1.0, np.maximum(rest, 1.0), 1.0 - _ALPHA / 2), 1.0)
    known = requests > 0
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def quantiles(
    edges_ms: "FloatArray", histogram: "NDArray[np.int64]", levels: "tuple[float, ...]"
) -> "list[FloatArray]":
    """Read quantiles off histograms, straight within a bucket (as PromQL's histogram_quantile).

    Parameters
    ----------
    edges_ms : ndarray, shape (R, E)
        Ascending edges [ms].
    histogram : ndarray, shape (R, V, E + 1), int64
        Non-cumulative counts of V versions.
    levels
        Which quantiles, each in (0, 1).

    Returns
    -------
    list of ndarray, shape (R, V)
        The quantiles [ms]; the highest edge where one lies above that; NaN without requests or edges.
    """
    n_edges = edges_ms.shape[-1]
    if n_edges == 0:
        return [np.full(histogram.shape[:-1], np.nan) for _ in levels]
    cumulative = np.cumsum(histogram, axis=-1)
    total = cumulative[..., -1]
    row, version = np.indices(total.shape)
    answers = []
    for level in levels:
        rank = level * total
        bucket = np.minimum((cumulative < rank[..., None]).sum(axis=-1), n_edges)
        upper = edges_ms[row, np.minimum(bucket, n_edges - 1)]
        lower = np.where(bucket > 0, edges_ms[row, bucket - 1], 0.0)
        inside = histogram[row, version, bucket]
        below = cumulative[row, version, bucket] - inside
        value = lower + (upper - lower) * np.clip((rank - below) / np.maximum(inside, 1), 0.0, 1.0)
        answers.append(np.where(total > 0, value, np.nan))
    return answers
