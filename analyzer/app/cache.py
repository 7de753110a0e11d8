"""What the cluster looked like a moment ago, without asking it: list, then watch, then list again.

Watches fail in quiet ways (half-open connections, streams that close at once, a resourceVersion that is gone), so a
watch only shortens the wait: silence is checked with a list, and any trouble ends with a list. A list is the truth.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from analyzer.app.mirror import Index, Mirror
from analyzer.errors import (
    ConflictError,
    InvariantViolation,
    ObjectMissing,
    SerinError,
    TerminalError,
    TransientError,
    WatchExpired,
)
from analyzer.policy.delegation import leads_to
from analyzer.ports import VIRTUAL_SERVICE, Clock, Cluster, Kind, Listing, Object, Ref

_log = structlog.get_logger(__name__)

_BACKOFF_MIN_S: Final = 0.1
_BACKOFF_MAX_S: Final = 10.0
_ABSENT_S: Final = 60.0  # until a kind that is not served is asked for again
_STEADY_S: Final = 5.0  # a stream that lived so long was a good one

_INDICES: Final[dict[Kind, Index]] = {VIRTUAL_SERVICE: leads_to}


def _no_words(_obj: Object) -> tuple[str, ...]:
    return ()


@dataclass(slots=True)
class _Feed:
    """How list and watch of one kind, in one namespace or in all, are doing; times are on the monotonic clock [s]."""

    mirror: Mirror
    namespace: str | None
    relist: bool = True
    absent: bool = False
    listed_s: float = float("-inf")
    heard_s: float = float("-inf")
    lost: bool = False
    failures: int = 0
    retry_after_s: float = 0.0


class ClusterCache:
    """All objects of some kinds, read from memory.

    Parameters
    ----------
    cluster, clock
        Where the objects come from, and the time.
    kinds, namespaces
        What is followed; without namespaces: all of them.
    optional
        Kinds that the server may not serve: then there are none, and it is asked again every minute.
    resync_s
        However lively the watch, everything is listed again after this [s].
    idle_s
        However good the connection looks, silence is checked with a list after this [s]. It bounds `stale_s` while all
        is well, and what a half-open connection costs. The API server sends a bookmark about each minute, so that more
        than two minutes of silence mean that something is wrong.
    call_timeout_s
        For a list [s].
    on_change
        Called with every object that is new, changed or gone (then `get` gives None, and the object is the last one
        known). Not after `put`: the caller knows. What it raises ends `run`.
    rng
        Spreads the retries of many daemons.
    """

    def __init__(
        self,
        cluster: Cluster,
        kinds: Iterable[Kind],
        *,
        clock: Clock,
        namespaces: Collection[str] = (),
        optional: Collection[Kind] = (),
        resync_s: float = 3600.0,
        idle_s: float = 150.0,
        call_timeout_s: float = 10.0,
        on_change: Callable[[Kind, Object], None] = lambda _kind, _obj: None,
        rng: random.Random | None = None,
    ) -> None:
        self.synced = asyncio.Event()
        """Set when every kind was listed once."""
        self._cluster = cluster
        self._clock = clock
        self._optional = frozenset(optional)
        self._resync_s = resync_s
        self._idle_s = idle_s
        self._call_timeout_s = call_timeout_s
        self._on_change = on_change
        self._rng = rng or random.Random()  # noqa: S311  spreads retries, keeps no secret
        spaces: tuple[str | None, ...] = tuple(sorted(namespaces)) or (None,)
        self._feeds = {
            kind: {space: _Feed(Mirror(kind, _INDICES.get(kind, _no_words)), space) for space in spaces}
            for kind in kinds
        }

    # --- reading ------------------------------------------------------------------------------------------------------

    def get(self, ref: Ref) -> Object | None:
        """Look one object up. It is the cache's own: read it, never change it (a copy at each read would cost more)."""
        feeds = self._feeds_of(ref.kind)
        feed = feeds.get(None) or feeds.get(ref.namespace)
        return feed.mirror.get(ref.namespace, ref.name) if feed else None

    def leading_to(self, name: str) -> list[Object]:
        """List the VirtualServices that lead to a host, or delegate to `namespace/name`; the cache's own."""
        return [obj for feed in self._feeds_of(VIRTUAL_SERVICE).values() for obj in feed.mirror.find(name)]

    def list(self, kind: Kind, namespace: str | None = None) -> list[Object]:
        """All objects of a kind, ordered by namespace and name; the cache's own, as those of `get`."""
        return [obj for feed in self._feeds_of(kind).values() for obj in feed.mirror.objects(namespace)]

    def put(self, obj: Object) -> bool:
        """Take the server's answer to our own call in at once; False if the cache is further already.

        `obj` belongs to the cache from then on.
        """
        return self._feed_of(obj).mirror.put(obj)

    async def reread(self, kind: Kind) -> None:
        """List a kind now, and take in what is news, as `put` does: for one who cannot wait for the watch.

        Raises
        ------
        SerinError, TimeoutError
            The server did not answer; all is as before.
        """
        for feed in self._feeds_of(kind).values():
            async with asyncio.timeout(self._call_timeout_s):
                listing = await self._cluster.list(kind, namespace=feed.namespace)
            for obj in listing.items:
                feed.mirror.put(obj)

    def stale_s(self, kind: Kind | None = None) -> float:
        """Seconds since the server was last heard about a kind (None: the worst of all); infinite before the first."""
        feeds = self._all_feeds() if kind is None else tuple(self._feeds_of(kind).values())
        return max((self._clock.monotonic_s() - feed.heard_s for feed in feeds), default=0.0)

    @property
    def lost(self) -> bool:
        """Whether the last call of any feed failed."""
        return any(feed.lost for feed in self._all_feeds())

    def _all_feeds(self) -> tuple[_Feed, ...]:
        return tuple(feed for feeds in self._feeds.values() for feed in feeds.values())

    def _feeds_of(self, kind: Kind) -> dict[str | None, _Feed]:
        if kind not in self._feeds:
            raise InvariantViolation(f"the cache does not follow {kind.plural}.{kind.group}")
        return self._feeds[kind]

    def _feed_of(self, obj: Object) -> _Feed:
        namespace = obj["metadata"]["namespace"]
        for kind, feeds in self._feeds.items():
            if (kind.api_version, kind.kind) == (obj["apiVersion"], obj["kind"]):
                feed = feeds.get(None) or feeds.get(namespace)
                if feed is not None:
                    return feed
        raise InvariantViolation(f"the cache does not follow {obj['apiVersion']} {obj['kind']} in {namespace}")

    # --- following ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow all kinds until cancelled."""
        async with asyncio.TaskGroup() as group:
            for feed in self._all_feeds():
                group.create_task(self._follow(feed), name=f"follow {feed.mirror.kind.plural}")

    async def _follow(self, feed: _Feed) -> None:
        while True:
            steady = await self._round(feed)
            feed.failures = 0 if steady else feed.failures + 1
            await asyncio.sleep(self._pause_s(feed))

    def _pause_s(self, feed: _Feed) -> float:
        """Wait a little even after a good stream: a server that closes at once must not be hammered."""
        backoff_s = min(_BACKOFF_MAX_S, _BACKOFF_MIN_S * 2.0 ** min(feed.failures, 30))
        return max(backoff_s * self._rng.uniform(0.5, 1.0), feed.retry_after_s)

    async def _round(self, feed: _Feed) -> bool:
        """List if need be, then watch as long as that goes; True if the watch was a good one."""
        opened_s = float("inf")
        feed.retry_after_s = 0.0
        try:
            if feed.relist:
                await self._list(feed)
            if feed.absent:
                return False
            opened_s = self._clock.monotonic_s()
            await self._watch(feed)
        except WatchExpired:
            feed.relist = True
        except (TransientError, ConflictError, TerminalError, TimeoutError) as error:
            self._lose(feed, error)
        return self._clock.monotonic_s() - opened_s >= _STEADY_S

    async def _list(self, feed: _Feed) -> None:
        listing = await self._ask(feed)
        feed.absent = feed.relist = listing is None
        feed.retry_after_s = _ABSENT_S if listing is None else 0.0
        changed = feed.mirror.replace(listing or Listing((), "0"))
        feed.listed_s = self._clock.monotonic_s()
        self._hear(feed)
        if all(other.mirror.position is not None for other in self._all_feeds()):
            self.synced.set()
        for obj in changed:
            self._on_change(feed.mirror.kind, obj)

    async def _ask(self, feed: _Feed) -> Listing | None:
        """List a kind; None where it is optional, and the server does not serve it."""
        try:
            async with asyncio.timeout(self._call_timeout_s):
                return await self._cluster.list(feed.mirror.kind, namespace=feed.namespace)
        except ObjectMissing:
            # Of a kind with objects that were seen this is no sensible answer: what is known stays.
            if feed.mirror.kind not in self._optional or feed.mirror.objects():
                raise
            return None

    async def _watch(self, feed: _Feed) -> None:
        """Follow one stream to its end, or until it is time to list."""
        kind, position = feed.mirror.kind, feed.mirror.position
        assert position is not None, "a watch begins where a list ended"
        stream = self._cluster.watch(kind, namespace=feed.namespace, resource_version=position)
        try:
            while (left_s := feed.listed_s + self._resync_s - self._clock.monotonic_s()) > 0.0:
                async with asyncio.timeout(min(self._idle_s, left_s)):
                    change = await anext(stream, None)
                if change is None:
                    return
                self._hear(feed)
                if feed.mirror.absorb(change):
                    self._on_change(kind, change.object)
            feed.relist = True
        except TimeoutError:
            feed.relist = True  # silence, or a dead connection: the list will tell
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    def _hear(self, feed: _Feed) -> None:
        now_s = self._clock.monotonic_s()
        if feed.lost:
            _log.info("cluster_regained", kind=feed.mirror.kind.kind, silent_s=round(now_s - feed.heard_s, 3))
        feed.lost, feed.heard_s = False, now_s

    def _lose(self, feed: _Feed, error: SerinError | TimeoutError) -> None:
        feed.relist = True
        feed.retry_after_s = (error.retry_after_s or 0.0) if isinstance(error, TransientError) else 0.0
        if not feed.lost:
            reason = error.reason if isinstance(error, SerinError) else "Timeout"
            _log.warning("cluster_lost", kind=feed.mirror.kind.kind, reason=reason, error=str(error))
        feed.lost = True
