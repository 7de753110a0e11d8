"""Absolute limits, tested on the canary's counts alone.

Null: in every interval at most a share `limit` of the canary's requests are events. With m > 1,

    log e = x2 ln m - n2 limit (m - 1)

has E[e] <= 1 there: (1 + p2 (m - 1))^n2 <= exp(n2 p2 (m - 1)). It is E1 with tau = 0. The limit of the error rate takes
errors as events; that of the p99 takes the requests above the lowest histogram edge at or above the limit: if more than
1 % are, the 99th percentile is above that edge. Where no edge is that high, nothing can be said.
"""

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from analyzer.core.judge.evalues import FloatArray

NAMES: Final = ("error rate", "p99")
_EFFECTS: Final = np.array([1.25, 1.7, 2.5, 6.0, 30.0, 500.0])
_P99_SHARE: Final = 0.01


def evidence(x2: "FloatArray", n2: "FloatArray", *, limit: "FloatArray", phi: "FloatArray") -> "FloatArray":
    """Log e that the canary's share of events is above the limit, per effect.

    Parameters
    ----------
    x2, n2 : ndarray, shape (R,)
        Events and requests of the canary [count].
    limit : ndarray, shape (R,)
        Largest allowed share; NaN: no limit, and 0 is returned.
    phi : ndarray, shape (R,)
        Dispersion.

    Returns
    -------
    ndarray, shape (R, L)
        Tempered.
    """
    known = np.isfinite(limit) & (limit < 1.0)
    share = np.where(known, np.clip(limit, 1e-12, 1.0), 0.5)[:, None]
    m = np.minimum(_EFFECTS, 1.0 / share)
    log_e = (x2[:, None] * np.log(m) - n2[:, None] * share * (m - 1.0)) / phi[:, None]
    return np.where(known[:, None], log_e, 0.0)


def p99_rows(
    edges_ms: "FloatArray", limit_ms: "FloatArray"
) -> tuple["np.ndarray[tuple[int], np.dtype[np.intp]]", "FloatArray"]:
    """Find the channel of the edge that a limit of the p99 is tested at.

    Parameters
    ----------
    edges_ms : ndarray, shape (R, E)
        Histogram edges [ms].
    limit_ms : ndarray, shape (R,)
        The limits [ms]; NaN: none.

    Returns
    -------
    tuple of ndarray, shape (R,)
        The channel (1 + edge), and the largest allowed share above it; NaN where there is nothing to test.
    """
    enough = edges_ms >= limit_ms[:, None]
    there = enough.any(axis=1) if edges_ms.shape[1] else np.zeros(len(edges_ms), np.bool_)
    edge = enough.argmax(axis=1) if edges_ms.shape[1] else np.full(len(edges_ms), -1)
    return np.where(there, edge + 1, 0), np.where(there, _P99_SHARE, np.nan)
