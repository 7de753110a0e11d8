"""Runs simulated rollouts through the real judge: on weights that are given, or on those that the real decision takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from analyzer.core.judge import judge
from analyzer.core.judge.types import Assessment, JudgeRequest, JudgeState, Step
from analyzer.core.rollout import (
    JUDGED,
    Phase,
    RolloutPlan,
    RolloutState,
    Snapshot,
    TargetView,
    TelemetryHealth,
    VersionView,
    decide,
    settle,
    step_of,
)
from analyzer.core.rollout.weights import active_stage
from analyzer.simulate.counts import START_S
from analyzer.simulate.fleet import Fleet, Scene
from analyzer.simulate.outcomes import Outcomes

if TYPE_CHECKING:
    from analyzer.simulate.fleet import Moment

REACTION_S: Final = 5.0
"""From an interval's end to the new weights at work: scrape, read, decide, write, push."""
_STABLE, _CANARY = VersionView("v1", "aaa", 1, settled=True), VersionView("v2", "bbb", 1, settled=True)
_MOST_FIRST_TURNS: Final = 8


@dataclass(frozen=True, slots=True)
class Phased:
    """Part of a fixed schedule: so many intervals at a weight, while the next one is to be proven."""

    intervals: int
    weight: float
    next_weight: float | None


def schedule(weights: Sequence[float] = (1, 5, 10, 25, 50), *, step_s: float, interval_s: float) -> tuple[Phased, ...]:
    """Give the schedule of a rollout that stays equally long at each weight [per cent]; the last leads to 100."""
    ahead = [*weights[1:], 100.0]
    return tuple(
        Phased(round(step_s / interval_s), weight, after) for weight, after in zip(weights, ahead, strict=True)
    )


def run_schedule(
    fleet: Fleet,
    phases: Sequence[Phased],
    *,
    initial: Sequence[JudgeState] | None = None,
    until_harm: bool = True,
    watch: Callable[[int, Assessment], None] | None = None,
) -> Outcomes:
    """Judge rollouts on given weights.

    Parameters
    ----------
    fleet
        Fresh.
    phases
        The weights.
    initial
        What the judge knows of each before; None: nothing.
    until_harm
        Whether a rollout ends at its first HARM.
    watch
        Called with each rollout's number and assessment, interval by interval.
    """
    outcomes = Outcomes.empty(fleet.rollouts)
    states = list(initial if initial is not None else fleet.initial_states(history=False))
    live = np.ones(fleet.rollouts, dtype=np.bool_)
    weights = []
    turn = 0
    for phase in phases:
        step = Step(key=f"0:{phase.weight:g}", next_weight=phase.next_weight)
        for _ in range(phase.intervals):
            turn += 1
            weight = np.where(live, phase.weight, 0.0)
            weights.append(weight)
            moment = fleet.advance(weight, live=live)
            _add(outcomes, moment)
            answers = _judge(fleet.scene, moment, states, dict.fromkeys(moment.intervals, step))
            for number, answer in answers.items():
                states[number] = answer.state
                outcomes.note(number, answer, now_s=turn * fleet.scene.traffic.interval_s)
                if watch is not None:
                    watch(number, answer)
            if until_harm:
                live &= np.isnan(outcomes.harm_s)
            if not live.any():
                break
    outcomes.weights = np.array(weights)
    return outcomes


def run_closed(
    fleet: Fleet,
    plan: RolloutPlan,
    *,
    horizon_s: float,
    initial: Sequence[JudgeState] | None = None,
    reaction_s: float = REACTION_S,
) -> Outcomes:
    """Let the decision move the weights.

    Parameters
    ----------
    fleet
        Fresh.
    plan
        The policy. Whether it only observes or is suspended does not matter here.
    horizon_s
        When to stop looking [s]; policies that hold may never end.
    initial
        What the judge knows of each rollout before; None: nothing.
    reaction_s
        From an interval's end to the new weights at work [s]; the counts of the interval in which weights change are of no
        one weight.
    """
    interval_s = fleet.scene.traffic.interval_s
    states = list(initial if initial is not None else fleet.initial_states(history=False))
    loop = _Loop(replace(plan, observe_only=False, suspended=False), states)
    outcomes = Outcomes.empty(fleet.rollouts)
    weights = []
    late = min(reaction_s / interval_s, 1.0)
    before = after = loop.weights()
    turn = 0
    while (loop.live | (before != after)).any() and turn * interval_s < horizon_s:
        turn += 1
        moved = before != after
        moment = fleet.advance(
            late * before + (1.0 - late) * after,
            live=loop.live | moved,
            wanted=after,
            stated=np.where(moved, 0.0, after),
        )
        weights.append(after)
        _add(outcomes, moment)
        judged = replace(moment, intervals={n: i for n, i in moment.intervals.items() if loop.live[n]})
        answers = _judge(fleet.scene, judged, loop.judges, loop.steps())
        for number, answer in answers.items():
            outcomes.note(number, answer, now_s=turn * interval_s)
            loop.turn(number, answer, now_s=turn * interval_s, outcomes=outcomes, elapsed_s=interval_s)
        before, after = after, loop.weights()
    outcomes.weights = np.array(weights)
    return outcomes


