"""The operator's file of receivers: who can be told, and how. Strict as a policy is, and no message repeats a secret.

A secret is never in the file itself, but in a file of its own (`routingKeyFile`, relative to this one) or in the environment
(`routingKeyEnv`). Both are read when an alert is sent, so that a rotated secret works without a restart.
"""

import re
from collections.abc import Iterator, Mapping
from string import Template
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from analyzer.policy.fields import OBJECT_NAME_SCHEMA, ObjectName
from analyzer.policy.model import Lax, Model

AtLeast = Literal["page", "notice", "info"]

PLACEHOLDERS: Final = (
    "id", "title", "text", "severity", "urgency", "reason", "dedup_key", "resolved", "policy", "namespace", "name", "at",
    "what", "evidence", "done", "to_do", "command",
)  # fmt: skip
"""What `body` of a webhook may name, as `${title}`."""

LINK_PLACEHOLDERS: Final = ("namespace", "name", "reason", "anchor", "argocd", "flux")
"""What a link may name, as `{namespace}`. `anchor` is the reason as an anchor of a Markdown page: in lower case. `argocd` and
`flux` are the application or Kustomization that the policy belongs to; without one the link is left out."""


def _one_of(*names: str) -> JsonDict:
    """For the schema: exactly one of these fields. The model itself says it in words, in `check`."""
    return {"oneOf": [{"required": [name]} for name in names]}


class PagerDuty(Model):
    """PagerDuty, by its Events API v2."""

    model_config = ConfigDict(json_schema_extra=_one_of("routingKeyFile", "routingKeyEnv"))

    routing_key_file: str | None = None
    routing_key_env: str | None = None
    region: Literal["us", "eu"] = "us"


class Alertmanager(Model):
    """Prometheus' Alertmanager, by its API v2; each of its instances is sent everything."""

    urls: Annotated[tuple[str, ...], Lax, Field(min_length=1, max_length=8)]
    labels: dict[str, str] = Field(default_factory=dict)
    token_file: str | None = None
    token_env: str | None = None


class Slack(Model):
    """Slack, by an incoming webhook."""

    model_config = ConfigDict(json_schema_extra=_one_of("urlFile", "urlEnv"))

    url_file: str | None = None
    url_env: str | None = None


class Webhook(Model):
    """Anything that takes JSON by HTTP."""

    model_config = ConfigDict(json_schema_extra=_one_of("url", "urlFile", "urlEnv"))

    url: str | None = None
    url_file: str | None = None
    url_env: str | None = None
    token_file: str | None = None
    token_env: str | None = None
    signing_key_file: str | None = None
    signing_key_env: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    body: dict[str, Any] | None = None


class Email(Model):
    """People, by e-mail."""

    to: Annotated[tuple[str, ...], Lax, Field(min_length=1, max_length=32)]
    sender: str = Field(alias="from")
    server: str
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password_file: str | None = None
    password_env: str | None = None


class Apprise(Model):
    """Any of the services that the library apprise knows."""

    model_config = ConfigDict(json_schema_extra=_one_of("urlFile", "urlEnv"))

    url_file: str | None = None
    url_env: str | None = None


class Receiver(Model):
    """One way to reach people: exactly one kind, and from which severity on."""

    model_config = ConfigDict(
        json_schema_extra=_one_of("pagerduty", "alertmanager", "slack", "webhook", "email", "apprise")
    )

    pagerduty: PagerDuty | None = None
    alertmanager: Alertmanager | None = None
    slack: Slack | None = None
    webhook: Webhook | None = None
    email: Email | None = None
    apprise: Apprise | None = None
    at_least: AtLeast | None = None
    """Left out: `page` for PagerDuty, which wakes people; `notice` for Alertmanager; `info` for all others."""

    @property
    def kinds(self) -> list[str]:
        """Names of the kinds that are there; a valid receiver has one."""
        return [name for name in type(self).model_fields if name != "at_least" and getattr(self, name) is not None]

    @property
    def lowest(self) -> AtLeast:
        """The least severity that it is sent."""
        return self.at_least or _LOWEST.get(self.kinds[0], "info")


