"""Why a rollout is where it is and not further, for the person who has to decide whether to wait. Pure, as `wording`."""

import math
from collections.abc import Mapping
from typing import Final

from analyzer.core.judge.outlook import SURE, Found, Need
from analyzer.core.judge.types import Evidence, Verdict
from analyzer.core.rollout import wording
from analyzer.core.rollout.decide import SUSPICION
from analyzer.core.rollout.model import RolloutState
from analyzer.core.rollout.outlook import Outlook
from analyzer.core.rollout.phases import Phase
from analyzer.core.rollout.plan import OnInconclusive, RolloutPlan
from analyzer.core.rollout.weights import FULL, active_stage, show

_ENDS: Final[Mapping[str, str]] = {
    "Blind": "It ends by itself when telemetry is back; {left}.",
    "Drift": "It ends when the weights are {weights} again, or with `serin resume`: --adopt goes on from what is there, "
    "--restore puts back what was.",
    "SampleRatio": "It ends by itself when the requests are split as the weights say; {left}.",
    "Capacity": "It ends by itself when enough pods of {canary} are ready.",
    "Paused": "It ends with `serin resume`.",
    "Approval": "It ends with `serin resume`.",
    "Schedule": "It ends by itself when the schedule allows steps again.",
    "Unreachable": "It ends by itself when the API server takes the weights; every turn tries again.",
}


def why_here(plan: RolloutPlan, state: RolloutState, *, last_step: str = "") -> str:
    """Say why the canary has this weight.

    Parameters
    ----------
    plan, state
        The policy, and what is remembered.
    last_step
        What was said when the weights changed last; empty where nobody knows.
    """
    match state.phase:
        case Phase.IDLE:
            return state.message
        case Phase.PENDING:
            return "No step was made yet."
        case Phase.PROMOTED:
            return _sentence(state.message)
        case Phase.INVALID | Phase.ROLLED_BACK:
            return _sentence(f"{state.reason}: {state.message}")
        case Phase.ROLLING_BACK:
            return f"{_sentence(f'{state.reason}: {_cause(plan, state)}')} {state.course}".rstrip()
        case Phase.PROGRESSING | Phase.BAKING:
            observed = " The policy only observes: others move the weights." if plan.observe_only else ""
            found_there = f"It had {show(state.weights)} when Serin saw this release for the first time."
            return f"{_sentence(last_step) or found_there}{observed}"


def _cause(plan: RolloutPlan, state: RolloutState) -> str:
    """Say why the traffic is taken away; a hold writes its own message over that."""
    if state.hold is None:
        return state.message
    if state.reason != "Harm":
        return f"{state.canary} must lose its traffic"
    edges_ms = state.judge.edges_ms if state.judge else ()
    return wording.culprit(
        state.evidence, stable=state.stable, canary=state.canary, limits=plan.limits, edges_ms=edges_ms
    )


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "?", "!", "…")) else f"{text}."


def evidence_of_harm(evidence: Evidence) -> str:
    """Say what speaks against the canary, and how much of what a rollback takes."""
    scale = f"log E {evidence.log_e:.1f} of the {evidence.log_threshold:.1f} that a rollback takes, p {evidence.p_value:.2g}"
    mostly = f", mostly {evidence.culprit.value}" if evidence.culprit else ""
    if evidence.p_value <= math.exp(-evidence.log_threshold):
        return f"Harm is proven: {scale}{mostly}."
    if evidence.log_e >= SUSPICION:
        return f"Suspicious: {scale}{mostly}."
    if evidence.log_e > 0.0:
        return f"A little, no more than chance brings: {scale}{mostly}."
    return f"Nothing speaks for harm: {scale}."


def why_not_next(plan: RolloutPlan, state: RolloutState, outlook: Outlook | None) -> list[str]:
    """Say what stands between the rollout and its next step, one thing a line."""
    if state.phase is Phase.PENDING:
        return [*(_held(plan, state) or [_sentence(state.message)]), *_canary_deadline(plan, state)]
    if outlook is None or state.phase not in {Phase.PROGRESSING, Phase.BAKING}:
        return _after_the_end(state)
    lines = _held(plan, state)
    if state.intent is not None:
        return [*lines, f"The step to {show(state.intent.after)} is recorded and being made: {state.intent.message}"]
    evidence = state.evidence
    if evidence is None or not evidence.intervals:
        to_come = (
            "the first interval with requests at both versions is still to come, or was half a minute ago at the most"
        )
        return [*lines, f"Nothing that was judged is stored yet: {to_come}."]
    if evidence.log_e >= SUSPICION:
        lines.append(f"Suspicious, and nothing moves forward while it is: {wording.harm(evidence)}.")
    watched = f"Watched for {wording.duration(evidence.step_seconds)} at {show(state.weights)}"
    if outlook.watch_left_s > 0.0:
        what = "bake" if state.phase is Phase.BAKING else "dwell.min"
        lines.append(f"{watched}; {wording.duration(outlook.watch_left_s)} of {what} are left.")
    if state.phase is Phase.BAKING:
        return lines or [f"{watched}, as long as is needed: the step is due."]
    if outlook.lacking:
        claims = (f"{name} {round(max(log, -99.0), 1) + 0.0:.1f}" for name, log in outlook.lacking.items())
        lines.append(f"Not proven yet (log E of {evidence.log_proof_threshold:.1f}): {', '.join(claims)}.")
        lines.append(f"To be proven: {evidence.margins}.")
    return lines or [f"{watched}, and all is proven: the step is due."]


