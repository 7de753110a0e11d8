"""Every file in `policies/fixtures` begins with the findings that `serin lint` must have for it."""

import re
from pathlib import Path

import pytest

from analyzer.policy.findings import Code, Severity
from analyzer.policy.lint import lint_files

ROOT = Path(__file__).parents[2]
FIXTURES = sorted((ROOT / "policies" / "fixtures").glob("*.yaml"))
EXPECTED = re.compile(r"# (\d+):(\d+) (SRN\d+) (warning: )?(.*)")

# Findings that a file with comments cannot show; the tests named have them.
ELSEWHERE = {
    Code.UNREADABLE,  # test_a_file_that_is_not_there
    Code.VIRTUAL_SERVICE_MISSING,  # with a cluster only: tests/policy/test_lint_cluster.py
    Code.MAX_REPLICAS_TOO_FEW,  # as above
}


def expectations(path: Path) -> list[tuple[int, int, str, Severity, str]]:
    lines = path.read_text().splitlines()
    matches = [match for line in lines if (match := EXPECTED.fullmatch(line))]
    return [(int(m[1]), int(m[2]), m[3], Severity.WARNING if m[4] else Severity.ERROR, m[5]) for m in matches]


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_a_bad_file_has_exactly_the_findings_in_its_head(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    findings = lint_files([path.relative_to(ROOT)])
    found = [(f.line, f.column, f.code.value, f.severity, f.message) for f in findings]
    assert found == expectations(path)
    assert found
    assert all(finding.mend for finding in findings)


def test_every_code_has_a_fixture() -> None:
    shown = {code for path in FIXTURES for _, _, code, _, _ in expectations(path)}
    assert shown | ELSEWHERE == set(Code)
