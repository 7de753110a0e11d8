"""A rollout out of Prometheus' past: raw samples through the ledger, window after window, as the daemon reads them.

What Prometheus does not know is taken as follows, and told:

- The weight: `weight` where it is given; else the step of the policy that explains the share of the requests (see
  `weights.py`). The ledger's counts are exact either way; the weight says which margin is to be proven and what share
  of the requests should have been completed.
- Pods and their age: as given; else as their own proxies tell (see `surroundings.py`); else one warm pod each.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from analyzer.app.history.reading import TIMEOUT_S, UNKNOWN_INTERVAL_S, WINDOW_S, FetchesTelemetry, anchor, fetch
from analyzer.app.ledger import SETTLE_S, Demand, VersionSource, build_intervals
from analyzer.app.ledger.types import reach_s
from analyzer.core.judge.types import Interval
from analyzer.core.rollout.weights import next_weights
from analyzer.errors import PolicyError
from analyzer.policy.model import CanaryPolicy
from analyzer.ports import Workload
from analyzer.replay.course import plan_of
from analyzer.replay.lines import Header, IntervalLine, Record
from analyzer.replay.weights import WeightFollower


@dataclass(frozen=True, slots=True)
class Recording:
    """What to replay.

    Attributes
    ----------
    stable, canary
        The versions' workloads.
    policy
        Settings and steps.
    from_s, to_s
        When [unix seconds]; from the canary's first request on: before, the same labels are an older revision's.
    route
        Only requests of this route count; None: all.
    weight
        The canary's weight throughout [per cent]; None: it follows the observed share.
    stable_pods, canary_pods
        Pods throughout [count]; None: nobody gave them.
    canary_since_s
        When the canary's youngest pod started [unix seconds]; None: nobody gave it.
    """

    stable: Workload
    canary: Workload
    policy: CanaryPolicy
    from_s: float
    to_s: float
    route: str | None = None
    weight: float | None = None
    stable_pods: int | None = None
    canary_pods: int | None = None
    canary_since_s: float | None = None

    @property
    def name(self) -> str:
        """Name the rollout."""
        return f"{self.canary.namespace}/{self.canary.name}"


def workloads_of(policy: CanaryPolicy) -> tuple[Workload, Workload]:
    """Read both versions' workloads, stable first, off `spec.target`.

    Raises
    ------
    PolicyError
        The policy alone does not tell them.
    """
    target = policy.spec.target
    if target.deployments is None or target.stable not in target.deployments:
        raise PolicyError(
            "the policy does not tell the workloads: write --stable NAMESPACE/NAME --canary NAMESPACE/NAME, or both"
            " spec.target.deployments and spec.target.stable"
        )
    stable = target.deployments[target.stable]
    [canary] = [name for version, name in target.deployments.items() if version != target.stable]
    namespace = policy.metadata.namespace
    return Workload(namespace, stable), Workload(namespace, canary)


async def read_recording(
    telemetry: FetchesTelemetry,
    recording: Recording,
    *,
    timeout_s: float = TIMEOUT_S,
    note: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Record]:
    """Read a rollout's intervals.

    Parameters
    ----------
    telemetry
        Where from.
    recording
        What.
    timeout_s
        For one read [s].
    note
        Called with what a person should know of the data.

    Raises
    ------
    MetricsUnavailable
        It did not answer.
    """
    follower = _Weights(recording)
    edges_ms: tuple[float, ...] | None = None
    async for interval in _intervals(telemetry, recording, timeout_s=timeout_s, note=note):
        if edges_ms is None:
            edges_ms = interval.edges_ms
            yield Header(recording.name, edges_ms, recording.policy)
        yield follower.line(interval)
    if edges_ms is None:
        yield Header(recording.name, (), recording.policy)


async def _intervals(
    telemetry: FetchesTelemetry, recording: Recording, *, timeout_s: float, note: Callable[[str], None]
) -> AsyncIterator[Interval]:
    demand = Demand(
        key=recording.name,
        stable=VersionSource(recording.stable),
        canary=VersionSource(recording.canary),
        routes=None if recording.route is None else frozenset({recording.route}),
        stable_pods=recording.stable_pods or 1,
        canary_pods=recording.canary_pods or 1,
        canary_youngest_pod_at_s=recording.canary_since_s,
    )
    since_s = recording.from_s
    last_s = recording.to_s + SETTLE_S
    end_s, said = min(recording.from_s + WINDOW_S, last_s), ""
    while True:
        window = await fetch(
            telemetry,
            frozenset({recording.stable, recording.canary}),
            since_s=since_s - reach_s(demand.interval_s or UNKNOWN_INTERVAL_S),
            end_s=end_s,
            timeout_s=timeout_s,
        )
        if demand.since_s is None and (anchor_s := anchor(window, after_s=recording.from_s)) is not None:
            demand = replace(demand, since_s=anchor_s)
        if demand.since_s is None:  # no reporter was there yet
            since_s = max(since_s, end_s - reach_s(UNKNOWN_INTERVAL_S))
        else:
            [statement] = build_intervals(window, [demand])
            for interval in statement.intervals:
                yield interval
            demand = replace(demand, since_s=statement.until_s, interval_s=statement.interval_s)
            since_s = statement.until_s or since_s
        if window.requests.labels:
            said = ""
        elif not said:
            said = f"no requests of {recording.stable.name} or {recording.canary.name} at {end_s:.0f}"
            note(said)
        if end_s >= last_s:
            return
        end_s = min(end_s + WINDOW_S, last_s)


class _Weights:
    """Puts weight and next weight to each interval."""

    def __init__(self, recording: Recording) -> None:
        plan = plan_of(recording.policy)
        stages = recording.policy.spec.stages
        own = [number for number, stage in enumerate(stages) if recording.route in {None, stage.route}]
        steps = _steps(recording.policy, own[0] if own else 0)
        self._recording = recording
        self._plan = replace(plan, stages=(replace(plan.stages[0], weights=steps),))
        self._follower = WeightFollower(float(step) for step in steps)

    def line(self, interval: Interval) -> IntervalLine:
        weight = self._recording.weight
        if weight is None:
            weight = self._follower.next_weight(stable=interval.stable.requests, canary=interval.canary.requests)
        [following] = next_weights(self._plan, (weight,))
        weighed = replace(interval, weight=weight)
        return IntervalLine(self._recording.name, weighed, following if following > weight else None)


def _steps(policy: CanaryPolicy, stage: int) -> tuple[int, ...]:
    weights = policy.spec.stages[stage].weights
    return weights if isinstance(weights, tuple) else (1, 5, 10, 25, 50, 100)
