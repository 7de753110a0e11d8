"""`serin status`: all rollouts in a table, and live."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from analyzer.cli.people.document import Format, rollout_document, written
from analyzer.cli.people.policies import UNSEEN, Seen, ago, look
from analyzer.cli.people.reach import Connector, Exit, Place, Reached, explain_failure, find, reach
from analyzer.cli.people.screen import Screen
from analyzer.cli.people.table import Cell, Column, table
from analyzer.errors import SerinError
from analyzer.ports import CANARY_POLICY, Clock, Kind, Object, Ref

if TYPE_CHECKING:
    from analyzer.app.cache import ClusterCache

_PHASES: Final[Mapping[str, tuple[str, ...]]] = {
    "Promoted": ("green",),
    "Progressing": ("cyan",),
    "Baking": ("cyan",),
    "RollingBack": ("bold", "red"),
    "RolledBack": ("red",),
    "Invalid": ("bold", "red"),
}
_VERDICTS: Final[Mapping[str, tuple[str, ...]]] = {"HARM": ("bold", "red"), "PROVEN": ("green",)}
_REDRAW_S: Final = 1.0


def show_status(
    place: Place,
    name: str | None,
    *,
    screen: Screen,
    clock: Clock,
    output: Format = Format.TABLE,
    watch: bool = False,
    connector: Connector = reach,
) -> int:
    """Show policies, once or for as long as somebody looks, and return the exit code."""
    return asyncio.run(show(place, name, screen=screen, clock=clock, output=output, watch=watch, connector=connector))


async def show(
    place: Place,
    name: str | None,
    *,
    screen: Screen,
    clock: Clock,
    output: Format,
    watch: bool,
    connector: Connector,
) -> int:
    """Do the same within a running loop."""
    async with connector(place) as reached:
        if watch:
            await _follow(place, reached, name, screen=screen, clock=clock, output=output)
            return Exit.OK
        policies = [await find(reached, name)] if name else await _all(place, reached)
        if output in {Format.JSON, Format.YAML}:
            screen.say(written({"policies": [rollout_document(obj) for obj in policies]}, output))
            return Exit.OK
        if not policies:
            where = "in any namespace" if place.everywhere else f"in namespace {reached.namespace}"
            screen.tell(f"There are no policies {where}.{'' if place.everywhere else ' `-A` looks in all of them.'}")
            return Exit.OK
        seen = [look(obj) for obj in policies]
        for line in status_lines(
            seen, screen, now_s=clock.now_s(), everywhere=place.everywhere, wide=output is Format.WIDE
        ):
            screen.say(line)
    return Exit.OK


async def _all(place: Place, reached: Reached) -> Sequence[Object]:
    try:
        listing = await reached.cluster.list(CANARY_POLICY, namespace=None if place.everywhere else reached.namespace)
    except (SerinError, TimeoutError) as error:
        raise explain_failure(error, reached=reached, doing="list policies") from error
    return sorted(listing.items, key=lambda obj: (obj["metadata"]["namespace"], obj["metadata"]["name"]))


# --- the table --------------------------------------------------------------------------------------------------------


def status_lines(
    seen: Sequence[Seen], screen: Screen, *, now_s: float, everywhere: bool = False, wide: bool = False
) -> list[str]:
    """Lay the policies out."""
    columns = [
        Column("NAME"),
        Column("TARGET", rank=5),
        Column("PHASE"),
        Column("WEIGHT", right=True),
        Column("VERDICT", rank=2),
        Column("STEP", rank=4),
        Column("SINCE", rank=3),
    ]
    if everywhere:
        columns.insert(0, Column("NAMESPACE", rank=1))
    if wide:
        columns += [Column("HELD", rank=6), Column("REASON", rank=7), Column("SAMPLES", right=True, rank=8)]
    return table(columns, [_row(one, now_s=now_s, everywhere=everywhere, wide=wide) for one in seen], screen)


def _row(seen: Seen, *, now_s: float, everywhere: bool, wide: bool) -> list[Cell]:
    # A hold is what people look for: it is in the narrow table too.
    phase = (
        f"{seen.phase or UNSEEN}{', held' if seen.held else ''}{', paused' if seen.paused and not seen.held else ''}"
    )
    since = ago(seen.since_s, now_s=now_s) or UNSEEN
    if wide and seen.since_s is not None:
        since = f"{_exact(seen.since_s)} ({since})"
    row: list[Cell] = [
        (seen.name, ()),
        (seen.target or UNSEEN, ()),
        (phase, ("yellow",) if seen.held else _PHASES.get(seen.phase, ())),
        (UNSEEN if seen.weight is None else str(seen.weight), ()),
        (seen.verdict or UNSEEN, _VERDICTS.get(seen.verdict, ())),
        (seen.step or UNSEEN, ()),
        (since, ()),
    ]
    if everywhere:
        row.insert(0, (seen.namespace, ()))
    if wide:
        samples = UNSEEN if seen.samples is None else str(seen.samples)
        row += [(seen.held or UNSEEN, ("yellow",) if seen.held else ()), (seen.reason or UNSEEN, ()), (samples, ())]
    return row


def _exact(at_s: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def change_line(seen: Seen, *, now_s: float) -> str:
    """Write what changed, in one line that can be searched."""
    weight = UNSEEN if seen.weight is None else f"{seen.weight} %"
    held = f" held={seen.held}" if seen.held else ""
    phase, verdict, step = (text or UNSEEN for text in (seen.phase, seen.verdict, seen.step))
    return f"{_exact(now_s)} {seen.called} {phase} {weight} {verdict} {step}{held} {seen.message}".rstrip()


# --- live -------------------------------------------------------------------------------------------------------------


async def _follow(
    place: Place, reached: Reached, name: str | None, *, screen: Screen, clock: Clock, output: Format
) -> None:
    """Show changes as they come. What was listed is the truth; the watch between two lists only shortens the wait."""
    if name:
        await find(reached, name)
    else:
        await _all(place, reached)  # says what is wrong, once, before anybody waits for it
    from analyzer.app.cache import ClusterCache

    news = asyncio.Event()
    changed: list[Object] = []

    def take(_kind: Kind, obj: Object) -> None:
        if name in {None, obj["metadata"]["name"]}:
            changed.append(obj)
            news.set()

    namespaces = () if place.everywhere else (reached.namespace,)
    cache = ClusterCache(
        reached.cluster, [CANARY_POLICY], clock=clock, namespaces=namespaces, on_change=take, rng=random.SystemRandom()
    )

    def there() -> list[Object]:
        return [obj for obj in cache.list(CANARY_POLICY) if name in {None, obj["metadata"]["name"]}]

    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(cache.run())
        try:
            if screen.live and output in {Format.TABLE, Format.WIDE}:
                await _draw(screen, cache, there, clock=clock, everywhere=place.everywhere, wide=output is Format.WIDE)
            else:
                await _write_changes(screen, cache, changed, news, clock=clock, output=output)
        finally:
            following.cancel()


async def _draw(
    screen: Screen,
    cache: "ClusterCache",
    there: Callable[[], list[Object]],
    *,
    clock: Clock,
    everywhere: bool,
    wide: bool,
) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=screen.out, force_terminal=True, no_color=not screen.colour, highlight=False)

    def picture() -> Text:
        now = Screen(screen.out, screen.err, colour=screen.colour, width=console.width)
        lines = status_lines([look(o) for o in there()], now, now_s=clock.now_s(), everywhere=everywhere, wide=wide)
        if len(lines) > console.height - 2:
            hidden = len(lines) - (console.height - 2)
            lines = [*lines[: console.height - 2], f"… and {hidden} more"]
        if cache.lost:
            told = f"the API server does not answer; this is from {cache.stale_s():.0f} s ago"
            lines.append(screen.paint(told, "bold", "red"))
        return Text.from_ansi("\n".join(lines), no_wrap=True)

    await cache.synced.wait()
    with Live(picture(), console=console, auto_refresh=False) as live:
        while True:
            live.update(picture(), refresh=True)
            await asyncio.sleep(_REDRAW_S)


async def _write_changes(
    screen: Screen, cache: "ClusterCache", changed: list[Object], news: asyncio.Event, *, clock: Clock, output: Format
) -> None:
    shown: dict[str, Seen] = {}
    lost = False
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(_REDRAW_S):
                await news.wait()
        news.clear()
        if cache.lost != lost:
            lost = cache.lost
            screen.tell("the API server does not answer; waiting" if lost else "the API server answers again")
        for obj in changed:
            line = _news(obj, cache, shown, clock=clock, output=output)
            if line:
                screen.say(line)
        changed.clear()
        screen.out.flush()


def _news(obj: Object, cache: "ClusterCache", shown: dict[str, Seen], *, clock: Clock, output: Format) -> str:
    """Write one change; nothing where it is none for people. Sentences that count the seconds are none."""
    seen = look(obj)
    machine = output in {Format.JSON, Format.YAML}
    if cache.get(Ref(CANARY_POLICY, seen.namespace, seen.name)) is None:
        shown.pop(seen.called, None)
        gone = written({**rollout_document(obj), "deleted": True}, Format.JSON, compact=True)
        return gone if machine else f"{_exact(clock.now_s())} {seen.called} was deleted"
    before = shown.get(seen.called)
    shown[seen.called] = seen
    if before is not None and replace(before, message="", samples=0) == replace(seen, message="", samples=0):
        return ""
    if machine:
        return written(rollout_document(obj), Format.JSON, compact=True)
    return change_line(seen, now_s=clock.now_s())
