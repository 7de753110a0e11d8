"""The decision log in a file that is never longer than it may be, or on standard output."""

import os
import sys
from pathlib import Path
from typing import TextIO

from analyzer.errors import DecisionsUnwritable

_TAIL_BYTES = 1 << 20


class DecisionFile:
    """Appends to a file. A full one becomes `FILE.1`, that one `FILE.2`, and so on; the oldest is dropped.

    Parameters
    ----------
    path
        Of the file.
    most_bytes
        A line that makes it longer than this is its last.
    kept
        Full files that are kept beside it.
    """

    def __init__(self, path: Path, *, most_bytes: int, kept: int) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._kept = kept

    def last(self) -> str:
        """Return the last whole line of the file, or of the one before; a line that a crash cut off is ended first."""
        try:
            for path in (self._path, self._numbered(1)):
                if path.exists() and (text := _tail(path)):
                    return text
        except OSError as error:
            raise DecisionsUnwritable(f"{self._path} cannot be read: {error.strerror or error}") from error
        return ""

    def append(self, line: str) -> bool:
        """Write a line, and begin a new file if this one is full."""
        try:
            with self._path.open("ab") as file:
                file.write(line.encode() + b"\n")
                full = file.tell() >= self._most_bytes
            if full:
                self._rotate()
        except OSError as error:
            raise DecisionsUnwritable(f"{self._path} cannot be written: {error.strerror or error}") from error
        return full

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _rotate(self) -> None:
        for number in range(self._kept, 1, -1):
            if self._numbered(number - 1).exists():
                self._numbered(number - 1).replace(self._numbered(number))
        if self._kept:
            self._path.replace(self._numbered(1))
        else:
            self._path.unlink()


def _tail(path: Path) -> str:
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.write(
                b"\n"
            )  # the process died in the middle of it: it stays there to be seen, and the next begins a line
    lines = [line for line in tail.split(b"\n") if line]
    return lines[-1].decode("utf-8", "replace") if lines else ""


class DecisionStream:
    """Appends to a stream that nobody reads back: what it is in keeps it, and bounds it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def last(self) -> str:
        """Return nothing: each process begins a chain of its own."""
        return ""

    def append(self, line: str) -> bool:
        """Write a line."""
        stream = self._stream or sys.stdout
        try:
            stream.write(f"{line}\n")
            stream.flush()
        except OSError as error:
            raise DecisionsUnwritable(f"standard output cannot be written: {error.strerror or error}") from error
        return False
