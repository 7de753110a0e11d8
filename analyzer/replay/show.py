"""A replay for people: each interval with its decision and why, and what became of the rollouts."""

import json
from collections.abc import Sequence
from typing import Any

from analyzer.core.rollout.wording import count, duration, percent
from analyzer.replay.course import Decision, decide_as_given, plan_of
from analyzer.replay.result import Result
from analyzer.replay.run import Judged

_COLUMNS = ("{:>12}", "{:>9}", "{:>19}", "{:>17}", "{:>7}", "{:<12}", "{}")
TRACE_HEAD = "  ".join(_COLUMNS).format(
    "t", "weight", "requests", "errors", "log E", "verdict", "decision (each pair: stable / canary)"
)


def decision_of(judged: Judged) -> Decision:
    """Decide on one interval, at the weight that it had."""
    interval = judged.interval
    return decide_as_given(
        plan_of(judged.policy),
        judged.assessment,
        weight=interval.weight,
        next_weight=judged.next_weight,
        t=interval.end_s,
        seconds=interval.seconds,
    )


def trace_line(judged: Judged, *, named: bool) -> str:
    """Write one interval in a line; `named` puts the rollout in front."""
    interval, decision = judged.interval, decision_of(judged)
    versions = (interval.stable, interval.canary)
    following = "–" if judged.next_weight is None else f"{judged.next_weight:g}"
    cells = (
        f"{interval.end_s:.12g}",
        f"{interval.weight:g} > {following}",
        " / ".join(count(version.requests) for version in versions),
        " / ".join(percent(v.errors / v.requests) if v.requests else "–" for v in versions),
        f"{judged.assessment.evidence.log_e:.2f}",
        judged.assessment.verdict.value,
        f"{decision.action}: {decision.why}",
    )
    return (f"{judged.rollout}  " if named else "") + "  ".join(_COLUMNS).format(*cells)


def trace_dict(judged: Judged) -> dict[str, Any]:
    """Give the same for machines."""
    interval, decision = judged.interval, decision_of(judged)
    evidence = judged.assessment.evidence
    return {
        "rollout": judged.rollout,
        "t": interval.end_s,
        "seconds": interval.seconds,
        "weight": interval.weight,
        "next_weight": judged.next_weight,
        "verdict": judged.assessment.verdict.value,
        "log_e": round(evidence.log_e, 6),
        "channels": {channel.value: round(value, 6) for channel, value in evidence.channels.items()},
        "limits": {name: round(value, 6) for name, value in evidence.limits.items()},
        "proof": {claim: round(value, 6) for claim, value in evidence.proof.items()},
        "decision": decision.action,
        "weight_wanted": decision.weight,
        "why": decision.why,
    }


def trace_json(judged: Judged) -> str:
    """Write one interval as a JSON line."""
    return json.dumps(trace_dict(judged), ensure_ascii=False, allow_nan=False)


def results_table(results: Sequence[Result]) -> str:
    """Write what became of the rollouts, a line each."""
    head = ("rollout", "verdict", "harm at", "channel", "proven at", "proven to", "intervals", "max log E")
    rows = [head, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "".join(
        "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows
    )


def _row(result: Result) -> tuple[str, ...]:
    proven = ", ".join(f"{weight} %" for weight in result.proven)
    return (
        result.rollout,
        result.verdict.value,
        _time(result.harm_at_s),
        result.harm_channel.value if result.harm_channel else "–",
        _time(result.proven_at_s),
        proven or "–",
        count(result.intervals),
        f"{result.max_evidence:.2f}",
    )


def _time(t: float | None) -> str:
    """Write a time of the record: seconds from a start as a duration, unix time as it is."""
    if t is None:
        return "–"
    return duration(t) if 0 <= t < 1e7 else f"{t:.12g}"
