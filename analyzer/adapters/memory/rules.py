"""What the API server and istiod refuse, in their words."""

import re
from typing import Final

from analyzer.adapters.memory.json_patch import Json
from analyzer.errors import ConflictError, WriteRefused
from analyzer.ports import LEASE, VIRTUAL_SERVICE, Object, Ref

_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_MICRO_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_NAME_MAX: Final = 253
_IMMUTABLE: Final = ("name", "namespace", "uid", "deletionTimestamp")
_INT32_MAX: Final = 2**31 - 1


def resource(ref: Ref) -> str:
    """Name the object as the API server's messages do."""
    kind = ref.kind
    return f'{kind.plural}{"." if kind.group else ""}{kind.group} "{ref.name}"'


def invalid(ref: Ref, field: str, why: str) -> WriteRefused:
    """Make the error of a 422 on one field."""
    kind = ref.kind
    return WriteRefused(f'{kind.kind}{"." if kind.group else ""}{kind.group} "{ref.name}" is invalid: {field}: {why}')


def modified(ref: Ref) -> ConflictError:
    """Make the error of a 409 on a stale resourceVersion."""
    return ConflictError(
        f"409: Operation cannot be fulfilled on {resource(ref)}: the object has been modified; "
        "please apply your changes to the latest version and try again"
    )


def check_new(ref: Ref, obj: Object) -> None:
    """Refuse an object that cannot be created under this name.

    Raises
    ------
    WriteRefused
        With the field, and what it should be.
    """
    if (obj.get("apiVersion"), obj.get("kind")) != (ref.kind.api_version, ref.kind.kind):
        raise WriteRefused(
            f"400: the object is {obj.get('apiVersion')}/{obj.get('kind')}, "
            f"and was sent as {ref.kind.api_version}/{ref.kind.kind}"
        )
    if not _SUBDOMAIN.fullmatch(ref.name) or len(ref.name) > _NAME_MAX:
        raise invalid(ref, "metadata.name", f"Invalid value: {ref.name!r}: a lowercase RFC 1123 subdomain is required")
    if not re.fullmatch(_LABEL, ref.namespace):
        raise invalid(ref, "metadata.namespace", f"Invalid value: {ref.namespace!r}: a namespace's name is required")
    if obj["metadata"].get("resourceVersion"):
        raise invalid(ref, "metadata.resourceVersion", "it should not be set on objects to be created")


def check_change(ref: Ref, old: Object, new: Json) -> None:
    """Refuse a change of what never changes, and one that is based on an older version.

    Raises
    ------
    WriteRefused
        With the field.
    ConflictError
        `metadata.resourceVersion` is there and not the newest.
    """
    if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
        raise WriteRefused(f"400: {resource(ref)}: the result is not a Kubernetes object")
    for field in ("apiVersion", "kind"):
        if new.get(field) != old[field]:
            raise invalid(ref, field, f"Invalid value: {new.get(field)!r}: field is immutable")
    for field in _IMMUTABLE:
        if new["metadata"].get(field) != old["metadata"].get(field):
            raise invalid(
                ref, f"metadata.{field}", f"Invalid value: {new['metadata'].get(field)!r}: field is immutable"
            )
    if not new["metadata"].get("resourceVersion"):
        raise invalid(ref, "metadata.resourceVersion", "must be specified for an update")
    if new["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"]:
        raise modified(ref)


def check_content(ref: Ref, obj: Object) -> None:
    """Refuse labels and annotations that are not text, weights that istiod refuses, and a Lease that is none.

    Raises
    ------
    WriteRefused
        With the field.
    """
    for field in ("labels", "annotations"):
        values = obj["metadata"].get(field, {})
        if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
            raise invalid(ref, f"metadata.{field}", f"Invalid value: {values!r}: must be a map of strings")
    if ref.kind == LEASE:
        _check_lease(ref, obj.get("spec") or {})
    if ref.kind == VIRTUAL_SERVICE:
        for protocol in ("http", "tls", "tcp"):
            for number, route in enumerate(_objects(ref, f"spec.{protocol}", obj.get("spec", {}).get(protocol))):
                path = f"spec.{protocol}[{number}].route"
                _check_weights(ref, path, _objects(ref, path, route.get("route")))


def _check_lease(ref: Ref, spec: Object) -> None:
    for field, least in (("leaseDurationSeconds", 1), ("leaseTransitions", 0)):
        number = spec.get(field, least)
        if type(number) is not int or not least <= number <= _INT32_MAX:
            raise invalid(ref, f"spec.{field}", f"Invalid value: {number!r}: must be an int32, {least} or more")
    for field in ("acquireTime", "renewTime"):
        if not _MICRO_TIME.fullmatch(spec.get(field, "1970-01-01T00:00:00.000000Z")):
            raise WriteRefused(f"400: {resource(ref)}: spec.{field}: {spec[field]!r} is no MicroTime")


def _objects(ref: Ref, path: str, value: Json) -> list[Object]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid(ref, path, f"Invalid value: {value!r}: must be a list of objects")
    return value


def _check_weights(ref: Ref, path: str, destinations: list[Object]) -> None:
    total = 0
    for index, destination in enumerate(destinations):
        weight, field = destination.get("weight", 0), f"{path}[{index}].weight"
        if type(weight) is not int:
            raise invalid(ref, field, f"Invalid value: {weight!r}: must be of type integer")
        if not 0 <= weight <= _INT32_MAX:
            raise _denied(
                ref, f"{field}: weight {weight} < 0" if weight < 0 else f"{field}: weight {weight} is no int32"
            )
        total += weight
    if len(destinations) > 1 and total == 0:
        raise _denied(ref, f"{path}: total destination weight = 0")


def _denied(ref: Ref, why: str) -> WriteRefused:
    return WriteRefused(
        f'{resource(ref)}: admission webhook "validation.istio.io" denied the request: configuration is invalid: {why}'
    )
