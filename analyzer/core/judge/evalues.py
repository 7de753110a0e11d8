"""The two e-values: evidence of one 2 x 2 table (x1 of n1 at the stable version, x2 of n2 at the canary).

Both test, in one interval, the null hypothesis "the canary is on the allowed side of a boundary", whatever the stable
version's own rate p1 is, and both have E[e] <= 1 there. So their product over intervals is a test martingale, and by
Ville's inequality the chance that it ever reaches 1/alpha is at most alpha. The guesses q1 (of p1) and q2 (of p2 where
the null is false) are made before the counts are seen; they change the power, never the validity.

On which side of the boundary q2 lies says what is tested: beyond it, harm (null: no worse than the boundary); before
it, non-inferiority (null: at least as bad as the boundary). q2 on the boundary gives e = 1.

References
----------
E1 with delta = 0: Lindon & Malek, Anytime-Valid Inference for Multinomial Count Data, NeurIPS 2022, section 4.
E2: Turner, Ly & Grünwald, Generic E-Variables for Exact Sequential k-Sample Tests, arXiv 2106.02693; Hao et al.,
E-values for k-Sample Tests With Exponential Families, Sankhya A 2024.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FloatArray: TypeAlias = "NDArray[np.float64]"

TINY: Final = 1e-300
_ALMOST_ONE: Final = 1.0 - 1e-12
_LEAST: Final = 1e-15
_STEPS: Final = 10


@dataclass(frozen=True, slots=True)
class Tables:
    """Many 2 x 2 tables; all fields broadcast together.

    Attributes
    ----------
    x1, n1 : ndarray, float64
        Events and requests of the stable version [count], 0 <= x1 <= n1.
    x2, n2 : ndarray, float64
        The same of the canary.
    """

    x1: FloatArray
    n1: FloatArray
    x2: FloatArray
    n2: FloatArray


def poisson_affine(tables: Tables, *, q1: FloatArray, q2: FloatArray, tau: FloatArray, delta: FloatArray) -> FloatArray:
    """E1, for rare events: the boundary is p2 = tau * p1 + delta.

    With e = u^x2 * v^x1 * exp(-n2 delta (u - 1)) and v = 1 - tau g (u - 1), g = n2/n1: since 1 + z <= e^z, E[e] <=
    exp{n2 (u - 1) (p2 - tau p1 - delta)}, which is at most 1 on the null for binomial and Poisson counts alike. u is
    the value that makes E[log e] largest under (q1, q2).

    Parameters
    ----------
    tables
        The counts.
    q1, q2
        Guesses of both rates, in (0, 1].
    tau, delta
        The boundary: tau >= 0, delta >= 0.

    Returns
    -------
    ndarray, float64
        log e, finite; 0 where either version had no requests.
    """
    usable = (tables.n1 > 0) & (tables.n2 > 0)
    n2 = np.where(usable, tables.n2, 1.0)
    tau_g = tau * (n2 / np.where(usable, tables.n1, 1.0))
    q1 = np.clip(q1, _LEAST, 1.0)
    q2 = np.clip(q2, _LEAST, 1.0)
    a = delta * tau_g
    b = q2 * tau_g + tau * q1 + delta * (1.0 + tau_g)
    c = q2 * (1.0 + tau_g)
    u = 2.0 * c / (b + np.sqrt(np.maximum(b * b - 4.0 * a * c, 0.0)))
    # The same v in two forms: each keeps its digits where the other loses them (the second holds at the optimum).
    direct = 1.0 - tau_g * (u - 1.0)
    optimal = tau * q1 * u / np.maximum(q2 - delta * u, TINY)
    v = np.maximum(np.where(u > 1.0, optimal, direct), TINY)
    log_e = tables.x2 * np.log(u) + tables.x1 * np.log(v) - n2 * delta * (u - 1.0)
    return np.where(usable, log_e, 0.0)


def gro_ratio(tables: Tables, *, q1: FloatArray, q2: FloatArray, ratio: FloatArray) -> FloatArray:
    """E2, for common events: the boundary is p2 = ratio * p1.

    The likelihood of (q1, q2) over that of (pi, ratio * pi), its Kullback-Leibler projection onto the boundary. By the
    optimality (KKT) conditions of the projection E[e] <= 1 on the whole convex null.

    Parameters
    ----------
    tables
        The counts.
    q1, q2
        Guesses of both rates, in (0, 1).
    ratio
        The boundary, > 0, with ratio * q1 < 1.

    Returns
    -------
    ndarray, float64
        log e, finite; 0 where either version had no requests.
    """
    usable = (tables.n1 > 0) & (tables.n2 > 0)
    q1 = np.clip(q1, _LEAST, _ALMOST_ONE)
    q2 = np.clip(q2, _LEAST, _ALMOST_ONE)
    # Shares instead of counts: the projection depends on n1 : n2 only, and shares cannot overflow.
    share2 = np.where(usable, tables.n2, 1.0) / np.where(usable, tables.n1 + tables.n2, 1.0)
    share1 = 1.0 - share2
    a = ratio
    weighed = share2 * q2
    b = (share1 * (1.0 + ratio * q1) + share2 * ratio) + weighed
    c = share1 * q1 + weighed
    # Half of the judge's arithmetic is here, so it is done in place: pi = 2 c / (b + sqrt(b^2 - 4 a c)), and the logarithms.
    pi: FloatArray = np.multiply(b, b, out=np.empty(np.broadcast_shapes(b.shape, c.shape)))
    pi -= (4.0 * a) * c
    np.sqrt(np.maximum(pi, 0.0, out=pi), out=pi)
    pi += b
    np.divide(2.0 * c, pi, out=pi)
    np.minimum(np.maximum(pi, TINY, out=pi), np.minimum(1.0, 1.0 / ratio) * _ALMOST_ONE, out=pi)
    pi2 = ratio * pi
    log_e = tables.x2 * np.log(q2 / pi2)
    log_e += (tables.n2 - tables.x2) * _log_of_rest(q2, pi2)
    log_e += tables.x1 * np.log(q1 / pi)
    log_e += (tables.n1 - tables.x1) * _log_of_rest(q1, pi)
    return log_e if usable.all() else np.where(usable, log_e, 0.0)


def _log_of_rest(q: FloatArray, pi: FloatArray) -> FloatArray:
    """Give log((1 - q) / (1 - pi)), in the memory of `pi` where it has any."""
    out = pi if pi.ndim else None
    rest = np.divide(1.0 - q, np.subtract(1.0, pi, out=out), out=out)
    log_ratio: FloatArray = np.log(rest, out=out)
    return log_ratio


def gro_affine(tables: Tables, *, q1: FloatArray, q2: FloatArray, tau: FloatArray, delta: FloatArray) -> FloatArray:
    """E2 with the boundary of E1, p2 = tau * p1 + delta, for events that are neither rare nor a mere ratio.

    The likelihood of (q1, q2) over that of its Kullback-Leibler projection (pi, tau pi + delta) onto the boundary. The
    projection is the root of an increasing function; it is bracketed and found by Newton's method. E1 gives away a
    factor 1 - p of the evidence: a tenth at 10 % errors.

    Parameters
    ----------
    tables
        The counts.
    q1, q2
        Guesses of both rates, in (0, 1).
    tau, delta
        The boundary: tau > 0, delta >= 0, tau * q1 + delta < 1.

    Returns
    -------
    ndarray, float64
        log e, finite; 0 where either version had no requests.
    """
    usable = (tables.n1 > 0) & (tables.n2 > 0)
    q1 = np.clip(q1, _LEAST, _ALMOST_ONE)
    q2 = np.clip(q2, _LEAST, _ALMOST_ONE)
    share2 = np.where(usable, tables.n2, 1.0) / np.where(usable, tables.n1 + tables.n2, 1.0)
    most = np.minimum(1.0, (1.0 - delta) / tau) * _ALMOST_ONE
    aim = np.clip((q2 - delta) / tau, TINY, most)
    low, high = np.minimum(q1, aim), np.maximum(q1, aim)
    pi = (1.0 - share2) * q1 + share2 * aim
    for _ in range(_STEPS):
        value, slope = _stationary(pi, q1=q1, q2=q2, tau=tau, delta=delta, share2=share2)
        low, high = np.where(value < 0, pi, low), np.where(value < 0, high, pi)
        step = pi - value / np.where(slope > 0, slope, np.nan)  # NaN: the middle is taken
        pi = np.where((step >= low) & (step <= high), step, 0.5 * (low + high))
    pi2 = np.clip(tau * pi + delta, TINY, _ALMOST_ONE)
    log_e = tables.x2 * np.log(q2 / pi2)
    log_e += (tables.n2 - tables.x2) * np.log((1.0 - q2) / (1.0 - pi2))
    log_e += tables.x1 * np.log(q1 / pi)
    log_e += (tables.n1 - tables.x1) * np.log((1.0 - q1) / (1.0 - pi))
    return np.where(usable, log_e, 0.0)


def _stationary(
    pi: FloatArray, *, q1: FloatArray, q2: FloatArray, tau: FloatArray, delta: FloatArray, share2: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Give the derivative of the divergence of (q1, q2) from (pi, pi2), times pi (1 - pi) pi2 (1 - pi2), and its slope.

    pi2 = tau pi + delta. Multiplied out it is a cubic without poles, which Newton's method likes.
    """
    pi2 = tau * pi + delta
    spread, spread2 = pi * (1.0 - pi), pi2 * (1.0 - pi2)
    share1, weight2 = 1.0 - share2, share2 * tau
    value = share1 * (pi - q1) * spread2 + weight2 * (pi2 - q2) * spread
    slope = share1 * (spread2 + (pi - q1) * tau * (1.0 - 2.0 * pi2))
    slope = slope + weight2 * (tau * spread + (pi2 - q2) * (1.0 - 2.0 * pi))
    return value, slope
