"""Alerts by apprise, an optional library that knows a hundred services.

It makes its connections itself, in threads, and gives no reason where it fails: our own receivers' guards do not hold for it.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Final

from analyzer.adapters.alert_text import render_text, urgency
from analyzer.adapters.secret import Secret
from analyzer.errors import AlertUndelivered, TerminalError
from analyzer.ports import Alert, Severity

_TYPES: Final = {Severity.PAGE: "failure", Severity.NOTICE: "warning", Severity.INFO: "info"}

Notify = Callable[[str, str, str, str], bool]
"""URL, title, body, type of the notification to whether it was taken."""


class AppriseSink:
    """One notification for each alert, from a thread of its own.

    Parameters
    ----------
    name
        The receiver's name in the operator's file.
    url
        Of the service, as apprise writes it: a secret.
    notify
        Does it; the library, if left out.
    timeout_s
        For one attempt [s].
    """

    def __init__(self, name: str, *, url: Secret, notify: Notify | None = None, timeout_s: float = 10.0) -> None:
        self._name = name
        self._url = url
        self._notify = notify or by_library(name)
        self._timeout_s = timeout_s
        self._thread: threading.Thread | None = None

    async def send(self, alert: Alert) -> None:
        """Notify.

        Raises
        ------
        AlertUndelivered
            It was not taken, or not in time; or the URL cannot be read.
        """
        if self._thread is not None and self._thread.is_alive():
            raise AlertUndelivered(f"{self._name}: an earlier notification still hangs in apprise")
        kind = "success" if alert.resolved else _TYPES[alert.severity]
        args = (self._url.read(self._name), f"{urgency(alert)}: {alert.title}", render_text(alert), kind)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[str] = loop.create_future()

        def settle(result: str) -> None:
            if not done.done():
                done.set_result(result)

        def work() -> None:
            try:
                result = "" if self._notify(*args) else "it gives no reason"
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything; its text may hold the URL
                result = type(error).__name__
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, result)

        # A daemon, not a pool: what hangs in it must not keep the process from ending.
        self._thread = threading.Thread(target=work, name=f"apprise {self._name}", daemon=True)
        self._thread.start()
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await done
        except TimeoutError:
            raise AlertUndelivered(f"{self._name}: apprise did not answer within {self._timeout_s:g} s") from None
        self._thread = None  # it has answered, though it may take a moment to end
        if result:
            raise AlertUndelivered(f"{self._name}: apprise could not hand it over ({result})")


def by_library(name: str) -> Notify:
    """Use the library.

    Raises
    ------
    TerminalError
        It is not installed.
    """
    try:
        import apprise  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        raise TerminalError(f"receiver {name}: apprise is not installed: pip install 'serin[apprise]'") from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it would log addresses

    def notify(url: str, title: str, body: str, kind: str) -> bool:
        service = apprise.Apprise()
        return bool(service.add(url)) and bool(service.notify(title=title, body=body, notify_type=kind))

    return notify
