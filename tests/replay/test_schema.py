import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from analyzer.policy.schema import Draft
from analyzer.replay.schema import counts_schema
from tests.replay.records import Line, header, history, interval, version, world_lines

FOLDER = Path(__file__).parents[2] / "policies" / "schema"
PUBLISHED: dict[Draft, str] = {"draft-07": "counts.schema.json", "2020-12": "counts.2020-12.schema.json"}
DRAFTS = pytest.mark.parametrize("draft", PUBLISHED)

TYPES: dict[str, Any] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "null": lambda v: v is None,
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "integer": lambda v: isinstance(v, int | float) and not isinstance(v, bool) and v == math.floor(v),
}
CHECKS: dict[str, Any] = {
    "enum": lambda v, wanted: v in wanted,
    "pattern": lambda v, wanted: re.search(wanted, v) is not None,
    "minLength": lambda v, wanted: len(v) >= wanted,
    "maxLength": lambda v, wanted: len(v) <= wanted,
    "minItems": lambda v, wanted: len(v) >= wanted,
    "maxItems": lambda v, wanted: len(v) <= wanted,
    "minimum": lambda v, wanted: v is None or v >= wanted,
    "maximum": lambda v, wanted: v is None or v <= wanted,
    "exclusiveMinimum": lambda v, wanted: v is None or v > wanted,
    "required": lambda v, wanted: all(name in v for name in wanted),
}
SAY_NOTHING = {"$schema", "title", "description", "default", "examples", "definitions", "$defs"}


def valid(value: Any, node: dict[str, Any], whole: dict[str, Any]) -> bool:
    """Validate by the keywords that the schema uses; one that is not known here fails the test."""
    kinds = node.get("type", [])
    if kinds and not any(TYPES[kind](value) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return False
    return all(
        holds(value, word, wanted, node, whole) for word, wanted in node.items() if word not in {*SAY_NOTHING, "type"}
    )


def holds(value: Any, word: str, wanted: Any, node: dict[str, Any], whole: dict[str, Any]) -> bool:
    match word:
        case "$ref":
            _, place, name = wanted.split("/")
            return valid(value, whole[place][name], whole)
        case "oneOf":
            return sum(valid(value, part, whole) for part in wanted) == 1
        case "allOf":
            return all(valid(value, part, whole) for part in wanted)
        case "items":
            return all(valid(item, wanted, whole) for item in value)
        case "properties":
            return all(valid(value[name], part, whole) for name, part in wanted.items() if name in value)
        case "additionalProperties":
            return wanted is True or value.keys() <= node["properties"].keys()
        case _:
            return bool(CHECKS[word](value, wanted))


@DRAFTS
def test_the_published_schema_is_current(draft: Draft) -> None:
    expected = json.dumps(counts_schema(draft), indent=2, ensure_ascii=False) + "\n"
    assert (FOLDER / PUBLISHED[draft]).read_text() == expected, "write it anew: serin schema --counts"


@DRAFTS
def test_real_lines_are_valid(draft: Draft) -> None:
    schema = counts_schema(draft)
    lines: list[Line] = [
        header(falseRollback="0.5%", errors={"tolerance": "20%"}, onInconclusive="hold"),
        {"rollout": "r2", "edges_ms": []},
        history(),
        interval(),
        interval(next_weight=None, canary=version(pod_age_s=None)),
        *world_lines("w", seed=1, count=5, steps={}),
    ]
    assert [line for line in lines if not valid(line, schema, schema)] == []


@DRAFTS
@pytest.mark.parametrize(
    "line",
    [
        {"rollout": "r1"},
        header(bake=10),
        header(nothing="1%"),
        header(edges=[0]),
        interval(weight=101),
        interval(next_weight=0),
        interval(seconds=0),
        interval(wait=1),
        interval(t="15"),
        interval(canary=version(-1)),
        interval(canary=version(1.5)),  # type: ignore[arg-type]
        interval(stable=version(pod_age_s=1)),
        history(requests=[]),
        interval() | {"edges_ms": [5]},
    ],
)
def test_bad_lines_are_not(line: Line, draft: Draft) -> None:
    schema = counts_schema(draft)
    assert not valid(line, schema, schema)


@DRAFTS
def test_every_reference_leads_somewhere(draft: Draft) -> None:
    schema = counts_schema(draft)
    place = {"draft-07": "definitions", "2020-12": "$defs"}[draft]
    references = re.findall(r'"#/([^/"]+)/([^"]+)"', json.dumps(schema))
    assert references
    assert all(found == place and name in schema[place] for found, name in references)
