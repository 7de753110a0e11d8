"""A small world that makes intervals: independent requests, or pods whose rates wander."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import ndtr

from analyzer.core.judge import (
    ISTIO_EDGES_MS,
    Assessment,
    Interval,
    JudgeRequest,
    JudgeSettings,
    JudgeState,
    Step,
    VersionCounts,
    judge,
)

Edges = tuple[float, ...]

TO_25 = Step(key="primary/10", next_weight=25.0)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How one version answers."""

    errors: float = 0.001
    median_ms: float = 20.0
    sigma: float = 0.4
    completed: float = 1.0


@dataclass(slots=True)
class World:
    """Makes intervals of one service from a seed."""

    seed: int = 1
    rate: float = 200.0
    seconds: float = 2.0
    weight: float = 10.0
    pods: tuple[int, int] = (2, 1)
    noise: float = 0.0
    clump: int = 1
    edges_ms: Edges = ISTIO_EDGES_MS
    time_s: float = 1_000_000.0
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def interval(
        self, canary: Behaviour | None = None, *, stable: Behaviour | None = None, pod_age_s: float = float("inf")
    ) -> Interval:
        stable = stable or Behaviour()
        canary = canary or stable
        sent = self.rng.poisson(self.rate * self.seconds)
        to_canary = self.rng.binomial(sent, self.weight / 100.0)
        self.time_s += self.seconds
        return Interval(
            end_s=self.time_s,
            seconds=self.seconds,
            weight=self.weight,
            edges_ms=self.edges_ms,
            stable=self._counts(stable, sent - to_canary, pods=self.pods[0]),
            canary=replace(self._counts(canary, to_canary, pods=self.pods[1]), youngest_pod_age_s=pod_age_s),
        )

    def _counts(self, behaviour: Behaviour, sent: int, *, pods: int) -> VersionCounts:
        wander = self.noise / np.sqrt(pods) * self.rng.standard_normal(2)
        done = int(self.rng.binomial(sent, behaviour.completed))
        below = ndtr(np.log(np.array(self.edges_ms) / behaviour.median_ms / np.exp(0.1 * wander[0])) / behaviour.sigma)
        share = np.diff(np.concatenate([[0.0], below, [1.0]]))
        return VersionCounts(
            requests=done,
            errors=self._errors(done, min(1.0, behaviour.errors * np.exp(wander[1]))),
            latency_counts=self.rng.multinomial(done, share / share.sum()),
            pods=pods,
        )

    def _errors(self, done: int, rate: float) -> int:
        """Errors one by one, or in clumps of geometric size."""
        if self.clump == 1:
            return int(self.rng.binomial(done, rate))
        clumps = self.rng.poisson(done * rate / self.clump)
        return min(done, int(self.rng.geometric(1.0 / self.clump, clumps).sum()))


def counts(requests: int, errors: int, *, slow: int = 0, edges: int = 1) -> VersionCounts:
    latency = np.zeros(edges + 1, dtype=np.int64)
    latency[0], latency[-1] = requests - slow, slow
    return VersionCounts(requests=requests, errors=errors, latency_counts=latency)


def feed(
    state: JudgeState, intervals: Sequence[Interval], *, step: Step = TO_25, settings: JudgeSettings | None = None
) -> Assessment:
    """Judge intervals of one rollout in one call."""
    return judge([JudgeRequest(state, settings or JudgeSettings(), step, tuple(intervals))])[0]
