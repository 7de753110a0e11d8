"""What one turn's decision looks at, joined from the cluster, the judge's answer, people and the hour."""

from dataclasses import replace

from analyzer.app.answers import JudgeAnswer
from analyzer.app.decisions import Seen
from analyzer.app.observe import Observed
from analyzer.app.orders import question_of
from analyzer.core.rollout import CapacityView, Malformed, Problem, Request, RolloutPlan, RolloutState, Snapshot, hear
from analyzer.policy.requests import REQUEST_ANNOTATION, parse_request, request_id
from analyzer.policy.schedule import closed
from analyzer.ports import Object


def request_of(obj: Object) -> Request | Malformed | None:
    """Read what a person asks for from a policy's annotation."""
    text = (obj["metadata"].get("annotations") or {}).get(REQUEST_ANNOTATION)
    if text is None:
        return None
    request = parse_request(text)
    return request if isinstance(request, Request) else Malformed(request_id(text), request.message)


def hear_nothing(state: RolloutState, problem: Problem, request: Request | Malformed | None) -> RolloutState:
    """Answer a request to a policy that does not work: it can be paused, and no more."""
    return hear(RolloutPlan(stages=()), state, Snapshot(target=problem, elapsed_s=0.0, request=request))


def telemetry_now(answer: JudgeAnswer | None) -> float | None:
    """Tell the telemetry store's time of an answer [unix seconds]."""
    return answer.health.now_s if answer is not None else None


def is_current(plan: RolloutPlan, state: RolloutState, answer: JudgeAnswer | None) -> bool:
    """Tell whether an answer still answers the question of the present step."""
    return answer is not None and answer.question == (state.rollout, question_of(plan, state))


def take_in(plan: RolloutPlan, state: RolloutState, answer: JudgeAnswer | None) -> RolloutState:
    """Note up to when the judge has seen."""
    if answer is None or not is_current(plan, state, answer):
        return state
    return replace(
        state,
        judged_until_s=answer.judged_until_s,
        interval_s=answer.interval_s,
        dispersion=answer.order.dispersion or state.dispersion,
        passed_until_s=answer.passed.judged_until_s if answer.passed is not None else state.passed_until_s,
    )


def make_snapshot(
    observed: Observed,
    answer: JudgeAnswer | None,
    state: RolloutState,
    *,
    elapsed_s: float,
    capacity: CapacityView | None,
    request: Request | Malformed | None,
    now_s: float,
) -> Snapshot:
    """Join what is there. `now_s` is of the wall clock: only `spec.schedule` looks at it, and a wrong one only delays."""
    current = answer is not None and is_current(observed.plan, state, answer)
    schedule = observed.policy.spec.schedule
    return Snapshot(
        target=observed.target.view,
        elapsed_s=elapsed_s,
        telemetry=answer.health if answer is not None else None,
        assessment=answer.assessment if answer is not None and current else None,
        passed=answer.passed.assessment if answer is not None and current and answer.passed is not None else None,
        strays=answer.strays if answer is not None else "",
        capacity=capacity,
        request=request,
        closed=""
        if schedule is None
        else closed(zone=schedule.timezone, forward=schedule.forward, freeze=schedule.freeze, now_s=now_s),
    )


def seen_in(
    observed: Observed,
    before: RolloutState,
    settled: RolloutState,
    snapshot: Snapshot,
    answer: JudgeAnswer | None,
    *,
    at: str,
) -> Seen:
    """Join what a decision depended on, for the decision log."""
    return Seen(
        before,
        observed.spec,
        snapshot,
        settled,
        at=at,
        policy=observed.policy,
        observe_only=observed.plan.observe_only,
        sticky_users=observed.plan.sticky_users,
        answer=answer,
    )
