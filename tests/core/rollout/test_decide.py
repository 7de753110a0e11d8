from dataclasses import replace

import pytest

from analyzer.core.judge.types import Channel, Evidence, JudgeState, Verdict
from analyzer.core.rollout import (
    Hold,
    HoldReason,
    Intent,
    Judged,
    Limits,
    OnInconclusive,
    Outcome,
    Phase,
    Problem,
    RolloutState,
    Snapshot,
    Urgency,
    decide,
    settle,
    step_of,
    write_failed,
)
from tests.core.rollout.scenes import (
    BLIND,
    CANARY,
    PLAN,
    STABLE,
    TWO_STAGES,
    assessment,
    carry_out,
    evidence,
    progressing,
    rates,
    reasons,
    snapshot,
    target,
)

IN_TRAFFIC = [Phase.PROGRESSING, Phase.BAKING]


# --- how a rollout begins ---


def test_a_new_revision_in_the_version_with_the_smaller_weight_begins_a_rollout() -> None:
    begun = decide(PLAN, RolloutState(), snapshot(0))
    assert (begun.phase, begun.stable, begun.canary) == (Phase.PENDING, "v1", "v2")
    assert (begun.stable_revision, begun.canary_revision) == ("aaa", "bbb")
    assert begun.intent is None


def test_a_ready_canary_gets_the_first_weight() -> None:
    pending = decide(PLAN, RolloutState(), snapshot(0))
    ready = decide(PLAN, pending, snapshot(0))
    assert ready.intent is not None
    assert (ready.intent.before, ready.intent.after) == ((0.0,), (10.0,))
    confirmed = settle(ready, (10.0,), now_s=1234.0)
    assert (confirmed.phase, confirmed.weights, confirmed.weights_since_s) == (Phase.PROGRESSING, (10.0,), 1234.0)


def test_a_service_already_at_90_10_is_adopted_at_10_without_a_write() -> None:
    pending = decide(PLAN, RolloutState(), snapshot(10))
    adopted = decide(PLAN, pending, snapshot(10))
    assert (adopted.phase, adopted.weights, adopted.intent) == (Phase.PROGRESSING, (10,), None)
    moved = carry_out(PLAN, adopted, snapshot(10, verdict=Verdict.PROVEN))
    assert moved.weights == (25.0,)


def test_a_judged_revision_is_not_judged_again() -> None:
    known = RolloutState(judged=(Judged("v2", "bbb", Outcome.ROLLED_BACK, "Harm"),))
    assert decide(PLAN, known, snapshot(0)).phase is Phase.IDLE


def test_the_same_revision_hash_in_the_other_version_is_another_release() -> None:
    known = RolloutState(judged=(Judged("v1", "bbb", Outcome.PROMOTED, "Promoted"),))
    assert decide(PLAN, known, snapshot(0)).phase is Phase.PENDING


def test_equal_weights_without_a_named_stable_version_are_refused_with_the_mend() -> None:
    refused = decide(PLAN, RolloutState(), Snapshot(target=target(50, default_stable=None), elapsed_s=0))
    assert (refused.phase, refused.reason) == (Phase.INVALID, "RolesAmbiguous")
    assert "spec.target.stable" in refused.message


def test_what_is_wrong_is_told_once_however_many_turns_it_lasts() -> None:
    seen = Snapshot(target=target(50, default_stable=None), elapsed_s=0)
    state = decide(PLAN, decide(PLAN, decide(PLAN, RolloutState(), seen), seen), seen)
    assert reasons(state) == ["RolesAmbiguous"]


UNFIT = Problem("WeightsInexpressible", "route `primary` has weights that sum to 99")


def test_no_rollout_begins_on_weights_that_cannot_express_its_steps() -> None:
    unfit = replace(target(10), unfit=UNFIT)
    refused = decide(PLAN, RolloutState(), Snapshot(target=unfit, elapsed_s=0))
    assert (refused.phase, refused.reason) == (Phase.INVALID, "WeightsInexpressible")


def test_weights_that_someone_broke_in_flight_are_drift_and_no_bar_to_a_rollback() -> None:
    broken = replace(target(40), unfit=UNFIT)
    held = decide(PLAN, progressing(25), replace(snapshot(25), target=broken))
    assert held.hold is not None
    assert held.hold.reason is HoldReason.DRIFT
    back = decide(PLAN, progressing(25), replace(snapshot(25, verdict=Verdict.HARM), target=broken))
    assert back.intent is not None
    assert back.intent.after == (0.0,)