def _held(plan: RolloutPlan, state: RolloutState) -> list[str]:
    hold = state.hold
    if hold is None:
        return []
    blind_left = max(0.0, plan.blind_s - max(state.blind_s, state.mismatch_s))
    left = f"people are paged in {wording.duration(blind_left)}" if blind_left else "people were paged"
    ends = _ENDS.get(hold.reason.value, "").format(left=left, weights=show(state.weights), canary=state.canary)
    if hold.reason.value == "Paused" and plan.suspended:
        ends = "It ends with `suspend: false` in the policy."
    return [_sentence(f"Held, {hold.reason.value}: {hold.message}"), *([ends] if ends else [])]


def _canary_deadline(plan: RolloutPlan, state: RolloutState) -> list[str]:
    if state.reason != "CanaryNotReady":
        return []
    left = wording.duration(max(0.0, plan.canary_ready_s - state.waiting_s))
    return [f"It is called off if its pods are not ready within {left} (deadlines.canaryReady)."]


def _after_the_end(state: RolloutState) -> list[str]:
    if state.phase is Phase.ROLLED_BACK:
        return [f"{state.rollout} is judged. A new template is judged anew; this one with `serin retry`."]
    if state.phase is Phase.ROLLING_BACK:
        waits = [_sentence(f"Held, {state.hold.reason.value}: {state.hold.message}")] if state.hold else []
        return [*waits, "It goes to zero, and is tried until it is there."]
    if state.phase is Phase.INVALID:
        return ["Nothing is judged until the policy or its target is mended; then it goes on by itself."]
    return []


def missing(plan: RolloutPlan, state: RolloutState, outlook: Outlook | None) -> list[str]:
    """Say what is missing to the next step, in requests and minutes; nothing where nothing is."""
    if outlook is None or outlook.if_harmless is None or state.phase is not Phase.PROGRESSING:
        return []
    rate = "" if outlook.canary_rps is None else f" at {outlook.canary_rps:.3g} requests/s"
    target = show(outlook.following)
    lines = [f"{_need(outlook.if_harmless)}{rate}, if {state.canary} is as good as {state.stable}."]
    if outlook.as_so_far is not None:
        lines.append(f"{_so_far(outlook.as_so_far, state)}")
    if outlook.patience_left_s is not None and state.hold is None:
        lines.append(_patience(plan, outlook.patience_left_s, target))
    return lines


def _need(need: Need) -> str:
    if need.verdict is Verdict.PROVEN:
        return f"About {_requests(need.canary_requests)} and {wording.duration(need.seconds)}"
    if need.verdict is Verdict.HARM:
        return f"No proof: what was seen so far leads to a rollback in {wording.duration(need.seconds)}"
    return f"More than {_requests(need.canary_requests)} and {wording.duration(need.seconds)}"


def _requests(count: int) -> str:
    digits = max(0, len(str(count)) - 2)
    rounded = round(count, -digits)
    return f"{wording.count(rounded)} more request{'' if rounded == 1 else 's'} to the canary"


def _so_far(need: Need, state: RolloutState) -> str:
    if need.verdict is Verdict.PROVEN:
        return f"About {wording.duration(need.seconds)}, if it goes on as it has been."
    if need.verdict is Verdict.HARM:
        return f"If it goes on as it has been, {state.canary} is rolled back in about {wording.duration(need.seconds)}."
    return f"If it goes on as it has been, it is not proven within {wording.duration(need.seconds)}."


def _patience(plan: RolloutPlan, left_s: float, target: str) -> str:
    then = {
        OnInconclusive.ADVANCE: f"goes on to {target} unproven",
        OnInconclusive.HOLD: "goes on waiting for proof",
        OnInconclusive.ROLLBACK: "rolls back",
    }[plan.on_inconclusive]
    when = f"In {wording.duration(left_s)} without proof" if left_s else "Without proof it now"
    return f"{when}{' it' if left_s else ''} {then} (dwell.max, onInconclusive: {plan.on_inconclusive.value})."


def found(seen: Found | None) -> list[str]:
    """Say what would have been found by now."""
    if seen is None:
        return []
    sure = f"{SURE:.0%}".replace("%", " %")
    if seen.error_rate is None:
        lines = [f"No error rate would have been found by now with {sure}: too few requests."]
    else:
        lines = [
            (
                f"An error rate of {wording.percent(_two(seen.error_rate))} instead of "
                f"{wording.percent(_two(seen.stable_error_rate))} would have been found by now with {sure}."
            )
        ]
    if seen.slower is not None:
        more = f"{100 * (seen.slower - 1):.2g} %" if seen.slower < 2 else f"{seen.slower:.2g} times"
        would = "So would everything" if seen.error_rate is not None else "Everything"
        found_too = "" if seen.error_rate is not None else f" would have been found by now with {sure}"
        lines.append(f"{would} taking {more} {'longer' if seen.slower < 2 else 'as long'}{found_too}.")
    return lines


def _two(ratio: float) -> float:
    return float(f"{ratio:.2g}")


def next_step(plan: RolloutPlan, state: RolloutState, outlook: Outlook | None) -> str:
    """Name what comes next: `25 %`, `the last watch (bake)`; empty where nothing does."""
    if outlook is None or not outlook.following:
        return ""
    full = outlook.following[active_stage(state.weights)] >= FULL and all(w >= FULL for w in outlook.following)
    if full and state.phase is Phase.PROGRESSING and plan.bake_s > 0:
        return f"the last watch ({wording.duration(plan.bake_s)} of bake), then {show(outlook.following)}"
    return show(outlook.following)
