"""How often a policy would have rolled back a harmless release of this very service.

Pseudo-canaries (`pseudo.py`) go through the same judge and decision, closed loop: the weight follows the decisions as
it would have. Whatever is rolled back is a false rollback, for both versions are the stable one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from analyzer.app.plan import judge_settings
from analyzer.core.judge import initial_state, judge, learn
from analyzer.core.judge.rates import clopper_pearson
from analyzer.core.judge.types import Channel, JudgeRequest, JudgeSettings
from analyzer.core.rollout import Phase, RolloutPlan, RolloutState, step_of
from analyzer.policy.model import CanaryPolicy
from analyzer.replay.course import Decision, at_weight, follow, plan_of
from analyzer.replay.pseudo import Draw, draw_rollouts, history_before, interval_at

if TYPE_CHECKING:
    from analyzer.app.history.pods import PodCounts

ROLLOUTS: Final = 200
ENOUGH: Final = 50
"""Fewer pseudo-rollouts say too little about a promise of one in a hundred."""


class Outcome(NamedTuple):
    """How a pseudo-rollout ended.

    Attributes
    ----------
    phase
        `PROMOTED`, `ROLLED_BACK`, or a phase in flight where the record ended.
    channel
        What was blamed for harm; None if there was none.
    seconds
        How long it took [s].
    """

    phase: Phase
    channel: Channel | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of all pseudo-rollouts under one setting.

    Attributes
    ----------
    rollouts
        How many there were [count].
    by_channel
        Those of them that were rolled back for harm, by the channel to blame [count].
    promoted
        Those that reached 100 % [count].
    promoted_after_s
        Median time of these [s]; None if there are none.
    """

    rollouts: int
    by_channel: dict[Channel, int]
    promoted: int
    promoted_after_s: float | None

    @property
    def rolled_back(self) -> int:
        """How many were rolled back for harm."""
        return sum(self.by_channel.values())

    @property
    def rate(self) -> float:
        """Share that was rolled back [ratio]."""
        return self.rolled_back / max(self.rollouts, 1)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the share, as if the rollouts did not overlap [ratio]."""
        low, high = clopper_pearson(np.array([self.rolled_back]), np.array([self.rollouts]))
        return float(low[0]), float(high[0])


@dataclass(slots=True)
class _Run:
    draw: Draw
    state: RolloutState
    number: int
    channel: Channel | None = None

    @property
    def over(self) -> bool:
        ended = self.state.phase not in {Phase.PROGRESSING, Phase.BAKING}
        return ended or self.number >= self.draw.end


@dataclass(slots=True)
class Calibration:
    """Pseudo-rollouts of one workload, the same for every setting that is tried.

    Parameters
    ----------
    counts
        The workload's past.
    policy
        The policy to try.
    rollouts
        How many to draw [count]; there may be fewer.
    seed
        Of all randomness.
    """

    counts: "PodCounts"
    policy: CanaryPolicy
    rollouts: int = ROLLOUTS
    seed: int = 1
    draws: list[Draw] = field(init=False)

    def __post_init__(self) -> None:
        plan = plan_of(self.policy)
        longest_s = len(plan.stages[0].weights) * plan.dwell_max_s + plan.bake_s
        rng = np.random.default_rng(self.seed)
        self.draws = draw_rollouts(self.counts, self.rollouts, longest_s=longest_s, rng=rng)

    @property
    def settings(self) -> JudgeSettings:
        """The policy's own settings."""
        return judge_settings(self.policy)

    def try_settings(self, settings: JudgeSettings) -> Tally:
        """Play all pseudo-rollouts."""
        return tally(self.play(settings))

    def play(self, settings: JudgeSettings) -> list[Outcome]:
        """Play all pseudo-rollouts, and tell how each ended."""
        plan = plan_of(self.policy)
        # Each rollout has its own randomness, so that settings are compared on the same requests as far as they agree.
        rngs = np.random.default_rng([self.seed, 1]).spawn(len(self.draws))
        runs = [self._begin(draw, plan, settings) for draw in self.draws]
        going = [(run, rng) for run, rng in zip(runs, rngs, strict=True) if not run.over]
        while going:
            self._turn(going, plan, settings)
            going = [(run, rng) for run, rng in going if not run.over]
        return [
            Outcome(run.state.phase, run.channel, (run.number - run.draw.start) * self.counts.seconds) for run in runs
        ]

    def _begin(self, draw: Draw, plan: RolloutPlan, settings: JudgeSettings) -> _Run:
        history = history_before(self.counts, draw.start)
        judge_state = initial_state(learn(history, settings)) if history is not None else initial_state()
        first = float(plan.stages[0].weights[0])
        return _Run(draw, at_weight(first, judge=judge_state), draw.start)

    def _turn(
        self, going: Sequence[tuple[_Run, np.random.Generator]], plan: RolloutPlan, settings: JudgeSettings
    ) -> None:
        requests = []
        for run, rng in going:
            [weight] = run.state.weights
            interval = interval_at(self.counts, run.draw, run.number, weight=weight, rng=rng)
            assert run.state.judge is not None, "set when the run began, and by every assessment"
            requests.append(JudgeRequest(run.state.judge, settings, step_of(plan, run.state), (interval,)))
        for (run, _), request, assessment in zip(going, requests, judge(requests), strict=True):
            run.state, decision = follow(
                plan, run.state, assessment, now_s=request.intervals[0].end_s, seconds=self.counts.seconds
            )
            run.number += 1
            if _is_harm(run.state, decision):
                run.channel = assessment.evidence.culprit or Channel.ERRORS


def _is_harm(state: RolloutState, decision: Decision) -> bool:
    return decision.action == "roll back" and state.reason == "Harm"


def tally(outcomes: Sequence[Outcome]) -> Tally:
    """Count outcomes."""
    by_channel: dict[Channel, int] = {}
    for outcome in outcomes:
        if outcome.channel is not None:
            by_channel[outcome.channel] = by_channel.get(outcome.channel, 0) + 1
    promoted = [outcome.seconds for outcome in outcomes if outcome.phase is Phase.PROMOTED]
    return Tally(
        rollouts=len(outcomes),
        by_channel=by_channel,
        promoted=len(promoted),
        promoted_after_s=float(np.median(promoted)) if promoted else None,
    )
