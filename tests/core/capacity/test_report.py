"""What `.status` says of capacity: what is there, what is needed, when, and how sure that is."""

from dataclasses import replace

import pytest

from analyzer.core.capacity import Gate, Load, admit
from analyzer.core.capacity.report import MOST_WORDS, CapacityReport, report_passage, report_version
from analyzer.core.rollout import CapacityView, Phase, RolloutPlan, RolloutState, StagePlan
from analyzer.core.rollout.room import report
from tests.core.capacity.test_gate import COST, HPA, version

PLAN = RolloutPlan(stages=(StagePlan("primary", (10, 60, 100)),), dwell_min_s=30, dwell_max_s=60, bake_s=60)
LOAD = Load(200.0, weight=10.0)


def reported(view: CapacityView | None, *, phase: Phase = Phase.PROGRESSING, weight: float = 10.0) -> CapacityReport:
    state = RolloutState(phase=phase, stable="v1", canary="v2", weights=(weight,))
    found = report(PLAN, state, view)
    assert found is not None
    return found


def view(**canary: object) -> CapacityView:
    stable = replace(version(5), name="v1")
    return CapacityView(stable, replace(version(), **canary), moving=200.0)  # type: ignore[arg-type]


def test_a_step_that_waits_says_what_is_missing_when_and_how_sure_that_is() -> None:
    doubtful = replace(COST, var_slope=(0.1 * COST.slope) ** 2)
    found = reported(view(costs=(doubtful,)))
    assert (found.next_weight, found.gate) == (60.0, Gate.PART)
    assert found.seconds is not None
    assert found.reason.startswith("60 % is 120 requests/s, and v2's 1 ready pod carries ")
    assert found.reason.endswith(f"expected in {found.seconds:.0f} s (what a pod carries is known to ± 10 %).")
    assert (found.canary.ready, found.canary.needed, found.canary.max_replicas) == (1, 3, 10)
    assert (found.stable.load, found.stable.needed) == (180.0, 5)


def test_a_step_that_fits_says_so() -> None:
    found = reported(view(replicas=3, ready=3))
    assert (found.gate, found.seconds) == (Gate.OPEN, None)
    assert found.reason == "v2's ready pods carry 60 % (what a pod carries is known to ± 0 %)."


def test_where_nobody_can_know_it_says_why() -> None:
    found = reported(view(scaler=None, costs=(), unknown="no HorizontalPodAutoscaler scales Deployment shop-v2"))
    assert found.gate is Gate.OPEN
    assert found.reason == (
        "Whether pods are there for 60 % nobody can know: no HorizontalPodAutoscaler scales Deployment shop-v2."
    )
    assert (found.canary.carries, found.canary.needed, found.canary.doubt) == (None, None, None)


def test_a_metric_that_nothing_can_be_foretold_of_makes_the_rest_less_sure() -> None:
    keda = replace(HPA, unknown=("External metric s0-kafka",))
    found = reported(view(scaler=keda, replicas=3, ready=3))
    assert found.reason.endswith("canary also scales by External metric s0-kafka, of which nothing can be foretold.")


@pytest.mark.parametrize(("phase", "weight"), [(Phase.ROLLING_BACK, 60.0), (Phase.PROGRESSING, 100.0)])
def test_where_no_step_comes_next_the_gate_is_not_asked(phase: Phase, weight: float) -> None:
    found = reported(view(), phase=phase, weight=weight)
    assert (found.next_weight, found.gate, found.reason) == (None, None, "")
    assert found.canary.load == 2 * weight


def test_nothing_is_said_of_what_was_never_seen() -> None:
    state = RolloutState(phase=Phase.PROGRESSING, stable="v1", canary="v2", weights=(10.0,))
    assert report(PLAN, state, None) is None


def test_words_are_bounded_whatever_an_hpa_scales_by() -> None:
    many = replace(HPA, unknown=tuple(f"External metric {'x' * 200}{n}" for n in range(50)))
    it = version(scaler=many)
    found = report_version(it, LOAD, at=60.0, headroom=0.2)
    assert len(found.unknown) == MOST_WORDS
    assert len(report_passage(admit(it, LOAD, wanted=60.0, headroom=0.2), found, at=60.0)) == MOST_WORDS
