"""The pods' side: one process with a real HTTP server per pod, `python -m analyzer.sandbox.workloads SEED`.

Commands come as JSON lines on standard input: `{"id", "op": "add", "pod", "version", "behaviour"}`, answered with
`{"id", "port"}`, and `{"id", "op": "remove", "pod"}`, answered with `{"id"}`. Once a second goes out `{"usage": {pod:
[cpu, served, refused]}}`: CPU used so far [millicore seconds] and requests. The end of standard input ends the process.
"""

import asyncio
import json
import math
import random
import sys
from collections import deque
from typing import Any, Final

from analyzer.sandbox.behaviour import COMPANY_COOKIE, Behaviour
from analyzer.sandbox.http1 import Framing, FramingError, Message

_REPORT_EVERY_S: Final = 1.0
_FOREVER_S: Final = 86_400.0
_PHRASES: Final = {200: "OK", 400: "Bad Request", 500: "Internal Server Error", 503: "Service Unavailable"}
_TEXTS: Final = {200: "Hello", 500: "Error", 503: "Overloaded"}


class Pod:
    """Serves requests as its behaviour says: so many at a time, so many waiting, the rest refused."""

    def __init__(self, name: str, *, version: str, behaviour: Behaviour, rng: random.Random) -> None:
        self.name = name
        self.version = version
        self.connections: set[Connection] = set()
        self._behaviour = behaviour
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._born = self._loop.time()
        self._timers: dict[Connection, asyncio.TimerHandle] = {}
        self._waiting: deque[Connection] = deque()
        self._served = 0
        self._refused = 0
        self._server: asyncio.Server | None = None

    async def listen(self) -> int:
        """Open the pod's own port on loopback, chosen by the kernel."""
        self._server = await self._loop.create_server(lambda: Connection(self), "127.0.0.1", 0, backlog=1024)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Take no more connections; those in use end with their answer."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close_when_idle()

    def usage(self) -> tuple[float, int, int]:
        """CPU so far [millicore seconds], requests served, requests refused."""
        declared = self._behaviour
        base = declared.cpu_base_milli * (self._loop.time() - self._born)
        return base + declared.cpu_milliseconds_per_request * self._served, self._served, self._refused

    def accept(self, connection: "Connection") -> None:
        """Serve the connection's request now, later, or not at all."""
        if len(self._timers) < self._behaviour.concurrency:
            self._begin(connection)
        elif len(self._waiting) < self._behaviour.queue_limit:
            self._waiting.append(connection)
        else:
            self._refused += 1
            connection.answer(503)

    def abandon(self, connection: "Connection") -> None:
        """Forget a request whose client has gone."""
        timer = self._timers.pop(connection, None)
        if timer is not None:
            timer.cancel()
            self._begin_next()
        elif connection in self._waiting:
            self._waiting.remove(connection)

    def _begin(self, connection: "Connection") -> None:
        self._timers[connection] = self._loop.call_later(self._service_time_s(), self._end, connection)

    def _end(self, connection: "Connection") -> None:
        del self._timers[connection]
        self._served += 1
        declared = self._behaviour
        extra = declared.error_rate_insiders if connection.insider else declared.error_rate_others
        connection.answer(500 if self._rng.random() < declared.error_rate + extra else 200)
        self._begin_next()

    def _begin_next(self) -> None:
        if self._waiting:
            self._begin(self._waiting.popleft())

    def _service_time_s(self) -> float:
        declared, rng = self._behaviour, self._rng
        if rng.random() < declared.hang_share:
            return _FOREVER_S
        median_ms = declared.tail_ms if rng.random() < declared.tail_share else declared.latency_ms
        age_s = self._loop.time() - self._born
        warm_up = 1 + declared.warmup_factor * math.exp(-age_s / declared.warmup_seconds)
        return median_ms * warm_up * rng.lognormvariate(0, declared.latency_sigma) / 1000


class Connection(asyncio.Protocol):
    """One keep-alive connection: its requests one after the other."""

    def __init__(self, pod: Pod) -> None:
        self.insider = False  # who sent the request that is under way
        self._pod = pod
        self._framing = Framing()
        self._requests: deque[Message] = deque()
        self._busy = False
        self._closing = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._pod.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Give up what is under way."""
        self._transport = None
        self._pod.connections.discard(self)
        if self._busy:
            self._pod.abandon(self)

    def data_received(self, data: bytes) -> None:
        """Take the messages that are complete."""
        try:
            self._requests.extend(self._framing.feed(data))
        except FramingError:
            self._closing = True
            self.answer(400)
            return
        self._next()

    def answer(self, status: int) -> None:
        """Send the response and take the next request."""
        if self._transport is None:
            return
        text = f"{_TEXTS.get(status, 'Refused')} version: {self._pod.version}, instance: {self._pod.name}\n"
        head = (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: text/plain\r\nx-version: {self._pod.version}\r\n"
            f"content-length: {len(text)}\r\n{'connection: close' if self._closing else 'x-sandbox: pod'}\r\n\r\n"
        )
        self._transport.write((head + text).encode())
        self._busy = False
        if self._closing:
            self._transport.close()
        else:
            self._next()

    def close_when_idle(self) -> None:
        """Close now, or after the answer that is due."""
        self._closing = True
        if not self._busy and self._transport is not None:
            self._transport.close()

    def _next(self) -> None:
        if self._requests and not self._busy:
            request = self._requests.popleft()
            self._closing = self._closing or request.last
            self.insider = COMPANY_COOKIE in request.headers.get("cookie", "")
            self._busy = True
            self._pod.accept(self)


class Workloads:
    """All pods of the process."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._pods: dict[str, Pod] = {}

    async def obey(self, command: dict[str, Any]) -> None:
        """Carry out one command and answer it."""
        answer: dict[str, Any] = {"id": command["id"]}
        name = command["pod"]
        if command["op"] == "add":
            behaviour = Behaviour(**command["behaviour"])
            rng = random.Random(f"{self._seed}/{name}")
            pod = Pod(name, version=command["version"], behaviour=behaviour, rng=rng)
            answer["port"] = await pod.listen()
            self._pods[name] = pod
        else:
            self._pods.pop(name).close()
        emit(answer)

    async def report(self) -> None:
        """Write the usage of all pods, once a second."""
        while True:
            emit({"usage": {name: pod.usage() for name, pod in self._pods.items()}})
            await asyncio.sleep(_REPORT_EVERY_S)


def emit(message: dict[str, Any]) -> None:
    """Write one JSON line to the parent."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def standard_input() -> asyncio.StreamReader:
    """Read commands without blocking the loop."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def main(seed: str) -> None:
    """Obey until standard input ends."""
    workloads = Workloads(seed)
    commands = await standard_input()
    async with asyncio.TaskGroup() as group:
        reporting = group.create_task(workloads.report())
        async for line in commands:
            await workloads.obey(json.loads(line))
        reporting.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
