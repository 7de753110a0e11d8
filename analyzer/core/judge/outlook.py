"""What the evidence will do if things go on, and what it would have found by now: the judge itself, on average counts.

What an interval says is linear in the events counted in it, the requests being given. So intervals with just as many
events as there are on average say on average what real ones do, and no formula beside the judge's is needed. Fractions
of an event are carried from interval to interval.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import bdtrik

from analyzer.core.judge import dispersion, state, tolerance
from analyzer.core.judge.course import judge_course
from analyzer.core.judge.types import Interval, JudgeSettings, JudgeState, Step, Verdict, VersionCounts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.evalues import FloatArray

HORIZON: Final = 2000
"""Intervals that are looked ahead."""
SURE: Final = 0.95
"""Chance with which what is called found would have been found."""
_MOST_BACK: Final = 400
"""Intervals that are played again at most; more are put together."""
_CLOSE: Final = 0.02
_SLOWEST: Final = 20.0
_ENOUGH_INTERVALS: Final = 4
"""A step's own pace is known after so many."""
_NO_STEP: Final = Step(key="", next_weight=None)
_LASTING: Final = (
    "mean_n", "mean_x", "clump", "noise", "spread", "base", "load", "running", "wander", "learned", "warm_known", "warm_shift",
)  # fmt: skip
"""What the judge knows of the service, whatever the canary did."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How requests come.

    Attributes
    ----------
    seconds
        Length of an interval [s], > 0.
    weight
        The canary's [per cent].
    stable, canary
        Requests per interval [count]; fractions are fine.
    stable_pods, canary_pods
        Ready pods [count].
    """

    seconds: float
    weight: float
    stable: float
    canary: float
    stable_pods: int = 1
    canary_pods: int = 1


@dataclass(frozen=True, slots=True)
class Need:
    """What is missing to a verdict, if things go on as supposed.

    Attributes
    ----------
    verdict
        Which one it will be: PROVEN, HARM, or INCONCLUSIVE: neither within the horizon.
    seconds, canary_requests
        Until then [s, count]; for INCONCLUSIVE, of the horizon.
    """

    verdict: Verdict
    seconds: float
    canary_requests: int


@dataclass(frozen=True, slots=True)
class Found:
    """The smallest regressions that would have been found by now with a chance of `SURE`, had they been there all along.

    Attributes
    ----------
    error_rate
        Of the canary [ratio]; None: not even if every request had failed.
    stable_error_rate
        What it is to be compared with [ratio].
    slower
        Factor by which every request would have taken longer [ratio]; None: none up to 20.
    """

    error_rate: float | None
    stable_error_rate: float
    slower: float | None


def pace_of(
    before: JudgeState, *, weight: float, seconds: float | None = None, pods: tuple[int, int] = (1, 1)
) -> Pace | None:
    """Tell how requests came lately: in this step, or while that is young, since the evidence began.

    Parameters
    ----------
    before
        The rollout's state.
    weight
        The canary's by now [per cent]: it shares out the requests.
    seconds
        Length of an interval, where it is known [s].
    pods
        Ready pods, of the stable version and the canary [count].

    Returns
    -------
    Pace or None
        None where nothing was seen yet.
    """
    if not before.record:
        return None
    record = _record_of(before)
    own = int(record["step_intervals"]) >= _ENOUGH_INTERVALS
    stable, canary = (int(n) for n in record["step_requests" if own else "requests"])
    time_s = float(record["step_seconds" if own else "seconds"])
    intervals = int(record["step_intervals" if own else "intervals"])
    if not stable + canary or time_s <= 0.0 or not intervals:
        return None
    length_s, share = seconds or time_s / intervals, weight / 100.0
    total = float(stable + canary)
    per_interval = total * length_s / time_s
    return Pace(length_s, weight, per_interval * (1.0 - share), per_interval * share, *pods)


def need_if_harmless(before: JudgeState, settings: JudgeSettings, step: Step, pace: Pace) -> Need:
    """Say what is missing if the canary is as good as the stable version has been in this rollout.

    Parameters
    ----------
    before
        The rollout's state.
    settings, step
        How strict the judge is, and what is to be proven.
    pace
        How requests will come.
    """
    return _look_ahead(before, settings, step, pace, like=0)


