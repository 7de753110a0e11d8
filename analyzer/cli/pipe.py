"""Output that nobody reads to its end: `serin replay … | head`."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Final

CLOSED: Final = 128 + signal.SIGPIPE
"""Exit code of a program that a closed pipe ended, as shells tell it."""


def until_closed(command: Callable[[], int]) -> int:
    """Run a command and return its exit code; where its output is closed before the end, say nothing and return `CLOSED`."""
    code = CLOSED
    try:
        code = command()
        sys.stdout.flush()
    except* BrokenPipeError:  # bare, or out of a task of many
        # What is still buffered would be written, and fail, once more when the interpreter ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        code = CLOSED
    return code
