"""Fields without a value: the API server takes `bake: null`, or `bake:` and nothing behind it, for no `bake` at all.

So does everything here, and lint warns: a template that filled nothing in should not go unnoticed.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from analyzer.policy.findings import Path


def without_nulls(value: Any) -> Any:  # noqa: ANN401  JSON
    """Leave out what the server drops; null in a list stays, for it refuses that."""
    if isinstance(value, Mapping):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def null_paths(value: object, path: Path = ()) -> Iterator[Path]:
    """Find the fields without a value."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if inner is None:
                yield (*path, name)
            else:
                yield from null_paths(inner, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from null_paths(item, (*path, index))
