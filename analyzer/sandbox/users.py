"""The users: a process of their own, `python -m analyzer.sandbox.users URL HOST SEED`.

Open loop: requests start when they are due, however slow the answers are, as independent users do. Commands on standard
input: `{"rate", "insiders", "even", "timeout_s"}` starts or changes the load, `{"rate": 0}` ends it. Every second, and
once more when the last answer after an end is in (`"idle": true`), one JSON line tells what happened since the line
before: `{"at_s", "sent", "shed", "idle", "counts": [[insider, version, status, n]…], "latency_ms": {version: [p50,
p99]}, "slow": [[version, limit_ms, n]…]}`.
`version` is `""` where the gateway answered by itself; `status` is a code, `timeout` or `reset`.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from analyzer.sandbox.behaviour import COMPANY_COOKIE
from analyzer.sandbox.http1 import Framing, FramingError, Message
from analyzer.sandbox.workloads import emit, standard_input

_REPORT_EVERY_S: Final = 1.0
_MOST_IN_FLIGHT: Final = 1_000
_SLOW_MS: Final = (250, 500, 1_000)  # how many took longer than each


@dataclass(slots=True)
class Second:
    """What happened since the last report."""

    sent: int = 0
    shed: int = 0
    counts: Counter[tuple[bool, str, str]] = field(default_factory=Counter)
    latencies: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def message(self, *, idle: bool) -> dict[str, Any]:
        """Write it as the parent reads it."""
        return {
            "at_s": time.time(),
            "sent": self.sent,
            "shed": self.shed,
            "idle": idle,
            "counts": [[*key, n] for key, n in sorted(self.counts.items())],
            "latency_ms": {
                version: [round(_quantile(sorted(values), q), 1) for q in (0.5, 0.99)]
                for version, values in self.latencies.items()
            },
            "slow": [
                [version, limit, n]
                for version, values in self.latencies.items()
                for limit in _SLOW_MS
                if (n := sum(value > limit for value in values))
            ],
        }


def _quantile(ordered: list[float], q: float) -> float:
    return ordered[min(int(len(ordered) * q), len(ordered) - 1)]


class Connection(asyncio.Protocol):
    """One keep-alive connection to the gateway, with at most one request under way."""

    def __init__(self, users: "Users") -> None:
        self._users = users
        self._framing = Framing()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._insider = False
        self._started = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, *, insider: bool, timeout_s: float) -> None:
        """Send a request; its outcome is recorded with the users."""
        self._insider = insider
        self._started = self._loop.time()
        self._timer = self._loop.call_later(timeout_s, self._give_up)
        if self._transport is None:  # lost between connecting and now
            self._finish("", "reset")
        else:
            self._transport.write(self._users.request(insider=insider))

    def data_received(self, data: bytes) -> None:
        """Take the messages that are complete."""
        try:
            messages = list(self._framing.feed(data))
        except FramingError:
            self._abort("", "reset")
            return
        for message in messages:
            self._received(message)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Give up what is under way."""
        self._transport = None
        self._users.forget(self)
        if self._timer is not None:
            self._finish("", "reset")

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def _received(self, message: Message) -> None:
        self._finish(message.headers.get("x-version", ""), message.start.split(" ", 2)[1])
        if message.last:
            self.close()
        elif self._transport is not None:
            self._users.free(self)

    def _give_up(self) -> None:
        self._abort("", "timeout")

    def _abort(self, version: str, status: str) -> None:
        if self._timer is not None:
            self._finish(version, status)
        if self._transport is not None:
            self._transport.abort()

    def _finish(self, version: str, status: str) -> None:
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        latency_ms = (self._loop.time() - self._started) * 1000
        self._users.record(insider=self._insider, version=version, status=status, latency_ms=latency_ms)


class Users:
    """Sends requests at a rate and records what came back."""

    def __init__(self, url: str, *, host: str, seed: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None, f"no host in {url!r}"
        self._address = (parts.hostname, parts.port or 80)
        head = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: sandbox-users\r\n"
        self._requests = {False: f"{head}\r\n".encode(), True: f"{head}Cookie: {COMPANY_COOKIE}\r\n\r\n".encode()}
        self._rng = random.Random(seed)
        self._free: deque[Connection] = deque()
        self._second = Second()
        self._in_flight = 0
        self._rate = 0.0
        self._insiders = 0.0
        self._even = False
        self._timeout_s = 10.0
        self._changed = asyncio.Event()
        self._ending = False

    def obey(self, command: dict[str, Any]) -> None:
        """Change the load."""
        self._ending = command["rate"] == 0
        self._rate = command["rate"]
        self._insiders = command.get("insiders", self._insiders)
        self._even = command.get("even", self._even)
        self._timeout_s = command.get("timeout_s", self._timeout_s)
        self._changed.set()

    def request(self, *, insider: bool) -> bytes:
        """Give the bytes of a request."""
        return self._requests[insider]

    def record(self, *, insider: bool, version: str, status: str, latency_ms: float) -> None:
        """Count one outcome."""
        self._in_flight -= 1
        self._second.counts[insider, version, status] += 1
        self._second.latencies[version].append(latency_ms)
        self._report_end()

    def free(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        self._free.append(connection)

    def forget(self, connection: Connection) -> None:
        """Drop a connection that is lost."""
        if connection in self._free:
            self._free.remove(connection)

    async def run(self) -> None:
        """Start requests when they are due, for ever."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        async with asyncio.TaskGroup() as group:
            while True:
                if self._rate == 0:
                    await self._changed.wait()
                    due = loop.time()
                self._changed.clear()
                if self._rate > 0:
                    due += 1 / self._rate if self._even else self._rng.expovariate(self._rate)
                    await asyncio.sleep(due - loop.time())
                    self._start_one(group)

    def _start_one(self, group: asyncio.TaskGroup) -> None:
        if self._rate == 0:
            return
        if self._in_flight >= _MOST_IN_FLIGHT:
            self._second.shed += 1
            return
        self._in_flight += 1
        self._second.sent += 1
        insider = self._rng.random() < self._insiders
        if self._free:
            self._free.pop().send(insider=insider, timeout_s=self._timeout_s)
        else:
            group.create_task(self._connect_and_send(insider=insider))

    async def _connect_and_send(self, *, insider: bool) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                _, connection = await loop.create_connection(lambda: Connection(self), *self._address)
        except OSError:  # TimeoutError is one
            self.record(insider=insider, version="", status="reset", latency_ms=0.0)
            return
        connection.send(insider=insider, timeout_s=self._timeout_s)

    async def report(self) -> None:
        """Write one line a second."""
        while True:
            await asyncio.sleep(_REPORT_EVERY_S)
            self._emit(idle=False)

    def _report_end(self) -> None:
        if self._ending and self._in_flight == 0:
            self._ending = False
            self._emit(idle=True)

    def _emit(self, *, idle: bool) -> None:
        emit(self._second.message(idle=idle))
        self._second = Second()

    def settle(self) -> None:
        """Report an end that came while nothing was under way."""
        self._report_end()


async def main(url: str, host: str, seed: str) -> None:
    """Obey until standard input ends."""
    users = Users(url, host=host, seed=seed)
    commands = await standard_input()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(users.run()), group.create_task(users.report())]
        async for line in commands:
            users.obey(json.loads(line))
            users.settle()
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
