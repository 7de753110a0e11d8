"""Several processes on one virtual time: each has an event loop of its own, which a test can stop as SIGSTOP does.

Time is moved by the test alone. A loop that is not turned while time passes finds all its timers due when it is turned again,
and its clock far ahead: just what a stopped process finds.
"""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from analyzer.adapters.memory import MemoryCluster
from analyzer.app.fence import epoch_of, fence, highest_epoch
from analyzer.app.leadership import LeaseLeadership
from analyzer.app.metrics import Metrics
from analyzer.errors import ClusterUnavailable, LeadershipLost, OutcomeUnknown, SerinError
from analyzer.ports import LEASE, VIRTUAL_SERVICE, Change, Kind, Listing, Object, PatchOperation, Ref
from tests.fakes import ManualClock

NAME = Ref(LEASE, "serin-system", "serin")
ROUTE = Ref(VIRTUAL_SERVICE, "shop", "shop")
_TURNS = 12  # of a loop per instant: enough for the longest chain of calls that need no time
_WATCH_S = 0.25


@dataclass
class Line:
    """The way from one replica to the API server."""

    cut: bool = False
    delay_s: Callable[[], float] = lambda: 0.0
    lost: Callable[[], bool] = lambda: False
    """Whether this answer gets lost after the server has acted."""
    calls: list[str] = field(default_factory=list)


class Wire:
    """The API server, at the other end of a line."""

    def __init__(self, inner: MemoryCluster, line: Line) -> None:
        self._inner = inner
        self._line = line

    async def _go(self, name: str, call: Callable[[], Coroutine[Any, Any, Object]]) -> Object:
        self._line.calls.append(name)
        await asyncio.sleep(self._line.delay_s())
        if self._line.cut:
            raise ClusterUnavailable("no route to the API server")
        answer = await call()
        await asyncio.sleep(self._line.delay_s())
        if self._line.lost() or self._line.cut:
            raise OutcomeUnknown("the connection broke before the answer came")
        return answer

    async def get(self, ref: Ref) -> Object:
        return await self._go("get", lambda: self._inner.get(ref))

    async def patch(self, ref: Ref, operations: Sequence[PatchOperation], *, dry_run: bool = False) -> Object:
        return await self._go("patch", lambda: self._inner.patch(ref, operations, dry_run=dry_run))

    async def create(self, kind: Kind, obj: Object) -> Object:
        return await self._go("create", lambda: self._inner.create(kind, obj))

    async def replace_status(self, ref: Ref, obj: Object) -> Object:
        raise AssertionError(ref, obj)

    async def list(self, kind: Kind, *, namespace: str | None = None) -> Listing:
        raise AssertionError(kind, namespace)

    async def watch(
        self, kind: Kind, *, namespace: str | None = None, resource_version: str
    ) -> AsyncGenerator[Change, None]:
        """Watch by looking often: the in-memory cluster's own streams belong to one event loop."""
        self._line.calls.append("watch")
        stream = self._inner._journal
        position = int(resource_version)
        while not self._line.cut:
            for entry in list(stream._entries)[position - stream._forgotten :]:
                position += 1
                if entry.ref.kind == kind and entry.ref.namespace == namespace:
                    yield Change(entry.type, json.loads(entry.text))
            await asyncio.sleep(_WATCH_S)
        raise ClusterUnavailable("the connection broke")