def test_a_suspended_policy_begins_nothing_and_says_so() -> None:
    waiting = decide(replace(PLAN, suspended=True), RolloutState(), snapshot(0))
    assert waiting.phase is Phase.IDLE
    assert waiting.hold is not None
    assert waiting.hold.reason is HoldReason.PAUSED


def test_a_version_without_a_deployment_is_nothing_to_judge() -> None:
    idle = decide(PLAN, RolloutState(), snapshot(0, canary=replace(CANARY, revision="", ready_pods=0, settled=False)))
    assert idle.phase is Phase.IDLE


# --- pending ---


def test_pods_that_are_not_ready_are_waited_for_and_then_given_up_on() -> None:
    unready = replace(CANARY, ready_pods=0, settled=False)
    state = progressing(0, phase=Phase.PENDING)
    waiting = decide(PLAN, state, snapshot(0, canary=unready, elapsed_s=599))
    assert (waiting.phase, waiting.intent) == (Phase.PENDING, None)
    ended = decide(PLAN, waiting, snapshot(0, canary=unready, elapsed_s=1))
    assert (ended.phase, ended.reason) == (Phase.ROLLED_BACK, "CanaryNotReady")
    assert reasons(ended) == ["RolledBack"]


def test_an_adopted_canary_that_never_gets_ready_loses_its_traffic() -> None:
    unready = replace(CANARY, ready_pods=0, settled=False)
    ended = decide(PLAN, progressing(10, phase=Phase.PENDING), snapshot(10, canary=unready, elapsed_s=601))
    assert ended.phase is Phase.ROLLING_BACK
    assert ended.intent is not None
    assert ended.intent.after == (0.0,)


def test_without_telemetry_no_canary_gets_its_first_request() -> None:
    blind = decide(PLAN, progressing(0, phase=Phase.PENDING), snapshot(0, telemetry=BLIND))
    assert blind.intent is None
    assert blind.hold == Hold(HoldReason.BLIND, BLIND.message)


def test_a_template_that_changes_while_waiting_is_simply_the_one_that_is_judged() -> None:
    changed = decide(PLAN, progressing(0, phase=Phase.PENDING), snapshot(0, canary=replace(CANARY, revision="ccc")))
    assert (changed.phase, changed.canary_revision) == (Phase.PENDING, "ccc")
    assert changed.judged == ()


# --- forward ---


def test_proof_moves_one_step() -> None:
    assert carry_out(PLAN, progressing(10), snapshot(10, verdict=Verdict.PROVEN)).weights == (25.0,)


@pytest.mark.parametrize(
    "seen",
    [evidence(step_seconds=29.9), evidence(step_intervals=1), evidence(log_e=2.4)],
    ids=["time", "intervals", "suspicion"],
)
def test_proof_alone_does_not_move(seen: object) -> None:
    watching = decide(PLAN, progressing(10), snapshot(10, verdict=Verdict.PROVEN, seen=seen))  # type: ignore[arg-type]
    assert watching.intent is None


def test_before_everybody_gets_it_the_canary_is_watched_once_more() -> None:
    baking = decide(PLAN, progressing(50), snapshot(50, verdict=Verdict.PROVEN))
    assert (baking.phase, baking.weights, baking.intent) == (Phase.BAKING, (50,), None)
    assert step_of(PLAN, baking).key != step_of(PLAN, progressing(50)).key
    early = decide(PLAN, baking, snapshot(50, verdict=Verdict.INCONCLUSIVE, seen=evidence(step_seconds=599)))
    assert early.intent is None
    done = carry_out(PLAN, baking, snapshot(50, verdict=Verdict.INCONCLUSIVE, seen=evidence(step_seconds=600)))
    assert (done.phase, done.weights) == (Phase.PROMOTED, (100.0,))


def test_without_a_bake_the_last_step_promotes() -> None:
    assert (
        carry_out(replace(PLAN, bake_s=0), progressing(50), snapshot(50, verdict=Verdict.PROVEN)).phase
        is Phase.PROMOTED
    )


def test_after_a_promotion_neither_version_is_a_new_release() -> None:
    promoted = carry_out(replace(PLAN, bake_s=0), progressing(50), snapshot(50, verdict=Verdict.PROVEN))
    swapped = Snapshot(target=replace(target(100), default_stable="v2"), elapsed_s=5)
    assert decide(PLAN, promoted, swapped).phase is Phase.PROMOTED


