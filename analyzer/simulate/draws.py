"""Draws the counts of an interval, each rollout by a generator of its own.

What a rollout draws depends on its weights. With one generator for several, each one's decisions would change the others'
luck, and so would who else is simulated.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from analyzer.simulate import noise as noises

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from analyzer.simulate.noise import FloatArray, Noise

    IntArray = NDArray[np.int64]

_OWN_STREAM: Final = 3


@dataclass(frozen=True, slots=True)
class Chances:
    """What is likely in an interval, of B rollouts.

    Attributes
    ----------
    load, share : ndarray, shape (B,)
        Expected requests; the chance that one goes to the canary.
    errors : ndarray, shape (B, 2)
        Chance to fail, of [stable, canary], without what the regression adds.
    buckets : ndarray, shape (B, 2, E + 1)
        Chance of each histogram bucket.
    more_errors : ndarray, shape (B,)
        Chance that a canary request fails by the regression.
    hang
        Chance that it hangs.
    """

    load: "FloatArray"
    share: "FloatArray"
    errors: "FloatArray"
    buckets: "FloatArray"
    more_errors: "FloatArray"
    hang: float


@dataclass(frozen=True, slots=True)
class Drawn:
    """What came, of B rollouts: [B], [B, 2] and [B, 2, E + 1]; zeros for those that were not asked for."""

    to_canary: "IntArray"
    hung: "IntArray"
    requests: "IntArray"
    errors: "IntArray"
    histogram: "IntArray"


class Dice:
    """The generators of B rollouts."""

    def __init__(self, *, rollouts: int, seed: int, number: int) -> None:
        self._generators = [np.random.default_rng([seed, number, _OWN_STREAM, row]) for row in range(rollouts)]

    def draw(self, chances: Chances, noise: "Noise", rows: "Iterable[int]") -> Drawn:
        """Draw one interval of these rows."""
        rollouts = len(self._generators)
        drawn = Drawn(
            to_canary=np.zeros(rollouts, dtype=np.int64),
            hung=np.zeros(rollouts, dtype=np.int64),
            requests=np.zeros((rollouts, 2), dtype=np.int64),
            errors=np.zeros((rollouts, 2), dtype=np.int64),
            histogram=np.zeros((rollouts, *chances.buckets.shape[1:]), dtype=np.int64),
        )
        load, share, more_errors = chances.load.tolist(), chances.share.tolist(), chances.more_errors.tolist()
        for row in rows:
            rng = self._generators[row]
            sent = int(rng.poisson(load[row]))
            to_canary = int(rng.binomial(sent, share[row]))
            hung = int(rng.binomial(to_canary, chances.hang)) if chances.hang > 0 else 0
            answered = np.array([sent - to_canary, to_canary - hung])
            errors = noises.error_counts(rng, answered, chances.errors[row], noise)
            if more_errors[row] > 0:
                errors[1] += rng.binomial(answered[1] - errors[1], more_errors[row])
            requests, errors = noises.with_retries(rng, answered, errors, noise)
            drawn.to_canary[row], drawn.hung[row] = to_canary, hung
            drawn.requests[row], drawn.errors[row] = requests, errors
            drawn.histogram[row] = rng.multinomial(requests, chances.buckets[row])
        return drawn
