"""What decisions depend on, as JSON and back, to the last bit.

Facts hardly change from turn to turn. So a line has only their difference to those before: a field that is not there is as it
was, and those under `-` are gone.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

import numpy as np
from pydantic import TypeAdapter

from analyzer.core.judge import dump_state, load_state
from analyzer.core.judge.types import Interval, JudgeSettings, Step, VersionCounts
from analyzer.core.rollout import (
    CapacityView,
    Malformed,
    Problem,
    Request,
    RolloutState,
    TargetView,
    TelemetryHealth,
)

_T = TypeVar("_T")

_STATE: Final = TypeAdapter(RolloutState)
TARGET: Final = TypeAdapter(TargetView)
PROBLEM: Final = TypeAdapter(Problem)
CAPACITY: Final = TypeAdapter(CapacityView)
HEALTH: Final = TypeAdapter(TelemetryHealth)
REQUEST: Final = TypeAdapter(Request)
MALFORMED: Final = TypeAdapter(Malformed)
SETTINGS: Final = TypeAdapter(JudgeSettings)
STEP: Final = TypeAdapter(Step)


def encode(adapter: TypeAdapter[_T], value: _T) -> dict[str, Any]:
    """Write a value without what is as by default."""
    return dict(_finite(adapter.dump_python(value, mode="json", exclude_defaults=True)))


def _finite(value: Any) -> Any:  # noqa: ANN401 - JSON, of any shape
    """Write numbers that JSON lacks as words, which are read back as numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list) else value


def encode_state(state: RolloutState) -> dict[str, Any]:
    """Write all that is remembered, but what people are still to be told: no decision depends on that."""
    written = encode(_STATE, replace(state, judge=None, passed=None, notices=()))
    judges = {"judge": state.judge, "passed": state.passed}
    return written | {name: dump_state(judge) for name, judge in judges.items() if judge is not None}


def decode_state(written: Mapping[str, Any]) -> RolloutState:
    """Read a state.

    Raises
    ------
    ValueError
        It is none.
    """
    state = _STATE.validate_python({key: value for key, value in written.items() if key not in {"judge", "passed"}})
    judge, passed = (load_state(written[name]) if name in written else None for name in ("judge", "passed"))
    return replace(state, judge=judge, passed=passed)


# --- intervals, in the words of the counts format ---------------------------------------------------------------------


def encode_interval(interval: Interval, *, edges_known: tuple[float, ...]) -> dict[str, Any]:
    """Write an interval; its edges only where they are not those of the one before."""
    written: dict[str, Any] = {
        "t": interval.end_s,
        "seconds": interval.seconds,
        "weight": interval.weight,
        "stable": _encode_version(interval.stable),
        "canary": _encode_version(interval.canary),
    }
    if interval.edges_ms != edges_known:
        written["edges_ms"] = list(interval.edges_ms)
    if interval.unattributed_errors:
        written["unattributed_errors"] = int(interval.unattributed_errors)
    if not interval.in_effect:
        written["in_effect"] = False
    return written


def _encode_version(version: VersionCounts) -> dict[str, Any]:
    written: dict[str, Any] = {
        "pods": int(version.pods),
        "requests": int(version.requests),
        "errors": int(version.errors),
        "latency_counts": [int(n) for n in version.latency_counts],
    }
    if math.isfinite(version.youngest_pod_age_s):
        written["pod_age_s"] = float(version.youngest_pod_age_s)
    return written


def decode_interval(written: Mapping[str, Any], *, edges_known: tuple[float, ...]) -> Interval:
    """Read an interval.

    Raises
    ------
    ValueError, KeyError, TypeError
        It is none.
    """
    return Interval(
        end_s=float(written["t"]),
        seconds=float(written["seconds"]),
        weight=float(written["weight"]),
        edges_ms=tuple(float(edge) for edge in written.get("edges_ms", edges_known)),
        stable=_decode_version(written["stable"]),
        canary=_decode_version(written["canary"]),
        unattributed_errors=int(written.get("unattributed_errors", 0)),
        in_effect=bool(written.get("in_effect", True)),
    )


def _decode_version(written: Mapping[str, Any]) -> VersionCounts:
    return VersionCounts(
        requests=int(written["requests"]),
        errors=int(written["errors"]),
        latency_counts=np.array(written["latency_counts"], dtype=np.int64),
        pods=int(written["pods"]),
        youngest_pod_age_s=float(written.get("pod_age_s", math.inf)),
    )


# --- differences ------------------------------------------------------------------------------------------------------


_GONE: Final = "-"


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Write what leads from one to the other."""
    patch: dict[str, Any] = {}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := difference(old, value):
                patch[key] = inner
        elif key not in before or old != value:
            patch[key] = value
    if gone := [key for key in before if key not in after]:
        patch[_GONE] = gone
    return patch


def patched(before: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Go where `difference` leads to."""
    gone = patch.get(_GONE, ())
    after = {key: value for key, value in before.items() if key not in gone}
    for key, value in patch.items():
        old = after.get(key)
        if key != _GONE:
            after[key] = patched(old, value) if isinstance(value, dict) and isinstance(old, dict) else value
    return after
