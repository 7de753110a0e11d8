"""What one policy learns of its versions' capacity: requests from the ledger, use from the HPAs, pods from the cluster.

Kept in memory only: a restart learns it again within a minute. Until then no step is made, whatever was cleared before, and a
rollback that begins is one step, as it always may be.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from scipy.special import betaincinv

from analyzer.app.target import ObservedTarget, pods_of
from analyzer.app.view import ClusterView
from analyzer.core.capacity import Cost, Samples, Severity, VersionCapacity, fit, follows
from analyzer.core.judge.types import Interval
from analyzer.core.rollout import CapacityView, Phase, RolloutState, Weights
from analyzer.policy.scaling import USUAL_STARTUP_S, Scaling, Surroundings, leave_out, read_scaling, startup_s
from analyzer.ports import DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER, SERVICE, Object, Ref

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
    staged
        Requests of both versions on the routes of each stage but the active one, of which it says 0; empty where there is one.
    """

    end_s: float
    seconds: float
    stable: int
    canary: int
    stable_errors: int
    canary_errors: int
    stable_all: int
    canary_all: int
    staged: tuple[int, ...] = ()


def throughput(
    intervals: Sequence[Interval], everywhere: Sequence[Interval], staged: Sequence[Sequence[Interval]] = ()
) -> tuple[Throughput, ...]:
    """Read throughput off intervals.

    `everywhere` are those of all routes, in which an interval may be missing; `staged` those of each stage's routes, in which
    one without requests is.
    """
    whole = {interval.end_s: interval for interval in everywhere}
    stages = [{i.end_s: i.stable.requests + i.canary.requests for i in stage} for stage in staged]
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
            staged=tuple(counts.get(interval.end_s, 0) for counts in stages),
        )
        for interval in intervals
        if interval.seconds > 0
    )


_MOST_WORDS: Final = 200
"""Of what a condition says; a status is not to be filled with one."""

_SAME_LOAD: Final = 0.1
"""A use that an HPA goes on showing while the load of a pod has changed by more than this is an old one."""


@dataclass(frozen=True, slots=True)
class _Setting:
    """What a version's load per pod depends on: its pods and the weights; and from when on its use may be believed.

    `before` is the use that its HPA showed last under the setting before: one that nobody renews goes on showing it.
    """

    ready: int
    weights: Weights
    learn_from_s: float
    before: tuple[float | None, ...] = ()


