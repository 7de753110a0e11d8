"""Everything Serin writes for one policy: its status, and the weights.

Every write is bounded in time, and asks the lease immediately before.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from analyzer.app.decisions import Decisions
from analyzer.app.leadership import Leadership, Unopposed
from analyzer.app.metrics import Metrics
from analyzer.app.observe import defaults_of
from analyzer.app.outbox import Outbox
from analyzer.app.status import stamp_notices, write_status
from analyzer.app.view import ClusterView
from analyzer.core.rollout import RolloutState
from analyzer.errors import ClusterUnavailable, ConflictError, OutcomeUnknown
from analyzer.policy.defaults import HOME, inherited
from analyzer.ports import Clock, Cluster, Object, PatchOperation, Ref

log = structlog.get_logger("serin.writer")


@dataclass(frozen=True, slots=True)
class Services:
    """What a turn works with.

    Attributes
    ----------
    leadership
        Is asked before each write.
    instance
        Names this process in Events.
    call_timeout_s
        What one call to the API server may take [s].
    checkpoint_s
        How often evidence goes into `.status` when nothing else does [s]. A crash loses none of it: the telemetry since the
        checkpoint is read again.
    idle_s
        A turn is made at least this often, whether a watch wakes it or not [s].
    dry_run
        Decide and report, write nothing.
    decisions
        Where each decision is logged.
    home
        Serin's own namespace.
    """

    cluster: Cluster
    cache: ClusterView
    clock: Clock
    outbox: Outbox
    metrics: Metrics
    leadership: Leadership = field(default_factory=Unopposed)
    instance: str = "serin"
    call_timeout_s: float = 10.0
    checkpoint_s: float = 30.0
    idle_s: float = 300.0
    dry_run: bool = False
    decisions: Decisions = field(default_factory=Decisions)
    home: str = HOME


class Writer:
    """Writes, and keeps the cache up to date with what was written."""

    def __init__(self, services: Services, ref: Ref) -> None:
        self._services = services
        self._ref = ref

    async def status(self, obj: Object, state: RolloutState, *, turn: int) -> tuple[Object, RolloutState]:
        """Write `.status` on top of `obj`, and return the object and the state as they are then.

        Raises
        ------
        ConflictError
            Someone changed the policy meanwhile; the cache has their version now.
        LeadershipLost
            Another replica leads, or may by now.
        OutcomeUnknown, ClusterUnavailable, WriteRefused, ObjectMissing
            As the port says.
        """
        now_s = self._services.clock.now_s()
        state = stamp_notices(state, now_s)
        status = write_status(
            state,
            turn=turn,
            generation=obj["metadata"].get("generation", 0),
            now_s=now_s,
            previous=obj.get("status") or {},
            inherited=self.inherited(obj),
        )
        allowed_s = self._services.leadership.check(self._services.call_timeout_s)
        try:
            async with asyncio.timeout(allowed_s):
                written = await self._services.cluster.replace_status(self._ref, {**obj, "status": status})
        except TimeoutError:
            raise OutcomeUnknown(_late("the status was not written", allowed_s)) from None
        except ConflictError:
            await self.refresh(self._ref)
            raise
        self._services.cache.put(written)
        return written, state

    def inherited(self, obj: Object) -> dict[str, str]:
        """Tell what the policy has from `CanaryDefaults`, for `.status`."""
        return inherited(obj, defaults_of(self._services.cache, obj, home=self._services.home))

    async def patch(self, ref: Ref, operations: Sequence[PatchOperation]) -> Object | None:
        """Patch an object of the users', and return it as the server has it now; None where nobody knows: read it.

        Raises
        ------
        ConflictError
            It is not what the patch expects; the cache has it as it is now.
        LeadershipLost
            Another replica leads, or may by now.
        ClusterUnavailable, WriteRefused, ObjectMissing
            As the port says.
        """
        if not operations:
            return None
        allowed_s = self._services.leadership.check(self._services.call_timeout_s)
        try:
            async with asyncio.timeout(allowed_s):
                written = await self._services.cluster.patch(ref, operations)
        except (OutcomeUnknown, TimeoutError) as error:
            self._services.metrics.count_write("unknown")
            log.warning("written, no answer", object=str(ref), error=str(error) or "time-out")
            return None
        except ConflictError:
            self._services.metrics.count_write("conflict")
            await self.refresh(ref)
            raise
        self._services.metrics.count_write("made")
        self._services.cache.put(written)
        return written

    async def refresh(self, ref: Ref) -> Object:
        """Read an object from the server into the cache."""
        try:
            async with asyncio.timeout(self._services.call_timeout_s):
                obj = await self._services.cluster.get(ref)
        except TimeoutError:
            raise ClusterUnavailable(_late(f"{ref} could not be read", self._services.call_timeout_s)) from None
        self._services.cache.put(obj)
        return obj


def _late(what: str, seconds: float) -> str:
    return f"{what} within {seconds:g} s"
