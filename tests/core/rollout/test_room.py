from dataclasses import replace

import pytest

from analyzer.core.capacity import Cost, Metric, Scaler, Severity, VersionCapacity
from analyzer.core.capacity.demand import saturates
from analyzer.core.capacity.hpa import Target
from analyzer.core.judge.types import Verdict
from analyzer.core.rollout import (
    CapacityView,
    HoldReason,
    Phase,
    RolloutState,
    Snapshot,
    Urgency,
    decide,
    settle,
    step_of,
)
from analyzer.core.rollout.phases import IN_FLIGHT
from analyzer.core.rollout.requests import Request, Verb
from tests.core.rollout.scenes import FRESH, PLAN, assessment, evidence, progressing, target

# 45 requests/s a pod at the HPA's target, 95 when full, 78 with the default headroom.
CPU = Metric("cpu", Target(per_pod=250, request=500), saturation=500)
HPA = Scaler("hpa", 1, 10, (CPU,))


def version(name: str, pods: int = 1, *, ready: int | None = None, scaler: Scaler = HPA) -> VersionCapacity:
    return VersionCapacity(name, pods, pods if ready is None else ready, scaler, (Cost(25.0, 5.0),), startup_s=15.0)


def view(*, stable: int = 3, canary: int = 1, moving: float = 200.0, failing: float | None = None) -> CapacityView:
    severity = None if failing is None else Severity(failing, failing, failing)
    return CapacityView(version("v1", stable), version("v2", canary), moving, severity=severity)


def proven(
    state: RolloutState, capacity: CapacityView, *, elapsed_s: float = 5.0, log_e: float = -1.0, step_s: float = 60.0
) -> RolloutState:
    snapshot = Snapshot(
        target=target(*state.weights),
        elapsed_s=elapsed_s,
        telemetry=FRESH,
        assessment=assessment(Verdict.PROVEN, evidence(log_e=log_e, step_seconds=step_s)),
        capacity=capacity,
    )
    return decide(PLAN, state, snapshot)


def confirmed(state: RolloutState) -> RolloutState:
    assert state.intent is not None
    return settle(state, state.intent.after, now_s=1000.0)


def test_a_step_that_ready_pods_carry_is_made_whole() -> None:
    after = proven(progressing(25.0), view(canary=2))
    assert after.intent is not None
    assert after.intent.after == (50.0,)


def test_a_step_is_split_where_pods_are_missing_and_goes_on_without_new_proof() -> None:
    after = proven(progressing(25.0), view(canary=1))
    assert after.intent is not None
    assert after.intent.after == (39.0,)
    assert "25 % to 39 % on the way to 50 %" in after.message
    there = confirmed(after)
    assert (there.weights, there.cleared) == ((39.0,), (50.0,))
    assert step_of(PLAN, there).next_weight == 100, "the judge already works on what comes after 50 %"
    grown = proven(there, view(canary=3))
    assert grown.intent is not None
    assert grown.intent.after == (50.0,)
    assert confirmed(grown).cleared == ()


def test_a_wait_for_pods_is_a_hold_with_its_reason() -> None:
    waiting = replace(progressing(39.0), cleared=(50.0,))
    after = proven(waiting, view(canary=1))
    assert after.intent is None
    assert after.hold is not None
    assert after.hold.reason is HoldReason.CAPACITY
    assert "v2's 1 ready pod carries 78.33 requests/s" in after.hold.message


def test_people_are_told_once_that_pods_do_not_come_and_when_they_do() -> None:
    state = replace(progressing(39.0), cleared=(60.0,))
    stuck = replace(view(canary=1), trouble="HorizontalPodAutoscaler hpa says ScalingActive: False")
    for _ in range(130):
        state = proven(state, stuck)
        if state.short_s < PLAN.canary_ready_s:
            assert not state.notices
    (notice,) = state.notices
    assert notice.reason == "CapacityLasts"
    assert "HorizontalPodAutoscaler hpa says ScalingActive: False." in notice.what
    assert "has waited for pods for 10 min" in notice.title
    assert "expected in" not in notice.what, "what was not kept is promised no more"
    gone_on = confirmed(proven(replace(state, notices=()), view(canary=3)))
    assert [n.resolved for n in gone_on.notices if n.reason == "CapacityLasts"] == [True]
    assert gone_on.short_s == 0.0


def test_a_step_begins_the_wait_anew() -> None:
    waited = replace(progressing(25.0), cleared=(60.0,), short_s=590.0)
    part = confirmed(proven(waited, view(canary=1)))
    assert part.weights == (39.0,)
    assert proven(part, view(canary=1)).short_s == pytest.approx(5.0)


def test_suspicion_stops_what_was_cleared() -> None:
    waiting = replace(progressing(39.0), cleared=(50.0,))
    after = proven(waiting, view(canary=3), log_e=3.0)
    assert after.intent is None
    assert "Suspicious" in after.message


