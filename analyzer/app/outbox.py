"""The outbox: takes alerts at once, tells each receiver once, and lets no receiver delay another or the rollout.

It lives in memory. The list that survives a restart is in `.status`; the loop offers it again on every turn and drops
what `is_settled`. An alert can therefore be sent twice after a crash, never not at all; receivers fold it by its id.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import structlog

from analyzer.app.folding import Folding, Parcel, remember
from analyzer.app.lane import Delivery, Lane, OutboxSettings
from analyzer.app.metrics import Metrics
from analyzer.core.rollout import wording
from analyzer.ports import Alert, AlertSink, Clock, Severity

__all__ = ["Delivery", "Outbox", "OutboxSettings"]

_log = structlog.get_logger("serin.outbox")


class Outbox:
    """Delivers alerts to named receivers.

    Parameters
    ----------
    sinks
        The receivers that the operator configured, by name.
    default
        Names of those that get an alert which names none, or one that is not configured, or that nobody else took, or a page
        that nobody took in time.
    rng
        Spreads the retries.
    sleep
        `asyncio.sleep`, or a test's own.

    Raises
    ------
    ValueError
        `default` is empty or names a receiver that is not configured: some alert would go nowhere.
    """

    def __init__(
        self,
        sinks: Mapping[str, AlertSink],
        *,
        default: Sequence[str],
        clock: Clock,
        metrics: Metrics,
        rng: random.Random,
        settings: OutboxSettings | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings or OutboxSettings()
        self._clock = clock
        self._metrics = metrics
        self._rng = rng
        self._sleep = sleep
        self._lanes: dict[str, Lane] = {}
        self._running: asyncio.TaskGroup | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._folding = Folding(self._settings.fold_window_s)
        self._parcels: dict[Parcel, None] = {}  # a set that keeps its order
        self._warned: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._diverted: OrderedDict[str, None] = OrderedDict()  # dedup keys of which the default was told a late page
        self._paged = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._stop = asyncio.Event()
        self.use(sinks, default=default)

    def use(self, sinks: Mapping[str, AlertSink], *, default: Sequence[str]) -> None:
        """Deliver to these receivers from now on. What is under way to one that goes is sent to the default receivers.

        Raises
        ------
        ValueError
            As the constructor.
        """
        if not default or any(name not in sinks for name in default):
            raise ValueError(
                f"default receivers are {', '.join(default) or 'none'}: name at least one, and only configured ones "
                f"({', '.join(sinks) or 'there are none'})"
            )
        self._default = tuple(default)
        gone = [self._lanes.pop(name) for name in list(self._lanes) if name not in sinks]
        for name, sink in sinks.items():
            if name in self._lanes:
                self._lanes[name].use(sink)
            else:
                self._open(name, sink)
        for lane in gone:
            if (task := self._tasks.pop(lane.name, None)) is not None:
                task.cancel()
            for parcel in lane.waiting():
                self._redirect(parcel, lane.name)

    def _open(self, name: str, sink: AlertSink) -> None:
        self._metrics.declare_receiver(name, [result.value for result in Delivery])
        self._lanes[name] = Lane(
            name,
            sink,
            settings=self._settings,
            clock=self._clock,
            rng=self._rng,
            sleep=self._sleep,
            done=self._on_attempt,
        )
        self._start(name)

    def _start(self, name: str) -> None:
        if self._running is not None:
            self._tasks[name] = self._running.create_task(self._lanes[name].run(), name=f"alerts to {name}")

    def _redirect(self, parcel: Parcel, gone: str) -> None:
        """Send an alert to the default receivers, for one that it was under way to is not configured any more."""
        parcel.outstanding.discard(gone)
        names = [name for name in self._default if name not in parcel.ended | parcel.outstanding]
        if names:
            self._dispatch(parcel, names)
        elif not parcel.outstanding:
            self._settle(parcel)

    def stand_down(self) -> None:
        """Repeat nothing any more: another replica tells people from now on."""
        for lane in self._lanes.values():
            lane.forget()

    @property
    def pending(self) -> int:
        """How many alerts are not settled."""
        return len(self._parcels)

    def is_settled(self, alert: Alert) -> bool:
        """Whether nothing more will be done for this alert: each receiver took it, refused it, or was given up on.

        False for an alert that was never offered to this process.
        """
        return self._folding.is_settled(alert)

    def offer(self, alert: Alert) -> bool:
        """Take an alert for delivery, or fold it into one that says the same; never blocks.

        Offer alerts of one dedup key in the order in which they happened. False means that the outbox is full: keep the
        alert and offer it again later.
        """
        if self._folding.fold(alert, now_s=self._clock.monotonic_s()):
            return True
        # Half of the room is for pages: a flood of notices must not keep a page out.
        room = self._settings.capacity if alert.severity is Severity.PAGE else self._settings.capacity // 2
        if len(self._parcels) >= room:
            _log.error("outbox is full, alert not taken", policy=alert.policy, reason=alert.reason, title=alert.title)
            return False
        parcel = Parcel(alert, offered_at_s=self._clock.monotonic_s(), outstanding=set())
        self._folding.begin(parcel)
        self._parcels[parcel] = None
        self._empty.clear()
        self._show()
        self._dispatch(parcel, self._receivers(alert))
        if _may_be_late(parcel):
            self._paged.set()
        return True

    def _dispatch(self, parcel: Parcel, receivers: Iterable[str]) -> None:
        for name in receivers:
            parcel.outstanding.add(name)
            self._lanes[name].put(parcel)

    def _receivers(self, alert: Alert) -> list[str]:
        known = [name for name in alert.receivers if name in self._lanes]
        unknown = [name for name in alert.receivers if name not in self._lanes]
        for name in unknown:
            if (alert.policy, name) not in self._warned:
                remember(self._warned, (alert.policy, name), None)
                _log.warning(
                    "policy names a receiver that is not configured; its alerts go to the default receivers",
                    policy=alert.policy,
                    receiver=name,
                    configured=list(self._lanes),
                    default=list(self._default),
                )
        # Who was told of a late page must hear of its end, though the receiver that was late answers again.
        ends_diverted = (alert.resolved or alert.ends) and alert.dedup_key in self._diverted
        fallback = self._default if unknown or not known or ends_diverted else ()
        return list(dict.fromkeys((*known, *fallback)))

    async def run(self) -> None:
        """Deliver until cancelled, or until `drain` has ended."""
        async with asyncio.TaskGroup() as tasks:
            self._running = tasks
            try:
                for name in self._lanes:
                    self._start(name)
                late = tasks.create_task(self._look_for_late_pages(), name="look for late pages")
                forget = tasks.create_task(self._forget(), name="forget what was told long ago")
                await self._stop.wait()
            finally:
                self._running = None
            late.cancel()
            forget.cancel()
            for task in self._tasks.values():
                task.cancel()
            self._tasks.clear()

    async def drain(self, timeout_s: float) -> int:
        """Before the process ends: try everything once more, wait for it, and end `run`.

        Returns
        -------
        int
            Alerts that are still not settled. Each is logged; the next process finds it in `.status`.
        """
        for lane in self._lanes.values():
            lane.hurry()
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            for parcel in self._parcels:
                _log.warning(
                    "alert not delivered before the end",
                    policy=parcel.alert.policy,
                    reason=parcel.alert.reason,
                    title=parcel.alert.title,
                    receivers=sorted(parcel.outstanding),
                )
        finally:
            self._stop.set()
        return self.pending

    async def _look_for_late_pages(self) -> None:
        while True:
            self._paged.clear()
            now_s = self._clock.monotonic_s()
            for parcel in list(self._parcels):
                if _may_be_late(parcel) and now_s - parcel.offered_at_s >= self._settings.late_after_s:
                    self._divert(parcel)
            # A page that comes while this sleeps is late after those that are waited for.
            due_s = [each.offered_at_s + self._settings.late_after_s for each in self._parcels if _may_be_late(each)]
            if due_s:
                await asyncio.sleep(max(min(due_s) - now_s, 0.001))
            else:
                await self._paged.wait()

    async def _forget(self) -> None:
        """Also where nothing is told any more: memory is not kept until the next alert."""
        while True:
            await asyncio.sleep(self._folding.sweep_s)
            self._folding.sweep(now_s=self._clock.monotonic_s())

    def _divert(self, parcel: Parcel) -> None:
        """Hand a late page to the default receivers as well. Those that are late are still tried."""
        parcel.late = True
        self._show()
        alert, silent = parcel.alert, sorted(parcel.outstanding)
        names = [name for name in self._default if name not in parcel.ended | parcel.outstanding]
        lasts = wording.duration(self._settings.late_after_s)
        fields = {"policy": alert.policy, "reason": alert.reason, "title": alert.title, "receivers": silent}
        if not names:
            _log.critical("PAGE NOT TAKEN, and there is nobody else to tell; it is tried on", **fields, not_for=lasts)
            return
        _log.error("page not taken in time; the default receivers are told as well", **fields, default=names)
        remember(self._diverted, alert.dedup_key, None)
        why = f"{' and '.join(silent)} did not take this page within {lasts}, so it comes to you; Serin tries on there."
        told = replace(alert, done=f"{alert.done}\n{why}".lstrip())
        parcel.told.update(dict.fromkeys(names, told))
        self._dispatch(parcel, names)

    def _show(self) -> None:
        self._metrics.set_outbox(
            pending=self.pending, late=sum(parcel.late and not parcel.taken for parcel in self._parcels)
        )

    def _on_attempt(self, parcel: Parcel, receiver: str, result: Delivery) -> None:
        self._metrics.count_alert(receiver, result.value)
        if result is Delivery.RETRIED:
            return
        parcel.outstanding.discard(receiver)
        parcel.ended.add(receiver)
        parcel.taken |= result is Delivery.DELIVERED
        self._show()
        if parcel.outstanding:
            return
        fallback = [name for name in self._default if name not in parcel.ended]
        if parcel.taken or not fallback:
            self._settle(parcel)
            return
        _log.error(
            "nobody took the alert; it goes to the default receivers", title=parcel.alert.title, default=fallback
        )
        self._dispatch(parcel, fallback)

    def _settle(self, parcel: Parcel) -> None:
        del self._parcels[parcel]
        self._folding.end(parcel, now_s=self._clock.monotonic_s())
        self._show()
        if not self._parcels:
            self._empty.set()


def _may_be_late(parcel: Parcel) -> bool:
    """Whether nobody knows of a page yet, and nobody else was told of it. The end of one may wait."""
    alert = parcel.alert
    return alert.severity is Severity.PAGE and not (alert.resolved or parcel.taken or parcel.late)
