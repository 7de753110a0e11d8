"""What the terminal can show: colours, width, and characters."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, TextIO

_CODES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}
_LEAST_WIDTH: Final = 40


@dataclass(frozen=True, slots=True)
class Screen:
    """Where the words go.

    Attributes
    ----------
    out, err
        Results, and what is said about them.
    colour
        Whether escape codes may be written.
    width
        Columns of the terminal; None where there is none, and lines are as long as they are.
    source
        Where a person answers; None where nobody does.
    """

    out: TextIO
    err: TextIO
    colour: bool = False
    width: int | None = None
    source: TextIO | None = None

    @classmethod
    def of_process(cls) -> Self:
        """Look at the process's own streams."""
        for stream in (sys.stdout, sys.stderr):
            reconfigure: Any = getattr(stream, "reconfigure", None)
            if reconfigure is not None:  # a terminal that has no “–” shows a `?`, and no traceback
                reconfigure(errors="replace")
        terminal = sys.stdout.isatty()
        return cls(
            out=sys.stdout,
            err=sys.stderr,
            colour=wants_colour(os.environ, terminal=terminal),
            width=max(_LEAST_WIDTH, shutil.get_terminal_size().columns) if terminal else None,
            source=sys.stdin if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty() else None,
        )

    @property
    def live(self) -> bool:
        """Whether a picture can be drawn over the last one."""
        return self.width is not None and os.environ.get("TERM") != "dumb"

    def say(self, text: str = "") -> None:
        """Write a line of the result."""
        self.out.write(f"{text}\n")

    def tell(self, text: str) -> None:
        """Write a line about the result."""
        self.err.write(f"{text}\n")
        self.err.flush()

    def paint(self, text: str, *styles: str) -> str:
        """Colour a text, where that can be seen."""
        codes = ";".join(_CODES[style] for style in styles if style)
        return f"\x1b[{codes}m{text}\x1b[0m" if self.colour and codes and text.strip() else text


def wants_colour(environment: Mapping[str, str], *, terminal: bool) -> bool:
    """Tell whether to write escape codes: NO_COLOR and FORCE_COLOR say so themselves, in this order."""
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return terminal and environment.get("TERM") != "dumb"


def printable(text: str) -> str:
    """Take out what could move a cursor or hide words: the text came from a cluster, and anybody may have written it."""
    return "".join(char if char.isprintable() else " " if char.isspace() else "�" for char in text)
