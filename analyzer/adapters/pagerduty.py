"""Alerts as incidents in PagerDuty, by its Events API v2."""

import hashlib
import json
from typing import Any, Final

from yarl import URL

from analyzer import __version__
from analyzer.adapters.alert_text import cut, iso_utc
from analyzer.adapters.payload import payload
from analyzer.adapters.post import Poster
from analyzer.adapters.secret import Secret
from analyzer.ports import Alert, Severity

URLS: Final = {
    "us": URL("https://events.pagerduty.com/v2/enqueue"),
    "eu": URL("https://events.eu.pagerduty.com/v2/enqueue"),
}
_SEVERITY: Final = {Severity.PAGE: "critical", Severity.NOTICE: "warning", Severity.INFO: "info"}
_SUMMARY_MAX: Final = 1024
_KEY_MAX: Final = 255
_DETAIL_MAX: Final = 20_000  # an event may have 512 KB


class PagerDutySink:
    """One incident for the pages of a rollout, and one for its notices.

    Two, since a page that was folded into the open incident of a notice would wake nobody. An incident is resolved when the
    last condition of the rollout has ended; one about a rollback is left to a person.

    Parameters
    ----------
    poster
        Sends on behalf of this receiver.
    routing_key
        Of the service's integration.
    url
        Where events are taken.
    """

    def __init__(self, poster: Poster, *, routing_key: Secret, url: URL = URLS["us"]) -> None:
        self._poster = poster
        self._routing_key = routing_key
        self._url = url

    async def send(self, alert: Alert) -> None:
        """Trigger, or resolve.

        Raises
        ------
        AlertUndelivered, TerminalError
            As `Poster.post`; the first also where the routing key cannot be read.
        """
        key = self._routing_key.read(self._poster.name)
        for event in events(alert):
            body = json.dumps({"routing_key": key, **event}, ensure_ascii=False).encode()
            await self._poster.post(self._url, body, headers={}, secrets=[key])


def events(alert: Alert) -> list[dict[str, Any]]:
    """Say what to tell PagerDuty; nothing where the incident goes on as it is."""
    page, notice = _keys(alert)
    if alert.resolved:
        # Resolving what is not open does no harm, and nobody remembers which of the two is.
        return [] if alert.still else [_resolve(page), _resolve(notice)]
    mine, other = (page, notice) if alert.severity is Severity.PAGE else (notice, page)
    return [_trigger(alert, mine), *([_resolve(other)] if alert.ends else [])]


def _keys(alert: Alert) -> tuple[str, str]:
    key = alert.dedup_key
    if len(f"{key}/notice") > _KEY_MAX:
        key = f"serin/{hashlib.sha256(key.encode()).hexdigest()}"
    return key, f"{key}/notice"


def _resolve(key: str) -> dict[str, Any]:
    return {"event_action": "resolve", "dedup_key": key}


def _trigger(alert: Alert, key: str) -> dict[str, Any]:
    namespace, _, name = alert.policy.partition("/")
    details = {
        "what": alert.what,
        "evidence": alert.evidence,
        "done": alert.done,
        "to do": alert.to_do,
        "command": alert.command,
    }
    return {
        "event_action": "trigger",
        "dedup_key": key,
        "client": f"Serin {__version__}",
        "links": [{"href": url, "text": text} for text, url in alert.links.items()],
        "payload": {
            "summary": cut(alert.title, _SUMMARY_MAX),
            "timestamp": iso_utc(alert.at_s),
            "severity": _SEVERITY[alert.severity],
            "source": alert.policy,
            "component": name,
            "group": namespace,
            "class": alert.reason,
            "custom_details": {
                **{title: cut(text, _DETAIL_MAX) for title, text in details.items() if text},
                "details": payload(alert)["details"],
            },
        },
    }
