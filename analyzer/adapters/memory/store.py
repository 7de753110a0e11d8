"""What the API server does with a write: the rules, without a network.

Synchronous and atomic; `cluster.py` puts the asynchronous port in front.
"""

import json
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from analyzer.adapters.memory import rules
from analyzer.adapters.memory.events import check_event
from analyzer.adapters.memory.journal import Journal
from analyzer.adapters.memory.json_patch import Json, same_json
from analyzer.errors import ConflictError, ObjectMissing, WriteRefused
from analyzer.ports import CANARY_DEFAULTS, CANARY_POLICY, EVENT, LEASE, ChangeType, Clock, Kind, Object, Ref

_WITHOUT_STATUS: Final = frozenset({CANARY_DEFAULTS, EVENT, LEASE})
_UNWRITTEN: Final = {CANARY_POLICY: {"observedGeneration": -1}}
"""What a definition says of a status that nobody wrote. The server adds it when it reads, and stores it with the next write."""
_UIDS: Final = uuid.UUID("6f0f4f4e-8f5c-4f0e-9d0a-5a3b1c7e2d11")  # the space of uuid5; any constant would do


class Verb(StrEnum):
    """What admission is asked about."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"


Admission = Callable[[Verb, Object | None, Object | None], None]
"""Given the old and the new object: returns to admit, raises WriteRefused to deny. Not asked about status."""


def admit_all(_verb: Verb, _old: Object | None, _new: Object | None) -> None:
    """Admit everything."""


class Store:
    """All objects. Every method raises what the port's methods raise, and gives and takes copies."""

    def __init__(self, clock: Clock, *, kinds: Iterable[Kind], journal: Journal, admission: Admission) -> None:
        self.admission = admission
        self.journal = journal
        self._clock = clock
        self._kinds = frozenset(kinds)
        self._texts: dict[Ref, str] = {}  # as JSON, so that nobody can share a part of an object

    def check_served(self, kind: Kind) -> None:
        """Raise ObjectMissing for a kind that this server does not know."""
        if kind not in self._kinds:
            raise ObjectMissing(
                f"404: the server could not find the requested resource: {kind.api_version} {kind.plural}"
            )

    def kind_of(self, obj: Object) -> Kind:
        """Find the kind that an object says it is; raise WriteRefused where there is none."""
        for kind in self._kinds:
            if (kind.api_version, kind.kind) == (obj.get("apiVersion"), obj.get("kind")):
                return kind
        raise WriteRefused(f'no matches for kind "{obj.get("kind")}" in version "{obj.get("apiVersion")}"')

    def __contains__(self, ref: Ref) -> bool:
        return ref in self._texts

    def read(self, ref: Ref) -> Object:
        """Read one object."""
        self.check_served(ref.kind)
        if ref not in self._texts:
            raise ObjectMissing(f'404: {rules.resource(ref)} not found in namespace "{ref.namespace}"')
        return _defaulted(ref.kind, _parse(self._texts[ref]))

    def refs(self, kind: Kind, namespace: str | None) -> list[Ref]:
        """Name all objects of a kind, in order."""
        self.check_served(kind)
        return sorted(ref for ref in self._texts if ref.kind == kind and namespace in {None, ref.namespace})

    def create(self, kind: Kind, obj: Object) -> Object:
        """Add an object; what it says of its own status, uid, times and generation is dropped."""
        self.check_served(kind)
        obj = over_the_wire(obj)
        given = obj.get("metadata") or {}
        ref = Ref(kind, str(given.get("namespace", "")), str(given.get("name", "")))
        rules.check_new(ref, {**obj, "metadata": given})
        if ref in self._texts:
            raise ConflictError(f"409: {rules.resource(ref)} already exists")
        given.pop("deletionTimestamp", None)
        uid = str(uuid.uuid5(_UIDS, f"{self.journal.revision} {ref}"))
        obj["metadata"] = {**given, "uid": uid, "creationTimestamp": self._timestamp()}
        if kind not in _WITHOUT_STATUS:
            obj["metadata"]["generation"] = 1
            obj.pop("status", None)
        rules.check_content(ref, obj)
        if kind == EVENT:
            check_event(ref, obj)
        self.admission(Verb.CREATE, None, over_the_wire(obj))
        return self._commit(ChangeType.ADDED, ref, obj)

    def update(self, ref: Ref, new: Json, *, dry_run: bool = False) -> Object:
        """Replace everything but the status and what the server itself keeps."""
        old = self.read(ref)
        rules.check_change(ref, old, new)
        made = over_the_wire(new)
        metadata = made["metadata"]
        for field in ("resourceVersion", "creationTimestamp"):
            metadata[field] = old["metadata"][field]
        if ref.kind not in _WITHOUT_STATUS:
            _put(made, "status", old.get("status"))
            metadata["generation"] = old["metadata"]["generation"] + (not same_json(_desired(old), _desired(made)))
        rules.check_content(ref, made)
        self.admission(Verb.UPDATE, over_the_wire(old), over_the_wire(made))
        if dry_run or same_json(_parse(self._texts[ref]), made):
            return made
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            return self._remove(ref, made)
        return self._commit(ChangeType.MODIFIED, ref, made)

    def write_status(self, ref: Ref, status: Json) -> Object:
        """Replace the status and nothing else."""
        obj = self.read(ref)
        if ref.kind in _WITHOUT_STATUS:
            raise ObjectMissing(f"404: the server could not find the requested resource: {ref.kind.plural}/status")
        _put(obj, "status", over_the_wire({"status": status})["status"])
        return obj if same_json(obj, _parse(self._texts[ref])) else self._commit(ChangeType.MODIFIED, ref, obj)

    def delete(self, ref: Ref) -> None:
        """Remove an object, or mark it for the owners of its finalizers."""
        obj = self.read(ref)
        self.admission(Verb.DELETE, self.read(ref), None)
        metadata = obj["metadata"]
        if not metadata.get("finalizers"):
            self._remove(ref, obj)
        elif "deletionTimestamp" not in metadata:
            metadata |= {"deletionTimestamp": self._timestamp(), "deletionGracePeriodSeconds": 0}
            if "generation" in metadata:
                metadata["generation"] += 1
            self._commit(ChangeType.MODIFIED, ref, obj)

    def _commit(self, change: ChangeType, ref: Ref, obj: Object) -> Object:
        obj["metadata"]["resourceVersion"] = str(self.journal.revision + 1)
        self._texts[ref] = json.dumps(obj)
        self.journal.append(change, ref, json.dumps(_defaulted(ref.kind, obj)))
        return obj

    def _remove(self, ref: Ref, obj: Object) -> Object:
        self._commit(ChangeType.DELETED, ref, obj)
        del self._texts[ref]
        return obj

    def _timestamp(self) -> str:
        return datetime.fromtimestamp(self._clock.now_s(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def over_the_wire(obj: Object) -> Object:
    """Copy an object as its way to the server does: only JSON arrives.

    Raises
    ------
    WriteRefused
        It is not JSON (a date, say, or NaN).
    """
    try:
        return _parse(json.dumps(obj, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise WriteRefused(f"400: the object is not JSON: {error}") from error


def _parse(text: str) -> Object:
    obj: Object = json.loads(text)
    return obj


def _defaulted(kind: Kind, obj: Object) -> Object:
    if kind in _UNWRITTEN and "status" not in obj:
        obj["status"] = dict(_UNWRITTEN[kind])
    return obj


def _desired(obj: Object) -> Object:
    return {field: value for field, value in obj.items() if field not in {"metadata", "status"}}


def _put(obj: Object, field: str, value: Json) -> None:
    obj.pop(field, None)
    if value is not None:
        obj[field] = value
