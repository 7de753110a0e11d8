"""The pods of both versions, of many rollouts at once: how each fails and how slow it is, interval by interval.

Arrays are [B, P]: B rollouts; the stable version's pods first, then as many as the canary may come to have.
"""

from typing import TYPE_CHECKING

import numpy as np

from analyzer.simulate.noise import USER_MEMORY, Noise, innovate, log_multiplier

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.simulate.noise import FloatArray
    from analyzer.simulate.traffic import Traffic


class Pods:
    """Errors and speed of all pods.

    Attributes
    ----------
    errors, speed : ndarray, shape (B, P)
        Standard normal, wandering.
    user_errors, user_speed : ndarray, shape (B, P)
        The same of the users that stick to a pod.
    fixed_errors, fixed_speed : ndarray, shape (B, P)
        What never changes: logarithms of factors.
    born_s : ndarray, shape (B, P)
        Since when each pod is there [s]; infinity: not yet, minus infinity: for ever.
    """

    __slots__ = (
        "_noise",
        "_rng",
        "_stable",
        "born_s",
        "errors",
        "fixed_errors",
        "fixed_speed",
        "speed",
        "user_errors",
        "user_speed",
    )

    def __init__(self, traffic: "Traffic", noise: Noise, rng: np.random.Generator, *, rollouts: int) -> None:
        self._noise = noise
        self._rng = rng
        self._stable = traffic.stable_pods
        shape = (rollouts, traffic.stable_pods + traffic.most_canary_pods)
        self.errors, self.speed, self.user_errors, self.user_speed = rng.standard_normal((4, *shape))
        spread_errors, spread_speed = rng.standard_normal((2, *shape))
        self.fixed_errors = log_multiplier(spread_errors, noise.pod_errors_spread)
        slow = rng.random(shape) < noise.slow_nodes
        if noise.slow_nodes > 0:
            slow[:, self._stable :] = np.arange(shape[1] - self._stable) < noise.canary_slow_nodes
        self.fixed_speed = log_multiplier(spread_speed, noise.pod_latency_spread)
        self.fixed_speed += np.where(slow, np.log1p(noise.slow_node_extra), 0.0)
        self.born_s = np.full(shape, np.inf)
        self.born_s[:, : self._stable] = -np.inf

    def grow(self, wanted: "NDArray[np.intp]", *, now_s: float) -> None:
        """Let canaries have at least so many pods, shape (B,); new ones are born now."""
        canary = self.born_s[:, self._stable :]
        newborn = (np.arange(canary.shape[1]) < wanted[:, None]) & np.isinf(canary)
        canary[newborn] = now_s

    def step(self) -> None:
        """Let an interval pass."""
        noise = self._noise
        if noise.pod_errors_sd > 0:
            self.errors = innovate(self._rng, self.errors, noise.pod_memory)
        if noise.pod_latency_sd > 0:
            self.speed = innovate(self._rng, self.speed, noise.pod_memory)
        if noise.sticky:
            self.user_errors = innovate(self._rng, self.user_errors, USER_MEMORY)
            self.user_speed = innovate(self._rng, self.user_speed, USER_MEMORY)

    def log_errors(self, users: "FloatArray") -> "FloatArray":
        """Give the logarithm of each pod's factor on the error rate; `users` per pod, shape (B, P) or broadcast to it."""
        noise = self._noise
        there = self.fixed_errors + log_multiplier(self.errors, noise.pod_errors_sd)
        return (
            there + log_multiplier(self.user_errors, noise.user_errors_sd / np.sqrt(users)) if noise.sticky else there
        )

    def log_speed(self, users: "FloatArray", *, from_s: float, until_s: float) -> "FloatArray":
        """Give the logarithm of each pod's factor on latency, its cold start included."""
        noise = self._noise
        there = self.fixed_speed + log_multiplier(self.speed, noise.pod_latency_sd)
        if noise.sticky:
            there = there + log_multiplier(self.user_speed, noise.user_speed_sd / np.sqrt(users))
        if noise.cold_extra > 0:
            there = there + np.log1p(cold_extra(noise, self.born_s, from_s=from_s, until_s=until_s))
        return there


def cold_extra(noise: Noise, born_s: "FloatArray", *, from_s: float, until_s: float) -> "FloatArray":
    """Give how much slower pods of these births are, on average over an interval [ratio]; 0 before they are born."""
    there = np.isfinite(born_s) & (born_s < until_s)
    begins = np.maximum(np.where(there, born_s, 0.0), from_s)
    since = begins - np.where(there, born_s, 0.0)
    long = np.maximum(until_s - begins, 1e-9)
    mean = noise.cold_s / long * (np.exp(-since / noise.cold_s) - np.exp(-(since + long) / noise.cold_s))
    extra: FloatArray = np.where(there, noise.cold_extra * mean, 0.0)
    return extra
