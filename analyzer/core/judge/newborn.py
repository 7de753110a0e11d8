"""How slow the stable version's own pods were when they were young.

In each interval of the history, young pods are compared with the grown-up ones: per edge and age class, the log-odds of
their share of slow requests less that of the others'. What is kept is an upper bound, and no class is held to less than
a later one. It takes the place of the warm-up envelope where every class up to two minutes was seen.

Where ages are not given, a pod is born when it begins to get requests that it should have got before.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from analyzer.core.judge import tolerance
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
    whole = (x.sum(axis=(0, 1)) + 0.5) / (n.sum(axis=(0, 1)) + 1.0)
    curve = tolerance.curve(np.array([edges_ms]), whole[None])
    shifts = []
    for begin, end in pairwise(AGES_S):
        part = ((age >= begin) & (age < end) & (old_n[:, :1] > 0))[..., None]
        requests = (n * part).sum(axis=(0, 1))
        if requests.min() < _NEEDED_REQUESTS and begin < _NEEDED_UNTIL_S:
            return
        slow = (x * part).sum(axis=(0, 1))
        expected = (n * part * share[:, None, :]).sum(axis=(0, 1))
        enough = (expected >= _ENOUGH) & (requests - expected >= _ENOUGH)
        if enough.any():
            shift, error = _compare(slow, expected, requests, births=births, record=record)
            shifts.append(_upper(shift, error, enough=enough, curve=curve))
        elif begin < _NEEDED_UNTIL_S:
            return
        else:
            shifts.append(np.zeros(len(edges_ms)))
    upper = np.maximum.accumulate(np.stack(shifts, axis=1)[:, ::-1], axis=1)[:, ::-1]
    record["warm_shift"][0] = np.minimum(_SLACK * upper, _MOST)
    record["warm_known"] = 1


def _compare(
    slow: "FloatArray", expected: "FloatArray", requests: "FloatArray", *, births: int, record: "NDArray[np.void]"
) -> "tuple[FloatArray, FloatArray]":
    """Give the shift of the log-odds at each edge, and its standard error: by chance, between pods, and by noise."""
    seen = np.log((slow + 0.5) / (requests - slow + 0.5))
    usual = np.log((expected + 0.5) / (requests - expected + 0.5))
    clump, spread, noise = (record[name][0, 1:].astype(np.float64) for name in ("clump", "spread", "noise"))
    chance = clump * (1.0 / (slow + 0.5) + 1.0 / (requests - slow + 0.5))
    return seen - usual, np.sqrt(chance + (spread**2 + noise) / births)


def _upper(
    shift: "FloatArray", error: "FloatArray", *, enough: "NDArray[np.bool_]", curve: "tolerance.Curve"
) -> "FloatArray":
    """Upper bound of the shift at each edge.

    A slowdown of everything is read off all edges together, as exactly as off the best of them. An edge that shifts
    significantly more than that (a tail of first requests) has a bound of its own.
    """
    slope = curve.below[0]
    weight = np.where(enough, (slope / error) ** 2, 0.0)
    slower = float((weight * shift / slope).sum() / weight.sum())
    exact = float((error / slope).min(where=enough, initial=np.inf))
    common = curve.shift(np.array([max(slower + _ERRORS * exact, 0.0)]))[0]
    more = shift - _ERRORS * error > common
    upper: FloatArray = np.maximum(np.where(more, shift + _ERRORS * error, common), 0.0)
    return upper
