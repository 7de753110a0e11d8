"""Whether requests are still split by the weight before.

A weight that was written is not yet in effect: istiod may be down, and proxies keep what they had. Then a canary gets fewer
requests than its weight says, as one does that loses them; only that it gets just its old share tells the two apart.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from analyzer.core.judge.types import Interval

_SURE: Final = math.log(1000.0)
"""So much likelier must the old weight be: else what is left of the intervals would be those with many requests."""
_NEAR_SD: Final = 4.0
_NEAR_RATIO: Final = 0.05
_IMPOSSIBLE: Final = 1e-300
"""Stands for a share of nothing: one request outweighs all, and none leaves it finite."""


class Split(NamedTuple):
    """Requests of both versions [count]."""

    stable: int
    canary: int


NOTHING: Final = Split(0, 0)


def mark_old_splits(intervals: Iterable[Interval], *, before: float, seen: Split) -> Iterator[Interval]:
    """Mark the intervals in which the weight `before` was still in effect [per cent].

    An interval of few requests cannot tell by itself; then it is taken together with all that the step has `seen`.
    """
    for interval in intervals:
        own = Split(interval.stable.requests, interval.canary.requests)
        seen = Split(seen.stable + own.stable, seen.canary + own.canary)
        old = _is_old(own, before, interval.weight) or (
            _likelier(own, before, interval.weight) > 0.0 and _is_old(seen, before, interval.weight)
        )
        yield replace(interval, in_effect=False) if old else interval


def _is_old(split: Split, before: float, weight: float) -> bool:
    """Tell whether the canary's share of the requests is that of the weight `before`, and surely not that of `weight`.

    A canary that hangs all its requests from its first one on cannot be told from one that gets none, until its callers
    give up: then its errors are counted.
    """
    if before == weight or not 0.0 < weight < 100.0 or not 0.0 <= before < 100.0:
        return False
    old = before / 100.0
    expected = old * (split.stable + split.canary)
    near = _NEAR_SD * math.sqrt(expected * (1.0 - old)) + _NEAR_RATIO * expected
    return _likelier(split, before, weight) >= _SURE and abs(split.canary - expected) <= near


def _likelier(split: Split, before: float, weight: float) -> float:
    """Log likelihood ratio of the old weight against the new one."""
    old, new = before / 100.0, weight / 100.0
    if not 0.0 < new < 1.0 or not old < 1.0:
        return 0.0
    return split.canary * math.log(max(old, _IMPOSSIBLE) / new) + split.stable * math.log((1.0 - old) / (1.0 - new))
