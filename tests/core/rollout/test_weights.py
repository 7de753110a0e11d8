from hypothesis import given
from hypothesis import strategies as st

from analyzer.core.rollout import RolloutPlan, StagePlan
from analyzer.core.rollout.weights import (
    active_stage,
    completes,
    entry_weights,
    grown_weights,
    ladder,
    next_weights,
    same,
    show,
    zero,
)
from analyzer.policy.fields import AUTO_WEIGHTS
from tests.core.rollout.scenes import PLAN, TWO_STAGES

ladders = st.sets(st.integers(1, 99), min_size=1, max_size=6).map(lambda s: (*sorted(s), 100))
plans = st.lists(ladders, min_size=1, max_size=3).map(
    lambda steps: RolloutPlan(stages=tuple(StagePlan(f"r{i}", ladder) for i, ladder in enumerate(steps)))
)


@given(plan=plans)
def test_every_ladder_is_climbed_to_the_end_without_leaving_a_step_out(plan: RolloutPlan) -> None:
    weights = zero(plan)
    seen: list[set[float]] = [set() for _ in plan.stages]
    for _ in range(100):
        if completes(weights):
            break
        moved = next_weights(plan, weights)
        assert all(after >= before for before, after in zip(weights, moved, strict=True))
        weights = moved
        for visited, weight in zip(seen, weights, strict=True):
            visited.add(weight)
    assert completes(weights)
    for stage, visited in zip(plan.stages, seen, strict=True):
        assert set(map(float, stage.weights)) <= visited


@given(plan=plans, live=st.floats(0, 99.9))
def test_a_service_found_between_two_steps_goes_on_to_the_next_one(plan: RolloutPlan, live: float) -> None:
    weights = (live, *zero(plan)[1:])
    assert next_weights(plan, weights)[0] == min(w for w in plan.stages[0].weights if w > live)


def test_a_finished_stage_hands_over_without_a_stop_at_zero() -> None:
    assert next_weights(TWO_STAGES, (50.0, 0.0)) == (100.0, 1.0)
    assert active_stage((100.0, 1.0)) == 1
    assert next_weights(TWO_STAGES, (100.0, 10.0)) == (100.0, 100.0)


def test_at_the_end_there_is_no_next_step() -> None:
    assert next_weights(PLAN, (100.0,)) == (100.0,)


def test_thirds_of_a_route_are_the_same_weight_however_they_were_computed() -> None:
    assert same((100 / 3,), (33.33333333333334,))
    assert not same((33.0,), (100 / 3,))
    assert not same((33.0,), (33.0, 0.0))


def test_weights_are_shown_per_stage() -> None:
    assert show((100.0, 2.5)) == "100 % / 2.5 %"


AUTO = RolloutPlan(stages=(StagePlan(None, AUTO_WEIGHTS, auto=True),))


def test_a_ramp_goes_as_far_as_is_proven_but_not_much_more_than_threefold() -> None:
    assert grown_weights(AUTO, (5.0,), most=7.0) == (7.0,)
    assert grown_weights(AUTO, (5.0,), most=100.0) == (16.0,)
    assert grown_weights(AUTO, (1.0,), most=5.0) == (5.0,)  # at least one rung
    assert grown_weights(PLAN, (10.0,), most=100.0) == (25.0,)  # steps by themselves go one further


def test_a_ramp_stops_at_the_last_weight_below_100_whatever_is_proven() -> None:
    assert grown_weights(AUTO, (35.0,), most=100.0) == (50.0,)
    assert grown_weights(AUTO, (50.0,), most=100.0) == (100.0,)


def test_a_ramp_found_at_any_weight_goes_on_from_there() -> None:
    assert grown_weights(AUTO, (12.0,), most=100.0) == (35.0,)
    assert grown_weights(AUTO, (12.0,), most=10.0) == (16.0,)


def test_a_ramp_without_requests_to_prove_anything_by_begins_higher() -> None:
    assert entry_weights(AUTO, (1.0,), canary_rps=1.0) == (2.0,)
    assert entry_weights(AUTO, (1.0,), canary_rps=0.1) == (5.0,)
    assert entry_weights(AUTO, (1.0,), canary_rps=10.0) == (1.0,)
    assert entry_weights(AUTO, (1.0,), canary_rps=0.0) == (1.0,)
    assert entry_weights(AUTO, (2.0,), canary_rps=0.1) == (2.0,)  # once only
    assert entry_weights(PLAN, (10.0,), canary_rps=0.1) == (10.0,)


def test_only_a_ramp_has_a_ladder() -> None:
    assert ladder(AUTO, (5.0,)) == tuple(map(float, AUTO_WEIGHTS[1:]))
    assert ladder(PLAN, (10.0,)) == ()
