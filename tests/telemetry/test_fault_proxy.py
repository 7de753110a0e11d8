"""A real Prometheus behind the fault proxy."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from analyzer.adapters.prometheus import PrometheusTelemetry
from analyzer.errors import MetricsUnavailable
from analyzer.ports import TelemetryQuery, Workload
from tests.faultproxy import Fault, FaultProxy, Rule, html
from tests.telemetry.real_prometheus import BINARY, Proxy, RealPrometheus

pytestmark = [
    pytest.mark.real,
    pytest.mark.xdist_group("real"),
    pytest.mark.skipif(BINARY is None, reason="no prometheus on the PATH"),
]

STABLE = Workload("shop", "helloworld-v1")
DEADLINE_S = 1.0


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, RealPrometheus]]:
    with Proxy().running() as gateway:
        gateway.start()
        gateway.serve(STABLE, [5.0] * 100)
        prometheus = RealPrometheus(tmp_path_factory.mktemp("prometheus"), [gateway.address])
        with prometheus.running():
            gateway.wait_until_seen()
            yield gateway, prometheus


@pytest.fixture
async def proxy(scraped: tuple[Proxy, RealPrometheus]) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(scraped[1].url).running() as proxy:
        yield proxy


@pytest.fixture
async def telemetry(proxy: FaultProxy) -> AsyncIterator[PrometheusTelemetry]:
    telemetry = PrometheusTelemetry(proxy.url, deadline_s=DEADLINE_S)
    yield telemetry
    await telemetry.aclose()


async def _requests(telemetry: PrometheusTelemetry) -> float:
    """Read how many requests the gateway had counted at the last scrape."""
    now_s = await telemetry.now_s()
    window = await telemetry.fetch(TelemetryQuery(frozenset({STABLE}), end_s=now_s, window_s=60.0))
    return float(window.requests.values[-1])


async def _heals(telemetry: PrometheusTelemetry) -> float:
    """Ask until there is an answer again: the breaker waits a while after failures."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await _requests(telemetry)
            except MetricsUnavailable as error:
                await asyncio.sleep(error.retry_after_s or 0.1)


FAULTS = {
    "cut": (Rule(name="cut", fault=Fault.DROP), "connection"),
    "hung": (Rule(name="hung", fault=Fault.HANG), "in time"),
    "half an answer": (Rule(name="half", fault=Fault.TRUNCATE, size=40), "connection|JSON|cut"),
    "stalled": (Rule(name="stalled", fault=Fault.STALL, size=40), "in time"),
    "HTML 503": (html(), "503 .text/html, not from Prometheus itself"),
    "HTML 200": (html(status=200), "no proxy's login page"),
    "409": (Rule(name="conflict", fault=Fault.ANSWER, status=409), "409"),
    "410": (Rule(name="gone", fault=Fault.ANSWER, status=410), "410"),
    "500": (Rule(name="broken", fault=Fault.ANSWER, status=500), "500"),
    "429": (Rule(name="busy", fault=Fault.ANSWER, status=429, headers={"Retry-After": "1"}), "429"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_told_and_passes(telemetry: PrometheusTelemetry, proxy: FaultProxy, fault: str) -> None:
    rule, words = FAULTS[fault]
    assert await _requests(telemetry) == 100.0
    async with proxy.faulty(rule):
        with pytest.raises(MetricsUnavailable, match=words):
            await _requests(telemetry)
    assert await _heals(telemetry) == 100.0


async def test_a_slow_answer_is_an_answer(telemetry: PrometheusTelemetry, proxy: FaultProxy) -> None:
    async with proxy.faulty(Rule(name="slow", fault=Fault.DELAY, seconds=0.2)):
        assert await _requests(telemetry) == 100.0
    assert proxy.hits("slow") > 0


async def test_retry_after_is_passed_on(telemetry: PrometheusTelemetry, proxy: FaultProxy) -> None:
    proxy.add(Rule(name="busy", fault=Fault.ANSWER, status=429, headers={"Retry-After": "7"}))
    with pytest.raises(MetricsUnavailable) as caught:
        await telemetry.now_s()
    assert caught.value.retry_after_s == 7.0
