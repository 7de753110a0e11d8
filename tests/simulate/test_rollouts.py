"""Simulated rollouts go through the real judge and the real decision."""

import numpy as np

from analyzer.core.rollout import OnInconclusive, RolloutPlan, StagePlan
from analyzer.policy.fields import AUTO_WEIGHTS
from analyzer.simulate import (
    Fleet,
    Outcomes,
    Regression,
    Scene,
    Traffic,
    median_of,
    run_closed,
    run_schedule,
    schedule,
    standard_error,
    upper_bound,
)
from analyzer.simulate.outcomes import quantiles_of

WEIGHTS = (1, 5, 10, 25, 50, 100)
PLAN = RolloutPlan(stages=(StagePlan(route=None, weights=WEIGHTS),), bake_s=60.0)
GOOD = Scene(traffic=Traffic(rps=2000.0))
BROKEN = Scene(traffic=Traffic(rps=2000.0), regression=Regression(errors=1.0))


def closed(scene: Scene, plan: RolloutPlan = PLAN, *, rollouts: int = 10) -> Outcomes:
    return run_closed(Fleet(scene, rollouts=rollouts, seed=1), plan, horizon_s=2700.0)


def test_a_harmless_release_is_given_all_traffic_step_by_step() -> None:
    outcomes = closed(GOOD)
    assert np.isfinite(outcomes.promoted_s).all()
    assert not np.isfinite(outcomes.rolled_back_s).any()
    steps = [w for w in dict.fromkeys(outcomes.weights[:, 0].tolist()) if w]
    assert steps == [1.0, 5.0, 10.0, 25.0, 50.0]
    assert (outcomes.steps == 5).all()
    assert outcomes.hurt.sum() == 0


def test_a_broken_release_loses_its_traffic_and_hurts_until_then_only() -> None:
    outcomes = closed(BROKEN)
    assert np.isfinite(outcomes.rolled_back_s).all()
    assert median_of(outcomes.rolled_back_s) <= 60.0
    assert outcomes.weights[-1].max() <= 1.0
    assert (outcomes.hurt == outcomes.canary_requests).all()


def test_requests_go_on_to_a_release_until_its_weights_are_written() -> None:
    at_once = run_closed(Fleet(BROKEN, rollouts=10, seed=1), PLAN, horizon_s=300.0, reaction_s=0.0)
    late = run_closed(Fleet(BROKEN, rollouts=10, seed=1), PLAN, horizon_s=300.0, reaction_s=10.0)
    assert late.canary_requests.mean() > at_once.canary_requests.mean() + 100


def test_without_traffic_for_a_proof_the_policy_says_what_happens() -> None:
    quiet = Scene(traffic=Traffic(rps=0.2))
    goes_on = closed(quiet, rollouts=3)
    assert (goes_on.unproven_steps > 0).all()
    stays = RolloutPlan(stages=PLAN.stages, on_inconclusive=OnInconclusive.HOLD)
    assert closed(quiet, stays, rollouts=3).weights.max() == 1.0


def test_two_stages_are_gone_through_one_after_the_other() -> None:
    plan = RolloutPlan(stages=(StagePlan("insiders", (50, 100)), StagePlan("rest", (10, 100))), bake_s=30.0)
    outcomes = closed(GOOD, plan, rollouts=3)
    assert np.isfinite(outcomes.promoted_s).all()
    assert list(dict.fromkeys(outcomes.weights[:, 0].tolist()))[:2] == [50.0, 10.0]


def test_a_fixed_schedule_goes_on_whatever_is_found_unless_harm_ends_it() -> None:
    phases = schedule((1, 50), step_s=60.0, interval_s=15.0)
    through = run_schedule(Fleet(BROKEN, rollouts=4, seed=1), phases, until_harm=False)
    assert through.weights[:, 0].tolist() == [1.0] * 4 + [50.0] * 4
    ended = run_schedule(Fleet(BROKEN, rollouts=4, seed=1), phases)
    assert (ended.harm_s == through.harm_s).all()
    assert (ended.canary_requests < through.canary_requests).all()


def test_batches_of_rollouts_join_to_what_one_run_gives() -> None:
    whole = closed(GOOD, rollouts=60)
    parts = Outcomes.joined(
        run_closed(Fleet(GOOD, rollouts=30, seed=1, first=first), PLAN, horizon_s=2700.0) for first in (0, 30)
    )
    assert (whole.promoted_s == parts.promoted_s).all()
    assert (whole.canary_requests == parts.canary_requests).all()
    assert (whole.weights == parts.weights).all()


def test_what_never_happened_counts_as_later_than_everything() -> None:
    times = np.array([30.0, np.nan, 60.0, 90.0])
    assert median_of(times) == 75.0
    assert quantiles_of(times, 0.5, 0.9) == (60.0, np.inf)


def test_bounds_of_rates_are_the_exact_ones() -> None:
    assert upper_bound(0, 299) < 0.01 < upper_bound(0, 297)
    assert upper_bound(5, 5) == 1.0
    assert 0 < standard_error(0, 100) < standard_error(5, 100)


def test_a_ramp_that_follows_the_proof_is_promoted_sooner_than_fixed_steps() -> None:
    fixed = RolloutPlan(stages=(StagePlan(None, (1, 5, 10, 25, 50, 100)),), bake_s=60.0)
    ramp = RolloutPlan(stages=(StagePlan(None, AUTO_WEIGHTS, auto=True),), bake_s=60.0)
    scene = Scene(traffic=Traffic(rps=300.0))
    took = [
        median_of(run_closed(Fleet(scene, rollouts=20, seed=3), plan, horizon_s=3000.0).promoted_s)
        for plan in (fixed, ramp)
    ]
    assert took[1] < took[0], took
