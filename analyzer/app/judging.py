"""Telemetry and judgement for all rollouts at once.

Policies have a task each; the telemetry store must not have a query each. So their orders are collected and answered together,
once per period and just after a scrape: one read, one pass of the ledger, one call of the judge, however many rollouts are
in flight.
"""

import asyncio
import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np
import structlog

from analyzer.app import pace
from analyzer.app.answers import Deliver, JudgeAnswer, JudgeOrder
from analyzer.app.beginners import Beginners
from analyzer.app.capacity import Throughput, throughput
from analyzer.app.history.lessons import PodTelemetry, usual
from analyzer.app.history.reading import anchor
from analyzer.app.ledger import SETTLE_S, Anomaly, Demand, Statement, build_intervals, window_for
from analyzer.app.metrics import Metrics
from analyzer.app.splits import mark_old_splits
from analyzer.app.strays import name_strays
from analyzer.core.judge import judge
from analyzer.core.judge.types import Assessment, Interval, JudgeRequest, VersionCounts
from analyzer.core.rollout import TelemetryHealth
from analyzer.core.rollout.sampling import DOUBT
from analyzer.errors import MetricsUnavailable
from analyzer.ports import Clock, Telemetry, TelemetryQuery, TelemetryWindow

__all__ = ["Deliver", "JudgeAnswer", "JudgeOrder", "Judging"]

log = structlog.get_logger("serin.judging")


class Judging:
    """Collects orders and answers them together.

    Parameters
    ----------
    telemetry, clock, metrics
        Ports and our own metrics.
    period_s
        Time between two answers, about [s]: they come when a scrape is new, as `pace` says.
    call_timeout_s
        What one read of telemetry may take [s].
    settle_s
        Age from which a scrape is taken to be stored [s].
    pods
        Where the pods' own proxies are read, to learn from before a rollout; None: nowhere.
    executor
        Counts and judges while the event loop goes on: a thousand rollouts take half a second. None: the event loop itself,
        where time is simulated, say. The answers are the same.
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
        pods: PodTelemetry | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._metrics = metrics
        self._period_s = period_s
        self._call_timeout_s = call_timeout_s
        self._settle_s = settle_s
        self._executor = executor
        self._blind = False
        self._orders: dict[str, tuple[JudgeOrder, Deliver]] = {}
        self._ordered = asyncio.Event()
        self._beginners = Beginners(pods, call_timeout_s=call_timeout_s)

    def submit(self, order: JudgeOrder, deliver: Deliver) -> None:
        """Have `order` answered at the next occasion; `deliver` is called from the loop and must not wait."""
        if self._beginners.renew(order, deliver):
            return
        self._orders[order.key] = (order, deliver)
        self._ordered.set()

    def withdraw(self, key: str) -> None:
        """Forget a waiting order."""
        self._orders.pop(key, None)
        self._beginners.withdraw(key)

    async def run(self) -> None:
        """Answer orders until cancelled. With nothing in flight, nothing is read."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._answer_forever(), name="answers")
            tasks.create_task(self._beginners.run(self.submit), name="lessons")

    async def _answer_forever(self) -> None:
        due_s = self._clock.monotonic_s()
        while True:
            await self._ordered.wait()
            await asyncio.sleep(max(0.0, due_s - self._clock.monotonic_s()))
            began_s = self._clock.monotonic_s()
            self._ordered.clear()
            waiting, self._orders = self._orders, {}
            waiting = self._beginners.set_aside(waiting)
            answers = await self.answer([order for order, _ in waiting.values()])
            due_s = began_s + self._wait_s(answers)
            for (_, deliver), answer in zip(waiting.values(), answers, strict=True):
                deliver(answer)

    def _wait_s(self, answers: Sequence[JudgeAnswer]) -> float:
        """Tell how long after the read that brought these answers the next is made [s]."""
        now_s = max((answer.health.now_s for answer in answers if answer.health.now_s is not None), default=None)
        if now_s is None:
            return self._period_s
        return pace.wait_s(pace.beats(answers), now_s=now_s, period_s=self._period_s, settle_s=self._settle_s)

    async def learn(self, orders: Sequence[JudgeOrder]) -> None:
        """Let rollouts that begin learn now. `run` does it by itself."""
        await self._beginners.learn(orders)

    async def answer(self, orders: Sequence[JudgeOrder]) -> list[JudgeAnswer]:
        """Read, count and judge; one answer per order, in their order. Unreadable telemetry is an answer too."""
        if not orders:
            return []
        try:
            window = await self._fetch([order.demand for order in _with_passed(orders)])
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
        taught = [self._beginners.taught(order) for order in orders]
        if self._executor is None:
            return self._judge(taught, window)
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._judge, taught, window)

    async def _fetch(self, demands: Sequence[Demand]) -> TelemetryWindow:
        async with asyncio.timeout(self._call_timeout_s):
            now_s = await self._telemetry.now_s()
            workloads = frozenset(source.workload for demand in demands for source in (demand.stable, demand.canary))
            query = TelemetryQuery(workloads=workloads, end_s=now_s, window_s=window_for(demands, now_s))
            return await self._telemetry.fetch(query)

    def _judge(self, orders: Sequence[JudgeOrder], window: TelemetryWindow) -> list[JudgeAnswer]:
        answers = self._judge_all(_with_passed(orders), window)
        passed = iter(answers[len(orders) :])
        own = zip(orders, answers[: len(orders)], strict=True)
        return [replace(answer, passed=next(passed)) if order.passed else answer for order, answer in own]

    def _judge_all(self, orders: Sequence[JudgeOrder], window: TelemetryWindow) -> list[JudgeAnswer]:
        try:
            return _judge_together(orders, window, self._settle_s)
        except Exception:
            # A bug that one rollout's data brings to light must not reach the others.
            log.exception("judging together failed; judging one by one", rollouts=len(orders))
            self._metrics.count_turn_failure("JudgeFailed")
            return [_judge_alone(order, window, self._settle_s) for order in orders]


