"""The operator's receivers: made from their file, and made anew when it changes.

A Secret mount changes by swapping a link, an editor by writing another file: what counts is the content. A file that is broken
changes nothing: the receivers there are go on, the log and a metric say so, and it is read again.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from analyzer.adapters.alertmanager import AlertmanagerSink
from analyzer.adapters.apprised import AppriseSink
from analyzer.adapters.logsink import LogSink
from analyzer.adapters.mail import MailServer, MailSink
from analyzer.adapters.pagerduty import URLS, PagerDutySink
from analyzer.adapters.post import Poster
from analyzer.adapters.secret import Secret
from analyzer.adapters.slack import SlackSink
from analyzer.adapters.webhook import WebhookSink
from analyzer.app.metrics import Metrics
from analyzer.app.outbox import Outbox
from analyzer.errors import PolicyError, TerminalError
from analyzer.policy.findings import format_findings
from analyzer.policy.receivers import Receiver, Receivers, allows, fill_link
from analyzer.policy.receivers_file import read_receivers
from analyzer.ports import Alert, AlertSink, Severity

log = structlog.get_logger("serin.receivers")

LOG: Final = "log"
"""The receiver that is always there."""
RUNBOOK: Final = "https://serin.dev/runbook#{anchor}"
POLL_S: Final = 10.0


class ReceiversInvalid(PolicyError):
    """The operator's file of receivers cannot be used."""

    reason = "ReceiversInvalid"


@dataclass(frozen=True, slots=True)
class Configured:
    """A receiver with what it was made from: the same again is not made anew."""

    settings: object
    sink: "Sieve"
    kind: str


class Sieve:
    """Hands on what is urgent enough, with the operator's links.

    Parameters
    ----------
    inner
        Reaches people.
    lowest
        The least severity that it is sent. A resolved alert has the severity of what it ends.
    links
        Name to URL, with placeholders.
    """

    def __init__(self, inner: AlertSink, *, lowest: Severity, links: Mapping[str, str]) -> None:
        self._inner = inner
        self.lowest = lowest
        self._links = dict(links)
        self.repeat_s: float | None = getattr(inner, "repeat_s", None)

    async def send(self, alert: Alert) -> None:
        """Send the alert, unless it is not urgent enough."""
        if alert.severity.rank >= self.lowest.rank:
            await self._inner.send(with_links(alert, self._links))

    async def repeat(self) -> None:
        """Repeat what stands, where the receiver needs that."""
        if self.repeat_s is not None:
            await self._inner.repeat()  # type: ignore[attr-defined]

    def forget(self) -> None:
        """Repeat nothing any more."""
        if self.repeat_s is not None:
            self._inner.forget()  # type: ignore[attr-defined]


def with_links(alert: Alert, links: Mapping[str, str]) -> Alert:
    """Add links; one that names what the alert does not have is left out."""
    namespace, _, name = alert.policy.partition("/")
    values = {
        "namespace": namespace,
        "name": name,
        "reason": alert.reason,
        "anchor": alert.reason.lower(),
        "argocd": "",
        "flux": "",
        **alert.details.get("appliedBy", {}),
    }
    present = {key: value for key, value in values.items() if value}
    filled = {title: fill_link(url, present) for title, url in {"runbook": RUNBOOK, **links}.items()}
    return replace(alert, links={**{title: url for title, url in filled.items() if "{" not in url}, **alert.links})


