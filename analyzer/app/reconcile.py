"""One turn of one policy: observe, settle, decide, record, act, confirm, report.

A turn starts from what is there, not from what the last one believed. Killed at any `await`, the next turn (of this process or
another) converges: the weight change is in `.status` before it is made, and it is read back after.
"""

from dataclasses import dataclass

import structlog

from analyzer.app.advice import refused, with_commands
from analyzer.app.capacity import CapacityBook
from analyzer.app.decisions import Seen
from analyzer.app.judging import JudgeAnswer, JudgeOrder
from analyzer.app.observe import Observed, defaults_of, observe
from analyzer.app.orders import order_of
from analyzer.app.patch import kubectl_command, weight_patch
from analyzer.app.recording import must_record
from analyzer.app.report import Reporter
from analyzer.app.reserve import floor_for, keep_reserves, tell_lost
from analyzer.app.snapshot import hear_nothing, make_snapshot, request_of, seen_in, take_in, telemetry_now
from analyzer.app.status import read_status, stamp_notices, timestamp
from analyzer.app.target import ObservedTarget, shares
from analyzer.app.writer import Services, Writer
from analyzer.core.rollout import (
    IN_FLIGHT,
    CapacityView,
    Phase,
    Problem,
    RolloutState,
    Snapshot,
    Weights,
    decide,
    settle,
    write_failed,
)
from analyzer.core.rollout.notices import close
from analyzer.core.rollout.returning import abandon
from analyzer.core.rollout.transitions import break_off
from analyzer.errors import ConflictError, LeadershipLost, SerinError, TerminalError, TransientError
from analyzer.policy.defaults import with_defaults
from analyzer.policy.model import CapacityMode, OnDelete
from analyzer.policy.routes import resolve_routes
from analyzer.ports import Object, PatchOperation, Ref

log = structlog.get_logger("serin.turn")

_MAX_BACKOFF_S = 30.0
URGENT_BACKOFF_S = 5.0
"""Between two tries at the most, while users fail and a rollback is due [s]."""
_UNDELIVERED_S = 5.0
_RETURNING_S = 3.0
"""A rollback in parts looks so often what more the stable version can take."""

_RESERVED = frozenset({Phase.PROGRESSING, Phase.BAKING, Phase.ROLLING_BACK})
"""While the stable version has given traffic away, it may have to take it back."""


@dataclass(frozen=True, slots=True)
class TurnResult:
    """What to do until the next turn.

    Attributes
    ----------
    before, after
        The state at both ends of the turn.
    order
        What to have judged; None where nothing is.
    wait_s
        Turn again after this time at the latest [s].
    interest
        Objects whose changes matter; None: any in the namespace, for the target is not made out.
    failure
        Why the state could not be recorded for now. It is kept in memory, and the judge goes on with it.
    """

    before: RolloutState
    after: RolloutState
    order: JudgeOrder | None
    wait_s: float
    interest: frozenset[Ref] | None = None
    failure: TransientError | None = None


