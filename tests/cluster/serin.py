"""Serin's replicas, processes of `serin run` with the deployed account, and the person on call who gets their alerts."""

import asyncio
import os
import signal
import socket
from collections.abc import Sequence
from itertools import count
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from aiohttp import web

from analyzer.sandbox.child import Child
from tests.cluster.bed.client import PATIENCE_S, until
from tests.cluster.deployment import NAMESPACE, Deployment, Token

RECEIVER: Final = "oncall"


def free_port() -> int:
    """Find a port that nobody listens at now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Receiver:
    """Takes alerts as a webhook does, and keeps them in their order."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/alerts", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        assert self._runner.addresses
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/alerts"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def of(self, reason: str) -> list[dict[str, Any]]:
        """Give the alerts with a reason."""
        return [alert for alert in self.alerts if alert["reason"] == reason]

    async def wait_for(self, reason: str, *, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait for the first alert with a reason."""

        async def there() -> list[dict[str, Any]]:
            return self.of(reason)

        return (await until(there, what=lambda: f"alert {reason}; got {self.alerts}", patience_s=patience_s))[0]

    async def _take(self, request: web.Request) -> web.Response:
        self.alerts.append(await request.json())
        return web.Response()


class Replica:
    """One process, with a token of its own."""

    def __init__(self, name: str, *, child: Child, url: str, token: Token) -> None:
        self.name = name
        self.url = url
        self.token = token
        self._child = child

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """False once it has ended."""
        return self._child.running

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self._child.log.read_text()

    def check(self) -> None:
        """Raise `ChildDied`, with the end of its log, if it ended."""
        if not self.running:
            self._child.died()

    async def kill(self) -> None:
        """End it as the out-of-memory killer does."""
        os.kill(self.pid, signal.SIGKILL)
        await self._child.stop()

    async def stop(self) -> None:
        """End it as a kubelet does: SIGTERM, and after ten seconds a kill."""
        await self._child.stop(grace_s=10)

    def pause(self) -> None:
        """Let it hang, as a frozen node does."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    async def leads(self, session: aiohttp.ClientSession) -> bool:
        """Ask it whether it leads."""
        async with session.get(f"{self.url}/readyz") as response:
            return bool((await response.json())["leads"])

    async def metrics(self, session: aiohttp.ClientSession) -> dict[str, float]:
        """Read its metrics, by name and labels as they are written."""
        async with session.get(f"{self.url}/metrics") as response:
            lines = [line for line in (await response.text()).splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


class Replicas:
    """All that run, and how to start more."""

    def __init__(self, deployment: Deployment, *, receiver: Receiver) -> None:
        self.running: list[Replica] = []
        self._deployment = deployment
        self._receiver = receiver
        self._numbers = count()

    async def start(
        self,
        *,
        prometheus_url: str | None = None,
        period: str = "5s",
        lease: str = "15s",
        extra: Sequence[str] = (),
    ) -> Replica:
        """Start one replica and wait until it is ready.

        Parameters
        ----------
        prometheus_url
            A proxy's; Prometheus itself otherwise.
        lease
            How long a dead leader is waited for.
        extra
            More options.
        """
        number = next(self._numbers)
        name, port = f"serin-{number}", free_port()
        token = await self._deployment.issue_token(name)
        options = {
            "--kubeconfig": str(token.kubeconfig),
            "--prometheus": prometheus_url or self._deployment.bed.prometheus_url,
            "--webhook": f"{RECEIVER}={self._receiver.url}",
            "--listen": f"127.0.0.1:{port}",
            "--instance": name,
            "--period": period,
            "--lease-namespace": NAMESPACE,
            "--lease-duration": lease,
        }
        argv = [*self._deployment.command, *(part for pair in options.items() for part in pair), *extra]
        child = await Child.start(name, argv, log=self._deployment.folder / f"{name}.log")
        replica = Replica(name, child=child, url=f"http://127.0.0.1:{port}", token=token)
        self.running.append(replica)
        await self._ready(replica)
        return replica

    async def close(self) -> None:
        """End all."""
        async with asyncio.TaskGroup() as group:
            for replica in self.running:
                group.create_task(replica.stop())

    async def _ready(self, replica: Replica) -> None:
        async def answers() -> bool:
            replica.check()
            try:
                async with self._deployment.bed.session.get(f"{replica.url}/healthz") as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        await until(answers, what=lambda: f"{replica.name} is alive; its log is\n{replica.log}")
