"""Proof that the canary may have more traffic.

Per margin: five claims, each with an e-process of its own against "the canary is at or beyond the margin". PROVEN needs
all of them (intersection-union: no correction for their number). The margins spend a constant budget: the next weight
times what an undetected regression may do stays the same, so a small weight needs a weak claim only.

- errors: p2 >= tau p1 + delta_s, with delta_s = clip(budget / next, budget, 2 %)
- latency, at three edges: slower by x_s = clip(10 % / next, 10 %, 100 %), whatever the budget; tail edges (share below
  5 %) may have delta_s more. The edges are those nearest a share of 50 %, 15 % and 1.5 % at the step's first
  interval with data.
- completions: the canary completed at most 85 % of what its weight sent it. Requests that hang are in no counter, so
  without this claim a canary that hangs a fifth of its requests looks harmless.

A step by itself has one margin and begins from nothing. A ramp has a ladder of them, all fed by every interval, and
tested in order, loosest first: a margin counts while it and all looser ones are proven. A canary that is truly beyond a
margin is beyond the tighter ones too; to be called proven wrongly it must first pass the loosest of those, so one level
of error covers the whole ramp, steps without proof included (fixed-sequence testing; Maurer, Hothorn & Lehmacher 1995).

What is bet: most of it from the first interval; the rest ("cash") joins bit by bit, so that a process that young pods or
one bad interval took far down can begin again. Sums of products that begin at different times are e-processes. Winnings
above a ceiling are thrown away in each interval, and at each step all but `CARRIED`: with M' <= M, E[M' e] <= M, so a
process that gives away what it has stays a test supermartingale. So proof must be fresh: it has to be won again in part
at every weight, and a canary that turns bad loses it in a few intervals, not in as many as it was good.

Errors that nobody can attribute are counted as the canary's, so what is proven holds whosever they were; while they are
too many for the margin, the claim on errors fails and nothing is proven.

Margins and edges are set before the counts they are applied to.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy.special import logit

from analyzer.core.judge.completions import KEPT_SHARE
from analyzer.core.judge.harm import LEAST, MOST_AT_ONCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.evalues import FloatArray

CLAIMS: Final = ("errors", "latency p50", "latency p85", "latency p98.5", "completions")
N_LATENCY_CLAIMS: Final = 3
COMPLETIONS: Final = len(CLAIMS) - 1
_LATENCY_SHARES: Final = np.array([0.5, 0.15, 0.015])

GUESSES: Final = np.array([[0.7, 1.0, 1.15], [0.97, 1.0, 1.03]])
"""shape (2, G): the canary's rate over the stable version's, where it is harmless (errors; latency)."""
N_GUESSES: Final = GUESSES.shape[1]
PRIOR: Final = np.array([0.15, 0.7, 0.15])
START_SHARE: Final = 0.75
_START_RATE: Final = 1.0 / 16.0
_START_SECONDS: Final = 15.0
CARRIED: Final = 2.5
CARRIED_COMPLETIONS: Final = 2.5
"""Log evidence that a new step begins with at most; proof needs 3 at the default false proof."""
_HEADROOM: Final = 1.0
"""Log evidence above the threshold that is kept at most."""

TAIL_ALLOWANCE: Final = 1.0
"""Part of the error margin by which more requests than "slower by x" says may lie above a tail edge: a request that is
slow hurts no more than one that fails, and the budget is for both."""
_LARGEST_ERROR_MARGIN: Final = 0.02
_LATENCY_MARGIN: Final = (0.1, 1.0)


class Margins(NamedTuple):
    """What the next weight allows, shape (R,); NaN where nothing is to be proven."""

    delta: "FloatArray"
    slower: "FloatArray"


def margins(harm_budget: "FloatArray", next_weight: "FloatArray") -> Margins:
    """Compute the margins.

    Parameters
    ----------
    harm_budget
        Share of all requests that may be hurt [ratio].
    next_weight
        The weight that proof would allow [per cent]; NaN if none.

    Returns
    -------
    Margins
        Additional error rate and slowdown [ratio].
    """
    share = np.clip(next_weight, 1e-9, 100.0) / 100.0
    return Margins(
        delta=np.maximum(np.minimum(harm_budget / share, _LARGEST_ERROR_MARGIN), np.minimum(harm_budget, 1.0)),
        slower=np.where(np.isnan(next_weight), np.nan, np.clip(_LATENCY_MARGIN[0] / share, *_LATENCY_MARGIN)),
    )


def choose_edges(share: "FloatArray", known: "NDArray[np.bool_]") -> "NDArray[np.int32]":
    """Find, per row, the edges whose share of slow requests is nearest (in log-odds) to 50 %, 15 % and 1.5 %.

    Parameters
    ----------
    share : ndarray, shape (R, E)
        The stable version's share above each edge.
    known : ndarray, shape (R, E), bool
        Edges that may be chosen.

    Returns
    -------
    ndarray, shape (R, 3), int32
        Edge numbers; -1 where none is known.
    """
    distance = np.abs(logit(share)[:, None, :] - logit(_LATENCY_SHARES)[:, None])
    distance = np.where(known[:, None, :], distance, np.inf)
    nearest = distance.argmin(axis=-1).astype(np.int32)
    return np.where(known.any(axis=-1, keepdims=True), nearest, np.int32(-1))


def describe(delta: float, slower: float, *, error_tolerance: float) -> str:
    """Say in words what is being proven."""
    if np.isnan(delta):
        return ""
    return (
        f"errors at most {1 + error_tolerance:.4g} × stable + {delta:.2%}, latency at most +{slower:.0%}, "
        f"at least {KEPT_SHARE:.0%} of its requests completed"
    ).replace("%", " %")


def begin(records: "NDArray[np.void]") -> None:
    """Give records that nothing was bet in yet their first bets, in place."""
    records["ni_kept"] = 1.0
    start_step(records, np.arange(len(records)), carried=np.zeros(len(records), np.bool_))


def start_step(records: "NDArray[np.void]", rows: "NDArray[np.intp]", *, carried: "NDArray[np.bool_]") -> None:
    """Begin a step, in place.

    What completions must prove is the same at each margin, so their evidence always goes on; all of it is bet.

    Parameters
    ----------
    records : ndarray, shape (R,)
        In `state.layout`.
    rows : ndarray, shape (M,)
        Which of them begin a step.
    carried : ndarray, shape (M,), bool
        Those of them whose margins are those of the step before.
    """
    kept = records["ni_kept"][rows].astype(np.float64)
    anew, on = rows[~carried], rows[carried]
    records["ni_bets"][anew] = START_SHARE * PRIOR
    records["ni_cash"][anew] = 1.0 - START_SHARE
    records["ni_edges"][anew] = -1
    bets = records["ni_bets"][on].astype(np.float64)
    records["ni_bets"][on] = bets * _least_part(bets.sum(axis=-1, keepdims=True), CARRIED)
    records["ni_kept"][rows] = kept * _least_part(kept, CARRIED_COMPLETIONS)


def _least_part(total: "FloatArray", carried: float) -> "FloatArray":
    part: FloatArray = np.minimum(1.0, np.exp(carried) / np.maximum(total, LEAST))
    return part


def join(cash: "FloatArray", seconds: "FloatArray") -> "FloatArray":
    """Give what of the cash joins the bets in an interval of this length [s], shape (R,)."""
    joins: FloatArray = cash * -np.expm1(np.log1p(-_START_RATE) * np.clip(seconds, 0.0, 3600.0) / _START_SECONDS)
    return joins


def ceiling(false_proof: "FloatArray") -> "FloatArray":
    """Give the most that a bet may grow to, shape (R,)."""
    most: FloatArray = np.exp(_HEADROOM) / false_proof
    return most


def win(bets: "FloatArray", log_e: "FloatArray", most: "FloatArray") -> "FloatArray":
    """Multiply bets by e, within what is kept."""
    won: FloatArray = np.clip(bets * np.exp(np.minimum(log_e, MOST_AT_ONCE)), LEAST, most)
    return won