def need_as_so_far(before: JudgeState, settings: JudgeSettings, step: Step, pace: Pace) -> Need:
    """Say what is missing if the canary goes on as it has been in this rollout; parameters as of `need_if_harmless`."""
    return _look_ahead(before, settings, step, pace, like=1)


def found_by_now(before: JudgeState, settings: JudgeSettings, *, pods: tuple[int, int] = (1, 1)) -> Found | None:
    """Say what would have been found by now: plays the rollout again with worse and worse canaries.

    The requests are spread evenly over the time watched. Of the canary's events there are only so many as would be
    exceeded with a chance of `SURE`, errors in clumps as the stable version's.

    Parameters
    ----------
    before
        The rollout's state.
    settings
        How strict the judge is.
    pods
        Ready pods, of the stable version and the canary [count].

    Returns
    -------
    Found or None
        None where the canary had no requests yet.
    """
    if not before.record:
        return None
    record = _record_of(before)
    n1, n2 = (int(n) for n in record["requests"])
    if not n1 or not n2 or not int(record["intervals"]):
        return None
    past = _Past(before, settings, pods)
    usual = int(record["errors"][0]) / n1
    error_rate = _least(lambda p: past.finds(errors=p), max(usual, 0.1 / n2), 0.999)
    slower = _least(lambda factor: past.finds(errors=usual, slower=factor), 1.0, _SLOWEST) if before.edges_ms else None
    return Found(error_rate, usual, slower)


# --- ahead ------------------------------------------------------------------------------------------------------------


def _look_ahead(before: JudgeState, settings: JudgeSettings, step: Step, pace: Pace, *, like: int) -> Need:
    record = _record_of(before)
    n_edges = len(before.edges_ms)
    stable = _spread(HORIZON, pace.stable, rate=_error_rate(record, 0), above=_above(record, 0, n_edges))
    canary = _spread(HORIZON, pace.canary, rate=_error_rate(record, like), above=_above(record, like, n_edges))
    intervals = _intervals(before.edges_ms, pace, stable, canary)
    for number, answer in enumerate(judge_course(before, settings, [(step, interval) for interval in intervals])):
        if answer.verdict in {Verdict.PROVEN, Verdict.HARM}:
            requests = sum(interval.canary.requests for interval in intervals[: number + 1])
            return Need(answer.verdict, (number + 1) * pace.seconds, requests)
    return Need(Verdict.INCONCLUSIVE, HORIZON * pace.seconds, int(canary.requests.sum()))


# --- back -------------------------------------------------------------------------------------------------------------


class _Past:
    """What was seen, to be played again with another canary."""

    def __init__(self, before: JudgeState, settings: JudgeSettings, pods: tuple[int, int]) -> None:
        record = _record_of(before)
        self._settings = settings
        self._edges_ms = before.edges_ms
        self._count = min(int(record["intervals"]), _MOST_BACK)
        n1, n2 = (int(n) for n in record["requests"])
        seconds = float(record["seconds"]) / self._count
        self._pace = Pace(seconds, 100.0 * n2 / (n1 + n2), n1 / self._count, n2 / self._count, *pods)
        self._above = _above(record, 0, len(self._edges_ms))
        self._stable = _spread(self._count, self._pace.stable, rate=_error_rate(record, 0), above=self._above)
        self._youngest_s = float(record["warm_age"])
        first = state.fresh(len(self._edges_ms))
        for name in _LASTING:
            first[name] = record[name]
        self._first = JudgeState(edges_ms=self._edges_ms, record=first.tobytes())
        self._clump = dispersion.known(first).clump[0]
        self._requests = float(n2)

    def finds(self, *, errors: float, slower: float = 1.0) -> bool:
        """Tell whether a canary with this error rate [ratio], and so many times slower, would have been found."""
        above = self._above
        if slower > 1.0:
            share = np.clip(above, 1e-9, 1.0 - 1e-9)[None, :]
            curve = tolerance.curve(np.array(self._edges_ms)[None, :], share)
            above = tolerance.share_of(curve.log_odds + curve.shift(np.array([math.log(slower)])))[0]
            above = _at_least(above, self._requests, self._clump[1:])
        rate = float(_at_least(np.array([errors]), self._requests, self._clump[:1])[0])
        canary = _spread(self._count, self._pace.canary, rate=rate, above=above)
        intervals = _intervals(self._edges_ms, self._pace, self._stable, canary, youngest_s=self._youngest_s)
        *_, last = judge_course(self._first, self._settings, [(_NO_STEP, interval) for interval in intervals])
        return last.verdict is Verdict.HARM