def test_after_a_promotion_the_next_release_goes_into_the_other_version() -> None:
    promoted = carry_out(replace(PLAN, bake_s=0), progressing(50), snapshot(50, verdict=Verdict.PROVEN))
    released = target(100, stable=replace(STABLE, revision="ccc"))
    begun = decide(PLAN, promoted, Snapshot(target=replace(released, default_stable="v2"), elapsed_s=5))
    assert (begun.phase, begun.stable, begun.canary, begun.weights) == (Phase.PENDING, "v2", "v1", (0,))


def test_no_verdict_is_waited_for_only_so_long() -> None:
    early = decide(PLAN, progressing(10), snapshot(10, verdict=Verdict.INCONCLUSIVE, seen=evidence(step_seconds=299)))
    assert early.intent is None
    assert "still to prove (how far): errors 33 %" in early.message


@pytest.mark.parametrize(
    ("choice", "weights"),
    [(OnInconclusive.ADVANCE, (25.0,)), (OnInconclusive.HOLD, (10,)), (OnInconclusive.ROLLBACK, (0.0,))],
)
def test_after_the_longest_dwell_the_policy_says_what_then(choice: OnInconclusive, weights: tuple[float, ...]) -> None:
    plan = replace(PLAN, on_inconclusive=choice)
    seen = snapshot(10, verdict=Verdict.INCONCLUSIVE, seen=evidence(step_seconds=300))
    assert carry_out(plan, progressing(10), seen).weights == weights


def test_an_unproven_step_is_called_so() -> None:
    seen = snapshot(10, verdict=Verdict.INCONCLUSIVE, seen=evidence(step_seconds=300))
    moved = carry_out(PLAN, progressing(10), seen)
    assert moved.reason == "Unproven"
    assert "no verdict in 5 min at 10 %" in moved.message


def test_no_traffic_at_all_is_neither_good_nor_bad() -> None:
    nothing = replace(evidence(step_seconds=300, canary_requests=0), step_stable_requests=0, proof={})
    moved = carry_out(PLAN, progressing(10), snapshot(10, verdict=Verdict.NO_DATA, seen=nothing))
    assert moved.reason == "Unproven"


def test_a_weight_that_reaches_nobody_is_held_not_advanced() -> None:
    unreached = evidence(step_seconds=300, canary_requests=0)
    held = decide(PLAN, progressing(10), snapshot(10, verdict=Verdict.NO_DATA, seen=unreached))
    assert held.intent is None
    assert held.hold is not None
    assert held.hold.reason is HoldReason.SAMPLE_RATIO


def test_the_second_stage_is_judged_by_its_own_users() -> None:
    moved = carry_out(TWO_STAGES, progressing(50, 0), snapshot(50, 0, verdict=Verdict.PROVEN))
    assert moved.weights == (100.0, 1.0)
    assert (moved.judge, moved.judged_until_s, moved.verdict) == (None, None, Verdict.NO_DATA)


# --- back ---


@pytest.mark.parametrize("phase", IN_TRAFFIC)
def test_harm_takes_all_traffic_away_at_once(phase: Phase) -> None:
    seen = snapshot(25, verdict=Verdict.HARM, seen=evidence(log_e=6.0))
    decided = decide(PLAN, progressing(25, phase=phase), seen)
    assert (decided.phase, decided.reason) == (Phase.ROLLING_BACK, "Harm")
    assert decided.intent is not None
    assert (decided.intent.before, decided.intent.after) == ((25,), (0.0,))
    ended = settle(decided, (0.0,), now_s=None)
    assert (ended.phase, ended.weights) == (Phase.ROLLED_BACK, (0.0,))
    assert ended.judged == (Judged("v2", "bbb", Outcome.ROLLED_BACK, "Harm"),)


