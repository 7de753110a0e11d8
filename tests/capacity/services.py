"""A model of a service whose canary turns bad after the stable version has shrunk.

It is not the planner's own forecast: requests arrive at random, pods differ, start-up times scatter, queues fill and empty, the
HPA sees CPU late and smoothed, and the planner sees noisy samples of cost and counts of the canary's failures, some of them
from before it turned bad.
"""

from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from analyzer.app.capacity import Throughput, severity_of
from analyzer.core.capacity import Cost, Load, Metric, Samples, Scaler, Severity, VersionCapacity, fit, plan_giveback
from analyzer.core.capacity.hpa import PodUse, Stabiliser, Target, recommend
from analyzer.core.rollout.returning import worse

TURN_S = 5
QUEUE_S = 1.0
"""A pod's queue holds what it serves in this time; beyond it requests are refused."""
SLOW_S = 0.25
WARM_S = 120
RECENT_S = 30
WITHIN_S = 120.0
"""What `capacity.rollbackWithin` is by default."""
SECONDS = 420


@dataclass(frozen=True, slots=True)
class Service:
    """One random service; rates in requests/s, CPU in millicores."""

    load: float
    weight: float
    request: float
    utilisation: int
    idle: float
    cost: float
    startup_s: float
    start_scatter: float
    pod_scatter: float
    lag_s: int
    failing: float
    found_after_s: int
    max_replicas: int

    @property
    def full(self) -> float:
        """Requests per second that a pod serves when full."""
        return (self.request - self.idle) / self.cost


def draw(rng: np.random.Generator) -> Service:
    """Draw a service whose stable version needs several pods for all of the traffic, and has fewer."""
    request = float(rng.choice([100, 250, 500, 1000, 2000]))
    utilisation = int(rng.integers(40, 86))
    idle = request * rng.uniform(0.0, 0.12)
    per_pod = float(np.exp(rng.uniform(np.log(5), np.log(300))))  # at the target
    cost = (request * utilisation / 100 - idle) / per_pod
    pods = int(rng.integers(2, 16))
    return Service(
        load=pods * per_pod * rng.uniform(0.8, 1.0),
        weight=float(rng.choice([50, 70, 80, 90])),
        request=request,
        utilisation=utilisation,
        idle=idle,
        cost=cost,
        startup_s=float(np.exp(rng.uniform(np.log(3), np.log(90)))),
        start_scatter=rng.uniform(0.0, 0.3),
        pod_scatter=rng.uniform(0.0, 0.15),
        lag_s=int(rng.integers(5, 31)),
        failing=float(np.exp(rng.uniform(np.log(0.01), 0.0))),
        found_after_s=int(rng.integers(5, 61)),
        max_replicas=2 * pods,
    )


@dataclass(frozen=True, slots=True)
class Hurt:
    """Users' requests: failed by the canary, failed by overload of the stable version, and slow."""

    by_canary: float
    by_overload: float
    slow: float

    @property
    def failed(self) -> float:
        """All that failed."""
        return self.by_canary + self.by_overload


class Course(Protocol):
    """Gives the canary's weight [per cent] for what is seen."""

    def __call__(self, weight: float, stable: VersionCapacity, *, severity: Severity | None, at_s: int) -> float: ...


class Stable:
    """The stable version's pods and HPA, second by second."""

    def __init__(self, service: Service, rng: np.random.Generator) -> None:
        self._service, self._rng = service, rng
        kept = service.load * (1 - service.weight / 100) / service.full
        target = service.utilisation / 100 * service.request
        at_target = (target - service.idle) / service.cost
        first = max(1, int(np.ceil(service.load * (1 - service.weight / 100) / at_target - 0.1 * kept)))
        self.ready = first
        self.starting: list[float] = []
        self.target = Target(target, service.request)
        self._speed = [self._pod() for _ in range(first)]
        self._queue = 0.0
        self._stabiliser = Stabiliser()
        self._seen: deque[float] = deque(
            [self.use(service.load * (1 - service.weight / 100))], maxlen=service.lag_s + 15
        )
        self.samples = Samples()

    def _pod(self) -> float:
        return float(np.exp(self._rng.normal(0.0, self._service.pod_scatter)))

    def use(self, served: float) -> float:
        """Average CPU of a ready pod."""
        return min(self._service.idle + self._service.cost * served / self.ready, self._service.request)

    @property
    def replicas(self) -> int:
        """Pods that are ready or starting."""
        return self.ready + len(self.starting)

    def serve(self, arrived: float) -> tuple[float, float]:
        """Serve one second; give how many were refused, and how many waited too long."""
        room = self._service.full * sum(self._speed)
        offered = self._queue + arrived
        served = min(offered, room)
        self._queue = min(offered - served, QUEUE_S * room)
        refused = offered - served - self._queue
        slow = served if self._queue > SLOW_S * room else 0.0
        self._seen.append(self.use(served))
        self.samples = self.samples.add(
            served / self.ready, self._seen[-1] * float(np.exp(self._rng.normal(0.0, 0.05)))
        )
        return refused, slow

    def tick(self, at_s: int) -> None:
        """Start pods, and let the HPA decide every 15 s on what the metrics API shows: late, and the mean of 15 s."""
        due = [s for s in self.starting if s <= at_s]
        self.starting = [s for s in self.starting if s > at_s]
        self.ready += len(due)
        self._speed += [self._pod() for _ in due]
        if at_s % 15 or not at_s:
            return
        shown = float(np.mean(list(self._seen)[:15]))
        pods = [PodUse(shown)] * self.ready + [PodUse(None, ready=False)] * len(self.starting)
        wanted = self._stabiliser.decide(
            recommend(self.replicas, pods=pods, target=self.target),
            current=self.replicas,
            bounds=(1, self._service.max_replicas),
            now_s=float(at_s),
        )
        for _ in range(wanted - self.replicas):
            scatter = float(np.exp(self._rng.normal(0.0, self._service.start_scatter)))
            self.starting.append(at_s + self._service.startup_s * scatter)

    def view(self, service: Service) -> VersionCapacity:
        """What the daemon would know: fitted cost, the usual start-up time."""
        metric = Metric("cpu", self.target, saturation=service.request)
        scaler = Scaler("stable", 1, service.max_replicas, (metric,))
        cost: Cost | None = fit(self.samples)
        return VersionCapacity("stable", self.replicas, self.ready, scaler, (cost,), startup_s=service.startup_s)


