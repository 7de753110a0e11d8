"""Findings as other programs read them."""

import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.policy.catalogue import CATALOGUE
from analyzer.policy.findings import Code, Finding, Severity
from analyzer.policy.formats import JSON_VERSION, github_annotations, json_report, sarif_report
from analyzer.policy.lint import lint_files

ROOT = Path(__file__).parents[2]
AWKWARD = Finding(
    "a b,c/ü:1.yaml", 3, 7, Code.WRONG_UNIT, Severity.ERROR, "100% is `10`, not\r\n::error::20", "write, say: `10s`"
)

findings = st.builds(
    Finding,
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    st.integers(1, 10_000),
    st.integers(1, 10_000),
    st.sampled_from(Code),
    st.sampled_from(Severity),
    st.text(),
    st.text(),
)


def test_every_code_is_explained() -> None:
    assert set(CATALOGUE) == set(Code)
    assert all(not entry.title.endswith(".") and entry.why.endswith(".") for entry in CATALOGUE.values())


# --- GitHub -----------------------------------------------------------------------------------------------------------


def read_as_the_runner_does(line: str) -> tuple[str, dict[str, str], str]:
    """A workflow command: `::name key=value,key=value::data`, unescaped in the order of the runner's own code."""
    command, data = line.removeprefix("::").split("::", 1)
    name, _, properties = command.partition(" ")
    pairs = (pair.split("=", 1) for pair in properties.split(","))
    return name, {key: unescaped(value, property_=True) for key, value in pairs}, unescaped(data)


def unescaped(text: str, *, property_: bool = False) -> str:
    for written, meant in (
        ("%0D", "\r"),
        ("%0A", "\n"),
        *([("%3A", ":"), ("%2C", ",")] if property_ else []),
        ("%25", "%"),
    ):
        text = text.replace(written, meant)
    return text


@given(findings)
def test_an_annotation_reads_back(finding: Finding) -> None:
    (line,) = github_annotations([finding]).removesuffix("\n").split("\n")
    name, properties, data = read_as_the_runner_does(line)
    assert name == finding.severity.value
    assert properties["file"] == finding.file
    assert (properties["line"], properties["col"]) == (str(finding.line), str(finding.column))
    assert properties["title"].startswith(finding.code.value)
    assert data == f"{finding.message}\nmend: {finding.mend}"


def test_an_annotation_is_one_line_whatever_it_says() -> None:
    assert github_annotations([AWKWARD]) == (
        "::error file=a b%2Cc/ü%3A1.yaml,line=3,col=7,title=SRN104 a unit is missing or wrong::"
        "100%25 is `10`, not%0D%0A::error::20%0Amend: write, say: `10s`\n"
    )


# --- SARIF ------------------------------------------------------------------------------------------------------------


def an(properties: dict[str, object], *, required: tuple[str, ...] = ()) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required or properties),
        "additionalProperties": False,
    }


def a_list(items: dict[str, object]) -> dict[str, object]:
    return {"type": "array", "items": items}


TEXT: dict[str, object] = {"type": "string", "minLength": 1}
MESSAGE = an({"text": TEXT})
LEVEL: dict[str, object] = {"enum": ["none", "note", "warning", "error"]}
COUNTED: dict[str, object] = {"type": "integer", "minimum": 1}
RULE = an(
    {
        "id": {"type": "string", "pattern": "^SRN[0-9]{3}$"},
        "name": {"type": "string", "pattern": "^([A-Z][a-z0-9]*)+$"},
        "shortDescription": MESSAGE,
        "fullDescription": MESSAGE,
        "help": MESSAGE,
        "defaultConfiguration": an({"level": LEVEL}),
    }
)
LOCATION = an(
    {
        "physicalLocation": an(
            {
                "artifactLocation": an({"uri": TEXT, "uriBaseId": {"const": "%SRCROOT%"}}, required=("uri",)),
                "region": an({"startLine": COUNTED, "startColumn": COUNTED}),
            }
        )
    }
)
RESULT = an(
    {
        "ruleId": {"type": "string"},
        "ruleIndex": {"type": "integer", "minimum": 0},
        "level": LEVEL,
        "message": MESSAGE,
        "locations": {**a_list(LOCATION), "minItems": 1},
    }
)
RUN = an(
    {
        "tool": an({"driver": an({"name": TEXT, "semanticVersion": TEXT, "rules": a_list(RULE)})}),
        "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
        "originalUriBaseIds": {"type": "object", "additionalProperties": an({"description": MESSAGE})},
        "results": a_list(RESULT),
    }
)
SARIF = an({"$schema": {"type": "string", "format": "uri"}, "version": {"const": "2.1.0"}, "runs": a_list(RUN)})
"""The part of SARIF's published schema that we use, with nothing optional and nothing else allowed."""


def test_sarif_holds_every_fixture() -> None:
    found = lint_files([ROOT / "policies"])
    log = json.loads(sarif_report(found, version="1.2.3"))
    jsonschema.Draft202012Validator(SARIF).validate(log)
    (run,) = log["runs"]
    assert len(run["results"]) == len(found)
    rules = run["tool"]["driver"]["rules"]
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == [finding.code for finding in found]


def test_sarif_without_findings_says_that_it_looked() -> None:
    log = json.loads(sarif_report([], version="1.2.3"))
    jsonschema.Draft202012Validator(SARIF).validate(log)
    assert log["runs"][0]["results"] == []


@given(findings)
def test_sarif_points_to_the_file(finding: Finding) -> None:
    (result,) = json.loads(sarif_report([finding], version="1"))["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    location = place["artifactLocation"]
    assert re.fullmatch(r"[!-~]+", location["uri"])
    path = unquote(urlsplit(location["uri"]).path) if "uriBaseId" not in location else unquote(location["uri"])
    assert Path.cwd() / path == Path.cwd() / finding.file
    assert (place["region"]["startLine"], place["region"]["startColumn"]) == (finding.line, finding.column)


def test_sarif_is_relative_to_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inside, outside = AWKWARD._replace(file=str(tmp_path / "a b.yaml")), AWKWARD._replace(file="/elsewhere/x.yaml")
    results = json.loads(sarif_report([inside, outside], version="1"))["runs"][0]["results"]
    places = [result["locations"][0]["physicalLocation"]["artifactLocation"] for result in results]
    assert places == [{"uri": "a%20b.yaml", "uriBaseId": "%SRCROOT%"}, {"uri": "file:///elsewhere/x.yaml"}]


# --- JSON -------------------------------------------------------------------------------------------------------------


def test_the_json_of_this_version() -> None:
    assert JSON_VERSION == 1
    assert json.loads(json_report([AWKWARD])) == {
        "version": 1,
        "errors": 1,
        "warnings": 0,
        "findings": [
            {
                "file": "a b,c/ü:1.yaml",
                "line": 3,
                "column": 7,
                "code": "SRN104",
                "title": "a unit is missing or wrong",
                "severity": "error",
                "message": "100% is `10`, not\r\n::error::20",
                "mend": "write, say: `10s`",
            }
        ],
    }