def test_the_page_about_a_rollback_has_the_evidence_and_what_was_done() -> None:
    seen = snapshot(25, verdict=Verdict.HARM, seen=evidence(log_e=6.0))
    notice = carry_out(PLAN, progressing(25), seen).notices[-1]
    assert (notice.reason, notice.urgency) == ("RolledBack", Urgency.PAGE)
    assert notice.title == "Rolled back: v2 fails 5 % of its requests, v1 0.0889 %"
    assert notice.what.endswith("The release is revision bbb of v2. It had 25 % of the traffic.")
    assert (
        "v2: 5 % of 500 requests failed (95 % interval 2.5 to 10 %); half of the answers within 20 ms"
        in notice.evidence
    )
    assert "v1: 0.0889 % of 4,500 requests failed (95 % interval 0.0444 to 0.178 %)" in notice.evidence
    assert "looks this bad once in 400 rollouts (p = 0.0025; a rollback needs p ≤ 0.01)" in notice.evidence
    assert notice.done == "All traffic is on v1 again; the weights were read back."


def test_harm_in_a_later_stage_takes_the_focused_users_back_too() -> None:
    decided = decide(TWO_STAGES, progressing(100, 10), snapshot(100, 10, verdict=Verdict.HARM))
    assert decided.intent is not None
    assert decided.intent.after == (0.0, 0.0)


def harm_where_everybody_has_it() -> Snapshot:
    """Users of the first stage fail beyond the limit; those of the second see nothing."""
    seen = replace(
        evidence(log_e=6.0),
        culprit=Channel.LIMITS,
        limits={"error rate": 6.0},
        stable=rates(requests=0, errors=0),
        canary=rates(requests=400, errors=40),
    )
    return replace(snapshot(100, 10, verdict=Verdict.INCONCLUSIVE), passed=assessment(Verdict.HARM, seen))


LIMITED = replace(TWO_STAGES, limits=Limits(error_rate=0.03))


def test_a_limit_where_everybody_has_the_canary_is_told_without_a_comparison() -> None:
    back = carry_out(LIMITED, progressing(100, 10), harm_where_everybody_has_it())
    assert back.phase is Phase.ROLLED_BACK
    assert back.message == (
        "On insiders, where everybody has v2: v2 fails 10 % of 400 requests (95 % interval 5 to 20 %), "
        "and spec.judge.limits.errorRate allows 3 %; nobody there has v1"
    )
    notice = back.notices[-1]
    assert notice.title.endswith("and spec.judge.limits.errorRate allows 3 %")
    assert "Evidence of harm, mostly in the absolute limits" in notice.evidence
    assert "v1: no requests" in notice.evidence
    assert "No evidence of harm" not in notice.evidence
    assert back.verdict is Verdict.HARM


def test_a_policy_that_observes_tells_of_it_and_goes_on_judging_those_who_compare() -> None:
    before = replace(progressing(100, 10), evidence=evidence())
    said = decide(replace(LIMITED, observe_only=True), before, harm_where_everybody_has_it())
    assert "v1: no requests" in said.notices[-1].evidence
    assert said.phase is Phase.PROGRESSING
    assert said.evidence is not None
    assert said.evidence.stable.requests == 4500
    assert said.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("hold", ["suspended", "blind", "drift"])
def test_no_hold_stops_a_rollback(hold: str) -> None:
    plan = replace(PLAN, suspended=hold == "suspended")
    live = 40 if hold == "drift" else 25
    seen = snapshot(live, verdict=Verdict.HARM, telemetry=BLIND if hold == "blind" else None)
    decided = decide(plan, progressing(25), seen)
    assert decided.intent is not None
    assert (decided.intent.before, decided.intent.after) == ((live,), (0.0,))


def test_known_harm_needs_no_telemetry_to_be_acted_on() -> None:
    decided = decide(PLAN, replace(progressing(25), verdict=Verdict.HARM), snapshot(25, telemetry=None))
    assert decided.phase is Phase.ROLLING_BACK


def test_a_rollback_that_is_due_is_repeated_until_zero_is_read_back() -> None:
    due = replace(progressing(25, phase=Phase.ROLLING_BACK), reason="Harm", intent=Intent((25,), (0.0,), "Harm", ""))
    again = decide(PLAN, settle(due, (25.0,), now_s=None), snapshot(25, telemetry=None))
    assert again.phase is Phase.ROLLING_BACK
    assert again.intent is not None
    assert again.intent.after == (0.0,)


def test_a_rollback_goes_through_whatever_someone_else_set_the_weights_to() -> None:
    due = replace(progressing(25, phase=Phase.ROLLING_BACK), reason="Harm")
    again = decide(PLAN, due, snapshot(77, telemetry=None))
    assert again.intent is not None
    assert again.intent.before == (77,)