def _with_passed(orders: Sequence[JudgeOrder]) -> list[JudgeOrder]:
    """List the orders, and behind them those within them."""
    return [*orders, *(order.passed for order in orders if order.passed is not None)]


def _judge_alone(order: JudgeOrder, window: TelemetryWindow, settle_s: float) -> JudgeAnswer:
    try:
        return _judge_together([order], window, settle_s)[0]
    except Exception as error:
        log.exception("judging failed", policy=order.key)
        message = f"Judging failed on this telemetry ({type(error).__name__}: {error}); this is a bug of Serin."
        return JudgeAnswer(order, TelemetryHealth(fresh=False, reason="JudgeFailed", message=message))


def _judge_together(orders: Sequence[JudgeOrder], window: TelemetryWindow, settle_s: float) -> list[JudgeAnswer]:
    # On any other grid than the scrapes' the counts of an interval would wait for its end.
    anchor_s = anchor(window, after_s=0.0) or window.query.end_s
    demands = [
        order.demand if order.demand.since_s is not None else replace(order.demand, since_s=anchor_s)
        for order in orders
    ]
    # Pods serve all routes, whichever is judged.
    of_all_routes = [replace(demand, routes=None) for demand in demands if demand.routes is not None]
    of_stages = [
        replace(demand, routes=routes)
        for order, demand in zip(orders, demands, strict=True)
        for routes in order.stages
        if routes is not None
    ]
    results = build_intervals(window, [*demands, *of_all_routes, *of_stages], settle_s=settle_s)
    staged = iter(results[len(demands) + len(of_all_routes) :])
    stages = [[next(staged).intervals if routes is not None else () for routes in order.stages] for order in orders]
    whole = dict(zip((d.key for d in of_all_routes), results[len(demands) :], strict=False))
    results = results[: len(demands)]
    wholes = [whole.get(order.key, result) for order, result in zip(orders, results, strict=True)]
    orders = [_with_common_edges(order, result) for order, result in zip(orders, results, strict=True)]
    requests = [
        JudgeRequest(
            state=order.state,
            settings=order.settings,
            step=order.step,
            intervals=_own_intervals(order, _of_the_release(order, result, everywhere)),
        )
        for order, result, everywhere in zip(orders, results, wholes, strict=True)
    ]
    answers = [
        _answer(
            order,
            result,
            assessment,
            window=window,
            throughput=throughput(result.intervals, everywhere.intervals, staged),
        )
        for order, result, everywhere, staged, assessment in zip(
            orders, results, wholes, stages, judge(requests), strict=True
        )
    ]
    return [replace(answer, intervals=request.intervals) for answer, request in zip(answers, requests, strict=True)]


