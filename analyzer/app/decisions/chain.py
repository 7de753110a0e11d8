"""Lines that hold each other: each has the hash of the one before, so that a change or a gap shows.

That is no signature. Whoever may write the file can write it anew from some line on; who must be able to tell keeps the lines
where Serin cannot write (the log of its standard output, say).
"""

import hashlib
import json
from typing import Any, Final

_DIGITS: Final = 32


def digest(line: str) -> str:
    """Name a line, without its end: 32 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(line.encode()).hexdigest()[:_DIGITS]


class Chain:
    """Makes lines, each with the name of the one before.

    Parameters
    ----------
    last
        The last line that is there already; empty where there is none.
    """

    def __init__(self, last: str = "") -> None:
        self._before = digest(last) if last else ""

    def link(self, fields: dict[str, Any]) -> str:
        """Write the next line. It counts as written only after `accept`."""
        return json.dumps(
            {"prev": self._before, **fields}, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str
        )

    def accept(self, line: str) -> None:
        """Go on from a line that was written."""
        self._before = digest(line)
