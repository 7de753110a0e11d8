"""Whether an interval's requests were still split by the weight before.

A weight that was written is not yet in effect: istiod may be down, and proxies keep what they had. Then a canary gets fewer
requests than its weight says, as one does that loses them; only that it gets just its old share tells the two apart.
"""

import math
from typing import Final

from analyzer.core.judge.types import Interval

_SURE: Final = math.log(1000.0)
"""So much likelier must the old weight be: else what is left of the intervals would be those with many requests."""
_NEAR_SD: Final = 4.0
_NEAR_RATIO: Final = 0.05


def is_as_before(interval: Interval, *, before: float) -> bool:
    """Tell whether the canary's share of the requests is that of the weight `before` [per cent], and not the interval's.

    A canary that hangs all its requests from its first one on cannot be told from one that gets none, until its callers
    give up: then its errors are counted.
    """
    if interval.weight in {0.0, before} or not 0.0 < interval.weight < 100.0 or not 0.0 <= before < 100.0:
        return False
    old, new = before / 100.0, interval.weight / 100.0
    canary, stable = interval.canary.requests, interval.stable.requests
    likelier = canary * _log_ratio(old, new) + stable * _log_ratio(1.0 - old, 1.0 - new)
    expected = old * (canary + stable)
    near = _NEAR_SD * math.sqrt(expected * (1.0 - old)) + _NEAR_RATIO * expected
    return likelier >= _SURE and abs(canary - expected) <= near


def _log_ratio(old: float, new: float) -> float:
    """Log of a ratio; that of nothing is so low that one request outweighs all, and finite, for 0 requests."""
    return math.log(max(old, 1e-300) / new)
