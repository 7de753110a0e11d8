"""HTTP for alerts, with guards, and without a secret in any error.

No redirect is followed and no proxy of the environment used. Neither link-local nor metadata addresses are connected to, nor
hosts that the operator does not allow. A connection is made for each alert: they are rare, and nothing has to be closed when
the operator changes the receivers.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from analyzer import __version__
from analyzer.adapters.addresses import Allowed, GuardedResolver, everything, forbidden
from analyzer.adapters.alert_text import printable
from analyzer.errors import AlertUndelivered, TerminalError

_AGAIN: Final = frozenset({408, 425, 429})
_READ_BYTES: Final = 2_048
_SHOWN_CHARACTERS: Final = 200
_SECRET_PART: Final = 10
_TELLTALE: Final = 8  # so many characters of a secret in a row give it away


class Poster:
    """POSTs bodies on behalf of one receiver.

    Parameters
    ----------
    name
        The receiver's name in the operator's file.
    timeout_s
        For one attempt [s].
    allows
        Tells of a host whether alerts may go there.
    resolver
        Resolves host names; the system's if left out. Its answers are checked in any case.
    """

    def __init__(
        self,
        name: str,
        *,
        timeout_s: float = 10.0,
        allows: Allowed = everything,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self.name = name
        self._timeout_s = timeout_s
        self._allows = allows
        self._resolver = resolver

    def where(self, url: URL) -> str:
        """Name a receiver's place; of its URL only the origin, for many have a secret in the path."""
        return f"{self.name} ({url.origin()})"

    async def post(self, url: URL, body: bytes, *, headers: Mapping[str, str], secrets: Sequence[str] = ()) -> None:
        """POST a JSON body.

        Raises
        ------
        AlertUndelivered
            No answer, or one that asks to try again (408, 425, 429, 5xx); `retry_after_s` from the header Retry-After.
        TerminalError
            The receiver refuses the alert, answers with a redirect, or is where no alert may go.
        """
        where = self.where(url)
        if not self._allows(url.host or ""):
            raise TerminalError(f"{where}: `allow` in the receivers file does not have this host")
        sent = {"Content-Type": "application/json", "User-Agent": f"serin/{__version__}", **headers}
        connector = aiohttp.TCPConnector(resolver=GuardedResolver(self._resolver), use_dns_cache=False)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                    cookie_jar=aiohttp.DummyCookieJar(),
                ) as session,
                session.post(url, data=body, headers=sent, allow_redirects=False) as response,
            ):
                await _judge(response, where, [*secrets, *_secrets_of(url)])
        except TimeoutError as error:
            raise AlertUndelivered(f"{where} did not answer within {self._timeout_s:g} s") from error
        except aiohttp.ClientError as error:
            # `from None`: what aiohttp says of a URL may be all of it.
            raise AlertUndelivered(f"{where} cannot be reached: {_network_error(error)}") from None


def parse_url(name: str, text: str) -> URL:
    """Read a receiver's URL.

    Raises
    ------
    ValueError
        It cannot be used. The text itself stays out of the message: it may hold a password.
    """
    try:
        url = URL(text)
        host = url.host
    except ValueError:
        raise ValueError(f"receiver {name}: its url is not a URL") from None
    if url.scheme not in ("http", "https") or not host:
        raise ValueError(f"receiver {name}: its url must begin with http:// or https:// and have a host")
    try:
        refused = forbidden(host)
    except ValueError:
        return url  # a name; checked each time it is resolved
    if refused:
        raise ValueError(f"receiver {name}: {host} is a link-local or metadata address, alerts are never sent there")
    return url


async def _judge(response: aiohttp.ClientResponse, where: str, secrets: Sequence[str]) -> None:
    status = response.status
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise TerminalError(f"{where} answered {status}, a redirect: configure the URL where it ends")
    message = f"{where} answered {status}{await _piece(response, secrets)}"
    if status in _AGAIN or status >= 500:
        raise AlertUndelivered(message, retry_after_s=retry_after_s(response.headers))
    raise TerminalError(message)


async def _piece(response: aiohttp.ClientResponse, secrets: Sequence[str]) -> str:
    """Quote the beginning of an answer, unless it repeats something of ours that is secret."""
    try:
        raw = await response.content.read(_READ_BYTES)
    except aiohttp.ClientError:
        return ""  # the status says enough
    text = " ".join(printable(raw.decode(errors="replace")).split())[:_SHOWN_CHARACTERS]
    if any(gives_away(text, secret) for secret in secrets):
        return " (its text repeats a secret and is not shown)"
    return f": {text}" if text else ""


def _secrets_of(url: URL) -> list[str]:
    found = [url.user, url.raw_user, url.password, url.raw_password, url.query_string, url.raw_query_string]
    # Shorter ones are words of the path, such as "services", that an answer may well contain.
    found += [part for part in (*url.query.values(), *url.parts, *url.raw_parts) if len(part) >= _SECRET_PART]
    if url.user is not None:
        found.append(base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode())
    return [secret for secret in found if secret]


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After (RFC 9110, 10.2.3): seconds, or a date, counted from the answer's own Date [s].

    None where it is absent or unreadable. The two dates are the receiver's, so its clock may be wrong.
    """
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        at = parsedate_to_datetime(value)
        now = parsedate_to_datetime(headers.get("Date", ""))
        return max(0.0, (at - now).total_seconds())
    except (TypeError, ValueError):
        return None


def _network_error(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted ({error.certificate_error})"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error) or type(error.os_error).__name__
    return type(error).__name__


def gives_away(text: str, secret: str) -> bool:
    """Tell whether a text has a telling piece of a secret in it."""
    length = min(len(secret), _TELLTALE)
    return any(secret[start : start + length] in text for start in range(len(secret) - length + 1))
