"""The calibration's results as Markdown."""

import math
from collections.abc import Sequence

import numpy as np

from analyzer.simulate import median_of, standard_error, upper_bound
from tests.calibration.measures import Detection, FalseProofs, FalseRollbacks, Hangs

_WAYS = ((True, True), (True, False), (False, True), (False, False))
_MOST_WITH_HISTORY, _MOST_WITHOUT, _MOST_PROOFS = 0.01, 0.03, 0.05


def harmless_table(results: Sequence[FalseRollbacks]) -> str:
    """Write false rollbacks; bold what is above its bound."""
    head = [
        "harmless scenario",
        "history, closed loop",
        "history, fixed",
        "no history, closed loop",
        "no history, fixed",
        "promoted after (median)",
        "steps unproven",
    ]
    rows = [
        [
            result.scenario,
            *(
                _rate(result.counts.get(way), result.rollouts, most=_MOST_WITH_HISTORY if way[0] else _MOST_WITHOUT)
                for way in _WAYS
            ),
            seconds(result.promoted_s),
            f"{result.unproven:.1f}",
        ]
        for result in results
    ]
    return table(head, rows)


def _rate(events: int | None, of: int, *, most: float) -> str:
    if events is None:
        return "–"
    text = f"{100 * events / of:.2f} ± {100 * standard_error(events, of):.2f} % (≤ {100 * upper_bound(events, of):.2f})"
    return _bold_if(text, bad=events / of > most)


def detection_table(results: Sequence[Detection]) -> str:
    """Write how regressions are found."""
    head = [
        "regression",
        "noise",
        "rps",
        "wanted median",
        "fixed: median",
        "found",
        "canary requests",
        "users hurt",
        "closed: rolled back after",
        "rolled back",
        "canary requests",
        "users hurt (mean)",
    ]
    rows = [
        [
            one.regression,
            one.noise,
            f"{one.rps:,.0f}",
            "" if math.isnan(one.wanted_s) else seconds(one.wanted_s),
            _bold_if(seconds(median_of(one.fixed.harm_s)), bad=median_of(one.fixed.harm_s) > one.wanted_s),
            f"{one.fixed.share(one.fixed.harm_s):.0%}",
            _typical(one.fixed.canary_requests),
            _typical(one.fixed.hurt),
            seconds(median_of(one.closed.rolled_back_s)),
            f"{one.closed.share(one.closed.rolled_back_s):.0%}",
            _typical(one.closed.canary_requests),
            f"{one.closed.hurt.mean():,.0f}",
        ]
        for one in sorted(results, key=lambda one: (one.noise, one.rps))
    ]
    return table(head, rows) + "\n" + _speed(results)


def _speed(results: Sequence[Detection]) -> str:
    """Say how much faster than wanted, as a geometric mean, noise by noise."""
    texts = []
    for noise in dict.fromkeys(one.noise for one in results):
        for title, named in (("all rows", ""), ("latency rows", "latency")):
            ratios = [
                one.wanted_s / median_of(one.fixed.harm_s)
                for one in results
                if one.noise == noise and named in one.regression and one.published
            ]
            if ratios:
                texts.append(f"{noise}, {title}: {float(np.exp(np.mean(np.log(ratios)))):.2f} times")
    return f"\nFaster than published (geometric mean): {'; '.join(texts)}.\n" if texts else ""


def proof_table(results: Sequence[FalseProofs]) -> str:
    """Write false proofs at the exact margin."""
    head = ["claim", "noise", "rps", "next weight", "history", "proven at the margin"]
    rows = [
        [
            one.claim,
            one.noise,
            f"{one.rps:,.0f}",
            f"{one.next_weight:g} %",
            "yes" if one.history else "no",
            _bold_if(
                f"{100 * one.proven / one.rollouts:.2f} ± {100 * standard_error(one.proven, one.rollouts):.2f} %",
                bad=one.proven / one.rollouts > _MOST_PROOFS,
            ),
        ]
        for one in results
    ]
    return table(head, rows)


def hang_table(results: Sequence[Hangs]) -> str:
    """Write what became of releases that hang."""
    head = ["release", "rps", "proven", "promoted", "found after (median)"]
    rows = [
        [
            one.regression,
            f"{one.rps:,.0f}",
            _bold_if(f"{one.proven} of {one.rollouts}", bad=one.proven > 0),
            _bold_if(f"{one.promoted} of {one.rollouts}", bad=one.promoted > 0),
            seconds(one.found_s),
        ]
        for one in results
    ]
    return table(head, rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table whose columns line up."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |\n"
        for line in lines
    )


def seconds(value: float) -> str:
    """Write a duration; a dash for never."""
    return f"{value:,.0f} s" if math.isfinite(value) else "–"


def _typical(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    return f"{float(np.median(values)):,.0f}"


def _bold_if(text: str, *, bad: bool) -> str:
    return f"**{text}**" if bad else text
