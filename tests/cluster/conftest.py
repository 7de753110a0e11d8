"""The bed, once for all tests of a session; a namespace of its own for each test."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import pytest

from analyzer.sandbox.scope import beside
from tests.cluster.account import Account
from tests.cluster.audit import AuditLog
from tests.cluster.bed.client import Bed, trusting_session, until
from tests.cluster.bed.kube import Kube
from tests.cluster.bed.manifests import build_namespace
from tests.cluster.bed.places import Places
from tests.cluster.deployment import deploy
from tests.cluster.enter import INSIDE
from tests.cluster.eyes import Eyes
from tests.cluster.serin import Receiver, Replicas
from tests.cluster.shops import Shops

_T = TypeVar("_T")

_ROOT: Final = Path(__file__).parents[2]
_PATIENCE_S: Final = 90.0
_ENDING_S: Final = 10.0  # all its components have to be stopped
_LAST_LINES: Final = 25
_DIRECTORIES: Final = pytest.StashKey[list[Path]]()
_ACCOUNT: Final = pytest.StashKey[Account]()
_LONG: Final = [
    Path(__file__).parent / f"{where}.py"
    for where in (
        "test_story",
        "test_focus",
        "test_faults",
        "test_walk",
        "install/test_rights",
        "api/test_budget",
        "test_capacity",
    )
]
_PACKED, _BEDS = "account", "beds"


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Mark what needs the bed; other tests of this folder run with all the rest. What takes minutes begins first."""
    for item in items:
        if "running_bed" in getattr(item, "fixturenames", ()):
            item.add_marker("cluster")
    yield  # those that are not wanted are taken out
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    items[:] = deal(items, workers=workers, long=lambda item: _LONG.index(item.path) if item.path in _LONG else None)


def deal(items: list[_T], *, workers: int, long: Callable[[_T], int | None]) -> list[_T]:
    """Order tests so that each worker begins with its share of those that take minutes.

    pytest-xdist's `worksteal` gives each worker a part of the list as it is, and evens out later what is left; but nobody
    steals the last two tests of another.

    Parameters
    ----------
    items
        All tests.
    workers
        How many there are.
    long
        Tells a long test's place among them; None for a short one.
    """
    slow = sorted((item for item in items if long(item) is not None), key=lambda item: long(item) or 0)
    quick = [item for item in items if long(item) is None]
    dealt: list[_T] = []
    for worker in range(workers):
        share = (len(items) - len(dealt)) // (workers - worker)
        own = slow[worker::workers]
        taken = max(share - len(own), 0)
        dealt += [*own, *quick[:taken]]
        quick = quick[taken:]
    return [*dealt, *quick]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say why the bed ended, where that is why a test failed."""
    report = yield
    bed = getattr(item, "funcargs", {}).get("running_bed")
    if report.when == "call" and report.failed and bed is not None:
        lost = call.excinfo is not None and call.excinfo.errisinstance(aiohttp.ClientConnectionError)
        if said := bed.ended(wait_s=_ENDING_S if lost else 0.0):
            report.sections.append(("The bed ended", said))
    return report


def pytest_configure(config: pytest.Config) -> None:
    """Begin the table, and the list of the beds' directories."""
    config.stash[_ACCOUNT] = Account()
    config.stash[_DIRECTORIES] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand both to the process that reports, where tests run in several."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output[_PACKED] = session.config.stash[_ACCOUNT].pack()
        output[_BEDS] = [str(directory) for directory in session.config.stash[_DIRECTORIES]]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take both from a process that ended; one that crashed leaves nothing."""
    if (output := getattr(node, "workeroutput", None)) is not None:
        node.config.stash[_ACCOUNT].add(output[_PACKED])
        node.config.stash[_DIRECTORIES] += map(Path, output[_BEDS])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the table, and say where the logs are, if they are of interest."""
    directories = config.stash[_DIRECTORIES]
    if account := config.stash[_ACCOUNT]:
        path = account.save(directories[0])
        terminalreporter.section("faults and stories")
        terminalreporter.write_line(f"{account.render()}\nAlso in {path}")
    if directories and terminalreporter.getreports("failed"):
        terminalreporter.write_line(f"Logs of the clusters' components: {', '.join(map(str, directories))}")


