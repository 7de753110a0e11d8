"""From requests to columns: everything that has to look at each rollout by itself happens here, the maths nowhere."""

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from analyzer.core.judge.evalues import Tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from analyzer.core.judge.evalues import FloatArray
    from analyzer.core.judge.types import Interval, JudgeRequest

Edges = tuple[float, ...]

_SETTINGS = attrgetter(
    "false_rollback",
    "false_proof",
    "error_tolerance",
    "error_floor",
    "latency_tolerance",
    "warm_up_s",
    "harm_budget",
    "limit_error_rate",
    "limit_p99_ms",
)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Settings and steps of R rollouts as columns, each of shape (R,); NaN for None.

    `rungs`, shape (R, K), is the ladder, or the next weight where there is none.
    """

    false_rollback: "FloatArray"
    false_proof: "FloatArray"
    error_tolerance: "FloatArray"
    error_floor: "FloatArray"
    latency_tolerance: "FloatArray"
    warm_up_s: "FloatArray"
    harm_budget: "FloatArray"
    limit_error_rate: "FloatArray"
    limit_p99_ms: "FloatArray"
    next_weight: "FloatArray"
    rungs: "FloatArray"

    @property
    def limits_set(self) -> "NDArray[np.bool_]":
        """Which limits there are, shape (R, 2)."""
        return ~np.isnan(np.stack([self.limit_error_rate, self.limit_p99_ms], axis=1))

    def take(self, rows: "NDArray[np.intp]") -> "Parameters":
        """Give the same of some rows only."""
        return Parameters(*(getattr(self, name)[rows] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Columns:
    """One interval of each of R rollouts.

    Attributes
    ----------
    requests, errors : ndarray, shape (R, 2), int64
        Counts of [stable, canary].
    histogram : ndarray, shape (R, 2, C), int64
        Latency counts per bucket, of the rollout's own edges.
    present : ndarray, shape (R, C), bool
        Channels that the interval has counts for.
    n, x : ndarray, shape (R, 2, C), float64
        Requests, and events among them: errors; requests above each edge.
    pods : ndarray, shape (R, 2), float64
        At least 1 each.
    age_s : ndarray, shape (R,)
        Age of the youngest canary pod when the interval began [s].
    seconds, weight : ndarray, shape (R,)
        Length [s]; the canary's weight [per cent].
    unattributed : ndarray, shape (R,), int64
        Errors of either version.
    """

    requests: "NDArray[np.int64]"
    errors: "NDArray[np.int64]"
    histogram: "NDArray[np.int64]"
    present: "NDArray[np.bool_]"
    n: "FloatArray"
    x: "FloatArray"
    pods: "FloatArray"
    age_s: "FloatArray"
    seconds: "FloatArray"
    weight: "FloatArray"
    unattributed: "NDArray[np.int64]"

    @property
    def tables(self) -> Tables:
        """The 2 x 2 tables of all channels, shape (R, C)."""
        return Tables(x1=self.x[:, 0], n1=self.n[:, 0], x2=self.x[:, 1], n2=self.n[:, 1])


def parameters(requests: "Sequence[JudgeRequest]") -> Parameters:
    """Read settings and steps of rollouts whose ladders are equally long."""
    rows = np.array([(*_SETTINGS(r.settings), r.step.next_weight) for r in requests], dtype=np.float64)
    ladders = [r.step.ladder for r in requests]
    rungs = np.array(ladders, dtype=np.float64) if ladders[0] else rows[:, -1:]
    columns: list[FloatArray] = [*rows.T, rungs]
    return Parameters(*columns)


def own_edges(request: "JudgeRequest") -> Edges:
    """Edges that a rollout's latency is judged at: those of its state or, while it has none, of its first histogram."""
    if request.state.edges_ms:
        return request.state.edges_ms
    return next((interval.edges_ms for interval in request.intervals if interval.edges_ms), ())


def edge_rows(edges: "Sequence[Edges]") -> "FloatArray":
    """Put the rollouts' edges into rows, shape (R, E) [ms]; most rollouts share one tuple, which is converted once."""
    place: dict[int, int] = {}
    rows = [place.setdefault(id(own), len(place)) for own in edges]
    unique = list({id(own): own for own in edges}.values())
    return np.array(unique, dtype=np.float64).reshape(len(unique), len(edges[0]))[rows]