def _at_least(share: "FloatArray", requests: float, clump: "FloatArray") -> "FloatArray":
    """Give the shares that are exceeded with a chance of `SURE`, where events with these shares come in clumps."""
    clumps = max(requests, 1.0) / clump
    inside = np.clip(share, 1e-12, 1.0 - 1e-9)
    fewest = np.where((1.0 - inside) ** clumps >= 1.0 - SURE, 0.0, bdtrik(1.0 - SURE, clumps, inside))
    least: FloatArray = np.clip(np.nan_to_num(fewest) / clumps, 0.0, share)
    return least


def _least(found: Callable[[float], bool], low: float, high: float) -> float | None:
    """Find the least value that is found, between two that are not and may be, to 2 %."""
    if not found(high):
        return None
    while high / low > 1.0 + _CLOSE:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


# --- counts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Counts:
    """One version over T intervals: shapes (T,), (T,) and (T, E + 1)."""

    requests: "NDArray[np.int64]"
    errors: "NDArray[np.int64]"
    histogram: "NDArray[np.int64]"


def _spread(count: int, requests: float, *, rate: float, above: "FloatArray") -> _Counts:
    """Spread events evenly over intervals, whole ones only."""
    total = requests * np.arange(count + 1)
    served = np.diff(np.floor(total + 0.5).astype(np.int64))
    failed = np.diff(np.floor(total * rate + 0.5).astype(np.int64))
    shares = -np.diff(np.concatenate([[1.0], np.minimum.accumulate(above), [0.0]]))
    histogram = np.diff(np.floor(total[:, None] * shares + 0.5).astype(np.int64), axis=0)
    return _Counts(served, np.minimum(failed, served), histogram)


def _intervals(
    edges_ms: tuple[float, ...], pace: Pace, stable: _Counts, canary: _Counts, *, youngest_s: float = -1.0
) -> list[Interval]:
    """Put both versions together; `youngest_s` is the age of the youngest pod at the end [s], negative: grown up."""
    count = len(stable.requests)

    def version(counts: _Counts, turn: int, *, pods: int, age_s: float) -> VersionCounts:
        return VersionCounts(
            requests=int(counts.requests[turn]),
            errors=int(counts.errors[turn]),
            latency_counts=counts.histogram[turn],
            pods=pods,
            youngest_pod_age_s=age_s,
        )

    def age_s(turn: int) -> float:
        if youngest_s < 0.0:
            return math.inf
        return max(youngest_s - (count - 1 - turn) * pace.seconds, pace.seconds)

    return [
        Interval(
            end_s=(turn + 1) * pace.seconds,
            seconds=pace.seconds,
            weight=pace.weight,
            edges_ms=edges_ms,
            stable=version(stable, turn, pods=pace.stable_pods, age_s=math.inf),
            canary=version(canary, turn, pods=pace.canary_pods, age_s=age_s(turn)),
        )
        for turn in range(count)
    ]


def _record_of(before: JudgeState) -> "np.void":
    rungs = state.rungs_of(before.ladder)
    record: np.void = state.stack([before.record], len(before.edges_ms), rungs)[0]
    return record


def _error_rate(record: "np.void", version: int) -> float:
    return float(record["errors"][version] / max(int(record["requests"][version]), 1))


def _above(record: "np.void", version: int, n_edges: int) -> "FloatArray":
    """Give a version's share of requests above each edge, shape (E,); as the stable version's where it had none."""
    histogram = record["histogram"][version]
    if not histogram.sum():
        histogram = record["histogram"][0]
    tails: FloatArray = np.cumsum(histogram[::-1])[::-1][1:] / max(int(histogram.sum()), 1)
    return tails[:n_edges]
