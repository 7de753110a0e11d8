"""What lies ahead of a rollout in flight, in requests and minutes: the judge's forecast, and the times of the plan."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from analyzer.core.judge import judge
from analyzer.core.judge.outlook import Found, Need, found_by_now, need_as_so_far, need_if_harmless, pace_of
from analyzer.core.judge.types import Assessment, JudgeRequest, JudgeSettings, JudgeState
from analyzer.core.rollout.decide import step_of
from analyzer.core.rollout.model import RolloutState, Weights
from analyzer.core.rollout.phases import JUDGED, Phase
from analyzer.core.rollout.plan import RolloutPlan
from analyzer.core.rollout.weights import active_stage, next_weights


@dataclass(frozen=True, slots=True)
class Outlook:
    """What lies ahead.

    Attributes
    ----------
    following
        The weights after the next step [per cent].
    watch_left_s
        Until the time to watch at least (`dwell.min`, or `bake`) is over [s].
    patience_left_s
        Until `dwell.max` is over, and `onInconclusive` says what happens [s]; None where it plays no part.
    lacking
        Claims that are not proven yet, with the logarithm of their evidence.
    canary_rps
        The canary's requests per second at this weight; None where nobody knows.
    if_harmless, as_so_far
        What is missing to proof if the canary is as good as the stable version, and if it goes on as it has been; None where
        nothing is missing, or to be proven, or nothing is known.
    found
        What would have been found by now; None without requests.
    """

    following: Weights
    watch_left_s: float = 0.0
    patience_left_s: float | None = None
    lacking: Mapping[str, float] | None = None
    canary_rps: float | None = None
    if_harmless: Need | None = None
    as_so_far: Need | None = None
    found: Found | None = None


def judged_again(plan: RolloutPlan, settings: JudgeSettings, state: RolloutState) -> RolloutState:
    """Give a state its evidence back, which is not stored; the checkpoint holds it."""
    if state.judge is None or not state.judge.record or len(state.weights) != len(plan.stages):
        return state
    assessment = _look(plan, settings, state, state.judge)
    return replace(state, evidence=assessment.evidence)


def look_out(
    plan: RolloutPlan, settings: JudgeSettings, state: RolloutState, *, pods: tuple[int, int] = (1, 1)
) -> Outlook | None:
    """Say what lies ahead; None where no rollout is judged.

    Parameters
    ----------
    plan, settings
        The policy, and how strict its judge is.
    state
        What is remembered.
    pods
        Ready pods, of the stable version and the canary [count].
    """
    if state.phase not in JUDGED or not state.weights or len(state.weights) != len(plan.stages):
        return None
    at = state.cleared or state.weights
    following = next_weights(plan, at)
    kept = state.judge
    if kept is None or not kept.record:
        return Outlook(following, watch_left_s=_least_watch(plan, state))
    assessment = _look(plan, settings, state, kept)
    evidence = assessment.evidence
    baking = state.phase is Phase.BAKING
    lacking = {name: log for name, log in evidence.proof.items() if log < evidence.log_proof_threshold}
    pace = pace_of(kept, weight=state.weights[active_stage(state.weights)], seconds=state.interval_s, pods=pods)
    open_ = bool(lacking) and pace is not None
    step = step_of(plan, state)
    return Outlook(
        following,
        watch_left_s=max(0.0, _least_watch(plan, state) - evidence.step_seconds),
        patience_left_s=None if baking else max(0.0, plan.dwell_max_s - evidence.step_seconds),
        lacking=lacking,
        canary_rps=None if pace is None else pace.canary / pace.seconds,
        if_harmless=need_if_harmless(assessment.state, settings, step, pace) if open_ and pace else None,
        as_so_far=need_as_so_far(assessment.state, settings, step, pace) if open_ and pace else None,
        found=found_by_now(kept, settings, pods=pods),
    )


def _least_watch(plan: RolloutPlan, state: RolloutState) -> float:
    return plan.bake_s if state.phase is Phase.BAKING else plan.dwell_min_s


def _look(plan: RolloutPlan, settings: JudgeSettings, state: RolloutState, kept: JudgeState) -> Assessment:
    """Ask the judge what it thinks, without telling it anything new."""
    return judge([JudgeRequest(kept, settings, step_of(plan, state))])[0]
