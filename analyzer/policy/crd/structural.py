"""From JSON Schema, as pydantic writes it, to the structural schema that a CustomResourceDefinition needs.

References are inlined, a default becomes a sentence of the description (the server writes none: see `analyzer.policy.crd`), and
what a structural schema cannot say is said in CEL. A keyword that this module does not know is an error, so that no check
gets lost unseen.
"""

from collections.abc import Mapping
from typing import Any, Final

from analyzer.policy.server import SERVER_RULES

Schema = dict[str, Any]

_DROPPED: Final = {"title", "examples", "default", "$defs"}
_COPIED: Final = {
    "type", "description", "enum", "required", "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum",
    "format", "nullable",
}  # fmt: skip
_LARGEST_MAP: Final = 16
"""Entries of a mapping: a bound that CEL needs to know what its rules cost, far above any real policy."""
_NOTHING_BUT: Final[Mapping[str, Schema]] = {
    "number": {"minimum": 1, "maximum": 0},
    "object": {"minProperties": 1, "maxProperties": 0},
    "boolean": {"not": {"enum": [True, False]}},
}
"""Keywords that refuse a type without naming one: each speaks of its own type only."""


def structural(schema: Mapping[str, Any], definitions: Mapping[str, Schema]) -> Schema:
    """Translate a schema whose references lead into `definitions`.

    Raises
    ------
    ValueError
        It says something that has no translation.
    """
    node = _inlined(schema, definitions)
    description = _described(node)
    made: Schema = {"description": description} if description else {}
    for keyword, value in node.items():
        if keyword in _COPIED:
            made.setdefault(keyword, value)
        elif keyword == "properties":
            made[keyword] = {name: structural(inner, definitions) for name, inner in value.items()}
        elif keyword == "items":
            made[keyword] = structural(value, definitions)
        elif keyword == "anyOf":
            made |= _union(value, definitions)
        elif keyword == "patternProperties":
            made |= _mapping(value, definitions)
        elif keyword == "pattern" and SERVER_RULES not in node:
            made[keyword] = value
        elif keyword == SERVER_RULES:
            made[keyword] = [dict(rule) for rule in value]
        elif not _said_otherwise(keyword, value):
            raise ValueError(f"a structural schema cannot say `{keyword}: {value}`")
    return made


def _said_otherwise(keyword: str, value: object) -> bool:
    """Tell whether nothing is lost with this keyword.

    The server refuses unknown fields by itself; `uniqueItems` is forbidden, and a rule in CEL beside it says the same; names
    in a mapping are checked by the rule that `_mapping` makes.
    """
    closed = keyword == "additionalProperties" and value is False
    return keyword in _DROPPED | {"uniqueItems", "propertyNames", "pattern"} or closed


def _inlined(schema: Mapping[str, Any], definitions: Mapping[str, Schema]) -> Schema:
    """Put what a reference leads to in its place; what stands beside it goes before."""
    node = dict(schema)
    while (reference := node.pop("$ref", None)) is not None:
        node = {**definitions[reference.removeprefix("#/$defs/")], **node}
    return node


def _described(node: Schema) -> str:
    text = " ".join(node.get("description", "").split())
    default = node.get("default")
    if (
        default is None
        or default == []
        or isinstance(default, dict)
        or any(isinstance(d, dict) for d in _list(default))
    ):
        return text
    return f"{text} Default: {_as_yaml(default)}.".lstrip()


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _as_yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(_as_yaml, value))}]" if isinstance(value, list) else str(value)


def _mapping(patterns: Mapping[str, Schema], definitions: Mapping[str, Schema]) -> Schema:
    """Translate a mapping whose names follow one pattern."""
    ((pattern, values),) = patterns.items()
    rule = {
        "rule": f"self.all(name, name.matches(r'{pattern}'))",
        "message": "a name in this mapping has characters that no such name may have",
    }
    return {
        "type": "object",
        "additionalProperties": structural(values, definitions),
        "maxProperties": _LARGEST_MAP,
        SERVER_RULES: [rule],
    }


def _union(options: list[Schema], definitions: Mapping[str, Schema]) -> Schema:
    made = {option.get("type", ""): structural(option, definitions) for option in options}
    match sorted(made):
        case ["integer", "string"]:
            return _untyped(made) | {"x-kubernetes-int-or-string": True}
        case ["array", "string"]:
            refused = {key: value for keywords in _NOTHING_BUT.values() for key, value in keywords.items()}
            return refused | _untyped(made) | {"x-kubernetes-preserve-unknown-fields": True}
        case types:
            raise ValueError(f"a structural schema cannot say: one of {', '.join(types)}")


def _untyped(options: Mapping[str, Schema]) -> Schema:
    """Join schemas of different types into one without a type, where each keyword speaks of its own type only."""
    made: Schema = {}
    for option in options.values():
        if enum := option.get("enum"):
            made["pattern"] = f"^({'|'.join(enum)})$"
        made |= {key: value for key, value in option.items() if key not in {"type", "enum"}}
    return made
