"""Child processes: one log file each, an unexpected end is an error, and none outlives its parent."""

import asyncio
import json
import shutil
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, Self

from analyzer.errors import SerinError

_LAST_LINES: Final = 20
_LONGEST_LINE: Final = 2**22


class ChildDied(SerinError):
    """A process of the sandbox ended by itself."""

    reason = "ChildDied"


class Child:
    """A process, its log, and (if it talks) JSON lines over its standard input and output."""

    def __init__(self, name: str, *, process: Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process
        self._stopping = False

    @classmethod
    async def start(cls, name: str, argv: Sequence[str], *, log: Path, talks: bool = False) -> Self:
        """Start `argv` with its output in `log`; a child that talks keeps only its errors there."""
        with log.open("ab") as sink:
            process = await asyncio.create_subprocess_exec(
                *_leashed(argv),
                stdin=PIPE if talks else asyncio.subprocess.DEVNULL,
                stdout=PIPE if talks else sink,
                stderr=sink,
                cwd=None if talks else log.parent,
                limit=_LONGEST_LINE,
            )
        return cls(name, process=process, log=log)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """False once it has ended."""
        return self._process.returncode is None

    async def send(self, message: Mapping[str, Any]) -> None:
        """Write one JSON line; a child that is gone is reported by `watch`, not here."""
        assert self._process.stdin is not None, "this child does not talk"
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        try:
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            if not self._stopping:
                await self.watch()

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Read JSON lines until the child closes its output."""
        assert self._process.stdout is not None, "this child does not talk"
        async for line in self._process.stdout:
            yield json.loads(line)

    async def watch(self) -> None:
        """Return when the child was stopped.

        Raises
        ------
        ChildDied
            It ended by itself; the message ends with the last lines of its log.
        """
        await self._process.wait()
        if not self._stopping:
            self.died()

    def died(self) -> NoReturn:
        """Raise `ChildDied` with the last lines of the log."""
        code = self._process.returncode
        raise ChildDied(f"{self.name} (pid {self.pid}) ended with exit status {code}. Its last lines:\n{self.tail()}")

    def tail(self) -> str:
        """Last lines of the log, for a message."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(f"    {line}" for line in lines[-_LAST_LINES:]) or "    (it wrote nothing)"

    async def stop(self, *, grace_s: float = 3.0) -> None:
        """Ask it to end, then make it end."""
        self._stopping = True
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self.running:
            self._process.terminate()
        try:
            async with asyncio.timeout(grace_s):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def _leashed(argv: Sequence[str]) -> list[str]:
    """Let the kernel end the child when we are killed, where `setpriv` of util-linux is there to ask for it."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *argv] if setpriv else list(argv)
