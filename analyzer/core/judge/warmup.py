"""Pods that are slow because they are young.

A pod of age t is allowed to be slower by the factor 1 + tolerance + c exp(-t / warm_up). Which c:

- Where a history showed the stable version's own young pods, nothing is assumed: their shift of the log-odds per edge
  and age (its upper bound, `learning`) takes the envelope's place.
- With a history that showed none, c <= 1 is given, twice as slow at birth; without any history more, as nothing is known of
  the service: three times as slow, or twice as slow for twice as long (`_most_extra`; the fading below is then the longer
  one, against which both are a c that does not grow). The canary's first pods show how much of it they need. Warm-up
  fades: c(t) = extra(t) exp(t / warm_up) does not grow. So "c is at least C now" means "the extra was at least
  C exp(-s / warm_up) at all ages s before", and the non-inferiority e-values of the ages before multiply to an e-process
  against it. The levels C are tested from the highest down, each at the same threshold; the first false rejection is
  that of the highest true level, so its chance is at most that of one test (fixed-sequence testing). It has the tenth of
  alpha that the channels leave. What is rejected is no longer tolerated.
- Pods that join later are of the same image: at each age they may be as slow as the first ones were still allowed to
  be at that age. Where pods were added, the old ones among them are not excused: their part of the requests is held to
  the tolerance alone.

Errors are never excused.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from analyzer.core.judge.tolerance import fade

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.batch import Columns, Parameters
    from analyzer.core.judge.evalues import FloatArray
    from analyzer.core.judge.oneedge import OneEdge
    from analyzer.core.judge.tolerance import Curve

LEVELS: Final = np.array([1.6, 1.25, 1.0, 0.8, 0.65, 0.5, 0.4, 0.3, 0.22, 0.15, 0.1, 0.05])
"""What c is tested against, from the highest down."""
_ALLOWED: Final = np.concatenate([[2.2], LEVELS])
"""c after so many rejections."""
_GIVEN: Final = 3
"""Rejections that a history stands for: c <= 1."""
_LONGER: Final = 2.0
"""Without any history the warm-up may take so many times as long as it is set to."""
AGES_S: Final = np.array([0.0, 15.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 240.0])
"""Beginnings of the age classes [s]; the last is grown up."""
_YOUNG: Final = 6.0
"""Time constants after which nothing of the warm-up is left."""
_HARM_AT: Final = 0.35
_LEARN_AT: Final = 0.6
"""Where in an interval its extra is taken from: a little before the mean for what is tolerated, after it for learning."""


class Tolerated(NamedTuple):
    """Rows with young pods, and what they are excused for."""

    rows: "NDArray[np.intp]"
    share: "FloatArray"  # (K,) part of the canary's requests that young pods answer
    shift: "FloatArray"  # (K, E) allowed shift of the log-odds of those


def arm(records: "NDArray[np.void]", columns: "Columns") -> None:
    """Take note of new pods, in place; only ages and numbers of pods are looked at."""
    seen = np.isfinite(columns.age_s) & (columns.requests[:, 1] > 0)
    before = records["warm_age"]
    new = seen & ((before < 0) | (columns.age_s < before - 0.5 * columns.seconds))
    first = new & (records["warm_births"] == 0)
    pods, known = columns.pods[:, 1], records["warm_pods"].astype(np.float64)
    grown = np.clip(pods - known, 0.0, pods)
    old = np.where(_is_young(before), (1.0 - records["warm_share"]) * known, known)
    share = np.where((grown > 0) & ~first, 1.0 - np.clip(old / pods, 0.0, 1.0), 1.0)
    records["warm_share"][:] = np.where(new, share, records["warm_share"])
    records["warm_births"][:] = np.minimum(records["warm_births"] + new.astype(np.int64), 200)
    records["warm_age"][:] = np.where(seen, columns.age_s + columns.seconds, before)
    records["warm_pods"][:] = np.where(columns.requests[:, 1] > 0, pods, known)


def _is_young(age_s: "FloatArray") -> "NDArray[np.bool_]":
    return np.asarray((age_s >= 0) & (age_s < AGES_S[-1]))


def tolerated(records: "NDArray[np.void]", columns: "Columns", parameters: "Parameters", curve: "Curve") -> Tolerated:
    """Say which canaries have young pods and how slow these may be."""
    fades_s = _fades(records, parameters)
    young = columns.age_s < np.where(records["warm_known"] > 0, AGES_S[-1], _YOUNG * fades_s)
    rows = np.flatnonzero(young & (parameters.warm_up_s > 0) & (columns.requests[:, 1] > 0))
    some, age_s = records[rows], columns.age_s[rows]
    at_s = age_s + _HARM_AT * columns.seconds[rows]
    extra = np.minimum(
        _level(some, age_s) * fade(at_s, fades_s[rows]), _most_extra(some, at_s, parameters.warm_up_s[rows])
    )
    usual = parameters.latency_tolerance[rows]
    part = _rows(curve, rows)
    envelope = part.shift(np.log1p(usual + extra))
    ages = np.searchsorted(AGES_S, age_s, side="right") - 1
    learned = np.concatenate([some["warm_shift"], np.zeros((len(rows), envelope.shape[1], 1), np.float16)], axis=2)
    own = part.shift(np.log1p(usual)) + learned[np.arange(len(rows)), :, ages].astype(np.float64)
    shift = np.where(some["warm_known"][:, None] > 0, own, envelope)
    return Tolerated(rows, some["warm_share"].astype(np.float64), shift)


def _level(records: "NDArray[np.void]", age_s: "FloatArray") -> "FloatArray":
    """Give c: what is left after the rejections; for later pods, what was left for the first ones at this age."""
    ages = np.searchsorted(AGES_S, age_s, side="right") - 1
    table = np.where(np.arange(len(AGES_S)) <= ages[:, None], records["warm_table"], 0).max(axis=1)
    rejected = np.where(records["warm_births"] == 1, records["warm_rejected"], table)
    return _ALLOWED[np.maximum(rejected, _given(records)).astype(np.intp)]


def _most_extra(records: "NDArray[np.void]", at_s: "FloatArray", warm_up_s: "FloatArray") -> "FloatArray":
    """Extra that is tolerated whatever the canary shows, shape (R,)."""
    unknown = np.maximum(_ALLOWED[0] * fade(at_s, warm_up_s), 0.5 * _ALLOWED[0] * fade(at_s, _LONGER * warm_up_s))
    return np.where(records["learned"] > 0, np.inf, unknown)


def _given(records: "NDArray[np.void]") -> "NDArray[np.intp]":
    """Levels that need no test, shape (R,)."""
    return np.where(records["learned"] > 0, _GIVEN, 0)


def _fades(records: "NDArray[np.void]", parameters: "Parameters") -> "FloatArray":
    """Time constant of the envelope, shape (R,) [s]."""
    return parameters.warm_up_s * np.where(records["learned"] > 0, 1.0, _LONGER)


def _rows(curve: "Curve", rows: "NDArray[np.intp]") -> "Curve":
    return type(curve)(curve.log_odds[rows], curve.below[rows], curve.local[rows], curve.width[rows])


def first_pods(records: "NDArray[np.void]", columns: "Columns", parameters: "Parameters") -> "NDArray[np.bool_]":
    """Mark the canaries that still have their first pods, and whose warm-up nobody knows."""
    young = columns.age_s < _YOUNG * _fades(records, parameters)
    return np.asarray((records["warm_births"] == 1) & (records["warm_known"] == 0) & (parameters.warm_up_s > 0) & young)


def observe(records: "NDArray[np.void]", columns: "Columns", parameters: "Parameters", edge: "OneEdge") -> None:
    """Learn from the canary's first pods how much of the envelope they need, in place."""
    rows = edge.rows
    extra = (
        LEVELS
        * fade(columns.age_s[rows] + _LEARN_AT * columns.seconds[rows], _fades(records, parameters)[rows])[:, None]
    )
    records["warm_e"][rows] += edge.less_than(extra)
    ages = np.searchsorted(AGES_S, columns.age_s[rows], side="right") - 1
    records["warm_table"][rows, ages] = records["warm_rejected"][rows]
    threshold = -np.log(0.1 * parameters.false_rollback[rows])
    passed = (records["warm_e"][rows] >= threshold[:, None]) | (
        np.arange(len(LEVELS)) < np.maximum(records["warm_rejected"], _given(records))[rows][:, None]
    )
    records["warm_rejected"][rows] = np.cumprod(passed, axis=1).sum(axis=1)


def foresee(records: "NDArray[np.void]", columns: "Columns") -> None:
    """Put what `arm` would leave of ages and pods into the records of consecutive intervals, all but the first, in place."""
    rows = np.arange(len(records))
    for name, there, value in (
        ("warm_age", np.isfinite(columns.age_s) & (columns.requests[:, 1] > 0), columns.age_s + columns.seconds),
        ("warm_pods", columns.requests[:, 1] > 0, columns.pods[:, 1]),
    ):
        last = np.maximum.accumulate(np.where(there, rows, -1))[:-1]
        records[name][1:] = np.where(last >= 0, value[last], records[name][0])
