"""The adapter and the ledger on a real Prometheus: known counters go in, and every count comes back."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from analyzer.adapters.prometheus import PrometheusTelemetry
from analyzer.adapters.prometheus.client import Client
from analyzer.app.ledger import Demand, Health, VersionSource, build_intervals, window_for
from analyzer.errors import MetricsUnavailable
from analyzer.ports import TelemetryQuery, Workload
from tests.telemetry.real_prometheus import BINARY, Proxy, RealPrometheus, wait_for

pytestmark = [pytest.mark.real, pytest.mark.skipif(BINARY is None, reason="no prometheus in PATH")]

STABLE, CANARY = Workload("shop", "cart-v1"), Workload("shop", "cart-v2")
FAST, SLOW, STUCK = 5.0, 50.0, 5000.0  # one in each bucket [ms]


@pytest.fixture
def gateway() -> Iterator[Proxy]:
    with Proxy().running() as proxy:
        yield proxy


@pytest.fixture
def sidecar() -> Iterator[Proxy]:
    with Proxy().running() as proxy:
        yield proxy


@pytest.fixture
def prometheus(tmp_path: Path, gateway: Proxy, sidecar: Proxy) -> Iterator[RealPrometheus]:
    with RealPrometheus(tmp_path, [gateway.address, sidecar.address]).running() as prometheus:
        yield prometheus


@pytest.fixture
async def telemetry(prometheus: RealPrometheus) -> AsyncIterator[PrometheusTelemetry]:
    telemetry = PrometheusTelemetry(prometheus.url)
    yield telemetry
    await telemetry.aclose()


class Books:
    """What was served, and what the ledger makes of it, turn by turn."""

    def __init__(self, telemetry: PrometheusTelemetry, since_s: float) -> None:
        self._telemetry = telemetry
        self._demand = Demand(
            key="shop/cart",
            stable=VersionSource(STABLE),
            canary=VersionSource(CANARY),
            since_s=since_s,
            interval_s=1.0,  # two scrapes each: one that comes late is no gap
        )
        self.served: Counter[str] = Counter()
        self.counted: Counter[str] = Counter()
        self.seconds = 0.0
        self.health: Health | None = None

    def serve(self, proxy: Proxy, workload: Workload, *durations_ms: float, code: str = "200") -> None:
        proxy.serve(workload, durations_ms, code=code)
        self.served[f"{workload.name} requests"] += len(durations_ms)
        self.served[f"{workload.name} errors"] += len(durations_ms) if code == "503" else 0
        for duration in durations_ms:
            self.served[f"{workload.name} bucket {(FAST, SLOW, STUCK).index(duration)}"] += 1

    async def turn(self) -> None:
        now_s = await self._telemetry.now_s()
        workloads = frozenset({STABLE, CANARY})
        window = await self._telemetry.fetch(TelemetryQuery(workloads, now_s, window_for([self._demand], now_s)))
        [statement] = build_intervals(window, [self._demand])
        for interval in statement.intervals:
            self.seconds += interval.seconds
            for workload, version in ((STABLE, interval.stable), (CANARY, interval.canary)):
                self.counted[f"{workload.name} requests"] += version.requests
                self.counted[f"{workload.name} errors"] += version.errors
                for place, count in enumerate(version.latency_counts.tolist()):
                    self.counted[f"{workload.name} bucket {place}"] += count
        self._demand = replace(self._demand, since_s=statement.until_s)
        self.health = statement.health

    async def turn_until_all_is_counted(self) -> None:
        async with asyncio.timeout(20):
            while +self.counted != +self.served:
                await self.turn()
                await asyncio.sleep(0.1)


async def test_every_count_comes_back(telemetry: PrometheusTelemetry, gateway: Proxy, sidecar: Proxy) -> None:
    books = Books(telemetry, await telemetry.now_s())
    gateway.start()
    books.serve(gateway, STABLE, FAST, FAST, SLOW)  # the reporter itself is new: it counts from zero
    gateway.wait_until_seen()

    books.serve(gateway, STABLE, SLOW)
    books.serve(gateway, CANARY, STUCK, code="503")  # a series is born
    gateway.wait_until_seen()
    await books.turn()

    sidecar.start()  # a second reporter
    books.serve(sidecar, CANARY, FAST, SLOW, SLOW)
    sidecar.wait_until_seen()
    await books.turn()

    wait_for(lambda: gateway.uptime_s >= 3, "the gateway is old enough for its restart to show")
    gateway.start()  # a restart: one counter is larger than before, one smaller, one gone
    books.serve(gateway, STABLE, *[FAST] * 7)
    books.serve(gateway, CANARY, STUCK, FAST)
    gateway.wait_until_seen()
    await books.turn()

    books.serve(gateway, STABLE, SLOW)
    books.serve(sidecar, CANARY, FAST)
    sidecar.wait_until_seen()
    sidecar.stop()  # a reporter dies
    books.serve(gateway, CANARY, STUCK, code="503")
    gateway.wait_until_seen()
    await books.turn()

    gateway.forget(CANARY, "503")  # Envoy evicts a series …
    for _ in range(3):  # … for longer than a gap …
        gateway.wait_until_seen()
        books.serve(gateway, STABLE, FAST)
    books.serve(gateway, CANARY, STUCK, STUCK, code="503")  # … and begins it anew, with more than it had
    gateway.wait_until_seen()
    await books.turn_until_all_is_counted()

    assert +books.counted == +books.served
    assert books.health is not None
    assert (books.health.fresh, books.health.reason) == (True, "")


async def test_turns_after_the_last_request_count_nothing(telemetry: PrometheusTelemetry, gateway: Proxy) -> None:
    books = Books(telemetry, await telemetry.now_s())
    gateway.start()
    books.serve(gateway, STABLE, FAST, SLOW)
    await books.turn_until_all_is_counted()
    judged = books.seconds
    async with asyncio.timeout(20):
        while books.seconds < judged + 3:
            await books.turn()
            await asyncio.sleep(0.1)

    assert +books.counted == +books.served


async def test_a_fetch_is_three_requests(telemetry: PrometheusTelemetry, gateway: Proxy) -> None:
    gateway.start()
    gateway.serve(STABLE, [FAST])
    gateway.wait_until_seen()
    now_s, before = await telemetry.now_s(), telemetry.queries
    window = await telemetry.fetch(TelemetryQuery(frozenset({STABLE}), now_s, 60.0))

    assert telemetry.queries - before == 3
    assert {labels["__name__"] for labels in window.reporters.labels} == {"up", "envoy_server_uptime"}
    assert window.requests.values.tolist()[-1] == 1
    assert len(window.durations.labels) == 3


def test_prometheus_own_error_is_shown(prometheus: RealPrometheus) -> None:
    client = Client(
        prometheus.url, timeout_s=(1.0, 5.0), deadline_s=10.0, max_bytes=1 << 20, bearer_token_file=None, ca_file=None
    )
    with ExitStack() as stack:
        stack.callback(client.close)
        with pytest.raises(MetricsUnavailable, match=r"answered 400 \(bad_data: .*parse error.*unclosed"):
            client.query("sum(up", expected="vector", at_s=1.0)


async def test_a_prometheus_that_stopped_is_told_and_found_again(tmp_path: Path, gateway: Proxy) -> None:
    real = RealPrometheus(tmp_path, [gateway.address])
    telemetry = PrometheusTelemetry(real.url)
    with real.running():
        now_s = await telemetry.now_s()
    query = TelemetryQuery(frozenset({STABLE}), now_s, 60.0)
    with pytest.raises(MetricsUnavailable, match="nothing listens there"):
        await telemetry.fetch(query)
    with real.running():
        window = await telemetry.fetch(query)
    await telemetry.aclose()

    assert window.requests.labels == []