class Seen:
    """What is counted of both versions in the recent time, and how bad the canary is taken to be for it."""

    def __init__(self, service: Service, rng: np.random.Generator) -> None:
        self._service, self._rng = service, rng
        self._recent: deque[Throughput] = deque(maxlen=RECENT_S // TURN_S)
        self._known: Severity | None = None

    def count(self, weight: float, *, failing: float) -> None:
        """Count the interval that ends now."""
        requests = self._rng.poisson(self._service.load * TURN_S * weight / 100)
        others = self._rng.poisson(self._service.load * TURN_S * (1 - weight / 100))
        errors = int(self._rng.binomial(requests, failing))
        counted = Throughput(0.0, TURN_S, int(others), int(requests), 0, errors, int(others), int(requests))
        self._recent.append(counted)
        self._known = worse(self._known, severity_of(self._recent))

    @property
    def severity(self) -> Severity | None:
        """How bad the canary is taken to be; None where nobody knows."""
        return self._known


def play(service: Service, course: Course, *, seed: int) -> Hurt:
    """Play one rollback; the same seed gives every course the same service."""
    rng = np.random.default_rng(seed)
    stable = Stable(service, rng)
    weight = service.weight
    for second in range(-WARM_S, 0):  # the rollout so far: the cost is learned at changing loads
        share = 1 - weight / 100 * max(0.0, min(1.0, 1 + second / WARM_S * 0.5))
        stable.serve(float(rng.poisson(min(service.load * share, 0.95 * service.full * stable.ready))))
    seen = Seen(service, np.random.default_rng([seed, 1]))
    for second in range(-RECENT_S, 0, TURN_S):
        seen.count(weight, failing=service.failing if second >= -service.found_after_s else 0.0)
    by_canary = by_overload = slow = 0.0
    for second in range(SECONDS):
        stable.tick(second)
        if weight > 0 and second % TURN_S == 0:
            if second:
                seen.count(weight, failing=service.failing)
            weight = course(weight, stable.view(service), severity=seen.severity, at_s=second)
        arrived = float(rng.poisson(service.load))
        to_canary = arrived * weight / 100
        refused, waited = stable.serve(arrived - to_canary)
        by_canary += to_canary * service.failing
        by_overload += refused
        slow += waited
    return Hurt(by_canary, by_overload, slow)


def one_jump(weight: float, stable: VersionCapacity, *, severity: Severity | None, at_s: int) -> float:
    """Give everything back at once, as Flagger does."""
    del weight, stable, severity, at_s
    return 0.0


def by_steps(weight: float, stable: VersionCapacity, *, severity: Severity | None, at_s: int) -> float:
    """Give a fixed thirtieth of the traffic back each turn, whatever the pods (Argo's dynamicStableScale does alike)."""
    del stable, severity, at_s
    return max(0.0, weight - 100.0 / 30.0)


def planned(service: Service, *, within_s: float = WITHIN_S) -> Course:
    """Let Serin plan."""

    def course(weight: float, stable: VersionCapacity, *, severity: Severity | None, at_s: int) -> float:
        load = Load(service.load, weight=weight)
        return plan_giveback(stable, load, severity, left_s=within_s - at_s).weight

    return course


def always_ramped(service: Service) -> Course:
    """Give back what ready pods carry, always: the planner with a canary that hardly fails."""

    def course(weight: float, stable: VersionCapacity, *, severity: Severity | None, at_s: int) -> float:
        load = Load(service.load, weight=weight)
        return plan_giveback(stable, load, Severity(0.0, 0.0, 0.0), left_s=WITHIN_S - at_s).weight

    return course