_LOWEST: Final[Mapping[str, AtLeast]] = {"pagerduty": "page", "alertmanager": "notice"}


_NAMED: Final[JsonDict] = {"propertyNames": OBJECT_NAME_SCHEMA}
"""pydantic says nothing of a mapping's keys where their check is a function."""


class Receivers(Model):
    """The operator's receivers of alerts: who can be told, and how."""

    receivers: dict[ObjectName, Receiver] = Field(json_schema_extra={"minProperties": 1, **_NAMED})
    """By name; policies name them in `alerts`."""
    default: Annotated[tuple[str, ...], Lax] = ()
    """For alerts that name no receiver, or one that is not here, or that nobody took. Left out: all of them."""
    allow: Annotated[tuple[str, ...], Lax] | None = None
    """The only hosts that alerts may go to: `alerts.example`, or `*.example` for all below it. Left out: any."""
    links: dict[ObjectName, str] = Field(default_factory=dict, json_schema_extra=_NAMED)
    """Links that are added to each alert: a name, and a URL that may name `{namespace}`, `{name}`, `{reason}` …"""


Trouble = tuple[tuple[str | int, ...], str, str]
"""Where, what is wrong, and how to mend it."""


def check(file: Receivers) -> Iterator[Trouble]:
    """Find what the types cannot tell."""
    if not file.receivers:
        yield ("receivers",), "there is no receiver", "add one, or run without --receivers"
    for index, name in enumerate(file.default):
        if name not in file.receivers and name != "log":
            known = ", ".join([*file.receivers, "log"])
            yield ("default", index), "no receiver has this name", f"there are: {known}"
    for name, receiver in file.receivers.items():
        yield from _receiver(name, receiver, file)
    for name, url in file.links.items():
        yield from _link(name, url)


def _receiver(name: str, receiver: Receiver, file: Receivers) -> Iterator[Trouble]:
    path = ("receivers", name)
    if name == "log":
        yield path, "`log` is the log itself, which is always there", "give it another name"
    kinds = receiver.kinds
    if len(kinds) != 1:
        known = ", ".join(field for field in Receiver.model_fields if field != "at_least")
        yield path, f"a receiver has exactly one kind, and here are {len(kinds)}", f"write one of {known}"
        return
    kind = kinds[0]
    settings = getattr(receiver, kind)
    for secret, needed in _SECRETS[kind].items():
        yield from _secret((*path, kind), settings, secret, needed=needed)
    for place, url in _urls(receiver):
        yield from _url((*path, kind, *place), url, file.allow)
    if receiver.webhook is not None:
        yield from _body((*path, kind, "body"), receiver.webhook.body)
        yield from _headers((*path, kind, "headers"), receiver.webhook.headers)
    if receiver.email is not None:
        yield from _email((*path, kind), receiver.email, file.allow)
    if receiver.apprise is not None and file.allow is not None:
        message = "apprise makes its connections itself: `allow` cannot be kept for it"
        yield (*path, kind), message, "remove this receiver, or `allow`"


_SECRETS: Final[Mapping[str, Mapping[str, bool]]] = {
    "pagerduty": {"routing_key": True},
    "alertmanager": {"token": False},
    "slack": {"url": True},
    "webhook": {"url": True, "token": False, "signing_key": False},
    "email": {"password": False},
    "apprise": {"url": True},
}
"""Per kind, the names of its secrets, and whether there must be one."""


def _secret(path: tuple[str | int, ...], settings: Model, name: str, *, needed: bool) -> Iterator[Trouble]:
    fields = type(settings).model_fields
    spellings = {key: fields[key].alias or key for key in (name, f"{name}_file", f"{name}_env") if key in fields}
    found = [alias for key, alias in spellings.items() if getattr(settings, key) is not None]
    choice = " or ".join(f"`{alias}: …`" for alias in spellings.values())
    if len(found) > 1:
        yield (*path, found[1]), f"`{found[0]}` and `{found[1]}` are both there", "keep one of the two"
    elif needed and not found:
        yield path, f"there is no `{next(iter(spellings.values())).removesuffix('File')}`", f"add {choice}"


