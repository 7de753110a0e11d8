"""What one policy learns of its versions' capacity: requests from the ledger, use from the HPAs, pods from the cluster.

Kept in memory only: a restart learns it again within a minute, and until then a rollback is one step, as it always may be.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scipy.special import betaincinv

from analyzer.app.target import ObservedTarget, pods_of
from analyzer.app.view import ClusterView
from analyzer.core.capacity import Cost, Samples, Severity, VersionCapacity, fit
from analyzer.core.judge.types import Interval
from analyzer.core.rollout import CapacityView, RolloutState, Weights
from analyzer.policy.scaling import USUAL_STARTUP_S, Scaling, Surroundings, read_scaling, startup_s
from analyzer.ports import DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER, SERVICE, Ref

RECENT_S: Final = 30.0
"""Load and severity are those of this time: long enough for a rate, short enough to be of now."""

_STALE_S: Final = 120.0
"""The traffic of so long ago says nothing of now."""

_LEARNING_S: Final = 60.0
"""A first step waits so long at most for the cost of a request to be known."""

_STEADY: Final = 0.25
"""An HPA shows use late: it is set against the load only while the loads of the recent time differ by no more than this."""

_LATE_S: Final = 40.0
"""So late it may be (metrics of 15 s, taken every 15 s, and an HPA that looks every 15 s): so long after weights or pods have
changed nothing is learned, or a version that loses traffic step by step would seem to carry more than it does."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What both versions answered in one interval [count].

    Attributes
    ----------
    end_s, seconds
        Of the interval [unix seconds, s].
    stable, canary
        Requests on the routes that are judged.
    stable_errors, canary_errors
        Errors among them.
    stable_all, canary_all
        Requests on all routes.
    """

    end_s: float
    seconds: float
    stable: int
    canary: int
    stable_errors: int
    canary_errors: int
    stable_all: int
    canary_all: int


def throughput(intervals: Sequence[Interval], everywhere: Sequence[Interval]) -> tuple[Throughput, ...]:
    """Read throughput off intervals; `everywhere` are those of all routes, in which an interval may be missing."""
    whole = {interval.end_s: interval for interval in everywhere}
    return tuple(
        Throughput(
            end_s=interval.end_s,
            seconds=interval.seconds,
            stable=interval.stable.requests,
            canary=interval.canary.requests,
            stable_errors=interval.stable.errors,
            canary_errors=interval.canary.errors,
            stable_all=whole.get(interval.end_s, interval).stable.requests,
            canary_all=whole.get(interval.end_s, interval).canary.requests,
        )
        for interval in intervals
        if interval.seconds > 0
    )


@dataclass(frozen=True, slots=True)
class _Setting:
    """What a version's load per pod depends on: its pods and the weights; and from when on its use may be believed."""

    ready: int
    weights: Weights
    learn_from_s: float