class _Loop:
    """The decision's side of many rollouts."""

    def __init__(self, plan: RolloutPlan, initial: list[JudgeState]) -> None:
        self._plan = plan
        self._initial = initial
        begun = _begin(plan)
        self._states = [begun] * len(initial)
        self.judges = list(initial)
        self.live = np.ones(len(initial), dtype=np.bool_)

    def weights(self) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        """Give each canary's weight in the stage that moves, shape (R,) [per cent]; 0 for those that have ended."""
        values = [
            s.weights[active_stage(s.weights)] if alive else 0.0
            for s, alive in zip(self._states, self.live.tolist(), strict=True)
        ]
        return np.array(values, dtype=np.float64)

    def steps(self) -> dict[int, Step]:
        """Say what each rollout that is alive has to prove."""
        return {int(n): step_of(self._plan, self._states[n]) for n in np.flatnonzero(self.live)}

    def turn(self, number: int, answer: Assessment, *, now_s: float, elapsed_s: float, outcomes: Outcomes) -> None:
        """Decide on one rollout, and let the weights be written."""
        before = self._states[number]
        state = decide(self._plan, before, _snapshot(before.weights, now_s=now_s, elapsed_s=elapsed_s, answer=answer))
        intent = state.intent
        if intent is not None:
            state = settle(state, intent.after, now_s=START_S + now_s)
            outcomes.steps[number] += state.phase is not Phase.ROLLED_BACK
            outcomes.unproven_steps[number] += intent.reason == "Unproven"
        if state.notices:
            state = replace(state, notices=())  # nobody reads them here
        self._states[number] = state
        self.judges[number] = state.judge if state.judge is not None else self._initial[number]
        self.live[number] = state.phase in JUDGED
        if state.phase is Phase.PROMOTED:
            outcomes.promoted_s[number] = now_s
        elif state.phase is Phase.ROLLED_BACK:
            outcomes.rolled_back_s[number] = now_s


def _begin(plan: RolloutPlan) -> RolloutState:
    """Bring a rollout to its first weight."""
    state = RolloutState()
    live = (0.0,) * len(plan.stages)
    for _ in range(_MOST_FIRST_TURNS):
        state = decide(plan, state, _snapshot(live, now_s=0.0, elapsed_s=0.0))
        if state.intent is not None:
            live = state.intent.after
            return settle(state, live, now_s=START_S)
    raise RuntimeError(f"the decision does not begin a rollout: {state.message}")


def _snapshot(live: tuple[float, ...], *, now_s: float, elapsed_s: float, answer: Assessment | None = None) -> Snapshot:
    shares = {_STABLE.name: tuple(100.0 - w for w in live), _CANARY.name: live}
    target = TargetView(versions=(_STABLE, _CANARY), shares=shares, default_stable=_STABLE.name)
    return Snapshot(
        target=target,
        elapsed_s=elapsed_s,
        telemetry=TelemetryHealth(fresh=True, now_s=START_S + now_s),
        assessment=answer,
    )


def _judge(
    scene: Scene, moment: "Moment", states: Sequence[JudgeState], steps: dict[int, Step]
) -> dict[int, Assessment]:
    numbers = list(moment.intervals)
    requests = [JudgeRequest(states[n], scene.settings, steps[n], (moment.intervals[n],)) for n in numbers]
    return dict(zip(numbers, judge(requests), strict=True)) if requests else {}


def _add(outcomes: Outcomes, moment: "Moment") -> None:
    outcomes.canary_requests += moment.sent
    outcomes.hurt += moment.hurt