class Reconciler:
    """Turns one policy. Its memory is a cache: a `.status` that it did not write replaces it."""

    def __init__(self, services: Services, ref: Ref) -> None:
        self.ref = ref
        self._services = services
        self._writer = Writer(services, ref)
        self._reporter = Reporter(
            services.cluster,
            services.outbox,
            leadership=services.leadership,
            instance=services.instance,
            events=not services.dry_run,
            effective=lambda obj: with_defaults(obj, defaults_of(services.cache, obj, home=services.home)),
        )
        self._recorder = services.decisions.recorder(self.key)
        self._capacity = CapacityBook()
        self._state = RolloutState()  # now
        self._recorded: RolloutState | None = None  # as in `.status`
        self._turn = -1
        self._turned_at_s: float | None = None
        self._recorded_at_s = 0.0
        self._failures = 0
        self._last_policy: Object | None = None

    async def turn(self, answer: JudgeAnswer | None = None) -> TurnResult:
        """Make one turn.

        Raises
        ------
        StatusUnreadable
            `.status` is not ours; nothing was touched.
        LeadershipLost
            Another replica leads, or may by now: nobody was told anything.
        SerinError
            A call failed; another turn finds out what that meant.
        """
        obj = self._services.cache.get(self.ref)
        before = self._state
        if obj is None:
            return TurnResult(before, before, None, self._services.idle_s)
        self._last_policy = obj
        state = before = self._remembered(obj)
        elapsed_s = self._elapsed()
        observed = self._observe(obj)
        request = request_of(obj)
        if isinstance(observed, Problem):
            state = break_off(hear_nothing(state, observed, request), observed)
            broken = Snapshot(target=observed, elapsed_s=elapsed_s, request=request)
            self._recorder.decided(Seen(before, obj.get("spec") or {}, broken, before, at=self._now()), state)
            failure = await self._finish(obj, state, None)
            return TurnResult(before, self._state, None, self._wait_s(), failure=failure)
        live = observed.target.view.shares.get(state.canary)
        if live is not None:
            state = settle(state, live, now_s=telemetry_now(answer))
        capacity = self._view_capacity(observed, state, answer)
        state = take_in(observed.plan, state, answer)
        snapshot = make_snapshot(
            observed,
            answer,
            state,
            elapsed_s=elapsed_s,
            capacity=capacity,
            request=request,
            now_s=self._services.clock.now_s(),
        )
        settled, state = state, with_commands(decide(observed.plan, state, snapshot), obj, observed)
        self._recorder.decided(seen_in(observed, before, settled, snapshot, answer, at=self._now()), state)
        if state.intent is not None:
            obj, state = await self._move(obj, observed, state, now_s=telemetry_now(answer))
        else:
            self._failures = 0
        state = await self._keep_reserve(observed, state, capacity)
        failure = await self._finish(obj, state, observed)
        order = order_of(observed.policy, observed.plan, self._state, observed.target, capacity=capacity)
        interest = observed.target.interest
        return TurnResult(before, self._state, order, self._wait_s(), interest=interest, failure=failure)

    async def checkpoint(self) -> None:
        """Write what only this process remembers, if it is the newest."""
        obj = self._services.cache.get(self.ref)
        if obj is None or self._recorded is None or self._state == self._recorded:
            return
        if (obj.get("status") or {}).get("turn", 0) == self._turn:
            await self._record(obj, self._state)

    @property
    def state(self) -> RolloutState:
        """What is remembered now."""
        return self._state

    # --- observe ---

    def _remembered(self, obj: Object) -> RolloutState:
        status = obj.get("status") or {}
        if status.get("turn", 0) != self._turn:
            self._state, self._turn = read_status(status)
            self._recorded = self._state if self._turn else None
        return self._state

    def _observe(self, obj: Object) -> Observed | Problem:
        due = self._state.phase is Phase.ROLLING_BACK
        return observe(
            self._services.cache, obj, self.ref, salvage=due, dry_run=self._services.dry_run, home=self._services.home
        )

    def _view_capacity(
        self, observed: Observed, state: RolloutState, answer: JudgeAnswer | None
    ) -> CapacityView | None:
        now_s = self._services.clock.monotonic_s()
        if answer is not None and answer.throughput and answer.order.rollout == state.rollout:
            self._capacity.take(answer.throughput, now_s=now_s)
        if state.phase not in IN_FLIGHT or not observed.plan.capacity_gate:
            return None
        fresh = answer is not None and answer.health.fresh
        return self._capacity.view(self._services.cache, observed.target, state, now_s=now_s, fresh=fresh)

    async def _keep_reserve(
        self, observed: Observed, state: RolloutState, capacity: CapacityView | None
    ) -> RolloutState:
        """Hold, or give back, what the stable version's HPA is kept at. A failure of it never delays a rollout."""
        if self._services.dry_run:
            return state
        wanted = observed.policy.spec.capacity.mode is CapacityMode.RESERVE and not observed.plan.observe_only
        workload = observed.target.workloads.get(state.stable)
        held = workload.deployment if wanted and workload is not None and state.phase in _RESERVED else None
        floor = floor_for(capacity) if held is not None else None
        linger = wanted and state.phase is not Phase.PROMOTED
        cache, now_s = self._services.cache, self._services.clock.now_s()
        try:
            lost = await keep_reserves(
                cache, self._writer, self.ref, deployment=held, floor=floor, now_s=now_s, linger=linger
            )
        except LeadershipLost:
            raise
        except SerinError as error:
            log.warning("reserve not written", policy=self.key, error=str(error))
            return state
        return tell_lost(state, lost) if held is not None else state

    def _now(self) -> str:
        return timestamp(self._services.clock.now_s())

    def _elapsed(self) -> float:
        now_s = self._services.clock.monotonic_s()
        elapsed_s = 0.0 if self._turned_at_s is None else now_s - self._turned_at_s
        self._turned_at_s = now_s
        return elapsed_s

    # --- record, act, confirm ---

    async def _move(
        self, obj: Object, observed: Observed, state: RolloutState, *, now_s: float | None
    ) -> tuple[Object, RolloutState]:
        """Record the intent, write the weights, read them back."""
        assert state.intent is not None
        operations = self._weight_patch(observed.target, state)
        try:
            obj, state = await self._record_intent(obj, state)
            written = await self._writer.patch(observed.virtual_service, operations)
            live = await self._read_back(observed, state.canary, written)
        except (TransientError, TerminalError) as error:
            self._failures += 1
            self._services.metrics.count_write("failed")
            command = kubectl_command(self.ref.namespace, observed.virtual_service.name, operations)
            log.warning("weights not written", policy=self.key, error=str(error), tries=self._failures)
            final = isinstance(error, TerminalError)
            failed = write_failed(
                state,
                message=str(error),
                advice=refused(error, observed, state.canary),
                command=command,
                tries=self._failures,
                final=final,
            )
            self._recorder.failed(failed, message=str(error), tries=self._failures, final=final, at=self._now())
            return obj, failed
        self._failures = 0
        moved = settle(state, live, now_s=now_s)
        self._recorder.moved(moved, live, at=self._now())
        return obj, moved

    def _weight_patch(self, target: ObservedTarget, state: RolloutState) -> list[PatchOperation]:
        assert state.intent is not None
        return weight_patch(
            target.virtual_service,
            target.stages,
            stable=state.stable,
            canary=state.canary,
            wanted=state.intent.after,
            epoch=self._services.leadership.epoch,
        )

    async def _record_intent(self, obj: Object, state: RolloutState) -> tuple[Object, RolloutState]:
        try:
            return await self._record(obj, state)
        except TerminalError as error:
            if state.phase is not Phase.ROLLING_BACK:
                raise
            # A rollback has the fewest preconditions: not even our own status.
            log.warning("rolling back, though the intent cannot be recorded", policy=self.key, error=str(error))
            return obj, state

    async def _read_back(self, observed: Observed, canary: str, written: Object | None = None) -> Weights:
        """Read the weights as the server has them: from its answer to the patch, if there was one."""
        routes = resolve_routes(observed.policy, written or await self._writer.refresh(observed.virtual_service))
        if isinstance(routes, list):
            raise ConflictError(f"{observed.virtual_service} was changed while its weights were written")
        return shares(routes[1], canary)

    async def _record(self, obj: Object, state: RolloutState) -> tuple[Object, RolloutState]:
        if self._services.dry_run:
            return obj, state
        obj, state = await self._writer.status(obj, state, turn=self._turn + 1)
        self._turn += 1
        self._state = self._recorded = state
        self._recorded_at_s = self._services.clock.monotonic_s()
        return obj, state

    # --- report ---

    async def _finish(self, obj: Object, state: RolloutState, observed: Observed | None) -> TransientError | None:
        """Record what is due, then tell people: what is recorded is told again after a crash.

        Returns what keeps the state from being recorded for now: no reason to stop judging.
        """
        now_s = self._services.clock.now_s()
        self._state = state = stamp_notices(with_commands(state, obj, observed), now_s)
        failure: SerinError | None = None
        if self._must_record(state) or self._inherits_otherwise(obj):
            try:
                obj, state = await self._record(obj, state)
            except LeadershipLost:
                raise  # whoever leads tells people
            except SerinError as error:
                failure = error  # people are told all the same, first of all that nothing can be written
        self._state = await self._reporter.publish(obj, state, at_s=now_s)
        if failure is not None and not isinstance(failure, TransientError):
            raise failure
        return failure

    def _inherits_otherwise(self, obj: Object) -> bool:
        """Tell whether `.status` shows other defaults than those in effect."""
        shown: Object = (obj.get("status") or {}).get("inherited") or {}
        return not self._services.dry_run and shown != self._writer.inherited(obj)

    def _must_record(self, state: RolloutState) -> bool:
        due = self._services.clock.monotonic_s() - self._recorded_at_s >= self._services.checkpoint_s
        return must_record(state, self._recorded, checkpoint_due=due)

    def _wait_s(self) -> float:
        if self._failures:
            urgent = self._state.phase is Phase.ROLLING_BACK
            return min(2.0**self._failures, URGENT_BACKOFF_S if urgent else _MAX_BACKOFF_S)
        if self._state.phase is Phase.ROLLING_BACK:
            return _RETURNING_S
        # Also while `.status` still has what was delivered: whoever comes after a crash would say it again.
        recorded = self._recorded.notices if self._recorded is not None else ()
        return _UNDELIVERED_S if self._state.notices or recorded else self._services.idle_s

    # --- the end of a policy ---

    async def abandon(self) -> bool:
        """Take the canary of a deleted policy back to zero, if it asked for that; True when nothing is left to do.

        Raises
        ------
        SerinError
            Not yet; call again.
        """
        obj = self._last_policy
        if obj is None:
            return True
        observed = self._observe(obj)
        if not isinstance(observed, Observed) or not self._to_be_restored(observed):
            self._tell(obj, close(self._state))
            return True
        state = self._state
        live = await self._read_back(observed, state.canary)
        if state.phase is not Phase.ROLLING_BACK or state.intent is None:
            message = f"{state.canary} was being judged when its policy was deleted"
            capacity = self._view_capacity(observed, state, None)
            state = abandon(observed.plan, state, live, message=message, capacity=capacity)
            self._recorder.deleted(self._state, state, live, message=message, at=self._now())
        if state.intent is not None:
            fresh = self._observe(obj)
            target = fresh.target if isinstance(fresh, Observed) else observed.target
            operations = self._weight_patch(target, state)
            written = await self._writer.patch(observed.virtual_service, operations)
            live = await self._read_back(observed, state.canary, written)
            state = settle(state, live, now_s=None)
            self._recorder.moved(state, live, at=self._now())
        self._tell(obj, state)
        return state.phase is Phase.ROLLED_BACK

    def _to_be_restored(self, observed: Observed) -> bool:
        kept = observed.policy.spec.on_delete is OnDelete.KEEP or observed.plan.observe_only
        return self._state.phase in IN_FLIGHT and not kept

    def _tell(self, obj: Object, state: RolloutState) -> None:
        """Tell people of what happened to a policy that has no status any more."""
        self._state = state = stamp_notices(state, self._services.clock.now_s())
        self._reporter.offer(obj, state)

    @property
    def key(self) -> str:
        """`namespace/name`, as logs and orders name the policy."""
        return f"{self.ref.namespace}/{self.ref.name}"
