"""Who may write: of several replicas one, by a Lease that it renews; the others stand by with warm caches.

Three things keep two from writing:

- A leader writes only while `check` says so: no longer than two thirds of the lease after it *sent* its last successful
  renewal, by the monotonic clock. A process that was stopped finds its time gone when it wakes.
- Others take the lease only when it has not changed for all of its duration.
- What it writes carries its epoch (`fence.py`), and tests what it read: a write of an older leader that was on its way too
  long fails.

A leader that cannot reach the API server does not know whether it was replaced. It goes on deciding in memory, so that people
are told what cannot be done, and its evidence is there if nobody came; it writes nothing until a renewal succeeds.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from analyzer.app.lease import (
    Sighting,
    Timing,
    free_at_s,
    held_spec,
    new_lease,
    next_epoch,
    released_spec,
    see,
    swap,
)
from analyzer.app.metrics import Metrics
from analyzer.errors import (
    ClusterUnavailable,
    ConflictError,
    LeadershipLost,
    ObjectMissing,
    SerinError,
)
from analyzer.ports import LEASE, ChangeType, Clock, Cluster, Object, Ref

log = structlog.get_logger("serin.lease")


class Leadership(Protocol):
    """What the daemon and its writers need to know of it."""

    @property
    def leads(self) -> bool:
        """Whether this process is the leader, as far as it knows."""
        ...

    @property
    def term(self) -> int:
        """Number of the present or last term of this process: another one means that it lost the lease in between."""
        ...

    @property
    def epoch(self) -> int | None:
        """What writes are annotated with; None: with nothing."""
        ...

    def check(self, wanted_s: float) -> float:
        """Ask immediately before a write that may take `wanted_s`; returns what it may take at most [s].

        Raises
        ------
        LeadershipLost
            Another process leads, or may by now.
        ClusterUnavailable
            The lease cannot be renewed, because the API server does not answer.
        """
        ...

    async def run(self, on_change: Callable[[], None]) -> None:
        """Become and stay leader, until cancelled; `on_change` is called when it leads, leads no more, or may write again."""
        ...

    async def release(self) -> None:
        """Give the lease back. Only when `run` has ended, and nothing is written any more."""
        ...


class Unopposed:
    """Leads alone: for the sandbox, and wherever only one process can be."""

    leads = True
    term = 1
    epoch = None

    def check(self, wanted_s: float) -> float:
        """Allow it."""
        return wanted_s

    async def run(self, on_change: Callable[[], None]) -> None:
        """Do nothing."""
        del on_change

    async def release(self) -> None:
        """Do nothing: there is nothing to give back."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A lease that is ours.

    Attributes
    ----------
    epoch
        Its `leaseTransitions`.
    resource_version
        Of our last successful write; empty where a write's outcome is not known and it must be read.
    renewed_s
        Just before that write was sent, by the monotonic clock [s].
    acquired_us
        When the term began, for people [microseconds since 1970].
    """

    epoch: int
    resource_version: str
    renewed_s: float
    acquired_us: int


class LeaseLeadership:
    """Leads while it holds a Lease.

    Parameters
    ----------
    cluster, clock, metrics
        Where the Lease is, the time, and where `serin_leader` is shown.
    ref
        The Lease.
    name
        For people: the pod's name. The identity is made unique by a UUID, so two processes of one name are still two.
    duration_s
        A dead leader is replaced after this; whole seconds, at least 3 [s].
    floor
        The highest epoch that is known to have been written anywhere; 0 for none. So a deleted Lease does not start again
        at 1.

    Raises
    ------
    ValueError
        `duration_s` is too short, or not whole.
    """

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        metrics: Metrics,
        *,
        ref: Ref,
        name: str,
        duration_s: float = 15.0,
        floor: Callable[[], int] = lambda: 0,
    ) -> None:
        if duration_s < 3 or duration_s != round(duration_s):
            raise ValueError(
                f"a lease of {duration_s:g} s: take whole seconds, 3 or more (leaseDurationSeconds is whole)"
            )
        assert ref.kind == LEASE, ref
        self.identity = f"{name}_{uuid.uuid4()}"
        self.term = 0
        self._cluster = cluster
        self._clock = clock
        self._metrics = metrics
        self._ref = ref
        self._timing = Timing(duration_s)
        self._floor = floor
        self._on_change: Callable[[], None] = lambda: None
        self._held: _Held | None = None
        self._sighting: Sighting | None = None
        self._written_us = 0
        self._failed_s: float | None = None  # end of the last try that failed, while they fail
        self._failure = ""
        metrics.set_leader(False)

    # --- asking -------------------------------------------------------------------------------------------------------

    @property
    def leads(self) -> bool:
        """See `Leadership.leads`."""
        return self._held is not None

    @property
    def epoch(self) -> int | None:
        """See `Leadership.epoch`."""
        return None if self._held is None else self._held.epoch

    @property
    def holder(self) -> str:
        """Identity of the leader as far as this process knows; empty where there is none."""
        if self._held is not None:
            return self.identity
        return self._sighting.record.holder if self._sighting else ""

    def check(self, wanted_s: float) -> float:
        """See `Leadership.check`."""
        if self._held is None:
            raise LeadershipLost(f"this replica stands by; the leader is {self.holder or 'not known'}")
        needed_s = min(wanted_s, self._timing.write_s)
        if self._left_s() >= needed_s:
            return needed_s
        silent_s = self._clock.monotonic_s() - self._held.renewed_s
        # Only a failure of just now shows that it is the API server's silence, and not that this process was stopped.
        if self._failed_s is not None and self._clock.monotonic_s() - self._failed_s <= 2 * self._timing.renew_s:
            raise ClusterUnavailable(
                f"nothing is written, as {self._ref} could not be renewed for {silent_s:.0f} s and another replica may lead "
                f"by now: {self._failure}"
            )
        raise LeadershipLost(f"{self._ref} was last renewed {silent_s:.1f} s ago; another replica may lead by now")

    def _left_s(self) -> float:
        assert self._held is not None
        return self._held.renewed_s + self._timing.deadline_s - self._clock.monotonic_s()

    # --- holding ------------------------------------------------------------------------------------------------------

    async def run(self, on_change: Callable[[], None]) -> None:
        """See `Leadership.run`."""
        self._on_change = on_change
        while True:
            if self._held is None:
                await self._contend()
            else:
                await self._keep(self._held)

    async def _keep(self, held: _Held) -> None:
        """Wait for the next renewal, and make it."""
        due_s = held.renewed_s + self._timing.renew_s
        if self._failed_s is not None:
            due_s = self._failed_s + self._timing.retry_s
        await asyncio.sleep(max(0.0, due_s - self._clock.monotonic_s()))
        try:
            async with asyncio.timeout(self._timing.renew_s):
                await self._renew(held)
        except LeadershipLost as error:
            self._lose(str(error))
        except ConflictError:
            self._held = replace(self._held or held, resource_version="")  # someone wrote: read who, at once
        except (SerinError, TimeoutError) as error:
            self._fail(str(error) or f"no answer within {self._timing.renew_s:g} s")

    async def _renew(self, held: _Held) -> None:
        if not held.resource_version:
            held = await self._confirmed(held)
        floor = self._floor()
        if floor > held.epoch:  # someone copied an annotation: if we do lead, we are newer than that
            held = replace(held, epoch=floor + 1)
        sent_s = self._clock.monotonic_s()
        spec = self._spec(held)
        self._held = replace(self._held or held, resource_version="")  # until the answer is there
        written = await self._cluster.patch(self._ref, swap(held.resource_version, spec))
        late = self._left_s() <= 0
        self._held = replace(held, resource_version=written["metadata"]["resourceVersion"], renewed_s=sent_s)
        if self._failed_s is not None or late:
            log.info("lease renewed again", epoch=held.epoch)
        self._failed_s = None
        if late:
            self._on_change()

    async def _confirmed(self, held: _Held) -> _Held:
        """Read the lease after a write of unknown outcome. Being ours still, it is renewed by the next write, not by this."""
        lease = await self._read()
        if lease is None:
            raise LeadershipLost(f"{self._ref} is gone")
        self._sighting = see(self._sighting, lease, now_s=self._clock.monotonic_s())
        record = self._sighting.record
        if record.holder != self.identity:
            raise LeadershipLost(f"{record.holder or 'nobody'} holds {self._ref}")
        return replace(held, epoch=record.epoch, resource_version=lease["metadata"]["resourceVersion"])

    def _spec(self, held: _Held) -> Object:
        return held_spec(
            identity=self.identity,
            timing=self._timing,
            epoch=held.epoch,
            acquired_us=held.acquired_us,
            renewed_us=self._now_us(),
        )

    def _now_us(self) -> int:
        """Tell the wall clock's time, but never the same twice: by a change of it others see that we live."""
        self._written_us = max(round(self._clock.now_s() * 1e6), self._written_us + 1)
        return self._written_us

    def _fail(self, why: str) -> None:
        if self._failed_s is None:
            log.warning("lease not renewed", error=why, may_write_for_s=round(max(0.0, self._left_s()), 1))
        self._failed_s, self._failure = self._clock.monotonic_s(), why

    def _lose(self, why: str) -> None:
        log.warning("leadership lost", why=why, epoch=self.epoch)
        self._held = self._failed_s = None
        self._metrics.set_leader(False)
        self._on_change()

    async def release(self) -> None:
        """See `Leadership.release`."""
        held = self._held
        if held is None:
            return
        self._held = None
        self._metrics.set_leader(False)
        try:
            async with asyncio.timeout(self._timing.renew_s):
                if not held.resource_version:
                    held = await self._confirmed(held)
                spec = released_spec(epoch=held.epoch, released_us=self._now_us())
                await self._cluster.patch(self._ref, swap(held.resource_version, spec))
        except (SerinError, TimeoutError) as error:
            log.warning("lease not released; the next leader waits until it is old", error=str(error) or "time-out")
        else:
            log.info("lease released", epoch=held.epoch)

    # --- standing by --------------------------------------------------------------------------------------------------

    async def _contend(self) -> None:
        """Look at the lease; take it if it is free, or else watch it until it changes."""
        try:
            async with asyncio.timeout(self._timing.renew_s):
                sighting = await self._look()
                if sighting is None:
                    await self._make()
                    return
                if self._free_in_s(sighting) <= 0:
                    await self._claim(sighting)
                    return
            await self._watch(sighting)
        except ConflictError:  # someone else was first, or the watch is too old: look again
            await asyncio.sleep(self._timing.retry_s)
        except (SerinError, TimeoutError) as error:
            if self._failed_s is None:
                log.warning("lease cannot be read or taken", error=str(error) or "time-out")
            self._failed_s = self._clock.monotonic_s()
            await asyncio.sleep(self._timing.retry_s)

    async def _look(self) -> Sighting | None:
        lease = await self._read()
        self._sighting = None if lease is None else see(self._sighting, lease, now_s=self._clock.monotonic_s())
        return self._sighting

    async def _read(self) -> Object | None:
        try:
            return await self._cluster.get(self._ref)
        except ObjectMissing:
            return None

    def _free_in_s(self, sighting: Sighting) -> float:
        at_s = free_at_s(sighting, identity=self.identity, duration_s=self._timing.duration_s)
        return at_s - self._clock.monotonic_s()

    async def _make(self) -> None:
        """Make the Lease. It is nobody's until it has lain there for its duration: one may just have been deleted."""
        lease = new_lease(self._ref, timing=self._timing, epoch=self._floor(), made_us=self._now_us())
        await self._cluster.create(LEASE, lease)
        log.info("there was no lease; made one", lease=str(self._ref), free_in_s=self._timing.duration_s)

    async def _claim(self, sighting: Sighting) -> None:
        held = _Held(
            epoch=next_epoch(sighting, self._floor()),
            resource_version="",
            renewed_s=self._clock.monotonic_s(),
            acquired_us=self._now_us(),
        )
        spec = self._spec(held)
        written = await self._cluster.patch(self._ref, swap(sighting.resource_version, spec))
        self._held = replace(held, resource_version=written["metadata"]["resourceVersion"])
        self._failed_s = None
        self.term += 1
        self._metrics.set_leader(True)
        log.info("leads", identity=self.identity, epoch=held.epoch)
        self._on_change()

    async def _watch(self, sighting: Sighting) -> None:
        """Wait until the lease is free or there is doubt. A live leader is heard every few seconds; after silence, look."""
        stream = self._cluster.watch(LEASE, namespace=self._ref.namespace, resource_version=sighting.resource_version)
        try:
            while (left_s := self._free_in_s(sighting)) > 0:
                async with asyncio.timeout(min(left_s, 3 * self._timing.renew_s)):
                    change = await anext(stream, None)
                self._failed_s = None
                if change is None:
                    await asyncio.sleep(self._timing.retry_s)  # a server that closes at once must not be hammered
                    return
                if change.type is not ChangeType.BOOKMARK and change.object["metadata"]["name"] == self._ref.name:
                    if change.type is ChangeType.DELETED:
                        return
                    self._sighting = sighting = see(sighting, change.object, now_s=self._clock.monotonic_s())
        except TimeoutError:
            return
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()
