"""What people run, as processes on a real API server, with and without a daemon that answers."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from analyzer.ports import Object
from tests.app.model import NAMESPACE, POLICY
from tests.cluster.api.apiserver import NOBODY_TOKEN, ApiServer, running_api_server
from tests.cluster.api.real_mesh import RealMesh
from tests.cluster.api.test_run import PATIENCE_S, serin_run

Said = tuple[int, str, str]


async def serin(server: ApiServer, *args: str, kubeconfig: Path | None = None) -> Said:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "analyzer", *args, "--kubeconfig", str(kubeconfig or server.kubeconfig())),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def daemon(server: ApiServer) -> AsyncIterator[None]:
    """A daemon without telemetry, that has looked at the policy."""
    args = ("--kubeconfig", str(server.kubeconfig()), "--namespace", NAMESPACE, "--lease-namespace", NAMESPACE)
    async with serin_run(*args, "--lease-name", "people") as running:
        async with asyncio.timeout(PATIENCE_S):
            while not (await row(server))["canary"]:  # noqa: ASYNC110  the server has no event for it
                await asyncio.sleep(0.2)
        yield
        running.process.send_signal(signal.SIGTERM)
        assert await running.ends() == 0


async def row(server: ApiServer) -> Object:
    code, out, err = await serin(server, "status", "helloworld", "-n", NAMESPACE, "-o", "json")
    assert code == 0, err
    (found,) = json.loads(out)["policies"]
    return dict(found)


LEASE = ("--lease-namespace", NAMESPACE, "--lease-name", "people")
HERE = ("helloworld", "-n", NAMESPACE)


async def test_a_policy_that_nobody_looked_at_is_shown_and_a_request_is_not_answered(api_server: ApiServer) -> None:
    RealMesh(api_server)
    code, out, err = await serin(api_server, "status", "-A")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split()[:3] == ["NAMESPACE", "NAME", "TARGET"]
    code, out, _ = await serin(api_server, "explain", *HERE)
    assert (code, "Serin has not looked at this policy yet" in out) == (0, True)
    code, out, err = await serin(api_server, "pause", *HERE, "--yes", "--timeout", "1s", *LEASE)
    assert (code, out) == (4, "")
    assert "is Serin running? its Lease" in err


async def test_requests_are_signed_by_the_api_servers_name_and_answered_by_the_daemon(api_server: ApiServer) -> None:
    mesh = RealMesh(api_server)
    async with daemon(api_server):
        code, out, err = await serin(api_server, "pause", *HERE, "--yes", "--why", "sale until noon", *LEASE)
        assert (code, out.partition(":")[0]) == (0, "Done"), err
        assert "As admin" in err
        paused = (await row(api_server))["paused"]
        assert (paused["by"], paused["why"]) == ("admin", "sale until noon")
        code, out, _ = await serin(api_server, "explain", *HERE)
        assert (code, "Paused by admin" in out) == (0, True)
        assert f"serin resume {' '.join(HERE)}" in out
        assert (await serin(api_server, "resume", *HERE, "--yes", *LEASE))[0] == 0
        code, out, err = await serin(api_server, "retry", *HERE, "--yes", *LEASE)
        assert (code, out.partition(":")[0]) == (1, "Refused"), out + err
        code, out, err = await serin(api_server, "abort", *HERE, "--yes", "--why", "looks odd", *LEASE)
        assert (code, out.partition(":")[0]) == (0, "Done"), out + err
        async with asyncio.timeout(PATIENCE_S):
            while (await row(api_server))["phase"] != "RolledBack":  # noqa: ASYNC110  as above
                await asyncio.sleep(0.2)
        code, out, _ = await serin(api_server, "explain", *HERE)
        assert "Last request: abort by admin" in out
    assert mesh.weights() == {"v1": 100, "v2": 0}


async def test_names_rights_and_contexts_that_are_wrong_are_told_with_a_mend(api_server: ApiServer) -> None:
    RealMesh(api_server)
    code, _, err = await serin(api_server, "explain", "helloword", "-n", NAMESPACE)
    assert (code, "did you mean helloworld -n helloworld?" in err) == (2, True)
    code, _, err = await serin(api_server, "explain", "helloworld")
    assert (code, "helloworld -n helloworld" in err) == (2, True)
    nobody = api_server.kubeconfig("nobody", token=NOBODY_TOKEN)
    for command in (("status", "-A"), ("explain", *HERE), ("abort", *HERE, "--yes")):
        code, _, err = await serin(api_server, *command, kubeconfig=nobody)
        assert (code, len(err.splitlines())) == (2, 2), err
        assert "not allowed to" in err
    stranger = api_server.kubeconfig("stranger", token="not-a-token")
    code, _, err = await serin(api_server, "status", kubeconfig=stranger)
    assert (code, "log in again" in err) == (4, True)


async def test_a_live_status_without_a_terminal_is_a_line_a_change_until_nobody_reads(api_server: ApiServer) -> None:
    mesh = RealMesh(api_server)
    argv = (sys.executable, "-m", "analyzer", "status", "-w", "-n", NAMESPACE)
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", '"$@" | sed --unbuffered 2q; exit "${PIPESTATUS[0]}"', "watch", *argv),
        *("--kubeconfig", str(api_server.kubeconfig())),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        assert b"helloworld/helloworld - - - -" in await process.stdout.readline()
        mesh.cluster.set_status(POLICY, {"phase": "Pending", "message": "Waits."})
        assert b"helloworld/helloworld Pending - - - Waits." in await process.stdout.readline()
        turn = 0
        while process.returncode is None:  # each change is a line that nobody reads any more
            mesh.cluster.set_status(POLICY, {"phase": "Pending" if turn % 2 else "Progressing"})
            turn += 1
            await asyncio.sleep(0.5)
        _, err = await process.communicate()
    assert (process.returncode, err) == (128 + signal.SIGPIPE, b"")


@pytest.mark.cluster
async def test_without_the_crd_it_says_what_to_install(tmp_path: Path) -> None:
    with running_api_server(tmp_path, crds=[]) as bare:
        for command in (("status", "-A"), ("explain", "a"), ("pause", "a", "--yes")):
            code, _, err = await serin(bare, *command)
            assert (code, "CRD is not installed" in err, "apply -k deploy/crd" in err) == (2, True, True), err


async def test_completion_knows_the_names(api_server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    RealMesh(api_server)
    monkeypatch.setenv("KUBECONFIG", str(api_server.kubeconfig()))
    code = (
        "from analyzer.cli.people import commands, complete\n"
        f"complete._PATIENCE_S = {PATIENCE_S}  # a busy machine is none of this test's business\n"
        "commands.kubectl_complete_canary()"
    )
    argv: tuple[Any, ...] = (sys.executable, "-c", code, "explain", "-n", NAMESPACE, "he")
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    assert (await process.communicate())[0] == b"helloworld\n:4\n"
