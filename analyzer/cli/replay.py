"""`serin replay`: recorded counts, or Prometheus' past, through the same judge and decision."""

import asyncio
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from analyzer.adapters.prometheus import PrometheusTelemetry
from analyzer.errors import MetricsUnavailable, PolicyError
from analyzer.policy.load import load_objects
from analyzer.policy.model import CanaryPolicy
from analyzer.policy.parse import is_foreign, parse_policy
from analyzer.policy.quantities import parse_duration
from analyzer.ports import Workload
from analyzer.replay.counts import MAX_REPORTED, CountsReader, Header, Record, open_counts
from analyzer.replay.recorded import Recording, read_recording, workloads_of
from analyzer.replay.result import Exit, Result, exit_code
from analyzer.replay.run import MAX_WAITING, Judged, Replay
from analyzer.replay.show import TRACE_HEAD, results_table, trace_json, trace_line

_TRACED_TOGETHER: Final = 2000
"""With its evidence in words a judged interval takes several kB, until it is printed."""


@dataclass(frozen=True, slots=True)
class Output:
    """What is printed.

    Attributes
    ----------
    json
        JSON lines, instead of text.
    trace
        Each interval with its decision; None: as text, of a single rollout.
    """

    json: bool
    trace: bool | None


def replay_counts(counts: str, *, output: str = "table", trace: bool | None = None) -> int:
    """Replay a file of counts (`-`: standard input), and return the exit code.

    With `-o json` one line per rollout; with `--trace` a line per interval before them.
    """
    shown = _output(output, trace=trace)
    if shown is None:
        return _usage(f"--output {output}: take table or json")
    reader, tracer = CountsReader("<stdin>" if counts == "-" else counts), _Tracer(shown)
    try:
        with open_counts(counts) as stream:
            replay = tracer.replay()
            for record in reader.read(stream):
                if not reader.bad:  # from then on lines are only checked: there will be no answer
                    tracer.watch(record, replay)
                    replay.feed(record)
    except OSError as error:
        return _usage(f"--counts {counts}: {error.strerror or error}; name a file of counts, or `-`")
    if reader.bad:
        for bad in reader.bad:
            print(bad, file=sys.stderr)
        if reader.bad_count > MAX_REPORTED:
            print(f"and {reader.bad_count - MAX_REPORTED:,} more bad lines", file=sys.stderr)
        return Exit.USAGE
    return _conclude(replay.finish(), tracer)


def replay_prometheus(
    url: str,
    *,
    policy: Path,
    from_time: str,
    to_time: str = "0s",
    stable: str | None = None,
    canary: str | None = None,
    route: str | None = None,
    weight: float | None = None,
    stable_pods: int = 1,
    canary_pods: int = 1,
    canary_since: str | None = None,
    reporter: str = "source",
    output: str = "table",
    trace: bool | None = None,
) -> int:
    """Replay a rollout out of Prometheus' past, and return the exit code.

    Times are RFC 3339, unix seconds, or a duration before now (`2h`).
    """
    shown = _output(output, trace=trace)
    if shown is None:
        return _usage(f"--output {output}: take table or json")
    try:
        telemetry = open_prometheus(url, reporter=reporter, known=("source", "waypoint"))
        read = read_policy_file(policy)
        versions = _workloads(read, stable, canary)
        now_s = datetime.now(UTC).timestamp()
        recording = Recording(
            stable=versions[0],
            canary=versions[1],
            policy=read,
            from_s=parse_time(from_time, "--from", now_s=now_s),
            to_s=parse_time(to_time, "--to", now_s=now_s),
            route=route,
            weight=weight,
            stable_pods=stable_pods,
            canary_pods=canary_pods,
            canary_since_s=None if canary_since is None else parse_time(canary_since, "--canary-since", now_s=now_s),
        )
        _check(recording)
    except (PolicyError, ValueError) as error:
        return _usage(str(error))
    tracer = _Tracer(shown)
    try:
        return _conclude(asyncio.run(_replay(telemetry, recording, tracer)), tracer)
    except MetricsUnavailable as error:
        print(f"serin replay: {error}", file=sys.stderr)
        return Exit.UNREACHABLE


async def _replay(telemetry: PrometheusTelemetry, recording: Recording, tracer: "_Tracer") -> list[Result]:
    replay = tracer.replay()
    try:
        if recording.weight is None:
            _note("the weight is not recorded: each interval has the step of the policy that explains its requests")
        async for record in read_recording(telemetry, recording, note=_note):
            replay.feed(record)
        return replay.finish()
    finally:
        await telemetry.aclose()


def _note(text: str) -> None:
    print(f"serin replay: {text}", file=sys.stderr)


def _usage(text: str) -> int:
    print(f"serin replay: {text}", file=sys.stderr)
    return Exit.USAGE


