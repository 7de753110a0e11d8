"""How much more counts vary than independent requests would, without history.

Log-evidence is divided by phi >= 1. A power likelihood stays valid for independent requests (Jensen), is exact where
events come in clumps of phi, and right to second order where the variance is phi times the binomial one. Noise of the
rates from interval to interval makes the variance V grow to V (1 + sigma^2 V), so phi must grow with traffic:

    phi = a + b (1/P1 + 1/P2) V,    V = x (N - x) n1 n2 / (N^2 (N - 1)),   x, N of both versions together, P pods.

Nothing is known of the noise before a history was seen; `a` and `b` are then fall-backs.
"""

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from analyzer.core.judge.evalues import FloatArray, Tables

CLUMPING: Final = 1.5
"""a: events per clump (retries)."""
NOISE_ERRORS: Final = 0.10
NOISE_LATENCY: Final = 0.02
"""b: variance of the log-odds between intervals, of one pod."""
POD_SPREAD_ERRORS: Final = 0.15
POD_SPREAD_LATENCY: Final = 0.08
"""Standard deviation of the log-odds between pods of one version."""
_POD_QUANTILE: Final = 1.64


def pod_noise(pods1: "FloatArray", pods2: "FloatArray") -> "FloatArray":
    """1/P1 + 1/P2, counting at least one pod each."""
    return 1.0 / np.maximum(pods1, 1.0) + 1.0 / np.maximum(pods2, 1.0)


def pod_tolerance(spread: "FloatArray | float", noise: "FloatArray") -> "FloatArray":
    """Log-odds by which two sets of pods may differ for good though they run the same code.

    No test can tell a slow node from a slow version, so this goes into the tolerance, not into phi. With one pod on
    each side it allows odds 1.42 times as high for errors and 1.20 times for latency.
    """
    return _POD_QUANTILE * spread * np.sqrt(noise)


def conditional_variance(tables: "Tables", share: "FloatArray") -> "FloatArray":
    """Hypergeometric variance of the canary's events, given that `share` of all requests are events."""
    n = np.maximum(tables.n1 + tables.n2, 2.0)
    return share * (1.0 - share) * tables.n1 * tables.n2 / (n - 1.0)


def pooled_share(tables: "Tables") -> "FloatArray":
    """Observed share of events among the requests of both versions."""
    return (tables.x1 + tables.x2) / np.maximum(tables.n1 + tables.n2, 1.0)


def phi_harm(tables: "Tables", *, q1: "FloatArray", noise: "FloatArray", b: "FloatArray | float") -> "FloatArray":
    """Dispersion for evidence of harm: V is the larger of the observed and the predicted one."""
    share = pooled_share(tables)
    spread = np.maximum(conditional_variance(tables, share), conditional_variance(tables, q1))
    return CLUMPING + b * noise * spread


def phi_proof(tables: "Tables", *, q1: "FloatArray", noise: "FloatArray", b: "FloatArray | float") -> "FloatArray":
    """Dispersion for evidence of non-inferiority: V is the predicted one only.

    With the observed V quiet intervals would count more than loud ones, and quiet ones are those that speak for the
    canary.
    """
    return CLUMPING + b * noise * conditional_variance(tables, q1)
