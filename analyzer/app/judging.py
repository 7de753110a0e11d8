"""Telemetry and judgement for all rollouts at once.

Policies have a task each; the telemetry store must not have a query each. So their orders are collected and answered together,
once per period: one read, one pass of the ledger, one call of the judge, however many rollouts are in flight.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import structlog

from analyzer.app.capacity import Throughput, throughput
from analyzer.app.ledger import SETTLE_S, Anomaly, Demand, Statement, build_intervals, window_for
from analyzer.app.metrics import Metrics
from analyzer.app.splits import is_as_before
from analyzer.core.judge import judge
from analyzer.core.judge.types import Assessment, Interval, JudgeRequest, JudgeSettings, JudgeState, Step
from analyzer.core.rollout import TelemetryHealth
from analyzer.errors import MetricsUnavailable
from analyzer.ports import Clock, Telemetry, TelemetryQuery, TelemetryWindow

log = structlog.get_logger("serin.judging")

_AFTER_SCRAPE = 0.05
"""Intervals end this share of the scrape interval after a scrape: scrapes come within a few milliseconds of their time."""


@dataclass(frozen=True, slots=True)
class JudgeOrder:
    """What one policy wants judged.

    Attributes
    ----------
    key
        `namespace/name` of the policy; a new order replaces the waiting one.
    rollout
        Names the rollout: an answer to an order of another one is of no use.
    demand
        Which counters, since when.
    state, settings, step
        For the judge.
    mixed_until_s
        Intervals that began before this have requests of two weights [unix seconds]; their share of traffic says nothing.
    weight_before
        The canary's weight before the present one [per cent]; None where nobody knows it, or where shares follow users.
    canary_full_at
        Requests per second at which its ready pods are full; None where nobody knows.
    """

    key: str
    rollout: str
    demand: Demand
    state: JudgeState
    settings: JudgeSettings
    step: Step
    mixed_until_s: float | None
    weight_before: float | None = None
    canary_full_at: float | None = None


@dataclass(frozen=True, slots=True)
class JudgeAnswer:
    """What came of an order. `assessment` is None where there was no telemetry to judge."""

    order: JudgeOrder
    health: TelemetryHealth
    assessment: Assessment | None = None
    new_intervals: int = 0
    judged_until_s: float | None = None
    interval_s: float | None = None
    anomalies: Mapping[Anomaly, int] = field(default_factory=dict)
    throughput: tuple[Throughput, ...] = ()

    @property
    def question(self) -> tuple[str, str] | None:
        """Name the rollout and the step that this answers; None where it answers nothing."""
        return (self.order.rollout, self.order.step.key) if self.assessment is not None else None


Deliver = Callable[[JudgeAnswer], None]


class Judging:
    """Collects orders and answers them together.

    Parameters
    ----------
    telemetry, clock, metrics
        Ports and our own metrics.
    period_s
        Time between two answers [s].
    call_timeout_s
        What one read of telemetry may take [s].
    settle_s
        Age from which a scrape is taken to be stored [s].
    """

    def __init__(
        self,
        telemetry: Telemetry,
        clock: Clock,
        metrics: Metrics,
        *,
        period_s: float,
        call_timeout_s: float,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._metrics = metrics
        self._period_s = period_s
        self._call_timeout_s = call_timeout_s
        self._settle_s = settle_s
        self._blind = False
        self._orders: dict[str, tuple[JudgeOrder, Deliver]] = {}
        self._ordered = asyncio.Event()

    def submit(self, order: JudgeOrder, deliver: Deliver) -> None:
        """Have `order` answered at the next occasion; `deliver` is called from the loop and must not wait."""
        self._orders[order.key] = (order, deliver)
        self._ordered.set()

    def withdraw(self, key: str) -> None:
        """Forget a waiting order."""
        self._orders.pop(key, None)

    async def run(self) -> None:
        """Answer orders until cancelled. With nothing in flight, nothing is read."""
        due_s = self._clock.monotonic_s()
        while True:
            await self._ordered.wait()
            await asyncio.sleep(max(0.0, due_s - self._clock.monotonic_s()))
            due_s = self._clock.monotonic_s() + self._period_s
            self._ordered.clear()
            waiting, self._orders = self._orders, {}
            answers = await self.answer([order for order, _ in waiting.values()])
            for (_, deliver), answer in zip(waiting.values(), answers, strict=True):
                deliver(answer)

    async def answer(self, orders: Sequence[JudgeOrder]) -> list[JudgeAnswer]:
        """Read, count and judge; one answer per order, in their order. Unreadable telemetry is an answer too."""
        if not orders:
            return []
        try:
            window = await self._fetch([order.demand for order in orders])
        except (MetricsUnavailable, TimeoutError) as error:
            reason = error.reason if isinstance(error, MetricsUnavailable) else MetricsUnavailable.reason
            message = str(error) or f"Telemetry did not answer within {self._call_timeout_s:g} s."
            self._metrics.count_telemetry_failure(reason)
            if not self._blind:  # once, not at every try
                log.warning("telemetry lost; the weights of all rollouts are held", error=message)
            self._blind = True
            health = TelemetryHealth(fresh=False, reason=reason, message=message)
            return [JudgeAnswer(order, health) for order in orders]
        if self._blind:
            log.info("telemetry is back")
        self._blind = False
        return self._judge(orders, window)

    async def _fetch(self, demands: Sequence[Demand]) -> TelemetryWindow:
        async with asyncio.timeout(self._call_timeout_s):
            now_s = await self._telemetry.now_s()
            workloads = frozenset(source.workload for demand in demands for source in (demand.stable, demand.canary))
            query = TelemetryQuery(workloads=workloads, end_s=now_s, window_s=window_for(demands, now_s))
            return await self._telemetry.fetch(query)

    def _judge(self, orders: Sequence[JudgeOrder], window: TelemetryWindow) -> list[JudgeAnswer]:
        try:
            return _judge_together(orders, window, self._settle_s)
        except Exception:
            # A bug that one rollout's data brings to light must not reach the others.
            log.exception("judging together failed; judging one by one", rollouts=len(orders))
            self._metrics.count_turn_failure("JudgeFailed")
            return [_judge_alone(order, window, self._settle_s) for order in orders]


def _judge_alone(order: JudgeOrder, window: TelemetryWindow, settle_s: float) -> JudgeAnswer:
    try:
        return _judge_together([order], window, settle_s)[0]
    except Exception as error:
        log.exception("judging failed", policy=order.key)
        message = f"Judging failed on this telemetry ({type(error).__name__}: {error}); this is a bug of Serin."
        return JudgeAnswer(order, TelemetryHealth(fresh=False, reason="JudgeFailed", message=message))


def _judge_together(orders: Sequence[JudgeOrder], window: TelemetryWindow, settle_s: float) -> list[JudgeAnswer]:
    anchor_s = _anchor_s(window)
    demands = [
        order.demand if order.demand.since_s is not None else replace(order.demand, since_s=anchor_s)
        for order in orders
    ]
    # Pods serve all routes, whichever is judged.
    of_all_routes = [replace(demand, route=None) for demand in demands if demand.route is not None]
    results = build_intervals(window, [*demands, *of_all_routes], settle_s=settle_s)
    whole = dict(zip((d.key for d in of_all_routes), results[len(demands) :], strict=True))
    results = results[: len(demands)]
    wholes = [whole.get(order.key, result) for order, result in zip(orders, results, strict=True)]
    assessments = judge(
        [
            JudgeRequest(
                state=order.state,
                settings=order.settings,
                step=order.step,
                intervals=tuple(_own(order, interval) for interval in _of_the_release(order, result, everywhere)),
            )
            for order, result, everywhere in zip(orders, results, wholes, strict=True)
        ]
    )
    return [
        _answer(order, result, assessment, everywhere=everywhere, now_s=window.query.end_s)
        for order, result, everywhere, assessment in zip(orders, results, wholes, assessments, strict=True)
    ]


def _anchor_s(window: TelemetryWindow) -> float:
    """Say where the intervals of a new rollout begin: just after a scrape.

    So each interval ends just after a scrape too, and is complete as soon as that is stored; on any other grid its counts
    would wait for its end.
    """
    reporters = window.reporters
    if not reporters.times.size:
        return window.query.end_s
    first = reporters.times[: reporters.offsets[1]]
    spacing_s = float(np.median(np.diff(first))) if first.size > 1 else 0.0
    return float(first[0]) + _AFTER_SCRAPE * spacing_s


def _own(order: JudgeOrder, interval: Interval) -> Interval:
    """Take out of an interval what does not belong to this rollout.

    Before it began, and before it has any weight, requests to the canary are an older revision's: the labels are the same.
    What the stable version did then still tells how it usually does. In an interval in which the weight changed, the share
    of requests says nothing; in one that was split by the old weight, it says nothing of the canary.
    """
    began_s = interval.end_s - interval.seconds
    if order.demand.since_s is None or order.demand.weight <= 0:
        nothing = np.zeros_like(interval.canary.latency_counts)
        canary = replace(interval.canary, requests=0, errors=0, latency_counts=nothing)
        return replace(interval, canary=canary, weight=0.0)
    if order.mixed_until_s is not None and began_s < order.mixed_until_s:
        return replace(interval, weight=0.0)
    if order.weight_before is not None and is_as_before(interval, before=order.weight_before):
        return replace(interval, in_effect=False)
    return interval


def _of_the_release(order: JudgeOrder, result: Statement, everywhere: Statement) -> list[Interval]:
    """Leave out intervals in which the canary had more requests, from all routes, than its pods can serve.

    What fails then fails for want of pods, and would do so with any release.
    """
    limit = order.canary_full_at
    if limit is None:
        return list(result.intervals)
    full = {i.end_s for i in everywhere.intervals if i.canary.requests > limit * i.seconds}
    return [interval for interval in result.intervals if interval.end_s not in full]


def _answer(
    order: JudgeOrder, result: Statement, assessment: Assessment, *, everywhere: Statement, now_s: float
) -> JudgeAnswer:
    return JudgeAnswer(
        order=order,
        health=_health(result, now_s=now_s),
        assessment=assessment,
        new_intervals=len(result.intervals),
        judged_until_s=result.until_s,
        interval_s=result.interval_s,
        anomalies=result.anomalies,
        throughput=throughput(result.intervals, everywhere.intervals),
    )


_BAD = (Anomaly.NOT_FINITE, Anomaly.NEGATIVE, Anomaly.FRACTIONAL, Anomaly.DUPLICATE)


def _health(result: Statement, *, now_s: float) -> TelemetryHealth:
    """Take the ledger's word; samples of which nothing could be counted are no telemetry either."""
    health = result.health
    bad = {anomaly: result.anomalies[anomaly] for anomaly in _BAD if result.anomalies.get(anomaly)}
    if health.fresh and bad and not result.intervals and result.anomalies.get(Anomaly.DISCARDED):
        listed = ", ".join(f"{n} {anomaly.value.replace('_', ' ')}" for anomaly, n in bad.items())
        message = (
            f"Prometheus' samples of both versions cannot be counted ({listed}): counters are whole numbers from zero up. "
            "Look at istio_requests_total of these workloads; a recording rule or a second Prometheus may write it too."
        )
        return TelemetryHealth(fresh=False, reason="BadSamples", message=message, now_s=now_s)
    return TelemetryHealth(fresh=health.fresh, reason=health.reason, message=health.message, now_s=now_s)
