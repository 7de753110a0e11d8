"""A block of rollouts of one service, side by side, interval by interval.

Noise is drawn for the whole block at once, whichever of its rollouts are wanted; counts by generators of their own.
So a rollout's numbers depend on the seed, its place and its own weights only.
"""

from typing import TYPE_CHECKING, Final

import numpy as np

from analyzer.simulate import noise as noises
from analyzer.simulate.counts import Counts
from analyzer.simulate.draws import Chances, Dice, Drawn
from analyzer.simulate.latency import bucket_table, slowed_share
from analyzer.simulate.pods import Pods
from analyzer.simulate.regressions import HARMLESS, Regression

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.simulate.noise import FloatArray, Noise
    from analyzer.simulate.traffic import Traffic

    IntArray = NDArray[np.int64]

BLOCK: Final = 50
"""Rollouts simulated together."""
_LEAK_S: Final = 15.0


class Block:
    """B rollouts of one service.

    Parameters
    ----------
    traffic, noise, regression
        What is simulated.
    seed, number
        Of the whole simulation, and which block of it this is.
    """

    def __init__(
        self, traffic: "Traffic", noise: "Noise", regression: Regression = HARMLESS, *, seed: int, number: int = 0
    ) -> None:
        self.traffic = traffic
        self.noise = noise
        self.regression = regression
        self.seed, self.number = seed, number
        self.rng = np.random.default_rng([seed, number])
        self._dice = Dice(rollouts=BLOCK, seed=seed, number=number)
        self.time_s = 0.0
        self.pods = Pods(traffic, noise, self.rng, rollouts=BLOCK)
        self.shared = self.rng.standard_normal((3, BLOCK))  # load, errors, speed
        self.phase = self.rng.uniform(0.0, 2.0 * np.pi, BLOCK)
        self._burst_left = np.zeros(BLOCK, dtype=np.int64)
        self.error_rate = traffic.error_rate if regression.base_error_rate is None else regression.base_error_rate
        self._shape = regression.shape(traffic.latency)
        waits = round(regression.client_timeout_s / traffic.interval_s) if regression.hang > 0 else 0
        self._hung = np.zeros((waits, BLOCK), dtype=np.int64)

    def advance(
        self, weight: "FloatArray", *, wanted: "FloatArray | None" = None, rows: "NDArray[np.intp] | None" = None
    ) -> Counts:
        """Simulate the next interval.

        Parameters
        ----------
        weight : ndarray, shape (B,)
            The canary's share of the traffic, on average over the interval [per cent].
        wanted : ndarray, shape (B,)
            The weight at its end, by which pods grow; None: the same.
        rows : ndarray
            Rollouts whose counts are wanted; the others' are zeros. None: all.
        """
        traffic, stable = self.traffic, self.traffic.stable_pods
        from_s, until_s = self.time_s, self.time_s + traffic.interval_s
        grown = np.array([traffic.pods_at(w) if w > 0 else 0 for w in (weight if wanted is None else wanted)])
        self.pods.grow(grown, now_s=from_s)
        self._step_noise()
        there = self._there()
        chances = self._chances(weight, there, until_s=until_s)
        drawn = self._dice.draw(chances, self.noise, range(BLOCK) if rows is None else rows.tolist())
        self._give_up(drawn)
        born_s = np.where(there[:, stable:], self.pods.born_s[:, stable:], -np.inf)
        hurt_share = self._hurt_share(from_s, weight) if self._begun(from_s) else np.zeros(BLOCK)
        self.time_s = until_s
        return Counts(
            requests=drawn.requests,
            errors=drawn.errors,
            histogram=drawn.histogram,
            pods=np.stack([there[:, :stable].sum(axis=1), there[:, stable:].sum(axis=1)], axis=1),
            youngest_s=until_s - born_s.max(axis=1),
            sent=drawn.to_canary,
            hurt=drawn.to_canary.astype(np.float64) * hurt_share,
        )

    def _chances(self, weight: "FloatArray", there: "NDArray[np.bool_]", *, until_s: float) -> Chances:
        """Say what is likely in this interval."""
        traffic, bad, begun = self.traffic, self.regression, self._begun(self.time_s)
        load, shared_errors, shared_speed = self._shared_factors()
        users = self._users(weight, there)
        errors = self._mean(np.exp(self.pods.log_errors(users)), there) * shared_errors[:, None] * self.error_rate
        errors[:, 1] += self._blip(self.time_s)
        speed = self.pods.log_speed(users, from_s=self.time_s, until_s=until_s) + shared_speed[:, None]
        return Chances(
            load=load * traffic.rps * traffic.interval_s,
            share=self._share(weight),
            errors=np.minimum(errors, 1.0),
            buckets=self._buckets(speed, there, weight=weight),
            more_errors=self._more_errors(weight) if begun else np.zeros(BLOCK),
            hang=bad.hang if begun else 0.0,
        )

    def _give_up(self, drawn: Drawn) -> None:
        """Let clients give up on what has hung for their time-out: then it is counted, as code 0."""
        waits = len(self._hung)
        if not waits:
            return
        place = round(self.time_s / self.traffic.interval_s) % waits
        given_up, self._hung[place] = self._hung[place].copy(), drawn.hung
        drawn.requests[:, 1] += given_up
        drawn.errors[:, 1] += given_up
        bucket = np.searchsorted(self.traffic.edges_ms, 1e3 * self.regression.client_timeout_s)
        drawn.histogram[:, 1, bucket] += given_up

    # --- what comes over everybody ---

    def _step_noise(self) -> None:
        noise = self.noise
        self.pods.step()
        self.shared = noises.innovate(self.rng, self.shared, noise.shared_memory)
        if noise.burst_chance > 0:
            begins = self.rng.random(BLOCK) < noise.burst_chance
            lasts = self.rng.geometric(1.0 / noise.burst_intervals, BLOCK)
            self._burst_left = np.where(begins, lasts, np.maximum(self._burst_left - 1, 0))

    def _shared_factors(self) -> "tuple[FloatArray, FloatArray, FloatArray]":
        noise, burst = self.noise, self._burst_left > 0
        load = noises.multiplier(self.shared[0], noise.load_sd) * np.where(burst, noise.burst_load, 1.0)
        load *= 1.0 + noise.rhythm * np.sin(2.0 * np.pi * self.time_s / noise.rhythm_s + self.phase)
        errors = noises.multiplier(self.shared[1], noise.shared_errors_sd) * np.where(burst, noise.burst_errors, 1.0)
        return load, errors, noises.log_multiplier(self.shared[2], noise.shared_latency_sd)

    # --- who gets what ---

    def _there(self) -> "NDArray[np.bool_]":
        return np.asarray(self.pods.born_s <= self.time_s)

    def _users(self, weight: "FloatArray", there: "NDArray[np.bool_]") -> "FloatArray":
        """Users per pod, shape (B, P)."""
        stable = self.traffic.stable_pods
        everybody = self.noise.users_per_rps * self.traffic.rps
        per_pod = np.empty(there.shape)
        for part, share in ((slice(stable), 1.0 - weight / 100.0), (slice(stable, None), weight / 100.0)):
            count = np.maximum(there[:, part].sum(axis=1), 1)
            per_pod[:, part] = (np.maximum(everybody * share, 1.0) / count)[:, None]
        return np.maximum(per_pod, 1.0)

    def _share(self, weight: "FloatArray") -> "FloatArray":
        """Share of the requests that go to the canary; eager users who stick to a version shift it."""
        share = weight / 100.0
        if not self.noise.sticky:
            return share
        everybody = np.maximum(self.noise.users_per_rps * self.traffic.rps * share, 1.0)
        eager = noises.multiplier(
            self.pods.user_speed[:, self.traffic.stable_pods], self.noise.user_errors_sd / np.sqrt(everybody)
        )
        shifted: FloatArray = share * eager / (share * eager + 1.0 - share)
        return shifted

    # --- how it goes ---

    def _mean(self, values: "FloatArray", there: "NDArray[np.bool_]") -> "FloatArray":
        """Average over each version's pods: [B, P, …] to [B, 2, …]. A request goes to any of them."""
        stable = self.traffic.stable_pods
        mask = there.reshape(*there.shape, *(1,) * (values.ndim - 2)).astype(np.float64)
        parts = [
            (values[:, part] * mask[:, part]).sum(axis=1) / np.maximum(mask[:, part].sum(axis=1), 1.0)
            for part in (slice(stable), slice(stable, None))
        ]
        return np.stack(parts, axis=1)

    def _more_errors(self, weight: "FloatArray") -> "FloatArray":
        return np.minimum(self.regression.errors + self.regression.load_errors * weight / 100.0, 1.0)

    def _buckets(self, speed: "FloatArray", there: "NDArray[np.bool_]", *, weight: "FloatArray") -> "FloatArray":
        """Give the chance of each bucket, shape (B, 2, E + 1)."""
        traffic, stable = self.traffic, self.traffic.stable_pods
        edges = traffic.edges_ms
        slower = speed.copy()
        if self.regression.leak > 0:
            slower[:, stable:] += np.log1p(self.regression.leak) * self._leaked(self.time_s)
        shape = self._shape if self._begun(self.time_s) else traffic.latency
        if self.regression.load_slower > 0 and self._begun(self.time_s):
            slower[:, stable:] += np.log1p(self.regression.load_slower * weight / 100.0)[:, None]
        shares = np.concatenate(
            [
                bucket_table(traffic.latency, edges).shares(speed[:, :stable]),
                bucket_table(shape, edges).shares(slower[:, stable:]),
            ],
            axis=1,
        )
        mean = np.maximum(self._mean(shares, there), 0.0)
        empty = mean.sum(axis=-1) <= 0
        mean[empty, 0] = 1.0
        chances: FloatArray = mean / mean.sum(axis=-1, keepdims=True)
        return chances

    def _begun(self, from_s: float) -> bool:
        return from_s >= self.regression.begins_s

    def _leaked(self, from_s: float) -> float:
        return max(0.0, from_s - self.regression.begins_s) / _LEAK_S

    def _blip(self, from_s: float) -> float:
        noise = self.noise
        return noise.blip_errors if noise.blip_at_s <= from_s < noise.blip_at_s + noise.blip_s else 0.0

    def _hurt_share(self, from_s: float, weight: "FloatArray") -> "FloatArray":
        """Give the share of the canary's users that are hurt, shape (B,)."""
        bad = self.regression
        shape = self._shape.scaled((1.0 + bad.leak) ** self._leaked(from_s))
        factors, row = np.unique(1.0 + bad.load_slower * weight / 100.0, return_inverse=True)
        slowed = np.array([slowed_share(self.traffic.latency, shape.scaled(factor)) for factor in factors])[row]
        spared: FloatArray = (1.0 - bad.hang) * (1.0 - self._more_errors(weight)) * (1.0 - slowed)
        return 1.0 - spared
