"""`serin plan`: what a policy will do, before it does it."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from analyzer.cli.options import UsageError, read_policy_file
from analyzer.errors import SerinError
from analyzer.policy.defaults import HOME
from analyzer.policy.quantities import parse_duration, parse_percent

if TYPE_CHECKING:
    from analyzer.policy.model import CanaryPolicy
    from analyzer.simulate.latency import LatencyShape
    from analyzer.simulate.traffic import Traffic

_EXIT_USAGE: Final = 2
_SEED: Final = 1
_P50_MS: Final = 60.0
_P99_RATIO: Final = 4.0
_RPS: Final = (0.01, 1e6)
_PODS: Final = (1, 1000)


def plan_command(
    policy: Path,
    *,
    beside: Sequence[Path] = (),
    home: str = HOME,
    rps: float,
    error_rate: str,
    latency_p50: str | None = None,
    latency_p99: str | None = None,
    pods: int = 10,
    output: str = "table",
    plot: Path | None = None,
) -> int:
    """Simulate what a policy will do to releases of a service, and print it; return the exit code.

    Parameters
    ----------
    policy, beside, home
        As of `read_policy_file`.
    rps
        Requests per second on the routes whose weights move.
    error_rate
        Of the stable version: `0.1%`.
    latency_p50, latency_p99
        Of the stable version: `60ms`; 60 ms, and four times the p50, if not given.
    pods
        Of the stable version.
    output
        `table` or `json`.
    plot
        Where to write a picture (SVG).
    """
    try:
        if output not in {"table", "json"}:
            raise UsageError(f"--output {output}: take table or json")
        if plot is not None and plot.suffix.lower() != ".svg":
            raise UsageError(f"--plot {plot}: the picture is an SVG, name it {plot.with_suffix('.svg')}")
        traffic = _traffic(rps, error_rate, latency_p50=latency_p50, latency_p99=latency_p99, pods=pods)
        read = read_policy_file(policy, beside=beside, home=home)
        text, picture = _simulate(read, traffic, output=output, draw=plot is not None)
        if plot is not None:
            _write(plot, picture)
    except SerinError as error:
        print(f"serin plan: {error}", file=sys.stderr)
        return _EXIT_USAGE
    print(text.rstrip("\n"))
    return 0


def _simulate(policy: "CanaryPolicy", traffic: "Traffic", *, output: str, draw: bool) -> tuple[str, str]:
    from analyzer.simulate.plan import plan_report, render_svg, render_table, to_json

    report = plan_report(policy, traffic, seed=_SEED)
    return to_json(report) if output == "json" else render_table(report), render_svg(report) if draw else ""


def _traffic(rps: float, error_rate: str, *, latency_p50: str | None, latency_p99: str | None, pods: int) -> "Traffic":
    from analyzer.simulate.traffic import Traffic

    if not (math.isfinite(rps) and _RPS[0] <= rps <= _RPS[1]):
        raise UsageError(f"--rps {rps:g}: write requests per second, from {_RPS[0]:g} to {_RPS[1]:,.0f}")
    if not _PODS[0] <= pods <= _PODS[1]:
        raise UsageError(f"--pods {pods}: write how many pods the stable version has, from {_PODS[0]} to {_PODS[1]}")
    latency = _latency(latency_p50, latency_p99)
    # Beyond fifty pods nothing changes but the time that it takes.
    stable = min(pods, 50)
    return Traffic(rps=rps, error_rate=_ratio(error_rate), latency=latency, stable_pods=stable, canary_pods=1)


def _ratio(text: str) -> float:
    try:
        ratio = parse_percent(text)
    except ValueError:
        raise UsageError(f"--error-rate {text}: write a percentage, 0.1%, say") from None
    if not 0 <= ratio < 1:
        raise UsageError(f"--error-rate {text}: write a percentage below 100%")
    return ratio


def _latency(p50: str | None, p99: str | None) -> "LatencyShape":
    from analyzer.simulate.latency import shape_of

    given_ms = {"p50": _milliseconds("--latency-p50", p50), "p99": _milliseconds("--latency-p99", p99)}
    p99_ms = given_ms["p99"]
    p50_ms = given_ms["p50"] or (_P50_MS if p99_ms is None else p99_ms / _P99_RATIO)
    try:
        return shape_of(p50_ms, p99_ms or p50_ms * _P99_RATIO)
    except ValueError as error:
        raise UsageError(f"--latency-p50, --latency-p99: {error}") from None


def _milliseconds(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value_s = parse_duration(text)
    except ValueError:
        raise UsageError(f"{option} {text}: write a duration with its unit, 60ms, say") from None
    if value_s <= 0:
        raise UsageError(f"{option} {text}: must be longer than nothing")
    return 1e3 * value_s


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--plot {path}: cannot be written: {error.strerror}") from error
