"""The parent's side of the workloads' process."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from analyzer.sandbox.behaviour import Behaviour
from analyzer.sandbox.child import Child


@dataclass(frozen=True, slots=True)
class Usage:
    """What a pod has used since it started.

    Attributes
    ----------
    at_s
        When this was known [seconds of the loop's clock].
    cpu_milliseconds
        CPU [millicore seconds].
    served, refused
        Requests answered after work, and at once with 503.
    """

    at_s: float
    cpu_milliseconds: float
    served: int
    refused: int


class Pods:
    """Starts and removes pods in the workloads' process, and knows their usage."""

    def __init__(self) -> None:
        self.usage: Mapping[str, Usage] = {}
        self._child: Child | None = None
        self._ids = count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    @property
    def child(self) -> Child:
        """The process."""
        assert self._child is not None, "the workloads were not started"
        return self._child

    async def open(self, *, seed: str, log: Path) -> None:
        """Start the process, without pods."""
        argv = [sys.executable, "-m", "analyzer.sandbox.workloads", seed]
        self._child = await Child.start("workloads", argv, log=log, talks=True)

    async def close(self) -> None:
        """End the process."""
        if self._child is not None:
            await self._child.stop()

    async def add(self, pod: str, *, version: str, behaviour: Behaviour) -> int:
        """Start a pod and return its port on 127.0.0.1."""
        answer = await self._ask({"op": "add", "pod": pod, "version": version, "behaviour": asdict(behaviour)})
        return int(answer["port"])

    async def remove(self, pod: str) -> None:
        """Take a pod away; requests that it is serving end first."""
        await self._ask({"op": "remove", "pod": pod})

    async def listen(self) -> None:
        """Take the process' messages, for as long as it lives."""
        loop = asyncio.get_running_loop()
        async for message in self.child.messages():
            if "usage" in message:
                now = loop.time()
                self.usage = {name: Usage(now, *values) for name, values in message["usage"].items()}
            else:
                self._answers.pop(message["id"]).set_result(message)

    async def _ask(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self.child.send({"id": number, **command})
        reply: Mapping[str, Any] = await answer
        return reply
