"""History lines, as the judge learns from them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from analyzer.core.judge.types import History
from analyzer.replay.lines import HistoryLine

_LONGEST_GAP: Final = 64
"""Intervals further apart than this have no memory of each other that anybody looks for."""


def history_of(lines: Sequence[HistoryLine], edges_ms: tuple[float, ...]) -> History:
    """Lay history lines out on a grid.

    Its step is the lines' median length. A gap becomes intervals without requests, which take part in no sum, so that
    the memory of what lies on both sides is not mistaken; pods that come later had no requests before.
    """
    seconds = float(np.median([line.seconds for line in lines]))
    n_pods = max(len(line.requests) for line in lines)
    place, row = [0], 0
    for before, line in pairwise(lines):
        row += min(max(round((line.t - before.t) / seconds), 1), _LONGEST_GAP)
        place.append(row)
    requests, errors = (np.zeros((row + 1, n_pods), dtype=np.int64) for _ in range(2))
    age_s = np.full((row + 1, n_pods), np.nan)
    latency_counts = np.zeros((row + 1, n_pods, len(edges_ms) + 1), dtype=np.int64)
    for at, line in zip(place, lines, strict=True):
        pods = len(line.requests)
        requests[at, :pods] = line.requests
        errors[at, :pods] = line.errors
        latency_counts[at, :pods] = line.latency_counts
        if line.pod_age_s is not None:
            age_s[at, :pods] = line.pod_age_s
    return History(
        seconds=seconds,
        requests=requests,
        errors=errors,
        edges_ms=edges_ms,
        latency_counts=latency_counts,
        pod_age_s=None if np.isnan(age_s).all() else age_s,
    )
