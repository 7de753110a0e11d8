"""`serin run` as a process, on a real API server."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from analyzer.core.rollout import Request, Verb
from analyzer.policy.requests import REQUEST_ANNOTATION, render_request
from analyzer.replay.decisions import DecisionReplay
from tests.app.model import NAMESPACE, POLICY
from tests.cluster.api.apiserver import ApiServer
from tests.cluster.api.real_mesh import RealMesh

PATIENCE_S = 60.0


class Process:
    """A running daemon, and what it logs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.output = ""

    async def logged(self, event: str) -> dict[str, Any]:
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            while line := await self.process.stderr.readline():
                self.lines.append(json.loads(line))
                if self.lines[-1]["event"].startswith(event):
                    return self.lines[-1]
        raise AssertionError(f"it ended without {event!r}: {self.lines}")

    async def ends(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            output, rest = await self.process.communicate()
        self.output = output.decode()
        self.lines += map(json.loads, rest.splitlines())
        return self.process.returncode if self.process.returncode is not None else -1


@asynccontextmanager
async def serin_run(*args: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "analyzer", "run", "--prometheus", "http://127.0.0.1:1", "--listen", "127.0.0.1:0"),
        *("--log-format", "json", *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_it_takes_a_policy_up_writes_its_status_and_ends_in_order(api_server: ApiServer) -> None:
    mesh = RealMesh(api_server)
    args = ("--kubeconfig", str(api_server.kubeconfig()), "--namespace", NAMESPACE, "--lease-namespace", NAMESPACE)
    async with serin_run(*args) as serin:
        url = (await serin.logged("listening"))["url"]
        assert (await serin.logged("serin runs"))["policies"] == 1
        async with asyncio.timeout(PATIENCE_S):
            while "phase" not in mesh.read(POLICY).get("status", {}):  # noqa: ASYNC110  the server has no event for it
                await asyncio.sleep(0.1)
        async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as answer:
            assert (answer.status, (await answer.json())["synced"]) == (200, True)
        serin.process.send_signal(signal.SIGTERM)
        assert await serin.ends() == 0
    assert [line for line in serin.lines if line["level"] in {"error", "critical"}] == []


async def test_a_persons_request_is_answered_and_its_decision_logged(api_server: ApiServer) -> None:
    mesh = RealMesh(api_server)
    text = render_request(
        Request(id="00c0ffee", verb=Verb.PAUSE, by="alice", why="odd logs", at="2026-11-28T13:00:00Z")
    )
    args = ("--kubeconfig", str(api_server.kubeconfig()), "--namespace", NAMESPACE, "--lease-namespace", NAMESPACE)
    async with serin_run(*args, "--decision-log", "-") as serin:
        await serin.logged("serin runs")
        policy = mesh.read(POLICY)
        policy["metadata"].setdefault("annotations", {})[REQUEST_ANNOTATION] = text
        mesh.cluster.apply(policy)
        async with asyncio.timeout(PATIENCE_S):
            while not (mesh.read(POLICY).get("status") or {}).get("request"):  # noqa: ASYNC110  no event for it
                await asyncio.sleep(0.1)
        serin.process.send_signal(signal.SIGTERM)
        assert await serin.ends() == 0
    status = mesh.read(POLICY)["status"]
    assert (status["request"]["outcome"], status["paused"]["by"]) == ("Done", "alice")
    replay = DecisionReplay()
    assert replay.play(serin.output.splitlines()) is None
    assert any(followed.decisions for followed in replay.policies.values())


async def test_of_two_on_one_cluster_the_second_stands_by_until_the_first_ends(api_server: ApiServer) -> None:
    RealMesh(api_server)
    args = ("--kubeconfig", str(api_server.kubeconfig()), "--lease-namespace", NAMESPACE, "--lease-name", "two")
    async with serin_run(*args, "--instance", "first") as first:
        assert (await first.logged("leads"))["identity"].startswith("first_")
        async with serin_run(*args, "--instance", "second") as second:
            await second.logged("serin stands by")
            first.process.send_signal(signal.SIGTERM)
            assert await first.ends() == 0
            assert (await second.logged("leads"))["epoch"] == 2
            second.process.send_signal(signal.SIGTERM)
            assert await second.ends() == 0


async def test_without_the_namespace_of_its_lease_it_says_so_and_writes_nothing(api_server: ApiServer) -> None:
    RealMesh(api_server)
    logged = len(api_server.audited("serin/"))
    async with serin_run("--kubeconfig", str(api_server.kubeconfig()), "--lease-namespace", "nowhere") as serin:
        said = await serin.logged("lease cannot be read or taken")
        assert "nowhere" in said["error"]
        serin.process.send_signal(signal.SIGTERM)
        assert await serin.ends() == 0
    written = [event for event in api_server.audited("serin/")[logged:] if event["verb"] in {"patch", "update"}]
    assert written == []


async def test_a_dry_run_writes_nothing(api_server: ApiServer) -> None:
    RealMesh(api_server)
    logged = len(api_server.audited("serin/"))
    async with serin_run("--kubeconfig", str(api_server.kubeconfig()), "--dry-run") as serin:
        await serin.logged("serin runs")
        await serin.logged("telemetry lost")
        serin.process.send_signal(signal.SIGTERM)
        assert await serin.ends() == 0
    verbs = {event["verb"] for event in api_server.audited("serin/")[logged:]}
    assert verbs <= {"list", "watch", "get"}
