"""Two hundred policies and more that are wrong: made from the schema by seeded mutation, and by hand.

Each is one file. What is made from the schema also says where it is wrong, so that a test can hold a finding to it.
"""

import copy
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

SEED: Final = 20
GENERATED: Final = 160

Path = tuple[str | int, ...]

FULL: Final[dict[str, Any]] = {
    "apiVersion": "serin.dev/v1alpha1",
    "kind": "CanaryPolicy",
    "metadata": {"name": "cart", "namespace": "shop"},
    "spec": {
        "mode": "enforce",
        "suspend": False,
        "target": {
            "virtualService": "cart",
            "versions": ["v1", "v2"],
            "stable": "v1",
            "deployments": {"v1": "cart-v1", "v2": "cart-v2"},
        },
        "stages": [{"route": "insiders", "weights": [50, 100]}, {"route": "primary", "weights": "auto"}],
        "judge": {
            "falseRollback": "1%",
            "errors": {"tolerance": "10%", "floor": "0.01%"},
            "latency": {"tolerance": "5%", "warmUp": "60s"},
            "limits": {"errorRate": "5%", "p99": "1s"},
            "stickyUsers": False,
            "harmBudget": "0.1%",
            "dwell": {"min": "30s", "max": "5m"},
            "bake": "10m",
            "onInconclusive": "advance",
        },
        "capacity": {"mode": "gate", "headroom": "20%", "rollbackWithin": "2m"},
        "onDelete": "restore",
        "deadlines": {"canaryReady": "10m", "blind": "30m"},
        "alerts": ["oncall"],
    },
}
"""A policy that is right, and has everything."""


@dataclass(frozen=True)
class Malformed:
    """One file that is wrong.

    Attributes
    ----------
    name
        Tells what is wrong with it.
    text
        As bytes: some are no text.
    lines
        The first and the last line of what is wrong, where it was made from the schema.
    """

    name: str
    text: bytes
    lines: tuple[int, int] | None = None


def malformed(seed: int = SEED) -> list[Malformed]:
    """Make all of them, in a fixed order."""
    made = list(_generated(random.Random(seed)))
    by_hand = [Malformed(name, text if isinstance(text, bytes) else text.encode()) for name, text in _by_hand()]
    return made + by_hand


# --- from the schema --------------------------------------------------------------------------------------------------

_WRONG: Final[dict[str, list[Any]]] = {
    "duration": [10, 1.5, "10", "10 s", "10S", "ten", "-5s", "1d", "", True, None, [], ["10s"], {"seconds": 10}, "1e3s"],
    "percent": [5, 0.05, "5", "5 %", "101%", "-1%", "%", "five", "", False, None, ["5%"], {"of": "5%"}, "1,5%"],
    "boolean": ["true", "yes", 1, 0, None, [], {}],
    "enum": ["Enforce", "nothing", "", 1, True, None, ["gate"], {"is": "gate"}],
    "name": ["A b", "-cart", "cart-", "", 7, True, None, ["cart"], {"name": "cart"}, "c" * 254],
    "route": ["", 7, True, None, ["cart"], {"name": "cart"}, " cart", "cart ", 'a"b', "a\\b", "c" * 254],
    "list": ["v1", 1, None, {}, [None], [{}], [[]]],
    "mapping": ["v1", 1, None, [], True],
    "weights": [
        [], [100], [5], [0, 100], [-5, 100], [101], [50, 50, 100], [50, 10, 100], [10, 100, 100], [1.5, 100], ["10", 100],
        ["10%", 100], [None, 100], [True, 100], 100, "manual", "", None, {}, [[10], 100], list(range(1, 102)),
    ],
}  # fmt: skip


def _kind(path: Path, value: Any) -> str:
    if path[-1] in {"weights", "route"}:
        return str(path[-1])
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, dict):
        return "mapping"
    if isinstance(value, list):
        return "list"
    if str(value).endswith("%"):
        return "percent"
    if str(value)[0].isdigit():
        return "duration"
    return "enum" if path[-1] in {"mode", "onInconclusive", "onDelete"} else "name"


def _walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if path:
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if path[-1:] != ("weights",):
            yield from _walk(inner, (*path, key))


