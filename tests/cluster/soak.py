"""Serin for a long time: `python -m tests.cluster.soak --minutes 60 --policies 20`.

Releases come and go on all services, Serin is looked at each minute, and its memory, tasks, connections and watches are
printed. Exit code 1: they grew. Memory is compared between the first and the last quarter after the warm-up, so that neither
the first imports nor one collection decides.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from analyzer.sandbox.scope import Job, beside
from tests.cluster.audit import AuditLog, OpenWatches
from tests.cluster.bed.client import Bed, KubectlFailed, trusting_session
from tests.cluster.bed.kube import Kube
from tests.cluster.bed.places import API_URL, Places
from tests.cluster.deployment import deploy
from tests.cluster.enter import INSIDE
from tests.cluster.enter import main as enter
from tests.cluster.eyes import Eyes
from tests.cluster.serin import Receiver, Replicas
from tests.cluster.shops import LENIENT, Shop, Shops

WARM_UP: Final = 0.25
"""Share of the time that is not looked at: caches fill, code is imported."""
GROWTH: Final = 0.02
"""That memory may grow by [ratio]."""
_AT_ONCE: Final = 5
_AGAIN_S: Final = 10.0
_QUICK: Final = {**LENIENT, "dwell": {"min": "10s", "max": "20s"}}


@dataclass(frozen=True, slots=True)
class Look:
    """What Serin has at a moment.

    Attributes
    ----------
    memory_mb
        Resident [MB].
    tasks
        Of its event loop.
    connections
        To the API server: watches among them.
    watches
        Open ones, by the API server's audit log.
    sockets, files, threads
        Open ones, as /proc lists them.
    releases
        Promoted since the begin.
    """

    minute: float
    memory_mb: float
    tasks: int
    connections: int
    watches: int
    sockets: int
    files: int
    threads: int
    releases: int

    def __str__(self) -> str:
        return (
            f"{self.minute:6.1f} min  {self.memory_mb:7.1f} MB  {self.tasks:3d} tasks  {self.connections:2d} to the API "
            f"server  {self.watches:2d} watches  {self.sockets:3d} sockets  {self.files:3d} files  {self.threads:2d} threads  "
            f"{self.releases:4d} releases"
        )


def look(pid: int, *, minute: float, tasks: int, watches: int, releases: int) -> Look:
    """Read a process from /proc; what that does not tell is given."""
    process = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    files = []
    for descriptor in (process / "fd").iterdir():
        try:
            files.append(str(descriptor.readlink()))
        except FileNotFoundError:  # closed just now
            continue
    sockets = {file for file in files if file.startswith("socket:")}
    return Look(
        minute=minute,
        memory_mb=int(status["VmRSS"].split()[0]) / 1024,
        tasks=tasks,
        connections=sum(f"socket:[{inode}]" in sockets for inode in _to_api_server(process)),
        watches=watches,
        sockets=len(sockets),
        files=len(files),
        threads=int(status["Threads"]),
        releases=releases,
    )


def _to_api_server(process: Path) -> list[str]:
    """Give the inodes of the connections of this network namespace to the API server."""
    port = f":{int(API_URL.rpartition(':')[2]):04X}"
    rows = [line.split() for line in (process / "net" / "tcp").read_text().splitlines()[1:]]
    return [row[9] for row in rows if row[2].endswith(port)]


def find_growth(looks: Sequence[Look]) -> list[str]:
    """Say what grew between the first and the last quarter after the warm-up."""
    settled = looks[round(len(looks) * WARM_UP) :]
    quarter = max(len(settled) // 4, 1)
    first, last = settled[:quarter], settled[-quarter:]
    grown = []
    before, after = (statistics.median(one.memory_mb for one in part) for part in (first, last))
    if after > before * (1 + GROWTH):
        grown.append(f"memory: {before:.1f} MB to {after:.1f} MB")
    for name in ("tasks", "connections", "watches", "sockets", "files", "threads"):
        low, high = (min(getattr(one, name) for one in part) for part in (first, last))
        if high > low:
            grown.append(f"{name}: {low} to {high}, at the least")
    return grown


async def _release_forever(shop: Shop, done: list[str]) -> None:
    """Release a new revision into whichever version is the canary, again and again."""
    number = 0
    while True:
        number += 1
        await shop.eyes.until_phase(shop.namespace, "Promoted", "RolledBack", patience_s=3600)
        canary = "v1" if shop.eyes.weight(shop.namespace, 0) == 0 else "v2"
        stamp = shop.eyes.statuses[shop.namespace][-1][0]
        try:
            await shop.release(canary, LATENCY_MS=20, RELEASE=number)
        except KubectlFailed as error:  # the machine is busy: so is a pipeline's, and it comes again
            sys.stdout.write(f"{shop.namespace} is released again: {str(error)[-200:]}\n")
            await asyncio.sleep(_AGAIN_S)
            continue
        done.append(shop.namespace)
        await shop.eyes.until_status(
            shop.namespace,
            lambda status: status.get("phase") not in {"Promoted", "RolledBack"},
            what=f"a new rollout after {stamp:.0f}",
            patience_s=600,
        )


async def soak(directory: Path, *, minutes: float, policies: int, rate: float) -> list[Look]:
    """Run it, and print a line each minute."""
    looks: list[Look] = []
    done: list[str] = []
    async with AsyncExitStack() as stack:
        places = Places.of(directory)
        session = await stack.enter_async_context(trusting_session(places))
        bed = Bed(places, session)
        deployment = await deploy(bed, directory)
        receiver = await stack.enter_async_context(Receiver())
        replicas = Replicas(deployment, receiver=receiver)
        stack.push_async_callback(replicas.close)
        eyes = Eyes(Kube(session))
        await stack.enter_async_context(beside(eyes.jobs))
        shops = Shops(bed, eyes=eyes, audit=AuditLog(bed.places.audit_log), receiver=receiver, stack=stack)
        watches = OpenWatches(places.audit_log)
        replica = await replicas.start()
        for first in range(0, policies, _AT_ONCE):
            async with asyncio.TaskGroup() as group:
                for number in range(first, min(first + _AT_ONCE, policies)):
                    group.create_task(shops.open(f"soak{number}", rate=rate, judge=_QUICK))
        jobs = [_releaser(shop, done) for shop in shops.opened]
        await stack.enter_async_context(beside(jobs))
        begun_s = time.monotonic()
        while (minute := (time.monotonic() - begun_s) / 60) < minutes:
            replica.check()
            tasks = int((await replica.metrics(session))["serin_tasks"])
            looks.append(look(replica.pid, minute=minute, tasks=tasks, watches=watches.count(), releases=len(done)))
            sys.stdout.write(f"{looks[-1]}\n")
            sys.stdout.flush()
            await asyncio.sleep(min(60.0, minutes * 60 / 40))
    return looks


def _releaser(shop: Shop, done: list[str]) -> Job:
    async def release() -> None:
        await _release_forever(shop, done)

    return release


def main() -> int:
    """Bring a cluster up around this, soak, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--policies", type=int, default=20)
    parser.add_argument("--rate", type=float, default=5, help="users' requests per second and service")
    parser.add_argument("--directory", type=Path, help="where the logs go")
    options = parser.parse_args()
    directory = options.directory or Path(tempfile.mkdtemp(prefix="serin-soak-"))
    if INSIDE not in os.environ:
        again = [sys.executable, "-m", "tests.cluster.soak", *sys.argv[1:]]
        again += [] if options.directory else ["--directory", str(directory)]
        return enter([sys.executable, "-m", "tests.cluster.bed", str(directory), *again])
    looks = asyncio.run(soak(directory, minutes=options.minutes, policies=options.policies, rate=options.rate))
    grown = find_growth(looks)
    sys.stdout.write(f"{'It grew: ' + '; '.join(grown) if grown else 'Nothing grew.'} Logs: {directory}\n")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
