"""The gate: no step onto pods that are not there.

A step goes through whole when the ready pods of the version that gains traffic can carry it. Where they cannot, it is split:
an HPA grows only under load, so the version gets as much as its pods carry above their target, and the rest when more of them
are ready. Nothing here stops evidence from growing, and nothing here is asked before a rollback.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from analyzer.core.capacity.demand import Scaler, VersionCapacity, carries, needed, pods_carry
from analyzer.core.capacity.forecast import Moment, play

_HORIZON_S: Final = 600.0
_WHOLE: Final = 100.0
_ROUNDING: Final = 1e-9


class Gate(StrEnum):
    """What the gate says."""

    OPEN = "open"  # the step as wanted
    PART = "part"  # a part of it now
    WAIT = "wait"  # nothing yet
    NEVER = "never"  # not with all the pods that its HPA may ever start


@dataclass(frozen=True, slots=True)
class Load:
    """The traffic that the weights share out.

    Attributes
    ----------
    moving
        Requests per second of the routes whose weights are to move.
    elsewhere
        Requests per second that the version gets from other routes, whatever this step does.
    weight
        Its share of `moving` now [per cent].
    """

    moving: float
    elsewhere: float = 0.0
    weight: float = 0.0

    def at(self, weight: float) -> float:
        """Give the version's requests per second at a weight [per cent]."""
        return self.elsewhere + self.moving * weight / _WHOLE


@dataclass(frozen=True, slots=True)
class Passage:
    """The gate's answer.

    Attributes
    ----------
    gate
        What it says.
    weight
        The weight that may be given now [per cent]; the present one for WAIT and NEVER.
    reason
        For a person, complete: what is missing, and what would mend it. Empty for OPEN with known capacity.
    eta_s
        When the wanted weight is expected to fit [s]; None where that is not known.
    sure
        False where the capacity is not known and the step goes through for that.
    fits
        For NEVER: the largest whole weight that all the pods carry that its HPA may start [per cent].
    """

    gate: Gate
    weight: float
    reason: str = ""
    eta_s: float | None = None
    sure: bool = True
    fits: float | None = None


def admit(version: VersionCapacity, load: Load, *, wanted: float, headroom: float, overdue: bool = False) -> Passage:
    """Decide how much of a step may be made.

    Parameters
    ----------
    version
        The version that gains traffic.
    load
        What there is to share out.
    wanted
        The weight that the step is to reach [per cent], above `load.weight`.
    headroom
        Spare capacity to keep [ratio].
    overdue
        Pods that should have come by now did not: no estimate is made of when they do.

    Returns
    -------
    Passage
        Its weight never needs more than the ready pods carry, where that is known.
    """
    now = carries(version, headroom=headroom)
    if now is None:
        return Passage(Gate.OPEN, wanted, reason=version.unknown or "its capacity is not known", sure=False)
    if load.at(wanted) <= now + _ROUNDING:
        return Passage(Gate.OPEN, wanted)
    never = _never(version, load, wanted=wanted, headroom=headroom)
    if never is not None:
        return never
    eta_s = None if overdue else _eta(version, load, wanted=wanted, headroom=headroom)
    possible = _weight_for(now, load)
    reason = _shortage(version, load, wanted=wanted, now=now, eta_s=eta_s)
    if possible >= math.floor(load.weight) + 1:
        return Passage(Gate.PART, min(float(possible), wanted), reason=reason, eta_s=eta_s)
    return Passage(Gate.WAIT, load.weight, reason=reason + _stuck(version, load, headroom=headroom), eta_s=eta_s)


def largest_fit(version: VersionCapacity, load: Load, *, headroom: float) -> float | None:
    """Tell the largest whole weight [per cent] that all the pods carry that the HPA may start; None where nobody knows.

    Whether the HPA would like more pods than that is its own affair: one that is always at its maximum is a service as good as
    any. The cost is taken as expected, for what is refused is told to people.
    """
    if version.scaler is None:
        return None
    plain = tuple(c and replace(c, var_intercept=0.0, covariance=0.0, var_slope=0.0) for c in version.costs)
    most = carries(replace(version, costs=plain), headroom=headroom, pods=_reachable(version, version.scaler))
    return None if most is None else float(_weight_for(most, load))


