"""What every controller of the sandbox does: look at all there is, act, and wait for a change or a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from analyzer.errors import ConflictError
from analyzer.ports import Cluster, Kind

_RELIST_PAUSE_S: Final = 0.1

Turn = Callable[[], Awaitable[float | None]]
"""One turn: acts, and says after how many seconds it wants to look again (None: only on a change)."""


async def run_level_based(cluster: Cluster, kinds: Iterable[Kind], turn: Turn) -> None:
    """Take turns for ever: at the start, at each change of one of `kinds`, and when a turn asked for it.

    A conflict means that somebody else wrote: look again. Every other error ends the sandbox, for it would be a bug.
    """
    wake = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for kind in kinds:
            group.create_task(_wake_on_change(cluster, kind, wake))
        while True:
            wake.clear()
            try:
                delay_s = await turn()
            except ConflictError:
                delay_s = _RELIST_PAUSE_S
            await _wait(wake, delay_s)


async def _wake_on_change(cluster: Cluster, kind: Kind, wake: asyncio.Event) -> None:
    while True:
        listing = await cluster.list(kind)
        wake.set()
        try:
            async for _ in cluster.watch(kind, resource_version=listing.resource_version):
                wake.set()
        except ConflictError:  # WatchExpired: list again
            pass
        await asyncio.sleep(_RELIST_PAUSE_S)


async def _wait(wake: asyncio.Event, delay_s: float | None) -> None:
    try:
        async with asyncio.timeout(delay_s):
            await wake.wait()
    except TimeoutError:
        return
