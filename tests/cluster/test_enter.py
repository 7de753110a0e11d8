"""What is said where the cluster tests cannot run, and with which exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.enter import MISSING

ROOT = Path(__file__).parents[2]
PLAIN = ("bash", "sha256sum", "cut", "cat", "dirname", "env")


def path_with(folder: Path, *programs: str) -> str:
    """Make a PATH that holds some programs and nothing else."""
    for name in programs:
        found = subprocess.run(["bash", "-c", f"type -P {name}"], capture_output=True, text=True, check=True)
        (folder / name).symlink_to(found.stdout.strip())
    return str(folder)


def script(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def enter(path: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tests.cluster.enter", "true"]
    environment = {**os.environ, "PATH": path}
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_without_go_it_says_so(tmp_path: Path) -> None:
    result = subprocess.run(
        [ROOT / "tests/cluster/build.sh"],
        env={"PATH": path_with(tmp_path, *PLAIN), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == MISSING, result.stderr
    assert "need Go" in result.stderr


def run_cluster(**environment: str) -> subprocess.CompletedProcess[str]:
    argv = [str(ROOT / "tests/cluster/run")]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


def test_the_command_of_make_and_ci_has_the_exit_code_of_its_own(tmp_path: Path) -> None:
    result = run_cluster(PATH=path_with(tmp_path, *PLAIN), HOME=str(tmp_path), PYTHON=sys.executable)
    assert result.returncode == MISSING, result.stderr
    assert "need Go" in result.stderr


def test_before_anything_was_set_up_it_is_said_how_to(tmp_path: Path) -> None:
    result = run_cluster(PATH=path_with(tmp_path, *PLAIN), HOME=str(tmp_path), PYTHON=str(tmp_path / "python"))
    assert result.returncode == MISSING, result.stderr
    assert "make cluster-test" in result.stderr


def test_a_go_that_is_too_old_is_quoted(tmp_path: Path) -> None:
    path = path_with(tmp_path, *PLAIN)
    script(tmp_path, "go", "echo 'go: go.mod requires go >= 1.26.0 (running go 1.19; GOTOOLCHAIN=local)' >&2; exit 1")
    result = subprocess.run(
        [ROOT / "tests/cluster/build.sh"],
        env={"PATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == MISSING, result.stderr
    assert "requires go >= 1.26.0 (running go 1.19" in result.stderr


def test_a_machine_that_refuses_namespaces_is_told_where_to_look(tmp_path: Path) -> None:
    path = path_with(tmp_path, "env", "setpriv", "ip", "openssl", "prometheus")
    script(tmp_path, "unshare", "echo 'unshare: unshare failed: Operation not permitted' >&2; exit 1")
    result = enter(path)
    assert result.returncode == MISSING, result.stderr
    assert "Operation not permitted" in result.stderr
    assert "user.max_user_namespaces" in result.stderr


@pytest.mark.parametrize(("program", "package"), [("setpriv", "util-linux"), ("openssl", "openssl")])
def test_a_missing_program_is_named_with_its_package(tmp_path: Path, program: str, package: str) -> None:
    others = {"env", "unshare", "setpriv", "ip", "openssl", "prometheus"} - {program}
    result = enter(path_with(tmp_path, *others))
    assert result.returncode == MISSING, result.stderr
    assert f"apt-get install {package}" in result.stderr
