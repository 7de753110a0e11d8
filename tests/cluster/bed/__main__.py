"""Brings the bed up and keeps it: `python -m tests.cluster.bed DIRECTORY [COMMAND…]`, inside a network namespace of its own.

Writes `DIRECTORY/ready` when all is up. Ends with COMMAND, or with SIGTERM; or with status 1 when a component dies by
itself, and then says which, and what it said last.
"""

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from analyzer.errors import SerinError
from analyzer.ports import Object
from analyzer.sandbox.scope import beside
from tests.cluster.bed import control_plane, mesh
from tests.cluster.bed.components import Components
from tests.cluster.bed.control import serve_control
from tests.cluster.bed.keys import make_keys
from tests.cluster.bed.kube import Kube
from tests.cluster.bed.metrics_api import Usage, build_registration, serve_metrics
from tests.cluster.bed.node import NodeAgent
from tests.cluster.bed.places import GATEWAY_URL, ISTIO_NAMESPACE, NODE, POD_NETWORK, SERVICE_NETWORK, Places
from tests.cluster.bed.prometheus import prometheus
from tests.cluster.bed.stalls import Stalls

_PATIENCE_S = 30.0


def say(text: str) -> None:
    """Write a line now: somebody follows the log."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def run(places: Places, command: Sequence[str]) -> int:
    """Bring all up, wait for the end, take all down."""
    begun_s = time.monotonic()

    def mark(what: str) -> None:
        say(f"{time.monotonic() - begun_s:6.1f} s  {what}")

    _make_network()
    make_keys(places)
    mark("keys")
    async with AsyncExitStack() as stack:
        context = ssl.create_default_context(cafile=str(places.authority))
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        components = Components(places.directory, session=session, group=group)
        stack.push_async_callback(components.close)
        kube = Kube(session)
        await components.add(control_plane.etcd(places))
        await components.add(control_plane.api_server(places))
        mark("API server")
        await _apply(places, crds=True, objects=_build_ground(places))
        mark("CustomResourceDefinitions")
        agent = NodeAgent(kube)
        usage = Usage(agent.pods)
        stalls = Stalls()
        await stack.enter_async_context(serve_metrics(usage, places))
        await stack.enter_async_context(serve_control(components, agent, stalls))
        await stack.enter_async_context(beside([agent.run, usage.run, stalls.run]))
        await components.add(control_plane.controllers(places))
        await components.add(mesh.istiod(places))
        mark("istiod")
        await components.add(mesh.gateway(places))
        await components.add(prometheus(places))
        await _webhook_refuses(kube)
        await _apply(places, objects=[mesh.build_telemetry()])
        mark("gateway, Prometheus, webhook")
        (places.directory / "ready").touch()
        return await _until_the_end(places, command)


def _make_network() -> None:
    """Bring loopback up and make every pod's and service's address one of ours, without adding each."""
    for arguments in (
        ("link", "set", "lo", "up"),
        ("route", "add", "local", POD_NETWORK, "dev", "lo"),
        ("route", "add", "local", SERVICE_NETWORK, "dev", "lo"),
    ):
        subprocess.run(["ip", *arguments], check=True)


def _build_ground(places: Places) -> list[Object]:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ISTIO_NAMESPACE}}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
    return [namespace, node, *build_registration(), mesh.build_webhook(places)]


async def _apply(places: Places, *, objects: Sequence[Object], crds: bool = False) -> None:
    path = places.directory / "ground.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))
    files = [path, *([places.programs / "istio-crds.yaml"] if crds else [])]
    argv = [
        places.program("kubectl"),
        f"--kubeconfig={places.kubeconfig}",
        "apply",
        "--server-side",
        "--validate=false",
    ]
    process = await asyncio.create_subprocess_exec(
        *argv, *(f"--filename={file}" for file in files), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise SerinError(f"kubectl apply failed:\n{said.decode()}")


async def _webhook_refuses(kube: Kube) -> None:
    """Wait until istiod has closed its webhook: from then on nothing invalid is taken, and nothing at all without istiod."""
    path = f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{mesh.WEBHOOK}"
    async with asyncio.timeout(_PATIENCE_S):
        while (await kube.call("GET", path))["webhooks"][0]["failurePolicy"] != "Fail":  # noqa: ASYNC110 - istiod does it
            await asyncio.sleep(0.1)


async def _until_the_end(places: Places, command: Sequence[str]) -> int:
    if command:
        environment = {"KUBECONFIG": str(places.kubeconfig), "PATH": f"{places.programs}:{os.environ['PATH']}"}
        process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **environment})
        return await process.wait()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    say(f"The bed is up: {GATEWAY_URL}")
    await told.wait()
    return 0


def main() -> int:
    """Run, and say what went wrong."""
    places = Places.of(Path(sys.argv[1]))
    places.directory.mkdir(parents=True, exist_ok=True)
    failed: list[Exception] = []
    code = 1
    try:
        code = asyncio.run(run(places, sys.argv[2:]))
    except* SerinError as group:
        failed.extend(group.exceptions)
    for error in failed:
        say(f"The bed is down: {error}")
    return code


if __name__ == "__main__":
    sys.exit(main())
