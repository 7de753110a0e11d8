"""Types of single fields: names, versions and the weights of a stage."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from analyzer.policy.findings import Code
from analyzer.policy.quantities import fault, show
from analyzer.policy.server import SERVER_RULES, server_rule

DEFAULT_WEIGHTS: Final = (1, 5, 10, 25, 50, 100)
AUTO_WEIGHTS: Final = (1, 5, 7, 10, 16, 25, 35, 50, 100)
"""The ladder of `auto`. Up to 5 % the default budget allows the same; three steps that about treble lead from there to the last
watch."""

_OBJECT_NAME: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_VERSION_NAME: Final = r"^[a-zA-Z0-9]([-a-zA-Z0-9._]*[a-zA-Z0-9])?$"
_ROUTE_NAME: Final = r"^[^\s\"\\]([^\"\\\n]*[^\s\"\\])?$"


def steps_of(weights: "tuple[int, ...] | Literal['auto']") -> tuple[int, ...]:
    """Give the steps of a stage, those of `auto` too."""
    return AUTO_WEIGHTS if weights == "auto" else weights


# --- names ------------------------------------------------------------------------------------------------------------


def _name(what: str, pattern: str, rule: str) -> Callable[[object], str]:
    expression = re.compile(pattern)

    def read(value: object) -> str:
        if not isinstance(value, str):
            mend = (
                f'put it in quotes: "{value}"' if isinstance(value, (int, float, bool)) else f"write the name of {what}"
            )
            raise fault(Code.WRONG_VALUE, f"{show(value)} is not a string", mend)
        if len(value) > 253 or expression.fullmatch(value) is None:
            raise fault(Code.WRONG_VALUE, f"{show(value)} cannot be the name of {what}", rule)
        return value

    return read


def _name_schema(what: str, pattern: str, rule: str) -> dict[str, Any]:
    rules = [server_rule(f"self.matches(r'{pattern}')", f"cannot be the name of {what}", rule)]
    return {"type": "string", "pattern": pattern, "maxLength": 253, SERVER_RULES: rules}


_KUBERNETES_RULE: Final = "names have lower-case letters, digits, `-` and `.`, and begin and end with a letter or digit"

_OBJECT: Final = ("a Kubernetes object", _OBJECT_NAME, _KUBERNETES_RULE)
_VERSION: Final = ("a subset or host", _VERSION_NAME, "write the subset (`v1`) or the host as in the route")
_ROUTE: Final = ("a route", _ROUTE_NAME, "write the `name` of the http route, without quotes inside it")
_read_version: Final = _name(*_VERSION)
_read_route: Final = _name(*_ROUTE)

OBJECT_NAME_SCHEMA: Final = _name_schema(*_OBJECT)
ObjectName = Annotated[str, PlainValidator(_name(*_OBJECT)), WithJsonSchema(OBJECT_NAME_SCHEMA)]
VersionName = Annotated[str, PlainValidator(_read_version), WithJsonSchema(_name_schema(*_VERSION))]
RouteName = Annotated[str, PlainValidator(_read_route), WithJsonSchema(_name_schema(*_ROUTE))]
ApprovalPoint = Annotated[
    str | int,
    PlainValidator(lambda value: value if type(value) is int else _read_route(value)),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _ROUTE_NAME}, {"type": "integer"}]}),
]
"""A stage's route, or a weight."""


# --- versions ---------------------------------------------------------------------------------------------------------


def _read_versions(value: object) -> tuple[str, str]:
    if not isinstance(value, (list, tuple)):
        raise fault(Code.WRONG_VALUE, f"{show(value)} is not a list of two versions", "write it like `[v1, v2]`")
    mend = "name the two subsets (or hosts) of the route, like `[v1, v2]`"
    if len(value) != 2:
        raise fault(Code.WRONG_VALUE, f"a canary has exactly two versions, and here are {len(value)}", mend)
    for index, name in enumerate(value):
        try:
            _read_version(name)
        except PydanticCustomError as error:
            raise fault(**{**(error.context or {}), "at": (index,)}) from None
    if value[0] == value[1]:
        raise fault(Code.WRONG_VALUE, f"both versions are {show(value[0])}", mend, at=(1,))
    return value[0], value[1]


Versions = Annotated[
    tuple[VersionName, VersionName],
    PlainValidator(_read_versions),
    PlainSerializer(list),
    WithJsonSchema(
        {
            "type": "array",
            "items": _name_schema(*_VERSION),
            "minItems": 2,
            "maxItems": 2,
            "uniqueItems": True,
            SERVER_RULES: [
                {
                    "rule": "size(self) != 2 || self[0] != self[1]",
                    "messageExpression": "'both versions are `' + self[0] + '`; name the two subsets (or hosts) of the "
                    "route, like `[v1, v2]`'",
                }
            ],
        }
    ),
]


# --- weights ----------------------------------------------------------------------------------------------------------


def _read_weights(value: object) -> tuple[int, ...] | Literal["auto"]:
    if value == "auto":
        return "auto"
    if not isinstance(value, (list, tuple)):
        mend = f"write it like `{list(DEFAULT_WEIGHTS)}`"
        raise fault(Code.WRONG_VALUE, f"{show(value)} is not a list of weights", mend)
    for index, weight in enumerate(value):
        _check_weight(weight, index)
    _check_ladder(value)
    return tuple(value)


def _check_weight(weight: object, index: int) -> None:
    if not isinstance(weight, int) or isinstance(weight, bool):
        mend = "write whole numbers from 1 to 100, without a percent sign"
        raise fault(Code.WRONG_VALUE, f"{show(weight)} is not a weight", mend, at=(index,))
    if not 1 <= weight <= 100:
        mend = "write whole numbers from 1 to 100; a way back to 0 is a rollback, not a step"
        raise fault(Code.WEIGHTS, f"the weight {show(weight)} is not between 1 and 100", mend, at=(index,))


def _check_ladder(weights: Sequence[int]) -> None:
    for index, (before, after) in enumerate(pairwise(weights), start=1):
        if after <= before:
            mend = f"write each weight once, ascending: {sorted({*weights})}"
            raise fault(Code.WEIGHTS, f"the weights do not increase: {after} follows {before}", mend, at=(index,))
    if not weights or weights[-1] != 100:
        mend = f"end with 100: {[*weights, 100]}"
        raise fault(Code.WEIGHTS, "the weights do not end with 100, so nothing is ever promoted", mend)
    if len(weights) == 1:
        mend = "begin with a small share: [10, 100]"
        raise fault(Code.WEIGHTS, "a single step of 100 is no canary: there is nothing to compare with", mend)


Weights = Annotated[
    tuple[int, ...] | Literal["auto"],
    PlainValidator(_read_weights),
    PlainSerializer(lambda weights: weights if weights == "auto" else list(weights)),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 1, "maximum": 100},
                    "minItems": 2,
                    "maxItems": 100,
                    "uniqueItems": True,
                },
                {"type": "string", "enum": ["auto"]},
            ]
        }
    ),
]
"""Ascending percentages that end in 100, or `auto`."""
