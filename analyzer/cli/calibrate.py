"""`serin calibrate`: how often a policy would have rolled back a harmless release of the user's own service."""

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Final

from analyzer.adapters.prometheus import PrometheusTelemetry
from analyzer.app.history.pods import PodCounts, read_pods
from analyzer.cli.options import UsageError, read_policy_file
from analyzer.cli.past import open_prometheus, parse_time, parse_workload
from analyzer.errors import MetricsUnavailable, PolicyError
from analyzer.policy.defaults import HOME
from analyzer.ports import Workload
from analyzer.replay.calibrate import ENOUGH, ROLLOUTS, Calibration
from analyzer.replay.mend import calibrate, report_dict, report_text
from analyzer.replay.overrides import policy_of

_MOST_HOURS: Final = 24 * 31
_MOST_ROLLOUTS: Final = 10_000


class Exit(IntEnum):
    """Exit codes of `serin calibrate`."""

    KEPT = 0  # the policy keeps its promise
    BROKEN = 1  # it does not
    USAGE = 2
    TOO_LITTLE = 3  # too few pseudo-rollouts to tell
    UNREACHABLE = 4


def calibrate_workload(
    url: str,
    *,
    workload: str,
    hours: float = 24.0,
    to_time: str = "0s",
    policy: Path | None = None,
    beside: Sequence[Path] = (),
    home: str = HOME,
    rollouts: int = ROLLOUTS,
    seed: int = 1,
    output: str = "table",
) -> int:
    """Calibrate a policy (or Serin's own defaults) on a workload's past, and return the exit code.

    `policy`, `beside` and `home` are as of `read_policy_file`.
    """
    try:
        _check(output, hours=hours, rollouts=rollouts)
        telemetry = open_prometheus(url, reporter="destination", known=("destination",))
        target = parse_workload(workload, "--workload")
        read = policy_of({}) if policy is None else read_policy_file(policy, beside=beside, home=home)
        to_s = parse_time(to_time, "--to", now_s=datetime.now(UTC).timestamp())
    except PolicyError as error:
        print(f"serin calibrate: {error}", file=sys.stderr)
        return Exit.USAGE
    try:
        counts = asyncio.run(_read(telemetry, target, from_s=to_s - hours * 3600.0, to_s=to_s))
    except MetricsUnavailable as error:
        print(f"serin calibrate: {error}", file=sys.stderr)
        return Exit.UNREACHABLE
    if counts is None:
        return _too_little(
            f"no proxy of {workload} reported a request in these {hours:g} h. Check the name, and that Prometheus has"
            ' istio_requests_total with reporter="destination" of its pods (ambient mode has none)'
        )
    calibration = Calibration(counts, read, rollouts=rollouts, seed=seed)
    if len(calibration.draws) < min(ENOUGH, rollouts):
        return _too_little(f"there are only {len(calibration.draws)} pseudo-rollouts in this; take more --hours")
    report = calibrate(calibration)
    if output == "json":
        fields = {"workload": workload, "seed": seed, **report_dict(calibration, report)}
        print(json.dumps(fields, ensure_ascii=False, allow_nan=False))
    else:
        print(report_text(calibration, report), end="")
    return Exit.KEPT if report.kept else Exit.BROKEN


def _check(output: str, *, hours: float, rollouts: int) -> None:
    if output not in {"table", "json"}:
        raise UsageError(f"--output {output}: take table or json")
    if not 0 < hours <= _MOST_HOURS:
        raise UsageError(f"--hours {hours:g}: write a number above 0 and up to {_MOST_HOURS}")
    if not 1 <= rollouts <= _MOST_ROLLOUTS:
        raise UsageError(f"--rollouts {rollouts}: write a number from 1 to {_MOST_ROLLOUTS}")


async def _read(telemetry: PrometheusTelemetry, workload: Workload, *, from_s: float, to_s: float) -> PodCounts | None:
    print(f"serin calibrate: reads {(to_s - from_s) / 3600:g} h of {'/'.join(workload)} …", file=sys.stderr)
    try:
        return await read_pods(telemetry, workload, from_s=from_s, to_s=to_s)
    finally:
        await telemetry.aclose()


def _too_little(text: str) -> int:
    print(f"serin calibrate: {text}", file=sys.stderr)
    return Exit.TOO_LITTLE
