"""The judge: intervals in, evidence and verdict out.

Pure: the same requests give the same answers, and one call with many intervals gives what many calls with one each
give. The maths is done for all rollouts at once; only the interval number is looped over.

A verdict is HARM from the moment the evidence of harm reaches its threshold, for the rest of the rollout; else NO_DATA
until one interval had requests at both versions; else PROVEN while every claim of the step is proven and nothing
speaks for harm (evidence below 10); else INCONCLUSIVE. Dwelling, and what INCONCLUSIVE leads to, is the decision's
business.
"""

from typing import TYPE_CHECKING, Final

import numpy as np

from analyzer.core.judge import batch, report, state
from analyzer.core.judge.types import Assessment, JudgeRequest, JudgeState, Learned
from analyzer.core.judge.update import play

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from analyzer.core.judge.batch import Edges, Parameters
    from analyzer.core.judge.evalues import FloatArray

_TOGETHER: Final = 1000
"""Rollouts computed at once: enough that the calls do not matter, few enough that memory stays bounded."""


def initial_state(learned: Learned | None = None) -> JudgeState:
    """Give the state of a rollout that nothing is known of but what the stable version's history taught."""
    if learned is None:
        return JudgeState()
    return JudgeState(edges_ms=learned.edges_ms, record=learned.record)


def judge(requests: "Sequence[JudgeRequest]") -> list[Assessment]:
    """Judge many rollouts.

    Parameters
    ----------
    requests
        One per rollout: its state, settings, step, and the intervals since the state, oldest first. Without intervals
        the answer only reports again.

    Returns
    -------
    list of Assessment
        In the order of the requests.

    Raises
    ------
    ValueError
        A histogram does not fit its edges; nothing was judged.
    """
    edges = [batch.own_edges(request) for request in requests]
    groups: dict[tuple[int, int], list[int]] = {}
    for number, (own, request) in enumerate(zip(edges, requests, strict=True)):
        groups.setdefault((len(own), len(request.step.ladder)), []).append(number)
    answers: dict[int, Assessment] = {}
    for everyone in groups.values():
        for start in range(0, len(everyone), _TOGETHER):
            numbers = everyone[start : start + _TOGETHER]
            group = _judge_group([requests[i] for i in numbers], [edges[i] for i in numbers])
            answers.update(zip(numbers, group, strict=True))
    return [answers[i] for i in range(len(requests))]


def _judge_group(requests: "Sequence[JudgeRequest]", edges: "Sequence[Edges]") -> list[Assessment]:
    """Judge rollouts that have equally many histogram edges, and ladders of equally many weights."""
    parameters = batch.parameters(requests)
    rungs = state.rungs_of(requests[0].step.ladder)
    records = state.stack(
        [state.fitted(r.state, e, rungs) for r, e in zip(requests, edges, strict=True)], len(edges[0]), rungs
    )
    edges_ms = batch.edge_rows(edges)
    state.start(records, requests)
    for turn in range(max(len(r.intervals) for r in requests)):
        rows = np.array([n for n, r in enumerate(requests) if len(r.intervals) > turn], dtype=np.intp)
        columns = batch.columns([requests[n].intervals[turn] for n in rows], [edges[n] for n in rows])
        _play_rows(records, rows, columns=columns, parameters=parameters, edges_ms=edges_ms)
    kept = [
        JudgeState(edges_ms=own, step_key=r.step.key, record=record, ladder=r.step.ladder)
        for r, own, record in zip(requests, edges, _split(records), strict=True)
    ]
    return report.assess(records, parameters, states=kept, edges_ms=edges_ms)


def _play_rows(
    records: "NDArray[np.void]",
    rows: "NDArray[np.intp]",
    *,
    columns: batch.Columns,
    parameters: "Parameters",
    edges_ms: "FloatArray",
) -> None:
    if len(rows) == len(records):
        play(records, columns, parameters, edges_ms)
        return
    some = records[rows]
    play(some, columns, parameters.take(rows), edges_ms[rows])
    records[rows] = some


def _split(records: "NDArray[np.void]") -> list[bytes]:
    raw, size = records.tobytes(), records.dtype.itemsize
    return [raw[start : start + size] for start in range(0, len(raw), size)]
