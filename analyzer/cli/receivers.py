"""`serin receivers`: the operator's file of receivers, checked; and a test alert, sent."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from analyzer.ports import Alert
    from analyzer.receivers import Reloading

EXIT_FINDINGS: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 4


def receivers(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As of `serin run --receivers`.", show_default=False)],
    *,
    test: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Send this receiver a test alert, and resolve it.", show_default=False),
    ] = None,
) -> None:
    """Check a file of receivers and list what is in it; with --test, send one of them a test alert.

    Exit code 0: fine, 1: findings, 2: there is no such receiver, 4: the test alert was not delivered.
    """
    from analyzer.app.metrics import Metrics
    from analyzer.receivers import LOG, ReceiversInvalid, Reloading

    try:
        loaded = Reloading(file, webhooks={}, metrics=Metrics())
    except ReceiversInvalid as error:
        print(error)
        raise typer.Exit(EXIT_FINDINGS) from None
    if test is not None:
        raise typer.Exit(_test(loaded, test))
    for name, lowest in loaded.lowest().items():
        if name != LOG:
            default = ", default" if name in loaded.default else ""
            print(f"{name}: {loaded.kind_of(name)}, from {lowest} on{default}")


def _test(loaded: "Reloading", name: str) -> int:
    import asyncio
    from dataclasses import replace

    from analyzer.app.logs import configure
    from analyzer.errors import SerinError

    sinks = dict(loaded.sinks())
    if name not in sinks:
        print(f"serin receivers: there is no receiver {name}; there are: {', '.join(sinks)}")
        return EXIT_USAGE
    configure(json=False, level="warning")
    alert = test_alert()

    async def send() -> None:
        await sinks[name].send(alert)
        await sinks[name].send(replace(alert, resolved=True, what="The test is over.", to_do="", at_s=alert.at_s + 1))

    try:
        asyncio.run(send())
    except SerinError as error:
        print(f"serin receivers: {error}")
        return EXIT_UNREACHABLE
    print(f"{name} took a test alert, and its end")
    return 0


def test_alert() -> "Alert":
    """Write an alert that nobody takes for a real one."""
    import time

    from analyzer.ports import Alert, Severity

    now_s = time.time()
    return Alert(
        dedup_key=f"serin/test/test/{int(now_s)}",
        reason="Test",
        severity=Severity.PAGE,
        resolved=False,
        title="test/test: Test of a receiver of Serin's alerts",
        what="Somebody ran `serin receivers --test`. No release is concerned.",
        evidence="",
        done="Sent this alert; it resolves it at once.",
        to_do="Nothing, if you can read this.",
        policy="test/test",
        receivers=(),
        at_s=now_s,
        lasts=True,
    )
