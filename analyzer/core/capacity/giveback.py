"""The rollback planner: how fast a stable version that has shrunk can take its traffic back.

Giving everything back at once overloads what is left; giving it back as pods get ready leaves users on a bad canary for
longer. Both courses are played forward with the HPA's own algorithm and the one that is expected to hurt fewer requests is
taken; at each turn anew, with the pods that are ready by then. A ramp keeps the stable version's pods above their target, or
its HPA would have no reason to grow.
"""

import math
from dataclasses import dataclass
from typing import Final

from analyzer.core.capacity.demand import VersionCapacity, pods_carry, saturates
from analyzer.core.capacity.forecast import Moment, play
from analyzer.core.capacity.gate import Load

SLOW_COST: Final = 0.25
"""A request that waits in a full pod's queue hurts so much of one that fails."""

FULLNESS: Final = 0.93
"""A ramp fills pods so far: well above any usual target, and short of a queue that only grows."""

_HORIZON_S: Final = 300.0
_CLEAR_WIN: Final = 0.9
"""A ramp has to be this much better; where both are much the same, a bad release gets no more requests."""
_WHOLE: Final = 100.0
_ROUNDING: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Severity:
    """How bad the canary is.

    Attributes
    ----------
    failing
        Share of its requests that fail beyond the stable version's own [ratio].
    low, high
        The same at the ends of a 95 % interval.
    """

    failing: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Giveback:
    """The next move of a rollback.

    Attributes
    ----------
    weight
        The canary's weight to write now [per cent]; 0 is everything back at once.
    ramped
        False: one jump.
    reason
        For a person: why, with both estimates.
    hurt_at_once, hurt_ramped
        Requests expected to fail (slow ones by `SLOW_COST`) on either course; None where nobody knows.
    seconds
        How long the course chosen is expected to take [s].
    """

    weight: float
    ramped: bool
    reason: str
    hurt_at_once: float | None = None
    hurt_ramped: float | None = None
    seconds: float = 0.0


def _about(count: float) -> str:
    """Write an estimate with two digits: `7,900`."""
    return f"{float(f'{count:.2g}'):,.0f}"


def plan_giveback(stable: VersionCapacity, load: Load, severity: Severity | None, *, left_s: float) -> Giveback:
    """Decide how much traffic goes back now.

    Parameters
    ----------
    stable
        The version that takes it back, as it is now.
    load
        `weight` is the canary's [per cent]; `elsewhere` what the stable version has from other routes.
    severity
        How bad the canary is; None where its evidence does not say: everything goes back at once.
    left_s
        Time until a rollback has to be complete, whatever it costs [s] (`capacity.rollbackWithin`).

    Returns
    -------
    Giveback
        Its weight is at most the present one.
    """
    one = saturates(stable, pods=1)
    if one is None or severity is None:
        why = (
            stable.unknown or ("how bad the canary is" if severity is None else "what its pods carry") + " is not known"
        )
        return Giveback(0.0, ramped=False, reason=f"at once: {why}")
    whole = load.elsewhere + load.moving
    fill = _fill(stable)
    if whole <= stable.ready * fill:
        return Giveback(
            0.0, ramped=False, reason=f"at once: {pods_carry(stable, stable.ready * one)}, all of {whole:.4g}"
        )
    if left_s <= 0.0:
        return Giveback(0.0, ramped=False, reason="at once: the time for a ramped return is over")
    at_once = play(stable, lambda _at_s, _ready: whole, seconds=_HORIZON_S)
    ramped = play(
        stable,
        lambda at_s, ready: whole if at_s >= left_s else _ramp(ready, fill, load),
        seconds=_HORIZON_S,
    )
    hurt_at_once = sum(map(_overload, at_once))
    overload, left = sum(map(_overload, ramped)), sum(whole - m.load for m in ramped)
    hurt_ramped, least, most = (overload + left * share for share in (severity.failing, severity.low, severity.high))
    between = _about(least) if _about(least) == _about(most) else f"{_about(least)} to {_about(most)}"
    estimates = (
        f"{pods_carry(stable, stable.ready * one)} of {whole:.4g}; at once about {_about(hurt_at_once)} requests would fail, "
        f"step by step about {between}"
    )
    # Either course may be the wrong one where little is known of the canary. The one taken is that which is less wrong where it
    # is most so: halfway between what is possible.
    if 0.5 * (least + most) >= _CLEAR_WIN * hurt_at_once:
        return Giveback(
            0.0, ramped=False, reason=f"at once: {estimates}", hurt_at_once=hurt_at_once, hurt_ramped=hurt_ramped
        )
    weight = _WHOLE * (whole - _ramp(stable.ready, fill, load)) / load.moving
    return Giveback(
        weight=min(load.weight, float(math.ceil(weight - _ROUNDING))),
        ramped=True,
        reason=f"as pods get ready: {estimates}",
        hurt_at_once=hurt_at_once,
        hurt_ramped=hurt_ramped,
        seconds=next((m.at_s for m in ramped if m.load >= whole), _HORIZON_S),
    )


def _fill(stable: VersionCapacity) -> float:
    """Tell to how many requests per second a ramp fills a pod: always beyond where its HPA grows, if that is not beyond it."""
    known = [(metric, metric.saturation, cost) for metric, cost in stable.known if metric.saturation is not None]
    return min(max(FULLNESS * cost.load_at(full), cost.load_at(min(metric.lift, full))) for metric, full, cost in known)


def _ramp(ready: int, fill: float, load: Load) -> float:
    """Give the stable version's load on a ramp [requests/s]: never less than it has, and never more than its pods carry."""
    whole = load.elsewhere + load.moving
    present = whole - load.moving * load.weight / _WHOLE
    return min(whole, max(present, ready * fill))


def _overload(moment: Moment) -> float:
    return moment.refused + SLOW_COST * moment.slow
