"""What machines read: stable fields, times as RFC 3339, ratios and logarithms as numbers, null where nothing is known."""

import json
from enum import StrEnum
from typing import Any

from analyzer.cli.people.policies import in_effect, inherited_by, look, part_of, status_of
from analyzer.ports import Object


class Format(StrEnum):
    """How results are written."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


class ExplainFormat(StrEnum):
    """How an explanation is written."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


def rollout_document(obj: Object) -> dict[str, Any]:
    """Describe a policy and its rollout. Fields may be added in later versions; none changes its meaning."""
    seen, status = look(obj), status_of(obj)
    hold, paused, request = (dict(part_of(status, name)) or None for name in ("hold", "paused", "request"))
    return {
        "namespace": seen.namespace,
        "name": seen.name,
        "virtualService": seen.target,
        "phase": seen.phase or None,
        "weight": seen.weight,
        "weights": status.get("weights"),
        "verdict": seen.verdict or None,
        "step": seen.step or None,
        "since": status.get("since"),
        "reason": seen.reason or None,
        "message": seen.message or None,
        "stable": dict(part_of(status, "stable")) or None,
        "canary": dict(part_of(status, "canary")) or None,
        "hold": hold,
        "suspended": part_of(in_effect(obj), "spec").get("suspend") is True,
        "paused": paused,
        "request": request,
        "upToDate": seen.current,
        "evidence": status.get("evidence"),
        "capacity": status.get("capacity"),
        "inherited": inherited_by(obj),
    }


def written(document: object, output: str, *, compact: bool = False) -> str:
    """Write a document, without the last line break."""
    if output == "yaml":
        import yaml

        return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=10_000)).rstrip("\n")
    if compact:
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return json.dumps(document, indent=2, ensure_ascii=False)
