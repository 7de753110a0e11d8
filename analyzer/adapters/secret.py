"""Secrets of receivers: in a file of their own or in the environment, read anew for each alert.

So a rotated secret works at once, and none is kept in memory for longer than it is used.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from analyzer.errors import AlertUndelivered


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is; one of the two.

    Attributes
    ----------
    file
        Holds it, with white space around it that does not count.
    variable
        Of the environment.
    """

    file: Path | None = None
    variable: str | None = None

    def read(self, receiver: str, *, spaces: bool = False) -> str:
        """Read it; with `spaces`, it may have some inside.

        Raises
        ------
        AlertUndelivered
            It is not there, or is not one printable word: a person may be about to mend it.
        """
        text = (os.environ.get(self.variable) if self.variable else self._from_file(receiver)) or ""
        if not re.fullmatch(r"[ -~]+" if spaces else r"[!-~]+", text.strip()):
            raise AlertUndelivered(f"{receiver}: {self} holds no secret, which is one line of printable ASCII")
        return text.strip()

    def _from_file(self, receiver: str) -> str:
        assert self.file is not None, "a secret is in a file or in a variable"
        try:
            return self.file.read_text(encoding="ascii")
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not ASCII"
            raise AlertUndelivered(f"{receiver}: {self} cannot be read: {why}") from None

    def __str__(self) -> str:
        return f"environment variable {self.variable}" if self.variable else f"file {self.file}"
