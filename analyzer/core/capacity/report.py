"""What is known of both versions' capacity, for people: who has room for what, when, and how sure that is.

Bounded in size: it is part of `.status`.
"""

from dataclasses import dataclass
from typing import Final

from analyzer.core.capacity.demand import VersionCapacity, carries, doubt, needed
from analyzer.core.capacity.gate import Gate, Load, Passage

MOST_WORDS: Final = 500
"""A reason is cut after so many characters: an HPA may have many metrics, with long names."""


@dataclass(frozen=True, slots=True)
class VersionReport:
    """What one version's pods do and could do.

    Attributes
    ----------
    name, autoscaler
        The version, and its HPA; empty where it has none that works.
    replicas, ready, max_replicas
        Pods wanted by its Deployment, pods that can answer, and the most that its HPA may make [count]; the last is None
        without an HPA.
    load, carries
        Requests per second that it has now, and that its ready pods can be given; None where nobody knows.
    needed
        Replicas that its HPA needs: the canary for its next weight, the stable version to take everything back [count].
    doubt
        Standard deviation of what a pod carries [ratio of it].
    unknown
        Why nothing, or not everything, can be foretold; empty where all can.
    """

    name: str
    autoscaler: str
    replicas: int
    ready: int
    max_replicas: int | None
    load: float
    carries: float | None
    needed: int | None
    doubt: float | None
    unknown: str


@dataclass(frozen=True, slots=True)
class CapacityReport:
    """What is known.

    Attributes
    ----------
    next_weight
        What the gate was asked for [per cent]; None where no step comes next.
    gate
        What it says; None where it was not asked.
    reason
        The same for a person, with what is missing.
    seconds
        When the next weight is expected to fit [s]; None where nobody knows, and for an open gate.
    stable, canary
        The versions.
    """

    next_weight: float | None
    gate: Gate | None
    reason: str
    seconds: float | None
    stable: VersionReport
    canary: VersionReport


def report_version(version: VersionCapacity, load: Load, *, at: float, headroom: float) -> VersionReport:
    """Report on one version.

    Parameters
    ----------
    version
        Which.
    load
        What there is to share out, with the version's own weight now.
    at
        The weight to say for what it needs [per cent].
    headroom
        Spare capacity to keep [ratio].
    """
    scaler = version.scaler
    unknown = version.unknown
    if not unknown and scaler is not None and scaler.unknown:
        unknown = f"{scaler.name} also scales by {', '.join(scaler.unknown)}, of which nothing can be foretold"
    return VersionReport(
        name=version.name,
        autoscaler="" if scaler is None else scaler.name,
        replicas=version.replicas,
        ready=version.ready,
        max_replicas=None if scaler is None else scaler.max_replicas,
        load=load.at(load.weight),
        carries=carries(version, headroom=headroom),
        needed=needed(version, load.at(at)),
        doubt=doubt(version, headroom=headroom),
        unknown=_cut(unknown),
    )


def report_passage(passage: Passage, canary: VersionReport, *, at: float) -> str:
    """Say the gate's answer to a weight [per cent], and how sure it is."""
    if not passage.sure:
        return _cut(f"Whether pods are there for {at:g} % nobody can know: {passage.reason}.")
    sure = "" if canary.doubt is None else f" (what a pod carries is known to ± {100 * canary.doubt:.0f} %)"
    also = f"; {canary.unknown}" if canary.unknown else ""
    if passage.gate is Gate.OPEN:
        return _cut(f"{canary.name}'s ready pods carry {at:g} %{sure}{also}.")
    return _cut(f"{passage.reason[:1].upper()}{passage.reason[1:]}{sure}{also}.")


def _cut(text: str) -> str:
    return text if len(text) <= MOST_WORDS else f"{text[: MOST_WORDS - 1]}…"