def _reachable(version: VersionCapacity, scaler: Scaler) -> int:
    """Give the most pods that the HPA may have: one that is forbidden to scale up keeps those that there are."""
    if scaler.up.select != "Disabled":
        return scaler.max_replicas
    return min(max(version.replicas, scaler.min_replicas), scaler.max_replicas)


def _never(version: VersionCapacity, load: Load, *, wanted: float, headroom: float) -> Passage | None:
    fits = largest_fit(version, load, headroom=headroom)
    if fits is None or version.scaler is None or fits >= wanted:
        return None
    one = carries(version, headroom=headroom, pods=1)
    need = max(needed(version, load.at(wanted)) or 1, math.ceil(load.at(wanted) / one) if one else 1)
    scaler, pods = version.scaler, _reachable(version, version.scaler)
    allows, mend = f"allows {pods}", f"raise its maxReplicas to {need}"
    if pods < scaler.max_replicas:
        allows = f"keeps the {pods} that there are (behavior.scaleUp.selectPolicy: Disabled)"
        mend = f"let it scale up, or raise its minReplicas to {need} for the rollout"
    reason = (
        f"{wanted:g} % of {load.moving:.4g} requests/s need {need} pods of {version.name}, and HorizontalPodAutoscaler "
        f"{scaler.name} {allows}: {fits:g} % fit; {mend}"
    )
    return Passage(Gate.NEVER, load.weight, reason=reason, fits=fits)


def _weight_for(rate: float, load: Load) -> int:
    """Find the largest whole weight at which the version gets at most `rate` requests per second."""
    if load.moving <= 0.0:
        return int(_WHOLE)
    return max(0, min(int(_WHOLE), math.floor((rate - load.elsewhere) / load.moving * _WHOLE + _ROUNDING)))


def _shortage(version: VersionCapacity, load: Load, *, wanted: float, now: float, eta_s: float | None) -> str:
    starting = f" ({version.replicas - version.ready} more starting)" if version.replicas > version.ready else ""
    when = "" if eta_s is None else f", expected in {eta_s:.0f} s"
    return (
        f"{wanted:g} % is {load.at(wanted):.4g} requests/s, and {pods_carry(version, now, also=starting)}: waits for its "
        f"HPA{when}"
    )


def _stuck(version: VersionCapacity, load: Load, *, headroom: float) -> str:
    """Say what a person has to do where the load that the pods may be given lets no HPA grow."""
    if version.replicas > version.ready:
        return ""
    if version.scaler is None:
        return f"; nothing scales {version.name}: give its Deployment more replicas"
    least = math.floor(load.weight) + 1.0
    if (needed(version, load.at(load.weight)) or 0) > version.replicas:
        return ""
    one = carries(version, headroom=headroom, pods=1) or 0.0
    pods = math.ceil(load.at(least) / one) if one > 0 else version.replicas + 1
    return (
        f"; at {load.weight:g} % it has no reason to grow, and one per cent more would need {pods} pods: "
        f"set minReplicas of HorizontalPodAutoscaler {version.scaler.name} to {pods} for the rollout"
    )


def _eta(version: VersionCapacity, load: Load, *, wanted: float, headroom: float) -> float | None:
    """Play the gate's own course: at each moment the weight that ready pods carry, until they carry what is wanted."""
    if version.scaler is None:
        return None
    goal = load.at(wanted)

    def given(_at_s: float, ready: int) -> float:
        now = carries(version, headroom=headroom, pods=ready) or 0.0
        return max(load.at(load.weight), min(goal, load.at(_weight_for(now, load))))

    def there(moment: Moment) -> bool:
        return (carries(version, headroom=headroom, pods=moment.ready) or 0.0) >= goal

    course = play(version, given, seconds=_HORIZON_S, until=there)
    return course[-1].at_s if there(course[-1]) else None
