"""A plan as a table for the terminal, and as JSON."""

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from analyzer.core.rollout.wording import duration

if TYPE_CHECKING:
    from analyzer.simulate.plan_types import BadPlan, PlanReport


def render_table(report: "PlanReport") -> str:
    """Write a plan as plain text, at most 100 columns wide but for the assumptions."""
    harmless = report.harmless
    head = ["release", "rolled back", "found after", "9 of 10 after", "canary requests", "users hurt"]
    rows = [_row(bad) for bad in report.bad]
    stages = ", then ".join(" ".join(map(str, weights)) for weights in report.weights)
    lines = [
        f"{report.policy}: {stages} %",
        "",
        _columns(head, rows),
        (
            f"A harmless release has all traffic after {span(harmless.promoted_s)}, "
            f"with {count(harmless.canary_requests)} canary requests before;"
        ),
        f"{harmless.unproven_steps:.1f} of its {harmless.steps:.1f} steps are made without proof, for want of traffic.",
        (
            f"It was rolled back wrongly in {harmless.rolled_back} of {harmless.rollouts} simulated rollouts: "
            f"a chance of at most {percent(harmless.upper_bound)} (95 % confidence);"
        ),
        f"the policy allows {percent(report.allowed_false_rollback)}.",
        "",
        "Assumed:",
        *(f"- {text}" for text in report.assumptions),
    ]
    return "\n".join(lines) + "\n"


def _row(bad: "BadPlan") -> list[str]:
    return [
        bad.name,
        percent(bad.rolled_back / bad.rollouts),
        seconds(bad.median_s),
        seconds(bad.most_s),
        count(bad.canary_requests),
        count(bad.users_hurt),
    ]


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Line up: names to the left, figures to the right."""
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
    text = ""
    for line in (head, ["─" * width for width in widths], *rows):
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text += "  ".join(cells).rstrip() + "\n"
    return text


def to_json(report: "PlanReport") -> str:
    """Write a plan as JSON; what never happened is null."""
    harmless, traffic = report.harmless, report.traffic
    value = {
        "policy": report.policy,
        "traffic": {
            "rps": traffic.rps,
            "error_rate": traffic.error_rate,
            "latency_p50_ms": round(traffic.latency.quantile_ms(0.5), 3),
            "latency_p99_ms": round(traffic.latency.quantile_ms(0.99), 3),
            "stable_pods": traffic.stable_pods,
            "interval_s": report.interval_s,
        },
        "history": report.history,
        "seed": report.seed,
        "harmless": {
            "rollouts": harmless.rollouts,
            "rolled_back": harmless.rolled_back,
            "false_rollback": harmless.false_rollback,
            "false_rollback_upper_95": harmless.upper_bound,
            "false_rollback_allowed": report.allowed_false_rollback,
            "promoted_s": dict(zip(("p10", "p50", "p90"), map(_finite, harmless.promoted_s), strict=True)),
            "canary_requests": harmless.canary_requests,
            "steps": harmless.steps,
            "unproven_steps": harmless.unproven_steps,
        },
        "bad": [_bad(bad) for bad in report.bad],
        "assumptions": list(report.assumptions),
    }
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def _bad(bad: "BadPlan") -> dict[str, Any]:
    return {
        "release": bad.name,
        "rollouts": bad.rollouts,
        "rolled_back": bad.rolled_back,
        "promoted": bad.promoted,
        "found_s": {"p50": _finite(bad.median_s), "p90": _finite(bad.most_s)},
        "canary_requests": bad.canary_requests,
        "users_hurt": round(bad.users_hurt, 2),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def seconds(value: float) -> str:
    """Write a duration; a dash for never."""
    return duration(value) if math.isfinite(value) else "–"


def span(times: tuple[float, float, float]) -> str:
    """Write a median with its range."""
    low, median, high = map(seconds, times)
    return median if low == high else f"{median} ({low} to {high})"


def count(value: float) -> str:
    """Write a number of requests or users."""
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:,.1f}"


def percent(ratio: float) -> str:
    """Write a ratio as per cent with at most two significant digits below 100."""
    return f"{100 * ratio:.0f} %" if ratio in {0.0, 1.0} or ratio >= 0.1 else f"{100 * ratio:.2g} %"
