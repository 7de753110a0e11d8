"""Health and metrics over HTTP: `/healthz`, `/readyz`, `/metrics`, and an index of them.

Read-only: nothing but GET and HEAD is answered.
"""

import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from aiohttp import web

from analyzer.app.metrics import Metrics
from analyzer.errors import TerminalError

Probe = Callable[[], tuple[bool, Mapping[str, object]]]
"""Answers at once whether all is well, and with what a person wants to know about it (JSON values)."""

_SHUTDOWN_S: Final = 1.0
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_INDEX: Final = """\
Serin: canary analysis for Istio

/healthz  is the process alive (200 or 503)
/readyz   does it do its work (200 or 503)
/metrics  its own metrics, for Prometheus
"""


class Address(NamedTuple):
    """Where the server really listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Its base URL, without a slash at the end."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


@asynccontextmanager
async def serve(metrics: Metrics, *, live: Probe, ready: Probe, host: str, port: int) -> AsyncIterator[Address]:
    """Listen as long as the context lasts; port 0 takes any free one.

    Open requests get one second when it ends.

    Raises
    ------
    TerminalError
        The address cannot be listened on.
    """
    runner = web.AppRunner(
        build_app(metrics, live=live, ready=ready), access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise TerminalError(_explain(error, host, port)) from error
        bound_host, bound_port = runner.addresses[0][:2]
        yield Address(bound_host, bound_port)
    finally:
        await runner.cleanup()


def build_app(metrics: Metrics, *, live: Probe, ready: Probe) -> web.Application:
    """Build the application, for `serve` and for those who add to it."""

    async def show_index(_request: web.Request) -> web.Response:
        return web.Response(text=_INDEX)

    async def show_live(_request: web.Request) -> web.Response:
        return _answer(live)

    async def show_ready(_request: web.Request) -> web.Response:
        return _answer(ready)

    async def show_metrics(request: web.Request) -> web.Response:
        text, content_type = metrics.render(",".join(request.headers.getall("Accept", [])))
        return web.Response(body=text, headers={"Content-Type": content_type})

    app = web.Application(middlewares=[_say_what_there_is])
    app.on_response_prepare.append(_add_headers)
    app.router.add_get("/", show_index)
    app.router.add_get("/healthz", show_live)
    app.router.add_get("/readyz", show_ready)
    app.router.add_get("/metrics", show_metrics)
    return app


def _answer(probe: Probe) -> web.Response:
    ok, details = probe()
    return web.json_response({"ok": ok, **details}, status=200 if ok else 503)


@web.middleware
async def _say_what_there_is(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPNotFound:
        raise web.HTTPNotFound(text=f"404: there is no such page.\n\n{_INDEX}") from None
    except web.HTTPMethodNotAllowed as refusal:
        text = "405: only GET and HEAD; nothing can be changed here.\n"
        raise web.HTTPMethodNotAllowed(refusal.method, refusal.allowed_methods, text=text) from None


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "serin"  # no versions for those who look for old ones


def _explain(error: OSError, host: str, port: int) -> str:
    where = f"cannot listen on {host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where}: the port is taken by another process. Choose another one, or 0 for any that is free"
    if error.errno == errno.EACCES:
        return f"{where}: not allowed. Ports below 1024 need a privilege; choose a higher one"
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return f"{where}: the host is not an address of this machine"
    return f"{where}: {error.strerror or error}"
