"""A plan as a picture: when each bad release is taken out, and how a harmless one gets its traffic."""

import math
from html import escape
from typing import TYPE_CHECKING, Final

import numpy as np

from analyzer.simulate.plan_text import count, percent, span

if TYPE_CHECKING:
    from analyzer.simulate.plan_types import BadPlan, PlanReport

_WIDTH: Final = 960
_LEFT, _RIGHT = 150.0, 600.0  # the time axis
_COLUMNS: Final = (688.0, 762.0, 846.0, 928.0)  # right ends of the figures beside it
_TOP, _ROW = 132.0, 58.0
_BAND: Final = 190.0
_INK, _SOFT, _LINE, _BAD, _GOOD = "#1f2933", "#6b7785", "#dde3ea", "#c2410c", "#0f766e"
_TICKS_S: Final = (15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400)
_APART: Final = 46.0
_SMOOTH: Final = 0.09  # standard deviation of the smoothing, in units of ln(time)

_STYLE: Final = (
    "text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;font-size:13px}"
    ".t{font-size:19px;font-weight:600}.h{font-size:14px;font-weight:600}.s{font-size:11.5px}"
)


def render_svg(report: "PlanReport") -> str:
    """Draw a plan; a document of its own, with no script and no font of its own."""
    top = _TOP + _ROW * len(report.bad)
    height = top + 120 + _BAND + 70
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
            f'width="{_WIDTH}" height="{height:.0f}" role="img" aria-label="{escape(_title(report))}">'
        ),
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
        _text(32, 42, _title(report), kind="t"),
        _text(32, 64, report.assumptions[0], colour=_SOFT, kind="s"),
        _text(32, 104, "When a bad release is rolled back", kind="h"),
        *_found(report, bottom=top),
        *_exposure(report, top=top + 96),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _title(report: "PlanReport") -> str:
    return f"What {report.policy} will do"


# --- bad releases -----------------------------------------------------------------------------------------------------


