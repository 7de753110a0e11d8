"""What makes counts differ without any release being worse.

All noise is log-normal with mean 1, so that it changes no long-run rate.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import lfilter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Disturbances of a service; `sd` is that of a logarithm, memory the correlation of neighbouring intervals.

    Attributes
    ----------
    load_sd, shared_errors_sd, shared_latency_sd, shared_memory
        What comes over both versions at once.
    burst_chance, burst_intervals, burst_load, burst_errors
        Bursts: chance that one begins in an interval, their mean length, what they multiply load and error rate by.
    rhythm, rhythm_s
        Load goes up and down by this share within this period [s].
    pod_errors_sd, pod_latency_sd, pod_memory
        Each pod by itself.
    pod_errors_spread, pod_latency_spread
        Persistent differences between pods.
    slow_nodes, slow_node_extra, canary_slow_nodes
        Share of pods on slow nodes; how much slower they are [ratio]; canary pods there for sure [count].
    clump, clump_geometric
        Mean number of errors that come together (1: none do); sizes geometric, or 1 + Poisson.
    cold_extra, cold_s
        A newborn pod is this much slower [ratio], fading with this time constant [s].
    young_pods
        Share of the stable version's pods that were born during the history: what a warm-up can be learned from.
    blip_at_s, blip_s, blip_errors
        The canary's error rate gains this much, once, for so long.
    user_errors_sd, user_speed_sd, users_per_rps
        Sticky users: how much they differ in errors (and eagerness) and in speed, and how many there are for a request per
        second. Zero: every request is routed by itself.
    retried
        Counted where attempts arrive: chance that the retry of a failed request fails too; up to two retries. Zero: none.
    """

    load_sd: float = 0.0
    shared_errors_sd: float = 0.0
    shared_latency_sd: float = 0.0
    shared_memory: float = 0.8
    burst_chance: float = 0.0
    burst_intervals: float = 3.0
    burst_load: float = 1.0
    burst_errors: float = 1.0
    rhythm: float = 0.0
    rhythm_s: float = 86_400.0
    pod_errors_sd: float = 0.0
    pod_latency_sd: float = 0.0
    pod_memory: float = 0.6
    pod_errors_spread: float = 0.0
    pod_latency_spread: float = 0.0
    slow_nodes: float = 0.0
    slow_node_extra: float = 0.0
    canary_slow_nodes: int = 0
    clump: float = 1.0
    clump_geometric: bool = True
    cold_extra: float = 0.0
    cold_s: float = 60.0
    young_pods: float = 0.25
    blip_at_s: float = 0.0
    blip_s: float = 0.0
    blip_errors: float = 0.0
    user_errors_sd: float = 0.0
    user_speed_sd: float = 0.0
    users_per_rps: float = 20.0
    retried: float = 0.0

    @property
    def sticky(self) -> bool:
        """Whether users stick to a version, and to a pod."""
        return self.user_errors_sd > 0 or self.user_speed_sd > 0


USER_MEMORY = 0.97
"""Users stay for many intervals."""


def innovate(rng: np.random.Generator, now: "FloatArray", memory: float) -> "FloatArray":
    """Step a stationary AR(1) with standard deviation 1; the same shape."""
    fresh = rng.standard_normal(now.shape)
    stepped: FloatArray = memory * now + np.sqrt(1.0 - memory**2) * fresh
    return stepped


def past_of(rng: np.random.Generator, now: "FloatArray", *, memory: float, steps: int) -> "FloatArray":
    """Give the values before `now`, oldest first, shape (steps, …); a stationary AR(1) looks the same backwards."""
    fresh = np.sqrt(1.0 - memory**2) * rng.standard_normal((steps, *now.shape))
    backwards, _ = lfilter([1.0], [1.0, -memory], fresh, axis=0, zi=memory * now[None])
    past: FloatArray = backwards[::-1]
    return past


def multiplier(z: "FloatArray", sd: "float | FloatArray") -> "FloatArray":
    """Turn standard normal values into log-normal factors with mean 1."""
    return np.exp(log_multiplier(z, sd))


def log_multiplier(z: "FloatArray", sd: "float | FloatArray") -> "FloatArray":
    """Give the logarithm of `multiplier`."""
    shifted: FloatArray = z * sd - 0.5 * np.square(sd)
    return shifted


def error_counts(
    rng: np.random.Generator, n: "NDArray[np.int64]", p: "FloatArray", noise: Noise
) -> "NDArray[np.int64]":
    """Draw how many of n requests fail at rate p; in clumps, if errors come in clumps. The same shape.

    The ratio of variance to mean is 2 c - 1 for geometric clumps of mean c, c + 1 - 1/c for 1 + Poisson ones.
    """
    if noise.clump <= 1.0:
        return rng.binomial(n, p)
    clumps = rng.poisson(n * p / noise.clump)
    if noise.clump_geometric:
        more = np.zeros_like(clumps)
        some = clumps > 0
        more[some] = rng.negative_binomial(clumps[some], 1.0 / noise.clump)
    else:
        more = rng.poisson(clumps * (noise.clump - 1.0))
    together: NDArray[np.int64] = np.minimum(clumps + more, n)
    return together


def with_retries(
    rng: np.random.Generator, n: "NDArray[np.int64]", x: "NDArray[np.int64]", noise: Noise
) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """Count attempts instead of requests: all of them, and those that failed."""
    if noise.retried <= 0.0:
        return n, x
    second = rng.binomial(x, noise.retried)
    third = rng.binomial(second, noise.retried)
    return n + x + second, x + second + third
