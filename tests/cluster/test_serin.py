"""How replicas are started, ended and paused, with a small program in Serin's place."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from analyzer.sandbox.child import ChildDied
from tests.cluster.bed.client import Bed
from tests.cluster.bed.places import Places
from tests.cluster.deployment import Deployment, Token
from tests.cluster.serin import Receiver, Replicas

STANDIN = """
import http.server, sys
options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
print(options, flush=True)
if "--bad" in options:
    sys.exit("--bad: no such option")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
host, port = options["--listen"].split(":")
http.server.HTTPServer((host, int(port)), Handler).serve_forever()
"""


class Undeployed(Deployment):
    """Nothing behind it gives tokens."""

    async def issue_token(self, name: str) -> Token:
        return Token(self.folder / name, name)


@pytest.fixture
async def replicas(tmp_path: Path, receiver: Receiver) -> AsyncIterator[Replicas]:
    async with aiohttp.ClientSession() as session:
        bed = Bed(Places(tmp_path, tmp_path), session)
        deployment = Undeployed(bed, tmp_path, (sys.executable, "-c", STANDIN, "run"))
        replicas = Replicas(deployment, receiver=receiver)
        yield replicas
        await replicas.close()


@pytest.mark.xdist_group("serin-ports")
async def test_two_replicas_have_names_ports_and_logs_of_their_own(replicas: Replicas, receiver: Receiver) -> None:
    first, second = await replicas.start(), await replicas.start(period="1s")
    assert (first.name, second.name) == ("serin-0", "serin-1")
    assert first.url != second.url
    assert f"'--kubeconfig': '{first.token.kubeconfig}'" in first.log
    assert first.token != second.token
    assert f"oncall={receiver.url}" in first.log
    assert "'--period': '1s'" in second.log


@pytest.mark.xdist_group("serin-ports")
async def test_a_killed_replica_is_gone_and_a_paused_one_hangs(replicas: Replicas) -> None:
    first, second = await replicas.start(), await replicas.start()
    await first.kill()
    assert not first.running
    second.pause()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(TimeoutError):
            await session.get(second.url, timeout=aiohttp.ClientTimeout(total=0.5))
        second.resume()
        async with session.get(second.url) as response:
            assert response.status == 200


@pytest.mark.xdist_group("serin-ports")
async def test_one_that_does_not_start_says_why(replicas: Replicas) -> None:
    with pytest.raises(ChildDied, match="--bad: no such option"):
        await replicas.start(extra=("--bad", "x"))


async def test_the_receiver_keeps_alerts_in_their_order_and_waits_for_one(receiver: Receiver) -> None:
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        waiting = group.create_task(receiver.wait_for("RolledBack"))
        for reason in ("Advanced", "RolledBack"):
            async with session.post(receiver.url, json={"reason": reason, "id": reason}) as response:
                assert response.status == 200
    assert waiting.result()["id"] == "RolledBack"
    assert [alert["reason"] for alert in receiver.alerts] == ["Advanced", "RolledBack"]