@pytest.mark.parametrize("phase", IN_TRAFFIC)
def test_a_canary_without_a_ready_pod_loses_its_traffic_without_statistics(phase: Phase) -> None:
    decided = decide(
        PLAN, progressing(10, phase=phase), snapshot(10, canary=replace(CANARY, ready_pods=0), telemetry=None)
    )
    assert (decided.phase, decided.reason) == (Phase.ROLLING_BACK, "CanaryUnavailable")


@pytest.mark.parametrize("phase", IN_TRAFFIC)
def test_a_canary_changed_in_flight_starts_over_from_zero(phase: Phase) -> None:
    changed = replace(CANARY, revision="ccc")
    zeroed = carry_out(PLAN, progressing(25, phase=phase), snapshot(25, canary=changed))
    assert (zeroed.phase, zeroed.reason) == (Phase.ROLLED_BACK, "CanaryChanged")
    assert zeroed.notices[-1].urgency is Urgency.NOTICE
    again = decide(PLAN, zeroed, snapshot(0, canary=changed))
    assert (again.phase, again.canary_revision, again.weights) == (Phase.PENDING, "ccc", (0,))
    assert again.judge is None


@pytest.mark.parametrize("phase", IN_TRAFFIC)
def test_a_stable_version_changed_in_flight_ends_the_comparison_and_pages(phase: Phase) -> None:
    ended = carry_out(PLAN, progressing(25, phase=phase), snapshot(25, stable=replace(STABLE, revision="zzz")))
    assert (ended.phase, ended.reason) == (Phase.ROLLED_BACK, "StableChanged")
    assert ended.notices[-1].urgency is Urgency.PAGE
    assert decide(PLAN, ended, snapshot(0, stable=replace(STABLE, revision="zzz"))).phase is Phase.ROLLED_BACK


# --- holds ---


def test_missing_telemetry_holds_whatever_was_proven() -> None:
    held = decide(PLAN, replace(progressing(10), verdict=Verdict.PROVEN), snapshot(10, telemetry=BLIND))
    assert (held.phase, held.intent) == (Phase.PROGRESSING, None)
    assert held.hold == Hold(HoldReason.BLIND, BLIND.message)


def test_blindness_is_paged_once_at_its_deadline_and_resolved_when_it_ends() -> None:
    state = decide(PLAN, progressing(10), snapshot(10, telemetry=BLIND, elapsed_s=1799))
    assert reasons(state) == []
    state = decide(PLAN, state, snapshot(10, telemetry=BLIND, elapsed_s=1))
    state = decide(PLAN, state, snapshot(10, telemetry=BLIND, elapsed_s=60))
    assert [(n.reason, n.urgency) for n in state.notices] == [("Blind", Urgency.PAGE)]
    state = decide(PLAN, state, snapshot(10, verdict=Verdict.INCONCLUSIVE))
    assert [(n.reason, n.resolved) for n in state.notices] == [("Blind", False), ("Blind", True)]
    assert (state.hold, state.blind_s) == (None, 0.0)


def test_a_turn_that_did_not_ask_for_telemetry_is_not_blind_and_does_not_advance() -> None:
    state = decide(PLAN, replace(progressing(10), verdict=Verdict.PROVEN), snapshot(10, telemetry=None))
    assert (state.hold, state.intent) == (None, None)


def test_someone_elses_weights_are_not_fought() -> None:
    drifted = decide(PLAN, progressing(25), snapshot(40, verdict=Verdict.PROVEN))
    assert drifted.intent is None
    assert drifted.hold is not None
    assert drifted.hold.reason is HoldReason.DRIFT
    again = decide(PLAN, drifted, snapshot(40, verdict=Verdict.PROVEN))
    assert reasons(again) == ["Drift"]
    back = decide(PLAN, again, snapshot(25, verdict=Verdict.INCONCLUSIVE))
    assert back.hold is None
    assert [(n.reason, n.resolved) for n in back.notices] == [("Drift", False), ("Drift", True)]


def test_evidence_grows_during_a_hold() -> None:
    held = decide(PLAN, progressing(25), snapshot(40, verdict=Verdict.INCONCLUSIVE))
    assert held.evidence is not None


# --- intents ---


def test_an_intent_that_was_not_carried_out_is_decided_anew() -> None:
    due = decide(PLAN, progressing(10), snapshot(10, verdict=Verdict.PROVEN))
    settled = settle(due, (10.0,), now_s=None)
    assert (settled.intent, settled.weights, settled.phase) == (None, (10,), Phase.PROGRESSING)


