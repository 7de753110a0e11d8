import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from analyzer.policy.findings import Code, Problem
from analyzer.policy.load import load_documents, load_objects
from analyzer.policy.model import CanaryDefaults, CanaryPolicy
from analyzer.policy.parse import parse_policy, read_defaults, read_policy
from analyzer.policy.schema import Draft, defaults_schema, json_schema

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "policies" / "schema" / "canarypolicy.schema.json"
PUBLISHED_DEFAULTS = PUBLISHED.with_name("canarydefaults.schema.json")


def nodes(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(item)


def test_the_published_schemas_are_current() -> None:
    expected = json.dumps(json_schema("draft-07"), indent=2, ensure_ascii=False) + "\n"
    assert PUBLISHED.read_text() == expected, "write it anew: serin schema > policies/schema/canarypolicy.schema.json"
    expected = json.dumps(defaults_schema("draft-07"), indent=2, ensure_ascii=False) + "\n"
    assert PUBLISHED_DEFAULTS.read_text() == expected, (
        "write it anew: serin schema --defaults > …/canarydefaults.schema.json"
    )


@pytest.mark.parametrize(("draft", "place"), [("draft-07", "definitions"), ("2020-12", "$defs")])
def test_every_reference_leads_somewhere(draft: Draft, place: str) -> None:
    schema = json_schema(draft)
    references = [node["$ref"] for node in nodes(schema) if isinstance(node.get("$ref"), str)]
    assert references
    assert all(ref.removeprefix(f"#/{place}/") in schema[place] for ref in references)


def test_the_older_draft_has_nothing_beside_a_reference() -> None:
    assert all(len(node) == 1 for node in nodes(json_schema("draft-07")) if "$ref" in node)


def test_unknown_fields_are_refused_except_in_metadata() -> None:
    definitions = json_schema("2020-12")["$defs"]
    closed = {name: node["additionalProperties"] for name, node in definitions.items() if "properties" in node}
    assert [name for name, is_open in closed.items() if is_open] == ["Metadata"]


def test_defaults_are_written_as_in_a_file() -> None:
    schema = json_schema("2020-12")
    written = {
        name: prop["default"] for name, prop in schema["$defs"]["Judge"]["properties"].items() if "default" in prop
    }
    assert written["dwell"] == {"min": "30s", "max": "5m"}
    assert written["falseRollback"] == "1%"
    base = {"apiVersion": "serin.dev/v1alpha1", "kind": "CanaryPolicy", "metadata": {"name": "x"}}
    spelled_out = parse_policy({**base, "spec": {"target": {"virtualService": "x"}, "judge": written}})
    assert spelled_out == parse_policy({**base, "spec": {"target": {"virtualService": "x"}}})


def test_the_example_says_what_the_defaults_are() -> None:
    (obj,) = load_objects([ROOT / "policies" / "examples" / "helloworld" / "policy.yaml"])
    policy = parse_policy(obj)
    short = {"virtualService": "helloworld", "versions": ["v1", "v2"]}
    defaults = parse_policy({**obj, "spec": {"target": short, "stages": [{"route": "primary"}]}})
    assert isinstance(policy, CanaryPolicy)
    assert policy == defaults


@pytest.mark.parametrize(("files", "schema"), [("*/policy.yaml", PUBLISHED), ("defaults/*.yaml", PUBLISHED_DEFAULTS)])
def test_examples_point_editors_to_the_schema(files: str, schema: Path) -> None:
    paths = list((ROOT / "policies" / "examples").glob(files))
    assert paths
    for path in paths:
        modeline = path.read_text().splitlines()[0]
        relative = modeline.removeprefix("# yaml-language-server: $schema=")
        assert (path.parent / relative).resolve() == schema


# --- by a validator ---------------------------------------------------------------------------------------------------

VALIDATORS: dict[Draft, Any] = {"draft-07": Draft7Validator, "2020-12": Draft202012Validator}
BEYOND_A_SCHEMA = {Code.CONTRADICTION, Code.WEIGHTS, Code.WRONG_VALUE}
"""What a schema cannot say, wholly or in part: fields that depend on each other, an order, a range of a percentage."""


class Validated(NamedTuple):
    """A kind by its schema and by its model."""

    schema: Callable[[Draft], dict[str, Any]]
    read: Callable[[dict[str, Any]], CanaryPolicy | CanaryDefaults | list[Problem]]


KINDS = {
    "CanaryPolicy": Validated(json_schema, read_policy),
    "CanaryDefaults": Validated(defaults_schema, read_defaults),
}


def ours_in(path: Path) -> list[dict[str, Any]]:
    documents = load_documents(path.read_text(), file=str(path)).documents
    values = [item.value for document in documents for item in document.items()]
    return [value for value in values if isinstance(value, dict) and value.get("kind") in KINDS]


@pytest.mark.parametrize("draft", VALIDATORS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_is_one(kind: str, draft: Draft) -> None:
    VALIDATORS[draft].check_schema(KINDS[kind].schema(draft))


@pytest.mark.parametrize("draft", VALIDATORS)
def test_the_examples_are_valid(draft: Draft) -> None:
    found = [obj for path in (ROOT / "policies" / "examples").glob("*/*.yaml") for obj in ours_in(path)]
    assert {obj["kind"] for obj in found} == set(KINDS)
    for obj in found:
        VALIDATORS[draft](KINDS[obj["kind"]].schema(draft)).validate(obj)


@pytest.mark.parametrize("path", sorted((ROOT / "policies" / "fixtures").glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("draft", VALIDATORS)
def test_the_schema_refuses_only_what_the_model_refuses(draft: Draft, path: Path) -> None:
    for obj in ours_in(path):
        schema, read_as = KINDS[obj["kind"]]
        validator = VALIDATORS[draft](schema(draft))
        read, refused = read_as(obj), not validator.is_valid(obj)
        if not isinstance(read, list):
            assert not refused, list(validator.iter_errors(obj))
        elif not {problem.code for problem in read} <= BEYOND_A_SCHEMA:
            assert refused, read