@dataclass(frozen=True)
class RunningBed:
    """The process that holds everything up."""

    process: subprocess.Popen[bytes]
    places: Places
    log: Path

    def ended(self, *, wait_s: float = 0.0) -> str:
        """Give what it said last, if it has ended; otherwise nothing."""
        try:
            self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return ""
        return "\n".join(self.log.read_text().splitlines()[-_LAST_LINES:])

    def check(self) -> None:
        """Fail if it has ended, with what it said."""
        if said := self.ended():
            pytest.fail(f"the bed ended; logs are in {self.places.directory}:\n{said}", pytrace=False)


@pytest.fixture(scope="session")
def running_bed(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[RunningBed]:
    """Bring the bed up, in a process of its own: nothing that a test does to its event loop touches the pods."""
    if INSIDE not in os.environ:
        pytest.fail("this needs a network namespace of its own: make cluster-test", pytrace=False)
    directory = tmp_path_factory.mktemp("bed")
    pytestconfig.stash[_DIRECTORIES].append(directory)
    log = directory / "bed.log"
    with log.open("wb") as sink:
        argv = [sys.executable, "-m", "tests.cluster.bed", str(directory)]
        process = subprocess.Popen(argv, stdout=sink, stderr=sink, cwd=_ROOT)
    bed = RunningBed(process, Places.of(directory), log)
    try:
        end_s = time.monotonic() + _PATIENCE_S
        while not (directory / "ready").exists():
            bed.check()
            if time.monotonic() > end_s:
                pytest.fail(f"the bed is not up after {_PATIENCE_S:.0f} s:\n{log.read_text()}", pytrace=False)
            time.sleep(0.1)
        yield bed
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
async def bed(running_bed: RunningBed) -> AsyncIterator[Bed]:
    """The bed with all components running; what a test stopped is started again after it."""
    running_bed.check()
    async with trusting_session(running_bed.places) as session:
        bed = Bed(running_bed.places, session)
        yield bed
        running_bed.check()
        await bed.heal()


@pytest.fixture
async def namespace(bed: Bed, running_bed: RunningBed) -> AsyncIterator[str]:
    """A namespace that no other test has, with nothing in it."""
    name = f"shop-{secrets.token_hex(3)}"
    await bed.apply([build_namespace(name)])
    yield name
    running_bed.check()
    await bed.heal()
    await bed.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """The person on call."""
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
def components() -> tuple[str, ...]:
    """What of deploy/components Serin is deployed with: a module whose tests need some says so by a fixture of this name."""
    return ()


@pytest.fixture
async def serin(bed: Bed, receiver: Receiver, components: tuple[str, ...], tmp_path: Path) -> AsyncIterator[Replicas]:
    """Serin, deployed, with replicas that run beside the cluster; none does yet. Its rights must do for all that they try."""
    deployment = await deploy(bed, tmp_path, components=components)
    await until(lambda: _no_policies(bed), what="the policies of the test before are gone")
    audit = AuditLog(bed.places.audit_log)
    replicas = Replicas(deployment, receiver=receiver)
    yield replicas
    await bed.heal()
    await replicas.close()
    audit.check_rights()


async def _no_policies(bed: Bed) -> bool:
    found = await Kube(bed.session).call("GET", "/apis/serin.dev/v1alpha1/canarypolicies")
    return not found["items"]


@pytest.fixture
async def eyes(bed: Bed, serin: Replicas) -> AsyncIterator[Eyes]:
    """Sees what happens to weights and policies."""
    async with trusting_session(bed.places) as session:
        eyes = Eyes(Kube(session))
        async with beside(eyes.jobs):
            yield eyes


@pytest.fixture
async def shops(
    bed: Bed, serin: Replicas, eyes: Eyes, receiver: Receiver, pytestconfig: pytest.Config
) -> AsyncIterator[Shops]:
    """Services with a canary and users; none is there yet."""
    async with AsyncExitStack() as stack:
        shops = Shops(bed, eyes=eyes, audit=AuditLog(bed.places.audit_log), receiver=receiver, stack=stack)
        yield shops
        await bed.heal()


@pytest.fixture(scope="session")
def account(running_bed: RunningBed, pytestconfig: pytest.Config) -> Account:
    """The table that is shown at the end, and kept in the run's directory."""
    return pytestconfig.stash[_ACCOUNT]
