"""One histogram edge per rollout: the one that a slowdown of everything changes most.

How much of the warm-up envelope a canary needs is asked there, with E2.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from analyzer.core.judge import dispersion, tolerance
from analyzer.core.judge.evalues import Tables, gro_ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.batch import Columns
    from analyzer.core.judge.evalues import FloatArray
    from analyzer.core.judge.prediction import Prediction

_EVEN: Final = (0.04, 0.96)
"""E2 is for common events on both sides."""
_NEAREST: Final = 0.85
CAUTION: Final = 0.9
"""How slow the canary is at most is tested against this part of a shift: reading it off coarse buckets errs."""


@dataclass(frozen=True, slots=True)
class OneEdge:
    """The tables of K rollouts at their edges.

    Attributes
    ----------
    rows : ndarray, shape (K,)
        Which rollouts have such an edge.
    tables : Tables, shape (K, 1)
        Of the rarer side of the edge: slow requests or, where more than half are slow, fast ones.
    flipped : ndarray, shape (K, 1), bool
        Where it is the fast ones.
    curve
        The stable version's latency at the edge, shape (K, 1).
    phi : ndarray, shape (K, 1)
        Dispersion, for proof.
    so_far : ndarray, shape (K, 1)
        Shift of the canary's log-odds in all intervals before; infinity before the first.
    """

    rows: "NDArray[np.intp]"
    tables: Tables
    flipped: "NDArray[np.bool_]"
    curve: tolerance.Curve
    phi: "FloatArray"
    so_far: "FloatArray"

    def log_e(self, boundary: "FloatArray", guess: "FloatArray") -> "FloatArray":
        """Give log e, not tempered, of shifts of the log-odds against a boundary.

        Parameters
        ----------
        boundary, guess : ndarray, shape (K, M)
            Shift that is the boundary, and that which the canary may have: beyond it for harm, before it for proof.
        """
        at_boundary, at_guess, q1 = (
            tolerance.share_of(np.where(self.flipped, -1.0, 1.0) * (self.curve.log_odds + shift))
            for shift in (boundary, guess, 0.0)
        )
        return gro_ratio(self.tables, q1=q1, q2=at_guess, ratio=at_boundary / q1)

    def less_than(self, extra: "FloatArray") -> "FloatArray":
        """Give log e, tempered, that the canary is slower by less than `extra`, shape (K, M).

        Half each on two guesses: that the canary goes on as it was, and that it is slower by half as much.
        """
        boundary, half = (CAUTION * self.curve.shift(np.log1p(extra * part)) for part in (1.0, 0.5))
        as_before = np.clip(self.so_far, 0.0, _NEAREST * boundary)
        two = [self.log_e(boundary, guess) / self.phi for guess in (as_before, half)]
        log_e: FloatArray = np.logaddexp(*two) - np.log(2.0)
        return log_e


def choose(
    records: "NDArray[np.void]",
    columns: "Columns",
    *,
    wanted: "NDArray[np.bool_]",
    prediction: "Prediction",
    curve: tolerance.Curve,
    comparable: "NDArray[np.bool_]",
    known: dispersion.Known,
) -> OneEdge:
    """Choose the edges of the rollouts that are `wanted` and have one; by the intervals before only."""
    share = prediction.share[:, 1:]
    usable = (comparable & prediction.known)[:, 1:] & (share > _EVEN[0]) & (share < _EVEN[1])
    rows = np.flatnonzero(wanted & usable.any(axis=1))
    worth = np.where(usable[rows], share[rows] * (1.0 - share[rows]) * curve.below[rows] ** 2, -1.0)
    edge = worth.argmax(axis=1) if rows.size else rows
    channel = edge + 1
    q1 = share[rows, edge]
    n1, n2, x1, x2 = (a[rows, v, channel] for a, v in ((columns.n, 0), (columns.n, 1), (columns.x, 0), (columns.x, 1)))
    plain = Tables(x1=x1, n1=n1, x2=x2, n2=n2)
    noise = dispersion.pod_noise(columns.pods[rows, 0], columns.pods[rows, 1])
    part = dispersion.Known(known.clump[rows, channel], known.noise[rows, channel], known.base[rows, 0])
    flipped = (q1 > 0.5)[:, None]
    totals = records["histogram"][rows]
    so_far = _log_odds(totals[:, 1], channel) - _log_odds(totals[:, 0], channel)
    return OneEdge(
        rows=rows,
        tables=Tables(
            x1=np.where(flipped, (n1 - x1)[:, None], x1[:, None]),
            n1=n1[:, None],
            x2=np.where(flipped, (n2 - x2)[:, None], x2[:, None]),
            n2=n2[:, None],
        ),
        flipped=flipped,
        curve=tolerance.Curve(
            *(a[rows, edge][:, None] for a in (curve.log_odds, curve.below, curve.local, curve.width))
        ),
        phi=dispersion.phi(part, noise * dispersion.proof_variance(plain, q1))[:, None],
        so_far=np.where((totals.sum(axis=2) > 0).all(axis=1), so_far, np.inf)[:, None],
    )


def _log_odds(histogram: "NDArray[np.int64]", channel: "NDArray[np.intp]") -> "FloatArray":
    """Log-odds of the share above one edge each, shape (K,); edge j is channel 1 + j."""
    above = np.where(np.arange(histogram.shape[1]) >= channel[:, None], histogram, 0).sum(axis=1)
    log_odds: FloatArray = np.log((above + 0.5) / (histogram.sum(axis=1) - above + 0.5))
    return log_odds