def mappings() -> set[Path]:
    """Every mapping of the schema that `FULL` has: a test holds that it has all of them."""
    return {path for path, value in _walk({"spec": FULL["spec"]}) if isinstance(value, dict)}


def _mutations() -> Iterator[tuple[str, Path, dict[str, Any]]]:
    for path, value in _walk({"spec": FULL["spec"]}):
        for wrong in _WRONG[_kind(path, value)]:
            if wrong is None and isinstance(path[-1], str) and path[-1] not in {"spec", "target", "virtualService"}:
                continue  # the same as leaving it out
            if path != ("spec",) or wrong != {}:
                yield f"{_dotted(path)} is {json.dumps(wrong)[:40]}", path, _with(path, wrong)
        if isinstance(value, dict) and path[-1] != "deployments":
            yield f"{_dotted(path)} has a field that nobody knows", (*path, "x"), _with((*path, "x"), 1)
            for name in list(value)[:2]:
                misspelt = name + "s"
                obj = _with((*path, misspelt), value[name])
                yield f"{_dotted(path)} has {misspelt}", (*path, misspelt), obj


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))


def _with(path: Path, value: Any) -> dict[str, Any]:
    obj = copy.deepcopy(FULL)
    at: Any = obj
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return obj


def _generated(rng: random.Random) -> Iterator[Malformed]:
    """Take one mutation of each place first, then any."""
    every = list(_mutations())
    rng.shuffle(every)
    first = {path: (name, path, obj) for name, path, obj in every}
    chosen = [*first.values(), *(entry for entry in every if first[entry[1]][2] is not entry[2])]
    for name, path, obj in chosen[: max(GENERATED, len(first))]:
        text = yaml.safe_dump(obj, sort_keys=False, allow_unicode=True)
        yield Malformed(name, text.encode(), _lines(text, path))


def _lines(text: str, path: Path) -> tuple[int, int]:
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    key = node
    for part in path:
        if isinstance(part, int):
            key = node = node.value[part]
        else:
            key, node = next((key, value) for key, value in node.value if key.value == part)
    return key.start_mark.line + 1, max(key.end_mark.line, node.end_mark.line) + 1


# --- by hand ----------------------------------------------------------------------------------------------------------

_HEAD: Final = "apiVersion: serin.dev/v1alpha1\nkind: CanaryPolicy\nmetadata: {name: cart, namespace: shop}\n"
_OK: Final = _HEAD + "spec:\n  target: {virtualService: cart}\n"
_DEFAULTS: Final = "apiVersion: serin.dev/v1alpha1\nkind: CanaryDefaults\nmetadata: {name: default, namespace: shop}\n"

