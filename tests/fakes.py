"""Small test doubles of the ports: a clock one sets, a cluster that fails on request, telemetry from a script."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from analyzer.ports import (
    Alert,
    Change,
    Clock,
    Cluster,
    Kind,
    Listing,
    Object,
    PatchOperation,
    Ref,
    SeriesBatch,
    TelemetryQuery,
    TelemetryWindow,
)

Phase = Literal["before", "after"]
Decide = Callable[[int, str, Phase], BaseException | None]
TelemetryAnswer = TelemetryWindow | Exception


class Killed(BaseException):
    """The process dies here. No `except Exception` of the code under test can stop it."""


class StreamClosed(BaseException):
    """Not raised by `FaultyCluster`: it ends a watch as a server does, without an error."""


class Hung(BaseException):
    """Not raised by `FaultyCluster`: the call never answers; only cancelling it (a time-out) ends it."""


@dataclass(slots=True)
class ManualClock:
    """A clock that moves when told to."""

    wall_s: float = 1_700_000_000.0
    elapsed_s: float = 0.0

    def now_s(self) -> float:
        return self.wall_s

    def monotonic_s(self) -> float:
        return self.elapsed_s

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.wall_s += seconds
        self.elapsed_s += seconds

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as NTP or a person does."""
        self.wall_s += seconds


class FaultyCluster:
    """A cluster whose calls fail where `decide` says so.

    `decide(call_number, method, phase)` is asked before and after each call; call numbers begin at 1. What it returns
    is raised: in phase "before" nothing has happened in `inner`, in phase "after" it has, and the answer is lost. A
    watch is one call; it is asked "before" when it is opened and "after" for each change and at the stream's end.
    """

    def __init__(self, inner: Cluster, decide: Decide = lambda _number, _method, _phase: None) -> None:
        self.inner = inner
        self.decide = decide
        self.calls: list[str] = []

    @property
    def call_count(self) -> int:
        return len(self.calls)

    def _begin(self, method: str) -> int:
        self.calls.append(method)
        return len(self.calls)

    async def _fault(self, number: int, method: str, phase: Phase) -> None:
        fault = self.decide(number, method, phase)
        if isinstance(fault, Hung):
            await asyncio.Event().wait()
        if fault is not None:
            raise fault

    async def get(self, ref: Ref) -> Object:
        number = self._begin("get")
        await self._fault(number, "get", "before")
        answer = await self.inner.get(ref)
        await self._fault(number, "get", "after")
        return answer

    async def list(self, kind: Kind, *, namespace: str | None = None) -> Listing:
        number = self._begin("list")
        await self._fault(number, "list", "before")
        answer = await self.inner.list(kind, namespace=namespace)
        await self._fault(number, "list", "after")
        return answer

    async def watch(
        self, kind: Kind, *, namespace: str | None = None, resource_version: str
    ) -> AsyncGenerator[Change, None]:
        number = self._begin("watch")
        stream = self.inner.watch(kind, namespace=namespace, resource_version=resource_version)
        try:
            await self._fault(number, "watch", "before")
            async for change in stream:
                await self._fault(number, "watch", "after")
                yield change
            await self._fault(number, "watch", "after")
        except StreamClosed:
            return
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    async def patch(self, ref: Ref, operations: Sequence[PatchOperation], *, dry_run: bool = False) -> Object:
        number = self._begin("patch")
        await self._fault(number, "patch", "before")
        answer = await self.inner.patch(ref, operations, dry_run=dry_run)
        await self._fault(number, "patch", "after")
        return answer

    async def replace_status(self, ref: Ref, obj: Object) -> Object:
        number = self._begin("replace_status")
        await self._fault(number, "replace_status", "before")
        answer = await self.inner.replace_status(ref, obj)
        await self._fault(number, "replace_status", "after")
        return answer

    async def create(self, kind: Kind, obj: Object) -> Object:
        number = self._begin("create")
        await self._fault(number, "create", "before")
        answer = await self.inner.create(kind, obj)
        await self._fault(number, "create", "after")
        return answer


def empty_batch() -> SeriesBatch:
    return SeriesBatch(
        labels=(),
        offsets=np.zeros(1, dtype=np.int64),
        times=np.zeros(0, dtype=np.float64),
        values=np.zeros(0, dtype=np.float64),
    )


def empty_window(query: TelemetryQuery) -> TelemetryWindow:
    return TelemetryWindow(query=query, requests=empty_batch(), durations=empty_batch(), reporters=empty_batch())


@dataclass
class FakeTelemetry:
    """Telemetry from a function of the query, or from a script whose exceptions are raised."""

    clock: Clock
    answer: Callable[[TelemetryQuery], TelemetryAnswer] | Iterable[TelemetryAnswer] = empty_window
    now_error: Exception | None = None
    queries: list[TelemetryQuery] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._script = None if callable(self.answer) else deque(self.answer)

    async def now_s(self) -> float:
        if self.now_error is not None:
            raise self.now_error
        return self.clock.now_s()

    async def fetch(self, query: TelemetryQuery) -> TelemetryWindow:
        self.queries.append(query)
        answer = self._next(query)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _next(self, query: TelemetryQuery) -> TelemetryAnswer:
        if callable(self.answer):
            return self.answer(query)
        assert self._script, f"the script of FakeTelemetry is at its end, and was asked for {query}"
        return self._script.popleft()


@dataclass
class RecordingSink:
    """Keeps the alerts it was sent; `failures` are raised first, one per attempt."""

    failures: list[Exception] = field(default_factory=list)
    attempts: list[Alert] = field(default_factory=list)
    sent: list[Alert] = field(default_factory=list)

    async def send(self, alert: Alert) -> None:
        self.attempts.append(alert)
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append(alert)
