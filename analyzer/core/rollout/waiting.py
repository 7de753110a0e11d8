"""Waits for pods that last: nobody has to find out by looking that nothing happens any more."""

from dataclasses import replace
from typing import Final

from analyzer.core.rollout import wording
from analyzer.core.rollout.model import HoldReason, RolloutState, Snapshot, Urgency
from analyzer.core.rollout.notices import stays, tell_once, untell
from analyzer.core.rollout.phases import JUDGED
from analyzer.core.rollout.plan import RolloutPlan
from analyzer.core.rollout.room import NEVER
from analyzer.core.rollout.weights import show

LASTS: Final = "CapacityLasts"
"""Under this name people are told that the pods a step waits for do not come."""


def watch_wait(plan: RolloutPlan, state: RolloutState, snapshot: Snapshot) -> RolloutState:
    """Count the time for which a step waits for pods; tell people when it is as long as a canary may take to get ready.

    Every step that is made, a part of one too, begins it anew. Of what no waiting ends people were told at once.
    """
    if state.phase not in JUDGED or state.hold is None or state.hold.reason is not HoldReason.CAPACITY:
        moves = f"{state.canary} waits for pods no longer."
        return replace(untell(state, LASTS, moves, urgency=Urgency.NOTICE), short_s=0.0)
    state = replace(state, short_s=state.short_s + snapshot.elapsed_s)
    if state.short_s < plan.canary_ready_s or NEVER in state.told:
        return state
    lasts = wording.duration(state.short_s)
    assert state.hold is not None, "it waits"
    return tell_once(
        state,
        LASTS,
        Urgency.NOTICE,
        f"{state.hold.message}\nFor {lasts} no step was made for want of pods.",
        title=f"{state.canary} has waited for pods for {lasts} at {show(state.weights)}",
        done=stays(state),
        to_do="See what keeps its pods from being started or from getting ready: does its HorizontalPodAutoscaler (HPA) see "
        "metrics and want more, has a node or a quota room for them, do they crash? Once enough are ready, the rollout goes on "
        "by itself. What autoscaler and pods say now:",
    )
