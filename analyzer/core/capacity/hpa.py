"""The HPA's algorithm, pure: Kubernetes' `replica_calculator.go` and `horizontal.go` for metrics averaged over pods.

Two steps: `recommend` from the pods' use, then `Stabiliser.decide` with stabilisation windows and rate limits. The
sandbox's autoscaler acts by it, and forecasts play it forward.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

TOLERANCE: Final = 0.1
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class PodUse:
    """One pod, as the metrics API and its Ready condition show it.

    Attributes
    ----------
    used
        In the metric's unit (CPU: millicores); None where there is no sample yet.
    ready
        False sets its sample aside.
    """

    used: float | None
    ready: bool = True


@dataclass(frozen=True, slots=True)
class Target:
    """What an HPA wants of one metric.

    Attributes
    ----------
    per_pod
        Use wanted of each pod, in the metric's unit (CPU: millicores), > 0.
    request
        What each pod requests, in that unit, where the HPA's target is a utilisation; None where it is a value.
    tolerance, tolerance_down
        Ratios so little above, and below, 1 move nothing.
    total
        True where the metric is measured once for all pods (Object with an average as its target), whoever of them is ready.
    """

    per_pod: float
    request: float | None = None
    tolerance: float = TOLERANCE
    tolerance_down: float = TOLERANCE
    total: bool = False

    def ratio(self, used: Sequence[float]) -> float:
        """Divide the use by the wanted one; a utilisation is a whole per cent, as in Kubernetes."""
        average = sum(used) / len(used)
        if self.request is None:
            return average / self.per_pod
        return math.floor(average * 100 / self.request + _ROUNDING) / round(self.per_pod * 100 / self.request)

    @property
    def busy(self) -> float:
        """What a pod without a sample is taken to use on the way down: its request, or the target."""
        return max(self.request or 0.0, self.per_pod)

    def is_met(self, ratio: float) -> bool:
        """Tell whether a ratio is too near to 1 to move anything."""
        return 1 - self.tolerance_down <= ratio <= 1 + self.tolerance


def recommend(current: int, *, pods: Sequence[PodUse], target: Target) -> int:
    """Recommend replicas from one metric.

    On the way up, pods without readiness or sample count as idle; on the way down, pods without a sample count as busy.
    An answer that this would turn round is no answer: `current` stays. Of a metric that is measured once for all pods, what
    they use is added up and divided by all of them.
    """
    if target.total:
        return _recommend_total(current, sum(pod.used or 0.0 for pod in pods), target=target)
    measured = [pod.used for pod in pods if pod.ready and pod.used is not None]
    missing = sum(pod.ready and pod.used is None for pod in pods)
    unready = sum(not pod.ready for pod in pods)
    if not measured:
        return current
    ratio = target.ratio(measured)
    up = ratio > 1
    if not missing and not (unready and up):
        return current if target.is_met(ratio) else math.ceil(ratio * len(measured))
    measured += [0.0 if up else target.busy] * missing + [0.0] * (unready if up else 0)
    guarded = target.ratio(measured)
    wanted = math.ceil(guarded * len(measured))
    turned = (guarded > 1) != up or (wanted > current) != up
    return current if target.is_met(guarded) or turned else wanted


def _recommend_total(current: int, total: float, *, target: Target) -> int:
    met = not current or target.is_met(total / (target.per_pod * current))
    return current if met else math.ceil(total / target.per_pod)


@dataclass(frozen=True, slots=True)
class Policy:
    """One rate limit: so many pods, or so many per cent, in a period [s]."""

    kind: str
    value: int
    period_s: float


@dataclass(frozen=True, slots=True)
class Rules:
    """One direction of `spec.behavior`; without policies it is that of an HPA without any `behavior`."""

    window_s: float
    policies: tuple[Policy, ...]
    select: str = "Max"

    def scaled(self, factor: float) -> Self:
        """Make all times `factor` times as short."""
        policies = tuple(Policy(p.kind, p.value, p.period_s / factor) for p in self.policies)
        return type(self)(self.window_s / factor, policies, self.select)


DEFAULT_UP: Final = Rules(0, (Policy("Pods", 4, 15), Policy("Percent", 100, 15)))
DEFAULT_DOWN: Final = Rules(300, (Policy("Percent", 100, 15),))
"""What the API server fills in where a `behavior` is written and does not say it."""

PLAIN_UP: Final = Rules(0, ())
PLAIN_DOWN: Final = Rules(300, ())
"""Those of an HPA without any `behavior`, into which the API server fills nothing: the controller has limits of its own."""

_PLAIN_FACTOR: Final = 2
_PLAIN_LEAST: Final = 4
"""At each look such an HPA doubles at most, or goes to four."""


def parse_behaviour(spec: Mapping[str, Any] | None) -> tuple[Rules, Rules]:
    """Read `spec.behavior`: up and down; what is not there is as Kubernetes has it."""
    if spec is None:
        return PLAIN_UP, PLAIN_DOWN
    return _rules(spec.get("scaleUp"), default=DEFAULT_UP), _rules(spec.get("scaleDown"), default=DEFAULT_DOWN)


def _rules(spec: Mapping[str, Any] | None, *, default: Rules) -> Rules:
    given: Mapping[str, Any] = spec or {}
    policies = tuple(Policy(p["type"], p["value"], p["periodSeconds"]) for p in given.get("policies") or ())
    return Rules(
        given.get("stabilizationWindowSeconds", default.window_s),
        policies or default.policies,
        given.get("selectPolicy", default.select),
    )


@dataclass(slots=True)
class Stabiliser:
    """What one HPA remembers: its recommendations and its changes."""

    up: Rules = PLAIN_UP
    down: Rules = PLAIN_DOWN
    _recommendations: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)  # [s], replicas added (negative: removed)

    def begin(self, current: int, *, now_s: float) -> None:
        """Remember the replicas that there are as the first recommendation: so does a controller that just sees an HPA."""
        self._recommendations = self._recommendations or [(now_s, current)]

    def decide(self, recommended: int, *, current: int, bounds: tuple[int, int], now_s: float) -> int:
        """Decide on the replicas at `now_s` [s], within `bounds` (minReplicas, maxReplicas), and remember it.

        No replicas mean that a person switched the HPA off; replicas out of the bounds go to the bound at once.
        """
        lowest, highest = bounds
        self.begin(current, now_s=now_s)
        if current == 0:
            return 0
        if not lowest <= current <= highest:
            wanted = min(max(current, lowest), highest)
        else:
            stable = self._stabilise(recommended, current=current, now_s=now_s)
            wanted = min(max(self._limit(stable, current=current, now_s=now_s), lowest), highest)
        longest = max((policy.period_s for policy in (*self.up.policies, *self.down.policies)), default=0.0)
        self._changes = [(at, change) for at, change in self._changes if at > now_s - longest]
        if wanted != current:
            self._changes.append((now_s, wanted - current))
        return wanted

    def _stabilise(self, recommended: int, *, current: int, now_s: float) -> int:
        """Go up to the smallest, and down to the greatest recommendation of each direction's window."""
        longest = max(self.up.window_s, self.down.window_s)
        self._recommendations = [(at, n) for at, n in self._recommendations if at > now_s - longest]
        self._recommendations.append((now_s, recommended))
        up = min(n for at, n in self._recommendations if n == recommended or at > now_s - self.up.window_s)
        down = max(n for at, n in self._recommendations if n == recommended or at > now_s - self.down.window_s)
        if not self.up.policies:
            return down  # without `behavior` it is the greatest one that counts, whatever there is
        return min(max(current, up), down)

    def _limit(self, wanted: int, *, current: int, now_s: float) -> int:
        if wanted > current:
            return min(wanted, max(current, self._bound(self.up, current=current, now_s=now_s, sign=1)))
        if wanted < current:
            return max(wanted, min(current, self._bound(self.down, current=current, now_s=now_s, sign=-1)))
        return wanted

    def _bound(self, rules: Rules, *, current: int, now_s: float, sign: int) -> int:
        """How far the policies let replicas go now, seen from what there was when each period began."""
        if rules.select == "Disabled":
            return current
        if not rules.policies:
            return max(_PLAIN_FACTOR * current, _PLAIN_LEAST) if sign > 0 else 0
        reached = []
        for policy in rules.policies:
            began = current - sum(change for at, change in self._changes if at > now_s - policy.period_s)
            if policy.kind == "Pods":
                reached.append(began + sign * policy.value)
            else:  # rounded as Kubernetes does: up it goes by one pod at least, down it goes all the way
                share = began * (1 + sign * policy.value / 100)
                reached.append(math.ceil(share) if sign > 0 else int(share))
        furthest = (max if sign > 0 else min) if rules.select == "Max" else (min if sign > 0 else max)
        return furthest(reached)
