"""What a person sees of the demo: a live picture on a terminal, plain lines elsewhere, and a table at the end."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from analyzer.core.judge.types import Evidence, Rates
from analyzer.core.rollout import Phase, RolloutState, wording
from analyzer.sandbox.story import Result, Scene

_BAR = 24
_PLAIN_EVERY_S = 5.0
_STYLE = {
    Phase.PROMOTED: "bold green",
    Phase.ROLLED_BACK: "bold red",
    Phase.ROLLING_BACK: "bold red",
    Phase.BAKING: "yellow",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened: seconds since the demo began, and what."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Frame:
    """The demo at one instant.

    Attributes
    ----------
    at_s
        Since the demo began [s].
    number, of, scene
        Which release is on.
    state
        What Serin remembers.
    weights, replicas
        Per version: its weight, and its ready pods.
    moments
        What happened so far.
    """

    at_s: float
    number: int
    of: int
    scene: Scene
    state: RolloutState
    weights: Mapping[str, int]
    replicas: Mapping[str, int]
    moments: Sequence[Moment] = field(default=())


class View(Protocol):
    """A way to show the demo."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def say(self, text: str) -> None:
        """Say something that is no part of the picture."""
        ...

    def show(self, frame: Frame) -> None:
        """Show the demo as it is now."""
        ...


def choose_view(console: Console) -> View:
    """Take the live picture on a terminal, lines elsewhere."""
    return LiveView(console) if console.is_terminal and not console.is_dumb_terminal else PlainView(console)


class PlainView:
    """Lines: one for each thing that happens, and one every few seconds in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0
        self._line_at_s = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, frame: Frame) -> None:
        """Print what is new."""
        for moment in frame.moments[self._told :]:
            self.say(_moment_line(moment))
        self._told = len(frame.moments)
        if frame.at_s - self._line_at_s >= _PLAIN_EVERY_S:
            self._line_at_s = frame.at_s
            self.say(f"{frame.at_s:6.1f} s  {status_line(frame)}")


class LiveView:
    """A picture that is drawn anew."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._told = 0

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        """Print above the picture."""
        self._console.print(text, highlight=False, markup=False)

    def show(self, frame: Frame) -> None:
        """Draw; what happened goes above the picture, where it stays when the picture goes."""
        for moment in frame.moments[self._told :]:
            self.say(_moment_line(moment))
        self._told = len(frame.moments)
        self._live.update(picture(frame))


def status_line(frame: Frame) -> str:
    """Tell a frame in one line."""
    state = frame.state
    parts = [
        f"{name} {frame.weights.get(name, 0):3d} % on {frame.replicas.get(name, 0)} pods"
        for name in sorted(frame.weights)
    ]
    parts.append(state.phase.value)
    if state.evidence is not None and state.evidence.intervals:
        seen = state.evidence
        parts.append(
            f"errors {state.canary} {wording.percent(seen.canary.error_rate)} / {state.stable} "
            f"{wording.percent(seen.stable.error_rate)}, p50 {_ms(seen.canary.p50_ms)} / {_ms(seen.stable.p50_ms)}, "
            f"log E {seen.log_e:.1f} of {seen.log_threshold:.1f}"
        )
    return " | ".join(parts)


def _ms(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g} ms"


def picture(frame: Frame) -> RenderableType:
    """Draw a frame."""
    state = frame.state
    head = Text.assemble(
        (f"release {frame.number} of {frame.of}: {frame.scene.title}", "bold"),
        f"   {wording.duration(frame.at_s)}   ",
        (state.phase.value, _STYLE.get(state.phase, "cyan")),
        *([("  held: ", "yellow"), (state.hold.reason.value, "yellow")] if state.hold else []),
    )
    return Panel(
        Group(head, Text(), _versions(frame), Text(), _evidence(state)),
        title="serin demo",
        border_style="dim",
        padding=(1, 2),
    )


