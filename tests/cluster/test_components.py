"""Components, with small programs in their places."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from analyzer.sandbox.child import ChildDied
from tests.cluster.bed.client import until
from tests.cluster.bed.components import Components, Recipe

SERVER = """
import http.server, os, pathlib, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
pathlib.Path("port").write_text(str(server.server_address[1]))
pathlib.Path("said").write_text(os.environ["WORD"])
server.serve_forever()
"""


def sleeper(name: str = "sleeper") -> Recipe:
    return Recipe(name, ("sleep", "3600"))


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def run_for_ever(directory: Path, session: aiohttp.ClientSession, *recipes: Recipe) -> None:
    async with asyncio.TaskGroup() as group:
        components = Components(directory, session=session, group=group)
        try:
            for recipe in recipes:
                await components.add(recipe)
            await asyncio.Event().wait()
        finally:
            await components.close()


async def test_one_that_dies_takes_all_down_with_its_last_words(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await run_for_ever(tmp_path, session, sleeper(), Recipe("mortal", ("sh", "-c", "echo farewell; exit 3")))
    [error] = caught.value.exceptions
    assert isinstance(error, ChildDied)
    assert "mortal" in str(error)
    assert "exit status 3" in str(error)
    assert "farewell" in str(error)


async def test_stopping_is_no_death_and_a_paused_one_can_be_stopped(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    async with asyncio.TaskGroup() as group:
        components = Components(tmp_path, session=session, group=group)
        await components.add(sleeper("a"))
        await components.add(sleeper("b"))
        await components.pause("a")
        await components.stop("b")
        assert components.states() == {"a": "paused", "b": "stopped"}
        await components.resume("a")
        await components.start("b")
        assert components.states() == {"a": "running", "b": "running"}
        await components.pause("b")
        await components.close()
        assert components.states() == {"a": "stopped", "b": "stopped"}


async def test_a_start_waits_until_it_serves_and_gives_it_its_environment(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    program = (sys.executable, "-c", SERVER)
    async with asyncio.TaskGroup() as group:
        components = Components(tmp_path, session=session, group=group)
        environment = {"WORD": "hello", "PATH": os.environ["PATH"]}
        await components.add(Recipe("first", (*program, "0"), environment=environment))
        port_file = tmp_path / "port"

        async def listening() -> bool:
            return port_file.exists() and port_file.read_text() != ""

        await until(listening, what="the first server listens")
        port = port_file.read_text()
        await components.stop("first")
        url = f"http://127.0.0.1:{port}"
        await components.add(Recipe("second", (*program, port), url, environment))
        async with session.get(url) as response:
            assert response.status == 200
        assert (tmp_path / "said").read_text() == "hello"
        await components.close()