def _urls(receiver: Receiver) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if receiver.webhook is not None and receiver.webhook.url is not None:
        yield ("url",), receiver.webhook.url
    if receiver.alertmanager is not None:
        for index, url in enumerate(receiver.alertmanager.urls):
            yield ("urls", index), url


def _url(path: tuple[str | int, ...], text: str, allow: tuple[str, ...] | None) -> Iterator[Trouble]:
    try:
        parts = urlsplit(text)
        host = parts.hostname
        valid = parts.scheme in {"http", "https"} and bool(host) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        yield path, "this is not a URL", "write http://HOST… or https://HOST…"
    elif parts.password is not None or parts.username is not None:
        yield path, "a user or password is in the URL", "put the whole URL into a file, and name that: `urlFile: …`"
    elif not allows(allow, host or ""):
        yield path, f"`allow` does not have the host {host}", "add it there"


def _body(path: tuple[str | int, ...], value: object) -> Iterator[Trouble]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _body((*path, key), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _body((*path, index), item)
    elif isinstance(value, str):
        template = Template(value)
        if not template.is_valid():
            yield path, "a `$` here begins no placeholder", "write `$$` for a dollar sign, `${title}` for the title"
        for name in template.get_identifiers():
            if name not in PLACEHOLDERS:
                yield path, "there is no such placeholder", f"there are: {', '.join(PLACEHOLDERS)}"


def _headers(path: tuple[str | int, ...], headers: Mapping[str, str]) -> Iterator[Trouble]:
    for name, value in headers.items():
        if not (name.replace("-", "").isalnum() and name.isascii() and value.isascii() and value.isprintable()):
            yield (*path, name), "this is no header", "write a name of letters, digits and `-`, and a value in ASCII"
        elif name.lower() in _OURS:
            yield (*path, name), "Serin sets this header itself", "leave it out; for Authorization use `tokenFile: …`"


_OURS: Final = frozenset({
    "authorization", "content-length", "content-type", "cookie", "host", "idempotency-key", "proxy-authorization",
    "serin-signature", "serin-timestamp", "transfer-encoding",
})  # fmt: skip


def _email(path: tuple[str | int, ...], email: Email, allow: tuple[str, ...] | None) -> Iterator[Trouble]:
    for place, address in ((("from",), email.sender), *((("to", i), each) for i, each in enumerate(email.to))):
        local, at, domain = address.rpartition("@")
        if not (at and local and domain and address.isprintable() and " " not in address):
            yield (*path, *place), "this is no e-mail address", "write it like oncall@shop.example"
    host, colon, port = email.server.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 65_536):
        yield (*path, "server"), "this is no HOST:PORT", "write it like smtp.shop.example:587"
    elif not allows(allow, host):
        yield (*path, "server"), f"`allow` does not have the host {host}", "add it there"
    has_password = email.password_file is not None or email.password_env is not None
    if (email.username is not None) != has_password:
        yield path, "`username` and a password go together", "add the other, `passwordFile: …` say, or leave both out"
    elif has_password and email.security == "none":
        yield (*path, "security"), "the password would be sent for all to read", "use starttls or tls"


def _link(name: str, url: str) -> Iterator[Trouble]:
    path = ("links", name)
    filled = fill_link(url, dict.fromkeys(LINK_PLACEHOLDERS, "x"))
    if "{" in filled or "}" in filled:
        known = ", ".join(f"{{{each}}}" for each in LINK_PLACEHOLDERS)
        yield path, "there is a placeholder in it that does not exist", f"there are: {known}"
    elif not filled.startswith(("http://", "https://")) or not filled.isprintable() or " " in filled:
        yield path, "this is not a URL", "write http://HOST… or https://HOST…"


def fill_link(url: str, values: Mapping[str, str]) -> str:
    """Put values into a link's placeholders; what is no placeholder stays."""
    return re.sub(r"\{([a-z]+)\}", lambda match: values.get(match[1], match[0]), url)


def allows(allow: tuple[str, ...] | None, host: str) -> bool:
    """Tell whether alerts may go to a host; None allows all."""
    if allow is None:
        return True
    host = host.lower().rstrip(".")
    return any(host == each.lower() or (each[:2] == "*." and host.endswith(each[1:].lower())) for each in allow)
