"""How much more counts vary than independent requests would.

Log-evidence is divided by phi >= 1. A power likelihood stays valid for independent requests (Jensen), is exact where
events come in clumps of phi, and right to second order where the variance is phi times the binomial one. Two causes are
told apart, because they grow differently:

    phi = max(clump, base + noise (1/P1 + 1/P2) V),    V = x (N - x) n1 n2 / (N^2 (N - 1)),

x, N of both versions together, P pods. Clumps of errors (retries, a failing dependency) have the same phi at any
traffic; rates that wander pod by pod make the variance V grow to V (1 + noise V), so phi must grow with traffic. Counts
of pods at constant load cannot tell which of the two they show; every mixture of both lies below the larger.

`learning` finds clump, noise and spread from the stable version's own pods. Without a history they are fall-backs, and
clumps are looked for in the stable version's running counts.
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
    return Known(clump, records["noise"].astype(np.float64), records["base"].astype(np.float64)[:, None])


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
