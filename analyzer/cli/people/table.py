"""Columns as kubectl writes them, and lines that fit a narrow terminal."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from analyzer.cli.people.screen import Screen

_GAP: Final = "   "
_NARROW: Final = 12


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes
    ----------
    title
        In capitals.
    right
        Numbers stand to the right.
    rank
        Where the terminal is too narrow, the column of the largest rank goes first; 0 stays.
    """

    title: str
    right: bool = False
    rank: int = 0


Cell = tuple[str, tuple[str, ...]]
"""A text and its styles."""


def table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], screen: Screen) -> list[str]:
    """Lay out rows; on a terminal within its width, elsewhere as wide as they are."""
    shown = list(range(len(columns)))
    widths = [max(len(columns[i].title), *(len(row[i][0]) for row in rows), 0) for i in shown]
    while screen.width is not None and _total(shown, widths) > screen.width:
        droppable = [i for i in shown if columns[i].rank]
        if not droppable:
            widest = max(shown, key=lambda i: widths[i])
            excess = _total(shown, widths) - screen.width
            widths[widest] = max(_NARROW, widths[widest] - excess)
            break
        shown.remove(max(droppable, key=lambda i: columns[i].rank))
    lines = [_line([(columns[i].title, ("bold",)) for i in shown], shown, columns, widths, screen)]
    return lines + [_line([row[i] for i in shown], shown, columns, widths, screen) for row in rows]


def _total(shown: Sequence[int], widths: Sequence[int]) -> int:
    return sum(widths[i] for i in shown) + len(_GAP) * (len(shown) - 1)


def _line(
    cells: Sequence[Cell], shown: Sequence[int], columns: Sequence[Column], widths: Sequence[int], screen: Screen
) -> str:
    parts = []
    for place, (i, (text, styles)) in enumerate(zip(shown, cells, strict=True)):
        cut = text if len(text) <= widths[i] else f"{text[: widths[i] - 1]}…"
        blank = " " * (widths[i] - len(cut))
        painted = screen.paint(cut, *styles)
        last = place == len(shown) - 1
        parts.append(f"{blank}{painted}" if columns[i].right else painted if last else f"{painted}{blank}")
    return _GAP.join(parts).rstrip()


def wrapped(text: str, screen: Screen, *, indent: str = "") -> list[str]:
    """Break a sentence for a terminal; elsewhere leave it in one line."""
    if screen.width is None:
        return [f"{indent}{text}"]
    return textwrap.wrap(
        text,
        width=screen.width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    ) or [indent]
