"""How much more counts vary than independent requests would.

Log-evidence is divided by phi >= 1. A power likelihood stays valid for independent requests (Jensen), is exact where
events come in clumps of phi, and right to second order where the variance is phi times the binomial one. Two causes are
told apart, because they grow differently:

    phi = max(clump, base + noise (1/P1 + 1/P2) V),    V = x (N - x) n1 n2 / (N^2 (N - 1)),

x, N of both versions together, P pods. Clumps of errors (retries, a failing dependency) have the same phi at any
traffic; rates that wander pod by pod make the variance V grow to V (1 + noise V), so phi must grow with traffic. Counts
of pods at constant load cannot tell which of the two they show; every mixture of both lies below the larger.

`learning` finds clump, noise and spread from the stable version's own pods. Without a history they are fall-backs; clumps,
and latency that wanders, are looked for in the stable version's running counts.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.evalues import FloatArray, Tables

BASE: Final = 1.5
CLUMP: Final = 1.5
NOISE_ERRORS: Final = 0.10
NOISE_LATENCY: Final = 0.02
"""Variance of the log-odds between intervals, of one pod."""
SPREAD_ERRORS: Final = 0.15
SPREAD_LATENCY: Final = 0.08
"""Standard deviation of the log-odds between pods of one version."""
_POD_QUANTILE: Final = 1.64
LOAD: Final = 0.002
"""Relative standard deviation of the load of the whole service that sticky users make."""

_CLUMP_AT_FIRST: Final = 2.5
_BELIEF: Final = 4.0
"""Without a history errors are taken to come in clumps of 2.5, as if four intervals had shown it."""


MOST_WANDER: Final = 0.35
"""Most noise of latency that the stable version's wandering stands for: it may be common to both versions."""
_HIDDEN: Final = 2.0
"""The running mean follows what has a memory, and so hides a part of it."""
_LEAST_WEIGHT: Final = 4.0
"""Intervals that the wandering is spread over at least."""


class Known(NamedTuple):
    """What is known of the dispersion: columns of shape (R, C)."""

    clump: "FloatArray"
    noise: "FloatArray"
    base: "FloatArray"


def known(records: "NDArray[np.void]") -> Known:
    """Read it off the records; clumps of errors without history from the stable version's running counts."""
    clump = records["clump"].astype(np.float64)
    seen, squares = records["running"][:, 0], records["running"][:, 1]
    running = (_BELIEF * _CLUMP_AT_FIRST + squares) / (_BELIEF + seen)
    clump[:, 0] = np.where(records["learned"] > 0, clump[:, 0], np.maximum(clump[:, 0], running))
    noise = records["noise"].astype(np.float64)
    excess, weight = records["wander"][:, 0], records["wander"][:, 1]
    wander = np.clip(_HIDDEN * excess / np.maximum(weight, _LEAST_WEIGHT), 0.0, MOST_WANDER)[:, None]
    noise[:, 1:] = np.where(records["learned"][:, None] > 0, noise[:, 1:], np.maximum(noise[:, 1:], wander))
    return Known(clump, noise, records["base"].astype(np.float64)[:, None])