def _with_common_edges(order: JudgeOrder, result: Statement) -> JudgeOrder:
    """Forget a lesson whose histogram edges are all others than the callers': no latency could be judged at them."""
    edges = next((interval.edges_ms for interval in result.intervals if interval.edges_ms), ())
    if not order.dispersion or not edges or not order.state.edges_ms or set(edges) & set(order.state.edges_ms):
        return order
    lesson = usual("its pods' histograms have other edges than their callers'")
    return replace(order, state=lesson.state, dispersion=lesson.said)


def _own_intervals(order: JudgeOrder, intervals: Sequence[Interval]) -> tuple[Interval, ...]:
    own = [_own(order, interval) for interval in intervals]
    if order.weight_before is None:
        return tuple(own)
    return tuple(mark_old_splits(own, before=order.weight_before, seen=order.seen))


def _own(order: JudgeOrder, interval: Interval) -> Interval:
    """Take out of an interval what does not belong to this rollout.

    Before it began, and before it has any weight, requests to the canary are an older revision's: the labels are the same.
    What the stable version did then still tells how it usually does. In an interval in which the weight changed, the share
    of requests says nothing.
    """
    began_s = interval.end_s - interval.seconds
    if order.demand.since_s is None or order.demand.weight <= 0:
        nothing = np.zeros_like(interval.canary.latency_counts)
        canary = replace(interval.canary, requests=0, errors=0, latency_counts=nothing)
        return replace(interval, canary=canary, weight=0.0)
    if order.mixed_until_s is not None and began_s < order.mixed_until_s:
        return replace(interval, weight=0.0)
    return interval


def _of_the_release(order: JudgeOrder, result: Statement, everywhere: Statement) -> tuple[Interval, ...]:
    """Leave out what is for want of pods, and would be so with any release.

    Intervals in which the canary had more requests, from all routes, than its pods can serve; and of those in which its pods
    were busier than its HPA wants them, the latency.
    """
    full_at, busy_at = (math.inf if rate is None else rate for rate in (order.canary_full_at, order.canary_busy_at))
    rates = {i.end_s: i.canary.requests / i.seconds for i in everywhere.intervals}
    kept = [interval for interval in result.intervals if rates.get(interval.end_s, 0.0) <= full_at]
    return tuple(_without_latency(i) if rates.get(i.end_s, 0.0) > busy_at else i for i in kept)


def _without_latency(interval: Interval) -> Interval:
    def silent(version: VersionCounts) -> VersionCounts:
        return replace(version, latency_counts=np.zeros_like(version.latency_counts))

    return replace(interval, stable=silent(interval.stable), canary=silent(interval.canary))


def _answer(
    order: JudgeOrder,
    result: Statement,
    assessment: Assessment,
    *,
    window: TelemetryWindow,
    throughput: tuple[Throughput, ...],
) -> JudgeAnswer:
    doubtful = not order.settings.sticky_users and assessment.evidence.sample_ratio_log_e >= DOUBT
    return JudgeAnswer(
        order=order,
        health=_health(result, now_s=window.query.end_s),
        assessment=assessment,
        new_intervals=len(result.intervals),
        judged_until_s=result.until_s,
        interval_s=result.interval_s,
        anomalies=result.anomalies,
        strays=name_strays(order, window, result) if doubtful else "",
        throughput=throughput,
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
