"""What a policy asks of the judge, and what it is told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from analyzer.app.capacity import Throughput
from analyzer.app.ledger import Anomaly, Demand
from analyzer.app.splits import NOTHING, Split
from analyzer.core.judge.types import Assessment, Interval, JudgeSettings, JudgeState, Step
from analyzer.core.rollout import TelemetryHealth


@dataclass(frozen=True, slots=True)
class JudgeOrder:
    """What one policy wants judged.

    Attributes
    ----------
    key
        `namespace/name` of the policy; a new order replaces the waiting one.
    rollout
        Names the rollout: an answer to an order of another one is of no use.
    demand
        Which counters, since when.
    state, settings, step
        For the judge.
    mixed_until_s
        Intervals that began before this have requests of two weights [unix seconds]; their share of traffic says nothing.
    weight_before
        The canary's weight before the present one [per cent]; None where nobody knows it, or where shares follow users.
    canary_full_at, canary_busy_at
        Requests per second at which its ready pods are full, and from which they answer late for want of pods; None where
        nobody knows.
    stages
        What telemetry calls the routes of each stage, None for those of the active one; empty where there is one stage.
    seen
        Requests that this step has seen so far.
    passed
        The order for the users of stages that are through; None where nothing would find harm to them.
    dispersion
        Where `state` has its idea of ordinary variation from, in words; empty unless the rollout begins.
    """

    key: str
    rollout: str
    demand: Demand
    state: JudgeState
    settings: JudgeSettings
    step: Step
    mixed_until_s: float | None
    weight_before: float | None = None
    canary_full_at: float | None = None
    canary_busy_at: float | None = None
    stages: tuple[frozenset[str] | None, ...] = ()
    seen: Split = NOTHING
    passed: "JudgeOrder | None" = None
    dispersion: str = ""

    @property
    def begins(self) -> bool:
        """Whether nothing was judged or learned yet."""
        return not self.state.record


@dataclass(frozen=True, slots=True)
class JudgeAnswer:
    """What came of an order.

    `assessment` is None where there was no telemetry to judge; `intervals` are those it was judged by. `passed` answers the
    order within the order. `strays` names proxies that do not split by the weight, where the shares are in doubt.
    """

    order: JudgeOrder
    health: TelemetryHealth
    assessment: Assessment | None = None
    new_intervals: int = 0
    judged_until_s: float | None = None
    interval_s: float | None = None
    anomalies: Mapping[Anomaly, int] = field(default_factory=dict)
    strays: str = ""
    passed: "JudgeAnswer | None" = None
    throughput: tuple[Throughput, ...] = ()
    intervals: tuple[Interval, ...] = ()

    @property
    def question(self) -> tuple[str, str] | None:
        """Name the rollout and the step that this answers; None where it answers nothing."""
        return (self.order.rollout, self.order.step.key) if self.assessment is not None else None


Deliver = Callable[[JudgeAnswer], None]
