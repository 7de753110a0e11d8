"""Findings for other programs: GitHub's annotations, SARIF 2.1.0, and JSON of our own.

Texts for people are in `analyzer.policy.findings.format_findings`.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from analyzer.policy.catalogue import CATALOGUE
from analyzer.policy.findings import Code, Finding, Severity

JSON_VERSION: Final = 1
"""Of the JSON format. Fields are added under the same number; one that goes or changes its meaning raises it."""

SARIF_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT: Final = "%SRCROOT%"


# --- JSON -------------------------------------------------------------------------------------------------------------


def json_report(findings: Sequence[Finding]) -> str:
    """Write findings as one JSON object; positions count from 1."""
    counts = {kind: sum(finding.severity is kind for finding in findings) for kind in Severity}
    report = {
        "version": JSON_VERSION,
        "errors": counts[Severity.ERROR],
        "warnings": counts[Severity.WARNING],
        "findings": [finding._asdict() | {"title": CATALOGUE[finding.code].title} for finding in findings],
    }
    return _dumped(report)


def _dumped(value: object) -> str:
    # In ASCII: a file's name may hold bytes that are no text, and a reader may have another encoding.
    return json.dumps(value, indent=2) + "\n"


# --- GitHub -----------------------------------------------------------------------------------------------------------


def github_annotations(findings: Iterable[Finding]) -> str:
    """Write findings as workflow commands: GitHub shows each at its line of the pull request."""
    return "".join(_annotation(finding) for finding in findings)


def _annotation(finding: Finding) -> str:
    properties = {
        "file": finding.file,
        "line": str(finding.line),
        "col": str(finding.column),
        "title": f"{finding.code.value} {CATALOGUE[finding.code].title}",
    }
    written = ",".join(f"{name}={_property(text)}" for name, text in properties.items())
    text = _data(f"{finding.message}\nmend: {finding.mend}")
    return f"::{finding.severity.value} {written}::{text}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


# --- SARIF ------------------------------------------------------------------------------------------------------------


def sarif_report(findings: Sequence[Finding], *, version: str) -> str:
    """Write findings as SARIF 2.1.0. `version` is Serin's own.

    SARIF's `fixes` are replacements of text; a mend is a sentence, and so it is in the message.
    """
    codes = sorted({finding.code for finding in findings})
    driver = {
        "name": "serin",
        "semanticVersion": version,
        "rules": [_rule(code, findings) for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_ROOT: {"description": {"text": "The folder in which serin was called."}}},
        "results": [_result(finding, codes.index(finding.code)) for finding in findings],
    }
    return _dumped({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(code: Code, findings: Iterable[Finding]) -> dict[str, Any]:
    entry = CATALOGUE[code]
    level = next(finding.severity.value for finding in findings if finding.code is code)
    return {
        "id": code.value,
        "name": "".join(word.capitalize() for word in code.name.split("_")),
        "shortDescription": {"text": entry.title},
        "fullDescription": {"text": entry.why},
        "help": {"text": f"{entry.title}: {entry.why} Each result says what to write instead."},
        "defaultConfiguration": {"level": level},
    }


def _result(finding: Finding, index: int) -> dict[str, Any]:
    place = {
        "artifactLocation": _location(finding.file),
        "region": {"startLine": finding.line, "startColumn": finding.column},
    }
    return {
        "ruleId": finding.code.value,
        "ruleIndex": index,
        "level": finding.severity.value,
        "message": {"text": f"{finding.message}. Mend: {finding.mend}"},
        "locations": [{"physicalLocation": place}],
    }


def _location(file: str) -> dict[str, str]:
    """Write a path as a URI: relative to where we are, so that a viewer finds it in its own checkout."""
    path = Path(file)
    if path.is_absolute() and not path.is_relative_to(Path.cwd()):
        return {"uri": f"file://{_quoted(path)}"}
    inside = path.relative_to(Path.cwd()) if path.is_absolute() else path
    return {"uri": _quoted(inside), "uriBaseId": _ROOT}


def _quoted(path: Path) -> str:
    return quote(path.as_posix().encode("utf-8", "surrogateescape"))
