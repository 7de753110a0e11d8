"""Evidence of harm: one mixture over channels, effect sizes and start times.

Each channel owns a purse. Half of it is bet from the first interval on, evenly over the effect sizes; of the rest
("cash") a 64th joins every 15 seconds, so that a leak that begins late finds fresh money. What was bet multiplies by e
in each interval. A weighted mean of such products is an e-process under any dependence between channels and the only
admissible way to merge them (Vovk & Wang 2021), hence: one alpha for the whole rollout, and no correction for looking
often. It never starts anew.

One interval's log-evidence is capped at log(1/alpha): min(e, c) is still an e-value, and no blip of one interval can
roll back.
"""

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from analyzer.core.judge.evalues import FloatArray

ERROR_EFFECTS: Final = (1.3, 1.7, 2.5, 4.0, 8.0, 20.0, 60.0, 250.0, 1000.0)
LATENCY_EFFECTS: Final = (1.05, 1.1, 1.2, 1.4, 1.8, 3.0, 6.0, 20.0, 100.0)
EFFECTS: Final = np.array([ERROR_EFFECTS, LATENCY_EFFECTS])
"""shape (2, L): how many times worse than the boundary the canary might be (errors; latency, on the odds)."""
N_EFFECTS: Final = EFFECTS.shape[1]

WEIGHT_ERRORS: Final = 0.45
WEIGHT_LATENCY: Final = 0.45
WEIGHT_IDLE: Final = 0.10
"""Kept for requests that never complete; until that channel bets it stays cash, and its factor is 1."""
_REST_SHARE: Final = 0.12
_BODY: Final = (1e-4, 0.985)

START_SHARE: Final = 0.5
_START_RATE: Final = 1.0 / 64.0
_START_SECONDS: Final = 15.0
_LONGEST_S: Final = 3600.0


def start_rate(seconds: "FloatArray") -> "FloatArray":
    """Part of the cash that joins in an interval of this length: 1/64 per 15 s, however they are cut into intervals."""
    rate: FloatArray = -np.expm1(np.log1p(-_START_RATE) * np.clip(seconds, 0.0, _LONGEST_S) / _START_SECONDS)
    return rate


def is_body(share: "FloatArray", slow: "FloatArray", fast: "FloatArray") -> "FloatArray":
    """Mark the edges where the stable version has requests on both sides: they get the full weight (1, else 0).

    Parameters
    ----------
    share
        Predicted share above the edge.
    slow, fast
        Requests of the stable version seen above and below it [count].
    """
    return ((share > _BODY[0]) & (share < _BODY[1]) & (slow >= 1.0) & (fast >= 1.0)).astype(np.float64)


def edge_weights(body: "FloatArray") -> "FloatArray":
    """Weights of the edges within latency, shape (R, E), each row summing to 1."""
    raw = np.where(body > 0, 1.0, _REST_SHARE)
    weights: FloatArray = raw / np.maximum(raw.sum(axis=-1, keepdims=True), 1e-300)
    return weights


def bet(
    log_a: "FloatArray", log_cash: "FloatArray", *, increment: "FloatArray", rate: "FloatArray"
) -> tuple["FloatArray", "FloatArray"]:
    """Play one interval in K channels.

    Parameters
    ----------
    log_a : ndarray, shape (K, L)
        Logarithm of what is bet on each effect.
    log_cash : ndarray, shape (K,)
        Logarithm of what is not bet yet.
    increment : ndarray, shape (K, L)
        log e of the interval, tempered and capped.
    rate : ndarray, shape (K,)
        Part of the cash that joins before the interval, in [0, 1).

    Returns
    -------
    tuple of ndarray
        The new `log_a` and `log_cash`.
    """
    fresh = np.log(np.maximum(rate, 1e-300)) + log_cash - np.log(N_EFFECTS)
    return np.logaddexp(log_a, fresh[:, None]) + increment, log_cash + np.log1p(-rate)


def log_mean(log_values: "FloatArray", log_weights: "FloatArray | float" = 0.0) -> "FloatArray":
    """Logarithm of the weighted sum over the last axis."""
    terms = log_values + log_weights
    top = terms.max(axis=-1, keepdims=True)
    total: FloatArray = np.log(np.exp(terms - top).sum(axis=-1)) + top[..., 0]
    return total


def channel_evidence(log_a: "FloatArray", log_cash: "FloatArray") -> "FloatArray":
    """Log E of each channel: what is bet and what is not."""
    return np.logaddexp(log_mean(log_a), log_cash)
