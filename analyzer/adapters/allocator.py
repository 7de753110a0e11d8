"""Memory that was freed goes back to the system.

Each turn parses answers of the API server and of Prometheus. What is freed between the pieces that stay, the process keeps:
glibc gives it back only where it is asked to, other C libraries by themselves or never.
"""

import asyncio
import ctypes
from typing import Final

_PERIOD_S: Final = 60.0


def _find_trim() -> "ctypes._NamedFuncPointer | None":
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc
        return None


_TRIM: Final = _find_trim()


def give_back() -> bool:
    """Ask for it once; it takes a few milliseconds. False where nothing was given back, or cannot be."""
    return _TRIM is not None and bool(_TRIM(0))


async def give_back_forever() -> None:
    """Ask for it once a minute, until cancelled."""
    while True:
        await asyncio.sleep(_PERIOD_S)
        give_back()
