"""Memory that was freed goes back to the system.

Each turn parses answers of the API server and of Prometheus. What is freed between the pieces that stay, the process keeps:
glibc gives it back only where it is asked to, other C libraries by themselves or never.
"""

import ctypes
from typing import Final


def _find_trim() -> "ctypes._NamedFuncPointer | None":
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc
        return None


_TRIM: Final = _find_trim()


def give_back() -> bool:
    """Ask for it once; it takes a few milliseconds. False where nothing was given back, or cannot be."""
    return _TRIM is not None and bool(_TRIM(0))
