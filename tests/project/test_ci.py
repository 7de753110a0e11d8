"""The hook and the action do what they say: their commands are run as the programs run them that people use."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analyzer.policy.load import load_objects

ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github" / "actions" / "lint" / "action.yml"
SERIN = Path(sys.executable).with_name("serin")
GOOD = "apiVersion: serin.dev/v1alpha1\nkind: CanaryPolicy\nmetadata: {name: cart}\nspec: {target: {virtualService: cart}}\n"
BAD = GOOD.replace("}}", "}, mode: none}")
ODD = GOOD.replace("}}", "}, judge: {limits: {p99: 700ms}}}")  # a warning


def run(command: list[str], cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    path = f"{SERIN.parent}:{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path, **env},
        timeout=120,
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "deploy").mkdir()
    return tmp_path


# --- pre-commit -------------------------------------------------------------------------------------------------------


def test_the_hook_checks_the_folder_whatever_changed(repository: Path) -> None:
    (hook,) = read_yaml(ROOT / ".pre-commit-hooks.yaml")
    assert hook["language"] == "python"
    assert hook["pass_filenames"] is False
    assert re.search(hook["files"], "deploy/policy.yaml")
    command = [*shlex.split(hook["entry"]), *hook["args"]]
    (repository / "deploy" / "policy.yaml").write_text(GOOD)
    assert run(command, repository).returncode == 0
    (repository / "deploy" / "policy.yaml").write_text(BAD)
    refused = run(command, repository)
    assert refused.returncode == 1
    assert refused.stdout.startswith("deploy/policy.yaml:4:")


def read_yaml(path: Path) -> Any:
    import yaml

    return yaml.load(path.read_text(), Loader=yaml.SafeLoader)


# --- the action -------------------------------------------------------------------------------------------------------


def lint_step(cwd: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """Run the last step as the runner does: inputs put in, then bash with its flags."""
    (action,) = load_objects([ACTION])
    given = {name: spec["default"] for name, spec in action["inputs"].items()} | inputs
    step = action["runs"]["steps"][-1]
    env = {
        name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda m: given[m[1]], text) for name, text in step["env"].items()
    }
    assert step["shell"] == "bash"
    return run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], cwd, RUNNER_TEMP=str(cwd), **env
    )


def test_the_action_annotates_the_line(repository: Path) -> None:
    (repository / "deploy" / "policy.yaml").write_text(BAD)
    result = lint_step(repository, serin=str(SERIN))
    assert result.returncode == 1
    assert result.stdout.startswith("::error file=deploy/policy.yaml,line=4,")
    (repository / "deploy" / "policy.yaml").write_text(GOOD)
    assert lint_step(repository, serin=str(SERIN)).returncode == 0


def test_the_action_is_strict_when_asked(repository: Path) -> None:
    (repository / "deploy" / "policy.yaml").write_text(ODD)
    assert lint_step(repository, serin=str(SERIN), paths="deploy").returncode == 0
    assert lint_step(repository, serin=str(SERIN), paths="deploy", strict="true").returncode == 1


def test_the_action_writes_sarif_beside_its_annotations(repository: Path) -> None:
    (repository / "deploy" / "policy.yaml").write_text(BAD)
    result = lint_step(repository, serin=str(SERIN), paths="deploy deploy/policy.yaml", sarif="out.sarif")
    assert result.returncode == 1
    (log,) = json.loads((repository / "out.sarif").read_text())["runs"]
    assert [found["ruleId"] for found in log["results"]] == ["SRN103"]


def test_no_input_is_put_into_a_command() -> None:
    """`${{ }}` in a script is pasted before the shell reads it: whoever names a path would write the script."""
    (action,) = load_objects([ACTION])
    assert all("${{" not in step["run"] for step in action["runs"]["steps"])


def test_the_action_installs_the_revision_that_it_is_of() -> None:
    (action,) = load_objects([ACTION])
    install = action["runs"]["steps"][0]["run"]
    assert '"$GITHUB_ACTION_PATH/../../.."' in install
    assert (ACTION.parent / "../../.." / "pyproject.toml").resolve() == ROOT / "pyproject.toml"
