"""The bed's processes: started, stopped, paused and resumed by name; one that dies by itself takes the bed down."""

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from analyzer.errors import SerinError
from analyzer.sandbox.child import Child
from tests.cluster.bed.places import ADMIN_TOKEN

_POLL_S: Final = 0.05
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a component is started.

    Attributes
    ----------
    ready_url
        Answers 200 once it serves; None: it is taken as it is.
    grace_s
        What it gets to end in when it is stopped; 0 is a kill.
    """

    name: str
    argv: tuple[str, ...]
    ready_url: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    grace_s: float = 0.0


class Components:
    """All of them, by name."""

    def __init__(self, directory: Path, *, session: aiohttp.ClientSession, group: asyncio.TaskGroup) -> None:
        self._directory = directory
        self._session = session
        self._group = group
        self._recipes: dict[str, Recipe] = {}
        self._children: dict[str, Child] = {}
        self._paused: set[str] = set()

    async def add(self, recipe: Recipe) -> None:
        """Start a new component and wait until it serves."""
        self._recipes[recipe.name] = recipe
        await self.start(recipe.name)

    async def start(self, name: str) -> None:
        """Start a component that is stopped, and wait until it serves; one that runs is left alone.

        Raises
        ------
        SerinError
            It does not serve within a minute; with the last lines of its log.
        """
        if name in self._children:
            return
        recipe = self._recipes[name]
        argv = ["env", *(f"{key}={value}" for key, value in recipe.environment.items()), *recipe.argv]
        child = await Child.start(name, argv, log=self._directory / f"{name}.log")
        self._children[name] = child
        self._group.create_task(child.watch())
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while not await self._serves(recipe):  # noqa: ASYNC110 - another process' state
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise SerinError(f"{name} does not serve within {_PATIENCE_S:.0f} s. It said:\n{child.tail()}") from None

    async def stop(self, name: str) -> None:
        """End a component; its data stay."""
        child = self._children.pop(name, None)
        self._paused.discard(name)
        if child is not None:
            await child.stop(grace_s=self._recipes[name].grace_s)

    async def restart(self, name: str) -> None:
        """Stop and start."""
        await self.stop(name)
        await self.start(name)

    async def pause(self, name: str) -> None:
        """Let it hang, with all its connections open."""
        os.kill(self._children[name].pid, signal.SIGSTOP)
        self._paused.add(name)

    async def resume(self, name: str) -> None:
        """Let it go on."""
        os.kill(self._children[name].pid, signal.SIGCONT)
        self._paused.discard(name)

    async def close(self) -> None:
        """End all, the last first."""
        for name in reversed(list(self._recipes)):
            await self.stop(name)

    def states(self) -> dict[str, str]:
        """Tell `running`, `paused` or `stopped` by name."""

        def state(name: str) -> str:
            if name not in self._children:
                return "stopped"
            return "paused" if name in self._paused else "running"

        return {name: state(name) for name in self._recipes}

    async def _serves(self, recipe: Recipe) -> bool:
        if recipe.ready_url is None:
            return True
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        timeout = aiohttp.ClientTimeout(total=2)
        try:
            async with self._session.get(recipe.ready_url, headers=headers, timeout=timeout) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False
