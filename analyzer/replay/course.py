"""What the daemon would have decided after an interval: by the same code, on a cluster where all is well."""

from dataclasses import dataclass, replace
from typing import cast

from analyzer.app.plan import rollout_plan
from analyzer.core.judge.types import Assessment, JudgeState, Verdict
from analyzer.core.rollout import (
    Phase,
    RolloutPlan,
    RolloutState,
    Snapshot,
    StagePlan,
    TargetView,
    TelemetryHealth,
    VersionView,
    decide,
    settle,
)
from analyzer.core.rollout.weights import FULL
from analyzer.policy.model import CanaryPolicy

STABLE, CANARY = "stable", "canary"
_REVISIONS = {STABLE: "stable", CANARY: "canary"}


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from an interval.

    Attributes
    ----------
    action
        `watch`, `advance`, `bake`, `roll back` or `hold`.
    weight
        The weight that follows [per cent].
    why
        For a person.
    """

    action: str
    weight: float
    why: str


def plan_of(policy: CanaryPolicy) -> RolloutPlan:
    """Give the policy's plan, its first stage only, acting: a replay asks what would have been done."""
    plan = rollout_plan(policy)
    return replace(plan, stages=plan.stages[:1], observe_only=False, suspended=False)


def fixed_plan(plan: RolloutPlan, next_weight: float | None) -> RolloutPlan:
    """Give a plan whose next weight is the one that the record tells."""
    steps = sorted({FULL if next_weight is None else next_weight, FULL})
    # A plan's weights are whole numbers by their type; a record's may be thirds, and nothing below minds.
    weights = cast("tuple[int, ...]", tuple(steps))
    return replace(plan, stages=(StagePlan(route=None, weights=weights),))


def at_weight(weight: float, *, proving: bool = True, judge: JudgeState | None = None) -> RolloutState:
    """Give the state of a rollout in flight that has this weight."""
    return RolloutState(
        phase=Phase.PROGRESSING if proving else Phase.BAKING,
        stable=STABLE,
        canary=CANARY,
        stable_revision=_REVISIONS[STABLE],
        canary_revision=_REVISIONS[CANARY],
        weights=(weight,),
        judge=judge,
    )


def follow(
    plan: RolloutPlan, state: RolloutState, assessment: Assessment, *, now_s: float, seconds: float
) -> tuple[RolloutState, Decision]:
    """Decide on an assessment, and let the weights follow at once."""
    [weight] = state.weights
    versions = tuple(VersionView(name, _REVISIONS[name], ready_pods=1, settled=True) for name in (STABLE, CANARY))
    snapshot = Snapshot(
        target=TargetView(
            versions=(versions[0], versions[1]),
            shares={STABLE: (FULL - weight,), CANARY: (weight,)},
            default_stable=STABLE,
        ),
        elapsed_s=seconds,
        telemetry=TelemetryHealth(fresh=True, now_s=now_s),
        assessment=assessment,
    )
    decided = decide(plan, state, snapshot)
    decision = _decision(state, decided)
    if decided.intent is not None:
        decided = settle(decided, decided.intent.after, now_s=now_s)
    return replace(decided, notices=()), decision


def _decision(before: RolloutState, after: RolloutState) -> Decision:
    [weight] = before.weights
    if after.intent is not None:
        [wanted] = after.intent.after
        back = wanted < weight or after.phase is Phase.ROLLING_BACK
        return Decision("roll back" if back else "advance", wanted, after.intent.message)
    if after.phase is Phase.ROLLED_BACK:  # without traffic there was nothing to take away
        return Decision("roll back", 0.0, after.message)
    if after.hold is not None:
        return Decision("hold", weight, after.hold.message)
    baking = before.phase is not Phase.BAKING and after.phase is Phase.BAKING
    return Decision("bake" if baking else "watch", weight, after.message)


def decide_as_given(
    plan: RolloutPlan, assessment: Assessment, *, weight: float, next_weight: float | None, t: float, seconds: float
) -> Decision:
    """Say what the daemon would decide at a weight that is taken as given."""
    if assessment.verdict is Verdict.NO_DATA:
        return Decision("watch", weight, "Watches: no interval had requests at both versions yet.")
    state = at_weight(weight, proving=next_weight is not None, judge=assessment.state)
    return follow(fixed_plan(plan, next_weight), state, assessment, now_s=t, seconds=seconds)[1]
