"""How slow the stable version's own pods were when they were young.

In each interval of the history, young pods are compared with the grown-up ones: per edge and age class, the log-odds of
their share of slow requests less that of the others'. What is kept is an upper bound, and no class is held to less than
a later one. Edges that too few requests passed tell nothing by themselves: they are held to the slowdown that the
others show. It takes the place of the warm-up envelope where every class up to two minutes was seen.

Where ages are not given, a pod is born when it begins to get requests that it should have got before.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from analyzer.core.judge import dispersion, tolerance
from analyzer.core.judge.warmup import AGES_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.evalues import FloatArray

_NEEDED_UNTIL_S: Final = 120.0
_NEEDED_REQUESTS: Final = 100.0
_ERRORS: Final = 2.0
_SLACK: Final = 1.1
_MISSED: Final = 20.0
"""A pod that had none of so many expected requests was not there."""
_ENOUGH: Final = 30.0
"""Expected requests on either side of an edge from which on its own shift is believed."""
_MOST: Final = 20.0


def births(n: "FloatArray", seconds: float) -> "FloatArray":
    """Read off when pods began to get requests.

    Parameters
    ----------
    n : ndarray, shape (T, P)
        Requests per interval and pod [count].
    seconds
        Length of an interval [s].

    Returns
    -------
    ndarray, shape (T, P)
        Age of each pod when the interval began [s]; infinity before its birth and where it was there from the start.
    """
    there = n > 0
    usual = n.sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    gap = np.zeros(n.shape[1])
    age = np.full(n.shape[1], np.inf)
    ages = np.empty(n.shape)
    for t, now in enumerate(there):
        born = now & (gap * usual >= _MISSED)
        age = np.where(born, 0.0, age + seconds)
        gap = np.where(now, 0.0, gap + 1.0)
        ages[t] = np.where(now, age, np.inf)
    return ages


def learn(
    record: "NDArray[np.void]",
    x: "FloatArray",
    n: "FloatArray",
    *,
    begins_s: "FloatArray",
    edges_ms: tuple[float, ...],
) -> None:
    """Put the shifts of young pods into a record, where enough of them were seen.

    Parameters
    ----------
    record : ndarray, shape (1,)
        With the dispersion learned.
    x, n : ndarray, shape (T, P, E)
        Requests above each edge, and requests [count].
    begins_s : ndarray, shape (T, P)
        Age of each pod when the interval began [s]; NaN or infinity: grown up.
    edges_ms
        The histogram's edges [ms].
    """
    age = np.where(np.isfinite(begins_s), np.maximum(begins_s, 0.0), np.inf)
    age = np.where(n[..., 0] > 0, age, np.inf)
    young = age < AGES_S[-1]
    old_x, old_n = ((a * ~young[..., None]).sum(axis=1) for a in (x, n))
    share = (old_x + 0.5) / (old_n + 1.0)
    births = int(young.any(axis=0).sum())
    shifts = []
    whole = (x.sum(axis=(0, 1)) + 0.5) / (n.sum(axis=(0, 1)) + 1.0)
    slopes = tolerance.curve(np.array([edges_ms]), whole[None]).below[0]
    for begin, end in pairwise(AGES_S):
        part = ((age >= begin) & (age < end) & (old_n[:, :1] > 0))[..., None]
        requests = (n * part).sum(axis=(0, 1))
        if requests.min() < _NEEDED_REQUESTS and begin < _NEEDED_UNTIL_S:
            return
        slow = (x * part).sum(axis=(0, 1))
        expected = (n * part * share[:, None, :]).sum(axis=(0, 1))
        upper = _upper(slow, expected, requests, births=births, record=record)
        enough = (expected >= _ENOUGH) & (requests - expected >= _ENOUGH)
        slower = float((upper / slopes).max(where=enough, initial=0.0)) if enough.any() else np.inf
        shifts.append(np.where(enough, upper, np.minimum(upper, slower * slopes)))
    upper = np.maximum.accumulate(np.stack(shifts, axis=1)[:, ::-1], axis=1)[:, ::-1]
    record["warm_shift"][0] = np.minimum(_SLACK * upper, _MOST)
    record["warm_known"] = 1


def _upper(
    slow: "FloatArray", expected: "FloatArray", requests: "FloatArray", *, births: int, record: "NDArray[np.void]"
) -> "FloatArray":
    """Upper bound of the shift of the log-odds, shape (E,), at least 0."""
    seen = np.log((slow + 0.5) / (requests - slow + 0.5))
    usual = np.log((expected + 0.5) / (requests - expected + 0.5))
    clump = record["clump"][0, 1:].astype(np.float64)
    error = np.sqrt(clump * (1.0 / (slow + 0.5) + 1.0 / (requests - slow + 0.5) + 1.0 / (expected + 0.5)))
    spread = dispersion.pod_tolerance(record["spread"][0, 1:].astype(np.float64), np.array(1.0 / max(births, 1)))
    wander = _ERRORS * np.sqrt(record["noise"][0, 1:].astype(np.float64) / max(births, 1))
    upper: FloatArray = np.maximum(seen - usual + _ERRORS * error + spread + wander, 0.0)
    return np.where(requests > 0, upper, 0.0)
