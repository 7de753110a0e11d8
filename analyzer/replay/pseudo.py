"""Pseudo-canaries: rollouts that are harmless for certain, since both versions are the stable one.

Some pods of the workload play the canary, the others stay stable, both at the same instants. Their requests are thinned
at random, so that the canary has the share that its weight would give it: a thinned part of a pod's requests has the
pod's noise, its slow node and its clumps. A workload of one pod is compared with its own past, one interval earlier;
that shows daily rhythm as a difference between the versions, so it errs on the side of alarm.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from analyzer.core.judge.types import History, Interval, VersionCounts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.app.history.pods import PodCounts

HISTORY: Final = 240
"""Intervals before a rollout that the judge may learn from; no more than half of what there is."""
_LIVELY: Final = 20
"""A pod takes part if it had requests in most of so many intervals at the rollout's start."""
_MOST: Final = 0.8
_LEAST_LENGTH: Final = 8


@dataclass(frozen=True, slots=True)
class Draw:
    """One pseudo-rollout.

    Attributes
    ----------
    start, end
        Its first interval, and the one after its last.
    stable, canary
        The pods that play each version: columns of the counts. The same one pod, if there is only one.
    """

    start: int
    end: int
    stable: tuple[int, ...]
    canary: tuple[int, ...]

    @property
    def is_past(self) -> bool:
        """Whether one pod is compared with its own past."""
        return self.stable == self.canary


class _Side(NamedTuple):
    requests: int
    errors: int
    latency: "NDArray[np.int64]"


def draw_rollouts(counts: "PodCounts", count: int, *, longest_s: float, rng: np.random.Generator) -> list[Draw]:
    """Choose starts, evenly over what there is, and pods at random; fewer than asked for where pods are not there.

    Each has time for a whole rollout, if that takes no more than half of what there is after the first history.
    """
    begin = max(min(HISTORY, counts.n_intervals // 2), 1)
    room = min(int(longest_s / counts.seconds), (counts.n_intervals - begin) // 2)
    last = counts.n_intervals - max(room, _LEAST_LENGTH)
    if last < begin:
        return []
    starts = np.linspace(begin, last, count).astype(int).tolist()
    draws = [_draw(counts, start, rng=rng) for start in starts]
    return [draw for draw in draws if draw is not None and draw.end - draw.start >= _LEAST_LENGTH]


def _draw(counts: "PodCounts", start: int, *, rng: np.random.Generator) -> Draw | None:
    around = counts.requests[max(start - _LIVELY // 2, 0) : start + _LIVELY // 2] > 0
    alive = np.flatnonzero(around.mean(axis=0) >= _MOST)
    if not alive.size:
        return None
    if alive.size == 1:
        only = (int(alive[0]),)
        return Draw(start, _end(counts, start, only), only, only)
    mixed = rng.permutation(alive)
    size = int(rng.integers(1, alive.size // 2 + 1))
    canary, stable = (tuple(sorted(part.tolist())) for part in (mixed[:size], mixed[size:]))
    return Draw(start, min(_end(counts, start, canary), _end(counts, start, stable)), stable, canary)


def _end(counts: "PodCounts", start: int, pods: tuple[int, ...]) -> int:
    """Find where the last of these pods had its last request."""
    busy = np.flatnonzero(counts.requests[start:, list(pods)].any(axis=1))
    return start + int(busy[-1]) + 1 if busy.size else start


def history_before(counts: "PodCounts", start: int) -> History | None:
    """Cut the history of a rollout that starts there; None where nobody had a request."""
    rows = slice(max(start - HISTORY, 0), start)
    pods = np.flatnonzero(counts.requests[rows].any(axis=0))
    if not pods.size:
        return None
    ages = counts.age_s[rows][:, pods]
    return History(
        seconds=counts.seconds,
        requests=counts.requests[rows][:, pods].astype(np.int64),
        errors=counts.errors[rows][:, pods].astype(np.int64),
        edges_ms=counts.edges_ms,
        latency_counts=counts.latency_counts[rows][:, pods].astype(np.int64),
        pod_age_s=None if np.isnan(ages).all() else ages,
    )


def interval_at(counts: "PodCounts", draw: Draw, number: int, *, weight: float, rng: np.random.Generator) -> Interval:
    """Make the interval of a pseudo-rollout with this weight [per cent]."""
    stable = _sum(counts, number - 1 if draw.is_past else number, draw.stable)
    canary = _sum(counts, number, draw.canary)
    share = weight / 100.0
    odds = canary.requests / stable.requests if stable.requests else 0.0
    keep = share / ((1.0 - share) * odds) if odds and share < 1.0 else 1.0
    if keep <= 1.0:
        canary = _thin(canary, keep, rng=rng)
    else:
        stable = _thin(stable, 1.0 / keep, rng=rng)
    ages = counts.age_s[number, list(draw.canary)]
    return Interval(
        end_s=counts.start_s + (number + 1) * counts.seconds,
        seconds=counts.seconds,
        weight=weight,
        edges_ms=counts.edges_ms,
        stable=_version(stable, draw.stable),
        canary=_version(canary, draw.canary, age_s=float("inf") if np.isnan(ages).any() else float(ages.min())),
    )


def _sum(counts: "PodCounts", number: int, pods: tuple[int, ...]) -> _Side:
    columns = list(pods)
    return _Side(
        int(counts.requests[number, columns].sum()),
        int(counts.errors[number, columns].sum()),
        counts.latency_counts[number, columns].sum(axis=0, dtype=np.int64),
    )


def _thin(side: _Side, keep: float, *, rng: np.random.Generator) -> _Side:
    errors = int(rng.binomial(side.errors, keep))
    fine = int(rng.binomial(side.requests - side.errors, keep))
    return _Side(fine + errors, errors, rng.binomial(side.latency, keep))


def _version(side: _Side, pods: tuple[int, ...], *, age_s: float = float("inf")) -> VersionCounts:
    return VersionCounts(side.requests, side.errors, side.latency, pods=len(pods), youngest_pod_age_s=age_s)