class Replica:
    """One process: it keeps the lease, and writes to the VirtualService as often as it may."""

    def __init__(self, world: "World", name: str, *, write_every_s: float = 0.4) -> None:
        self.world = world
        self.name = name
        self.line = Line()
        self.metrics = Metrics()
        self.stopped = False
        self.alive = True
        self.changes = 0
        self.refusals: list[SerinError] = []
        cluster = Wire(world.cluster, self.line)
        self.cluster = cluster
        self.leadership = LeaseLeadership(
            cluster,
            world.clock,
            self.metrics,
            ref=NAME,
            name="serin",  # the same for all: only the UUID tells them apart
            duration_s=world.duration_s,
            floor=lambda: highest_epoch([world.cluster._store.read(ROUTE)]),
        )
        self._write_every_s = write_every_s
        self.loop = asyncio.new_event_loop()
        self.loop.time = lambda: world.clock.elapsed_s  # type: ignore[method-assign]
        self._tasks = [self._start(self.leadership.run(self._note)), self._start(self._write())]

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        return self.loop.create_task(coroutine)

    def _note(self) -> None:
        self.changes += 1

    def may_write(self) -> bool:
        """Whether it would begin a write now, if it had processor time."""
        try:
            self.leadership.check(5.0)
        except SerinError:
            return False
        return True

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(self._write_every_s)
            try:
                await self._write_once()
            except LeadershipLost as error:
                self.refusals.append(error)
            except (SerinError, TimeoutError) as error:
                if isinstance(error, ClusterUnavailable):
                    self.refusals.append(error)

    async def _write_once(self) -> None:
        epoch = self.leadership.epoch
        if epoch is None:
            return
        route = await self.cluster.get(ROUTE)
        tests, marks = fence(route, epoch)
        weight = {"op": "replace", "path": "/spec/http/0/route/1/weight", "value": self.world.next_weight()}
        allowed_s = self.leadership.check(5.0)
        began_s = self.world.clock.elapsed_s
        async with asyncio.timeout(allowed_s):
            await self.cluster.patch(ROUTE, [*tests, *marks, weight])
        self.world.written.append((began_s, self.name))

    def turn(self) -> None:
        """Let the process run, without any time passing."""
        for _ in range(_TURNS):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    def kill(self) -> None:
        """End the process as kill -9 does: no goodbye to the server."""
        self.alive = False
        self.line.cut = True
        for task in self._tasks:
            task.cancel()
        self.turn()
        self.loop.close()

    def end(self) -> None:
        """End the process as SIGTERM does."""
        for task in self._tasks:
            task.cancel()
        self.turn()
        releasing = self._start(self.leadership.release())
        for _ in range(100):
            self.turn()
            if releasing.done():
                break
            self.world.clock.advance(0.1)
        releasing.result()
        self.alive = False
        self.loop.close()


class World:
    """The API server, the replicas, and the time."""

    def __init__(self, *, duration_s: float = 15.0, seed: int = 1) -> None:
        self.clock = ManualClock()
        self.cluster = MemoryCluster(self.clock)
        self.duration_s = duration_s
        self.rng = random.Random(seed)
        self.replicas: list[Replica] = []
        self.written: list[tuple[float, str]] = []
        self.epochs: list[int] = []
        self._weights = 0
        self.cluster.apply(route())

    def next_weight(self) -> int:
        """Return a weight that was not there before, so that each write is one."""
        self._weights += 1
        return 1 + self._weights

    def add(self, name: str) -> Replica:
        """Start a process."""
        replica = Replica(self, name)
        self.replicas.append(replica)
        return replica

    @property
    def alive(self) -> list[Replica]:
        """Processes that were not ended."""
        return [replica for replica in self.replicas if replica.alive]

    def writers(self) -> list[Replica]:
        """Processes that may write at this instant, stopped ones included."""
        return [replica for replica in self.alive if replica.may_write()]

    def leader(self) -> Replica:
        """Return the one that may write."""
        (leader,) = self.writers()
        return leader

    def pass_time(self, seconds: float, *, step_s: float = 0.1) -> None:
        """Let time pass for everybody, and look at each instant that no rule is broken."""
        for _ in range(round(seconds / step_s)):
            self.clock.advance(step_s)
            turned = self.alive
            self.rng.shuffle(turned)
            for replica in turned:
                if not replica.stopped:
                    replica.turn()
                    self.check()

    def until(self, condition: Callable[[], bool], *, within_s: float) -> float:
        """Let time pass until `condition` holds, and return how long that took [s]."""
        began_s = self.clock.elapsed_s
        while not condition():
            assert self.clock.elapsed_s - began_s <= within_s, f"not within {within_s} s"
            self.pass_time(0.1)
        return self.clock.elapsed_s - began_s

    def check(self) -> None:
        """Look that at most one may write, and that epochs never fall."""
        writers = [replica.name for replica in self.writers()]
        assert len(writers) <= 1, f"at {self.clock.elapsed_s:.1f} s {writers} may write"
        epoch = epoch_of(self.cluster._store.read(ROUTE))
        if epoch is not None and (not self.epochs or self.epochs[-1] != epoch):
            assert not self.epochs or epoch > self.epochs[-1], f"epoch {epoch} after {self.epochs}"
            self.epochs.append(epoch)

    def close(self) -> None:
        """End what still runs."""
        for replica in self.alive:
            replica.kill()


def route() -> Object:
    destinations = [{"destination": {"host": "shop", "subset": name}, "weight": 1} for name in ("v1", "v2")]
    return {
        "apiVersion": VIRTUAL_SERVICE.api_version,
        "kind": VIRTUAL_SERVICE.kind,
        "metadata": {"namespace": ROUTE.namespace, "name": ROUTE.name},
        "spec": {"hosts": ["shop"], "http": [{"name": "primary", "route": destinations}]},
    }


__all__ = ["NAME", "ROUTE", "Line", "Replica", "World", "route"]