def test_what_can_never_fit_is_refused_before_the_first_request() -> None:
    pending = replace(progressing(0.0), phase=Phase.PENDING)
    after = proven(pending, view(moving=2000.0))
    assert after.phase is Phase.PENDING
    assert after.intent is None
    assert after.hold is not None
    assert after.hold.reason is HoldReason.CAPACITY
    assert "39 % fit" in after.hold.message
    (notice,) = after.notices
    assert notice.urgency is Urgency.NOTICE
    assert "Raise maxReplicas" in notice.to_do


def test_who_was_told_that_it_never_fits_is_told_when_it_does() -> None:
    pending = proven(replace(progressing(0.0), phase=Phase.PENDING), view(moving=2000.0))
    after = proven(replace(pending, notices=()), view(moving=200.0))
    assert after.intent is not None
    assert [n.resolved for n in after.notices] == [True]


def test_an_overloaded_canary_is_eased_and_not_rolled_back() -> None:
    after = proven(progressing(50.0), view(canary=1))
    assert after.intent is not None
    assert after.intent.after == (39.0,)
    assert "overload is not held against the release" in after.message
    assert confirmed(after).cleared == (50.0,), "what was taken off comes back with the pods"


def test_unknown_capacity_stops_nothing() -> None:
    unknown = VersionCapacity("v2", 1, 1, unknown="no HPA")
    after = proven(progressing(25.0), replace(view(), canary=unknown))
    assert after.intent is not None
    assert after.intent.after == (50.0,)


def test_the_gate_can_be_turned_off() -> None:
    snapshot = Snapshot(target(25.0), 5.0, FRESH, assessment(Verdict.PROVEN), capacity=view(canary=1))
    after = decide(replace(PLAN, capacity_gate=False), progressing(25.0), snapshot)
    assert after.intent is not None
    assert after.intent.after == (50.0,)


# --- rollback -----------------------------------------------------------------------------------------------------------


def harmed(state: RolloutState, capacity: CapacityView | None, *, elapsed_s: float = 5.0) -> RolloutState:
    snapshot = Snapshot(target(*state.weights), elapsed_s, FRESH, assessment(Verdict.HARM), capacity=capacity)
    return decide(PLAN, state, snapshot)


def test_a_rollback_onto_pods_that_carry_everything_is_one_step() -> None:
    after = harmed(progressing(90.0), view(stable=3, failing=0.3))
    assert after.intent is not None
    assert after.intent.after == (0.0,)
    done = confirmed(after)
    assert done.phase is Phase.ROLLED_BACK
    assert "In one step, at once: v1's 3 ready pods carry 285 requests/s" in done.notices[-1].done


def test_a_rollback_onto_a_shrunk_version_gives_back_what_it_carries_and_tells_people_at_once() -> None:
    after = harmed(progressing(90.0), view(stable=1, failing=0.3))
    assert after.intent is not None
    assert after.intent.after == (56.0,)
    assert [n.reason for n in after.notices] == ["RollingBack"]
    assert after.notices[0].urgency is Urgency.PAGE
    there = confirmed(after)
    assert (there.phase, there.weights) == (Phase.ROLLING_BACK, (56.0,))
    waits = harmed(there, view(stable=1, failing=0.3))
    assert waits.intent is None, "no more is ready"
    assert [n.reason for n in waits.notices] == ["RollingBack"], "once"
    grown = harmed(there, view(stable=3, failing=0.3))
    assert grown.intent is not None
    assert grown.intent.after == (0.0,)
    done = confirmed(grown)
    assert done.phase is Phase.ROLLED_BACK
    assert "Step by step, as pods get ready" in done.notices[-1].done


def test_a_ramped_rollback_is_over_in_its_time_whatever_the_pods_do() -> None:
    state = confirmed(harmed(progressing(90.0), view(stable=1, failing=0.3)))
    for _ in range(30):
        state = harmed(state, view(stable=1, failing=0.3), elapsed_s=5.0)
        if state.intent is not None:
            break
    assert state.intent is not None
    assert state.intent.after == (0.0,)
    assert state.returning_s == pytest.approx(PLAN.return_within_s, abs=5.0)


def test_who_knows_nothing_of_capacity_rolls_back_at_once() -> None:
    for capacity in (
        None,
        view(stable=1),
        replace(view(failing=0.5), stable=VersionCapacity("v1", 1, 1, unknown="no HPA")),
    ):
        after = harmed(progressing(90.0), capacity)
        assert after.intent is not None
        assert after.intent.after == (0.0,)


def no_pods(weight: float, state: RolloutState, *, stable: int = 1) -> RolloutState:
    gone = replace(target(weight).versions[1], ready_pods=0)
    capacity = view(stable=stable, failing=0.1)
    capacity = replace(capacity, canary=replace(capacity.canary, ready=0))
    return decide(PLAN, state, Snapshot(target(weight, canary=gone), 5.0, FRESH, None, capacity=capacity))


