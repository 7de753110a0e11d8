"""An alert as plain text, for the person who is woken by it."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analyzer.ports import Alert

_NOTHING_TO_DO = "Nothing. This is for your information."


def render_text(alert: "Alert") -> str:
    """Write what happened, the evidence, what Serin did and what is left to do, in this order; the command is last.

    The first two lines are what a phone shows on its lock screen. Nothing is wrapped, so that a command can be copied
    whole.
    """
    title = alert.title.removeprefix(f"{alert.policy}: ")
    lines = [f"{urgency(alert)} · {alert.policy} · {alert.reason}", title, ""]
    what = "" if alert.what.rstrip(".") == title else alert.what
    to_do = alert.to_do or _NOTHING_TO_DO
    sections = (
        ("What happened", what),
        ("Evidence", alert.evidence),
        ("What Serin did", alert.done),
        ("Still open", ", ".join(alert.still) if alert.resolved else ""),
        ("Links", "\n".join(f"{name}: {url}" for name, url in alert.links.items())),
        ("What to do", f"{to_do}\n\n{alert.command}" if alert.command else to_do),
    )
    for heading, text in sections:
        if text.strip():
            lines += [heading, *(f"  {line}".rstrip() for line in text.strip().splitlines()), ""]
    at = datetime.fromtimestamp(alert.at_s, UTC)
    lines.append(f"{at:%Y-%m-%d %H:%M:%S} UTC")
    return printable("\n".join(lines))


def urgency(alert: "Alert") -> str:
    """Say in a word how urgent an alert is: PAGE, NOTICE, INFO or RESOLVED."""
    return "RESOLVED" if alert.resolved else alert.severity.upper()


def cut(text: str, limit: int) -> str:
    """Cut a text to so many characters, and show that it was cut."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def printable(text: str) -> str:
    """Replace control characters other than line feeds: texts from elsewhere must not steer a terminal."""
    return "".join(char if char == "\n" or char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def iso_utc(at_s: float) -> str:
    """Write a wall-clock time as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
