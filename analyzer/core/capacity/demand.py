"""What pods can carry, and how many of them an HPA will want."""

import math
from dataclasses import dataclass
from typing import Final, Self

from analyzer.core.capacity.cost import Cost
from analyzer.core.capacity.hpa import PLAIN_DOWN, PLAIN_UP, Rules, Target

DOUBT: Final = 1.0
"""Standard deviations of the cost that a promise of capacity keeps to spare."""

_LIFT: Final = 1.05
"""A pod may be loaded this far beyond the point where its HPA begins to scale up, headroom or not: below it the HPA would
never grow, and a step would wait for ever."""

_BEYOND: Final = 1.1
"""For the same reason every pod is trusted with so much beyond that point, unless its limit forbids it."""

_MOST_ROUNDS: Final = 64


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric that an HPA scales by.

    Attributes
    ----------
    name
        For people: `cpu`, `cpu of container app`, `pods metric requests_per_second`.
    target
        What the HPA wants.
    saturation
        Use at which a pod is full, in the metric's unit; None where nobody said: such a pod bears what it bears, and whether
        it is overloaded nobody can tell.
    promised
        Use that every pod can count on (of CPU its request); 0 where nothing is promised.
    custom
        True for a metric of which nobody knows whether it has to do with requests, until it was seen.
    """

    name: str
    target: Target
    saturation: float | None
    promised: float = 0.0
    custom: bool = False

    @classmethod
    def of_cpu(cls, name: str, target: Target, *, request: float, usual: float, most: float) -> Self:
        """Make a metric of CPU [millicores].

        Parameters
        ----------
        name, target
            As above.
        request
            What a pod requests.
        usual
            Use at which it is full as far as limits and requests tell.
        most
            Use that its limits never let it exceed; may be infinite.

        Returns
        -------
        Metric
            A pod whose HPA begins to grow only where it would be full already bears more than anybody said: where it is full is
            not known then. Below its HPA's point of growth it is full only where its limits leave no doubt; no HPA grows there.
        """
        grows = target.per_pod * (1.0 + target.tolerance)
        if most < grows * _BEYOND:
            return cls(name, target, saturation=most, promised=request)
        saturation = max(usual, grows * _BEYOND) if usual > grows else None
        return cls(name, target, saturation=saturation, promised=request)

    @classmethod
    def without_limit(cls, name: str, target: Target, *, custom: bool = False) -> Self:
        """Make a metric of which nobody said how much of it a pod bears."""
        return cls(name, target, saturation=None, custom=custom)

    @property
    def wanted(self) -> float:
        """Use above which the HPA wants more pods."""
        return self.target.per_pod * (1.0 + self.target.tolerance)

    @property
    def lift(self) -> float:
        """Use at which the HPA certainly grows."""
        return self.wanted * _LIFT

    @property
    def bears(self) -> float:
        """Use that a pod is trusted with: what is promised, and what its HPA needs to grow, as far as it is not full."""
        trusted = max(self.promised, self.wanted * _BEYOND)
        if self.saturation is None:
            return trusted
        return min(trusted, self.saturation) if self.promised else self.saturation

    def allowed(self, headroom: float) -> float:
        """Give the use that a pod may be brought to: `headroom` [ratio] is spared where that lets the HPA grow."""
        return max(self.bears / (1.0 + headroom), min(self.lift, self.bears))


@dataclass(frozen=True, slots=True)
class Scaler:
    """An HPA.

    Attributes
    ----------
    name
        Of the object.
    min_replicas, max_replicas
        Its bounds.
    metrics
        What it scales by; the largest recommendation counts. Metrics that no request can be mapped to are left out and
        named in `unknown`.
    up, down
        `spec.behavior`.
    sync_s
        From one decision to the next [s] (`--horizontal-pod-autoscaler-sync-period`).
    unknown
        Metrics that nothing can be foretold of.
    """

    name: str
    min_replicas: int
    max_replicas: int
    metrics: tuple[Metric, ...] = ()
    up: Rules = PLAIN_UP
    down: Rules = PLAIN_DOWN
    sync_s: float = 15.0
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VersionCapacity:
    """One version's pods and what scales them.

    Attributes
    ----------
    name
        The version.
    replicas, ready
        Pods wanted by the Deployment, and pods that can answer [count].
    scaler
        Its HPA; None where it has none, or where the HPA is switched off (no replicas).
    costs
        Per metric of the scaler, what a request costs; None where nothing is known.
    startup_s
        From the making of a pod to its readiness [s].
    unknown
        Why nothing can be said, in words; empty where something can.
    use
        Per metric of the scaler, the average use of a pod that the HPA shows now; empty or None where it shows none.
    """

    name: str
    replicas: int
    ready: int
    scaler: Scaler | None = None
    costs: tuple[Cost | None, ...] = ()
    startup_s: float = 30.0
    use: tuple[float | None, ...] = ()
    unknown: str = ""

    @property
    def known(self) -> tuple[tuple[Metric, Cost], ...]:
        """The metrics whose cost is known."""
        if self.scaler is None:
            return ()
        return tuple((m, c) for m, c in zip(self.scaler.metrics, self.costs, strict=True) if c is not None)


def carries(version: VersionCapacity, *, headroom: float, pods: int | None = None) -> float | None:
    """Tell how many requests per second ready pods can be given.

    Parameters
    ----------
    version
        Whose.
    headroom
        Spare capacity to keep [ratio].
    pods
        How many; None: those that are ready now.

    Returns
    -------
    float or None
        [requests/s]; None where it cannot be known.
    """
    count = version.ready if pods is None else pods
    loads = [
        # However little is known of the cost: below its lift no HPA grows, and a step would wait for ever.
        max(
            cost.load_at(metric.allowed(headroom), doubt=DOUBT),
            cost.load_at(min(metric.lift, metric.bears)),
        )
        for metric, cost in version.known
    ]
    return count * min(loads) if loads else None


def doubt(version: VersionCapacity, *, headroom: float) -> float | None:
    """Tell the standard deviation of what a pod carries, as a ratio of it; None where nobody knows what that is."""
    loads = [(cost, cost.load_at(metric.allowed(headroom))) for metric, cost in version.known]
    cost, load = min(loads, key=lambda known: known[1], default=(None, 0.0))
    return cost.deviation(load) / (cost.slope * load) if cost is not None and load > 0.0 else None


def saturates(version: VersionCapacity, *, pods: int | None = None) -> float | None:
    """Tell at how many requests per second ready pods are expected to be full [requests/s]; None where nobody knows."""
    count = version.ready if pods is None else pods
    loads = [cost.load_at(metric.saturation) for metric, cost in version.known if metric.saturation is not None]
    return count * min(loads) if loads else None


def busy_at(version: VersionCapacity) -> float | None:
    """Tell beyond how many requests per second ready pods answer late for want of pods [requests/s].

    That is where its HPA wants more of them. None where nobody knows, and while the HPA does not show them so busy: a version
    that waits for something else than its CPU has no such excuse.
    """
    if version.scaler is None or not any(
        use is not None and use > metric.wanted
        for metric, use in zip(version.scaler.metrics, version.use, strict=False)
    ):
        return None
    loads = [cost.load_at(metric.wanted) for metric, cost in version.known]
    return version.ready * min(loads) if loads else None


def full_at(version: VersionCapacity) -> float | None:
    """Tell beyond how many requests per second what fails does so for want of pods [requests/s].

    None where nobody knows, and while the HPA does not show the pods busy: a release that fails without working has no such
    excuse, however many requests it gets.
    """
    return None if busy_at(version) is None else saturates(version)


def needed(version: VersionCapacity, load: float) -> int | None:
    """Tell how many replicas the HPA settles at, coming from those that there are.

    Parameters
    ----------
    version
        Whose.
    load
        [requests/s].

    Returns
    -------
    int or None
        At least `minReplicas`; `maxReplicas` does not bound it, so that a need beyond can be seen. None where it cannot
        be known.
    """
    if version.scaler is None or not version.known:
        return None
    replicas = max(version.replicas, 1)
    for _ in range(_MOST_ROUNDS):
        wanted = max(_recommended(metric, cost, load=load, replicas=replicas) for metric, cost in version.known)
        wanted = max(wanted, version.scaler.min_replicas)
        if wanted == replicas:
            break
        replicas = wanted
    return replicas


def _recommended(metric: Metric, cost: Cost, *, load: float, replicas: int) -> int:
    use = cost.use(load / replicas)
    ratio = metric.target.ratio([use])
    if metric.target.is_met(ratio):
        return replicas
    return max(1, math.ceil(ratio * replicas - 1e-9))


def pods_carry(version: VersionCapacity, load: float, *, also: str = "") -> str:
    """Say what ready pods carry [requests/s]: `v1's 2 ready pods carry 90 requests/s`."""
    pods, carry = ("pod", "carries") if version.ready == 1 else ("pods", "carry")
    return f"{version.name}'s {version.ready} ready {pods}{also} {carry} {load:.4g} requests/s"
