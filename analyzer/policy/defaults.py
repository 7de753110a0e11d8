"""`CanaryDefaults`: what a policy has where it is silent.

A field is taken from the policy; else from the defaults of its namespace; else from those of Serin's own namespace, which
count for the whole cluster; else it is Serin's own. Mappings are merged field by field, lists and single values are
replaced as a whole. So nothing depends on an order of events, and what is in effect can be told from the objects alone.

Policy and defaults must each be valid by themselves (the API server sees only one at a time), and the two together: what
the server cannot see, lint and the daemon do.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from analyzer.policy.findings import Path, dotted
from analyzer.policy.mesh import Object, get_map, namespace_of
from analyzer.policy.nulls import without_nulls

HOME: Final = "serin-system"
"""Serin's own namespace in the manifests of `deploy/`."""


def layers_for(namespace: str, defaults: Iterable[Object], *, home: str = HOME) -> list[Object]:
    """Choose the `CanaryDefaults` that count for the policies of a namespace, those that go before others first."""
    by_namespace = {namespace_of(obj): obj for obj in defaults}
    return [by_namespace[name] for name in dict.fromkeys((namespace, home)) if name in by_namespace]


def with_defaults(policy: Object, layers: Sequence[Object]) -> dict[str, Any]:
    """Return the policy as it is in effect; what is no mapping is left for the model to refuse."""
    spec: object = without_nulls(policy.get("spec"))
    for layer in layers:
        spec = _beneath(spec, without_nulls(get_map(layer, "spec")))
    return {**policy, "spec": spec} if layers else dict(policy)


def _beneath(upper: object, lower: object) -> object:
    if not isinstance(upper, Mapping) or not isinstance(lower, Mapping):
        return upper
    return {**lower, **{name: _beneath(value, lower.get(name)) for name, value in upper.items()}}


def inherited(policy: Object, layers: Sequence[Object]) -> dict[str, str]:
    """Tell what a policy has from defaults: field to value and namespace, `judge.bake` to `30m (shop)`."""
    known: Object = without_nulls(get_map(policy, "spec"))
    found: dict[str, str] = {}
    for layer in layers:
        spec = without_nulls(get_map(layer, "spec"))
        for path, value in _leaves(spec):
            if not decides(known, path):
                written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                found[dotted(path)] = f"{written} ({namespace_of(layer)})"
        known = get_map({"spec": _beneath(known, spec)}, "spec")
    return dict(sorted(found.items()))


def with_inherited(policy: Object, told: Mapping[str, str]) -> dict[str, Any]:
    """Return the policy as it was in effect when somebody told what it inherits: undo `inherited`.

    So who reads `.status` needs no right to read defaults, and sees what was decided by. No field takes a text that reads as
    JSON.
    """
    spec: object = without_nulls(policy.get("spec"))
    for name, text in told.items():
        written = text.rpartition(" (")[0]
        try:
            value = json.loads(written)
        except ValueError:
            value = written
        for part in reversed(name.split(".")):
            value = {part: value}
        spec = _beneath(spec, value)
    return {**policy, "spec": spec}


def _leaves(value: Object, path: Path = ()) -> Iterable[tuple[Path, object]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _leaves(inner, (*path, name))
        else:
            yield (*path, name), inner


def decides(value: object, path: Path) -> bool:
    """Tell whether an object says what is at a path: it has it, or something on the way that is no mapping."""
    for part in path:
        if not isinstance(value, Mapping):
            return True
        if value.get(part) is None:
            return False
        value = value[part]
    return True
