import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from analyzer.sandbox.child import Child, ChildDied

LEASHED = """
import asyncio, sys
from pathlib import Path
from analyzer.sandbox.child import Child

async def main():
    child = await Child.start("sleeper", ["sleep", "600"], log=Path(sys.argv[1]))
    print(child.pid, flush=True)
    await child.watch()

asyncio.run(main())
"""


def is_running(pid: int) -> bool:
    """Tell a process from a zombie that nobody has reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


async def test_a_child_that_ends_by_itself_is_an_error_with_its_last_lines(tmp_path: Path) -> None:
    child = await Child.start("sad", ["sh", "-c", "echo no such file >&2; exit 3"], log=tmp_path / "log")
    with pytest.raises(ChildDied, match=r"(?s)sad \(pid \d+\) ended with exit status 3.*no such file"):
        await child.watch()


async def test_a_child_that_was_stopped_is_no_error(tmp_path: Path) -> None:
    child = await Child.start("sleeper", ["sleep", "600"], log=tmp_path / "log")
    await child.stop()
    await child.watch()
    assert not child.running


async def test_a_child_that_will_not_listen_is_killed(tmp_path: Path) -> None:
    script = "trap '' TERM; echo deaf; while true; do sleep 0.1; done"
    child = await Child.start("deaf", ["sh", "-c", script], log=tmp_path / "log")
    async with asyncio.timeout(10):
        while "deaf" not in (tmp_path / "log").read_text():  # noqa: ASYNC110 - another process' state
            await asyncio.sleep(0.01)
        await child.stop(grace_s=0.1)
    assert not child.running


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv of util-linux holds the leash")
async def test_a_child_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LEASHED, str(tmp_path / "log"), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    async with asyncio.timeout(10):
        while name_of(pid) != "sleep":  # noqa: ASYNC110 - the leash is on when setpriv has become the child
            await asyncio.sleep(0.01)
    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()
    async with asyncio.timeout(10):
        while is_running(pid):  # noqa: ASYNC110 - another process' state
            await asyncio.sleep(0.01)
