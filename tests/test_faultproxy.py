import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from tests.adapters.scripted_api import ScriptedApi
from tests.faultproxy import Fault, FaultProxy, Rule, html


@pytest.fixture
async def api() -> AsyncIterator[ScriptedApi]:
    async def echo(request: web.Request) -> web.StreamResponse:
        text = f"{request.method} {request.raw_path} {(await request.read()).decode()}"
        return web.Response(text=text, headers={"X-Kept": "yes"})

    async with ScriptedApi().running() as api:
        api.script = echo
        yield api


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield session


async def test_without_a_rule_everything_passes(api: ScriptedApi, session: aiohttp.ClientSession) -> None:
    async with FaultProxy(api.url).running() as proxy:
        async with session.put(f"{proxy.url}/a%2Fb?q=1", data='"x"') as answer:
            assert (answer.status, answer.headers["X-Kept"]) == (200, "yes")
            assert await answer.text() == 'PUT /a%2Fb?q=1 "x"'
        assert proxy.requests == [("PUT", "/a%2Fb?q=1")]


async def test_a_rule_befalls_what_it_names_as_often_as_it_says(
    api: ScriptedApi, session: aiohttp.ClientSession
) -> None:
    async with FaultProxy(api.url).running() as proxy:
        proxy.add(html(count=1, method="GET", path="^/b"))
        seen = []
        for path in ("/a", "/b", "/b"):
            async with session.get(proxy.url + path) as answer:
                seen.append(answer.status)
        assert seen == [200, 503, 200]
        assert proxy.hits("html") == 1


@pytest.mark.parametrize("reaches", [False, True])
async def test_a_dropped_request_reaches_the_server_or_not(
    api: ScriptedApi, session: aiohttp.ClientSession, *, reaches: bool
) -> None:
    async with FaultProxy(api.url).running() as proxy:
        proxy.add(Rule(name="lost", fault=Fault.DROP, reaches=reaches))
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.post(f"{proxy.url}/a")
        assert len(api.asked) == reaches


async def test_a_hanging_request_ends_when_its_client_goes_and_when_the_proxy_does(
    api: ScriptedApi, session: aiohttp.ClientSession
) -> None:
    async with FaultProxy(api.url).running() as proxy:
        proxy.add(Rule(name="hang", fault=Fault.HANG))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await session.get(f"{proxy.url}/a")
        proxy.remove()
        async with session.get(f"{proxy.url}/a") as answer:
            assert answer.status == 200


async def test_another_process_can_give_orders(api: ScriptedApi, session: aiohttp.ClientSession) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faultproxy", "--upstream", api.url, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        addresses = json.loads(await process.stdout.readline())
        rules = f"{addresses['control']}/rules"
        async with session.post(rules, json={"name": "busy", "fault": "answer", "status": 429}) as answer:
            assert [rule["name"] for rule in await answer.json()] == ["busy"]
        async with session.get(addresses["url"]) as answer:
            assert answer.status == 429
        async with session.get(rules) as answer:
            assert [rule["hits"] for rule in await answer.json()] == [1]
        async with session.post(rules, json={"name": "x", "fault": "explode"}) as answer:
            assert answer.status == 400
            assert "explode" in await answer.text()
        async with session.delete(f"{rules}/busy") as answer:
            assert await answer.json() == []
        async with session.get(addresses["url"]) as answer:
            assert answer.status == 200
    finally:
        process.terminate()
        assert await process.wait() == 0
