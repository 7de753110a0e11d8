"""Evidence of harm: one mixture over channels, effect sizes and start times.

Each channel owns a purse. Most of it is bet from the first interval on, spread over the effect sizes; of the rest
("cash") a 64th joins every 15 seconds, so that a leak that begins late finds fresh money. Where young pods are excused, a
bet on latency loses while the excuse is wide: there less is bet at first, and the cash joins while the pods grow up.
What was bet multiplies by e in each interval. A weighted mean of such products is an e-process under any dependence
between channels and the only admissible way to merge them (Vovk & Wang 2021), hence: one alpha for the whole rollout, and no
correction for looking often. It never starts anew.

One interval's log-evidence is capped: min(e, c) is still an e-value. The cap is a little more than half of what the
threshold takes after the mixture's losses: two intervals of an outage are enough, and a blip of one interval stays so far
below that chance seldom adds the rest (capped at log(1/alpha), 1.3 % of rollouts with a blip were rolled back; now 0.6 %).

Rows of a purse: 0 errors, 1 + j edge j, then completions and the two absolute limits. Weights of the channels sum to
0.9 where the canary has to show its warm-up: the last tenth of alpha is what that may err (`warmup`). Else to 1.
"""

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.evalues import FloatArray

ERROR_EFFECTS: Final = (1.4, 2.3, 3.8, 8.5, 40.0, 600.0)
LATENCY_EFFECTS: Final = (1.08, 1.2, 1.45, 2.1, 6.0, 50.0)
EFFECTS: Final = np.array([ERROR_EFFECTS, LATENCY_EFFECTS])
"""shape (2, L): how many times worse than the boundary the canary might be (errors; latency, on the odds)."""
N_EFFECTS: Final = EFFECTS.shape[1]
PRIOR: Final = np.array([0.28, 0.27, 0.19, 0.13, 0.08, 0.05])
"""shape (L,): what of a purse is bet on each effect. Large effects win fast enough with little."""

SOLO: Final = 3
COMPLETIONS, LIMIT_ERRORS, LIMIT_P99 = range(-SOLO, 0)
"""Rows after those of errors and edges."""

WEIGHT_ERRORS: Final = 0.52
WEIGHT_LATENCY: Final = 0.30
WEIGHT_COMPLETIONS: Final = 0.08
WEIGHT_WARM_UP: Final = 0.10
_WEIGHT_LIMIT: Final = 0.10
"""Each limit that is set takes a tenth of what the others have."""
REST, BODY, SPARED = range(3)
_RAW_WEIGHTS: Final = np.array([0.12, 1.0, 0.0])
_BODY: Final = (1e-4, 0.985)
_NEAR: Final = 0.4

START_SHARE_ERRORS: Final = 0.8
START_SHARE: Final = 0.65
START_RATE: Final = 1.0 / 64.0
_START_SECONDS: Final = 15.0
_LONGEST_S: Final = 3600.0
_CAP_LOSS: Final = 2.3
"""What the mixture costs an outage (weight of the channel, of the start, of the effects), and a little."""
START_SHARE_YOUNG: Final = 0.35
START_RATE_YOUNG: Final = 1.0 / 8.0
"""The same of latency while young pods are excused."""
LEAST: Final = 1e-30
MOST: Final = 1e30
"""Bets are kept within these, so that single precision holds them; e cut from above is still an e-value, and what the
floor gives away is less than 1e-20 of alpha."""
MOST_AT_ONCE: Final = 600.0


def start_rate(seconds: "FloatArray", per_15_s: float = START_RATE) -> "FloatArray":
    """Part of the cash that joins in an interval of this length: the same per 15 s, however they are cut into intervals."""
    rate: FloatArray = -np.expm1(np.log1p(-per_15_s) * np.clip(seconds, 0.0, _LONGEST_S) / _START_SECONDS)
    return rate


def cap(alpha: "FloatArray") -> "FloatArray":
    """Most log-evidence of one interval, shape (R,): a little more than half of what the threshold takes."""
    most: FloatArray = 0.5 * (_CAP_LOSS - np.log(alpha))
    return np.minimum(most, -np.log(alpha))


def is_body(share: "FloatArray", slow: "FloatArray", fast: "FloatArray") -> "NDArray[np.bool_]":
    """Mark the edges where the stable version has requests on both sides: they get the full weight.

    Parameters
    ----------
    share
        Predicted share above the edge.
    slow, fast
        Requests of the stable version seen above and below it [count].
    """
    return np.asarray((share > _BODY[0]) & (share < _BODY[1]) & (slow >= 1.0) & (fast >= 1.0))


