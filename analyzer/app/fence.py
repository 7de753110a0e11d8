"""The epoch on what a leader writes, so that a write of an older leader fails instead of undoing a newer one's.

Epochs only grow: each leader's is above all that were ever written. A JSON Patch can test for equality only, so a write tests
that the annotation is still what it was when the object was read. Has a newer leader written since, it is not, and the server
refuses the whole patch. Was the object read after that, the annotation itself tells.
"""

from collections.abc import Iterable

from analyzer.app.lease import EPOCH_MAX
from analyzer.errors import LeadershipLost
from analyzer.ports import Object, PatchOperation

EPOCH = "serin.dev/epoch"
"""The annotation."""

_ANNOTATIONS = "/metadata/annotations"
_POINTER = f"{_ANNOTATIONS}/{EPOCH.replace('/', '~1')}"


def epoch_of(obj: Object) -> int | None:
    """Read an object's epoch; None where there is none, or something that Serin cannot have written."""
    text = (obj["metadata"].get("annotations") or {}).get(EPOCH, "")
    # By length first: a number of a thousand digits is somebody's joke.
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(EPOCH_MAX))):
        return None
    return int(text) if int(text) < EPOCH_MAX else None


def highest_epoch(objects: Iterable[Object]) -> int:
    """Return the highest epoch of all; 0 where there is none."""
    return max((epoch_of(obj) or 0 for obj in objects), default=0)


def fence(obj: Object, epoch: int) -> tuple[list[PatchOperation], list[PatchOperation]]:
    """Build the operations that test an object's epoch for what it is, and those that write `epoch`.

    Raises
    ------
    LeadershipLost
        A leader with a later epoch wrote it.
    """
    written = epoch_of(obj)
    if written is not None and written > epoch:
        raise LeadershipLost(
            f"{obj['kind']} {obj['metadata']['namespace']}/{obj['metadata']['name']} was written in epoch {written}, "
            f"and this is {epoch}: a newer leader is at work"
        )
    annotations = obj["metadata"].get("annotations")
    if annotations is None:  # testing for null passes where there is nothing
        return [_test(_ANNOTATIONS, None)], [{"op": "add", "path": _ANNOTATIONS, "value": {EPOCH: str(epoch)}}]
    test = _test(_POINTER, annotations.get(EPOCH))
    if annotations.get(EPOCH) == str(epoch):
        return [test], []
    return [test], [{"op": "add", "path": _POINTER, "value": str(epoch)}]


def _test(path: str, value: object) -> PatchOperation:
    return {"op": "test", "path": path, "value": value}
