"""A service and its users."""

import math
from dataclasses import dataclass, field

from analyzer.core.judge.types import ISTIO_EDGES_MS
from analyzer.simulate.latency import LatencyShape

MOST_PODS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What both versions get and how the stable one answers.

    Attributes
    ----------
    rps
        Requests per second on the routes whose weights move.
    error_rate
        Of the stable version [ratio].
    latency
        Of the stable version.
    stable_pods, canary_pods
        Pods of the stable version; the canary's at the start, which grow with its weight [count].
    interval_s
        Time between two scrapes [s].
    edges_ms
        Histogram edges of the mesh [ms].
    """

    rps: float = 300.0
    error_rate: float = 0.001
    latency: LatencyShape = field(default_factory=LatencyShape)
    stable_pods: int = 20
    canary_pods: int = 2
    interval_s: float = 15.0
    edges_ms: tuple[float, ...] = ISTIO_EDGES_MS

    @property
    def most_canary_pods(self) -> int:
        """Pods that the canary has at 100 per cent."""
        return max(self.canary_pods, min(self.stable_pods, MOST_PODS))

    def pods_at(self, weight: float) -> int:
        """Pods that the canary has at a weight [per cent]."""
        return max(self.canary_pods, math.ceil(weight / 100.0 * self.most_canary_pods - 1e-9))