def spare(share: "FloatArray", live: "NDArray[np.bool_]") -> "NDArray[np.bool_]":
    """Mark the edges that say what a lower one says already.

    Dense histograms have many edges that nearly the same requests pass. Of the edges that take part, from the lowest up,
    those are spared whose log-odds are within 0.4 of the last one's that is not.

    Parameters
    ----------
    share : ndarray, shape (R, E)
        The stable version's share above each edge.
    live : ndarray, shape (R, E), bool
        Edges that take part.
    """
    log_odds = np.log(share) - np.log1p(-share)
    last = np.full(len(share), np.inf)
    spared = np.zeros(share.shape, dtype=np.bool_)
    for edge in range(share.shape[1]):
        near = last - log_odds[:, edge] < _NEAR
        spared[:, edge] = live[:, edge] & near
        last = np.where(live[:, edge] & ~near, log_odds[:, edge], last)
    return spared


def edge_weights(body: "NDArray[np.number]") -> "FloatArray":
    """Weights of the edges within latency, shape (R, E), each row summing to 1; `body` is one of REST, BODY, SPARED."""
    raw = _RAW_WEIGHTS[np.asarray(body, dtype=np.intp)]
    weights: FloatArray = raw / np.maximum(raw.sum(axis=-1, keepdims=True), 1e-300)
    return weights


def channel_weights(limits: "NDArray[np.bool_]", *, warm_up_tested: "NDArray[np.bool_]") -> "FloatArray":
    """Weights of errors, latency, completions, limit of errors, limit of p99.

    Parameters
    ----------
    limits : ndarray, shape (R, 2), bool
        Which limits are set.
    warm_up_tested : ndarray, shape (R,), bool
        Where the canary's own pods have to show how they warm up.

    Returns
    -------
    ndarray, shape (R, 5)
        Each row sums to 1, less the share of the warm-up where that is tested.
    """
    count = limits.sum(axis=1)[:, None]
    usual = np.array([WEIGHT_ERRORS, WEIGHT_LATENCY, WEIGHT_COMPLETIONS]) * (1.0 - _WEIGHT_LIMIT * count)
    weights = np.concatenate([usual, limits * (_WEIGHT_LIMIT * (1.0 - WEIGHT_WARM_UP))], axis=1)
    return weights / np.where(warm_up_tested, 1.0, 1.0 - WEIGHT_WARM_UP)[:, None]


def bet(bets: "FloatArray", cash: "FloatArray", *, increment: "FloatArray", rate: "FloatArray") -> "FloatArray":
    """Play one interval.

    Parameters
    ----------
    bets : ndarray, shape (R, C, L)
        What is bet on each effect.
    cash : ndarray, shape (R, C)
        What is not bet yet.
    increment : ndarray, shape (R, C, L)
        log e of the interval, tempered and capped; 0 where nothing was seen.
    rate : ndarray, shape (R, C)
        Part of the cash that joins before the interval, in [0, 1).

    Returns
    -------
    ndarray, shape (R, C, L)
        The new bets. The new cash is `cash * (1 - rate)`.
    """
    fresh = (cash * rate)[..., None] * PRIOR
    played: FloatArray = (bets + fresh) * np.exp(np.minimum(increment, MOST_AT_ONCE))
    return np.minimum(np.maximum(played, LEAST), MOST)


def purses(bets: "NDArray[np.floating]", cash: "NDArray[np.floating]") -> "FloatArray":
    """E of each row, shape (R, C): what is bet and what is not."""
    # A product with ones is several times as fast as a sum over so short an axis.
    total: FloatArray = bets.astype(np.float64) @ np.ones(N_EFFECTS) + cash
    return total


def channels(rows: "FloatArray", body: "NDArray[np.number]") -> "FloatArray":
    """E of errors, latency, completions, limit of errors, limit of p99, shape (R, 5)."""
    edges = rows[:, 1:-SOLO]
    latency = (edges * edge_weights(body)).sum(axis=1) if edges.shape[1] else np.ones(len(rows))
    return np.concatenate([rows[:, :1], latency[:, None], rows[:, -SOLO:]], axis=1)


def total(by_channel: "FloatArray", weights: "FloatArray") -> "FloatArray":
    """Log E of the rollout, shape (R,). What the channels leave free stays cash for ever."""
    log_e: FloatArray = np.log((by_channel * weights).sum(axis=1) + 1.0 - weights.sum(axis=1))
    return log_e


def log_mean(log_values: "FloatArray") -> "FloatArray":
    """Logarithm of the sum over the last axis."""
    top = log_values.max(axis=-1, keepdims=True)
    summed: FloatArray = np.log(np.exp(log_values - top).sum(axis=-1)) + top[..., 0]
    return summed