def _found(report: "PlanReport", *, bottom: float) -> list[str]:
    low, high = math.log(report.interval_s * 0.8), math.log(max(report.horizon_s, 2 * report.interval_s))

    def place(time_s: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (math.log(time_s) - low) / (high - low)

    ticks = [tick for tick in _TICKS_S if low <= math.log(tick) <= high and tick >= report.interval_s]
    ticks = [tick for tick in ticks if not any(0 < place(later) - place(tick) < _APART for later in ticks)]
    parts = [_line(place(tick), _TOP - 8, place(tick), bottom, _LINE) for tick in ticks]
    parts += [_text(place(tick), bottom + 18, _short(tick), colour=_SOFT, kind="s", anchor="middle") for tick in ticks]
    parts += [
        _text(right, 104, title, colour=_SOFT, kind="s", anchor="end")
        for right, title in zip(_COLUMNS, ("rolled back", "half after", "requests", "users hurt"), strict=True)
    ]
    for number, bad in enumerate(report.bad):
        middle = _TOP + _ROW * (number + 0.5)
        parts += [_line(32, middle + _ROW / 2, _COLUMNS[-1], middle + _ROW / 2, _LINE)]
        parts += [_text(_LEFT - 14, middle + 5, bad.name, anchor="end")]
        parts += _shape(bad, middle=middle, low=low, high=high)
        if math.isfinite(bad.median_s):
            x = place(bad.median_s)
            parts += [f'<circle cx="{x:.1f}" cy="{middle:.1f}" r="4" fill="#ffffff" stroke="{_BAD}" stroke-width="2"/>']
        parts += [
            _text(right, middle + 5, text, anchor="end") for right, text in zip(_COLUMNS, _figures(bad), strict=True)
        ]
    return parts


def _figures(bad: "BadPlan") -> tuple[str, ...]:
    rolled_back = percent(bad.rolled_back / bad.rollouts)
    return rolled_back, _brief(bad.median_s), count(bad.canary_requests), count(bad.users_hurt)


def _shape(bad: "BadPlan", *, middle: float, low: float, high: float) -> list[str]:
    """Draw the distribution of times, smoothed; its area is the share that was found."""
    if not bad.found_s:
        return [
            _text(
                (_LEFT + _RIGHT) / 2, middle + 5, "not found before it has all traffic", colour=_SOFT, anchor="middle"
            )
        ]
    at = np.linspace(low, high, 240)
    distance = (at[:, None] - np.log(np.array(bad.found_s))[None, :]) / _SMOOTH
    density = np.exp(-0.5 * distance**2).sum(axis=1) / bad.rollouts
    half = 0.42 * _ROW * density / max(float(density.max()), 0.45)
    xs = _LEFT + (_RIGHT - _LEFT) * (at - low) / (high - low)
    shown = half > 0.15
    outline = [(x, middle - h) for x, h in zip(xs[shown], half[shown], strict=True)]
    outline += [(x, middle + h) for x, h in zip(xs[shown][::-1], half[shown][::-1], strict=True)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in outline)
    return [f'<polygon points="{points}" fill="{_BAD}" fill-opacity="0.22" stroke="{_BAD}" stroke-width="1.2"/>']


# --- a harmless release -----------------------------------------------------------------------------------------------


def _exposure(report: "PlanReport", *, top: float) -> list[str]:
    harmless, bottom = report.harmless, top + _BAND
    end_s = max(len(harmless.weights), 1) * report.interval_s
    step = next((t for t in _TICKS_S if end_s / t <= 9), _TICKS_S[-1])
    right = _COLUMNS[-1]

    def place(time_s: float) -> float:
        return _LEFT + (right - _LEFT) * time_s / end_s

    def level(weight: float) -> float:
        return bottom - _BAND * 0.86 * weight / 100.0

    parts = [_text(32, top - 26, "How a harmless release gets its traffic", kind="h")]
    for weight in (0, 25, 50, 100):
        parts += [_line(_LEFT, level(weight), right, level(weight), _LINE)]
        parts += [_text(_LEFT - 14, level(weight) + 4, f"{weight} %", colour=_SOFT, kind="s", anchor="end")]
    for tick in np.arange(0.0, end_s + 1e-6, step):
        parts += [_text(place(tick), bottom + 18, _short(tick), colour=_SOFT, kind="s", anchor="middle")]
    edges = [place(number * report.interval_s) for number in range(len(harmless.weights) + 1)]
    low, median, high = (_stairs(edges, [level(w[i]) for w in harmless.weights]) for i in range(3))
    band = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*high, *reversed(low)])
    parts += [f'<polygon points="{band}" fill="{_GOOD}" fill-opacity="0.16"/>']
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in median)
    parts += [f'<polyline points="{line}" fill="none" stroke="{_GOOD}" stroke-width="2.2" stroke-linejoin="round"/>']
    wrongly = (
        f"rolled back wrongly: {harmless.rolled_back} of {harmless.rollouts} (at most {percent(harmless.upper_bound)})"
    )
    unproven = f"{harmless.unproven_steps:.1f} of {harmless.steps:.1f} steps without proof"
    caption = f"All traffic after {span(harmless.promoted_s)}; {unproven}; {wrongly}."
    note = "Shaded: eight in ten rollouts. Simulated with the judge and the decision that run in production."
    return [
        *parts,
        _text(32, bottom + 44, caption),
        _text(32, bottom + 64, note, colour=_SOFT, kind="s"),
    ]


def _stairs(edges: list[float], levels: list[float]) -> list[tuple[float, float]]:
    return [point for n, y in enumerate(levels) for point in ((edges[n], y), (edges[n + 1], y))]


# --- pieces -----------------------------------------------------------------------------------------------------------


def _brief(time_s: float) -> str:
    if not math.isfinite(time_s):
        return "–"
    return f"{time_s:.0f} s" if time_s < 120 else f"{time_s / 60:.3g} min"


def _short(time_s: float) -> str:
    if time_s < 60:
        return f"{time_s:.0f} s"
    return f"{time_s / 60:g} min" if time_s < 7200 else f"{time_s / 3600:g} h"


def _text(x: float, y: float, text: str, *, colour: str = _INK, kind: str = "", anchor: str = "start") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}"{name}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'
