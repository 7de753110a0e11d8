"""`serin replay`: recorded counts, or Prometheus' past, through the same judge and decision."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from analyzer.adapters.prometheus import PrometheusTelemetry
from analyzer.cli.options import UsageError, read_policy_file
from analyzer.cli.past import open_prometheus, parse_time, parse_workload
from analyzer.errors import MetricsUnavailable, PolicyError
from analyzer.policy.defaults import HOME
from analyzer.policy.model import CanaryPolicy
from analyzer.ports import Workload
from analyzer.replay.counts import MAX_REPORTED, CountsReader, open_counts
from analyzer.replay.lines import Header, Record
from analyzer.replay.recorded import Recording, read_recording, workloads_of
from analyzer.replay.result import Exit, Result, exit_code
from analyzer.replay.run import MAX_WAITING, Judged, Replay
from analyzer.replay.show import TRACE_HEAD, results_table, trace_json, trace_line
from analyzer.replay.surroundings import read_surroundings, surround

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
    except BrokenPipeError:  # of the output: nobody reads it any more
        raise
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
    beside: Sequence[Path] = (),
    home: str = HOME,
    from_time: str,
    to_time: str = "0s",
    stable: str | None = None,
    canary: str | None = None,
    route: str | None = None,
    weight: float | None = None,
    stable_pods: int | None = None,
    canary_pods: int | None = None,
    canary_since: str | None = None,
    reporter: str = "source",
    output: str = "table",
    trace: bool | None = None,
) -> int:
    """Replay a rollout out of Prometheus' past, and return the exit code.

    `policy`, `beside` and `home` are as of `read_policy_file`. Times are RFC 3339, unix seconds, or a duration before now
    (`2h`).
    """
    shown = _output(output, trace=trace)
    if shown is None:
        return _usage(f"--output {output}: take table or json")
    try:
        telemetry = open_prometheus(url, reporter=reporter, known=("source", "waypoint"))
        own = open_prometheus(url, reporter="destination", known=("destination",))
        read = read_policy_file(policy, beside=beside, home=home)
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
        return _conclude(asyncio.run(_replay(telemetry, own, recording, tracer=tracer)), tracer)
    except MetricsUnavailable as error:
        print(f"serin replay: {error}", file=sys.stderr)
        return Exit.UNREACHABLE


async def _replay(
    telemetry: PrometheusTelemetry, own: PrometheusTelemetry, recording: Recording, *, tracer: "_Tracer"
) -> list[Result]:
    replay = tracer.replay()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(telemetry.aclose)
        stack.push_async_callback(own.aclose)
        if recording.weight is None:
            _note("the weight is not recorded: each interval has the step of the policy that explains its requests")
        surroundings = await read_surroundings(own, recording)
        for role, counts, pods in (
            ("stable", surroundings.stable, recording.stable_pods),
            ("canary", surroundings.canary, recording.canary_pods),
        ):
            if counts is None and pods is None:
                _note(f"no proxy of the {role} version's pods reports: taken for one warm pod; see --{role}-pods")
        async for record in surround(read_recording(telemetry, recording, note=_note), surroundings, recording):
            replay.feed(record)
    return replay.finish()


def _note(text: str) -> None:
    print(f"serin replay: {text}", file=sys.stderr)


def _usage(text: str) -> int:
    print(f"serin replay: {text}", file=sys.stderr)
    return Exit.USAGE


# --- options ----------------------------------------------------------------------------------------------------------


def _output(output: str, *, trace: bool | None) -> Output | None:
    return Output(output == "json", trace) if output in {"table", "json"} else None


def _workloads(policy: CanaryPolicy, stable: str | None, canary: str | None) -> tuple[Workload, Workload]:
    if stable is not None and canary is not None:
        return parse_workload(stable, "--stable"), parse_workload(canary, "--canary")
    if stable is not None or canary is not None:
        raise UsageError("write both --stable and --canary, or neither")
    return workloads_of(policy)


def _check(recording: Recording) -> None:
    if recording.from_s >= recording.to_s:
        raise UsageError("--from is not before --to: nothing lies between them")
    if recording.stable == recording.canary:
        raise UsageError("--stable and --canary are the same workload: a canary has two versions")
    if recording.weight is not None and not 0.0 < recording.weight <= 100.0:
        raise UsageError(f"--weight {recording.weight:g}: write per cent, above 0 and up to 100")
    if any(pods is not None and pods < 1 for pods in (recording.stable_pods, recording.canary_pods)):
        raise UsageError("--stable-pods and --canary-pods: write at least 1 each")


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
