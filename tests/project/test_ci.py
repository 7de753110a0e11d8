"""The hook, the action and CI do what they say: their commands are run as the programs run them that people use."""

import json
import os
import re
import shlex
import shutil
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


# --- CI ---------------------------------------------------------------------------------------------------------------

STORY = "tests/cluster/test_story.py::test_good"
FAULT = "tests/cluster/test_faults.py::test_slow[a b]"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A checkout with CI's script, and stubs of what it runs; an earlier run left a failure behind."""
    for folder in (".ci", ".venv/bin", "bin", "tests/cluster", ".pytest_cache/v/cache"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    write_script(tmp_path / "bin" / "make", "exit 0")
    (tmp_path / ".pytest_cache/v/cache/lastfailed").write_text(json.dumps({"tests/core/test_old.py::test_old": True}))
    return tmp_path


def write_script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def ci(clone: Path, *attempts: tuple[int, tuple[str, ...]]) -> tuple[int, str, list[str]]:
    """Run it, where each attempt at the cluster tests ends with a code and leaves failures; give the arguments of each too."""
    for number, (code, failed) in enumerate(attempts, start=1):
        (clone / f"failed{number}").write_text(json.dumps(dict.fromkeys(failed, True)) if failed else "")
        (clone / f"code{number}").write_text(str(code))
    write_script(
        clone / "tests/cluster/run",
        'echo "run $*" >> asked\n'
        "n=$(wc -l < asked)\n"
        '[ ! -s "failed$n" ] || cp "failed$n" .pytest_cache/v/cache/lastfailed\n'
        'exit "$(cat "code$n")"',
    )
    result = run([".ci/run"], clone, PATH=f"{clone / 'bin'}:{os.environ['PATH']}")
    return result.returncode, result.stdout, (clone / "asked").read_text().splitlines()


def test_what_failed_on_the_cluster_is_tried_again_and_named_before_and_after(clone: Path) -> None:
    code, said, asked = ci(clone, (1, (STORY, FAULT)), (0, ()))
    assert (code, asked) == (0, ["run ", "run --last-failed --last-failed-no-failures=none"])
    assert said.splitlines() == 2 * [f"SECOND ATTEMPT: {STORY}", f"SECOND ATTEMPT: {FAULT}"]


def test_what_fails_twice_fails(clone: Path) -> None:
    code, said, asked = ci(clone, (1, (STORY,)), (1, (STORY,)))
    assert (code, len(asked)) == (1, 2)
    assert said.count(STORY) == 2


@pytest.mark.parametrize(("code", "why"), [(77, "something is missing"), (2, "interrupted"), (3, "pytest broke")])
def test_no_other_end_is_tried_again_and_its_exit_code_is_passed_on(clone: Path, code: int, why: str) -> None:
    assert ci(clone, (code, ())) == (code, "", ["run "]), why


def test_a_failure_of_another_run_is_not_tried_again(clone: Path) -> None:
    assert ci(clone, (1, ())) == (1, "", ["run "])


def test_green_at_the_first_attempt_says_nothing_of_a_second(clone: Path) -> None:
    assert ci(clone, (0, ())) == (0, "", ["run "])
