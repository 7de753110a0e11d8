"""Alerts by e-mail."""

import asyncio
import hashlib
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

import aiosmtplib
import structlog
from aiohttp.abc import AbstractResolver

from analyzer.adapters.addresses import Allowed, GuardedResolver, everything
from analyzer.adapters.alert_text import cut, printable, render_text, urgency
from analyzer.adapters.payload import payload
from analyzer.adapters.post import gives_away
from analyzer.adapters.secret import Secret
from analyzer.errors import AlertUndelivered, TerminalError
from analyzer.ports import Alert, Severity

_log = structlog.get_logger("serin.mail")
_SUBJECT_MAX: Final = 200
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in.

    Attributes
    ----------
    host, port
        Of the server.
    security
        `starttls`, `tls` (from the first byte, usually port 465) or `none`.
    username, password
        For the server; both or none.
    """

    host: str
    port: int
    security: str = "starttls"
    username: str | None = None
    password: Secret | None = None


class MailSink:
    """One message for each alert; those of one rollout make one thread.

    Parameters
    ----------
    name
        The receiver's name in the operator's file.
    server
        Where mail is handed in.
    sender, to
        Addresses.
    timeout_s
        For each step of an attempt [s].
    allows, resolver
        As of `Poster`.
    """

    def __init__(
        self,
        name: str,
        *,
        server: MailServer,
        sender: str,
        to: Sequence[str],
        timeout_s: float = 10.0,
        allows: Allowed = everything,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._name = name
        self._server = server
        self._sender = sender
        self._to = tuple(to)
        self._timeout_s = timeout_s
        self._allows = allows
        self._resolver = resolver

    async def send(self, alert: Alert) -> None:
        """Hand the message in.

        Raises
        ------
        AlertUndelivered
            The server does not answer, or not now (4xx); or the password cannot be read.
        TerminalError
            The server refuses (5xx), offers no encryption, or is where no alert may go.
        """
        server = self._server
        password = server.password.read(self._name, spaces=True) if server.password is not None else None
        try:
            await self._hand_in(message(alert, sender=self._sender, to=self._to), password)
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [each.code for each in error.recipients]
            raise self._error(min(codes, default=500), "it takes no recipient", password) from None
        except aiosmtplib.SMTPResponseException as error:
            raise self._error(error.code, f"it answered {error.code} {error.message}", password) from None
        except aiosmtplib.SMTPNotSupported as error:
            raise TerminalError(f"{self._where}: {self._shown(str(error), password)}") from None
        except (aiosmtplib.SMTPException, OSError) as error:  # a TimeoutError is an OSError
            why = self._shown(str(error), password) or type(error).__name__
            raise AlertUndelivered(f"{self._where} cannot be reached: {why}") from None

    async def _hand_in(self, mail: EmailMessage, password: str | None) -> None:
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=None,
            sock=await self._connect(),
            timeout=self._timeout_s,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            username=server.username,
            password=password,
        )
        try:
            await client.connect()
            refused, _ = await client.send_message(mail)
            with suppress(aiosmtplib.SMTPException, OSError):  # the message is taken: manners, no more
                await client.quit()
        finally:
            client.close()
        if refused:
            _log.warning("some recipients are refused", receiver=self._name, recipients=sorted(refused))

    async def _connect(self) -> socket.socket:
        """Connect to the very address that was checked."""
        host, port = self._server.host, self._server.port
        if not self._allows(host):
            raise TerminalError(f"{self._where}: `allow` in the receivers file does not have this host")
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._timeout_s):
            found = await GuardedResolver(self._resolver).resolve(host, port, socket.AF_UNSPEC)
            failure: OSError = ConnectionError("it has no address")
            for place in found:
                sock = socket.socket(place["family"], socket.SOCK_STREAM)
                sock.setblocking(False)
                try:
                    await loop.sock_connect(sock, (place["host"], place["port"]))
                except OSError as error:
                    sock.close()
                    failure = error
                except BaseException:
                    sock.close()
                    raise
                else:
                    return sock
            raise failure

    @property
    def _where(self) -> str:
        return f"{self._name} ({self._server.host}:{self._server.port})"

    def _error(self, code: int, what: str, password: str | None) -> AlertUndelivered | TerminalError:
        said = f"{self._where}: {self._shown(what, password)}"
        return AlertUndelivered(said) if 400 <= code < 500 else TerminalError(said)

    def _shown(self, text: str, password: str | None) -> str:
        if password is not None and gives_away(text, password):
            return "its answer repeats a secret and is not shown"
        return cut(" ".join(printable(text).split()), _SHOWN)


def message(alert: Alert, *, sender: str, to: Sequence[str]) -> EmailMessage:
    """Write the message."""
    domain = sender.rpartition("@")[2]
    mail = EmailMessage()
    mail["Subject"] = cut(" ".join(printable(f"[{urgency(alert)}] {alert.title}").split()), _SUBJECT_MAX)
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Date"] = format_datetime(datetime.fromtimestamp(alert.at_s, UTC))
    mail["Message-ID"] = f"<{payload(alert)['id']}@{domain}>"
    mail["References"] = f"<{hashlib.sha256(alert.dedup_key.encode()).hexdigest()[:32]}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    if alert.severity is Severity.PAGE and not alert.resolved:
        mail["Importance"] = "high"
    mail.set_content(f"{render_text(alert)}\n")
    return mail