class CapacityBook:
    """Samples of cost, and the traffic of the recent time, of one policy."""

    def __init__(self) -> None:
        self._recent: deque[Throughput] = deque()
        self._fresh = False
        self._taken_at_s = self._began_at_s = -math.inf
        self._ignorant_since_s: float | None = None
        self._revisions: dict[str, str] = {}
        self._samples: dict[tuple[str, str], Samples] = {}
        self._settings: dict[str, _Setting] = {}
        self._shown: dict[str, tuple[float | None, ...]] = {}
        self._sampled: dict[tuple[str, str], tuple[float, float]] = {}  # use, and the load that it was first sampled at

    def take(self, news: Sequence[Throughput], *, now_s: float) -> None:
        """Take in what was counted since the last turn; `now_s` is monotonic."""
        if now_s - self._taken_at_s > _STALE_S:
            self._began_at_s = now_s
        self._taken_at_s = now_s
        self._ignorant_since_s = None
        known_s = self._recent[-1].end_s if self._recent else -math.inf
        self._recent.extend(t for t in news if t.end_s > known_s)
        while self._recent and self._recent[-1].end_s - self._recent[0].end_s >= RECENT_S:
            self._recent.popleft()
        self._fresh = bool(news)

    def view(
        self, cache: ClusterView, target: ObservedTarget, state: RolloutState, *, now_s: float, fresh: bool = False
    ) -> CapacityView | None:
        """Give what is known now; None where nothing is, and nothing will be within seconds.

        `fresh`: telemetry was there in this turn, and so traffic is counted when the next interval ends.
        """
        if not state.stable or not state.canary:
            return None
        # A way back that has begun is measured out by the last that was counted, rather than by nothing.
        stale = now_s - self._taken_at_s > _STALE_S and state.phase is not Phase.ROLLING_BACK
        if stale:
            self._recent.clear()
        self._forget_others({state.stable: state.stable_revision, state.canary: state.canary_revision})
        stable_scaling = self._scaling(cache, target, state.stable)
        canary_scaling = self._scaling(cache, target, state.canary)
        seconds = sum(t.seconds for t in self._recent)
        if seconds <= 0.0 and not self._will_know(now_s, fresh=fresh):
            return None
        rates = [sum(counts) / seconds for counts in self._counts()] if seconds > 0.0 else [0.0] * 4
        stable_here, canary_here, stable_all, canary_all = rates
        if self._fresh:
            self._learn(target, state.stable, stable_scaling, [t.stable_all / t.seconds for t in self._recent])
            self._learn(target, state.canary, canary_scaling, [t.canary_all / t.seconds for t in self._recent])
            self._fresh = False
        unfit = frozenset(name for (_, name), samples in self._samples.items() if not follows(samples))
        stable_scaling, canary_scaling = leave_out(stable_scaling, unfit), leave_out(canary_scaling, unfit)
        stable_own = self._costs(state.stable, stable_scaling, others={})
        canary_own = self._costs(state.canary, canary_scaling, others={})
        canary_costs = self._costs(state.canary, canary_scaling, others=self._named(stable_scaling, stable_own))
        stable_costs = self._costs(state.stable, stable_scaling, others=self._named(canary_scaling, canary_own))
        # A version nobody has seen begins with what is known of the other. For the stable one that is not enough: it may not be
        # able to take back what it gives away.
        stable_costs = tuple(c if own else None for c, own in zip(stable_costs, stable_own, strict=True))
        learning = now_s - self._began_at_s < _LEARNING_S and _is_missing(stable_scaling, stable_costs)
        return CapacityView(
            stable=self._version(cache, target, state.stable, stable_scaling, stable_costs),
            canary=self._version(cache, target, state.canary, canary_scaling, canary_costs),
            moving=stable_here + canary_here,
            stable_elsewhere=max(0.0, stable_all - stable_here),
            canary_elsewhere=max(0.0, canary_all - canary_here),
            staged=self._staged(),
            learning=learning or seconds <= 0.0,
            trouble=self._trouble(cache, target, state.canary, canary_scaling),
            severity=severity_of(self._recent),
        )

    def _will_know(self, now_s: float, *, fresh: bool) -> bool:
        """Tell whether it is worth to wait for the first traffic: with telemetry it is, and without for a moment."""
        if self._ignorant_since_s is None:
            self._ignorant_since_s = now_s
        return fresh or now_s - self._ignorant_since_s < _LEARNING_S

    def _counts(self) -> Iterator[list[int]]:
        for name in ("stable", "canary", "stable_all", "canary_all"):
            yield [getattr(t, name) for t in self._recent]

    def _staged(self) -> tuple[float, ...]:
        """Give each stage's requests per second; after a change of the stages, of what was counted since."""
        stages = len(self._recent[-1].staged) if self._recent else 0
        counted = [t for t in self._recent if len(t.staged) == stages]
        seconds = sum(t.seconds for t in counted)
        return tuple(sum(t.staged[i] for t in counted) / seconds for i in range(stages))

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
            known = self._settings[version] = _Setting(ready, weights, now_s + wait_s, self._shown.get(version, ()))
        self._shown[version] = scaling.use
        mean = sum(rates) / len(rates)
        steady = all(abs(rate - mean) <= _STEADY * mean for rate in rates) and now_s >= known.learn_from_s
        if scaling.scaler is None or not ready or not steady or mean <= 0.0:
            return
        before = known.before if len(known.before) == len(scaling.use) else (None,) * len(scaling.use)
        for metric, use, old in zip(scaling.scaler.metrics, scaling.use, before, strict=True):
            key = (version, metric.name)
            if use is not None and use != old and self._is_of_now(key, use, mean / ready):
                self._samples[key] = self._samples.get(key, Samples()).add(mean / ready, use)

    def _is_of_now(self, key: tuple[str, str], use: float, load: float) -> bool:
        """Tell whether a use can be that of the present load: an HPA that nobody renews shows the same for ever."""
        sampled_use, sampled_load = self._sampled.get(key, (None, 0.0))
        if use != sampled_use:
            sampled_load = load
            self._sampled[key] = (use, load)
        return abs(load - sampled_load) <= _SAME_LOAD * sampled_load

    def _costs(self, version: str, scaling: Scaling, *, others: dict[str, Cost]) -> tuple[Cost | None, ...]:
        if scaling.scaler is None:
            return ()
        return tuple(
            fit(self._samples.get((version, metric.name), Samples()), other=others.get(metric.name))
            for metric in scaling.scaler.metrics
        )

    @staticmethod
    def _trouble(cache: ClusterView, target: ObservedTarget, version: str, scaling: Scaling) -> str:
        """Say what keeps more pods from being there, in the words of the HPA and of the Deployment."""
        workload, namespace = target.workloads.get(version), target.virtual_service["metadata"]["namespace"]
        if workload is None or scaling.scaler is None:
            return ""
        name = scaling.scaler.name
        autoscaler = cache.get(Ref(HORIZONTAL_POD_AUTOSCALER, namespace, name))
        deployment = cache.get(Ref(DEPLOYMENT, namespace, workload.deployment))
        return "; ".join(
            [
                *_said(
                    autoscaler, f"HorizontalPodAutoscaler {name}", {"AbleToScale": "False", "ScalingActive": "False"}
                ),
                *_said(
                    deployment, f"Deployment {workload.deployment}", {"ReplicaFailure": "True", "Progressing": "False"}
                ),
            ]
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


def _said(obj: Object | None, name: str, bad: Mapping[str, str]) -> Iterator[str]:
    for condition in ((obj or {}).get("status") or {}).get("conditions") or ():
        if bad.get(condition.get("type", "")) == condition.get("status"):
            message = str(condition.get("message") or "").rstrip(".")[:_MOST_WORDS]
            yield f"{name} says {condition['type']}: {condition['status']} ({condition.get('reason')}: {message})"


def _is_missing(scaling: Scaling, costs: Sequence[Cost | None]) -> bool:
    """Tell whether an HPA shows the use of pods and no steady load was seen with it yet."""
    return any(use is not None and cost is None for use, cost in zip(scaling.use, costs, strict=True))


def severity_of(recent: Sequence[Throughput]) -> Severity | None:
    """Estimate by how much more of its requests the canary fails, with a 95 % Clopper-Pearson interval of its own rate.

    Harm has a beginning, and what was before it says nothing of how bad it is: of all beginnings in the recent time the one
    counts from which on the most harm is certain. None without requests.
    """
    others, other_errors = sum(t.stable for t in recent), sum(t.stable_errors for t in recent)
    usual = other_errors / others if others else 0.0
    newest_first = list(recent)[::-1]
    requests = accumulate(t.canary for t in newest_first)
    errors = accumulate(t.canary_errors for t in newest_first)
    since = [_beyond(usual, failed, count) for failed, count in zip(errors, requests, strict=True) if count]
    return max(reversed(since), key=lambda severity: severity.low, default=None)


def _beyond(usual: float, errors: int, requests: int) -> Severity:
    low = float(betaincinv(errors, requests - errors + 1, 0.025)) if errors else 0.0
    high = float(betaincinv(errors + 1, requests - errors, 0.975)) if errors < requests else 1.0
    return Severity(*(max(0.0, rate - usual) for rate in (errors / requests, low, high)))
