"""Alerts in Prometheus' Alertmanager, by its API v2.

Alertmanager groups, silences and routes by labels, and forgets an alert that nobody repeats. So a condition is repeated while
it stands. It carries an end far ahead, so that a restart of Serin is not taken for its end, and is resolved explicitly. What
happened once (a rollback) has its end from the beginning.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from yarl import URL

from analyzer.adapters.alert_text import render_text
from analyzer.adapters.post import Poster, parse_url
from analyzer.adapters.secret import Secret
from analyzer.errors import AlertUndelivered, TerminalError
from analyzer.ports import Alert, Severity

LASTS_S: Final = 86_400.0
"""A condition stands at least so long after it was last repeated [s]."""
EVENT_S: Final = 3_600.0
"""What happened once stays for so long [s]."""
_REMEMBERED: Final = 1_000
_SEVERITY: Final = {Severity.PAGE: "critical", Severity.NOTICE: "warning", Severity.INFO: "info"}
_WORTH_TELLING: Final = (Severity.PAGE, Severity.NOTICE)

Posted = dict[str, Any]


class AlertmanagerSink:
    """Sends everything to each instance of an Alertmanager; one that takes it is enough, others get it when it is repeated.

    Labels: `alertname` (`SerinRolledBack`), `severity` (critical, warning, info), `reason`, `namespace`, `policy`, `rollout`,
    and the operator's own. Annotations: `summary`, `description`, `command`, and a `…_url` for each link.

    Parameters
    ----------
    poster
        Sends on behalf of this receiver.
    urls
        Of the instances, without `/api/v2`.
    labels
        More labels.
    token
        Sent as bearer token.
    now_s
        The wall clock [unix seconds].

    Raises
    ------
    ValueError
        A URL cannot be used.
    """

    repeat_s: ClassVar[float] = 60.0

    def __init__(
        self,
        poster: Poster,
        *,
        urls: Sequence[str],
        labels: Mapping[str, str] | None = None,
        token: Secret | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._poster = poster
        self._urls = [parse_url(poster.name, url) / "api" / "v2" / "alerts" for url in urls]
        self._labels = dict(labels or {})
        self._token = token
        self._now_s = now_s
        self._standing: dict[tuple[str, str], Posted] = {}

    async def send(self, alert: Alert) -> None:
        """Raise, or resolve.

        Raises
        ------
        AlertUndelivered, TerminalError
            No instance took it.
        """
        over = [*alert.ends, *([alert.reason] if alert.resolved else [])]
        for reason in over:
            self._standing.pop((alert.dedup_key, reason), None)
        posted = [self._resolved(alert, reason, severity) for reason in over for severity in _WORTH_TELLING]
        raised = None
        if not alert.resolved:
            ends_s = self._now_s() + LASTS_S if alert.lasts else max(alert.at_s, self._now_s()) + EVENT_S
            raised = self._raised(alert, ends_s)
            posted.append(raised)
        await self._post(posted)
        if raised is not None:
            self._standing[alert.dedup_key, alert.reason] = {**raised, "lasts": alert.lasts}
            while len(self._standing) > _REMEMBERED:
                del self._standing[next(iter(self._standing))]

    async def repeat(self) -> None:
        """Repeat what stands.

        Raises
        ------
        AlertUndelivered, TerminalError
            No instance took it.
        """
        now_s = self._now_s()
        for key, posted in list(self._standing.items()):
            if posted["lasts"]:
                posted["endsAt"] = _time(now_s + LASTS_S)
            elif posted["endsAt"] <= _time(now_s):
                del self._standing[key]
        if self._standing:
            await self._post([{k: v for k, v in each.items() if k != "lasts"} for each in self._standing.values()])

    def forget(self) -> None:
        """Repeat nothing any more: another replica tells people from now on."""
        self._standing.clear()

    def _raised(self, alert: Alert, ends_s: float) -> Posted:
        links = {f"{name}_url": url for name, url in alert.links.items()}
        generator = alert.links.get("dashboard") or alert.links.get("policy")
        return {
            "labels": self._labels_of(alert, alert.reason, alert.severity),
            "annotations": {
                "summary": alert.title,
                "description": render_text(alert),
                **({"command": alert.command} if alert.command else {}),
                **links,
            },
            "startsAt": _time(alert.at_s),
            "endsAt": _time(ends_s),
            **({"generatorURL": generator} if generator else {}),
        }

    def _resolved(self, alert: Alert, reason: str, severity: Severity) -> Posted:
        # Whatever severity it was raised with: resolving what was never raised tells nobody anything.
        ends_s = min(alert.at_s, self._now_s())
        return {
            "labels": self._labels_of(alert, reason, severity),
            "annotations": {"summary": alert.title},
            "startsAt": _time(ends_s),
            "endsAt": _time(ends_s),
        }

    def _labels_of(self, alert: Alert, reason: str, severity: Severity) -> dict[str, str]:
        namespace, _, policy = alert.policy.partition("/")
        return self._labels | {
            "alertname": f"Serin{reason}",
            "severity": _SEVERITY[severity],
            "reason": reason,
            "namespace": namespace,
            "policy": policy,
            "rollout": alert.dedup_key.rpartition("/")[2],
        }

    async def _post(self, posted: Sequence[Posted]) -> None:
        body = json.dumps(posted, ensure_ascii=False).encode()
        headers, secrets = {}, []
        if self._token is not None:
            token = self._token.read(self._poster.name)
            headers["Authorization"] = f"Bearer {token}"
            secrets.append(token)

        async def to(url: URL) -> AlertUndelivered | TerminalError | None:
            try:
                await self._poster.post(url, body, headers=headers, secrets=secrets)
            except (AlertUndelivered, TerminalError) as error:
                return error
            return None

        answers = await asyncio.gather(*map(to, self._urls))
        errors = [error for error in answers if error is not None]
        if len(errors) == len(answers):
            # What may be tried again is the better news.
            raise next((error for error in errors if isinstance(error, AlertUndelivered)), errors[0])


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
