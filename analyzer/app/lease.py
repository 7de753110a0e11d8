"""The Lease as a value: what was seen of it, when it may be taken, and what is written into it. Pure.

A holder is dead when its lease has looked the same for the lease's own duration of *our* monotonic time (client-go's rule).
The times inside the lease are for people: two machines' wall clocks are never compared.

Each write of the lease tests the resourceVersion it was decided on, so of two that write at once one fails. Nobody leads
because the lease carries its name, but because its own write of it succeeded.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from analyzer.ports import LEASE, Object, PatchOperation, Ref

_RELEASED_S: Final = 1
"""`leaseDurationSeconds` of a released lease, as client-go writes it: so a person's edit is not taken for a release."""

EPOCH_MAX: Final = 1_000_000_000
"""Annotations beyond this are nobody's hand-overs; `leaseTransitions` (int32) must keep room to grow."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How a lease's duration is divided.

    Attributes
    ----------
    duration_s
        Without a renewal for so long, others may take the lease [s].
    """

    duration_s: float

    @property
    def renew_s(self) -> float:
        """Time between two renewals, and the most that one may take [s]."""
        return self.duration_s / 5

    @property
    def retry_s(self) -> float:
        """Time between two tries after a failure [s]."""
        return self.duration_s / 15

    @property
    def deadline_s(self) -> float:
        """The holder writes no longer than this after it *sent* its last successful renewal [s].

        The third that is left is for a holder whose clock runs slow and for a write that outlives its time-out.
        """
        return self.duration_s * 2 / 3

    @property
    def write_s(self) -> float:
        """The most that one write of the holder may take [s]."""
        return self.duration_s / 3


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What a Lease says.

    Attributes
    ----------
    uid
        Of the object: one that was deleted and made again is another.
    holder
        Identity of the leader; empty where there is none.
    epoch
        `leaseTransitions`: counts the take-overs.
    renewed
        `renewTime` as it is written: compared for being the same, never for its value.
    duration_s
        `leaseDurationSeconds`; None where it is missing or no positive number [s].
    """

    uid: str
    holder: str
    epoch: int
    renewed: str
    duration_s: float | None

    @property
    def released(self) -> bool:
        """Whether its holder gave it back."""
        return not self.holder and self.duration_s == _RELEASED_S


@dataclass(frozen=True, slots=True)
class Sighting:
    """The lease as last seen.

    Attributes
    ----------
    record
        What it says.
    since_s
        Since when it has looked so, by our monotonic clock [s].
    resource_version
        Of the newest version seen.
    """

    record: LeaseRecord
    since_s: float
    resource_version: str


def read_record(lease: Object) -> LeaseRecord:
    """Read a Lease, whoever wrote it: a value of the wrong type counts as missing."""
    spec: dict[str, Any] = lease.get("spec") or {}
    epoch, duration = spec.get("leaseTransitions"), spec.get("leaseDurationSeconds")
    return LeaseRecord(
        uid=lease["metadata"].get("uid") or "",
        holder=spec.get("holderIdentity") or "",
        epoch=epoch if isinstance(epoch, int) else 0,
        renewed=spec.get("renewTime") or "",
        duration_s=float(duration) if isinstance(duration, int) and duration > 0 else None,
    )


def see(previous: Sighting | None, lease: Object, *, now_s: float) -> Sighting:
    """Take in what the lease looks like now."""
    record = read_record(lease)
    since_s = previous.since_s if previous is not None and previous.record == record else now_s
    return Sighting(record, since_s, lease["metadata"]["resourceVersion"])


def free_at_s(sighting: Sighting, *, identity: str, duration_s: float) -> float:
    """Say from when on the lease may be taken, by our monotonic clock [s].

    Parameters
    ----------
    identity
        Ours, unique to this process: a lease in this name is our own claim whose answer was lost.
    duration_s
        Ours, for a lease that does not say how long it lasts.
    """
    record = sighting.record
    if record.released or record.holder == identity:
        return sighting.since_s
    return sighting.since_s + (record.duration_s or duration_s)


def next_epoch(sighting: Sighting, floor: int) -> int:
    """Return the number of a term that begins now: above all before it, even if the Lease was deleted in between."""
    return max(sighting.record.epoch, floor) + 1


def held_spec(*, identity: str, timing: Timing, epoch: int, acquired_us: int, renewed_us: int) -> Object:
    """Write the `spec` of a lease that we hold; times are wall clock [microseconds since 1970]."""
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": round(timing.duration_s),
        "leaseTransitions": epoch,
        "acquireTime": micro_time(acquired_us),
        "renewTime": micro_time(renewed_us),
    }


def released_spec(*, epoch: int, released_us: int) -> Object:
    """Write the `spec` of a lease that we give back."""
    return {
        "holderIdentity": "",
        "leaseDurationSeconds": _RELEASED_S,
        "leaseTransitions": epoch,
        "renewTime": micro_time(released_us),
    }


def new_lease(ref: Ref, *, timing: Timing, epoch: int, made_us: int) -> Object:
    """Build a Lease that nobody holds, and that can be taken when it has lain there for its duration.

    Where there is none, one may have been deleted, and its holder may not know yet.
    """
    metadata = {"name": ref.name, "namespace": ref.namespace}
    spec = held_spec(identity="", timing=timing, epoch=epoch, acquired_us=made_us, renewed_us=made_us)
    return {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec}


def swap(resource_version: str, spec: Object) -> list[PatchOperation]:
    """Build the patch that writes `spec` if nobody wrote since `resource_version`."""
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": resource_version},
        {"op": "add", "path": "/spec", "value": spec},
    ]


def micro_time(microseconds: int) -> str:
    """Write a `MicroTime`; exactly six digits, as the API server's own."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:06d}Z"