def test_a_step_found_already_made_is_confirmed_and_not_made_twice() -> None:
    due = decide(PLAN, progressing(10), snapshot(10, verdict=Verdict.PROVEN))
    settled = settle(due, (25.0,), now_s=None)
    assert (settled.intent, settled.weights) == (None, (25.0,))
    assert reasons(settled).count("WeightAdvanced") == 1
    assert decide(PLAN, settled, snapshot(25, telemetry=None)).intent is None


def test_weights_that_are_neither_old_nor_new_are_drift() -> None:
    due = decide(PLAN, progressing(10), snapshot(10, verdict=Verdict.PROVEN))
    drifted = decide(PLAN, settle(due, (33.0,), now_s=None), snapshot(33))
    assert drifted.hold is not None
    assert drifted.hold.reason is HoldReason.DRIFT


def test_a_rollback_that_cannot_be_written_pages_once_with_the_command() -> None:
    due = decide(PLAN, progressing(25), snapshot(25, verdict=Verdict.HARM))
    first = write_failed(
        due, message="refused by a webhook", advice="By hand:", command="kubectl …", tries=1, final=True
    )
    again = write_failed(
        first, message="refused by a webhook", advice="By hand:", command="kubectl …", tries=2, final=True
    )
    (notice,) = again.notices
    assert (notice.reason, notice.urgency) == ("CannotRollBack", Urgency.PAGE)
    assert (notice.to_do, notice.command) == ("By hand:", "kubectl …")
    assert again.hold is not None
    assert again.hold.reason is HoldReason.UNREACHABLE


def test_why_it_was_rolled_back_is_told_however_long_the_weights_could_not_be_written() -> None:
    due = decide(PLAN, progressing(25), snapshot(25, verdict=Verdict.HARM))
    failed = write_failed(due, message="refused", advice="", command="", tries=1, final=True)
    again = decide(PLAN, settle(failed, (25.0,), now_s=None), snapshot(25, telemetry=None))
    told = settle(again, (0.0,), now_s=None).notices[-1]
    assert told.title == "Rolled back: v2 fails 5 % of its requests, v1 0.0889 %"
    assert told.ends == ("CannotRollBack",)


def test_a_passing_fault_of_the_api_server_pages_nobody() -> None:
    due = decide(PLAN, progressing(25), snapshot(25, verdict=Verdict.HARM))
    failed = write_failed(due, message="connection refused", advice="", command="", tries=2, final=False)
    assert failed.notices == ()
    assert write_failed(failed, message="connection refused", advice="", command="", tries=3, final=False).notices != ()


def test_a_step_that_cannot_be_written_pages_nobody() -> None:
    due = decide(PLAN, progressing(10), snapshot(10, verdict=Verdict.PROVEN))
    failed = write_failed(due, message="refused", advice="", command="", tries=9, final=True)
    assert failed.notices == ()
    assert failed.hold is not None


# --- broken targets ---


@pytest.mark.parametrize("phase", list(Phase))
def test_a_target_that_cannot_be_made_out_stops_everything_with_its_reason(phase: Phase) -> None:
    problem = Problem("VirtualServiceMissing", "There is no VirtualService demo/helloworld.")
    broken = decide(PLAN, progressing(10, phase=phase), Snapshot(target=problem, elapsed_s=5))
    assert (broken.phase, broken.reason, broken.intent) == (Phase.INVALID, problem.reason, None)
    mended = decide(PLAN, broken, snapshot(10))
    assert (mended.phase, mended.weights) == (Phase.PENDING, (10,))


def test_versions_that_change_under_a_rollout_stop_it() -> None:
    other = replace(CANARY, name="v3")
    broken = decide(PLAN, progressing(10), snapshot(10, canary=other))
    assert (broken.phase, broken.reason) == (Phase.INVALID, "VersionsChanged")


def test_stages_edited_in_flight_are_adopted_at_the_live_weights() -> None:
    edited = decide(TWO_STAGES, progressing(10), snapshot(50, 0))
    assert edited.weights == (50, 0)
    assert edited.phase in {Phase.PENDING, Phase.PROGRESSING}


# --- observe ---


