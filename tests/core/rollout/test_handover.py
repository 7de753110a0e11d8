"""Capacity where several stages share the same pods: insiders first (5 requests/s), then everybody else (195 requests/s)."""

from dataclasses import replace

import pytest

from analyzer.core.capacity import Severity
from analyzer.core.judge.types import Verdict
from analyzer.core.rollout import (
    CapacityView,
    HoldReason,
    Phase,
    RolloutState,
    Snapshot,
    StagePlan,
    Weights,
    decide,
    settle,
)
from analyzer.core.rollout.weights import active_stage
from tests.core.rollout.scenes import FRESH, PLAN, assessment, evidence, progressing, target
from tests.core.rollout.test_room import HPA, version

STAGED = replace(PLAN, stages=(StagePlan("insiders", (50, 100)), StagePlan("primary", (60, 100))))
RATES = (5.0, 195.0)


def view(weights: Weights, *, stable: int = 3, canary: int = 1, rates: tuple[float, ...] = RATES) -> CapacityView:
    """What is counted at these weights: what is not on the active stage's routes is `elsewhere`."""
    active = active_stage(weights)
    others = [(rate, weight) for i, (rate, weight) in enumerate(zip(rates, weights, strict=True)) if i != active]
    return CapacityView(
        version("v1", stable),
        version("v2", canary),
        moving=rates[active],
        stable_elsewhere=sum(rate * (100 - weight) / 100 for rate, weight in others),
        canary_elsewhere=sum(rate * weight / 100 for rate, weight in others),
        staged=rates,
    )


def step(state: RolloutState, capacity: CapacityView, *, verdict: Verdict = Verdict.PROVEN) -> RolloutState:
    seen = assessment(verdict, evidence(step_seconds=700.0))
    return decide(STAGED, state, Snapshot(target(*state.weights), 5.0, FRESH, seen, capacity=capacity))


def of_canary(weights: Weights) -> float:
    return sum(rate * weight / 100 for rate, weight in zip(RATES, weights, strict=True))


def test_a_stage_is_handed_over_as_far_as_pods_carry_the_next_one_too() -> None:
    after = step(progressing(50.0, 0.0), view((50.0, 0.0)))
    assert after.intent is not None
    assert after.intent.after == (100.0, 37.0), "100 % / 60 % are 122 requests/s, and one pod carries 78"
    there = settle(after, after.intent.after, now_s=1000.0)
    assert there.cleared == (100.0, 60.0)
    grown = step(there, view(there.weights, canary=2))
    assert grown.intent is not None
    assert grown.intent.after == (100.0, 60.0)


def test_nobody_waits_at_zero_while_the_next_stage_has_no_pods() -> None:
    """A stage is whole only together with the next one's first requests: one per cent of them is too much here."""
    capacity = view((50.0, 0.0), rates=(5.0, 9000.0))
    capacity = replace(capacity, canary=version("v2", scaler=replace(HPA, max_replicas=500)))
    after = step(progressing(50.0, 0.0), capacity)
    assert after.intent is not None
    assert after.intent.after == (99.0, 0.0)
    waits = step(replace(progressing(99.0, 0.0), cleared=(100.0, 60.0)), replace(capacity))
    assert waits.intent is None
    assert waits.hold is not None
    assert waits.hold.reason is HoldReason.CAPACITY


@pytest.mark.parametrize("canary", [1, 2, 3, 4])
def test_no_hand_over_brings_more_than_pods_carry(canary: int) -> None:
    after = step(progressing(50.0, 0.0), view((50.0, 0.0), canary=canary))
    assert after.intent is not None
    assert of_canary(after.intent.after) <= canary * (500 / 1.2 - 25) / 5


def test_a_later_stage_that_never_fits_is_refused_before_the_first_request() -> None:
    pending = replace(progressing(0.0, 0.0), phase=Phase.PENDING)
    after = step(pending, view((0.0, 0.0), rates=(5.0, 2000.0)))
    assert after.intent is None
    assert after.hold is not None
    assert after.hold.reason is HoldReason.CAPACITY
    assert "100 % of 2000 requests/s" in after.hold.message


def test_what_stages_before_gave_the_canary_comes_back_too() -> None:
    """100 % of 150 requests/s and 10 % of 50 are the canary's: all of it comes back to one pod that has 45."""
    rates = (150.0, 50.0)
    state = progressing(100.0, 10.0)
    capacity = replace(view((100.0, 10.0), stable=1, rates=rates), severity=None)
    after = step(state, replace(capacity, severity=Severity(0.1, 0.1, 0.1)), verdict=Verdict.HARM)
    assert "of 200" in after.course, "the whole is what both routes bring"