def _versions(frame: Frame) -> Table:
    state = frame.state
    table = Table(box=None, pad_edge=False, header_style="dim", expand=False)
    for title in ("", "weight", "", "pods", "errors (95 % interval)", "requests", "p50", "p99"):
        table.add_column(title, justify="right" if title in {"weight", "pods", "requests", "p50", "p99"} else "left")
    roles = [(state.stable or "v1", "stable"), (state.canary or "v2", "canary")]
    for name, role in roles:
        weight = frame.weights.get(name, 0)
        seen = state.evidence
        rates = None if seen is None else seen.stable if role == "stable" else seen.canary
        colour = "blue" if role == "stable" else "magenta"
        table.add_row(
            Text(f"{role} {name}", style=f"bold {colour}"),
            f"{weight} %",
            Text("█" * round(_BAR * weight / 100), style=colour)
            + Text("░" * (_BAR - round(_BAR * weight / 100)), style="dim"),
            str(frame.replicas.get(name, 0)),
            *_rate_cells(rates),
        )
    return table


def _rate_cells(rates: Rates | None) -> tuple[str, str, str, str]:
    if rates is None or not rates.requests:
        return "–", "0", "–", "–"
    low, high = 100 * rates.error_rate_low, 100 * rates.error_rate_high
    interval = f"{wording.percent(rates.error_rate)} ({low:.2g} to {high:.2g})"
    return interval, wording.count(rates.requests), _ms(rates.p50_ms), _ms(rates.p99_ms)


def _evidence(state: RolloutState) -> RenderableType:
    seen = state.evidence
    if seen is None:
        return Text(state.message)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row("harm", _gauge(seen.log_e, seen.log_threshold, "red"), _harm_words(seen))
    for claim, value in seen.proof.items():
        gauge = _gauge(value, seen.log_proof_threshold, "green")
        table.add_row(f"no worse: {claim}", gauge, f"log E {value:.1f} of {seen.log_proof_threshold:.1f}")
    return Group(table, Text(state.message, style="italic"))


def _harm_words(seen: Evidence) -> str:
    return f"log E {seen.log_e:.1f} of {seen.log_threshold:.1f}, p {seen.p_value:.2g}"


def _gauge(value: float, threshold: float, colour: str) -> Text:
    filled = round(_BAR * min(1.0, max(0.0, value / threshold)))
    return Text("━" * filled, style=colour) + Text("━" * (_BAR - filled), style="dim")


def _moment_line(moment: Moment) -> str:
    return f"{moment.at_s:6.1f} s  {moment.text}"


def results_table(results: Sequence[Result]) -> Table:
    """Draw the table at the end."""
    table = Table(title="What became of the releases", title_justify="left")
    table.add_column("release")
    table.add_column("verdict")
    for title in ("seconds to decision", "canary requests", "failed by the canary", "failed otherwise"):
        table.add_column(title, justify="right")
    table.add_column("pods over time (s: stable/canary)")
    for result in results:
        wrong = "" if result.as_expected else f" (expected {result.scene.expected})"
        proven = f", {result.proven} steps proven" if result.phase is Phase.PROMOTED else f" ({result.reason})"
        table.add_row(
            f"{result.scene.title} (into {result.version})",
            Text(f"{result.phase.value}{proven}{wrong}", style="green" if result.as_expected else "bold red"),
            f"{result.decided_s:.1f}",
            wording.count(result.canary_requests),
            wording.count(result.failed_by_canary),
            wording.count(result.failed_otherwise),
            _shorten(result.replicas),
        )
    return table


def _shorten(replicas: Sequence[tuple[float, int, int]], most: int = 8) -> str:
    if len(replicas) > most:
        step = (len(replicas) - 1) / (most - 1)
        replicas = [replicas[round(i * step)] for i in range(most)]
    return "  ".join(f"{at:.0f}: {stable}/{canary}" for at, stable, canary in replicas)
