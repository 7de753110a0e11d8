"""The stable version's past, pod by pod: what a judge learns the usual noise from.

It ends where the rollout begins: noise that has a memory is continued backwards from the rollout's first values.
"""

from typing import TYPE_CHECKING, Final

import numpy as np

from analyzer.core.judge.types import History
from analyzer.simulate import noise as noises
from analyzer.simulate.latency import bucket_table
from analyzer.simulate.pods import cold_extra

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.simulate.noise import FloatArray
    from analyzer.simulate.world import Block

INTERVALS: Final = 240
_LATEST_BIRTH_S: Final = 300.0
_OWN_STREAM: Final = 7


def history_of(block: "Block", row: int, *, intervals: int = INTERVALS) -> History:
    """Give the history of one rollout of a block that has not begun yet.

    It has a generator of its own, so that rollouts are the same with history and without.
    """
    return _Past(block, row, intervals).history()


class _Past:
    """The intervals before one rollout; arrays are [T, P]."""

    def __init__(self, block: "Block", row: int, intervals: int) -> None:
        self._block, self._row, self._intervals = block, row, intervals
        self._rng = np.random.default_rng([block.seed, block.number, _OWN_STREAM, row])
        self._pods = slice(block.traffic.stable_pods)
        self._begins_s = block.traffic.interval_s * np.arange(-intervals, 0)

    def history(self) -> History:
        block, rng, traffic = self._block, self._rng, self._block.traffic
        born_s = self._births()
        there = born_s <= self._begins_s[:, None]
        load, shared_errors, shared_speed = self._shared()
        user_errors, user_speed = self._users()
        per_pod = load[:, None] * there / there.sum(axis=1, keepdims=True)
        arrived = rng.poisson(per_pod)
        rate = np.exp(self._own_errors() + user_errors) * shared_errors[:, None] * block.error_rate
        failed = noises.error_counts(rng, arrived, np.minimum(rate, 1.0), block.noise)
        requests, errors = noises.with_retries(rng, arrived, failed, block.noise)
        speed = self._own_speed(born_s) + user_speed + shared_speed[:, None]
        shares = np.maximum(bucket_table(traffic.latency, traffic.edges_ms).shares(speed), 0.0)
        return History(
            seconds=traffic.interval_s,
            requests=requests,
            errors=errors,
            edges_ms=traffic.edges_ms,
            latency_counts=rng.multinomial(requests, shares / shares.sum(axis=-1, keepdims=True)),
            pod_age_s=np.where(there, self._begins_s[:, None] + traffic.interval_s - born_s, np.inf),
        )

    def _before(self, now: "FloatArray", memory: float) -> "FloatArray":
        return noises.past_of(self._rng, np.asarray(now), memory=memory, steps=self._intervals)

    def _shared(self) -> "tuple[FloatArray, FloatArray, FloatArray]":
        """Load [requests per interval], factor on errors, logarithm of that on latency; each of shape (T,)."""
        block, noise, row = self._block, self._block.noise, self._row
        burst = self._bursts()
        z_load, z_errors, z_speed = (self._before(z, noise.shared_memory) for z in block.shared[:, row])
        load = noises.multiplier(z_load, noise.load_sd) * np.where(burst, noise.burst_load, 1.0)
        load *= 1.0 + noise.rhythm * np.sin(2.0 * np.pi * self._begins_s / noise.rhythm_s + block.phase[row])
        errors = noises.multiplier(z_errors, noise.shared_errors_sd) * np.where(burst, noise.burst_errors, 1.0)
        requests = load * block.traffic.rps * block.traffic.interval_s
        return requests, errors, noises.log_multiplier(z_speed, noise.shared_latency_sd)

    def _users(self) -> "tuple[FloatArray, FloatArray]":
        block, noise, pods = self._block, self._block.noise, self._block.pods
        per_pod = noise.users_per_rps * block.traffic.rps / block.traffic.stable_pods
        errors, speed = (
            noises.log_multiplier(
                self._before(z[self._row, self._pods], noises.USER_MEMORY), sd / np.sqrt(max(per_pod, 1.0))
            )
            for z, sd in ((pods.user_errors, noise.user_errors_sd), (pods.user_speed, noise.user_speed_sd))
        )
        return errors, speed

    def _own_errors(self) -> "FloatArray":
        noise, pods = self._block.noise, self._block.pods
        wandering = self._before(pods.errors[self._row, self._pods], noise.pod_memory)
        return pods.fixed_errors[self._row, self._pods] + noises.log_multiplier(wandering, noise.pod_errors_sd)

    def _own_speed(self, born_s: "FloatArray") -> "FloatArray":
        noise, pods, seconds = self._block.noise, self._block.pods, self._block.traffic.interval_s
        wandering = self._before(pods.speed[self._row, self._pods], noise.pod_memory)
        fixed = pods.fixed_speed[self._row, self._pods]
        cold = [cold_extra(noise, born_s, from_s=begin, until_s=begin + seconds) for begin in self._begins_s]
        return fixed + noises.log_multiplier(wandering, noise.pod_latency_sd) + np.log1p(np.stack(cold))

    def _bursts(self) -> "NDArray[np.bool_]":
        noise, intervals = self._block.noise, np.arange(self._intervals)
        begins = self._rng.random(self._intervals) < noise.burst_chance
        lasts = self._rng.geometric(1.0 / noise.burst_intervals, self._intervals)
        return np.asarray(intervals < np.maximum.accumulate(np.where(begins, intervals + lasts, 0)))

    def _births(self) -> "FloatArray":
        """Say when each stable pod was born, shape (P,) [s]; at least one was there all the time."""
        stable, noise = self._block.traffic.stable_pods, self._block.noise
        born_s = np.full(stable, -np.inf)
        young = min(round(noise.young_pods * stable), stable - 1)
        earliest_s = float(self._begins_s[0])
        if young > 0 and earliest_s < -_LATEST_BIRTH_S:
            born_s[stable - young :] = self._rng.uniform(earliest_s, -_LATEST_BIRTH_S, young)
        return born_s
