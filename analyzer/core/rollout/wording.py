"""What people read: evidence in words. Pure, so that golden tests can hold the texts."""

import math
from typing import Final

from analyzer.core.judge.types import Channel, Evidence, Rates
from analyzer.core.rollout.plan import Limits

NO_LIMITS: Final = Limits()


def percent(ratio: float) -> str:
    """Write a ratio as per cent with three significant digits; `–` where there is none."""
    if math.isnan(ratio):
        return "–"
    return f"{100 * ratio:.3g} %"


def count(n: int) -> str:
    """Write a count with thousands separated."""
    return f"{n:,}"


def duration(seconds: float) -> str:
    """Write a duration as people say it: `45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def error_rate(rates: Rates) -> str:
    """Write an error rate with its interval: `5.1 % (4.2 to 6.1 %) of 1,204 requests`."""
    if not rates.requests:
        return "no requests"
    low, high = 100 * rates.error_rate_low, 100 * rates.error_rate_high
    return f"{percent(rates.error_rate)} ({low:.3g} to {high:.3g} %) of {count(rates.requests)} requests"


def latency(rates: Rates) -> str:
    """Write latency quantiles: `p50 21 ms, p99 80 ms`."""
    if math.isnan(rates.p50_ms):
        return "no latency"
    return f"p50 {rates.p50_ms:.3g} ms, p99 {rates.p99_ms:.3g} ms"


def rates(evidence: Evidence, *, stable: str, canary: str) -> str:
    """Write both versions side by side, in two lines."""
    return (
        f"errors: {canary} {error_rate(evidence.canary)}, {stable} {error_rate(evidence.stable)}\n"
        f"latency: {canary} {latency(evidence.canary)}, {stable} {latency(evidence.stable)}"
    )


def harm(evidence: Evidence) -> str:
    """Write how strong it is: `log E 6.1 of 4.6 needed for a rollback, p 0.0022, mostly errors`."""
    culprit = f", mostly {evidence.culprit.value}" if evidence.culprit else ""
    return (
        f"log E {evidence.log_e:.1f} of {evidence.log_threshold:.1f} needed for a rollback, "
        f"p {evidence.p_value:.2g}{culprit}"
    )


def full(evidence: Evidence | None, *, stable: str, canary: str) -> str:
    """Write all the evidence there is, one thing a line."""
    if evidence is None or not evidence.intervals:
        return "no telemetry was judged"
    beyond = f"beyond the absolute limits (log E): {exceeding(evidence)}\n" if evidence.limits else ""
    return (
        f"{rates(evidence, stable=stable, canary=canary)}\n"
        f"evidence of harm: {harm(evidence)}\n"
        f"{beyond}"
        f"watched: {duration(evidence.seconds)} in {evidence.intervals} intervals"
    )


def culprit(
    evidence: Evidence | None,
    *,
    stable: str,
    canary: str,
    limits: Limits = NO_LIMITS,
    edges_ms: tuple[float, ...] = (),
) -> str:
    """Say in one clause what is wrong with the canary.

    Parameters
    ----------
    evidence
        What was judged.
    stable, canary
        Names of the versions.
    limits, edges_ms
        The absolute limits, and the histogram's edges that they were tested with [ms].
    """
    if evidence is None or evidence.culprit is None:
        return f"{canary} is worse than {stable}"
    if evidence.culprit is Channel.ERRORS:
        return (
            f"{canary} fails {percent(evidence.canary.error_rate)} of its requests, "
            f"{stable} {percent(evidence.stable.error_rate)}"
        )
    if evidence.culprit is Channel.LATENCY:
        return f"{canary} is slower ({latency(evidence.canary)}) than {stable} ({latency(evidence.stable)})"
    if evidence.culprit is Channel.LIMITS:
        return limit_exceeded(evidence, canary=canary, limits=limits, edges_ms=edges_ms)
    answered = f"answered {count(evidence.canary.requests)}, {stable} {count(evidence.stable.requests)}"
    return f"{canary} loses requests: it {answered}, fewer than its weight says"


def limit_exceeded(evidence: Evidence, *, canary: str, limits: Limits, edges_ms: tuple[float, ...]) -> str:
    """Say which absolute limit the canary exceeds, and by what."""
    worst = max(evidence.limits, key=lambda name: evidence.limits[name], default="")
    if worst == "error rate" and limits.error_rate is not None:
        return (
            f"{canary} fails {error_rate(evidence.canary)}, "
            f"and spec.judge.limits.errorRate allows {percent(limits.error_rate)}, whatever the stable version does"
        )
    if worst == "p99" and limits.p99_ms is not None:
        seen = "" if math.isnan(evidence.canary.p99_ms) else f" (about {milliseconds(evidence.canary.p99_ms)})"
        edge_ms = limits.p99_edge_ms(edges_ms)
        tested = (
            "" if edge_ms in {None, limits.p99_ms} else f", tested at the histogram's edge of {milliseconds(edge_ms)}"
        )
        return (
            f"{canary}'s p99{seen} is above the {milliseconds(limits.p99_ms)} that spec.judge.limits.p99 allows{tested}, "
            "whatever the stable version does"
        )
    return f"{canary} exceeds an absolute limit of spec.judge.limits"


def milliseconds(value: float | None) -> str:
    """Write a latency: `800 ms`, `2,500 ms`."""
    return "–" if value is None else f"{round(value, 1 if value < 10 else None):,} ms"


def exceeding(evidence: Evidence) -> str:
    """Write the evidence of each absolute limit: `error rate 6.1, p99 -0.2`."""
    return ", ".join(f"{name} {value:.1f}" for name, value in evidence.limits.items())


def unproven(evidence: Evidence) -> str:
    """Say which claims still lack proof."""
    if not evidence.proof:
        return "nothing is to be proven at this step"
    missing = [
        f"{claim} {value:.1f} of {evidence.log_proof_threshold:.1f}"
        for claim, value in evidence.proof.items()
        if value < evidence.log_proof_threshold
    ]
    return "still to prove: " + ", ".join(missing) if missing else "all claims proven"
