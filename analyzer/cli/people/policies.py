"""A policy as people see it, read from the object itself: whatever version of Serin wrote its status, something is shown."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Final

from analyzer.cli.people.screen import printable
from analyzer.policy.defaults import with_inherited
from analyzer.ports import Object

UNSEEN: Final = "-"
"""Shown where Serin has written nothing yet."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the columns show of one policy; empty strings and None where nothing is known.

    Attributes
    ----------
    since_s
        When phase or weights changed last [unix seconds].
    current
        The status speaks of the policy as it is now.
    """

    namespace: str
    name: str
    target: str
    phase: str
    weight: int | None
    verdict: str
    step: str
    since_s: float | None
    held: str
    reason: str
    message: str
    samples: int | None
    paused: bool
    current: bool

    @property
    def called(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"


def look(obj: Object) -> Seen:
    """Read a policy for the columns."""
    metadata, spec, status = part_of(obj, "metadata"), part_of(in_effect(obj), "spec"), status_of(obj)
    hold, evidence = part_of(status, "hold"), part_of(status, "evidence")
    return Seen(
        namespace=text_of(metadata, "namespace"),
        name=text_of(metadata, "name"),
        target=text_of(part_of(spec, "target"), "virtualService"),
        phase=text_of(status, "phase"),
        weight=whole_of(status, "weight"),
        verdict=text_of(status, "verdict"),
        step=text_of(status, "step"),
        since_s=seconds_of(text_of(status, "since")),
        held=text_of(hold, "reason"),
        reason=text_of(status, "reason"),
        message=text_of(status, "message"),
        samples=whole_of(part_of(evidence, "canary"), "requests"),
        paused=spec.get("suspend") is True or bool(part_of(status, "paused")),
        current=not status or status.get("observedGeneration") == metadata.get("generation"),
    )


def in_effect(obj: Object) -> Object:
    """Give the policy with what it has from defaults, as its status tells."""
    told = inherited_by(obj)
    return with_inherited(obj, told) if told else obj


def inherited_by(obj: Object) -> dict[str, str]:
    """Give what a policy has from defaults, and from which namespace's, as its status tells: field to `30m (shop)`."""
    told = part_of(part_of(obj, "status"), "inherited")
    return {printable(name): text_of(told, name) for name in sorted(told) if text_of(told, name)}


def status_of(obj: Object) -> Mapping[str, Any]:
    """Give what Serin wrote of a policy; empty before it did, when the API server has only the definition's default."""
    status = part_of(obj, "status")
    return status if "phase" in status else {}


def part_of(obj: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Give a mapping within an object; an empty one where there is none."""
    part = obj.get(name)
    return part if isinstance(part, Mapping) else {}


def text_of(obj: Mapping[str, Any], name: str) -> str:
    """Give a text within an object, fit for a terminal; empty where there is none."""
    value = obj.get(name)
    return printable(value) if isinstance(value, str) else ""


def whole_of(obj: Mapping[str, Any], name: str) -> int | None:
    """Give a whole number within an object."""
    value = obj.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number_of(obj: Mapping[str, Any], name: str) -> float | None:
    """Give a number within an object."""
    value = obj.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def seconds_of(timestamp: str) -> float | None:
    """Read a time as Kubernetes writes it [unix seconds]."""
    try:
        return datetime.fromisoformat(timestamp).timestamp()
    except ValueError:
        return None


def ago(then_s: float | None, *, now_s: float) -> str:
    """Write how long ago something was, as kubectl does: `45s`, `3m12s`, `2h5m`, `3d`."""
    if then_s is None:
        return ""
    seconds = max(0, round(now_s - then_s))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    return f"{hours}h" if hours < 48 else f"{days}d"


def near(name: str, policies: Iterable[Object], *, namespace: str) -> list[str]:
    """Name policies that may have been meant: of the same name elsewhere, or of a similar one; as `namespace/name`."""
    seen = sorted((look(obj) for obj in policies), key=lambda one: (one.namespace != namespace, one.called))
    alike = set(get_close_matches(name, [one.name for one in seen], n=3, cutoff=0.6))
    return [one.called for one in seen if one.name == name or one.name in alike or name in one.name][:5]
