"""The store's history: every write in order, some of it kept, and the watches that follow it."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final, NamedTuple

from analyzer.errors import TerminalError, WatchExpired
from analyzer.ports import Change, ChangeType, Kind, Ref

_RESOLUTION_S: Final = 0.001
"""Not finer: virtual time is rounded, and a timer at the end of a watch could be due for ever without time passing."""


class _Entry(NamedTuple):
    type: ChangeType
    ref: Ref
    text: str


class Journal:
    """One entry per resourceVersion. Watches hold a position in it and no queue, so that a slow one costs nothing.

    Parameters
    ----------
    size
        Entries kept. A watch from before them is too old; one that falls behind them is closed.
    bookmark_s
        A watch hears a BOOKMARK after so long without a write [s].
    watch_s
        The server closes a watch after this [s], with a BOOKMARK before.
    """

    def __init__(self, *, size: int, bookmark_s: float, watch_s: float) -> None:
        self.revision = 1
        self._forgotten = 1  # the newest resourceVersion that is no longer kept
        self._entries: deque[_Entry] = deque()
        self._size = size
        self._bookmark_s = bookmark_s
        self._watch_s = watch_s
        self._wake = asyncio.Event()
        self._closings = 0

    def append(self, change: ChangeType, ref: Ref, text: str) -> None:
        """Record the write that made `revision + 1`."""
        self.revision += 1
        self._entries.append(_Entry(change, ref, text))
        if len(self._entries) > self._size:
            self._entries.popleft()
            self._forgotten += 1
        self._notify()

    def forget(self) -> None:
        """Drop all entries, as a compaction of etcd does: only a watch from now on is possible."""
        self._entries.clear()
        self._forgotten = self.revision

    def close_watches(self) -> None:
        """End all streams, as a restart of the server does."""
        self._closings += 1
        self._notify()

    async def follow(self, kind: Kind, namespace: str | None, resource_version: str) -> AsyncGenerator[Change, None]:
        """Yield what was written after `resource_version`, then what will be; end when the server closes the stream.

        Raises
        ------
        WatchExpired
            It is not in the history any more.
        """
        position = _parse(resource_version)
        if position < self._forgotten:
            raise WatchExpired(f"410: too old resource version: {position} ({self._forgotten})")
        closings, end_s = self._closings, asyncio.get_running_loop().time() + self._watch_s
        while closings == self._closings:
            if position < self._forgotten:
                return  # too slow: its place in the history is gone
            if position < self.revision:
                entry = self._entries[position - self._forgotten]
                position += 1
                if entry.ref.kind == kind and namespace in {None, entry.ref.namespace}:
                    yield Change(entry.type, json.loads(entry.text))
                continue
            left_s = end_s - asyncio.get_running_loop().time()
            if left_s < _RESOLUTION_S:
                return
            if not await self._written_within(min(self._bookmark_s, left_s)):
                yield _bookmark(kind, position)

    async def _written_within(self, seconds: float) -> bool:
        wake = self._wake
        try:
            async with asyncio.timeout(seconds):
                await wake.wait()
        except TimeoutError:
            return False
        return True

    def _notify(self) -> None:
        self._wake.set()
        self._wake = asyncio.Event()


def _parse(resource_version: str) -> int:
    if not (resource_version.isascii() and resource_version.isdigit()):
        raise TerminalError(
            f"400: resourceVersion: Invalid value: {resource_version!r}: take the one of a list or an object"
        )
    return int(resource_version)


def _bookmark(kind: Kind, revision: int) -> Change:
    metadata = {"resourceVersion": str(revision)}
    return Change(ChangeType.BOOKMARK, {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata})
