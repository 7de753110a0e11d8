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
    """Write an error rate with its interval: `5.13 % of 351 requests (95 % interval 3.06 to 7.98 %)`."""
    if not rates.requests:
        return "no requests"
    low, high = 100 * rates.error_rate_low, 100 * rates.error_rate_high
    interval = f"95 % interval {low:.3g} to {high:.3g} %"
    return f"{percent(rates.error_rate)} of {count(rates.requests)} requests ({interval})"


def latency(rates: Rates) -> str:
    """Write latency quantiles: `half of the answers within 21 ms, 99 % within 80 ms`."""
    if math.isnan(rates.p50_ms):
        return "no latency"
    return f"half of the answers within {milliseconds(rates.p50_ms)}, 99 % within {milliseconds(rates.p99_ms)}"


def version(name: str, rates: Rates) -> str:
    """Write one version's figures: `v2: 5.13 % of 351 requests failed (95 % interval …); half of the answers within …`."""
    if not rates.requests:
        return f"{name}: no requests"
    low, high = 100 * rates.error_rate_low, 100 * rates.error_rate_high
    return (
        f"{name}: {percent(rates.error_rate)} of {count(rates.requests)} requests failed "
        f"(95 % interval {low:.3g} to {high:.3g} %); {latency(rates)}"
    )


_CHANNELS: Final = {
    Channel.ERRORS: "failed requests",
    Channel.LATENCY: "slow answers",
    Channel.COMPLETIONS: "requests that never end",
    Channel.LIMITS: "the absolute limits of the policy",
}

HINT: Final = 0.1
"""A harmless release has evidence like this, or more, at some time in at most one rollout of ten."""


def once_in(p_value: float) -> str:
    """Write a small probability as people say it: `once in 450 rollouts`."""
    if p_value < 1e-6:
        return "less than once in a million rollouts"
    times = 1.0 / p_value
    digits = -max(0, math.floor(math.log10(times)) - 1)  # two, however large: more would not be true
    return f"once in {round(times, digits):,.0f} rollouts"


def harm(evidence: Evidence) -> str:
    """Write how strong the evidence of harm is, in one sentence without its full stop."""
    needed = math.exp(-evidence.log_threshold)
    threshold = f"a rollback needs p ≤ {needed:.2g}"
    if evidence.p_value > HINT or evidence.culprit is None:
        return f"No evidence of harm (p = {evidence.p_value:.2g}; {threshold})"
    by = f"in {_CHANNELS[evidence.culprit]}"
    rarity = f"by chance a harmless release looks this bad {once_in(evidence.p_value)}"
    return f"Evidence of harm, mostly {by}: {rarity} (p = {evidence.p_value:.2g}; {threshold})"


def full(evidence: Evidence | None, *, stable: str, canary: str, until_s: float | None = None, since: str = "") -> str:
    """Write all the evidence there is, one thing a line.

    Parameters
    ----------
    evidence
        What was judged.
    stable, canary
        Names of the versions.
    until_s
        End of what was judged [unix seconds].
    since
        What more is known of the time, in words.
    """
    if evidence is None or not evidence.intervals:
        return "No telemetry has been judged yet."
    until = f", until {clock(until_s)}" if until_s is not None else ""
    intervals = "1 interval" if evidence.intervals == 1 else f"{evidence.intervals} intervals"
    beyond = f"Of the absolute limits: {exceeding(evidence)}.\n" if evidence.limits else ""
    return (
        f"{version(canary, evidence.canary)}\n"
        f"{version(stable, evidence.stable)}\n"
        f"{harm(evidence)}.\n"
        f"{beyond}"
        f"Judged: {duration(evidence.seconds)} of traffic in {intervals}{until}{since}."
    )


def clock(at_s: float) -> str:
    """Write the time of day: `03:32:05 UTC`."""
    minutes, seconds = divmod(int(at_s) % 86_400, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02} UTC"


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
        return f"{canary} was found to do harm"
    if evidence.culprit is Channel.ERRORS:
        return (
            f"{canary} fails {percent(evidence.canary.error_rate)} of its requests, "
            f"{stable} {percent(evidence.stable.error_rate)}"
        )
    if evidence.culprit is Channel.LATENCY:
        return f"{canary} is slower than {stable}: {_slower(evidence)}"
    if evidence.culprit is Channel.LIMITS:
        beyond = limit_exceeded(evidence, canary=canary, limits=limits, edges_ms=edges_ms)
        compared = f", whatever {stable} does" if evidence.stable.requests else f"; nobody there has {stable}"
        return f"{beyond}{compared}"
    answered = f"answered {count(evidence.canary.requests)}, {stable} {count(evidence.stable.requests)}"
    return f"{canary} loses requests: it {answered}, fewer than its weight says"


def _slower(evidence: Evidence) -> str:
    canary, stable = evidence.canary, evidence.stable
    if math.isnan(canary.p50_ms) or math.isnan(stable.p50_ms):
        return "its answers take longer"
    return (
        f"half of the answers within {milliseconds(canary.p50_ms)} instead of {milliseconds(stable.p50_ms)}, "
        f"99 % within {milliseconds(canary.p99_ms)} instead of {milliseconds(stable.p99_ms)}"
    )


def limit_exceeded(evidence: Evidence, *, canary: str, limits: Limits, edges_ms: tuple[float, ...]) -> str:
    """Say which absolute limit the canary exceeds, and by what."""
    worst = max(evidence.limits, key=lambda name: evidence.limits[name], default="")
    if worst == "error rate" and limits.error_rate is not None:
        return (
            f"{canary} fails {error_rate(evidence.canary)}, "
            f"and spec.judge.limits.errorRate allows {percent(limits.error_rate)}"
        )
    if worst == "p99" and limits.p99_ms is not None:
        seen = "" if math.isnan(evidence.canary.p99_ms) else f" (about {milliseconds(evidence.canary.p99_ms)})"
        edge_ms = limits.p99_edge_ms(edges_ms)
        tested = (
            "" if edge_ms in {None, limits.p99_ms} else f", tested at the histogram's edge of {milliseconds(edge_ms)}"
        )
        return (
            f"{canary}'s p99{seen} is above the {milliseconds(limits.p99_ms)} that spec.judge.limits.p99 allows{tested}"
        )
    return f"{canary} exceeds an absolute limit of spec.judge.limits"


def milliseconds(value: float | None) -> str:
    """Write a latency: `800 ms`, `2,500 ms`."""
    return "–" if value is None else f"{round(value, 1 if value < 10 else None):,} ms"


def exceeding(evidence: Evidence) -> str:
    """Write the evidence that each absolute limit is exceeded: `error rate p = 0.0022, p99 p = 1`."""
    return ", ".join(f"{name} p = {min(1.0, math.exp(-value)):.2g}" for name, value in evidence.limits.items())


def unproven(evidence: Evidence) -> str:
    """Say which claims still lack proof, and how far each has come."""
    if not evidence.proof:
        return "nothing is to be proven at this step"
    needed = evidence.log_proof_threshold
    missing = [
        f"{claim} {max(0.0, 100 * value / needed):.0f} %" for claim, value in evidence.proof.items() if value < needed
    ]
    return "still to prove (how far): " + ", ".join(missing) if missing else "all claims proven"
