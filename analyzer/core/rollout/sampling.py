"""Whether the weights are in effect: the canary's share of the requests against its weight.

A doubt says that the numbers are not what they are taken for. So it holds, and neither advances nor rolls back.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from analyzer.core.rollout import wording
from analyzer.core.rollout.model import HoldReason, RolloutState, Snapshot, Urgency
from analyzer.core.rollout.notices import tell_once, untell
from analyzer.core.rollout.plan import RolloutPlan
from analyzer.core.rollout.transitions import hold
from analyzer.core.rollout.weights import active_stage, show

if TYPE_CHECKING:
    from analyzer.core.judge.types import Evidence

DOUBT: Final = math.log(1e4)
"""Evidence of another share than the weight's at which nothing moves: by chance once in 10,000 intervals, or less often."""

GRACE_S: Final = 30.0
"""A new weight may take so long to be in effect before people are told."""

EXPECTED_REQUESTS: Final = 30
"""A canary that should have had this many requests and had none is not reached by its weight: e^-30 by chance."""

LASTS: Final = "SampleRatioLasts"

_CAUSES: Final = (
    "Is istiod up, and does every proxy have the newest configuration from it? Do callers bypass the mesh (they have no "
    "proxy, or call the pods directly)? If the same user always gets the same version, say so in the policy: "
    "spec.judge.stickyUsers: true. To see whether each proxy is up to date:"
)


def watch_share(plan: RolloutPlan, state: RolloutState, snapshot: Snapshot) -> RolloutState | None:
    """Hold while the canary's share of the requests is not its weight's; None where nothing forbids to go on.

    Parameters
    ----------
    plan, state, snapshot
        As of `decide`; the snapshot has an assessment.
    """
    assert snapshot.assessment is not None, "without an assessment there is nothing to doubt"
    evidence = snapshot.assessment.evidence
    if plan.sticky_users or not (_unreached(state, evidence) or evidence.sample_ratio_log_e >= DOUBT):
        return None
    message = _message(state, evidence) + (
        f" Proxies with another split: {snapshot.strays}." if snapshot.strays else ""
    )
    if _is_new(state):
        return replace(state, message=f"Waits for the weight to take effect: {message}")
    told = tell_once(
        replace(state, mismatch_s=state.mismatch_s + snapshot.elapsed_s),
        HoldReason.SAMPLE_RATIO.value,
        Urgency.NOTICE,
        message,
        title=f"The weights are not in effect: {_headline(state, evidence)}",
        done=_done(state),
        to_do=_CAUSES,
    )
    return hold(_page(plan, told, message), HoldReason.SAMPLE_RATIO, message)


def clear_share(state: RolloutState) -> RolloutState:
    """Note that the canary has its weight's share, and tell those who were told otherwise."""
    what = f"{state.canary} gets the share of the requests that its weight says."
    for reason, urgency in ((HoldReason.SAMPLE_RATIO.value, Urgency.NOTICE), (LASTS, Urgency.PAGE)):
        state = untell(state, reason, what, urgency=urgency)
    return replace(state, mismatch_s=0.0)


def _page(plan: RolloutPlan, state: RolloutState, message: str) -> RolloutState:
    """Page once it has lasted as long as telemetry may be missing."""
    if state.mismatch_s < plan.blind_s:
        return state
    lasts = wording.duration(state.mismatch_s)
    return tell_once(
        state,
        LASTS,
        Urgency.PAGE,
        f"For {lasts}: {message}",
        title=f"The weights have not been in effect for {lasts}: {state.canary} cannot be judged, nor be taken back",
        done=_done(state),
        to_do=_CAUSES,
    )


def _headline(state: RolloutState, evidence: "Evidence") -> str:
    requests = evidence.step_canary_requests + evidence.step_stable_requests
    share = 100.0 * evidence.step_canary_requests / max(requests, 1)
    return f"{state.canary} gets {share:.3g} % of the requests instead of {_weight(state):g} %"


def _done(state: RolloutState) -> str:
    return f"Nothing moves forward; the weights stay at {show(state.weights)}. Evidence of harm would still roll back."


def _is_new(state: RolloutState) -> bool:
    """Tell whether what was judged ends within the grace of the last weight change."""
    if state.weights_since_s is None or state.judged_until_s is None:
        return False
    return state.judged_until_s < state.weights_since_s + GRACE_S


def _weight(state: RolloutState) -> float:
    return state.weights[active_stage(state.weights)]


def _unreached(state: RolloutState, evidence: "Evidence") -> bool:
    share = _weight(state) / 100.0
    expected = evidence.step_stable_requests * share / max(1.0 - share, 0.01)
    return evidence.step_canary_requests == 0 and expected >= EXPECTED_REQUESTS


def _message(state: RolloutState, evidence: "Evidence") -> str:
    weight, canary = _weight(state), evidence.step_canary_requests
    requests = canary + evidence.step_stable_requests
    should = f"{state.canary} should get {weight:g} % of the requests by its weight"
    if canary == 0:
        return f"{should} and got not one of {wording.count(requests)}: the weights are not in effect."
    share = 100.0 * canary / requests
    got = f"got {share:.3g} % of {wording.count(requests)} at this step"
    lately = "" if abs(share - weight) > 0.05 * weight else ", and lately another share"
    why = "the weights are not in effect"
    return f"{should} and {got}{lately}: {why}{f', or {state.canary} loses requests' if share < weight else ''}."
