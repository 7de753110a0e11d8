"""The CustomResourceDefinition as far as it can be checked without a server; tests/cluster/test_crd.py asks a real one."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analyzer.adapters.memory.store import _UNWRITTEN
from analyzer.app.status import write_status
from analyzer.core.capacity import CapacityReport, Gate, VersionReport
from analyzer.core.judge.types import Channel, Evidence, Rates, Verdict
from analyzer.core.rollout import (
    Answer,
    AnswerOutcome,
    Hold,
    HoldReason,
    Intent,
    Judged,
    Notice,
    Outcome,
    Pause,
    Phase,
    Promotion,
    RolloutState,
    Urgency,
)
from analyzer.policy.crd import crd, defaults_crd
from analyzer.policy.crd.structural import structural
from analyzer.policy.crd.text import crd_text, defaults_crd_text
from analyzer.policy.fields import AUTO_WEIGHTS, DEFAULT_WEIGHTS
from analyzer.ports import CANARY_POLICY
from tests.deploy.raw import one

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "deploy" / "crd" / "canarypolicies.serin.dev.yaml"
PUBLISHED_DEFAULTS = PUBLISHED.with_name("canarydefaults.serin.dev.yaml")
FORBIDDEN = {
    "$ref", "$defs", "definitions", "const", "oneOf", "uniqueItems", "patternProperties", "propertyNames", "prefixItems",
    "discriminator", "title", "examples", "default", "exclusiveMinimum", "exclusiveMaximum",
}  # fmt: skip
"""What a structural schema may not have; and defaults, which the server would write into the user's object."""


def whole(definition: dict[str, Any] | None = None) -> dict[str, Any]:
    schema: dict[str, Any] = (definition or crd())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a schema; the names of properties are no keywords."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from nodes(schema[keyword], f"{path}[]")


def test_the_published_definitions_are_current() -> None:
    assert PUBLISHED.read_text() == crd_text(), f"write it anew: serin schema --crd > {PUBLISHED.relative_to(ROOT)}"
    assert PUBLISHED_DEFAULTS.read_text() == defaults_crd_text(), "write it anew: serin schema --crd --defaults > …"


def test_defaults_have_all_of_a_policy_but_its_target_and_status() -> None:
    policy, defaults = whole()["properties"], whole(defaults_crd())["properties"]
    assert policy.keys() - defaults.keys() == {"status"}
    rules = {"x-kubernetes-validations"}
    fields, fewer = policy["spec"], defaults["spec"]
    assert fields["properties"].keys() - fewer["properties"].keys() == {"target"}
    assert {name: node for name, node in fields["properties"].items() if name != "target"} == fewer["properties"]
    assert {key: fields.get(key) for key in rules} == {key: fewer.get(key) for key in rules}
    assert "required" not in fewer


@pytest.mark.parametrize("definition", [crd(), defaults_crd()], ids=["policy", "defaults"])
def test_the_schema_is_structural(definition: dict[str, Any]) -> None:
    for path, node in nodes(whole(definition)):
        assert not (FORBIDDEN - ({"default"} if path == ".status" else set())) & node.keys(), path
        assert "type" in node or node.keys() & {
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-int-or-string",
        }, path
        assert not ("properties" in node and "additionalProperties" in node), path


def test_every_field_is_described() -> None:
    spec, status = whole()["properties"]["spec"], whole()["properties"]["status"]
    bare = [path for part in (spec, status) for path, node in nodes(part) if not node.get("description")]
    assert [path for path in bare if not path.endswith("[]")] == []


def test_a_default_is_told_and_not_written() -> None:
    judge = whole()["properties"]["spec"]["properties"]["judge"]["properties"]
    assert judge["bake"]["description"].endswith("Default: 10m.")
    weights = whole()["properties"]["spec"]["properties"]["stages"]["items"]["properties"]["weights"]
    assert weights["description"].endswith("Default: [1, 5, 10, 25, 50, 100].")


def test_only_a_status_that_nobody_wrote_has_a_default_and_it_speaks_of_no_generation() -> None:
    default = whole()["properties"]["status"]["default"]
    assert default == {"observedGeneration": -1}
    assert {CANARY_POLICY: default} == _UNWRITTEN, "the in-memory cluster has it too"


