"""What the stable version is expected to do in the next interval, from its intervals so far.

Everything that a bet needs (q1, the kind of an edge, its tolerance, whether it takes part) comes from this running mean,
so it is fixed before the interval's counts are seen. A history primes it. Without one, the stable version's first
interval only feeds the mean of latency, and its evidence is 1; errors are bet on with a guess. Kinds and tolerances are
taken anew in each interval, as the mean moves.

A tolerance is read off a histogram, and holds for that alone. Where the stable version's latency changes at once (it was
overloaded, and has more pods now), the mean of two minutes is of a service that is no more, and what a harmless canary is
allowed by it may be too little. So latency's mean begins anew with an interval that is far from it. That interval itself was
bet on as before: it is one, and capped. Only the stable version's past is looked at: all that a bet needs stays fixed before
its counts are seen.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.batch import Columns
    from analyzer.core.judge.evalues import FloatArray

_HALF_LIFE_S: Final = 120.0
_LEAST_HALF_LIVES: Final = 1.0 / 8.0
"""Half-life of the mean: 120 s (8 intervals of 15 s), and never less than 8 intervals."""
_UNKNOWN_ERRORS: Final = 0.005
"""Error rate that is expected of a stable version that was never seen: a wrong guess costs power, never validity."""
_FAR: Final = 0.5
_SURE: Final = 5.0
"""Log-odds of an edge by which an interval is far from the mean, after so many standard errors of chance."""
_NOTHING: Final = 0.05
"""Running means of fewer requests than this count as none."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The stable version's expected rates.

    Attributes
    ----------
    share : ndarray, shape (R, C)
        q1: expected share of events per channel, in (0, 1).
    slow, fast : ndarray, shape (R, C)
        Events and other requests in the running mean [count].
    known : ndarray, shape (R, C), bool
        Channels of which anything was seen.
    """

    share: "FloatArray"
    slow: "FloatArray"
    fast: "FloatArray"
    known: "NDArray[np.bool_]"

    def informative(self) -> "NDArray[np.bool_]":
        """Mark the channels worth betting on: errors, and the edges that are not empty copies of their neighbours.

        Above the lowest edge that the stable version (almost) never passes, every further edge has the same
        expectation and fewer of the canary's requests. Below its fastest request there is nothing to lose.
        """
        known = self.known.copy()
        known[:, 0] = True
        known[:, 1:] &= self.fast[:, 1:] >= _NOTHING
        known[:, 2:] &= self.slow[:, 1:-1] >= _NOTHING
        return known


def predict(records: "NDArray[np.void]") -> Prediction:
    """Expect what the running mean says, (x + 1/2) / (n + 1)."""
    n, x = records["mean_n"], records["mean_x"]
    share = (x + 0.5) / (n + 1.0)
    share[:, 0] = np.where(n[:, 0] > 0, share[:, 0], _UNKNOWN_ERRORS)
    return Prediction(share=share, slow=x, fast=n - x, known=n > 0)


def keep_rate(seconds: "FloatArray | float") -> "FloatArray":
    """Say what is left of the running mean after an interval of this length."""
    kept: FloatArray = np.exp2(-np.minimum(np.asarray(seconds) / _HALF_LIFE_S, _LEAST_HALF_LIVES))
    return kept


class Lesson(NamedTuple):
    """What an interval of the stable version does to the running mean, shape (R, C)."""

    keep: "FloatArray"  # what is left of the mean
    n: "FloatArray"
    x: "FloatArray"

    def move(self, n: "FloatArray", x: "FloatArray") -> "tuple[FloatArray, FloatArray]":
        """Give the mean after it. Never below zero "fast" requests by rounding: x is a part of n, term by term."""
        keep = self.keep.copy()
        keep[..., 1:] *= ~self._is_far(n, x)[..., None]
        n = n * keep + self.n
        return n, np.minimum(x * keep + self.x, n)

    def _is_far(self, n: "FloatArray", x: "FloatArray") -> "NDArray[np.bool_]":
        """Tell whether its latency is another than the mean's, by more than chance, shape (R,)."""
        slow = np.stack([self.x[..., 1:], x[..., 1:]]) + 0.5
        fast = np.stack([self.n[..., 1:] - self.x[..., 1:], n[..., 1:] - x[..., 1:]]) + 0.5
        now, before = np.log(slow / fast)
        error = np.sqrt((1.0 / slow + 1.0 / fast).sum(axis=0))
        apart = np.abs(now - before) > _FAR + _SURE * error
        far: NDArray[np.bool_] = (apart & (self.n[..., 1:] > 0)).any(axis=-1)
        return far


def lesson(columns: "Columns") -> Lesson:
    """Read off what an interval teaches; one without requests teaches nothing."""
    seen = columns.present & (columns.n[:, 0] > 0)
    keep = np.where(seen, keep_rate(columns.seconds)[:, None], 1.0)
    return Lesson(keep, np.where(seen, columns.n[:, 0], 0.0), np.where(seen, columns.x[:, 0], 0.0))
