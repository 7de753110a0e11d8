"""The parent's side of the users' process."""

import asyncio
import sys
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from analyzer.sandbox.child import Child

GATEWAY: Final = "gateway"
"""Who failed a request that no version answered."""

_REMEMBERED: Final = 60


class Outcome(NamedTuple):
    """What became of a request."""

    insider: bool  # it carried the company's cookie
    version: str  # "" where no pod answered
    status: str  # a code, `timeout` or `reset`

    @property
    def failed(self) -> bool:
        """True for 5xx and where no answer came."""
        return not self.status.isdecimal() or int(self.status) >= 500


@dataclass(slots=True)
class Tally:
    """Requests of some time, by outcome."""

    sent: int = 0
    shed: int = 0  # not sent, because a thousand were under way
    counts: Counter[Outcome] = field(default_factory=Counter)
    slow: Counter[tuple[str, int]] = field(default_factory=Counter)  # by version and limit [ms]: took longer

    @property
    def answered(self) -> int:
        """Count the requests with any outcome."""
        return self.counts.total()

    def served(self, version: str) -> int:
        """Count the requests that this version answered, well or not."""
        return sum(n for outcome, n in self.counts.items() if outcome.version == version)

    def failed(self) -> Counter[str]:
        """Count failed requests by who failed them: a version, or the gateway (which includes time-outs)."""
        failed: Counter[str] = Counter()
        for outcome, n in self.counts.items():
            if outcome.failed:
                failed[outcome.version or GATEWAY] += n
        return failed

    def add(self, others: Iterable["Tally"]) -> Self:
        """Take the others in."""
        for other in others:
            self.sent += other.sent
            self.shed += other.shed
            self.counts.update(other.counts)
            self.slow.update(other.slow)
        return self


@dataclass(frozen=True, slots=True)
class Second:
    """One report: what ended since the one before.

    Attributes
    ----------
    at_s
        When it was made [unix seconds].
    tally
        Requests by outcome.
    latency_ms
        By version: median and 99th percentile [ms].
    idle
        The load was ended, and every request has its outcome.
    """

    at_s: float
    tally: Tally
    latency_ms: Mapping[str, tuple[float, float]]
    idle: bool

    @classmethod
    def parse(cls, message: Mapping[str, Any]) -> Self:
        """Read a line of `analyzer.sandbox.users`."""
        counts = Counter({Outcome(*row[:3]): row[3] for row in message["counts"]})
        latency_ms = {version: (p50, p99) for version, (p50, p99) in message["latency_ms"].items()}
        slow = Counter({(version, limit): n for version, limit, n in message["slow"]})
        tally = Tally(message["sent"], message["shed"], counts, slow)
        return cls(message["at_s"], tally, latency_ms, message["idle"])


class Users:
    """Open-loop users of the gateway."""

    def __init__(self) -> None:
        self.total = Tally()
        self._child: Child | None = None
        self._recent: deque[Second] = deque(maxlen=_REMEMBERED)
        self._count = 0
        self._news = asyncio.Condition()

    @property
    def child(self) -> Child:
        """The process."""
        assert self._child is not None, "the users were not started"
        return self._child

    async def open(self, url: str, *, host: str, seed: str, log: Path) -> None:
        """Start the process; it sends nothing yet."""
        argv = [sys.executable, "-m", "analyzer.sandbox.users", url, host, seed]
        self._child = await Child.start("users", argv, log=log, talks=True)

    async def close(self) -> None:
        """End the process."""
        if self._child is not None:
            await self._child.stop()

    async def start(self, rate: float, *, insiders: float = 0.0, even: bool = False, timeout_s: float = 10.0) -> None:
        """Begin, or change, the load.

        `rate` in requests/s; `insiders` is the share [ratio] with the company's cookie; arrivals are Poisson unless
        `even`; each user gives up after `timeout_s`.
        """
        await self.child.send({"rate": rate, "insiders": insiders, "even": even, "timeout_s": timeout_s})

    async def stop(self) -> Tally:
        """End the load, wait until every request has its outcome, and give the tally of all time."""
        async with aclosing(self.follow()) as seconds:
            await self.child.send({"rate": 0})
            async for second in seconds:
                if second.idle:
                    break
        return self.total

    def follow(self) -> AsyncGenerator[Second, None]:
        """Report each second from now on; a reader that is a minute late misses some (`total` misses none)."""
        return self._follow(self._count)

    async def _follow(self, seen: int) -> AsyncGenerator[Second, None]:
        while True:
            async with self._news:
                while self._count == seen:
                    await self._news.wait()
                fresh = list(self._recent)[seen - self._count :]
                seen = self._count
            for second in fresh:
                yield second

    async def listen(self) -> None:
        """Take the process' reports, for as long as it lives."""
        async for message in self.child.messages():
            second = Second.parse(message)
            self.total.add([second.tally])
            async with self._news:
                self._recent.append(second)
                self._count += 1
                self._news.notify_all()
