"""An HTTP server on loopback that answers as a test says, where an API server is expected."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.faultproxy import FaultProxy

Script = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status(code: int, message: str, *, reason: str = "", **details: Any) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "message": message, "reason": reason, "code": code}
    return web.json_response(body | ({"details": details} if details else {}), status=code)


class ScriptedApi:
    """Answers by `script`; `asked` has every request so far, with its body."""

    def __init__(self) -> None:
        self.script: Script | None = None
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.url = ""

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append((request.method, request.path_qs, dict(request.headers), json.loads(body) if body else None))
        assert self.script is not None
        return await self.script(request)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ScriptedApi"]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()


def kubeconfig(path: Path, server: str, **user: Any) -> str:
    """Write a kubeconfig for a server without TLS, or behind a proxy."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": server}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "users": [{"name": "me", "user": user or {"token": "secret"}}],
    }
    path.write_text(json.dumps(config))
    return str(path)


__all__ = ["FaultProxy", "ScriptedApi", "kubeconfig", "status"]
