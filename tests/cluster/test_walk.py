"""From an empty repository to a judged release, by the commands of the README's "Your first policy" and nothing else.

What stands in the README is what runs; a user's own names are put in the place of the README's. The service has been there
for long, at rest (all traffic on v1), and has users. The pace is that of the drafted policy: nothing is quickened.
"""

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from analyzer.ports import Object
from tests.cluster.account import Account
from tests.cluster.bed.client import Bed, until
from tests.cluster.bed.manifests import build_example, declare
from tests.cluster.serin import Replicas
from tests.cluster.shops import ROOMY, SCALE_DOWN

README: Final = Path(__file__).parents[2] / "README.md"
RATE: Final = 200
WATCHING: Final = " -w"
BAD: Final[Mapping[str, Any]] = {"ERROR_RATE": 1}


def commands(namespace: str) -> list[str]:
    """Give the section's commands, with this user's names in them."""
    text = README.read_text(encoding="utf-8")
    section = re.split(r"^## ", text[text.index("## Your first policy") + 3 :], flags=re.MULTILINE)[0]
    lines = [line for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines), lines
    own = {"shop": namespace, "cart": "helloworld", "500": str(RATE)}
    written = (re.sub(r"\s{2,}#.*", "", line.removeprefix("$ ")) for line in lines)
    return [re.sub(rf"\b({'|'.join(own)})\b", lambda found: own[found[0]], line) for line in written]


def _hear_ctrl_c() -> None:
    """What is started in the background ignores it, and all that this starts does as well: here it is a user's terminal."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A user's shell in one folder, and how long each command took."""

    def __init__(self, folder: Path, bed: Bed) -> None:
        self.took: list[tuple[str, float]] = []
        self._folder = folder
        programs = (Path(sys.executable).parent, Path(bed.places.program("kubectl")).parent)
        self._environment = {
            "PATH": ":".join([*map(str, programs), os.environ["PATH"]]),
            "KUBECONFIG": str(bed.kubeconfig),
            "HOME": str(folder),
            **{f"GIT_{who}_{what}": "me@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }

    async def run(self, command: str) -> str:
        """Run a command to its end, and return what it wrote; fail if it does."""
        async with self.watching(command) as process:
            out, _ = await process.communicate()
        assert process.returncode == 0, f"$ {command}\n{out.decode()}"
        return out.decode()

    @asynccontextmanager
    async def watching(self, command: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Start a command; one that still runs at the end is ended by Ctrl-C."""
        began_s = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", command),
            cwd=self._folder,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_hear_ctrl_c,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGINT)
                await process.communicate()
            self.took.append((command, time.monotonic() - began_s))

    def told(self) -> str:
        """List the commands with their seconds."""
        return "\n".join(f"    {seconds:6.1f} s  $ {command}" for command, seconds in self.took)


def at_rest(namespace: str) -> list[Object]:
    """The example as it runs before anybody thinks of Serin."""
    objects = build_example(
        "helloworld", namespace=namespace, behaviour={"v1": ROOMY, "v2": ROOMY}, acceleration=SCALE_DOWN
    )
    routed = next(obj for obj in objects if obj["kind"] == "VirtualService")
    for destination, weight in zip(routed["spec"]["http"][0]["route"], (100, 0), strict=True):
        destination["weight"] = weight
    return objects


async def test_from_an_empty_repository_to_a_judged_release_by_the_readme_alone(
    bed: Bed, namespace: str, serin: Replicas, account: Account, tmp_path: Path
) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    objects = at_rest(namespace)
    await bed.apply(objects)
    await bed.settled(namespace)
    await bed.routed(namespace)
    await serin.start()
    terminal, said = Terminal(folder, bed), ""
    release = next(obj for obj in objects if obj["metadata"]["name"] == "helloworld-v2")
    declare(release, BAD)

    async def status() -> Object:
        found: Object = (await bed.get(namespace, "canarypolicy/helloworld")).get("status", {})
        return found

    async def judged() -> bool:
        now = await status()
        return bool(now["phase"] == "RolledBack" and now["reason"] == "Harm")

    async with bed.load(namespace, rate=RATE) as users:
        began_s = time.monotonic()
        for command in commands(namespace):
            if command.endswith("helloworld-v2.yaml"):
                (folder / "helloworld-v2.yaml").write_text(json.dumps(release))
            if command.endswith(WATCHING):
                async with terminal.watching(command):
                    await until(judged, what="judged", patience_s=150)
            else:
                said = await terminal.run(command)
        seconds, failed = time.monotonic() - began_s, users.total.failed().total()
    account.notes.append(
        f"from an empty repository to a judged release in {seconds:.0f} s, {len(terminal.took)} commands of the README "
        f"({failed} requests failed):\n\n{terminal.told()}\n"
    )
    assert await bed.weights(namespace) == [100, 0]
    policy = await bed.get(namespace, "canarypolicy/helloworld")
    assert policy["spec"]["mode"] == "enforce"
    assert terminal.took[-1][0] == f"serin explain helloworld -n {namespace}"
    assert f"v2@{policy['status']['canary']['revision']}, RolledBack" in said
    assert "v2 fails" in said
