"""One of two gateways goes on with the old weight: the person on call is told which."""

from dataclasses import replace

import numpy as np

from analyzer.app.judging import Judging
from analyzer.app.metrics import Metrics
from analyzer.core.judge import initial_state
from analyzer.ports import TelemetryQuery, TelemetryWindow, Workload
from tests.app.model import NAMESPACE
from tests.app.test_judging import in_flight
from tests.fakes import FakeTelemetry, ManualClock
from tests.replay.past import EVERY_S, START_S, Past, Served

N = 20
STABLE, CANARY = Workload(NAMESPACE, "helloworld-v1"), Workload(NAMESPACE, "helloworld-v2")


def gateways(*shares: float) -> FakeTelemetry:
    rng = np.random.default_rng(1)
    past = Past()
    for number, share in enumerate(shares):
        counts = {
            version: Served.make(rng, np.full(N, 200.0 * part), errors=np.zeros(N))
            for version, part in ((STABLE, 1 - share), (CANARY, share))
        }
        past.add_proxy(f"10.0.0.{number}:15020", counts, reporter="source", phase_s=2.0 * number)

    def window(query: TelemetryQuery) -> TelemetryWindow:
        coroutine = past.fetch(query)
        try:
            coroutine.send(None)
        except StopIteration as done:
            answer: TelemetryWindow = done.value
            return answer
        raise AssertionError("it waits for nothing")

    return FakeTelemetry(ManualClock(wall_s=START_S + N * EVERY_S), window)


async def strays(*shares: float, sticky: bool = False) -> str:
    mesh, order = await in_flight()
    order = replace(
        order,
        state=initial_state(),
        settings=replace(order.settings, sticky_users=sticky),
        demand=replace(order.demand, since_s=START_S + 10 * EVERY_S, interval_s=EVERY_S, weight=50.0),
        mixed_until_s=None,
        weight_before=None,
    )
    hub = Judging(gateways(*shares), mesh.clock, Metrics(), period_s=0.01, call_timeout_s=1.0)
    [answer] = await hub.answer([order])
    return answer.strays


async def test_the_stale_gateway_is_named_with_what_it_sent() -> None:
    text = await strays(0.5, 0.1)
    assert text.startswith("mesh 10.0.0.1:15020 (")
    assert "10.0.0.0" not in text
    assert 9.0 < float(text.split("(")[1].split(" %")[0]) < 11.0


async def test_where_all_split_by_the_weight_nobody_is_named() -> None:
    assert await strays(0.5, 0.5) == ""


async def test_where_users_stick_nobody_is_named() -> None:
    assert await strays(0.5, 0.1, sticky=True) == ""


async def test_of_many_only_the_worst_are_named() -> None:
    assert (await strays(0.5, 0.1, 0.1, 0.2, 0.1, 0.1)).endswith(" and 2 more")