class CapacityBook:
    """Samples of cost, and the traffic of the recent time, of one policy."""

    def __init__(self) -> None:
        self._recent: deque[Throughput] = deque()
        self._fresh = False
        self._taken_at_s = self._began_at_s = -math.inf
        self._revisions: dict[str, str] = {}
        self._samples: dict[tuple[str, str], Samples] = {}
        self._settings: dict[str, _Setting] = {}

    def take(self, news: Sequence[Throughput], *, now_s: float) -> None:
        """Take in what was counted since the last turn; `now_s` is monotonic."""
        if now_s - self._taken_at_s > _STALE_S:
            self._began_at_s = now_s
        self._taken_at_s = now_s
        self._recent.extend(news)
        while self._recent and self._recent[-1].end_s - self._recent[0].end_s >= RECENT_S:
            self._recent.popleft()
        self._fresh = bool(news)

    def view(
        self, cache: ClusterView, target: ObservedTarget, state: RolloutState, *, now_s: float
    ) -> CapacityView | None:
        """Give what is known now; None before any traffic was counted, and long after."""
        seconds = sum(t.seconds for t in self._recent)
        if seconds <= 0.0 or not state.stable or not state.canary or now_s - self._taken_at_s > _STALE_S:
            return None
        self._forget_others({state.stable: state.stable_revision, state.canary: state.canary_revision})
        stable_all = sum(t.stable_all for t in self._recent) / seconds
        canary_all = sum(t.canary_all for t in self._recent) / seconds
        stable_here = sum(t.stable for t in self._recent) / seconds
        canary_here = sum(t.canary for t in self._recent) / seconds
        stable_scaling = self._scaling(cache, target, state.stable)
        canary_scaling = self._scaling(cache, target, state.canary)
        if self._fresh:
            self._learn(target, state.stable, stable_scaling, [t.stable_all / t.seconds for t in self._recent])
            self._learn(target, state.canary, canary_scaling, [t.canary_all / t.seconds for t in self._recent])
            self._fresh = False
        stable_costs = self._costs(state.stable, stable_scaling, others={})
        named = self._named(stable_scaling, stable_costs)
        canary_costs = self._costs(state.canary, canary_scaling, others=named)
        return CapacityView(
            stable=self._version(cache, target, state.stable, stable_scaling, stable_costs),
            canary=self._version(cache, target, state.canary, canary_scaling, canary_costs),
            moving=stable_here + canary_here,
            stable_elsewhere=max(0.0, stable_all - stable_here),
            canary_elsewhere=max(0.0, canary_all - canary_here),
            learning=now_s - self._began_at_s < _LEARNING_S and _is_missing(stable_scaling, stable_costs),
            severity=_severity(self._recent),
        )

    def _forget_others(self, revisions: dict[str, str]) -> None:
        """Forget the costs of revisions that no longer run."""
        for version, revision in revisions.items():
            if self._revisions.get(version, revision) != revision:
                self._samples = {key: kept for key, kept in self._samples.items() if key[0] != version}
        self._revisions = revisions

    def _scaling(self, cache: ClusterView, target: ObservedTarget, version: str) -> Scaling:
        workload = target.workloads.get(version)
        namespace = target.virtual_service["metadata"]["namespace"]
        deployment = None if workload is None else cache.get(Ref(DEPLOYMENT, namespace, workload.deployment))
        if deployment is None:
            return Scaling(None, unknown=f"{version} has no Deployment")
        around = Surroundings(
            pods=pods_of(cache, namespace, workload),
            services=cache.list(SERVICE, namespace),
            deployments=cache.list(DEPLOYMENT, namespace),
        )
        return read_scaling(deployment, cache.list(HORIZONTAL_POD_AUTOSCALER, namespace), around)

    def _learn(self, target: ObservedTarget, version: str, scaling: Scaling, rates: Sequence[float]) -> None:
        ready, weights, now_s = target.pods[version].ready, target.view.shares[version], self._recent[-1].end_s
        known = self._settings.get(version)
        if known is None or (known.ready, known.weights) != (ready, weights):
            wait_s = 0.5 * RECENT_S if known is None else _LATE_S
            known = self._settings[version] = _Setting(ready, weights, now_s + wait_s)
        mean = sum(rates) / len(rates)
        steady = all(abs(rate - mean) <= _STEADY * mean for rate in rates) and now_s >= known.learn_from_s
        if scaling.scaler is None or not ready or not steady or mean <= 0.0:
            return
        for metric, use in zip(scaling.scaler.metrics, scaling.use, strict=True):
            if use is not None:
                key = (version, metric.name)
                self._samples[key] = self._samples.get(key, Samples()).add(mean / ready, use)

    def _costs(self, version: str, scaling: Scaling, *, others: dict[str, Cost]) -> tuple[Cost | None, ...]:
        if scaling.scaler is None:
            return ()
        return tuple(
            fit(self._samples.get((version, metric.name), Samples()), other=others.get(metric.name))
            for metric in scaling.scaler.metrics
        )

    @staticmethod
    def _named(scaling: Scaling, costs: Sequence[Cost | None]) -> dict[str, Cost]:
        metrics = scaling.scaler.metrics if scaling.scaler else ()
        return {metric.name: cost for metric, cost in zip(metrics, costs, strict=True) if cost is not None}

    @staticmethod
    def _version(
        cache: ClusterView, target: ObservedTarget, version: str, scaling: Scaling, costs: tuple[Cost | None, ...]
    ) -> VersionCapacity:
        workload = target.workloads.get(version)
        namespace = target.virtual_service["metadata"]["namespace"]
        deployment = (cache.get(Ref(DEPLOYMENT, namespace, workload.deployment)) if workload else None) or {}
        unknown = scaling.unknown
        if not unknown and not any(costs):
            unknown = f"what {version}'s pods carry is not known, for they were not seen at a steady load yet"
        return VersionCapacity(
            name=version,
            replicas=int((deployment.get("spec") or {}).get("replicas", 1)),
            ready=target.pods[version].ready,
            scaler=scaling.scaler,
            costs=costs,
            startup_s=startup_s(pods_of(cache, namespace, workload)) or USUAL_STARTUP_S,
            unknown=unknown,
            use=scaling.use,
        )


def _is_missing(scaling: Scaling, costs: Sequence[Cost | None]) -> bool:
    """Tell whether an HPA shows the use of pods and no steady load was seen with it yet."""
    return any(use is not None and cost is None for use, cost in zip(scaling.use, costs, strict=True))


def _severity(recent: Sequence[Throughput]) -> Severity | None:
    """Estimate by how much more of its requests the canary fails, with a 95 % Clopper-Pearson interval of its own rate."""
    requests, errors = sum(t.canary for t in recent), sum(t.canary_errors for t in recent)
    others, other_errors = sum(t.stable for t in recent), sum(t.stable_errors for t in recent)
    if not requests:
        return None
    usual = other_errors / others if others else 0.0
    low = float(betaincinv(errors, requests - errors + 1, 0.025)) if errors else 0.0
    high = float(betaincinv(errors + 1, requests - errors, 0.975)) if errors < requests else 1.0
    return Severity(*(max(0.0, rate - usual) for rate in (errors / requests, low, high)))
