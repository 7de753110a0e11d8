"""Many intervals of one rollout, weighed at once.

What an interval says depends on what was known before it: running means, which can be computed ahead, and a few things
that seldom change (the chosen edges, the warm-up). So the memory before each of many intervals is foreseen as if only
the means moved; all are weighed in one call, as if they were rollouts of their own; and each memory that comes out is
held against the one foreseen for the next interval. From the first that differs on, it is done again. What is kept is
therefore the same, to the last bit, as judging interval by interval, whatever the foresight leaves out.
"""

from itertools import groupby
from typing import TYPE_CHECKING, Final

import numpy as np

from analyzer.core.judge import batch, report, state, warmup
from analyzer.core.judge.accusation import log_e
from analyzer.core.judge.prediction import Lesson, lesson
from analyzer.core.judge.types import Assessment, Interval, JudgeRequest, JudgeSettings, JudgeState, Step
from analyzer.core.judge.update import EVIDENCE, additions, take_in, weigh

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from analyzer.core.judge.batch import Columns, Edges
    from analyzer.core.judge.evalues import FloatArray

_MOST: Final = 256
"""Intervals weighed at once: enough that the calls do not matter, few enough that the numbers stay in the cache."""


def judge_course(
    before: JudgeState, settings: JudgeSettings, turns: "Sequence[tuple[Step, Interval]]"
) -> "Iterator[Assessment]":
    """Judge one rollout, and say after each interval what `judge` would say there.

    Parameters
    ----------
    before
        The rollout's state.
    settings
        How strict the judge is.
    turns
        The intervals since the state, oldest first, each with the step that it belongs to.

    Yields
    ------
    Assessment
        One per interval, in order. Its state is the checkpoint there.

    Raises
    ------
    ValueError
        A histogram does not fit its edges; intervals before may have been judged.
    """
    intervals = tuple(interval for _, interval in turns)
    for step, group in groupby(turns, key=lambda turn: turn[0]):
        request = JudgeRequest(before, settings, step, intervals)
        course = _Course(request, batch.own_edges(request))
        for assessment in course.judge([interval for _, interval in group]):
            before = assessment.state
            yield assessment


class _Course:
    """A rollout within one step."""

    def __init__(self, request: JudgeRequest, edges: "Edges") -> None:
        self._request = request
        self._edges = edges
        rungs = state.rungs_of(request.step.ladder)
        self._record = state.stack([state.fitted(request.state, edges, rungs)], len(edges), rungs)
        state.start(self._record, [request])
        self._parameters = batch.parameters([request])
        self._edges_ms = batch.edge_rows([edges])

    def judge(self, intervals: "list[Interval]") -> "Iterator[Assessment]":
        """Judge the next intervals."""
        start, size = 0, 1
        while start < len(intervals):
            some = intervals[start : start + size]
            records = self._play(batch.columns(some, [self._edges] * len(some)))
            yield from self._assess(records)
            self._record = records[-1:]
            start += len(records)
            size = min(2 * size, _MOST) if len(records) == len(some) else max(len(records), 1)

    def _play(self, columns: "Columns") -> "NDArray[np.void]":
        """Play intervals, and give the records after each of them, up to the first that was not foreseen."""
        rows = np.zeros(len(columns.seconds), dtype=np.intp)
        parameters = self._parameters.take(rows)
        foreseen = foresee(self._record, columns)
        records = foreseen.copy()
        weighed = weigh(records, columns, parameters, self._edges_ms[rows])
        records = records[: _as_foreseen(records, foreseen)]
        last = self._record
        for number in range(len(records)):
            now = records[number : number + 1]
            for name in EVIDENCE:
                now[name] = last[name]
            take_in(now, weighed.rows(number, number + 1))
            last = now
        now_log_e = log_e(records, parameters.take(rows[: len(records)]))
        records["max_log_e"] = np.maximum.accumulate(np.maximum(now_log_e, self._record["max_log_e"]))
        return records

    def _assess(self, records: "NDArray[np.void]") -> list[Assessment]:
        rows = np.zeros(len(records), dtype=np.intp)
        step = self._request.step
        kept = [
            JudgeState(edges_ms=self._edges, step_key=step.key, record=record.tobytes(), ladder=step.ladder)
            for record in records
        ]
        return report.assess(records, self._parameters.take(rows), states=kept, edges_ms=self._edges_ms[rows])


def _as_foreseen(after: "NDArray[np.void]", foreseen: "NDArray[np.void]") -> int:
    """Count the intervals, from the first, whose memory before was the true one."""
    bytes_after, bytes_before = (records.view(np.uint8).reshape(len(records), -1) for records in (after, foreseen))
    wrong = np.flatnonzero((bytes_after[:-1] != bytes_before[1:]).any(axis=1))
    return int(wrong[0]) + 1 if wrong.size else len(after)


def foresee(record: "NDArray[np.void]", columns: "Columns") -> "NDArray[np.void]":
    """Foresee a rollout's memory before each of its next T intervals, shape (T,), as if only means and totals moved."""
    records = np.repeat(record, len(columns.seconds))
    _foresee_means(records, lesson(columns))
    warmup.foresee(records, columns)
    for name, more in additions(records, columns).items():
        records[name] = np.add.accumulate(np.concatenate([records[name][:1], more[:-1]]), axis=0)
    return records


def _foresee_means(records: "NDArray[np.void]", lessons: Lesson) -> None:
    means_n: FloatArray = records["mean_n"]
    means_x: FloatArray = records["mean_x"]
    n, x = means_n[0], means_x[0]
    for number, one in enumerate(zip(*(values[:-1] for values in lessons), strict=True)):
        n, x = Lesson(*one).move(n, x)
        means_n[number + 1], means_x[number + 1] = n, x
