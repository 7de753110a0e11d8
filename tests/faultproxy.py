"""A proxy for tests, before the API server or Prometheus, that delays, drops, hangs, truncates and answers wrongly.

It speaks plain HTTP to its clients and HTTP or HTTPS to the server behind it. Faults are rules on method and path, set and
removed while it runs: by `add` and `remove`, or from another process over its control port:

    python -m tests.faultproxy --upstream https://127.0.0.1:6443 --ca ca.crt --listen 127.0.0.1:7443 --control 127.0.0.1:7444
    curl -d '{"name": "down", "fault": "hang"}' http://127.0.0.1:7444/rules
    curl -X DELETE http://127.0.0.1:7444/rules/down
"""

import argparse
import asyncio
import json
import re
import signal
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web
from yarl import URL

_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "te", "trailers", "transfer-encoding", "upgrade", "host", "content-length"}
)
_CONNECT_S: Final = 5.0
HTML: Final = "<html><head><title>Service Unavailable</title></head><body>no healthy upstream</body></html>"


class Fault(StrEnum):
    """What happens to a request."""

    DELAY = "delay"  # it waits `seconds`, then goes on
    DROP = "drop"  # the connection is cut without an answer
    HANG = "hang"  # no answer ever comes, and the connection stays open
    TRUNCATE = "truncate"  # the connection is cut after `size` bytes of the answer's body
    STALL = "stall"  # nothing comes after `size` bytes of the answer's body, and the connection stays open
    ANSWER = "answer"  # `status`, `headers` and `body` are the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A fault, and the requests that it befalls.

    Attributes
    ----------
    method, path
        Regular expressions, searched for in the method and in the path with its query.
    count
        Requests that it befalls; None: all until it is removed.
    reaches
        The server gets the request before anything goes wrong: a write is made, and its answer is lost.
    """

    name: str
    fault: Fault
    method: str = ""
    path: str = ""
    count: int | None = None
    reaches: bool = False
    seconds: float = 0.0
    size: int = 0
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


def html(name: str = "html", *, status: int = 503, **options: Any) -> Rule:
    """A load balancer's page."""
    return Rule(
        name=name, fault=Fault.ANSWER, status=status, headers={"Content-Type": "text/html"}, body=HTML, **options
    )


def kubernetes_status(
    status: int, reason: str, message: str, *, name: str = "status", retry_after_s: int | None = None, **options: Any
) -> Rule:
    """An explanation as the API server writes it."""
    details = {"retryAfterSeconds": retry_after_s} if retry_after_s is not None else {}
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    headers = {"Content-Type": "application/json"}
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    return Rule(
        name=name,
        fault=Fault.ANSWER,
        status=status,
        headers=headers,
        body=json.dumps(body | {"reason": reason, "details": details, "code": status}),
        **options,
    )