def read_file(path: Path) -> tuple[str, Receivers]:
    """Read the file, and what it says.

    Raises
    ------
    ReceiversInvalid
        With file, line, column and mend, and without any value of it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ReceiversInvalid(f"{path} cannot be read: {why}") from None
    read = read_receivers(text, file=str(path))
    if isinstance(read, Receivers):
        return text, read
    raise ReceiversInvalid(format_findings(read).rstrip())


def make_sinks(
    file: Receivers, *, folder: Path, webhooks: Mapping[str, str], known: Mapping[str, Configured]
) -> dict[str, Configured]:
    """Make the receivers of a file, and those of the command line; one that is known with the same settings stays.

    Raises
    ------
    ReceiversInvalid
        A receiver cannot be made.
    """
    found = {LOG: Configured((file.links,), Sieve(LogSink(), lowest=Severity.INFO, links=file.links), LOG)}
    for name, url in webhooks.items():
        if name in file.receivers:
            raise ReceiversInvalid(f"the receiver {name} is in the file and in --webhook: rename one of the two")
        sink = WebhookSink(Poster(name), url=url)
        found[name] = Configured((url, file.links), Sieve(sink, lowest=Severity.INFO, links=file.links), "webhook")
    for name, receiver in file.receivers.items():
        settings = (receiver, file.allow, file.links, folder)
        try:
            made = _make(name, receiver, file=file, folder=folder)
        except (ValueError, TerminalError) as error:
            raise ReceiversInvalid(str(error)) from None
        sieve = Sieve(made, lowest=Severity(receiver.lowest), links=file.links)
        found[name] = Configured(settings, sieve, receiver.kinds[0])
    return {
        name: known[name] if name in known and known[name].settings == each.settings else each
        for name, each in found.items()
    }


def default_of(file: Receivers, webhooks: Mapping[str, str]) -> tuple[str, ...]:
    """Name who gets what names nobody."""
    return file.default or (*file.receivers, *webhooks) or (LOG,)


def _make(name: str, receiver: Receiver, *, file: Receivers, folder: Path) -> AlertSink:
    def secret(settings: object, field: str) -> Secret | None:
        path, variable = getattr(settings, f"{field}_file"), getattr(settings, f"{field}_env")
        return None if path is None and variable is None else Secret(folder / path if path else None, variable)

    def needed(settings: object, field: str) -> Secret:
        found = secret(settings, field)
        assert found is not None, "the file was checked"
        return found

    def allowed(host: str) -> bool:
        return allows(file.allow, host)

    poster = Poster(name, allows=allowed)
    match receiver:
        case Receiver(pagerduty=settings) if settings is not None:
            return PagerDutySink(poster, routing_key=needed(settings, "routing_key"), url=URLS[settings.region])
        case Receiver(alertmanager=settings) if settings is not None:
            token = secret(settings, "token")
            return AlertmanagerSink(poster, urls=settings.urls, labels=settings.labels, token=token)
        case Receiver(slack=settings) if settings is not None:
            return SlackSink(poster, url=needed(settings, "url"))
        case Receiver(webhook=settings) if settings is not None:
            return WebhookSink(
                poster,
                url=settings.url or needed(settings, "url"),
                token=secret(settings, "token"),
                signing_key=secret(settings, "signing_key"),
                headers=settings.headers,
                body=settings.body,
            )
        case Receiver(email=settings) if settings is not None:
            host, _, port = settings.server.rpartition(":")
            password = secret(settings, "password")
            server = MailServer(host, int(port), settings.security, settings.username, password)
            return MailSink(name, server=server, sender=settings.sender, to=settings.to, allows=allowed)
        case Receiver(apprise=settings) if settings is not None:
            return AppriseSink(name, url=needed(settings, "url"))
    raise AssertionError("the file was checked: a receiver has one kind")


class Reloading:
    """Keeps the outbox's receivers as the file says.

    Parameters
    ----------
    path
        The file; None: there is none, and nothing changes.
    webhooks
        Receivers of the command line: name and URL.
    metrics
        Show whether the file could be used.
    poll_s
        Time from one look at the file to the next [s].
    """

    def __init__(
        self, path: Path | None, *, webhooks: Mapping[str, str], metrics: Metrics, poll_s: float = POLL_S
    ) -> None:
        self._path = path
        self._webhooks = dict(webhooks)
        self._metrics = metrics
        self._poll_s = poll_s
        self._text = ""
        self._said = ""
        self.configured: dict[str, Configured] = {}
        self.default: tuple[str, ...] = ()
        self.load()

    def load(self) -> bool:
        """Read the file; False where it says what it said before.

        Raises
        ------
        ReceiversInvalid
            It cannot be used; what there is stays.
        """
        text, file = ("", Receivers(receivers={})) if self._path is None else read_file(self._path)
        if self.configured and text == self._text:
            return False
        folder = self._path.parent if self._path is not None else Path()
        self.configured = make_sinks(file, folder=folder, webhooks=self._webhooks, known=self.configured)
        self.default = default_of(file, self._webhooks)
        self._text = text
        self._metrics.set_receivers(loaded=True, count=len(self.configured))
        return True

    def sinks(self) -> Iterator[tuple[str, AlertSink]]:
        """Give each receiver's name, and how it is reached."""
        yield from ((name, each.sink) for name, each in self.configured.items())

    def lowest(self) -> dict[str, str]:
        """Give each receiver's name, and the least severity that it is sent."""
        return {name: each.sink.lowest.value for name, each in self.configured.items()}

    def kind_of(self, name: str) -> str:
        """Say in a word how a receiver is reached."""
        return self.configured[name].kind

    async def run(self, outbox: Outbox) -> None:
        """Look at the file again and again."""
        while self._path is not None:
            await asyncio.sleep(self._poll_s)
            self.look(outbox)

    def look(self, outbox: Outbox) -> None:
        """Look at the file once."""
        try:
            changed = self.load()
        except ReceiversInvalid as error:
            self._metrics.set_receivers(loaded=False, count=len(self.configured))
            if str(error) != self._said:  # once, not every few seconds
                log.warning("receivers file cannot be used; those of before stay", error=str(error))
            self._said = str(error)
            return
        if self._said and not changed:
            self._metrics.set_receivers(loaded=True, count=len(self.configured))
        self._said = ""
        if changed:
            outbox.use(dict(self.sinks()), default=self.default)
            log.info("receivers read anew", receivers=sorted(self.configured), default=list(self.default))
