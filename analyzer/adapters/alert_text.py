"""An alert as plain text, for the person who is woken by it."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analyzer.ports import Alert

_NOTHING_TO_DO = "Nothing. This is for your information."


def render_text(alert: "Alert") -> str:
    """Write what happened, the evidence, what Serin did and what is left to do, in this order.

    The first two lines are what a phone shows on its lock screen. Nothing is wrapped, so that a command can be copied
    whole.
    """
    urgency = "RESOLVED" if alert.resolved else alert.severity.upper()
    lines = [f"{urgency} · {alert.policy} · {alert.reason}", alert.title, ""]
    sections = (
        ("What happened", alert.what),
        ("Evidence", alert.evidence),
        ("What Serin did", alert.done),
        ("What to do", alert.to_do or _NOTHING_TO_DO),
    )
    for heading, text in sections:
        if text.strip():
            lines += [heading, *(f"  {line}".rstrip() for line in text.strip().splitlines()), ""]
    at = datetime.fromtimestamp(alert.at_s, UTC)
    lines.append(f"{at:%Y-%m-%d %H:%M:%S} UTC")
    return printable("\n".join(lines))


def printable(text: str) -> str:
    """Replace control characters other than line feeds: texts from elsewhere must not steer a terminal."""
    return "".join(char if char == "\n" or char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def iso_utc(at_s: float) -> str:
    """Write a wall-clock time as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
