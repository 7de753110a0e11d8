import numpy as np

from analyzer.core.judge import initial_state, learn
from analyzer.replay.learning import history_of
from analyzer.replay.lines import HistoryLine
from analyzer.replay.run import Replay
from tests.replay.records import Line, header, history, interval, read, replay, world_lines

EDGES = (10.0, 25.0, 50.0, 100.0)


def lines(*given: Line) -> list[HistoryLine]:
    records, bad = read(header(), *given)
    assert bad == []
    return [record for record in records if isinstance(record, HistoryLine)]


def test_lines_become_a_table_of_intervals_and_pods() -> None:
    found = history_of(lines(history(t=-30), history(t=-15, errors=[2, 3])), EDGES)
    assert found.seconds == 15.0
    assert found.edges_ms == EDGES
    assert found.requests.tolist() == [[400, 400], [400, 400]]
    assert found.errors.tolist() == [[1, 1], [2, 3]]
    assert found.latency_counts.shape == (2, 2, 5)
    assert found.requests.dtype == found.errors.dtype == found.latency_counts.dtype == np.int64


def test_a_gap_is_intervals_without_requests() -> None:
    found = history_of(lines(history(t=-75), history(t=-30.2), history(t=-15)), EDGES)
    assert found.requests[:, 0].tolist() == [400, 0, 0, 400, 400]


def test_a_long_gap_takes_no_memory() -> None:
    found = history_of(lines(history(t=-1e9), history(t=-15)), EDGES)
    assert len(found.requests) == 65


def test_pods_that_come_later_had_no_requests_before() -> None:
    found = history_of(lines(history(t=-30, pods=1), history(t=-15, pods=3)), EDGES)
    assert found.requests.tolist() == [[400, 0, 0], [400, 400, 400]]


def test_the_judge_begins_with_what_the_history_taught() -> None:
    given = [history(t=-15.0 * k) for k in range(40, 0, -1)]
    player = Replay(max_waiting=1)
    records, _ = read(header(), *given, interval())
    for record in records[:-1]:
        player.feed(record)
    [rollout] = player._rollouts.values()
    learned = learn(history_of(rollout.history, EDGES), rollout.settings)
    player.feed(records[-1])
    assert rollout.history == []
    assert learned.edges_ms == initial_state(learned).edges_ms
    assert rollout.state is not None
    assert rollout.state.edges_ms == EDGES


def test_rollouts_with_and_without_history_may_be_mixed() -> None:
    bare = world_lines("bare", seed=1, count=5, steps={})
    results = replay([header(), *(history(t=-15.0 * k) for k in range(20, 0, -1)), *bare, interval()])
    assert [(result.rollout, result.intervals) for result in results] == [("r1", 1), ("bare", 5)]