def test_the_policy_beside_the_definition_knows_the_weights_of_who_writes_none() -> None:
    """deploy/crd/weights.yaml is written by hand: of `weights` left out, and of `auto`."""
    policy = one("crd/weights.yaml", "ValidatingAdmissionPolicy")
    (steps,) = [variable["expression"] for variable in policy["spec"]["variables"] if variable["name"] == "steps"]
    ladders = [[int(weight) for weight in found.split(",")] for found in re.findall(r"\[([\d, ]+)\]", steps)]
    assert ladders == [list(DEFAULT_WEIGHTS), list(AUTO_WEIGHTS)]


def test_a_keyword_without_translation_is_an_error() -> None:
    with pytest.raises(ValueError, match="multipleOf"):
        structural({"type": "integer", "multipleOf": 5}, {})
    with pytest.raises(ValueError, match="boolean, string"):
        structural({"anyOf": [{"type": "string"}, {"type": "boolean"}]}, {})


# --- the status -------------------------------------------------------------------------------------------------------


def full_status() -> dict[str, Any]:
    """A status in which every part has something in it."""
    rates = Rates(
        requests=100, errors=1, error_rate=0.01, error_rate_low=0.0, error_rate_high=0.05, p50_ms=5.0, p99_ms=9.5
    )
    state = RolloutState(
        phase=Phase.PROGRESSING,
        stable="v1",
        canary="v2",
        stable_revision="a",
        canary_revision="b",
        weights=(100.0, 12.5),
        intent=Intent(before=(100.0, 10.0), after=(100.0, 25.0), reason="Proven", message="…"),
        hold=Hold(HoldReason.DRIFT, "…"),
        verdict=Verdict.INCONCLUSIVE,
        judged=(Judged("v1", "a", Outcome.PROMOTED, "Proven"),),
        notices=(Notice("Drift", Urgency.PAGE, "v2@b", "what", at_s=5.0),),
        told=frozenset({"Drift"}),
        judged_until_s=1.5,
        interval_s=15.0,
        weights_since_s=1.0,
        paused=Pause(by="alice", why="odd logs", at="2026-11-28T13:00:00Z"),
        request=Answer("00c0ffee", AnswerOutcome.DONE, "…", "pause", "alice", "odd logs", "2026-11-28T13:00:00Z"),
        answered=("00c0ffee",),
        awaits=(100.0, 25.0),
        approved=(100.0, 12.5),
        promotion=Promotion(by="alice", why="…"),
    )
    version = VersionReport("v2", "v2", 2, 1, 10, 20.0, 78.3, 3, 0.06, "")
    capacity = CapacityReport(25.0, Gate.PART, "…", 24.0, stable=version, canary=version)
    state = replace(state, evidence=evidence(rates), capacity=capacity)
    return write_status(state, turn=3, generation=2, now_s=1e9, previous={})


def evidence(rates: Rates) -> Evidence:
    fields = dict.fromkeys(Evidence.__dataclass_fields__, 0.5)
    special = {
        "culprit": Channel.ERRORS, "channels": {}, "proof": {"errors": 1.5}, "margins": "…", "intervals": 3,
        "stable": rates, "canary": rates, "limits": {},
    }  # fmt: skip
    return Evidence(**{**fields, **special})  # type: ignore[arg-type]  # what is not special is a number


def undescribed(value: object, schema: dict[str, Any], path: str = "status") -> Iterator[str]:
    if isinstance(value, dict) and "properties" in schema:
        for name, inner in value.items():
            if name not in schema["properties"]:
                yield f"{path}.{name} is written and not described"
            else:
                yield from undescribed(inner, schema["properties"][name], f"{path}.{name}")
        yield from (
            f"{path}.{name} is described and not written" for name in schema["properties"].keys() - value.keys()
        )
    elif isinstance(value, list):
        for item in value:
            yield from undescribed(item, schema["items"], f"{path}[]")


def test_the_status_is_described_as_it_is_written() -> None:
    assert list(undescribed(full_status(), whole()["properties"]["status"])) == []


def test_an_older_definition_drops_nothing_of_a_newer_status() -> None:
    for path, node in nodes(whole()["properties"]["status"]):
        if "properties" in node:
            assert node["x-kubernetes-preserve-unknown-fields"] is True, path
        assert "enum" not in node, path


def test_each_condition_that_is_written_is_explained() -> None:
    condition = whole()["properties"]["status"]["properties"]["conditions"]["items"]["properties"]["type"]
    for written in full_status()["conditions"]:
        assert f"{written['type']} (" in condition["description"]
