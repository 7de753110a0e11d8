"""A version's replicas played forward: its HPA decides, pods start, requests come."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from analyzer.core.capacity.demand import VersionCapacity, saturates
from analyzer.core.capacity.hpa import PodUse, Stabiliser, recommend

TICK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Moment:
    """One tick.

    Attributes
    ----------
    at_s
        Since the beginning [s].
    replicas, ready
        [count].
    load
        Requests per second offered to the version.
    refused
        Of them, what no pod had room for.
    """

    at_s: float
    replicas: int
    ready: int
    load: float
    refused: float

    @property
    def slow(self) -> float:
        """Requests per second that waited in a full pod's queue."""
        return self.load - self.refused if self.refused > 0 else 0.0


def play(
    version: VersionCapacity,
    load: Callable[[float, int], float],
    *,
    seconds: float,
    until: Callable[[Moment], bool] | None = None,
) -> list[Moment]:
    """Play a version forward.

    Parameters
    ----------
    version
        As it is now; its costs must be known.
    load
        Gives the load [requests/s] for the time [s] and the number of ready pods.
    seconds
        How far [s].
    until
        Ends it early.

    Returns
    -------
    list of Moment
        One per second. Pods that the Deployment wants and that are not ready now are half started. Replicas do not go down:
        within the HPA's window they do not.
    """
    scaler = version.scaler
    replicas, ready = max(version.replicas, version.ready), version.ready
    starting = [0.5 * version.startup_s] * (replicas - ready)
    stabiliser = None if scaler is None else Stabiliser(scaler.up, scaler.down)
    if stabiliser is not None:
        stabiliser.begin(replicas, now_s=0.0)
    one = saturates(version, pods=1) or math.inf
    moments: list[Moment] = []
    for second in range(int(seconds / TICK_S)):
        at_s = second * TICK_S
        ready += sum(1 for due in starting if due <= at_s)
        starting = [due for due in starting if due > at_s]
        offered = load(at_s, ready)
        moment = Moment(at_s, replicas, ready, offered, max(0.0, offered - ready * one))
        moments.append(moment)
        if until is not None and until(moment):
            break
        if scaler is None or stabiliser is None or not second or second % max(1, round(scaler.sync_s)):
            continue
        wanted = _decide(version, stabiliser, offered=offered, replicas=replicas, ready=ready, at_s=at_s)
        starting += [at_s + version.startup_s] * (wanted - replicas)
        replicas = max(wanted, replicas)
    return moments


def _decide(
    version: VersionCapacity, stabiliser: Stabiliser, *, offered: float, replicas: int, ready: int, at_s: float
) -> int:
    scaler = version.scaler
    assert scaler is not None, "only an HPA decides"
    recommended = 1
    for metric, cost in version.known:
        use = min(cost.use(offered / max(ready, 1)), math.inf if metric.saturation is None else metric.saturation)
        pods = [PodUse(use)] * ready + [PodUse(None, ready=False)] * (replicas - ready)
        recommended = max(recommended, recommend(replicas, pods=pods, target=metric.target))
    return stabiliser.decide(
        recommended, current=replicas, bounds=(scaler.min_replicas, scaler.max_replicas), now_s=at_s
    )