def test_a_canary_without_pods_keeps_nothing_however_small_the_stable_version_is() -> None:
    after = no_pods(90.0, progressing(90.0))
    assert after.reason == "CanaryUnavailable"
    assert after.intent is not None
    assert after.intent.after == (0.0,)
    assert confirmed(after).notices[-1].done.endswith("In one step, at once: v2 has no ready pod.")


def test_a_canary_that_loses_its_pods_on_the_way_back_keeps_nothing_either() -> None:
    ramped = confirmed(harmed(progressing(90.0), view(stable=1, failing=0.3)))
    after = no_pods(56.0, ramped)
    assert after.intent is not None
    assert after.intent.after == (0.0,)


def test_what_a_person_takes_back_goes_back_at_once_though_it_answers_well() -> None:
    """A wrong price is answered with 200: what is counted says nothing of it."""
    request = Request(id="1", verb=Verb.ABORT, by="anna", why="wrong prices", at="", rollout="v2@bbb")
    seen = Snapshot(target(90.0), 5.0, FRESH, assessment(Verdict.INCONCLUSIVE), capacity=view(stable=1, failing=0.0))
    after = decide(PLAN, progressing(90.0), replace(seen, request=request))
    assert after.intent is not None
    assert after.intent.after == (0.0,)
    assert "a person took it back" in after.course


def test_an_overloaded_canary_gives_the_stable_version_no_more_than_its_pods_have_room_for() -> None:
    """One ready pod each, 95 requests/s when full: of 180 neither is given more."""
    after = proven(progressing(90.0), view(stable=1, canary=1, moving=180.0))
    assert after.intent is not None
    assert after.intent.after == (48.0,)
    assert 180.0 * (100 - 48) / 100 <= 95
    assert "no more, for v1's 1 ready pod carries 95" in after.message


def test_where_both_versions_together_are_too_small_they_are_made_equally_full() -> None:
    after = proven(progressing(90.0), view(stable=1, canary=1, moving=200.0))
    assert after.intent is not None
    assert after.intent.after == (50.0,)


def test_a_view_that_still_learns_holds_what_was_cleared_before() -> None:
    """After a restart what was cleared is remembered, and what a request costs is not."""
    state = replace(progressing(39.0), cleared=(60.0,))
    unknown = VersionCapacity("v2", 1, 1, scaler=HPA, costs=(None,))
    after = proven(state, replace(view(), canary=unknown, learning=True))
    assert after.intent is None
    assert after.hold is not None
    assert after.hold.reason is HoldReason.CAPACITY
    assert "looks first at how many requests there are" in after.hold.message


def test_a_return_in_parts_waits_for_what_an_earlier_life_knew_within_its_time() -> None:
    ramped = confirmed(harmed(progressing(90.0), view(stable=1, failing=0.3)))
    learning = replace(view(moving=0.0), learning=True)
    assert harmed(ramped, learning).intent is None
    late = harmed(ramped, learning, elapsed_s=PLAN.return_within_s)
    assert late.intent is not None
    assert late.intent.after == (0.0,)


def test_a_canary_that_gets_worse_on_the_way_back_is_taken_for_what_it_is() -> None:
    ramped = confirmed(harmed(progressing(90.0), view(stable=1, failing=0.2)))
    worse = harmed(ramped, view(stable=1, failing=0.9))
    assert worse.severity == Severity(0.9, 0.9, 0.9)
    assert harmed(worse, view(stable=1, failing=0.1)).severity == Severity(0.9, 0.9, 0.9)


def test_ready_pods_bound_every_step_of_a_whole_rollout() -> None:
    """A harmless release whose HPA starts at one pod gets to 100 without a request that has no pod."""
    state, canary = replace(progressing(0.0), phase=Phase.PENDING), 1
    for _ in range(200):
        state = proven(state, view(canary=canary), step_s=700.0)
        if state.intent is not None:
            state = confirmed(state)
        load = 2.0 * state.weights[0]
        assert load <= (saturates(version("v2", canary)) or 0.0)
        wanted = -(-int(100 * (25 + 5 * load / canary) / 500) * canary // 50)
        canary = max(canary, min(wanted, canary + 4))
        if state.phase not in IN_FLIGHT:
            break
    assert state.phase is Phase.PROMOTED


def test_the_last_step_may_be_split_too_and_the_bake_stays_done() -> None:
    baked = progressing(50.0, phase=Phase.BAKING)
    part = proven(baked, view(canary=2, moving=250.0), step_s=700.0)
    assert part.intent is not None
    assert part.intent.after == (62.0,)
    there = confirmed(part)
    assert (there.phase, there.weights, there.cleared) == (Phase.BAKING, (62.0,), (100.0,))
    whole = proven(there, view(canary=4, moving=250.0), step_s=5.0)
    assert whole.intent is not None
    assert confirmed(whole).phase is Phase.PROMOTED


def test_an_overloaded_canary_is_eased_while_it_bakes() -> None:
    eased = confirmed(proven(progressing(50.0, phase=Phase.BAKING), view(canary=1)))
    assert (eased.phase, eased.weights, eased.cleared) == (Phase.BAKING, (39.0,), (50.0,))
