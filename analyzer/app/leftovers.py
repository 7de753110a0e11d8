"""Canaries that nobody answers for: a policy that was deleted while no replica led took its `onDelete` with it.

A finalizer would tell the next leader, and would block deletions wherever Serin is gone. So whoever begins to lead looks once
for VirtualServices that Serin wrote to, that still split their traffic, and that no policy names. A person decides about them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analyzer.app.fence import epoch_of
from analyzer.app.patch import kubectl_command
from analyzer.app.view import ClusterView
from analyzer.ports import CANARY_POLICY, VIRTUAL_SERVICE, Object, PatchOperation


@dataclass(frozen=True, slots=True)
class Leftover:
    """A split that has no policy.

    Attributes
    ----------
    virtual_service
        `namespace/name`.
    splits
        For people: each split route with its weights.
    command
        Gives each such route's traffic back to the destination that has most of it; empty where it is shared equally.
    """

    virtual_service: str
    splits: str
    command: str


def find_leftovers(cache: ClusterView) -> list[Leftover]:
    """Look at all VirtualServices that were written to with a lease."""
    taken = {
        (policy["metadata"]["namespace"], ((policy.get("spec") or {}).get("target") or {}).get("virtualService"))
        for policy in cache.list(CANARY_POLICY)
    }
    found = []
    for obj in cache.list(VIRTUAL_SERVICE):
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        splits = _splits(obj) if epoch_of(obj) is not None and (namespace, name) not in taken else []
        if splits:
            operations = [operation for index, entries in splits for operation in _give_back(index, entries)]
            shown = "; ".join(_show(obj, index, entries) for index, entries in splits)
            command = kubectl_command(namespace, name, operations) if operations else ""
            found.append(Leftover(f"{namespace}/{name}", shown, command))
    return found


def _splits(virtual_service: Object) -> list[tuple[int, Sequence[Object]]]:
    """Give the routes of which more than one destination has traffic, with their places."""
    routes = (virtual_service.get("spec") or {}).get("http") or []
    entries = [(index, route.get("route") or []) for index, route in enumerate(routes)]
    return [(index, found) for index, found in entries if sum(_weight(entry) > 0 for entry in found) > 1]


def _weight(entry: Object) -> int:
    return entry.get("weight") or 0


def _give_back(index: int, entries: Sequence[Object]) -> list[PatchOperation]:
    weights = [_weight(entry) for entry in entries]
    if weights.count(max(weights)) > 1:
        return []
    wanted = [sum(weights) if weight == max(weights) else 0 for weight in weights]
    return [
        {
            "op": "replace" if "weight" in entry else "add",
            "path": f"/spec/http/{index}/route/{place}/weight",
            "value": new,
        }
        for place, (entry, new) in enumerate(zip(entries, wanted, strict=True))
        if _weight(entry) != new
    ]


def _show(virtual_service: Object, index: int, entries: Sequence[Object]) -> str:
    name = virtual_service["spec"]["http"][index].get("name") or f"route {index}"
    weights = ", ".join(f"{_name(entry)} {_weight(entry)}" for entry in entries)
    return f"{name}: {weights}"


def _name(entry: Object) -> str:
    destination = entry.get("destination") or {}
    return destination.get("subset") or destination.get("host") or "?"
