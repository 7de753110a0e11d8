"""A person's request as it stands in the policy's annotation: compact JSON, read strictly.

The command line writes it, the daemon answers it in `.status.request`, and RBAC governs it through the admission policy in
`deploy/admission`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NoReturn, TypeVar

from analyzer.core.rollout.model import Problem
from analyzer.core.rollout.requests import DriftAnswer, Request, Verb

REQUEST_ANNOTATION: Final = "serin.dev/request"

LONGEST_REQUEST: Final = 4096
"""Characters of the annotation: what a person says, not what a file holds."""

LONGEST_WHY: Final = 1000

_REASON: Final = "RequestMalformed"
_ID: Final = re.compile(r"[0-9a-f]{8,64}")
_AT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_ROLLOUT: Final = re.compile(r"[^@\s]+@[^@\s]+")
_NEEDED: Final = ("id", "verb", "by", "why", "at")
_NEED_ROLLOUT: Final = frozenset({Verb.RETRY, Verb.PROMOTE, Verb.ABORT})
_ONLY_WITH: Final = {"weights": Verb.RESUME, "force": Verb.PROMOTE}

_Word = TypeVar("_Word", Verb, DriftAnswer)


class _Malformed(ValueError):
    """With what is wrong, in a clause."""


def parse_request(text: str) -> Request | Problem:
    """Read an annotation, or say what is wrong with it."""
    try:
        return _read(text)
    except _Malformed as error:
        message = f"The annotation {REQUEST_ANNOTATION} is no request: {error}. `serin pause|resume|… NAME` writes it."
        return Problem(_REASON, message)


def render_request(request: Request) -> str:
    """Write a request as an annotation."""
    fields: dict[str, Any] = {
        "id": request.id, "verb": request.verb.value, "by": request.by, "why": request.why, "at": request.at,
    }  # fmt: skip
    if request.rollout:
        fields["rollout"] = request.rollout
    if request.weights is not None:
        fields["weights"] = request.weights.value
    if request.force:
        fields["force"] = True
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def request_id(text: str) -> str:
    """Name a request, also one that cannot be read: it too is answered once."""
    request = parse_request(text)
    if isinstance(request, Request):
        return request.id
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _read(text: str) -> Request:
    if len(text) > LONGEST_REQUEST:
        raise _Malformed(f"it has {len(text)} characters, at most {LONGEST_REQUEST} may be")
    fields = _fields(text)
    verb = _one_of(Verb, "verb", fields["verb"])
    for name, only in _ONLY_WITH.items():
        if name in fields and verb is not only:
            raise _Malformed(f"`{name}` goes with {only.value} only, not with {verb.value}")
    rollout = _text(fields, "rollout", longest=600) if "rollout" in fields else ""
    if rollout and not _ROLLOUT.fullmatch(rollout):
        raise _Malformed("`rollout` is not like `v2@3f6c…`, a version and its revision")
    if not rollout and verb in _NEED_ROLLOUT:
        raise _Malformed(f"{verb.value} needs `rollout`, the one that is meant, like `v2@3f6c…`")
    force = fields.get("force", False)
    if not isinstance(force, bool):
        raise _Malformed("`force` is true or false")
    return Request(
        id=_id(fields),
        verb=verb,
        by=_by(fields),
        why=_text(fields, "why", longest=LONGEST_WHY),
        at=_at(fields),
        rollout=rollout,
        weights=_one_of(DriftAnswer, "weights", fields["weights"]) if "weights" in fields else None,
        force=force,
    )


def _fields(text: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise _Malformed("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _Malformed(f"it is not JSON ({error})") from None
    if not isinstance(fields, dict):
        raise _Malformed("it is not a JSON object")
    known = {*_NEEDED, "rollout", *_ONLY_WITH}
    if unknown := sorted(set(fields) - known):
        raise _Malformed(f"there is no field `{unknown[0][:60]}`")
    if missing := [name for name in _NEEDED if name not in fields]:
        raise _Malformed(f"`{missing[0]}` is missing")
    return fields


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _Malformed("a field stands there twice")
    return made


def _no_constant(name: str) -> NoReturn:
    raise _Malformed(f"{name} is not JSON")


def _text(fields: Mapping[str, Any], name: str, *, longest: int) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise _Malformed(f"`{name}` is not a string")
    if len(value) > longest:
        raise _Malformed(f"`{name}` has {len(value)} characters, at most {longest} may be")
    if not value.isprintable():
        raise _Malformed(f"`{name}` has characters that cannot be printed; write it in one line")
    return value


def _id(fields: Mapping[str, Any]) -> str:
    value = _text(fields, "id", longest=64)
    if not _ID.fullmatch(value):
        raise _Malformed("`id` is not 8 to 64 hexadecimal digits in lower case")
    return value


def _by(fields: Mapping[str, Any]) -> str:
    value = _text(fields, "by", longest=600)
    if not value.strip():
        raise _Malformed("`by` is empty: say who asks")
    return value


def _at(fields: Mapping[str, Any]) -> str:
    value = _text(fields, "at", longest=20)
    try:
        if _AT.fullmatch(value):
            datetime.fromisoformat(value)
            return value
    except ValueError:
        pass
    raise _Malformed("`at` is not a time like 2026-11-28T13:00:00Z")


def _one_of(kind: type[_Word], name: str, value: str) -> _Word:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(member.value for member in kind)
        raise _Malformed(f"`{name}` is not one of {known}") from None
