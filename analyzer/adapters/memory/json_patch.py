"""JSON Patch (RFC 6902) as the Kubernetes API server applies it.

Our own, since the API server has habits of its own: a `test` for null passes where the member is absent, an operation
without a value has the value null, and a failed `test` looks no different from an operation that leads nowhere.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from analyzer.errors import ConflictError, WriteRefused
from analyzer.ports import PatchOperation

Json: TypeAlias = Any
"""What `json.loads` gives."""

_INDEX: Final = re.compile(r"0|[1-9][0-9]*")
_ABSENT: Final = object()


class _MissError(LookupError):
    """A pointer leads nowhere; the text says where it ends."""


def apply_patch(document: Json, operations: Sequence[PatchOperation]) -> Json:
    """Apply all operations in order, in place, and return the document (a new one where the root was replaced).

    `document` is undefined after an error: pass a copy.

    Raises
    ------
    ConflictError
        A `test` failed, or an operation cannot be done on this document (the API server answers 422 to both).
    WriteRefused
        The patch cannot even be read (400).
    """
    for number, operation in enumerate(operations):
        where = f"operation {number} ({operation.get('op')!r} {operation.get('path')!r})"
        try:
            document = _operation(operation)(document, operation)
        except TypeError as error:
            raise WriteRefused(f"400: the JSON Patch cannot be read: {where}: {error}") from error
        except _MissError as error:
            if operation.get("op") == "test":
                raise ConflictError(f"422: test operation for path {operation['path']} failed: {error}") from error
            raise ConflictError(f"422: the JSON Patch does not apply: {where}: {error}") from error
    return document


def _operation(operation: PatchOperation) -> Callable[[Json, PatchOperation], Json]:
    for member in ("op", "path", "from"):
        if not isinstance(operation.get(member, ""), str):
            raise TypeError(f"{member} must be a string")
    apply = _OPERATIONS.get(operation.get("op", ""))
    if apply is None:
        raise _MissError(f"op must be one of {', '.join(_OPERATIONS)}")
    for member in ("path", "from") if apply in {_move, _copy} else ("path",):
        if member not in operation:
            raise _MissError(f"it has no {member!r}")
    return apply


def same_json(left: Json, right: Json) -> bool:
    """Compare as JSON does: key order is nothing, `1` is `1.0`, but `true` is not `1`."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_json(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _parse_pointer(pointer: str) -> list[str]:
    """Split an RFC 6901 pointer; `~1` is decoded before `~0`, so that `~01` is `~1` and not `/`."""
    if pointer and not pointer.startswith("/"):
        raise _MissError(f"a path is empty or begins with '/', and this is {pointer!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _index(items: list[Json], key: str, *, end: int) -> int:
    if not _INDEX.fullmatch(key) or int(key) >= end:
        raise _MissError(f"there is no index {key} in a list of {len(items)}")
    return int(key)


def _child(node: Json, key: str) -> Json:
    if isinstance(node, list):
        return node[_index(node, key, end=len(node))]
    if isinstance(node, dict) and key in node:
        return node[key]
    raise _MissError(f"nothing is at {key!r}")


def _read(document: Json, pointer: str) -> Json:
    for key in _parse_pointer(pointer):
        document = _child(document, key)
    return document


def _parent(document: Json, pointer: str) -> tuple[Json, str]:
    """Find the container of a pointer that is not empty."""
    *path, key = _parse_pointer(pointer)
    for part in path:
        document = _child(document, part)
    return document, key


def _insert(document: Json, pointer: str, value: Json) -> Json:
    if pointer == "":
        return value
    node, key = _parent(document, pointer)
    if isinstance(node, list):
        node.insert(len(node) if key == "-" else _index(node, key, end=len(node) + 1), value)
    elif isinstance(node, dict):
        node[key] = value
    else:
        raise _MissError(f"{key!r} cannot be added to a {type(node).__name__}")
    return document


def _locate(document: Json, pointer: str) -> tuple[Json, str | int]:
    """Find the container and the key or index of something that is there."""
    if pointer == "":
        raise _MissError("the whole document is in nothing")
    node, key = _parent(document, pointer)
    _child(node, key)
    return node, int(key) if isinstance(node, list) else key


def _add(document: Json, operation: PatchOperation) -> Json:
    return _insert(document, operation["path"], _copied(operation.get("value")))


def _remove(document: Json, operation: PatchOperation) -> Json:
    node, key = _locate(document, operation["path"])
    del node[key]
    return document


def _replace(document: Json, operation: PatchOperation) -> Json:
    path, value = operation["path"], _copied(operation.get("value"))
    if path == "":
        return value
    node, key = _locate(document, path)
    node[key] = value
    return document


def _move(document: Json, operation: PatchOperation) -> Json:
    source, path = operation["from"], operation["path"]
    if path.startswith(f"{source}/"):
        raise _MissError(f"{source!r} cannot be moved into itself")
    node, key = _locate(document, source)
    return _insert(document, path, node.pop(key))


def _copy(document: Json, operation: PatchOperation) -> Json:
    return _insert(document, operation["path"], _copied(_read(document, operation["from"])))


def _test(document: Json, operation: PatchOperation) -> Json:
    path, expected = operation["path"], operation.get("value")
    found = document
    if path:
        node, key = _parent(document, path)
        found = node.get(key, _ABSENT) if isinstance(node, dict) else _child(node, key)
    if found is _ABSENT and expected is not None:
        raise _MissError(f"nothing is there, and {expected!r} was expected")
    if found is not _ABSENT and not same_json(found, expected):
        raise _MissError(f"{found!r} is there, and {expected!r} was expected")
    return document


def _copied(value: Json) -> Json:
    """Copy JSON values, so that nothing is in a document twice."""
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(item) for item in value]
    return value


_OPERATIONS: Final[Mapping[str, Callable[[Json, PatchOperation], Json]]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}
