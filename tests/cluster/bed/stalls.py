"""When the process that is all pods stood still: what failed then, the machine failed and nobody in the cluster."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

_LOOK_S: Final = 0.02
_STALL_S: Final = 0.1
"""A pod with 20 ms a request, two at a time and twenty waiting stands so much at its HPA's target without refusing one."""


class Stalls:
    """Sleeps, and notes when it woke late."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []

    async def run(self) -> None:
        """Watch, for ever."""
        while True:
            asleep_s = time.monotonic()
            await asyncio.sleep(_LOOK_S)
            late_s = time.monotonic() - asleep_s - _LOOK_S
            if late_s > _STALL_S:
                self._seen.append((time.time(), late_s))

    @property
    def seen(self) -> Sequence[tuple[float, float]]:
        """Each stall: when it ended [unix seconds], and how long it was [s]."""
        return self._seen
