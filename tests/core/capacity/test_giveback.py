from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.core.capacity import Cost, Load, Metric, Scaler, Severity, VersionCapacity, plan_giveback
from analyzer.core.capacity.demand import saturates
from analyzer.core.capacity.hpa import PodUse, Target, recommend

CPU = Metric("cpu", Target(per_pod=250, request=500), saturation=500)
COST = Cost(intercept=25.0, slope=5.0)
STABLE = VersionCapacity("v1", 1, 1, scaler=Scaler("stable", 1, 10, (CPU,)), costs=(COST,), startup_s=15.0)
AT_90 = Load(200.0, weight=90.0)


def severity(failing: float) -> Severity:
    return Severity(failing, failing, failing)


def test_a_stable_version_that_carries_everything_gets_it_at_once() -> None:
    plan = plan_giveback(replace(STABLE, replicas=3, ready=3), AT_90, severity(0.3), left_s=120.0)
    assert (plan.weight, plan.ramped) == (0.0, False)
    assert plan.reason == "at once: v1's 3 ready pods carry 285 requests/s, all of 200"


def test_a_shrunk_stable_version_gets_what_its_pods_carry_and_the_rest_as_they_get_ready() -> None:
    plan = plan_giveback(STABLE, AT_90, severity(0.3), left_s=120.0)
    assert plan.ramped
    assert plan.weight == 56.0
    assert 0 < plan.seconds <= 60
    assert plan.hurt_ramped is not None
    assert plan.hurt_at_once is not None
    assert plan.hurt_ramped < plan.hurt_at_once / 3
    grown = plan_giveback(
        replace(STABLE, replicas=2, ready=2), replace(AT_90, weight=56.0), severity(0.3), left_s=100.0
    )
    assert grown.weight < plan.weight


@pytest.mark.parametrize("target", [*range(30, 90, 5), 88])
def test_however_near_to_its_limit_the_target_is_a_ramp_lets_the_hpa_grow(target: int) -> None:
    """A request that is the limit, and a high target: between where the HPA grows and where the pod is full is little room."""
    wished = Target(per_pod=5.0 * target, request=500)
    metric = Metric.of_cpu("cpu", wished, request=500, usual=500, most=500)
    stable = replace(STABLE, scaler=Scaler("stable", 1, 50, (metric,)))
    load = Load(150.0, weight=99.5)
    plan = plan_giveback(stable, load, severity(0.01), left_s=300.0)
    assert plan.ramped
    use = COST.use(load.at(100.0) - load.at(plan.weight))
    assert recommend(1, pods=[PodUse(use)], target=metric.target) > 1


def test_where_nobody_knows_when_pods_are_full_everything_goes_back_at_once() -> None:
    requests = Metric.without_limit("requests", Target(per_pod=45.0))
    stable = replace(STABLE, scaler=Scaler("stable", 1, 10, (requests,)), costs=(Cost(0.0, 1.0),))
    plan = plan_giveback(stable, AT_90, severity(0.3), left_s=120.0)
    assert (plan.weight, plan.ramped) == (0.0, False)
    assert plan.reason == "at once: what its pods carry is not known"


def test_a_ramp_keeps_stable_above_its_target_so_that_its_hpa_grows() -> None:
    plan = plan_giveback(STABLE, AT_90, severity(0.3), left_s=120.0)
    load = 200.0 * (100 - plan.weight) / 100
    assert COST.use(load) > 1.1 * CPU.target.per_pod
    assert load <= (saturates(STABLE) or 0.0)


def test_a_ramp_ends_when_its_time_is_over() -> None:
    plan = plan_giveback(STABLE, replace(AT_90, weight=56.0), severity(0.3), left_s=0.0)
    assert (plan.weight, plan.ramped) == (0.0, False)
    assert "the time for a ramped return is over" in plan.reason


def test_who_knows_nothing_gives_everything_back_at_once() -> None:
    assert not plan_giveback(STABLE, AT_90, None, left_s=120.0).ramped
    unknown = VersionCapacity("v1", 1, 1, unknown="v1 has no HorizontalPodAutoscaler")
    plan = plan_giveback(unknown, AT_90, severity(1.0), left_s=120.0)
    assert (plan.weight, plan.reason) == (0.0, "at once: v1 has no HorizontalPodAutoscaler")


def test_a_dead_canary_on_a_service_that_is_far_too_small_gets_nothing_more() -> None:
    plan = plan_giveback(STABLE, Load(2000.0, weight=99.0), severity(1.0), left_s=120.0)
    assert (plan.weight, plan.ramped) == (0.0, False)
    assert plan.hurt_at_once is not None


def test_the_uncertainty_of_a_few_requests_counts_on_either_side() -> None:
    """Seven of ten failed, or 700 of 1000: the same mean, and not the same risk for those who stay with the canary."""
    far_too_small = Load(1000.0, weight=99.0)
    sure = plan_giveback(STABLE, far_too_small, Severity(0.7, 0.67, 0.73), left_s=60.0)
    unsure = plan_giveback(STABLE, far_too_small, Severity(0.7, 0.62, 1.0), left_s=60.0)
    assert sure.ramped
    assert not unsure.ramped
    assert "step by step about 100,000 to 110,000" in sure.reason, "people see how sure the estimate is"


@settings(deadline=None)
@given(
    ready=st.integers(1, 10),
    load=st.builds(Load, st.floats(1.0, 2000.0), st.just(0.0), st.floats(1.0, 100.0)),
    failing=st.floats(0.0, 1.0),
    left_s=st.floats(0.0, 300.0),
    startup_s=st.floats(0.0, 120.0),
)
def test_a_rollback_never_gives_the_canary_more(
    *, ready: int, load: Load, failing: float, left_s: float, startup_s: float
) -> None:
    stable = replace(STABLE, replicas=ready, ready=ready, startup_s=startup_s)
    plan = plan_giveback(stable, load, severity(failing), left_s=left_s)
    assert 0.0 <= plan.weight <= load.weight
    if plan.ramped:
        present = load.moving * (100 - load.weight) / 100
        given_back = load.moving * (100 - plan.weight) / 100
        assert given_back <= max(present, saturates(stable) or 0.0) + 1e-6