def columns(intervals: "Sequence[Interval]", edges: "Sequence[Edges]") -> Columns:
    """Put one interval of each rollout into columns.

    Counts that cannot be (negative, more errors than requests) are cut to what can.

    Raises
    ------
    ValueError
        A histogram has not one bucket more than edges.
    """
    channels = 1 + len(edges[0])
    numbers = np.array([_numbers(i) for i in intervals], dtype=np.int64)
    requests = np.maximum(numbers[:, 0:2], 0)
    errors = np.clip(numbers[:, 2:4], 0, requests)
    times = np.array(
        [(i.seconds, i.weight, i.canary.youngest_pod_age_s) for i in intervals],
        dtype=np.float64,
    )
    seconds = np.maximum(np.nan_to_num(times[:, 0]), 0.0)
    histogram, present = _histograms(intervals, edges, channels)
    np.maximum(histogram, 0, out=histogram)
    from_above = np.cumsum(histogram[..., ::-1], axis=-1, dtype=np.float64)[..., ::-1]
    n = np.repeat(from_above[..., :1], channels, axis=-1)
    n[..., 0] = requests
    x = from_above.copy()  # channel 1 + j is what lies above edge j, which is `from_above[j + 1]`
    x[..., 0] = errors
    return Columns(
        requests=requests,
        errors=errors,
        histogram=histogram,
        present=present,
        n=n,
        x=x,
        pods=np.maximum(numbers[:, 4:6], 1).astype(np.float64),
        age_s=np.maximum(np.nan_to_num(times[:, 2], nan=np.inf, posinf=np.inf) - seconds, 0.0),
        seconds=seconds,
        weight=np.nan_to_num(times[:, 1]),
        unattributed=np.maximum(numbers[:, 6], 0),
    )


def _numbers(interval: "Interval") -> tuple[int, ...]:
    stable, canary = interval.stable, interval.canary
    return (
        stable.requests,
        canary.requests,
        stable.errors,
        canary.errors,
        stable.pods,
        canary.pods,
        interval.unattributed_errors,
    )


def _histograms(
    intervals: "Sequence[Interval]", edges: "Sequence[Edges]", channels: int
) -> tuple["NDArray[np.int64]", "NDArray[np.bool_]"]:
    present = np.ones((len(intervals), channels), dtype=np.bool_)
    rows: list[NDArray[np.int64]] = []
    for row, (interval, own) in enumerate(zip(intervals, edges, strict=True)):
        pair = [interval.stable.latency_counts, interval.canary.latency_counts]
        if any(len(counts) != len(interval.edges_ms) + 1 for counts in pair):
            sizes = " and ".join(str(len(counts)) for counts in pair)
            raise ValueError(
                f"interval ending at {interval.end_s}: {len(interval.edges_ms)} histogram edges need "
                f"{len(interval.edges_ms) + 1} latency counts per version, got {sizes}"
            )
        if interval.edges_ms is not own and interval.edges_ms != own:
            pair, present[row, 1:] = _on_edges(pair, interval.edges_ms, own)
        rows += pair
    return np.concatenate(rows, dtype=np.int64).reshape(len(intervals), 2, channels), present


def _on_edges(
    pair: "list[NDArray[np.int64]]", edges: Edges, own: Edges
) -> "tuple[list[NDArray[np.int64]], NDArray[np.bool_]]":
    """Merge the buckets of both versions to the edges that the interval and the rollout have in common.

    A merged bucket's requests are put into the lowest of the rollout's buckets that it covers; only edges marked as
    common take part in the comparison. With nothing in common the histogram is empty.
    """
    place = {edge: number for number, edge in enumerate(edges)}
    common = np.array([edge in place for edge in own], dtype=np.bool_)
    if not common.any():
        return [np.zeros(len(own) + 1, dtype=np.int64) for _ in pair], common
    merged = []
    for counts in pair:
        above = np.cumsum(counts[::-1])[::-1]  # above[j + 1]: requests above edge j
        tails = np.zeros(len(own) + 2, dtype=np.int64)
        tails[0] = above[0]
        for number in reversed(range(len(own))):
            tails[number + 1] = above[place[own[number]] + 1] if common[number] else tails[number + 2]
        merged.append(-np.diff(tails))
    return merged, common
