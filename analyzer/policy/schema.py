"""The JSON Schemas of a policy, of defaults and of the receivers file, for editors and `serin schema`.

pydantic writes draft 2020-12. The YAML language server that editors use reads draft-07, so both are made from one
model, which needs nothing that the older draft lacks but the name of the place of definitions.
"""

from typing import Any, Final, Literal, cast

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, NoDefault
from pydantic_core import core_schema

from analyzer.policy.model import CanaryDefaults, CanaryPolicy
from analyzer.policy.receivers import Receivers
from analyzer.policy.server import SERVER_RULES

Draft = Literal["draft-07", "2020-12"]

_DIALECTS: Final[dict[Draft, str]] = {
    "draft-07": "http://json-schema.org/draft-07/schema#",
    "2020-12": "https://json-schema.org/draft/2020-12/schema",
}


def json_schema(draft: Draft = "draft-07") -> dict[str, Any]:
    """Build the schema of a policy file."""
    return _schema(CanaryPolicy, draft)


def defaults_schema(draft: Draft = "draft-07") -> dict[str, Any]:
    """Build the schema of a file with `CanaryDefaults`."""
    return _schema(CanaryDefaults, draft)


def receivers_schema(draft: Draft = "draft-07") -> dict[str, Any]:
    """Build the schema of the operator's file of receivers."""
    return _schema(Receivers, draft)


def _schema(kind: type[BaseModel], draft: Draft) -> dict[str, Any]:
    schema = cast("dict[str, Any]", _without_server_rules(kind_schema(kind)))
    for name in {"Metadata", "DefaultsMetadata"} & schema["$defs"].keys():
        schema["$defs"][name]["additionalProperties"] = True  # the API server's own fields
    if draft == "draft-07":
        schema = cast("dict[str, Any]", _older(schema))
    return {"$schema": _DIALECTS[draft], **schema}


def kind_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """Build the schema as the model has it, rules for the API server included."""
    return kind.model_json_schema(by_alias=True, schema_generator=_Generator)


def _without_server_rules(value: object) -> object:
    if isinstance(value, list):
        return [_without_server_rules(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _without_server_rules(item) for key, item in value.items() if key != SERVER_RULES}


class _Generator(GenerateJsonSchema):
    """Defaults as they are written in a file, no null beside a type, and no titles that only repeat the name."""

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> object:
        default = super().get_default_value(schema)
        written = schema["schema"].get("serialization", {})
        function = written.get("function") if written.get("type") == "function-plain" else None
        if default is None:
            return NoDefault
        return function(default) if callable(function) else default

    def encode_default(self, dft: object) -> object:
        return _without_nulls(super().encode_default(dft))

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: object) -> bool:
        del schema
        return False


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _older(value: object) -> object:
    """Write `$defs` as `definitions`, and put a `$ref` that has siblings into `allOf`: draft-07 would ignore them."""
    if isinstance(value, list):
        return [_older(item) for item in value]
    if isinstance(value, str):
        return value.replace("#/$defs/", "#/definitions/")
    if not isinstance(value, dict):
        return value
    renamed = {"definitions" if key == "$defs" else key: _older(item) for key, item in value.items()}
    if "$ref" in renamed and len(renamed) > 1:
        renamed["allOf"] = [{"$ref": renamed.pop("$ref")}]
    return renamed