def test_observing_writes_nothing_and_says_what_it_would_do() -> None:
    plan = replace(PLAN, observe_only=True)
    proven = decide(plan, progressing(10), snapshot(10, verdict=Verdict.PROVEN))
    assert proven.intent is None
    assert "Would go on to 25 %" in proven.message
    harm = decide(plan, proven, snapshot(10, verdict=Verdict.HARM))
    harm = decide(plan, harm, snapshot(10, verdict=Verdict.HARM))
    assert (harm.intent, harm.phase) == (None, Phase.PROGRESSING)
    assert reasons(harm) == ["Harm"]


def test_observing_follows_the_weights_that_others_set_to_the_end() -> None:
    plan = replace(PLAN, observe_only=True)
    followed = decide(plan, progressing(10), snapshot(40, verdict=Verdict.INCONCLUSIVE))
    assert (followed.weights, followed.hold) == ((40,), None)
    promoted = decide(plan, followed, snapshot(100, verdict=Verdict.INCONCLUSIVE))
    assert promoted.phase is Phase.PROMOTED
    assert promoted.judged[-1].outcome is Outcome.PROMOTED
    out = decide(plan, followed, snapshot(0, verdict=Verdict.INCONCLUSIVE))
    assert (out.phase, out.reason) == (Phase.ROLLED_BACK, "TakenOut")


# --- the weights in effect ---


