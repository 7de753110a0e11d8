"""Recorded intervals through the same judge.

The weights in the record are taken as given: they do not follow the decision. Intervals wait until there are many of
them. Then the judge is called once per place in the rollouts' queues, with the next interval of each; where few
rollouts have that many, the rest of each is judged as one course. So it works on hundreds of intervals at once, however
the lines are interleaved, and no answer depends on where the batches end: the state of a rollout is its checkpoint.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from analyzer.app.plan import judge_settings
from analyzer.core.judge import initial_state, judge, judge_course, learn
from analyzer.core.judge.types import Assessment, Interval, JudgeRequest, JudgeSettings, JudgeState, Step
from analyzer.policy.model import CanaryPolicy
from analyzer.replay.learning import history_of
from analyzer.replay.lines import Header, HistoryLine, IntervalLine, Record
from analyzer.replay.result import Result

MAX_WAITING: Final = 30_000
"""Intervals that wait to be judged [count]; about 1 kB each."""
_MANY: Final = 16
"""From so many rollouts on, an interval of each in one call is quicker than a course of each."""


class Judged(NamedTuple):
    """One interval, and what the judge said after it."""

    rollout: str
    policy: CanaryPolicy
    interval: Interval
    next_weight: float | None
    assessment: Assessment


class _Waiting(NamedTuple):
    number: int  # in order of the record
    interval: Interval
    next_weight: float | None

    @property
    def step(self) -> Step:
        return step_of(self.interval.weight, self.next_weight)


@dataclass(slots=True)
class _Rollout:
    policy: CanaryPolicy
    settings: JudgeSettings
    edges_ms: tuple[float, ...]
    result: Result
    state: JudgeState | None = None
    history: list[HistoryLine] = field(default_factory=list)
    waiting: list[_Waiting] = field(default_factory=list)


@dataclass(slots=True)
class Replay:
    """Judges records as they come.

    Parameters
    ----------
    on_judged
        Called for each interval after it was judged, in order of the record; None where nobody looks.
    max_waiting
        Intervals to gather before they are judged together [count].
    """

    on_judged: Callable[[Judged], None] | None = None
    max_waiting: int = MAX_WAITING
    _rollouts: dict[str, _Rollout] = field(default_factory=dict)
    _number: int = 0
    _count: int = 0

    def play(self, records: Iterable[Record]) -> list[Result]:
        """Judge all records; one result per rollout, in order of first appearance.

        Raises
        ------
        KeyError
            A rollout has no header before its other records.
        """
        for record in records:
            self.feed(record)
        return self.finish()

    def feed(self, record: Record) -> None:
        """Take one record."""
        if isinstance(record, Header):
            result = Result(record.rollout)
            settings = judge_settings(record.policy)
            self._rollouts[record.rollout] = _Rollout(record.policy, settings, record.edges_ms, result)
        elif isinstance(record, HistoryLine):
            self._rollouts[record.rollout].history.append(record)
        else:
            self._wait(record)

    def finish(self) -> list[Result]:
        """Judge what still waits."""
        self._flush()
        return [rollout.result for rollout in self._rollouts.values()]

    def _wait(self, line: IntervalLine) -> None:
        rollout = self._rollouts[line.rollout]
        if rollout.state is None:
            rollout.state = _begin(rollout)
        rollout.waiting.append(_Waiting(self._number, line.interval, line.next_weight))
        self._number += 1
        self._count += 1
        if self._count >= self.max_waiting:
            self._flush()

    def _flush(self) -> None:
        seen: list[tuple[int, Judged]] = []
        for rollout, waiting, assessment in _judge([one for one in self._rollouts.values() if one.waiting]):
            rollout.state = assessment.state
            rollout.result.take_in(assessment, t=waiting.interval.end_s, next_weight=waiting.next_weight)
            if waiting is rollout.waiting[-1]:
                rollout.result.take_stock(assessment)
            if self.on_judged is not None:
                judged = Judged(
                    rollout.result.rollout, rollout.policy, waiting.interval, waiting.next_weight, assessment
                )
                seen.append((waiting.number, judged))
        for rollout in self._rollouts.values():
            rollout.waiting.clear()
        self._count = 0
        if self.on_judged is not None:
            for _, judged in sorted(seen, key=lambda pair: pair[0]):
                self.on_judged(judged)


def _begin(rollout: _Rollout) -> JudgeState:
    if not rollout.history:
        return initial_state()
    learned = learn(history_of(rollout.history, rollout.edges_ms), rollout.settings)
    rollout.history.clear()
    return initial_state(learned)


def _judge(rollouts: list[_Rollout]) -> Iterator[tuple[_Rollout, _Waiting, Assessment]]:
    """Judge what waits: the first interval of each, then the second of each; where only few have more, one by one."""
    place = 0
    while len(rollouts) >= _MANY:
        turn = [(rollout, rollout.waiting[place]) for rollout in rollouts]
        requests = [
            JudgeRequest(_state(rollout), rollout.settings, waiting.step, (waiting.interval,))
            for rollout, waiting in turn
        ]
        yield from ((*one, assessment) for one, assessment in zip(turn, judge(requests), strict=True))
        place += 1
        rollouts = [rollout for rollout in rollouts if len(rollout.waiting) > place]
    for rollout in rollouts:
        rest = rollout.waiting[place:]
        course = judge_course(_state(rollout), rollout.settings, [(one.step, one.interval) for one in rest])
        yield from ((rollout, waiting, assessment) for waiting, assessment in zip(rest, course, strict=True))


def _state(rollout: _Rollout) -> JudgeState:
    assert rollout.state is not None, "intervals wait only after the state was made"
    return rollout.state


def step_of(weight: float, next_weight: float | None) -> Step:
    """Name the step: proof starts anew where the weight or the next one changes."""
    return Step(key=f"{weight!r}>{next_weight!r}", next_weight=next_weight)