# --- options ----------------------------------------------------------------------------------------------------------


def _output(output: str, *, trace: bool | None) -> Output | None:
    return Output(output == "json", trace) if output in {"table", "json"} else None


def open_prometheus(url: str, *, reporter: str, known: tuple[str, ...]) -> PrometheusTelemetry:
    """Check the options, and make the adapter; nothing is asked yet.

    Raises
    ------
    PolicyError
        An option is wrong.
    """
    if reporter not in known:
        raise PolicyError(f"--reporter {reporter}: take {' or '.join(known)}")
    try:
        return PrometheusTelemetry(url.rstrip("/"), reporter=reporter, deadline_s=60.0, timeout_s=(5.0, 30.0))
    except ValueError as error:
        raise PolicyError(f"--prometheus: {error}") from None


def read_policy_file(path: Path) -> CanaryPolicy:
    """Read the one policy of a file, whatever else is in it.

    Raises
    ------
    PolicyError
        There is none, or more than one, or it is wrong.
    """
    objects = load_objects([path])
    found = [obj for obj in objects if obj.get("kind") == "CanaryPolicy" or is_foreign(obj)]
    if len(found) != 1:
        raise PolicyError(f"--policy {path}: {len(found)} policies in it; name a file with exactly one")
    try:
        return parse_policy(found[0])
    except PolicyError as error:
        raise PolicyError(f"--policy {path}: {error}") from None


def parse_workload(text: str, option: str) -> Workload:
    """Read `NAMESPACE/NAME`.

    Raises
    ------
    PolicyError
        It is none.
    """
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise PolicyError(f"{option} {text}: write NAMESPACE/NAME of a Deployment, shop/cart-v1, say")
    return Workload(namespace, name)


def _workloads(policy: CanaryPolicy, stable: str | None, canary: str | None) -> tuple[Workload, Workload]:
    if stable is not None and canary is not None:
        return parse_workload(stable, "--stable"), parse_workload(canary, "--canary")
    if stable is not None or canary is not None:
        raise PolicyError("write both --stable and --canary, or neither")
    return workloads_of(policy)


def parse_time(text: str, option: str, *, now_s: float) -> float:
    """Read a time [unix seconds].

    Raises
    ------
    PolicyError
        It is none.
    """
    try:
        return now_s - parse_duration(text)
    except ValueError:
        pass  # no duration: one of the other two
    try:
        return float(text) if text.replace(".", "", 1).isdecimal() else _instant(text)
    except ValueError:
        mend = "write 2026-11-23T14:00:00Z, unix seconds, or how long ago it was: 2h"
        raise PolicyError(f"{option} {text}: this is no time; {mend}") from None


def _instant(text: str) -> float:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(text)  # whose noon?
    return instant.timestamp()


def _check(recording: Recording) -> None:
    if recording.from_s >= recording.to_s:
        raise PolicyError("--from is not before --to: nothing lies between them")
    if recording.stable == recording.canary:
        raise PolicyError("--stable and --canary are the same workload: a canary has two versions")
    if recording.weight is not None and not 0.0 < recording.weight <= 100.0:
        raise PolicyError(f"--weight {recording.weight:g}: write per cent, above 0 and up to 100")
    if recording.stable_pods < 1 or recording.canary_pods < 1:
        raise PolicyError("--stable-pods and --canary-pods: write at least 1 each")


# --- output -----------------------------------------------------------------------------------------------------------


class _Tracer:
    """Prints intervals as they are judged. Without a word from the user: as text, at the end, of a single rollout."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self._rollouts = 0
        self._kept: list[str] = [] if output.json else [TRACE_HEAD]

    def replay(self) -> Replay:
        """Make a replay that this looks at, if anybody wants to see its intervals."""
        if self.output.trace is False or (self.output.trace is None and self.output.json):
            return Replay()
        return Replay(on_judged=self._take, max_waiting=_TRACED_TOGETHER)

    def watch(self, record: Record, replay: Replay) -> None:
        """Stop looking at a second rollout, if nobody asked for intervals."""
        self._rollouts += isinstance(record, Header)
        if self._rollouts > 1 and self.output.trace is None:
            replay.on_judged, replay.max_waiting = None, MAX_WAITING
            self._kept.clear()

    def finish(self) -> None:
        """Print what was kept."""
        for line in self._kept:
            print(line)
        self._kept.clear()

    def _take(self, judged: Judged) -> None:
        alone = self.output.trace is None
        self._kept.append(trace_json(judged) if self.output.json else trace_line(judged, named=not alone))
        if not alone:
            self.finish()


def _conclude(results: list[Result], tracer: _Tracer) -> int:
    tracer.finish()
    if tracer.output.json:
        for result in results:
            print(result.as_json())
    else:
        print(results_table(results), end="")
    return exit_code(results)
