"""An alert as one JSON object."""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from analyzer.adapters.alert_text import iso_utc, render_text, urgency
from analyzer.core.identity import alert_id
from analyzer.ports import Alert


def payload(alert: Alert) -> dict[str, Any]:
    """Build the JSON object of an alert; `WebhookSink` describes it."""
    namespace, _, name = alert.policy.partition("/")
    return {
        "id": alert_id(dedup_key=alert.dedup_key, reason=alert.reason, resolved=alert.resolved, at_s=alert.at_s),
        "title": alert.title,
        "text": render_text(alert),
        "severity": alert.severity.value,
        "urgency": urgency(alert),
        "reason": alert.reason,
        "dedup_key": alert.dedup_key,
        "resolved": alert.resolved,
        "policy": alert.policy,
        "namespace": namespace,
        "name": name,
        "at": iso_utc(alert.at_s),
        "what": alert.what,
        "evidence": alert.evidence,
        "done": alert.done,
        "to_do": alert.to_do,
        "command": alert.command,
        "links": dict(alert.links),
        "still": list(alert.still),
        "details": _plain(alert.details),
    }


def _plain(value: object) -> object:
    """Make a value of what JSON knows; a NaN becomes null."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral):  # numpy's too
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(item) for item in value]
    return str(value)
