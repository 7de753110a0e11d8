import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from analyzer import __version__
from analyzer.app.metrics import Metrics
from analyzer.errors import TerminalError
from analyzer.web.server import Address, serve


@dataclass
class Health:
    """What the daemon says of itself."""

    live: bool = True
    ready: bool = True
    details: Mapping[str, object] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)


@asynccontextmanager
async def serving(health: Health) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        serve(
            health.metrics,
            live=lambda: (health.live, health.details),
            ready=lambda: (health.ready, health.details),
            host="127.0.0.1",
            port=0,
        ) as address,
        aiohttp.ClientSession(address.url) as session,
    ):
        yield session


@pytest.mark.parametrize(("path", "part"), [("/healthz", "live"), ("/readyz", "ready")])
async def test_a_probe_says_whether_all_is_well_and_why_not(path: str, part: str) -> None:
    health = Health(details={"telemetry": "ok"})
    async with serving(health) as session:
        async with session.get(path) as response:
            assert response.status == 200
            assert await response.json() == {"ok": True, "telemetry": "ok"}
        setattr(health, part, False)
        health.details = {"telemetry": "connection refused"}
        async with session.get(path) as response:
            assert response.status == 503
            assert await response.json() == {"ok": False, "telemetry": "connection refused"}


async def test_a_daemon_can_be_alive_and_not_ready() -> None:
    async with (
        serving(Health(ready=False)) as session,
        session.get("/healthz") as live,
        session.get("/readyz") as ready,
    ):
        assert (live.status, ready.status) == (200, 503)


async def test_metrics_are_plain_text_by_default() -> None:
    health = Health()
    health.metrics.count_decision("Advance", "Proven")
    async with serving(health) as session, session.get("/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        exposition = await response.text()
    families = {family.name: family for family in parse_text(exposition)}
    assert families["serin_decisions"].samples[0].labels == {"decision": "Advance", "reason": "Proven"}
    assert families["serin_build_info"].samples[0].labels["version"] == __version__
    assert "process_resident_memory_bytes" in families


async def test_metrics_are_openmetrics_for_who_asks() -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    async with serving(Health()) as session, session.get("/metrics", headers={"Accept": accept}) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        text = await response.text()
    assert text.endswith("# EOF\n")
    names = {family.name for family in parse_openmetrics(text)}  # type: ignore[no-untyped-call]
    assert {"serin_outbox_pending", "serin_turn_duration_seconds"} <= names


async def test_the_index_names_the_pages() -> None:
    async with serving(Health()) as session, session.get("/") as response:
        assert response.content_type == "text/plain"
        text = await response.text()
        for path in ("/healthz", "/readyz", "/metrics"):
            assert path in text
            async with session.get(path) as page:
                assert page.status == 200


async def test_a_page_that_is_not_there_names_those_that_are() -> None:
    async with serving(Health()) as session, session.get("/heathz") as response:
        assert response.status == 404
        assert "/healthz" in await response.text()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_nothing_can_be_changed(method: str) -> None:
    async with serving(Health()) as session, session.request(method, "/metrics") as response:
        assert response.status == 405
        assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD"}
        assert "only GET and HEAD" in await response.text()


async def test_head_is_get_without_the_body() -> None:
    async with serving(Health()) as session, session.head("/healthz") as response:
        assert response.status == 200
        assert await response.read() == b""
        assert int(response.headers["Content-Length"]) == len(json.dumps({"ok": True}))


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/nothing"])
async def test_every_answer_has_the_security_headers_and_names_no_version(path: str) -> None:
    async with serving(Health()) as session, session.get(path) as response:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert response.headers["Server"] == "serin"


def fine() -> tuple[bool, Mapping[str, object]]:
    return True, {}


async def test_a_taken_port_is_named_and_what_to_do_about_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TerminalError, match=rf"cannot listen on 127\.0\.0\.1:{port}: the port is taken"):
            async with serve(Metrics(), live=fine, ready=fine, host="127.0.0.1", port=port):
                pass


async def test_a_host_of_another_machine_is_named() -> None:
    with pytest.raises(TerminalError, match=r"192\.0\.2\.1:0: the host is not an address of this machine"):
        async with serve(Metrics(), live=fine, ready=fine, host="192.0.2.1", port=0):
            pass


async def test_the_port_is_free_again_after_the_end_even_with_open_connections() -> None:
    async with aiohttp.ClientSession() as session:
        async with serve(Metrics(), live=fine, ready=fine, host="127.0.0.1", port=0) as address:
            async with session.get(f"{address.url}/healthz") as response:
                assert response.status == 200
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(b"GET /healthz HTTP/1.1\r\n")  # a client that never ends its request
            await writer.drain()
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        async with serve(Metrics(), live=fine, ready=fine, host=address.host, port=address.port) as again:
            assert again == address


async def test_it_ends_with_the_task_group_it_runs_in() -> None:
    addresses: asyncio.Queue[Address] = asyncio.Queue()

    async def run() -> None:
        async with serve(Metrics(), live=fine, ready=fine, host="127.0.0.1", port=0) as address:
            addresses.put_nowait(address)
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run())
        address = await addresses.get()
        async with aiohttp.request("GET", f"{address.url}/healthz") as response:
            assert response.status == 200
        task.cancel()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(address.host, address.port)


def test_an_ipv6_address_is_written_as_a_url() -> None:
    assert Address("::1", 8080).url == "http://[::1]:8080"
