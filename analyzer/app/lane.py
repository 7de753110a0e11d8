"""One receiver's queue: what it has not taken yet, in what order, and when to try again.

Alerts of one dedup key are handed over in the order in which they happened, so a resolve never overtakes its trigger.
Keys do not wait for each other: an alert that a receiver chokes on must not keep the next page from it.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol, runtime_checkable

import structlog

from analyzer.app.folding import Parcel
from analyzer.errors import SerinError, TerminalError, TransientError
from analyzer.ports import AlertSink, Clock, Severity

_log = structlog.get_logger("serin.outbox")


class Delivery(StrEnum):
    """How an attempt to hand over an alert ended; the label `result` of `serin_alerts_total`."""

    DELIVERED = "delivered"
    RETRIED = "retried"  # not taken now; it will be tried again
    REFUSED = "refused"  # the receiver will never take it
    EXPIRED = "expired"  # tried for too long


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """How patient the outbox is.

    Attributes
    ----------
    send_timeout_s
        Longest time for one attempt [s].
    first_retry_s, longest_retry_s
        Pauses grow from the first by doubling up to the longest [s]; each is shortened by up to a half, at random, so
        that receivers are not hit in step.
    longest_retry_after_s
        A receiver's own wish (Retry-After) is honoured up to this [s].
    late_after_s
        A page that none of its receivers took within this goes to the default receivers as well [s].
    give_up_after_s
        An alert older than this is told to nobody any more [s].
    fold_window_s
        An alert that says the same as one delivered less than this ago is not sent again [s].
    capacity
        Alerts held at once. The last half of the room is kept for pages.
    """

    send_timeout_s: float = 10.0
    first_retry_s: float = 1.0
    longest_retry_s: float = 60.0
    longest_retry_after_s: float = 600.0
    late_after_s: float = 120.0
    give_up_after_s: float = 86_400.0
    fold_window_s: float = 3_600.0
    capacity: int = 1_000


@dataclass(slots=True)
class _Queue:
    """The parcels of one dedup key, oldest first; only the first may be tried."""

    parcels: deque[Parcel] = field(default_factory=deque)
    due_s: float = 0.0
    tries: int = 0

    def urgency(self) -> tuple[bool, float]:
        """Order queues that are due: pages first, then who has waited longest."""
        return self.parcels[0].alert.severity is not Severity.PAGE, self.due_s


@runtime_checkable
class Repeating(Protocol):
    """A sink whose receiver forgets what nobody repeats."""

    @property
    def repeat_s(self) -> float | None:
        """Time from one repetition to the next [s]; None: this one remembers."""

    async def repeat(self) -> None:
        """Send once more what stands."""

    def forget(self) -> None:
        """Repeat nothing any more."""


_LOOK_S: Final = 60.0
"""So often it is looked whether another sink has come that repeats [s]."""


class Lane:
    """Delivers to one receiver, on a task of its own."""

    def __init__(
        self,
        name: str,
        sink: AlertSink,
        *,
        settings: OutboxSettings,
        clock: Clock,
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]],
        done: Callable[[Parcel, str, Delivery], None],
    ) -> None:
        self.name = name
        self._sink = sink
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._sleep = sleep
        self._done = done
        self._queues: dict[str, _Queue] = {}
        self._paused_until_s = 0.0
        self._wake = asyncio.Event()

    def put(self, parcel: Parcel) -> None:
        """Queue a parcel behind those of the same dedup key."""
        key = parcel.alert.dedup_key
        self._queues.setdefault(key, _Queue(due_s=self._clock.monotonic_s())).parcels.append(parcel)
        self._wake.set()

    def use(self, sink: AlertSink) -> None:
        """Deliver by another sink from the next attempt on; what is busy or broken is not the same any more."""
        if sink is not self._sink:
            self._sink = sink
            self._paused_until_s = 0.0
            self.hurry()

    def waiting(self) -> list[Parcel]:
        """List what is not delivered yet."""
        return [parcel for queue in self._queues.values() for parcel in queue.parcels]

    def forget(self) -> None:
        """Repeat nothing any more."""
        if isinstance(self._sink, Repeating):
            self._sink.forget()

    def hurry(self) -> None:
        """Try everything once more now, as there may be no later."""
        for queue in self._queues.values():
            queue.due_s = self._clock.monotonic_s()
        self._wake.set()

    async def run(self) -> None:
        """Deliver, and repeat, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._deliver(), name=f"deliver to {self.name}")
            tasks.create_task(self._repeat(), name=f"repeat to {self.name}")

    async def _repeat(self) -> None:
        """Repeat what stands, to a receiver that would forget it."""
        while True:
            every_s = self._sink.repeat_s if isinstance(self._sink, Repeating) else None
            await asyncio.sleep(every_s or _LOOK_S)
            if every_s is None or not isinstance(self._sink, Repeating):
                continue
            try:
                async with asyncio.timeout(self._settings.send_timeout_s):
                    await self._sink.repeat()
            except Exception as error:  # noqa: BLE001  a bug in one sink must not silence the other receivers
                why = str(error) or type(error).__name__
                _log.warning("standing alerts not repeated, will try again", receiver=self.name, error=why)

    async def _deliver(self) -> None:
        while True:
            self._wake.clear()
            now_s = self._clock.monotonic_s()
            due = [queue for queue in self._queues.values() if max(queue.due_s, self._paused_until_s) <= now_s]
            if due:
                await self._attempt(min(due, key=_Queue.urgency))
            elif self._queues:
                next_s = max(min(queue.due_s for queue in self._queues.values()), self._paused_until_s)
                # Not finer than a millisecond: a clock that is read a hair early must not make this spin.
                await self._rest(max(next_s - now_s, 0.001))
            else:
                await self._wake.wait()

    async def _rest(self, seconds: float) -> None:
        """Sleep, or until something new comes."""
        async with asyncio.TaskGroup() as tasks:
            race = [tasks.create_task(_await(self._sleep(seconds))), tasks.create_task(_await(self._wake.wait()))]
            await asyncio.wait(race, return_when=asyncio.FIRST_COMPLETED)
            for task in race:
                task.cancel()

    async def _attempt(self, queue: _Queue) -> None:
        parcel = queue.parcels[0]
        try:
            async with asyncio.timeout(self._settings.send_timeout_s):
                await self._sink.send(parcel.alert_for(self.name))
        except TerminalError as error:
            self._close(queue, Delivery.REFUSED, error)
        except TimeoutError:
            self._put_off(queue, TransientError(f"no answer within {self._settings.send_timeout_s:g} s"))
        except Exception as error:  # noqa: BLE001  a bug in one sink must not silence the other receivers
            self._put_off(queue, error)
        else:
            self._close(queue, Delivery.DELIVERED, None)

    def _put_off(self, queue: _Queue, error: Exception) -> None:
        now_s = self._clock.monotonic_s()
        parcel = queue.parcels[0]
        if now_s - parcel.offered_at_s >= self._settings.give_up_after_s:
            self._close(queue, Delivery.EXPIRED, error)
            return
        wait_s = self._backoff_s(queue.tries)
        if isinstance(error, TransientError) and error.retry_after_s is not None:
            wait_s = min(max(error.retry_after_s, 0.0), self._settings.longest_retry_after_s)
            # It is the receiver that is busy, not this alert that is wrong.
            self._paused_until_s = now_s + wait_s
        queue.tries += 1
        queue.due_s = now_s + wait_s
        # The 1st, 2nd, 4th … failure: a receiver that is down for a day must not fill the log. The metric counts all.
        if queue.tries.bit_count() == 1:
            _log.warning(
                "alert not delivered, will try again",
                **self._fields(parcel, error),
                tries=queue.tries,
                again_in_s=round(wait_s, 1),
                exc_info=None if isinstance(error, SerinError) else error,
            )
        self._done(parcel, self.name, Delivery.RETRIED)

    def _backoff_s(self, tries: int) -> float:
        longest_s = min(self._settings.longest_retry_s, self._settings.first_retry_s * 2.0 ** min(tries, 30))
        return longest_s * self._rng.uniform(0.5, 1.0)

    def _close(self, queue: _Queue, result: Delivery, error: Exception | None) -> None:
        parcel = queue.parcels.popleft()
        queue.tries = 0
        queue.due_s = self._clock.monotonic_s()
        if not queue.parcels:
            del self._queues[parcel.alert.dedup_key]
        if error is not None:
            _log.error("alert given up", **self._fields(parcel, error), result=result.value)
        self._done(parcel, self.name, result)

    def _fields(self, parcel: Parcel, error: Exception) -> dict[str, object]:
        alert = parcel.alert
        return {
            "receiver": self.name,
            "policy": alert.policy,
            "reason": alert.reason,
            "title": alert.title,
            "resolved": alert.resolved,
            "error": str(error) or type(error).__name__,
        }


async def _await(awaitable: Awaitable[object]) -> None:
    """Make a task of anything that can be awaited."""
    await awaitable
