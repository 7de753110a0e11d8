"""Orders of many rollouts are answered together; what one of them lacks is its own affair."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from analyzer.app.judging import JudgeAnswer, JudgeOrder, Judging
from analyzer.app.metrics import Metrics
from analyzer.core.judge import initial_state
from analyzer.errors import MetricsUnavailable
from analyzer.ports import TelemetryQuery, TelemetryWindow
from tests.app.loop import Loop
from tests.app.model import ModelMesh
from tests.app.test_turns import quick_mesh
from tests.fakes import FakeTelemetry, ManualClock


async def in_flight() -> tuple[ModelMesh, JudgeOrder]:
    """Bring a rollout to where it is judged, and return its order."""
    mesh = quick_mesh()
    loop = Loop(mesh)
    await loop.until(lambda: loop.phase == "Progressing")
    await loop.cycle()
    assert loop.life is not None
    assert loop.life.result is not None
    order = loop.life.result.order
    assert order is not None
    return mesh, order


def judging(mesh: ModelMesh, telemetry: FakeTelemetry) -> Judging:
    return Judging(telemetry, mesh.clock, Metrics(), period_s=0.01, call_timeout_s=1.0)


def with_values(window: TelemetryWindow, values: float) -> TelemetryWindow:
    requests = replace(window.requests, values=np.full_like(window.requests.values, values))
    return replace(window, requests=requests)


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "not finite"), (-5.0, "negative")])
async def test_counters_that_are_none_are_no_telemetry_and_it_says_what_to_look_at(value: float, word: str) -> None:
    mesh, order = await in_flight()
    mesh.scrape()
    mesh.scrape()

    def spoilt(query: TelemetryQuery) -> TelemetryWindow:
        return with_values(mesh.window(query), value)

    (answer,) = await judging(mesh, FakeTelemetry(mesh.clock, spoilt)).answer([order])
    assert (answer.new_intervals, answer.health.fresh, answer.health.reason) == (0, False, "BadSamples")
    assert word in answer.health.message
    assert "istio_requests_total" in answer.health.message


async def test_many_orders_are_answered_by_one_read() -> None:
    mesh, order = await in_flight()
    mesh.scrape()
    telemetry = FakeTelemetry(mesh.clock, mesh.window)
    orders = [replace(order, key=f"ns/{n}", demand=replace(order.demand, key=f"ns/{n}")) for n in range(20)]
    answers = await judging(mesh, telemetry).answer(orders)
    assert len(telemetry.queries) == 1
    assert {answer.new_intervals for answer in answers} == {1}
    assert {answer.question for answer in answers} == {(order.rollout, order.step.key)}


async def test_without_telemetry_every_order_is_told_the_same() -> None:
    mesh, order = await in_flight()
    gone = FakeTelemetry(mesh.clock, now_error=MetricsUnavailable("Prometheus at http://p: nothing listens there"))
    (answer,) = await judging(mesh, gone).answer([order])
    assert (answer.assessment, answer.health.fresh, answer.question) == (None, False, None)
    assert answer.health.message == "Prometheus at http://p: nothing listens there"


async def test_before_a_rollout_begins_intervals_are_judged_and_no_version_is_counted() -> None:
    mesh, order = await in_flight()
    for _ in range(3):
        mesh.scrape()
    demand = replace(order.demand, since_s=None, interval_s=None)
    unbegun = replace(order, demand=demand, state=initial_state())
    (answer,) = await judging(mesh, FakeTelemetry(mesh.clock, mesh.window)).answer([unbegun])
    assert answer.assessment is not None
    evidence = answer.assessment.evidence
    assert (answer.new_intervals > 0, evidence.canary.requests, evidence.stable.requests) == (True, 0, 0)
    assert answer.judged_until_s is not None
    assert answer.judged_until_s <= mesh.clock.now_s()


async def test_with_nothing_in_flight_nothing_is_read() -> None:
    clock = ManualClock()
    telemetry = FakeTelemetry(clock)
    idle = Judging(telemetry, clock, Metrics(), period_s=0.001, call_timeout_s=1.0)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(idle.run())
        for _ in range(50):
            await asyncio.sleep(0)
        task.cancel()
    assert telemetry.queries == []


async def test_an_order_is_answered_once_and_a_newer_one_replaces_it() -> None:
    mesh, order = await in_flight()
    mesh.scrape()
    hub = judging(mesh, FakeTelemetry(mesh.clock, mesh.window))
    first: list[JudgeAnswer] = []
    second: list[JudgeAnswer] = []
    hub.submit(order, first.append)
    arrived = asyncio.Event()

    def deliver(answer: JudgeAnswer) -> None:
        second.append(answer)
        arrived.set()

    hub.submit(order, deliver)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        task = group.create_task(hub.run())
        await arrived.wait()
        task.cancel()
    assert (len(first), len(second)) == (0, 1)


async def test_the_event_loop_goes_on_while_an_executor_judges_and_the_answers_are_the_same() -> None:
    mesh, order = await in_flight()
    for _ in range(3):
        mesh.scrape()
    telemetry = FakeTelemetry(mesh.clock, mesh.window)
    inline = await judging(mesh, telemetry).answer([order])
    with ThreadPoolExecutor(1) as executor:
        hub = Judging(telemetry, mesh.clock, Metrics(), period_s=0.01, call_timeout_s=1.0, executor=executor)
        free = threading.Event()
        executor.submit(free.wait)  # the loop must come to set it, though the answer is waited for
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            answering = group.create_task(hub.answer([order]))
            await asyncio.sleep(0)
            free.set()
        apart = answering.result()
    assert [(a.judged_until_s, a.health, a.anomalies) for a in apart] == [
        (a.judged_until_s, a.health, a.anomalies) for a in inline
    ]
    assert [a.assessment and (a.assessment.verdict, a.assessment.state) for a in apart] == [
        a.assessment and (a.assessment.verdict, a.assessment.state) for a in inline
    ]
