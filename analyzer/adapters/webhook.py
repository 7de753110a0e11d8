"""Alerts as JSON to any HTTP receiver."""

import base64
import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from analyzer import __version__
from analyzer.adapters.addresses import GuardedResolver, forbidden
from analyzer.adapters.alert_text import printable
from analyzer.adapters.payload import payload
from analyzer.errors import AlertUndelivered, TerminalError
from analyzer.ports import Alert

_AGAIN: Final = frozenset({408, 425, 429})
_READ_BYTES: Final = 2_048
_SHOWN_CHARACTERS: Final = 200
_SECRET_PART: Final = 10
_TELLTALE: Final = 8  # so many characters of a secret in a row give it away


class WebhookSink:
    """POST each alert as one JSON object.

    The object's fields:

    - `id`: names the alert; the same when it is sent again. Also the header `Idempotency-Key`.
    - `title`: one line. `text`: the whole message, plain, ready to be shown.
    - `severity`: `page`, `notice` or `info`. `reason`: CamelCase, stable.
    - `dedup_key`: the same for all alerts of one rollout. `resolved`: true when this ends what an alert of the same `reason`
      began; `still`: reasons of others that stand.
    - `policy`: `namespace/name`. `at`: ISO 8601, UTC.
    - `what`, `evidence`, `done`, `to_do`, `command`, `links`: the parts of the text. `details`: numbers, for machines.

    Redirects are not followed, proxies of the environment are not used, and link-local and metadata addresses are refused.
    Only the origin of the URL is ever shown: many receivers have a secret in the path.

    Use it as an asynchronous context manager, which holds its connections.

    Parameters
    ----------
    name
        The receiver's name in the operator's file.
    url
        Where to. User and password in it are sent as basic authentication.
    timeout_s
        For one attempt [s].
    token_file
        A file with a bearer token. Read for each alert, as mounted Secrets change under a running process.
    resolver
        Resolves host names; the system's if left out. Its answers are checked in any case.

    Raises
    ------
    ValueError
        The URL cannot be used.
    """

    def __init__(
        self,
        *,
        name: str,
        url: str,
        timeout_s: float = 10.0,
        token_file: Path | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self.name = name
        self._url = _parse_url(name, url)
        if token_file is not None and self._url.raw_user is not None:
            raise ValueError(f"receiver {name}: the URL has a user and there is a token file; only one can be sent")
        self._timeout_s = timeout_s
        self._token_file = token_file
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # No cache of names: alerts are rare, and a receiver that moved must be found.
        connector = aiohttp.TCPConnector(resolver=GuardedResolver(self._resolver), use_dns_cache=False)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"serin/{__version__}"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, alert: Alert) -> None:
        """POST the alert.

        Raises
        ------
        AlertUndelivered
            No answer, or one that asks to try again (408, 425, 429, 5xx); `retry_after_s` from the header Retry-After.
        TerminalError
            The receiver refuses the alert, answers with a redirect, or is at a forbidden address.
        """
        assert self._session is not None, "use WebhookSink as a context manager"
        token = self._token()
        body = payload(alert)
        headers = {"Content-Type": "application/json", "Idempotency-Key": body["id"]}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            async with self._session.post(
                self._url, data=json.dumps(body, ensure_ascii=False).encode(), headers=headers, allow_redirects=False
            ) as response:
                await self._judge(response, token)
        except TimeoutError as error:
            raise AlertUndelivered(f"{self._where} did not answer within {self._timeout_s:g} s") from error
        except aiohttp.ClientError as error:
            # `from None`: what aiohttp says of a URL may be all of it.
            raise AlertUndelivered(f"{self._where} cannot be reached: {_network_error(error)}") from None

    @property
    def _where(self) -> str:
        return f"{self.name} ({self._url.origin()})"

    async def _judge(self, response: aiohttp.ClientResponse, token: str | None) -> None:
        status = response.status
        if 200 <= status < 300:
            return
        if 300 <= status < 400:
            raise TerminalError(f"{self._where} answered {status}, a redirect: configure the URL where it ends")
        message = f"{self._where} answered {status}{await self._piece(response, token)}"
        if status in _AGAIN or status >= 500:
            raise AlertUndelivered(message, retry_after_s=retry_after_s(response.headers))
        raise TerminalError(message)

    async def _piece(self, response: aiohttp.ClientResponse, token: str | None) -> str:
        """Quote the beginning of an answer, unless it repeats something of ours that is secret."""
        try:
            raw = await response.content.read(_READ_BYTES)
        except aiohttp.ClientError:
            return ""  # the status says enough
        text = " ".join(printable(raw.decode(errors="replace")).split())[:_SHOWN_CHARACTERS]
        if any(_gives_away(text, secret) for secret in self._secrets(token)):
            return " (its text repeats a secret and is not shown)"
        return f": {text}" if text else ""

    def _secrets(self, token: str | None) -> list[str]:
        url = self._url
        found = [token, url.user, url.raw_user, url.password, url.raw_password, url.query_string, url.raw_query_string]
        # Shorter ones are words of the path, such as "services", that an answer may well contain.
        found += [part for part in (*url.query.values(), *url.parts, *url.raw_parts) if len(part) >= _SECRET_PART]
        if url.user is not None:
            found.append(base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode())
        return [secret for secret in found if secret]

    def _token(self) -> str | None:
        if self._token_file is None:
            return None
        try:
            token = self._token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not ASCII"
            raise AlertUndelivered(f"{self._where}: token file {self._token_file} cannot be read: {why}") from None
        if not re.fullmatch(r"[!-~]+", token):
            raise AlertUndelivered(f"{self._where}: token file {self._token_file} does not hold one token")
        return token


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


def _parse_url(name: str, text: str) -> URL:
    # The text itself stays out of the message: it may hold a password.
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


def _network_error(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted ({error.certificate_error})"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error) or type(error.os_error).__name__
    return type(error).__name__


def _gives_away(text: str, secret: str) -> bool:
    length = min(len(secret), _TELLTALE)
    return any(secret[start : start + length] in text for start in range(len(secret) - length + 1))
