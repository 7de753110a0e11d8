"""The JSON Schema of one line of the counts format.

It says what a line may be by itself. What lines say together (a header first, time ascending, as many latency counts as
edges make, no more errors than requests) only the reader checks.
"""

import re
from typing import Any, Final

from analyzer.policy.schema import Draft, json_schema
from analyzer.replay.fields import MAX_COUNT
from analyzer.replay.lines import MAX_EDGES

_PLACES: Final[dict[Draft, str]] = {"draft-07": "definitions", "2020-12": "$defs"}

_COUNT: Final = {"type": "integer", "minimum": 0, "maximum": MAX_COUNT}
_COUNTS: Final = {"type": "array", "items": _COUNT, "minItems": 1, "maxItems": MAX_EDGES + 1}
_ROLLOUT: Final = {"type": "string", "minLength": 1, "description": "Names the rollout that the line belongs to."}
_SECONDS: Final = {"type": "number", "exclusiveMinimum": 0, "description": "Length of the interval [s]."}
_T: Final = {"type": "number", "description": "End of the interval [s], on any clock; ascending within a rollout."}
_VERSION: Final[dict[str, dict[str, Any]]] = {
    "pods": {**_COUNT, "description": "Ready pods."},
    "requests": {**_COUNT, "description": "Completed requests in the interval."},
    "errors": {**_COUNT, "description": "Those of them that failed."},
    "latency_counts": {**_COUNTS, "description": "Requests per bucket, not cumulative; one more than there are edges."},
}


def counts_schema(draft: Draft = "draft-07") -> dict[str, Any]:
    """Build the schema of a line."""
    whole = json_schema(draft)
    place = _PLACES[draft]
    kinds = {"Header": _header(place), "History": _HISTORY, "Interval": _INTERVAL}
    judge = {name: whole[place][name] for name in _needed(whole[place], "Judge")}
    return {
        "$schema": whole["$schema"],
        "title": "A line of recorded canary counts",
        "description": "Per rollout: one header, optionally history of the stable version by pod, then intervals.",
        "oneOf": [{"$ref": f"#/{place}/{name}"} for name in kinds],
        place: {**kinds, **judge},
    }


def _object(description: str, properties: dict[str, Any], *, optional: frozenset[str] = frozenset()) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _header(place: str) -> dict[str, Any]:
    edges = {
        "type": "array",
        "items": {"type": "number", "exclusiveMinimum": 0},
        "maxItems": MAX_EDGES,
        "description": "Finite edges of the latency histogram, ascending [ms]; empty without one.",
    }
    policy = {"allOf": [{"$ref": f"#/{place}/Judge"}], "description": "Overrides of spec.judge."}
    properties = {"rollout": _ROLLOUT, "edges_ms": edges, "policy": policy}
    return _object("Begins a rollout.", properties, optional=frozenset({"policy"}))


_HISTORY: Final = _object(
    "The stable version alone, per pod, before the rollout.",
    {
        "rollout": _ROLLOUT,
        "t": _T,
        "seconds": _SECONDS,
        "history": _object(
            "Counts by pod; a pod keeps its place.",
            {
                "requests": {"type": "array", "items": _COUNT, "minItems": 1},
                "errors": {"type": "array", "items": _COUNT, "minItems": 1},
                "latency_counts": {"type": "array", "items": _COUNTS, "minItems": 1},
            },
        ),
    },
)

_INTERVAL: Final = _object(
    "Both versions in one interval.",
    {
        "rollout": _ROLLOUT,
        "t": _T,
        "seconds": _SECONDS,
        "weight": {
            "type": "number",
            "minimum": 0,
            "maximum": 100,
            "description": "The canary's share of the traffic by the route [per cent].",
        },
        "next_weight": {
            "type": ["number", "null"],
            "exclusiveMinimum": 0,
            "maximum": 100,
            "description": "The weight that proof would allow [per cent]; null: nothing is to be proven.",
        },
        "stable": _object("The stable version.", _VERSION),
        "canary": _object(
            "The canary.",
            {
                **_VERSION,
                "pod_age_s": {
                    "type": ["number", "null"],
                    "minimum": 0,
                    "description": "Age of its youngest pod at the interval's end [s]; null: not known to be young.",
                },
            },
            optional=frozenset({"pod_age_s"}),
        ),
    },
    optional=frozenset({"next_weight"}),
)


def _needed(definitions: dict[str, Any], name: str) -> list[str]:
    """List a definition and all that it refers to, in the order of first mention."""
    found, queue = [name], [name]
    while queue:
        for other in re.findall(r"\$ref\W+#/[^/]+/(\w+)", str(definitions[queue.pop(0)])):
            if other not in found:
                found.append(other)
                queue.append(other)
    return found
