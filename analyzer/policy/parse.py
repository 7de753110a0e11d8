"""From a plain object to a `CanaryPolicy`, or to everything that is wrong with it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from analyzer.errors import PolicyError
from analyzer.policy.findings import Code, Path, Problem, closest, dotted, suggest
from analyzer.policy.model import API_VERSION, KIND, CanaryPolicy
from analyzer.policy.quantities import show
from analyzer.policy.rules import check_rules

_FOREIGN: Final = {
    "flagger.app": "Flagger's Canary",
    "argoproj.io": "Argo Rollouts' Rollout",
}
"""Groups whose objects also release canaries: people bring them along."""


def parse_policy(obj: Mapping[str, Any]) -> CanaryPolicy:
    """Read a policy.

    Raises
    ------
    PolicyError
        With every problem, one a line: `path: message; mend`.
    """
    policy = read_policy(obj)
    if isinstance(policy, CanaryPolicy):
        return policy
    raise PolicyError("\n".join(str(problem) for problem in policy))


def read_policy(obj: Mapping[str, Any]) -> CanaryPolicy | list[Problem]:
    """Read a policy, or list its problems."""
    if (problem := check_kind(obj)) is not None:
        return [problem]
    try:
        policy = CanaryPolicy.model_validate(dict(obj))
    except ValidationError as error:
        return [problem for details in error.errors(include_url=False) for problem in _translate(details)]
    return check_rules(policy.spec) or policy


def is_foreign(obj: Mapping[str, Any]) -> bool:
    """Tell whether this is a canary policy of another tool."""
    group = str(obj.get("apiVersion")).partition("/")[0]
    return group in _FOREIGN and obj.get("kind") in {"Canary", "Rollout"}


def check_kind(obj: Mapping[str, Any]) -> Problem | None:
    """Say what an object is if it is not a `CanaryPolicy` of a known version."""
    kind, api_version = obj.get("kind"), obj.get("apiVersion")
    mend = f"write `apiVersion: {API_VERSION}` and `kind: {KIND}`"
    if is_foreign(obj):
        group = str(api_version).partition("/")[0]
        message = f"this is {_FOREIGN[group]}, which Serin does not read"
        return Problem(Code.WRONG_KIND, message, f"{mend}; its target becomes `spec.target.virtualService`", ("kind",))
    if kind is None:
        return Problem(Code.WRONG_KIND, "this object has no `kind`", mend)
    if kind != KIND:
        near = isinstance(kind, str) and closest(kind, [KIND]) is not None
        message = f"there is no kind {show(kind)}" if near else f"this is a {kind}; a policy has the kind `{KIND}`"
        return Problem(Code.WRONG_KIND, message, f"did you mean `{KIND}`?" if near else mend, ("kind",))
    if api_version != API_VERSION:
        message = "this policy has no `apiVersion`" if api_version is None else f"{show(api_version)} is not known"
        return Problem(Code.WRONG_KIND, message, f"write `apiVersion: {API_VERSION}`", ("apiVersion",))
    return None


# --- pydantic's errors in our words -----------------------------------------------------------------------------------


def _translate(error: ErrorDetails) -> Iterator[Problem]:
    path: Path = error["loc"]
    context = error.get("ctx", {})
    match error["type"]:
        case "serin":
            yield Problem(context["code"], context["message"], context["mend"], (*path, *context["at"]))
        case "extra_forbidden":
            yield _unknown_field(path)
        case "missing":
            message = f"`{path[-1]}` is missing"
            yield Problem(Code.MISSING_FIELD, message, f"add `{path[-1]}: …`{_under(path[:-1])}", path)
        case "too_short" if error["input"]:
            pass  # items that failed are not counted, and were reported already
        case "too_short":
            yield Problem(Code.WRONG_VALUE, "the list is empty", "leave it out to have the default", path)
        case "too_long":
            message = f"there are {context['actual_length']} entries, and at most {context['max_length']} may be"
            yield Problem(Code.WRONG_VALUE, message, "leave some out", path)
        case "enum" | "literal_error":
            known = context["expected"].replace(" or ", ", ").replace("'", "").split(", ")
            message = f"{show(error['input'])} is not one of {', '.join(known)}"
            yield Problem(Code.WRONG_VALUE, message, suggest(str(error["input"]), known), path)
        case kind:
            message, mend = _wrong_type(kind, error["input"])
            yield Problem(Code.WRONG_VALUE, message, mend, path)


_TYPES: Final = {
    "bool_type": ("true or false", "write `true` or `false`, without quotes"),
    "int_type": ("a whole number", "write a whole number"),
    "string_type": ("a string", "put it in quotes"),
    "tuple_type": ("a list", "write it like `[…]`, or one `- ` a line"),
    "dict_type": ("a mapping", "write it as `key: value`"),
    "model_type": ("a mapping", "write it as `key: value`"),
}


def _wrong_type(kind: str, value: object) -> tuple[str, str]:
    """Word a type error; anything new in pydantic still gets an answer."""
    wanted, mend = _TYPES.get(kind, ("valid here", "see the schema: `serin schema`"))
    return f"{show(value)} is not {wanted}", "leave the field out to have the default" if value is None else mend


def _unknown_field(path: Path) -> Problem:
    name = str(path[-1])
    siblings = _fields_at(path[:-1])
    mend = suggest(name, siblings)
    if closest(name, siblings) is None and (places := _places().get(name)):
        mend = f"it belongs to `{places[0]}`"
    return Problem(Code.UNKNOWN_FIELD, f"there is no field `{name}`{_under(path[:-1])}", mend, path)


def _under(path: Path) -> str:
    return f" under `{dotted(path)}`" if path else ""


# --- the model's fields, for suggestions ------------------------------------------------------------------------------


def _model_in(annotation: object) -> type[BaseModel] | None:
    """Find the model inside `X | None` or `tuple[X, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part)) is not None), None)


def _walk(model: type[BaseModel], path: Path = ()) -> Iterator[tuple[Path, type[BaseModel]]]:
    yield path, model
    for name, field in model.model_fields.items():
        if (inner := _model_in(field.annotation)) is not None:
            yield from _walk(inner, (*path, field.alias or name))


@cache
def _schema() -> dict[Path, Sequence[str]]:
    """Every mapping of the schema (list positions left out), with its fields."""
    return {
        path: [field.alias or name for name, field in model.model_fields.items()] for path, model in _walk(CanaryPolicy)
    }


def _fields_at(path: Path) -> Sequence[str]:
    return _schema().get(tuple(part for part in path if not isinstance(part, int)), ())


@cache
def _places() -> dict[str, list[str]]:
    """Field name to the mappings that have it, metadata left out."""
    places: dict[str, list[str]] = {}
    for path, names in _schema().items():
        for name in names if path[:1] != ("metadata",) and path else ():
            places.setdefault(name, []).append(dotted(path))
    return places
