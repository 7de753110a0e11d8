"""A declared model of the Kubernetes API server, behind `analyzer.ports.Cluster`.

Modelled, because the loop depends on it: one resourceVersion for the whole store; uid, creationTimestamp, generation
(moved by everything but metadata and status); status apart from the rest, and only where the kind has it; 409 for a
stale resourceVersion, 422 for a failed `test`; a write that changes nothing is no write; the one default that Serin's
definitions have, of a status that nobody wrote; dry run; admission; deletion
with finalizers; watches from a bounded history, with BOOKMARKs, 410 and streams that the server closes. Every call
gives way to others before it takes effect and before its answer arrives: interleavings happen as with a real server,
and a cancelled write may or may not have been made.

Not modelled: schemas, other defaults and pruning, managedFields, server-side apply, generateName, selectors and paging,
owner references and cascading deletion, API versions beside the stored one, namespaces as objects, permissions, and the
special meaning of resourceVersion "" and "0". tests/adapters/cluster_contract.py is what this and a real server share.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from typing import Final

from analyzer import ports
from analyzer.adapters.memory import rules
from analyzer.adapters.memory.journal import Journal
from analyzer.adapters.memory.json_patch import apply_patch
from analyzer.adapters.memory.store import Admission, Store, admit_all, over_the_wire
from analyzer.ports import Change, Clock, Kind, Listing, Object, PatchOperation, Ref

KINDS: Final = frozenset(
    {
        ports.CANARY_POLICY,
        ports.CANARY_DEFAULTS,
        ports.VIRTUAL_SERVICE,
        ports.DESTINATION_RULE,
        ports.SERVICE,
        ports.POD,
        ports.DEPLOYMENT,
        ports.HORIZONTAL_POD_AUTOSCALER,
        ports.EVENT,
        ports.LEASE,
    }
)


class MemoryCluster:
    """The API server's model, for one event loop.

    Parameters
    ----------
    clock
        Gives creation times.
    kinds
        What the server serves. All but Event, Lease and CanaryDefaults have a status.
    history
        How many writes back a watch can begin.
    bookmark_s, watch_s
        A watch hears a BOOKMARK when nothing was written for so long, and is closed after so long [s].
    admission
        A webhook.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        kinds: Iterable[Kind] = KINDS,
        history: int = 10_000,
        bookmark_s: float = 60.0,
        watch_s: float = 290.0,
        admission: Admission = admit_all,
    ) -> None:
        self._journal = Journal(size=history, bookmark_s=bookmark_s, watch_s=watch_s)
        self._store = Store(clock, kinds=kinds, journal=self._journal, admission=admission)

    # --- the port -----------------------------------------------------------------------------------------------------

    async def get(self, ref: Ref) -> Object:
        """See `ports.Cluster.get`."""
        await _give_way()
        return self._store.read(ref)

    async def list(self, kind: Kind, *, namespace: str | None = None) -> Listing:
        """See `ports.Cluster.list`; ordered by namespace and name."""
        await _give_way()
        items = [self._store.read(ref) for ref in self._store.refs(kind, namespace)]
        return Listing(items, str(self._journal.revision))

    async def watch(self, kind: Kind, *, namespace: str | None = None, resource_version: str) -> AsyncIterator[Change]:
        """See `ports.Cluster.watch`."""
        await _give_way()
        self._store.check_served(kind)
        async with aclosing(self._journal.follow(kind, namespace, resource_version)) as changes:
            async for change in changes:
                yield change

    async def patch(self, ref: Ref, operations: Sequence[PatchOperation], *, dry_run: bool = False) -> Object:
        """See `ports.Cluster.patch`."""
        await _give_way()
        patched = apply_patch(self._store.read(ref), operations)
        answer = self._store.update(ref, patched, dry_run=dry_run)
        await _give_way()
        return answer

    async def replace_status(self, ref: Ref, obj: Object) -> Object:
        """See `ports.Cluster.replace_status`."""
        await _give_way()
        seen = obj.get("metadata", {}).get("resourceVersion")
        current = self._store.read(ref)["metadata"]["resourceVersion"]
        if not seen:
            raise rules.invalid(ref, "metadata.resourceVersion", "must be specified for an update")
        if seen != current:
            raise rules.modified(ref)
        answer = self._store.write_status(ref, obj.get("status"))
        await _give_way()
        return answer

    async def create(self, kind: Kind, obj: Object) -> Object:
        """See `ports.Cluster.create`."""
        await _give_way()
        answer = self._store.create(kind, obj)
        await _give_way()
        return answer

    # --- the hands of users and controllers: not part of the port -----------------------------------------------------

    @property
    def admission(self) -> Admission:
        """The webhook; set it to let it fail for a while."""
        return self._store.admission

    @admission.setter
    def admission(self, admission: Admission) -> None:
        self._store.admission = admission

    def apply(self, obj: Object) -> Object:
        """Create the object, or make it so, as `kubectl apply` does; without a namespace it goes into `default`.

        Labels and annotations that `obj` does not name stay; of the rest, all but the status is replaced.

        Raises
        ------
        WriteRefused
            It is not valid, or admission said no.
        ConflictError
            `obj` carries a resourceVersion that is not the newest.
        """
        obj = over_the_wire(obj)
        given = {key: value for key, value in (obj.get("metadata") or {}).items() if value is not None}
        given.setdefault("namespace", "default")
        ref = Ref(self._store.kind_of(obj), given["namespace"], given.get("name", ""))
        if ref not in self._store:
            return self._store.create(ref.kind, {**obj, "metadata": given})
        there = self._store.read(ref)["metadata"]
        for field in {"labels", "annotations"} & there.keys():
            given[field] = {**there[field], **given.get(field, {})}
        return self._store.update(ref, {**obj, "metadata": {**there, **given}})

    def set_status(self, ref: Ref, status: Object) -> Object:
        """Write a status whatever the resourceVersion is, as the controller that owns it.

        Raises
        ------
        ObjectMissing
            There is no such object, or its kind has no status.
        """
        return self._store.write_status(ref, status)

    def delete(self, ref: Ref) -> None:
        """Delete the object; with finalizers it is only marked, and goes when the last of them is removed.

        Raises
        ------
        ObjectMissing
            There is none.
        WriteRefused
            Admission said no.
        """
        self._store.delete(ref)

    def close_watches(self) -> None:
        """End all streams, as a restart of the server does."""
        self._journal.close_watches()

    def compact(self) -> None:
        """Forget the history: every watch from an earlier resourceVersion is too old."""
        self._journal.forget()


async def _give_way() -> None:
    await asyncio.sleep(0)
