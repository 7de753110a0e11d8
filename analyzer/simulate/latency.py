"""Latency as a service shows it: a log-normal body, a log-normal tail, and what lies in each histogram bucket."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import ndtr

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

_LOWEST, _HIGHEST, _STEP = -3.0, 4.0, 0.004  # log factors that are tabulated; linear in between errs by less than 1e-5
_Z99: Final = 2.3263478740408408
_WIDEST_BODY: Final = 0.5
_TAIL_SHARE: Final = 0.05


@dataclass(frozen=True, slots=True)
class LatencyShape:
    """How long requests take.

    Attributes
    ----------
    median_ms, sigma
        The body's median [ms] and the standard deviation of its logarithm.
    tail_share, tail_median_ms, tail_sigma
        Share of requests in the tail, and the same of it.
    slow_share, slow_ms
        Share of requests that take this long instead [ms].
    """

    median_ms: float = 60.0
    sigma: float = 0.4
    tail_share: float = 0.02
    tail_median_ms: float = 300.0
    tail_sigma: float = 0.4
    slow_share: float = 0.0
    slow_ms: float = 3000.0

    def above(self, edges_ms: "FloatArray") -> "FloatArray":
        """Give the share of requests slower than each edge; the same shape."""
        body = ndtr(-np.log(edges_ms / self.median_ms) / self.sigma)
        tail = ndtr(-np.log(edges_ms / self.tail_median_ms) / self.tail_sigma)
        usual = (1.0 - self.tail_share) * body + self.tail_share * tail
        share: FloatArray = (1.0 - self.slow_share) * usual + self.slow_share * (edges_ms < self.slow_ms)
        return share

    def quantile_ms(self, share: float) -> float:
        """Give the latency that this share of the requests stays below [ms]."""
        low, high = 1e-6 * self.median_ms, 1e6 * max(self.median_ms, self.tail_median_ms, self.slow_ms)
        for _ in range(80):
            middle = float(np.sqrt(low * high))
            above = float(self.above(np.array([middle]))[0])
            low, high = (middle, high) if above > 1.0 - share else (low, middle)
        return high

    def scaled(self, factor: float, *, tail: float = 1.0) -> "LatencyShape":
        """Make everything slower by a factor, the tail by another one in addition."""
        return replace(
            self,
            median_ms=self.median_ms * factor,
            tail_median_ms=self.tail_median_ms * factor * tail,
        )


def shape_of(p50_ms: float, p99_ms: float) -> LatencyShape:
    """Find a shape with these two quantiles.

    A p99 far from the median is a tail of its own, not a wide body: as one log-normal it would hide every change of the median.

    Raises
    ------
    ValueError
        The p99 is not above the p50.
    """
    if not 0 < p50_ms < p99_ms:
        raise ValueError(f"the p99 ({p99_ms:g} ms) must be above the p50 ({p50_ms:g} ms), and both above 0")
    sigma = np.log(p99_ms / p50_ms) / _Z99
    if sigma <= _WIDEST_BODY:
        return LatencyShape(p50_ms, float(sigma), 0.0, p99_ms, 0.4)
    body, tail, goal = p50_ms, p99_ms, p99_ms
    shape = LatencyShape(body, _WIDEST_BODY, _TAIL_SHARE, tail, 0.4)
    for _ in range(60):
        body *= p50_ms / shape.quantile_ms(0.5)
        tail *= goal / shape.quantile_ms(0.99)
        shape = LatencyShape(body, _WIDEST_BODY, _TAIL_SHARE, tail, 0.4)
    return shape


class BucketTable:
    """Bucket shares of one shape, tabulated by how much slower everything is."""

    __slots__ = ("_shares",)

    def __init__(self, shape: LatencyShape, edges_ms: tuple[float, ...]) -> None:
        factors = np.exp(np.arange(_LOWEST, _HIGHEST + _STEP, _STEP))
        edges = np.array(edges_ms)
        # The slow share waits for something that is not the service's own speed: it keeps its latency.
        usual = replace(shape, slow_share=0.0).above(edges[None, :] / factors[:, None])
        above = (1.0 - shape.slow_share) * usual + shape.slow_share * (edges < shape.slow_ms)
        padded = np.concatenate([np.ones((len(factors), 1)), above, np.zeros((len(factors), 1))], axis=1)
        self._shares = -np.diff(padded, axis=1)

    def shares(self, log_factor: "FloatArray") -> "FloatArray":
        """Give the share of requests per bucket: the shape of `log_factor`, and one axis more."""
        place = (np.clip(log_factor, _LOWEST, _HIGHEST - _STEP) - _LOWEST) / _STEP
        below = place.astype(np.intp)
        rest = (place - below)[..., None]
        shares: FloatArray = self._shares[below] * (1.0 - rest) + self._shares[below + 1] * rest
        return shares


@lru_cache(maxsize=64)
def bucket_table(shape: LatencyShape, edges_ms: tuple[float, ...]) -> BucketTable:
    """Give the table of a shape; made once."""
    return BucketTable(shape, edges_ms)


def slowed_share(before: LatencyShape, after: LatencyShape) -> float:
    """Give the smallest share of requests that must have become slower: the largest excess above any latency."""
    grid = np.geomspace(before.median_ms / 30.0, 300.0 * max(after.tail_median_ms, after.slow_ms), 1500)
    return float(np.max(after.above(grid) - before.above(grid), initial=0.0))
