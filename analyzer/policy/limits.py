"""Absolute limits that do not do what they seem to; all of this is warnings."""

from collections.abc import Iterator
from typing import Final

from analyzer.policy.findings import Code, Path, Problem, Severity
from analyzer.policy.model import CanaryPolicy
from analyzer.policy.quantities import format_duration, format_percent

EDGES_MS: Final = (
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 1.8e6, 3.6e6,
)  # fmt: skip
"""Istio's default histogram edges [ms], as the judge has them; its package takes long to import."""

_WHERE: Final[Path] = ("spec", "judge", "limits")


def check_limits(policy: CanaryPolicy) -> Iterator[Problem]:
    """Look at `spec.judge.limits`."""
    judge = policy.spec.judge
    if len(policy.spec.stages) > 1 and (judge.limits is None or judge.limits.error_rate is None):
        first, second = (stage.route for stage in policy.spec.stages[:2])
        message = (
            f"once everybody on `{first}` has the canary, nobody of them is left to compare with: while `{second}` is judged,"
            " only a limit finds errors there"
        )
        mend = "write `limits: {errorRate: …}` into `judge`, well above what is usual: `5%`, say"
        path: Path = ("spec", "stages", 0)
        yield Problem(Code.PASSED_UNWATCHED, message, mend, path, severity=Severity.WARNING)
    if judge.limits is None:
        return
    rate, floor = judge.limits.error_rate, judge.errors.floor
    if rate is not None and rate <= floor:
        message = (
            f"`errorRate: {format_percent(rate)}` is not above `errors.floor` ({format_percent(floor)}): it rolls back "
            "what the comparison takes for no harm even beside a stable version without errors"
        )
        yield _warn(Code.LIMIT_BELOW_FLOOR, message, "raise `errorRate`, or lower `errors.floor`", "errorRate")
    if judge.limits.p99_s is not None:
        yield from _p99(judge.limits.p99_s)


def _p99(limit_s: float) -> Iterator[Problem]:
    written, limit_ms = format_duration(limit_s), round(1000.0 * limit_s, 6)
    below = max((edge for edge in EDGES_MS if edge < limit_ms), default=None)
    above = min((edge for edge in EDGES_MS if edge >= limit_ms), default=None)
    if above is None:
        message = f"Istio's default histogram has no edge as high as `p99: {written}`: the limit is never tested"
        yield _warn(Code.LIMIT_BETWEEN_EDGES, message, f"lower it to at most {_written(EDGES_MS[-1])}", "p99")
    elif above != limit_ms:
        message = (
            f"Istio's default histogram has no edge at `p99: {written}`: it is tested at {_written(above)}, and a p99 "
            "between the two goes unnoticed"
        )
        choice = _written(above) if below is None else f"{_written(below)} or {_written(above)}"
        mend = f"write {choice}, or give the pods an edge there (annotation sidecar.istio.io/statsHistogramBuckets)"
        yield _warn(Code.LIMIT_BETWEEN_EDGES, message, mend, "p99")


def _written(edge_ms: float) -> str:
    return format_duration(edge_ms / 1000.0)


def _warn(code: Code, message: str, mend: str, name: str) -> Problem:
    return Problem(code, message, mend, (*_WHERE, name), severity=Severity.WARNING)
