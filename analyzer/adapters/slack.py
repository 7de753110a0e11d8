"""Alerts as messages in Slack, by an incoming webhook."""

import json
from typing import Any, Final

from yarl import URL

from analyzer.adapters.alert_text import cut, iso_utc, printable, urgency
from analyzer.adapters.post import Poster
from analyzer.adapters.secret import Secret
from analyzer.adapters.webhook import url_of
from analyzer.ports import Alert

_HEADER_MAX: Final = 150
_SECTION_MAX: Final = 3000
_SECTION_WANTED: Final = 2500
"""All blocks together may have about 13,000 characters: no more than five sections of this."""
_SIGNS: Final = {"PAGE": ":rotating_light:", "NOTICE": ":warning:", "RESOLVED": ":white_check_mark:"}


class SlackSink:
    """One message for each alert.

    Parameters
    ----------
    poster
        Sends on behalf of this receiver.
    url
        The incoming webhook's, which is a secret.
    """

    def __init__(self, poster: Poster, *, url: Secret | URL) -> None:
        self._poster = poster
        self._url = url

    async def send(self, alert: Alert) -> None:
        """Post the message.

        Raises
        ------
        AlertUndelivered, TerminalError
            As `Poster.post`; the first also where the URL cannot be read.
        """
        url = url_of(self._poster.name, self._url)
        await self._poster.post(url, json.dumps(message(alert), ensure_ascii=False).encode(), headers={})


def message(alert: Alert) -> dict[str, Any]:
    """Build the message: a headline, the parts of the text, the command to be copied whole, links."""
    heading = urgency(alert)
    parts = (
        ("", alert.what),
        ("Evidence", alert.evidence),
        ("What Serin did", alert.done),
        ("What to do", alert.to_do),
    )
    sections = [_section(title, escape(printable(text))) for title, text in parts if text.strip()]
    if alert.command:
        sections.append(_mrkdwn(f"```{cut(escape(printable(alert.command)), _SECTION_WANTED)}```"))
    links = [f"<{escape(url)}|{escape(name)}>" for name, url in alert.links.items()]
    footer = " · ".join([escape(alert.policy), alert.reason, iso_utc(alert.at_s), *links])
    title = alert.title.removeprefix(f"{alert.policy}: ")
    return {
        # For notifications, and for clients that show no blocks.
        "text": escape(printable(cut(f"{heading} · {alert.title}", _SECTION_MAX // 2))),
        "blocks": [
            {
                "type": "header",
                "text": {"type": "plain_text", "text": _headline(heading, printable(title)), "emoji": True},
            },
            *sections,
            {"type": "context", "elements": [{"type": "mrkdwn", "text": cut(footer, _SECTION_WANTED)}]},
        ],
    }


def _headline(heading: str, title: str) -> str:
    sign = _SIGNS.get(heading, ":information_source:")
    return cut(f"{sign} {heading}: {title}", _HEADER_MAX)


def _section(title: str, text: str) -> dict[str, Any]:
    return _mrkdwn(cut(f"*{title}*\n{text}" if title else text, _SECTION_WANTED))


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def escape(text: str) -> str:
    """Escape what Slack gives a meaning to: nobody is mentioned, nothing linked, by the text of an error."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
