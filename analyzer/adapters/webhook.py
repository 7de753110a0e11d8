"""Alerts as JSON to any HTTP receiver."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from string import Template
from typing import Any

from yarl import URL

from analyzer.adapters.payload import payload
from analyzer.adapters.post import Poster, parse_url
from analyzer.adapters.secret import Secret
from analyzer.errors import AlertUndelivered, TerminalError
from analyzer.ports import Alert


class WebhookSink:
    """POST each alert as one JSON object.

    The object's fields, where the operator gives no other body:

    - `id`: names the alert; the same when it is sent again. Also the header `Idempotency-Key`.
    - `title`: one line. `text`: the whole message, plain, ready to be shown.
    - `severity`: `page`, `notice` or `info`. `urgency`: the same as a heading, or `RESOLVED`. `reason`: CamelCase, stable.
    - `dedup_key`: the same for all alerts of one rollout. `resolved`: true when this ends what an alert of the same `reason`
      began; `still`: reasons of others that stand.
    - `policy`: `namespace/name`; `namespace`, `name`: its parts. `at`: ISO 8601, UTC.
    - `what`, `evidence`, `done`, `to_do`, `command`, `links`: the parts of the text. `details`: numbers, for machines.

    With a signing key, `Serin-Timestamp` is the time of sending [unix seconds] and `Serin-Signature` is `v1=` with the
    hexadecimal HMAC-SHA256 of `TIMESTAMP.BODY`: a receiver that also checks the timestamp's age cannot be fed old alerts.

    Parameters
    ----------
    poster
        Sends on behalf of this receiver.
    url
        Where to: the URL, or the secret that it is. User and password in it are sent as basic authentication.
    token
        Sent as bearer token.
    signing_key
        Of the signature.
    headers
        More headers.
    body
        Another body: any JSON, whose strings may name fields, as in `${title}`.
    now_s
        The wall clock [unix seconds].

    Raises
    ------
    ValueError
        The URL cannot be used.
    """

    def __init__(
        self,
        poster: Poster,
        *,
        url: str | Secret,
        token: Secret | None = None,
        signing_key: Secret | None = None,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._poster = poster
        self._url = url if isinstance(url, Secret) else parse_url(poster.name, url)
        if token is not None and isinstance(self._url, URL) and self._url.raw_user is not None:
            raise ValueError(f"receiver {poster.name}: the URL has a user and there is a token; only one can be sent")
        self._token = token
        self._signing_key = signing_key
        self._headers = dict(headers or {})
        self._body = body
        self._now_s = now_s

    async def send(self, alert: Alert) -> None:
        """POST the alert.

        Raises
        ------
        AlertUndelivered, TerminalError
            As `Poster.post`; the first also where a secret cannot be read.
        """
        name = self._poster.name
        url = url_of(name, self._url)
        fields = payload(alert)
        body = json.dumps(fields if self._body is None else filled(self._body, fields), ensure_ascii=False).encode()
        headers = {**self._headers, "Idempotency-Key": fields["id"]}
        secrets = []
        if self._token is not None:
            token = self._token.read(name)
            secrets.append(token)
            headers["Authorization"] = f"Bearer {token}"
        if self._signing_key is not None:
            key = self._signing_key.read(name)
            secrets.append(key)
            at = str(int(self._now_s()))
            headers |= {"Serin-Timestamp": at, "Serin-Signature": signature(key, at, body)}
        await self._poster.post(url, body, headers=headers, secrets=secrets)


def url_of(name: str, url: URL | Secret) -> URL:
    """Give a URL, which may have to be read.

    Raises
    ------
    AlertUndelivered
        What was read is no URL that can be used; it may be mended.
    """
    if isinstance(url, URL):
        return url
    try:
        return parse_url(name, url.read(name))
    except ValueError as error:
        raise AlertUndelivered(f"{error} ({url})") from None


def signature(key: str, timestamp: str, body: bytes) -> str:
    """Sign a body, as `Serin-Signature` has it."""
    digest = hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"v1={digest.hexdigest()}"


def filled(value: object, fields: Mapping[str, Any]) -> object:
    """Put an alert's fields into a body. A string that is one placeholder and nothing else takes the field's own type."""
    if isinstance(value, Mapping):
        return {key: filled(item, fields) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, fields) for item in value]
    if not isinstance(value, str):
        return value
    whole = value[2:-1] if value.startswith("${") and value.endswith("}") else ""
    if whole in fields:
        return fields[whole]
    try:
        return Template(value).substitute(fields)
    except (KeyError, ValueError):
        raise TerminalError("its body names a field that no alert has") from None
