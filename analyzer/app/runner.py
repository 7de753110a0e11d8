"""The task of one policy: turn, wait, turn again. Whatever goes wrong in it stays in it."""

import asyncio
from dataclasses import dataclass

import structlog

from analyzer.app.judging import JudgeAnswer, Judging
from analyzer.app.logs import log_turn
from analyzer.app.metrics import Metrics, PolicyReading
from analyzer.app.reconcile import URGENT_BACKOFF_S, Reconciler, TurnResult
from analyzer.app.status import show_step
from analyzer.core.rollout import Phase, RolloutState
from analyzer.core.rollout.weights import active_stage
from analyzer.errors import ConflictError, LeadershipLost, SerinError, TerminalError, TransientError
from analyzer.ports import Clock, Ref

log = structlog.get_logger("serin")

_FIRST_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 30.0
_TERMINAL_BACKOFF_S = 60.0
_UNSURE_S = 1.0


@dataclass(frozen=True, slots=True)
class _Failure:
    """A turn that ended with an error: how long to wait, and how loudly to say so."""

    wait_s: float
    reason: str


class Runner:
    """Runs one policy until it is deleted or the daemon stops."""

    def __init__(self, reconciler: Reconciler, *, judging: Judging, metrics: Metrics, clock: Clock) -> None:
        self._reconciler = reconciler
        self._judging = judging
        self._metrics = metrics
        self._clock = clock
        self._wake = asyncio.Event()
        self._answer: JudgeAnswer | None = None
        self._deleted = False
        self._stopping = False
        self._failures = 0
        self._failed_in: Phase | None = None
        self._interest: frozenset[Ref] | None = None
        self._turned_at_s = clock.monotonic_s()

    @property
    def silent_s(self) -> float:
        """Time since the last turn ended [s]."""
        return self._clock.monotonic_s() - self._turned_at_s

    @property
    def state(self) -> RolloutState:
        """What is remembered now."""
        return self._reconciler.state

    def concerns(self, ref: Ref) -> bool:
        """Tell whether a change of `ref` may change what this policy does: anything near, until the target is known."""
        if self._interest is None:
            return ref.namespace == self._reconciler.ref.namespace
        return ref in self._interest

    def wake(self) -> None:
        """Turn now: something changed."""
        self._wake.set()

    def delete(self) -> None:
        """Leave the traffic as the deleted policy asked to, and end."""
        self._deleted = True
        self._wake.set()

    def stop(self) -> None:
        """Finish the turn, keep the evidence, and end."""
        self._stopping = True
        self._wake.set()

    def forget(self) -> None:
        """Leave no trace of a policy that another replica runs now."""
        self._judging.withdraw(self._reconciler.key)
        self._metrics.forget_policy(self._reconciler.ref.namespace, self._reconciler.ref.name)

    async def run(self) -> None:
        """Turn until deleted or stopped."""
        while not self._stopping and not self._deleted:
            await self._rest(await self._turn())
        self._judging.withdraw(self._reconciler.key)
        if self._deleted:
            await self._abandon()
            self.forget()
        else:
            await self._checkpoint()

    async def _rest(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _turn(self) -> float:
        """Make one turn, and return how long to wait for the next at the most [s]."""
        self._wake.clear()
        answer, self._answer = self._answer, None
        began_s = self._clock.monotonic_s()
        result = await self._guarded(answer)
        self._turned_at_s = self._clock.monotonic_s()
        duration_s = self._turned_at_s - began_s
        self._metrics.observe_turn(duration_s)
        if isinstance(result, _Failure):
            self._keep(answer)
            return result.wait_s
        self._interest = result.interest
        if result.order is not None:  # what cannot be recorded is judged all the same
            self._judging.submit(result.order, self._deliver)
        self._report(result, answer, duration_s)
        if result.failure is not None:
            return self._unavailable(result.failure).wait_s
        self._failures = 0
        return result.wait_s

    def _keep(self, answer: JudgeAnswer | None) -> None:
        """Take an answer in next time that this turn did not come to, unless there is a newer one by now."""
        if self._answer is None:
            self._answer = answer

    def _deliver(self, answer: JudgeAnswer) -> None:
        self._answer = answer
        self._wake.set()

    async def _guarded(self, answer: JudgeAnswer | None) -> TurnResult | _Failure:
        key = self._reconciler.key
        try:
            return await self._reconciler.turn(answer)
        except ConflictError as error:
            log.info("someone else wrote, deciding again", policy=key, error=str(error))
            return self._failed(error.reason, first_s=0.0)
        except LeadershipLost as error:
            # The daemon ends this task if that is so; until it knows, nothing is written and nobody is told.
            log.info("turn dropped", policy=key, reason=error.reason, error=str(error))
            return self._failed(error.reason, first_s=_UNSURE_S)
        except TransientError as error:
            return self._unavailable(error)
        except TerminalError as error:
            log.warning("turn not possible", policy=key, error=str(error), reason=error.reason)
            return self._failed(error.reason, first_s=_TERMINAL_BACKOFF_S)
        except Exception as error:
            # Our bug. The weights stay as they are, the other policies go on, and everybody can see it.
            reason = error.reason if isinstance(error, SerinError) else "InvariantViolation"
            log.exception("turn failed: a bug of Serin; the weights stay", policy=key)
            return self._failed(reason, first_s=1.0)

    def _unavailable(self, error: TransientError) -> _Failure:
        log.warning("turn not finished", policy=self._reconciler.key, error=str(error), reason=error.reason)
        return self._failed(error.reason, first_s=error.retry_after_s or _FIRST_BACKOFF_S)

    def _failed(self, reason: str, *, first_s: float) -> _Failure:
        self._metrics.count_turn_failure(reason)
        phase = self._reconciler.state.phase
        if phase is not self._failed_in:  # what was tried in vain before says nothing of how urgent this is
            self._failures, self._failed_in = 0, phase
        wait_s = first_s + _FIRST_BACKOFF_S * (2.0 ** min(self._failures, 10) - 1.0)
        self._failures += 1
        limit_s = URGENT_BACKOFF_S if phase is Phase.ROLLING_BACK else _MAX_BACKOFF_S
        return _Failure(min(wait_s, max(first_s, limit_s)), reason)

    def _report(self, result: TurnResult, answer: JudgeAnswer | None, duration_s: float) -> None:
        before, after = result.before, result.after
        evidence = after.evidence
        weight = after.weights[active_stage(after.weights)] if after.weights else None
        self._metrics.observe_policy(
            self._reconciler.ref.namespace,
            self._reconciler.ref.name,
            PolicyReading(
                phase=after.phase,
                verdict=after.verdict,
                weight=weight,
                held=after.hold.reason if after.hold else None,
                log_e=evidence.log_e if evidence else None,
                log_threshold=evidence.log_threshold if evidence else None,
                log_proof=min(evidence.proof.values(), default=None) if evidence else None,
                log_proof_threshold=evidence.log_proof_threshold if evidence else None,
                stable_error_rate=evidence.stable.error_rate if evidence else None,
                canary_error_rate=evidence.canary.error_rate if evidence else None,
                judged_at_s=after.judged_until_s,
            ),
        )
        decision = _decision(before, after)
        if decision != "none":
            self._metrics.count_decision(decision, after.reason)
        learnt = answer is not None and (answer.new_intervals or answer.anomalies)
        if decision == "none" and not learnt and before.hold == after.hold:
            return  # nothing happened and nothing was learnt: no line
        log_turn(
            log,
            policy=self._reconciler.key,
            phase=after.phase.value,
            verdict=after.verdict.value,
            weight=weight,
            step=show_step(after),
            held=after.hold.reason.value if after.hold else None,
            decision=decision,
            reason=after.reason,
            message=after.message,
            log_e=evidence.log_e if evidence else None,
            log_threshold=evidence.log_threshold if evidence else None,
            stable_rate=evidence.stable.error_rate if evidence else None,
            canary_rate=evidence.canary.error_rate if evidence else None,
            intervals=answer.new_intervals if answer else None,
            anomalies={a.value: n for a, n in answer.anomalies.items()} or None if answer else None,
            duration_ms=1000 * duration_s,
        )

    async def _abandon(self) -> None:
        """Leave a deleted policy's traffic as it asked to; retried until that is done."""
        while not self._stopping:
            why = "the weights changed meanwhile"
            try:
                if await self._reconciler.abandon():
                    return
            except SerinError as failure:
                why = str(failure)
            except Exception as failure:
                why = str(failure)
                log.exception(
                    "a deleted policy's canary could not be taken back: a bug of Serin", policy=self._reconciler.key
                )
            wait_s = self._failed("PolicyDeleted", first_s=0.0).wait_s
            log.warning(
                "a deleted policy's canary still has traffic",
                policy=self._reconciler.key,
                error=why,
            )
            self._wake.clear()
            await self._rest(wait_s)

    async def _checkpoint(self) -> None:
        try:
            await self._reconciler.checkpoint()
        except SerinError as error:
            # Nothing is lost: the next leader reads the telemetry since the last checkpoint again.
            log.warning("no last checkpoint", policy=self._reconciler.key, error=str(error))


def _decision(before: RolloutState, after: RolloutState) -> str:
    """Name what a turn did, for the log and the metrics."""
    if before.phase is not after.phase:
        return after.phase.value
    if before.weights != after.weights and before.weights:
        return "Stepped"
    if (before.hold and before.hold.reason) != (after.hold and after.hold.reason):
        return "Held" if after.hold else "Released"
    return "none"
