"""Two hundred malformed policies: each is refused with a position and a mend, none with a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from analyzer.policy.bundle import STDIN
from analyzer.policy.findings import Severity, has_errors
from analyzer.policy.lint import lint_files
from analyzer.policy.model import CanaryPolicy
from analyzer.policy.parse import read_policy
from tests.policy.malformed import FULL, SEED, Malformed, malformed, mappings

ALL = malformed()


def test_there_are_two_hundred_and_all_differ() -> None:
    assert len({case.text for case in ALL}) == len({case.name for case in ALL}) == len(ALL) >= 200


def test_what_is_mutated_is_right_and_has_every_mapping() -> None:
    read = read_policy(FULL)
    assert isinstance(read, CanaryPolicy), read
    by_place = {path for path in mappings() if not isinstance(path[-1], int) and path[-1] != "deployments"}
    models = {"target", "judge", "errors", "latency", "limits", "dwell", "capacity", "deadlines"}
    assert models <= {str(path[-1]) for path in by_place}


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_each_is_refused_with_a_position_and_a_mend(case: Malformed) -> None:
    findings = lint_files([], stdin=case.text)
    assert has_errors(findings), f"accepted (seed {SEED})"
    lines = case.text.decode("utf-8", "replace").split("\n")
    for finding in findings:
        assert finding.file == STDIN
        assert finding.message
        assert finding.mend
        assert 1 <= finding.line <= len(lines) + 1
        assert finding.column >= 1
    if case.lines is not None:
        first, last = case.lines
        errors = [finding for finding in findings if finding.severity is Severity.ERROR]
        assert any(first <= finding.line <= last for finding in errors), (case.lines, errors)


def test_the_command_has_no_traceback_for_any(tmp_path: Path) -> None:
    for number, case in enumerate(ALL):
        (tmp_path / f"{number:03}.yaml").write_bytes(case.text)
    files = sorted(tmp_path.iterdir())
    result = subprocess.run(
        [sys.executable, "-m", "analyzer", "lint", *files], capture_output=True, text=True, check=False, timeout=120
    )
    assert (result.returncode, result.stderr) == (1, "")
    silent = [ALL[number].name for number, file in enumerate(files) if f"{file}:" not in result.stdout]
    assert silent == []