def doubtful(log_e: float = 11.0, **more: float) -> Evidence:
    return replace(evidence(), sample_ratio_log_e=log_e, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("phase", IN_TRAFFIC)
@pytest.mark.parametrize("verdict", [Verdict.PROVEN, Verdict.INCONCLUSIVE, Verdict.NO_DATA])
def test_a_share_that_is_not_the_weights_holds_and_is_told_once(phase: Phase, verdict: Verdict) -> None:
    state = progressing(50, phase=phase)
    for _ in range(3):
        state = decide(PLAN, state, snapshot(50, verdict=verdict, seen=doubtful()))
        assert state.intent is None
        assert state.hold is not None
        assert state.hold.reason is HoldReason.SAMPLE_RATIO
    assert "v2 should get 50 % of the requests by its weight and got 10 % of 5,000 at this step" in state.message
    [told] = [notice for notice in state.notices if notice.reason == "SampleRatio"]
    assert told.urgency is Urgency.NOTICE
    assert all(cause in told.to_do for cause in ("istiod", "bypass the mesh", "stickyUsers"))
    cleared = decide(PLAN, state, snapshot(50, verdict=verdict, seen=evidence(step_seconds=5.0)))
    assert (cleared.hold, cleared.told, cleared.mismatch_s) == (None, frozenset(), 0.0)
    assert [n.resolved for n in cleared.notices if n.reason == "SampleRatio"] == [False, True]


def test_harm_rolls_back_in_spite_of_a_doubtful_share() -> None:
    back = decide(PLAN, progressing(10), snapshot(10, verdict=Verdict.HARM, seen=doubtful()))
    assert back.phase is Phase.ROLLING_BACK


def test_within_the_grace_of_a_new_weight_nobody_is_told_and_nothing_moves() -> None:
    new = replace(progressing(10), weights_since_s=970.0, judged_until_s=990.0)
    waits = decide(PLAN, new, snapshot(10, verdict=Verdict.PROVEN, seen=doubtful()))
    assert (waits.hold, waits.intent, waits.notices) == (None, None, ())
    assert waits.message.startswith("Waits for the weight to take effect")
    later = replace(new, judged_until_s=1000.0)
    assert decide(PLAN, later, snapshot(10, verdict=Verdict.PROVEN, seen=doubtful())).hold is not None


def test_users_that_stick_are_not_held_to_the_weights() -> None:
    sticky = replace(PLAN, sticky_users=True)
    went = decide(sticky, progressing(10), snapshot(10, verdict=Verdict.PROVEN, seen=doubtful()))
    assert went.intent is not None


def test_a_turn_that_asked_no_telemetry_leaves_a_hold_that_only_telemetry_can_end() -> None:
    held = decide(PLAN, progressing(10), snapshot(10, verdict=Verdict.PROVEN, seen=doubtful()))
    woken = decide(PLAN, held, snapshot(10, telemetry=None, elapsed_s=7.0))
    assert (woken.hold, woken.mismatch_s) == (held.hold, 12.0)


def test_a_share_that_stays_wrong_pages() -> None:
    plan = replace(PLAN, blind_s=60.0)
    state = progressing(10)
    for _ in range(4):
        state = decide(plan, state, snapshot(10, verdict=Verdict.PROVEN, seen=doubtful(), elapsed_s=20.0))
    [page] = [notice for notice in state.notices if notice.urgency is Urgency.PAGE]
    assert page.what.startswith("For 1 min: v2 should get 10 %")


# --- what people are told ---


@pytest.mark.parametrize(
    ("limits", "seen", "says"),
    [
        (
            Limits(error_rate=0.03),
            {"error rate": 6.0},
            "v2 fails 5 % of 500 requests (95 % interval 2.5 to 10 %), and spec.judge.limits.",
        ),
        (
            Limits(p99_ms=50.0),
            {"p99": 6.0},
            "v2's p99 (about 80 ms) is above the 50 ms that spec.judge.limits.p99 allows, w",
        ),
        (
            Limits(p99_ms=60.0),
            {"p99": 6.0},
            "v2's p99 (about 80 ms) is above the 60 ms that spec.judge.limits.p99 allows, t",
        ),
        (Limits(0.03, 50.0), {"error rate": 6.0, "p99": 7.0}, "v2's p99"),
    ],
)
def test_a_rollback_for_a_limit_says_which_and_what_was_seen(limits: Limits, seen: dict[str, float], says: str) -> None:
    exceeded = replace(evidence(log_e=5.0), culprit=Channel.LIMITS, limits=seen)
    state = replace(progressing(10), judge=JudgeState(edges_ms=(10.0, 50.0, 70.0)))
    shown = replace(snapshot(10, verdict=Verdict.HARM, seen=exceeded))
    assert shown.assessment is not None
    shown = replace(shown, assessment=replace(shown.assessment, state=state.judge or JudgeState()))
    back = decide(replace(PLAN, limits=limits), state, shown)
    assert back.message.startswith(says)


def test_a_rollback_for_lost_requests_says_so() -> None:
    lost = replace(evidence(log_e=5.0), culprit=Channel.COMPLETIONS)
    back = decide(PLAN, progressing(10), snapshot(10, verdict=Verdict.HARM, seen=lost))
    assert back.message == "v2 loses requests: it answered 500, v1 4,500, fewer than its weight says"


def test_alerts_say_where_the_idea_of_ordinary_variation_is_from() -> None:
    learned = replace(progressing(10), dispersion="learned from 4 pods over 58 min")
    back = carry_out(PLAN, learned, snapshot(10, verdict=Verdict.HARM))
    [told] = [notice for notice in back.notices if notice.reason == "RolledBack"]
    assert told.evidence.endswith("Ordinary variation: learned from 4 pods over 58 min.")


# --- a ramp: the weight follows the proof ---

AUTO = replace(PLAN, stages=(replace(PLAN.stages[0], weights=(1, 5, 10, 25, 50, 100), auto=True),))


def test_a_ramp_goes_as_far_as_is_proven() -> None:
    seen = replace(evidence(), proven_weight=25.0)
    assert carry_out(AUTO, progressing(10), snapshot(10, verdict=Verdict.PROVEN, seen=seen)).weights == (25.0,)


def test_a_ramp_grows_within_bounds_however_much_is_proven() -> None:
    seen = replace(evidence(), proven_weight=100.0)
    assert carry_out(AUTO, progressing(5), snapshot(5, verdict=Verdict.PROVEN, seen=seen)).weights == (10.0,)


def test_a_ramp_bakes_at_its_last_weight_below_100() -> None:
    seen = replace(evidence(), proven_weight=100.0)
    baking = decide(AUTO, progressing(50), snapshot(50, verdict=Verdict.PROVEN, seen=seen))
    assert (baking.phase, baking.intent) == (Phase.BAKING, None)
    assert step_of(AUTO, baking).ladder == ()


def test_a_ramp_asks_for_all_its_margins_at_once() -> None:
    step = step_of(AUTO, progressing(10))
    assert (step.next_weight, step.ladder) == (25.0, (5.0, 10.0, 25.0, 50.0, 100.0))


def test_a_ramp_with_hardly_any_requests_begins_higher_unless_something_speaks_against_it() -> None:
    few = evidence(step_seconds=60.0, canary_requests=60)
    for proof, weights in (({"errors": 0.5}, (2.0,)), ({"errors": -0.1}, (1.0,))):
        seen = snapshot(1, verdict=Verdict.INCONCLUSIVE, seen=replace(few, proof=proof))
        assert carry_out(AUTO, progressing(1), seen).weights == weights
