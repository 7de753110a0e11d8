"""What a request costs: a pod's use of a resource is `intercept + slope * its requests per second`.

A Bayesian linear regression with two coefficients (Bishop, Pattern Recognition and Machine Learning, §3.3), in closed form
from five sums. At one per cent of the traffic a pod's use is nearly all intercept, and says next to nothing of the slope; at
one load, whatever it is, nothing says how much of the use an idle pod would have. Therefore each version begins with what was
seen of the other one, and trusts its own figures as far as they reach.
"""

from dataclasses import dataclass
from typing import Final, Self

MEMORY: Final = 0.98
"""Weight of the past at each new sample: about the last 50 matter. Caches fill, neighbours come and go."""

_NOISE: Final = 0.05
"""Standard deviation of one sample of a pod's use, relative to the mean use."""
_OTHER_SLOPE: Final = 0.3
"""How far a request's cost may be from the other version's (one standard deviation, relative)."""
_OTHER_INTERCEPT: Final = 0.3
_LEAST: Final = 1e-6
"""Less load or use than this is none."""
_FEWEST: Final = 10.0
"""With fewer samples nothing is said against a metric."""
_VARIED: Final = 0.2
"""Nor with loads that differ by less than this (one standard deviation, relative): that much is noise of counts and of time."""
_MISSES: Final = 0.6
"""A line that misses the use by this much (root mean square, relative to the mean) says nothing."""
_CLEAR: Final = 3.0
"""A slope of fewer standard deviations than this may as well be none."""
_LEAST_SHARE: Final = 0.5
"""Doubt takes at most half of what a pod is expected to carry."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Sums over what was seen of one version: its pods' average use against their average load.

    Attributes
    ----------
    weight
        Effective number of samples.
    load, load2, use, use2, cross
        Weighted sums of the load x [requests/s and pod], x², the use y [the metric's unit], y², and xy.
    """

    weight: float = 0.0
    load: float = 0.0
    load2: float = 0.0
    use: float = 0.0
    use2: float = 0.0
    cross: float = 0.0

    def add(self, load: float, use: float) -> Self:
        """Take in one sample; the older ones lose weight."""
        return type(self)(
            weight=self.weight * MEMORY + 1.0,
            load=self.load * MEMORY + load,
            load2=self.load2 * MEMORY + load * load,
            use=self.use * MEMORY + use,
            use2=self.use2 * MEMORY + use * use,
            cross=self.cross * MEMORY + load * use,
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """A pod's use as a line, with its doubt.

    Attributes
    ----------
    intercept
        Use of an idle pod [the metric's unit], ≥ 0.
    slope
        Additional use per request per second, > 0.
    var_intercept, covariance, var_slope
        Of both coefficients.
    """

    intercept: float
    slope: float
    var_intercept: float = 0.0
    covariance: float = 0.0
    var_slope: float = 0.0

    def use(self, load: float) -> float:
        """Give the use of a pod with `load` requests per second."""
        return self.intercept + self.slope * load

    def deviation(self, load: float) -> float:
        """Give the standard deviation of `use`."""
        variance = self.var_intercept + 2.0 * self.covariance * load + self.var_slope * load * load
        return float(max(variance, 0.0) ** 0.5)

    def load_at(self, use: float, *, doubt: float = 0.0) -> float:
        """Give the requests per second at which a pod's use reaches `use`, with `doubt` standard deviations to spare."""
        expected = max(0.0, (use - self.intercept) / self.slope)
        return max(expected - doubt * self.deviation(expected) / self.slope, _LEAST_SHARE * expected)


def fit(samples: Samples, *, other: Cost | None = None) -> Cost | None:
    """Fit a version's cost.

    Parameters
    ----------
    samples
        What was seen of it.
    other
        The other version's cost by its own samples: where this one begins.

    Returns
    -------
    Cost or None
        None where nothing is known of either version. Without `other` and with all samples at one load, all of the use is
        taken to come from requests, which overstates what more of them need.
    """
    if min(samples.weight, samples.load, samples.use) < _LEAST:
        return other
    mean_load, mean_use = samples.load / samples.weight, samples.use / samples.weight
    if other is None:
        intercept, slope = 0.0, mean_use / mean_load
        var_intercept, covariance, var_slope = (0.5 * mean_use) ** 2, 0.0, slope**2
    else:
        intercept, slope, covariance = other.intercept, other.slope, other.covariance
        var_intercept = other.var_intercept + (_OTHER_INTERCEPT * intercept + _NOISE * mean_use) ** 2
        var_slope = other.var_slope + (_OTHER_SLOPE * slope) ** 2
    noise = (_NOISE * mean_use) ** 2
    # Posterior precision, and the step from the prior's mean.
    prior = var_intercept * var_slope - covariance * covariance
    p_aa = var_slope / prior + samples.weight / noise
    p_ak = -covariance / prior + samples.load / noise
    p_kk = var_intercept / prior + samples.load2 / noise
    determinant = p_aa * p_kk - p_ak * p_ak
    off_a = (samples.use - intercept * samples.weight - slope * samples.load) / noise
    off_k = (samples.cross - intercept * samples.load - slope * samples.load2) / noise
    fitted_intercept = intercept + (p_kk * off_a - p_ak * off_k) / determinant
    fitted_slope = slope + (p_aa * off_k - p_ak * off_a) / determinant
    if fitted_slope <= 0.0 or fitted_intercept < 0.0:
        # Pods do not get idle by being asked: what noise turned round is put back.
        fitted_intercept = min(max(fitted_intercept, 0.0), 0.9 * mean_use)
        fitted_slope = (mean_use - fitted_intercept) / mean_load
    return Cost(
        intercept=fitted_intercept,
        slope=fitted_slope,
        var_intercept=p_kk / determinant,
        covariance=-p_ak / determinant,
        var_slope=p_aa / determinant,
    )


def follows(samples: Samples) -> bool:
    """Tell whether a metric has to do with requests: False where pods were seen at different loads and their use is not a line.

    A queue is empty or full, a heap fills and is swept: what such a metric shows at one load it does not show at that load the
    next time, or it shows the same at any.
    """
    count = samples.weight
    if count < _FEWEST or samples.load < _LEAST or samples.use < _LEAST:
        return True
    mean_load, mean_use = samples.load / count, samples.use / count
    varied = samples.load2 / count - mean_load**2
    if varied < (_VARIED * mean_load) ** 2:
        return True
    together = samples.cross / count - mean_load * mean_use
    slope = together / varied
    missed = max(0.0, samples.use2 / count - mean_use**2 - slope * together)
    if missed > (_MISSES * mean_use) ** 2:
        return False
    noise = max(missed, (_NOISE * mean_use) ** 2)
    return bool(slope > _CLEAR * (noise / (count * varied)) ** 0.5)
