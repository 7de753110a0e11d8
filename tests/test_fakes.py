import asyncio
from functools import partial

import pytest

from analyzer.adapters.memory import MemoryCluster
from analyzer.errors import ClusterUnavailable, MetricsUnavailable, OutcomeUnknown
from analyzer.ports import SERVICE, ChangeType, Ref, TelemetryQuery
from tests.fakes import (
    FakeTelemetry,
    FaultyCluster,
    Hung,
    Killed,
    ManualClock,
    Phase,
    StreamClosed,
    empty_window,
)

REF = Ref(SERVICE, "default", "a")
OBJECT = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}}
PATCH = [{"op": "replace", "path": "/spec/ports/0/port", "value": 81}]


async def port(memory: MemoryCluster) -> int:
    answer: int = (await memory.get(REF))["spec"]["ports"][0]["port"]
    return answer


@pytest.mark.parametrize(("phase", "there"), [("before", 80), ("after", 81)])
@pytest.mark.parametrize("fault", [Killed(), OutcomeUnknown("no answer")])
async def test_a_fault_comes_before_the_write_or_after_it(phase: Phase, there: int, fault: BaseException) -> None:
    memory = MemoryCluster(ManualClock())
    memory.apply(OBJECT)
    cluster = FaultyCluster(
        memory, lambda number, method, at: fault if (number, method, at) == (2, "patch", phase) else None
    )
    await cluster.get(REF)
    with pytest.raises(type(fault)):
        await cluster.patch(REF, PATCH)
    assert await port(memory) == there
    assert cluster.calls == ["get", "patch"]


async def test_a_stream_breaks_closes_or_hangs_on_request() -> None:
    memory = MemoryCluster(ManualClock())
    memory.apply(OBJECT)
    cluster = FaultyCluster(memory)
    for fault, ends in (
        (ClusterUnavailable("reset"), ClusterUnavailable),
        (StreamClosed(), StopAsyncIteration),
        (Hung(), TimeoutError),
    ):
        cluster.decide = lambda _number, _method, _phase: None
        stream = cluster.watch(SERVICE, resource_version="1")
        await memory.patch(REF, PATCH)
        assert (await anext(stream)).type is ChangeType.ADDED
        cluster.decide = partial(always, fault)
        memory.close_watches()
        with pytest.raises(ends):
            async with asyncio.timeout(0.01):
                await anext(stream)


def always(fault: BaseException, _number: int, _method: str, _phase: Phase) -> BaseException:
    return fault


async def test_scripted_telemetry_answers_in_order_and_keeps_the_queries() -> None:
    query = TelemetryQuery(workloads=frozenset(), end_s=10.0, window_s=5.0)
    telemetry = FakeTelemetry(ManualClock(wall_s=7.0), [MetricsUnavailable("down"), empty_window(query)])
    assert await telemetry.now_s() == 7.0
    with pytest.raises(MetricsUnavailable):
        await telemetry.fetch(query)
    assert (await telemetry.fetch(query)).requests.offsets.tolist() == [0]
    assert telemetry.queries == [query, query]