class FaultProxy:
    """Passes requests on, except where a rule says otherwise.

    Parameters
    ----------
    upstream
        The server behind it, without a path.
    tls
        To check that server's certificate with.
    """

    def __init__(self, upstream: str, *, tls: ssl.SSLContext | None = None) -> None:
        self.url = ""
        self.control_url = ""
        self.requests: list[tuple[str, str]] = []  # method and path of all that arrived
        self._upstream = upstream.rstrip("/")
        self._tls = tls
        self._rules: dict[str, Rule] = {}
        self._hits: dict[str, int] = {}
        self._session: aiohttp.ClientSession | None = None
        self._closing = asyncio.Event()

    # --- rules --------------------------------------------------------------------------------------------------------

    def add(self, rule: Rule) -> None:
        """Set a rule; one of the same name is replaced. The first that fits a request is the one that befalls it."""
        self._rules[rule.name] = rule
        self._hits[rule.name] = 0

    def remove(self, name: str | None = None) -> None:
        """Remove one rule, or all. What hangs already goes on hanging."""
        if name is None:
            self._rules.clear()
        else:
            self._rules.pop(name, None)

    def hits(self, name: str) -> int:
        """How many requests a rule has befallen."""
        return self._hits.get(name, 0)

    @asynccontextmanager
    async def faulty(self, rule: Rule) -> AsyncIterator[None]:
        """Set a rule for a while."""
        self.add(rule)
        try:
            yield
        finally:
            self.remove(rule.name)

    def _take(self, request: web.Request) -> Rule | None:
        for rule in self._rules.values():
            if rule.count is not None and self._hits[rule.name] >= rule.count:
                continue
            if re.search(rule.method, request.method) and re.search(rule.path, request.raw_path):
                self._hits[rule.name] += 1
                return rule
        return None

    # --- running ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(
        self, listen: tuple[str, int] = ("127.0.0.1", 0), *, control: tuple[str, int] | None = None
    ) -> AsyncIterator["FaultProxy"]:
        """Listen until the end of the context; with `control`, to orders as well."""
        async with AsyncExitStack() as stack:
            connector = aiohttp.TCPConnector(ssl=self._tls or True, limit=0)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
            self._session = await stack.enter_async_context(
                aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
            )
            app = web.Application(client_max_size=1 << 26)
            app.router.add_route("*", "/{path:.*}", self._handle)
            self.url = await stack.enter_async_context(_listening(app, listen))
            if control is not None:
                self.control_url = await stack.enter_async_context(_listening(self._control_app(), control))
            stack.callback(self._closing.set)
            yield self

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.raw_path))
        rule = self._take(request)
        if rule is None:
            return await self._forward(request)
        if rule.fault is Fault.DELAY:
            await asyncio.sleep(rule.seconds)
            return await self._forward(request)
        if rule.fault in {Fault.TRUNCATE, Fault.STALL}:
            return await self._forward(request, until=rule)
        if rule.reaches:
            async with self._ask(request) as answer:
                await answer.read()
        if rule.fault is Fault.ANSWER:
            return web.Response(status=rule.status, headers=rule.headers, body=rule.body.encode())
        return await self._cut(request, hang=rule.fault is Fault.HANG)

    async def _cut(self, request: web.Request, *, hang: bool) -> web.StreamResponse:
        if hang:
            await self._closing.wait()
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    @asynccontextmanager
    async def _ask(self, request: web.Request) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        url = URL(self._upstream + request.raw_path, encoded=True)
        body = await request.read() if request.can_read_body else None
        async with self._session.request(
            request.method, url, headers=headers, data=body, allow_redirects=False
        ) as answer:
            yield answer

    async def _forward(self, request: web.Request, *, until: Rule | None = None) -> web.StreamResponse:
        try:
            async with self._ask(request) as answer:
                return await self._relay(request, answer, until)
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=f"the fault proxy's upstream: {error}")

    async def _relay(
        self, request: web.Request, answer: aiohttp.ClientResponse, until: Rule | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, reason=answer.reason)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                response.headers.add(name, value)
        response.content_length = answer.content_length
        await response.prepare(request)
        sent = 0
        async for chunk in answer.content.iter_any():
            if until is not None and sent + len(chunk) > until.size:
                await response.write(chunk[: until.size - sent])
                return await self._cut(request, hang=until.fault is Fault.STALL)
            await response.write(chunk)
            sent += len(chunk)
        await response.write_eof()
        return response

    # --- orders from other processes ----------------------------------------------------------------------------------

    def _control_app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/rules", self._list_rules)
        app.router.add_post("/rules", self._add_rule)
        app.router.add_delete("/rules", self._remove_rules)
        app.router.add_delete("/rules/{name}", self._remove_rules)
        return app

    async def _list_rules(self, _request: web.Request) -> web.Response:
        return web.json_response([{**asdict(rule), "hits": self.hits(name)} for name, rule in self._rules.items()])

    async def _add_rule(self, request: web.Request) -> web.Response:
        try:
            given = await request.json()
            self.add(Rule(**{**given, "fault": Fault(given["fault"])}))
        except (ValueError, TypeError, KeyError) as error:
            raise web.HTTPBadRequest(text=f"no rule: {error!r}; write {Rule.__annotations__}\n") from error
        return await self._list_rules(request)

    async def _remove_rules(self, request: web.Request) -> web.Response:
        self.remove(request.match_info.get("name"))
        return await self._list_rules(request)


@asynccontextmanager
async def _listening(app: web.Application, address: tuple[str, int]) -> AsyncIterator[str]:
    # A handler that hangs ends when its client goes.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, *address).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def _main(arguments: argparse.Namespace) -> None:
    tls = ssl.create_default_context(cafile=str(arguments.ca)) if arguments.ca else None
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    proxy = FaultProxy(arguments.upstream, tls=tls)
    async with proxy.running(arguments.listen, control=arguments.control):
        print(json.dumps({"url": proxy.url, "control": proxy.control_url}), flush=True)  # noqa: T201  for who started it
        await stop.wait()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--ca", type=Path)
    parser.add_argument("--listen", type=_address, default=("127.0.0.1", 0))
    parser.add_argument("--control", type=_address, default=("127.0.0.1", 0))
    asyncio.run(_main(parser.parse_args()))
