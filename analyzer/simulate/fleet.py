"""Many rollouts of one scene, block by block."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from analyzer.core.judge import initial_state, learn
from analyzer.core.judge.types import JudgeSettings
from analyzer.simulate.counts import intervals_of
from analyzer.simulate.history import history_of
from analyzer.simulate.noise import Noise
from analyzer.simulate.regressions import HARMLESS, Regression
from analyzer.simulate.traffic import Traffic
from analyzer.simulate.world import BLOCK, Block

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.types import Interval, JudgeState
    from analyzer.simulate.noise import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A service, what disturbs it, what its new release does, and how strictly that is judged."""

    traffic: Traffic = field(default_factory=Traffic)
    noise: Noise = field(default_factory=Noise)
    regression: Regression = HARMLESS
    settings: JudgeSettings = field(default_factory=JudgeSettings)


class Fleet:
    """R rollouts of one scene, numbers `first` to `first + rollouts - 1` of the seed.

    Whole blocks are simulated, whichever of their rollouts are asked for: so a rollout's numbers depend on the seed and its
    own number only.
    """

    def __init__(self, scene: Scene, *, rollouts: int, seed: int, first: int = 0) -> None:
        self.scene = scene
        self.rollouts = rollouts
        numbers = np.arange(first, first + rollouts)
        self._block_of, self._row_of = numbers // BLOCK - first // BLOCK, numbers % BLOCK
        self._blocks = [
            Block(scene.traffic, scene.noise, scene.regression, seed=seed, number=number)
            for number in range(first // BLOCK, (first + rollouts - 1) // BLOCK + 1)
        ]

    def advance(
        self,
        weight: "FloatArray",
        *,
        live: "NDArray[np.bool_]",
        wanted: "FloatArray | None" = None,
        stated: "FloatArray | None" = None,
    ) -> "Moment":
        """Simulate the next interval of all rollouts in whose block any is alive.

        Parameters
        ----------
        weight : ndarray, shape (R,)
            The canary's share of the traffic, on average over the interval [per cent].
        live : ndarray, shape (R,)
            Rollouts that still run.
        wanted, stated : ndarray, shape (R,)
            The weight at the interval's end, by which pods grow, and the one that its counts are labelled with [per cent].
        """
        wanted = weight if wanted is None else wanted
        stated = weight if stated is None else stated
        moment = Moment(intervals={}, sent=np.zeros(self.rollouts), hurt=np.zeros(self.rollouts))
        for number, block in enumerate(self._blocks):
            own = np.flatnonzero((self._block_of == number) & live)
            if own.size:
                self._advance_block(block, own, weight=weight, wanted=wanted, stated=stated, moment=moment)
        return moment

    def _advance_block(
        self,
        block: Block,
        own: "NDArray[np.intp]",
        *,
        weight: "FloatArray",
        wanted: "FloatArray",
        stated: "FloatArray",
        moment: "Moment",
    ) -> None:
        rows = self._row_of[own]
        spread = np.zeros((3, BLOCK))
        spread[:, rows] = weight[own], wanted[own], stated[own]
        counts = block.advance(spread[0], wanted=spread[1], rows=rows)
        intervals = intervals_of(counts, block.traffic, end_s=block.time_s, weights=spread[2])
        moment.intervals.update(zip(own.tolist(), (intervals[row] for row in rows), strict=True))
        moment.sent[own] = counts.sent[rows]
        moment.hurt[own] = counts.hurt[rows]

    def initial_states(self, *, history: bool) -> "list[JudgeState]":
        """Give what the judge knows of each rollout before it begins; with history, from its stable version's past."""
        if not history:
            return [initial_state()] * self.rollouts
        return [
            initial_state(learn(history_of(self._blocks[block], int(row)), self.scene.settings))
            for block, row in zip(self._block_of, self._row_of, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Moment:
    """One interval of a fleet.

    Attributes
    ----------
    intervals
        By number of the rollout, for those that are alive.
    sent, hurt : ndarray, shape (R,)
        Requests to the canary, and users that it hurt.
    """

    intervals: "dict[int, Interval]"
    sent: "FloatArray"
    hurt: "FloatArray"
