"""What the API server wants of an `events.k8s.io/v1` Event, in its words."""

import re
from typing import Final

from analyzer.adapters.memory.rules import invalid
from analyzer.errors import WriteRefused
from analyzer.ports import Object, Ref

_MICRO_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_LIMITS: Final = {"note": 1024, "reason": 128, "action": 128, "reportingInstance": 128}  # [byte]
_REQUIRED: Final = ("reportingController", "reportingInstance", "action", "reason")


def check_event(ref: Ref, event: Object) -> None:
    """Refuse an Event that lacks what it must have, or has more of it than fits.

    Raises
    ------
    WriteRefused
        With the field.
    """
    series = event.get("series") or {}
    for field, value in (("eventTime", event.get("eventTime")), ("lastObservedTime", series.get("lastObservedTime"))):
        if value is not None and not (isinstance(value, str) and _MICRO_TIME.fullmatch(value)):
            raise WriteRefused(f'400: Event in version "v1" cannot be handled as a Event: {field}: {value!r}')
    for field in ("eventTime", *_REQUIRED):
        if not event.get(field):
            raise invalid(ref, field, "Required value")
    for field, limit in _LIMITS.items():
        if len(str(event.get(field, "")).encode()) > limit:
            raise invalid(ref, field, f"can have at most {limit} characters")
    if event.get("type") not in {"Normal", "Warning"}:
        raise invalid(ref, "type", f"has invalid value: {event.get('type')}")
    if series and series.get("count", 0) < 2:
        raise invalid(ref, "series.count", "should be at least 2")
    if not (event.get("regarding") or {}).get("namespace"):
        raise invalid(ref, "involvedObject.namespace", "does not match event.namespace")