def wandering(
    records: "NDArray[np.void]",
    x1: "FloatArray",
    n1: "FloatArray",
    *,
    pods1: "FloatArray",
    comparable: "NDArray[np.bool_]",
) -> "FloatArray":
    """See how far the stable version's latency wanders between intervals: what it adds to `wander`, shape (R, 2).

    At the edge that tells most, u = x1 - n1 q has variance V + noise V^2 / P1 if each pod wanders by itself. What all pods
    have in common looks the same and is taken for it: that is safe, and bounded by `MOST_WANDER`.

    Parameters
    ----------
    records : ndarray, shape (R,)
        With the running mean over the intervals before.
    x1, n1 : ndarray, shape (R, E)
        The stable version's requests above each edge, and all of them [count].
    pods1 : ndarray, shape (R,)
        Its pods [count].
    comparable : ndarray, shape (R, E), bool
        Edges that it has counts for.
    """
    if not x1.shape[1]:
        return np.zeros((len(x1), 2))
    n, x = records["mean_n"][:, 1:], records["mean_x"][:, 1:]
    q = (x + 0.5) / (n + 1.0)
    variance = np.where(comparable & (n > 0), n1 * q * (1.0 - q), 0.0)
    rows, edge = np.arange(len(x1)), variance.argmax(axis=1)
    v, n1, q, n = variance[rows, edge], n1[rows, edge], q[rows, edge], n[rows, edge]
    square = (x1[rows, edge] - n1 * q) ** 2 - v * (1.0 + n1 / np.maximum(n, 1.0))
    # As shares of V, that large counts do not drown the small ones: sums of noise and of 1, weighed by V / (1 + V).
    weight = v / (1.0 + v)
    return np.stack([np.where(v > 0, weight * pods1 * square / np.maximum(v, 1e-9) ** 2, 0.0), weight], axis=1)


def surprise(records: "NDArray[np.void]", x1: "FloatArray", n1: "FloatArray") -> "FloatArray":
    """Compare an interval of the stable version's errors with what was expected: what it adds to `running`.

    The square of (x1 - n1 q) over its variance, were the errors independent, is 1 on average; q is the running mean
    over the intervals before, whose own error is part of the variance. Only the past enters an interval's phi.
    """
    n, x = records["mean_n"][:, 0], records["mean_x"][:, 0]
    q = (x + 0.5) / (n + 1.0)
    variance = n1 * q * (1.0 - q) * (1.0 + n1 / np.maximum(n, 1.0))
    usable = (n > 0) & (variance > 0.05)
    square = np.where(usable, (x1 - n1 * q) ** 2 / np.where(usable, variance, 1.0), 0.0)
    return np.stack([usable.astype(np.float64), np.minimum(square, 1e6)], axis=1)


def pod_noise(pods1: "FloatArray", pods2: "FloatArray") -> "FloatArray":
    """1/P1 + 1/P2, counting at least one pod each."""
    return 1.0 / np.maximum(pods1, 1.0) + 1.0 / np.maximum(pods2, 1.0)


def pod_tolerance(spread: "FloatArray | float", noise: "FloatArray") -> "FloatArray":
    """Log-odds by which two sets of pods may differ for good though they run the same code.

    No test can tell a slow node from a slow version, so this goes into the tolerance, not into phi. With one pod on
    each side and no history it allows odds 1.42 times as high for errors and 1.20 times for latency.
    """
    return _POD_QUANTILE * spread * np.sqrt(noise)


def conditional_variance(tables: "Tables", share: "FloatArray") -> "FloatArray":
    """Hypergeometric variance of the canary's events, given that `share` of all requests are events."""
    n = np.maximum(tables.n1 + tables.n2, 2.0)
    return share * (1.0 - share) * tables.n1 * tables.n2 / (n - 1.0)


def pooled_share(tables: "Tables") -> "FloatArray":
    """Observed share of events among the requests of both versions."""
    return (tables.x1 + tables.x2) / np.maximum(tables.n1 + tables.n2, 1.0)


def phi(known: Known, spread: "FloatArray") -> "FloatArray":
    """Dispersion at a variance `spread` = (1/P1 + 1/P2) V; all broadcast together."""
    return np.maximum(known.clump, known.base + known.noise * spread)


def harm_variance(tables: "Tables", q1: "FloatArray") -> "FloatArray":
    """V for evidence of harm: the larger of the observed and the predicted one."""
    return np.maximum(conditional_variance(tables, pooled_share(tables)), conditional_variance(tables, q1))


def proof_variance(tables: "Tables", q1: "FloatArray") -> "FloatArray":
    """V for evidence of non-inferiority: the predicted one only.

    With the observed V quiet intervals would count more than loud ones, and quiet ones are those that speak for the
    canary.
    """
    return conditional_variance(tables, q1)
