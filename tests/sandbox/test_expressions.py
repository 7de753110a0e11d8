"""Cookies through a real Envoy: which of them the published expression takes, and which the one that lint writes instead."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from analyzer.policy.expressions import mend
from analyzer.sandbox.gateway import find_envoy

pytestmark = pytest.mark.real

PUBLISHED = r"^(.*?;)?(email=[^;]*@some-company-name.com)(;.*)?$"
COOKIES = {  # header → whether the published expression takes it, and the mended one
    "email=a@some-company-name.com": (True, True),
    "a=b;email=a@some-company-name.com": (True, True),
    "a=b; email=a@some-company-name.com": (False, True),
    "a=b; email=a@some-company-name.com; c=d": (False, True),
    "email=a@some-company-nameXcom": (True, False),
    "a=b; email=a@some-company-nameXcom": (False, False),
    "x-email=a@some-company-name.com": (False, False),
    "a=b": (False, False),
}


def answer(name: str, **match: Any) -> dict[str, Any]:
    return {"match": {"prefix": "/", **match}, "direct_response": {"status": 200, "body": {"inline_string": name}}}


def bootstrap(port: int) -> dict[str, Any]:
    """Two virtual hosts, one per expression. The header's name is in upper case: Envoy compares names without case."""
    hosts = []
    for name, regex in (("published", PUBLISHED), ("mended", mend(PUBLISHED, header="cookie"))):
        headers = [{"name": "Cookie", "string_match": {"safe_regex": {"regex": regex}}}]
        hosts.append({"name": name, "domains": [name], "routes": [answer("insider", headers=headers), answer("other")]})
    router = {
        "name": "router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": hosts},
        "http_filters": [router],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {"static_resources": {"listeners": [{"address": address, "filter_chains": [chain]}]}}


async def ask(session: aiohttp.ClientSession, port: int, host: str, cookie: str) -> bool:
    headers = {"Host": host, "Cookie": cookie}
    async with session.get(f"http://127.0.0.1:{port}/", headers=headers) as response:
        return await response.text() == "insider"


@pytest.mark.parametrize(("host", "index"), [("published", 0), ("mended", 1)])
async def test_envoy_takes_the_cookies_that_lint_says(tmp_path: Path, host: str, index: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(bootstrap(port)))
    options = ("--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error", "--config-path", str(config))
    envoy = await asyncio.create_subprocess_exec(str(find_envoy()), *options)
    try:
        async with aiohttp.ClientSession() as session:
            async with asyncio.timeout(60):
                while True:
                    try:
                        await ask(session, port, host, "a=b")
                        break
                    except aiohttp.ClientError:
                        assert envoy.returncode is None, "Envoy does not take the configuration"
                        await asyncio.sleep(0.1)
            found = {cookie: await ask(session, port, host, cookie) for cookie in COOKIES}
    finally:
        if envoy.returncode is None:
            envoy.terminate()
        await envoy.wait()
    assert found == {cookie: takes[index] for cookie, takes in COOKIES.items()}
