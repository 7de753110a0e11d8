"""Output that is closed before its end, as a process has it."""

import subprocess
import sys

import pytest

from analyzer.cli.pipe import CLOSED

COMMANDS = {
    "plain": """
def command():
    while True:
        print("a line", flush=True)
""",
    "in a task": """
import asyncio

async def speak():
    while True:
        print("a line", flush=True)
        await asyncio.sleep(0)

async def speak_among_others():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.sleep(3600))
        await speak()

def command():
    asyncio.run(speak_among_others())
""",
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_closed_pipe_ends_a_command_quietly(command: str) -> None:
    code = f"{command}\nfrom analyzer.cli.pipe import until_closed\nraise SystemExit(until_closed(command))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"a line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == CLOSED
