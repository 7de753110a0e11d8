"""The tables that take part in an interval, each with its boundary and the e-value that fits it."""

from typing import TYPE_CHECKING, Final

import numpy as np

from analyzer.core.judge.evalues import Tables, gro_affine, gro_ratio, poisson_affine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.evalues import FloatArray

RARE: Final = 0.05
"""Edges with fewer slow requests than this are tested with E1, the others with E2."""
_FREQUENT: Final = 0.03
"""Above this error rate the errors are tested with E2 too."""
_MOST: Final = 0.95
_MOST_GUESSED: Final = 0.999
_TOGETHER: Final = 2000
"""Tables computed at once: the numbers in between stay in the cache, and below the size (128 KiB) from which malloc hands
memory back to the system each time: that costs more than the arithmetic."""


class Cells:
    """K tables that take part, each with its boundary; rare errors and edges by E1, the others by E2."""

    __slots__ = ("_delta", "_tau_fast", "_tau_slow", "latency", "row", "share", "tables")

    def __init__(
        self,
        *,
        row: "NDArray[np.intp]",
        latency: "NDArray[np.intp]",
        tables: Tables,
        share: "FloatArray",
        tau_slow: "FloatArray",
        tau_fast: "FloatArray",
        delta: "FloatArray",
    ) -> None:
        self.row = row
        self.latency = latency
        self.tables = tables
        self.share = share
        self._tau_slow = tau_slow
        self._tau_fast = tau_fast
        self._delta = delta

    def log_e(self, factors: "FloatArray", *, harmful: bool) -> "FloatArray":
        """Give log e of each table for several guesses of the canary's rate.

        Parameters
        ----------
        factors : ndarray, shape (K, L)
            The guesses, as multiples of the boundary (harm) or of q1 (proof).
        harmful
            Whether harm is tested, or non-inferiority.

        Returns
        -------
        ndarray, shape (K, L)
            Natural logarithms, finite.
        """
        result = np.empty(factors.shape)
        rare = (self.latency == 0) | (self.share < RARE)
        frequent = (self.latency == 0) & (self.share > _FREQUENT) & (self._boundary() < _MOST)
        kinds = ((rare & ~frequent, self._rare), (frequent, self._frequent), (~rare, self._common))
        for kind, method in kinds:
            every = np.flatnonzero(kind)
            for start in range(0, len(every), _TOGETHER):
                cells = every[start : start + _TOGETHER]
                result[cells] = method(cells, factors[cells], harmful=harmful)
        return result

    def _rare(self, cells: "NDArray[np.intp]", factors: "FloatArray", *, harmful: bool) -> "FloatArray":
        q1, tau, delta = (a[cells, None] for a in (self.share, self._tau_slow, self._delta))
        boundary = tau * q1 + delta
        if not harmful:
            q2 = np.minimum(factors * q1, boundary)
            return poisson_affine(_rows(self.tables, cells), q1=q1, q2=q2, tau=tau, delta=delta)
        # Beyond 1 there is no rate; on the wrong side of the boundary the test would be the other one. Where the boundary
        # itself is beyond 1 (both versions fail nearly everything), no rate is harm, and nothing is bet.
        q2 = np.maximum(np.minimum(factors * boundary, 1.0), boundary)
        log_e = poisson_affine(_rows(self.tables, cells), q1=q1, q2=np.minimum(q2, 1.0), tau=tau, delta=delta)
        return np.where(boundary < 1.0, log_e, 0.0)

    def _boundary(self) -> "FloatArray":
        boundary: FloatArray = self._tau_slow * self.share + self._delta
        return boundary

    def _frequent(self, cells: "NDArray[np.intp]", factors: "FloatArray", *, harmful: bool) -> "FloatArray":
        q1, tau, delta = (a[cells, None] for a in (self.share, self._tau_slow, self._delta))
        boundary = self._boundary()[cells, None]
        if harmful:
            odds = boundary / (1.0 - boundary) * factors
            q2 = np.minimum(odds / (1.0 + odds), _MOST_GUESSED)
        else:
            q2 = np.minimum(factors * q1, boundary)
        return gro_affine(_rows(self.tables, cells), q1=q1, q2=q2, tau=tau, delta=delta)

    def _common(self, cells: "NDArray[np.intp]", factors: "FloatArray", *, harmful: bool) -> "FloatArray":
        # Above one half the fast requests are the rarer ones, and the boundary is a ratio of theirs.
        flip = (self.share[cells] > 0.5)[:, None]
        tables = _rows(self.tables, cells)
        x1 = np.where(flip, tables.n1 - tables.x1, tables.x1)
        x2 = np.where(flip, tables.n2 - tables.x2, tables.x2)
        share = self.share[cells, None]
        q1 = np.where(flip, 1.0 - share, share)
        ratio = np.where(flip, 1.0 / self._tau_fast[cells, None], self._tau_slow[cells, None])
        boundary = ratio * q1
        if harmful:
            # Effects multiply the odds, so that large ones stay below a rate of 1 and apart from each other.
            odds = boundary / (1.0 - boundary) * np.where(flip, 1.0 / factors, factors)
            q2 = odds / (1.0 + odds)
        else:
            q2 = np.where(flip, np.maximum(factors * q1, boundary), np.minimum(factors * q1, boundary))
        return gro_ratio(Tables(x1=x1, n1=tables.n1, x2=x2, n2=tables.n2), q1=q1, q2=q2, ratio=ratio)


def pick(tables: Tables, row: "NDArray[np.intp]", channel: "NDArray[np.intp]") -> Tables:
    """Give the tables at (row, channel) of [R, C] ones."""
    return Tables(
        x1=tables.x1[row, channel], n1=tables.n1[row, channel], x2=tables.x2[row, channel], n2=tables.n2[row, channel]
    )


def _rows(tables: Tables, cells: "NDArray[np.intp]") -> Tables:
    return Tables(
        x1=tables.x1[cells, None], n1=tables.n1[cells, None], x2=tables.x2[cells, None], n2=tables.n2[cells, None]
    )
