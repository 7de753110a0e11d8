"""The rules by which kstatus (sigs.k8s.io/cli-utils, and so Flux) reads a custom resource, as its source has them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class KStatus(StrEnum):
    """What a tool that waits makes of an object."""

    IN_PROGRESS = "InProgress"  # it waits on
    CURRENT = "Current"  # it is done
    FAILED = "Failed"  # it gives up
    TERMINATING = "Terminating"


def kstatus(obj: Mapping[str, Any]) -> KStatus:
    """Read an object of a kind that kstatus has no rules of its own for."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return KStatus.TERMINATING
    observed = status.get("observedGeneration")
    if observed is not None and observed != metadata.get("generation"):
        return KStatus.IN_PROGRESS
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions") or ()}
    if conditions.get("Reconciling") == "True":
        return KStatus.IN_PROGRESS
    if conditions.get("Stalled") == "True":
        return KStatus.FAILED
    return KStatus.IN_PROGRESS if conditions.get("Ready", "True") != "True" else KStatus.CURRENT