_TEXTS: Final[dict[str, str | bytes]] = {
    # no YAML, no text
    "a tab before a field": _HEAD + "spec:\n\ttarget: {virtualService: cart}\n",
    "a tab after the indentation": _HEAD + "spec:\n  target:\n  \tvirtualService: cart\n",
    "Latin-1": _OK.encode() + b"  # caf\xe9\n",
    "UTF-16 without a mark": _OK.encode("utf-16-le"),
    "half a character": _OK.encode() + b"  # \xe2\x82",
    "a NUL": _OK + "  mode: \0\n",
    "a control character": _OK + "  mode: \x07\n",
    "an open quote": _OK + "  mode: 'enforce\n",
    "an open bracket": _OK + "  alerts: [oncall\n",
    "a closing bracket too many": _OK + "  alerts: [oncall]]\n",
    "wrong indentation": _HEAD + "spec:\n  target:\n      virtualService: cart\n    stable: v1\n",
    "a colon in a plain word": _OK + "  mode: enforce: no\n",
    "a list under a mapping": _OK + "- mode: enforce\n",
    "an alias to nothing": _OK + "  alerts: *people\n",
    "an anchor twice on one node": _OK + "  alerts: &a &b [oncall]\n",
    "an alias to itself": _OK + "  alerts: &a [*a]\n",
    "aliases that multiply": _OK
    + "  a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"  {n}: &{n} [{','.join(['*' + p] * 9)}]\n" for p, n in zip("abcdefg", "bcdefgh", strict=True)),
    "a merge of no mapping": _OK + "  judge: {<<: 5}\n",
    "a tag of Python": _OK + "  mode: !!python/object/apply:os.system [id]\n",
    "a tag of one's own": _OK + "  mode: !mode enforce\n",
    "a key that is a list": _OK + "  ? [a, b]\n  : 1\n",
    "nothing": "",
    "comments only": "# a policy will be here\n",
    "null": "null\n",
    "a word": "cart\n",
    "a list": "- apiVersion: serin.dev/v1alpha1\n  kind: CanaryPolicy\n",
    "nested too deeply": _OK + "  x: " + "[" * 500 + "]" * 500 + "\n",
    "larger than any object": _OK + "  # " + "x" * (5 << 20) + "\n",
    "JSON with a comma too many": '{"apiVersion": "serin.dev/v1alpha1", "kind": "CanaryPolicy",, "spec": {}}\n',
    # keys twice
    "spec twice": _OK + "spec: {target: {virtualService: other}}\n",
    "target twice": _OK + "  target: {virtualService: other}\n",
    "a field twice": _OK + "  mode: enforce\n  mode: observe\n",
    "a field twice, the same": _OK + "  mode: enforce\n  mode: enforce\n",
    "a field twice in flow": _OK + "  judge: {bake: 1m, bake: 2m}\n",
    "a version twice in deployments": _HEAD
    + "spec: {target: {virtualService: cart, deployments: {v1: a, v1: b, v2: c}}}\n",
    "kind twice": "kind: CanaryPolicy\n" + _OK,
    # kinds and names
    "no kind": _OK.replace("kind: CanaryPolicy\n", ""),
    "no apiVersion": _OK.replace("apiVersion: serin.dev/v1alpha1\n", ""),
    "a kind of another case": _OK.replace("CanaryPolicy", "canarypolicy"),
    "the plural": _OK.replace("CanaryPolicy", "CanaryPolicies"),
    "a version of tomorrow": _OK.replace("v1alpha1", "v1"),
    "a group of others": _OK.replace("serin.dev", "serin.io"),
    "no metadata": _OK.replace("metadata: {name: cart, namespace: shop}\n", ""),
    "no name": _OK.replace("name: cart, ", ""),
    "a name that is none": _OK.replace("name: cart,", "name: Cart_1,"),
    "a name that is a number": _OK.replace("name: cart,", "name: 5,"),
    "metadata is a list": _OK.replace("{name: cart, namespace: shop}", "[cart]"),
    "labels of numbers": _OK.replace("name: cart,", "name: cart, labels: {a: 1},"),
    "annotations are a list": _OK.replace("name: cart,", "name: cart, annotations: [a],"),
    # structure
    "no spec": _HEAD,
    "an empty spec": _HEAD + "spec: {}\n",
    "spec is null": _HEAD + "spec:\n",
    "spec is a list": _HEAD + "spec: [target]\n",
    "target is null": _HEAD + "spec: {target: }\n",
    "nulls within nulls": _HEAD
    + "spec: {target: {virtualService: , versions: [null, null]}, judge: {dwell: {max: }}}\n",
    "a field beside spec": _OK + "mode: enforce\n",
    "status is a word": _OK + "status: fine\n",
    "the second of two documents is wrong": _OK + "---\n" + _OK.replace("cart", "pay") + "  mode: none\n",
    "the first of two documents is wrong": _OK + "  mode: none\n---\n" + _OK.replace("cart", "pay"),
    "a list of policies with one that is wrong": "apiVersion: v1\nkind: List\nitems:\n"
    + "".join(f"- {json.dumps(_with(('spec', 'mode'), mode))}\n" for mode in ("enforce", "none")),
    # contradictions
    "min beyond max": _OK + "  judge: {dwell: {min: 10m, max: 5m}}\n",
    "min beyond the default of max": _OK + "  judge: {dwell: {min: 6m}}\n",
    "max below the default of min": _OK + "  judge: {dwell: {max: 29s}}\n",
    "stable is neither version": _HEAD + "spec: {target: {virtualService: cart, versions: [v1, v2], stable: v3}}\n",
    "deployments of other versions": _HEAD
    + "spec: {target: {virtualService: cart, versions: [v1, v2], deployments: {v1: a, v3: b}}}\n",
    "one deployment": _HEAD + "spec: {target: {virtualService: cart, deployments: {v1: a}}}\n",
    "one deployment twice": _HEAD + "spec: {target: {virtualService: cart, deployments: {v1: a, v2: a}}}\n",
    "no deployments": _HEAD + "spec: {target: {virtualService: cart, deployments: {}}}\n",
    "three versions": _HEAD + "spec: {target: {virtualService: cart, versions: [v1, v2, v3]}}\n",
    "one version twice": _HEAD + "spec: {target: {virtualService: cart, versions: [v1, v1]}}\n",
    "two stages without routes": _OK + "  stages: [{weights: auto}, {weights: auto}]\n",
    "two stages on one route": _OK + "  stages: [{route: a}, {route: a}]\n",
    "a receiver twice": _OK + "  alerts: [oncall, oncall]\n",
    "no stages": _OK + "  stages: []\n",
    "seventeen stages": _OK + "  stages: [" + ", ".join(f"{{route: r{n}}}" for n in range(17)) + "]\n",
    "seventeen receivers": _OK + "  alerts: [" + ", ".join(f"r{n}" for n in range(17)) + "]\n",
    "false rollbacks beyond all reason": _OK + "  judge: {falseRollback: 21%}\n",
    "no false rollbacks at all": _OK + "  judge: {falseRollback: 0%}\n",
    "a budget of nothing": _OK + "  judge: {harmBudget: 0.000%}\n",
    "a limit of nothing": _OK + "  judge: {limits: {errorRate: 0%}}\n",
    "a limit of no time": _OK + "  judge: {limits: {p99: 0ms}}\n",
    "a deadline of no time": _OK + "  deadlines: {blind: 0s}\n",
    "a percentage with too many digits": _OK + "  judge: {harmBudget: 0.12345678901%}\n",
    "a duration with too many digits": _OK + "  judge: {bake: 12345678901s}\n",
    "a duration without end": _OK + "  judge: {bake: " + "1s" * 40 + "}\n",
    "a number that is too large": _OK + "  stages: [{weights: [1, 100000000000000000000]}]\n",
    "a weight that is a power": _OK + "  stages: [{weights: [1.0e+1, 100]}]\n",
    "not a number": _OK + "  stages: [{weights: [.nan, 100]}]\n",
    "infinity": _OK + "  stages: [{weights: [1, .inf]}]\n",
    "digits of another script": _OK + "  judge: {bake: '١٠s'}\n",
    "a line break after the unit": _OK + '  judge: {bake: "10s\\n"}\n',
    "a line break in a route": _OK + '  stages: [{route: "a\\nb"}]\n',
    "a quote in a route": _OK + "  stages: [{route: 'a\"b'}]\n",
    "a space before a route": _OK + "  stages: [{route: ' a'}]\n",
    "the word auto in a list": _OK + "  stages: [{weights: [auto]}]\n",
    # defaults
    "defaults with a target": _DEFAULTS + "spec: {target: {virtualService: cart}}\n",
    "defaults of another name": _DEFAULTS.replace("name: default", "name: cart") + "spec: {}\n",
    "defaults without spec": _DEFAULTS,
    "defaults with a status": _DEFAULTS + "spec: {}\nstatus: {}\n",
    "defaults that contradict themselves": _DEFAULTS + "spec: {judge: {dwell: {min: 6m}}}\n",
    "defaults with weights that lead nowhere": _DEFAULTS + "spec: {stages: [{weights: [10, 50]}]}\n",
    "defaults without a unit": _DEFAULTS + "spec: {judge: {bake: 10}}\n",
    "defaults of a wrong case": _DEFAULTS + "spec: {mode: Observe}\n",
    # words of YAML 1.1
    "yes for true": _OK + "  suspend: yes\n",
    "an octal weight": _OK + "  stages: [{weights: [010, 100]}]\n",
    "a weight with an underscore": _OK + "  stages: [{weights: [1_0, 100]}]\n",
    "a weight of base sixty": _OK + "  stages: [{weights: ['1', 1:30, 100]}]\n",
    "a hexadecimal weight": _OK + "  stages: [{weights: [0x0a, 100]}]\n",
}


def _by_hand() -> Iterator[tuple[str, str | bytes]]:
    yield from _TEXTS.items()
