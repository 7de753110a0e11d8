"""From a plain object to a `CanaryPolicy` or `CanaryDefaults`, or to everything that is wrong with it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from analyzer.errors import PolicyError
from analyzer.policy.findings import Code, Path, Problem, closest, dotted, suggest
from analyzer.policy.model import API_VERSION, DEFAULTS_KIND, KIND, CanaryDefaults, CanaryPolicy
from analyzer.policy.nulls import without_nulls
from analyzer.policy.quantities import show
from analyzer.policy.rules import check_rules

_KINDS: Final = (KIND, DEFAULTS_KIND)

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
    return _read(CanaryPolicy, obj, kind=KIND)


def read_defaults(obj: Mapping[str, Any]) -> CanaryDefaults | list[Problem]:
    """Read the defaults of a namespace, or list their problems."""
    return _read(CanaryDefaults, obj, kind=DEFAULTS_KIND)


_Kind = TypeVar("_Kind", CanaryPolicy, CanaryDefaults)


def _read(model: type[_Kind], obj: Mapping[str, Any], *, kind: str) -> _Kind | list[Problem]:
    if (problem := check_kind(obj, kind=kind)) is not None:
        return [problem]
    try:
        read = model.model_validate({**obj, "spec": without_nulls(obj["spec"])} if "spec" in obj else dict(obj))
    except ValidationError as error:
        return [problem for details in error.errors(include_url=False) for problem in _translate(details, model)]
    return check_rules(read.spec) or read


def is_foreign(obj: Mapping[str, Any]) -> bool:
    """Tell whether this is a canary policy of another tool."""
    group = str(obj.get("apiVersion")).partition("/")[0]
    return group in _FOREIGN and obj.get("kind") in {"Canary", "Rollout"}


def check_kind(obj: Mapping[str, Any], *, kind: str = KIND) -> Problem | None:
    """Say what an object is if it is not of this kind, in a version that Serin knows."""
    found, api_version = obj.get("kind"), obj.get("apiVersion")
    mend = f"write `apiVersion: {API_VERSION}` and `kind: {kind}`"
    if is_foreign(obj):
        group = str(api_version).partition("/")[0]
        message = f"this is {_FOREIGN[group]}, which Serin does not read"
        return Problem(Code.WRONG_KIND, message, f"{mend}; its target becomes `spec.target.virtualService`", ("kind",))
    if found is None:
        return Problem(Code.WRONG_KIND, "this object has no `kind`", mend)
    if found != kind:
        near = closest(found, _KINDS) if isinstance(found, str) else None
        message = f"there is no kind {show(found)}" if near else f"this is a {found}; a policy has the kind `{kind}`"
        return Problem(Code.WRONG_KIND, message, f"did you mean `{near}`?" if near else mend, ("kind",))
    if api_version != API_VERSION:
        what = "policy has" if kind == KIND else "object has"
        message = f"this {what} no `apiVersion`" if api_version is None else f"{show(api_version)} is not known"
        return Problem(Code.WRONG_KIND, message, f"write `apiVersion: {API_VERSION}`", ("apiVersion",))
    return None


# --- pydantic's errors in our words -----------------------------------------------------------------------------------


def _translate(error: ErrorDetails, model: type[BaseModel]) -> Iterator[Problem]:
    path: Path = error["loc"]
    context = error.get("ctx", {})
    match error["type"]:
        case "serin":
            yield Problem(context["code"], context["message"], context["mend"], (*path, *context["at"]))
        case "extra_forbidden":
            yield _unknown_field(path, model)
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
            mend = f"write `{known[0]}`" if len(known) == 1 else suggest(str(error["input"]), known)
            yield Problem(Code.WRONG_VALUE, message, mend, path)
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


def _unknown_field(path: Path, model: type[BaseModel]) -> Problem:
    name = str(path[-1])
    siblings = _fields_at(model, path[:-1])
    mend = suggest(name, siblings)
    if name in _fields_at(CanaryPolicy, path[:-1]):
        mend = f"it belongs to each {KIND}"
    elif closest(name, siblings) is None and (places := _places(model).get(name)):
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
def _schema(model: type[BaseModel]) -> dict[Path, Sequence[str]]:
    """Every mapping of the schema (list positions left out), with its fields."""
    return {path: [field.alias or name for name, field in inner.model_fields.items()] for path, inner in _walk(model)}


def _fields_at(model: type[BaseModel], path: Path) -> Sequence[str]:
    return _schema(model).get(tuple(part for part in path if not isinstance(part, int)), ())


@cache
def _places(model: type[BaseModel]) -> dict[str, list[str]]:
    """Field name to the mappings that have it, metadata left out."""
    places: dict[str, list[str]] = {}
    for path, names in _schema(model).items():
        for name in names if path[:1] != ("metadata",) and path else ():
            places.setdefault(name, []).append(dotted(path))
    return places
