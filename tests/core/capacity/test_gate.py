import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.core.capacity import Cost, Gate, Load, Metric, Scaler, VersionCapacity, admit, carries, needed
from analyzer.core.capacity.demand import busy_at, full_at, saturates
from analyzer.core.capacity.hpa import DEFAULT_UP, PodUse, Stabiliser, Target, recommend

# A pod requests 500 m and should use half; a request costs 5 ms of CPU: 45 requests/s at the target, 95 when full.
CPU = Metric("cpu", Target(per_pod=250, request=500), saturation=500)
COST = Cost(intercept=25.0, slope=5.0)
HPA = Scaler("canary", min_replicas=1, max_replicas=10, metrics=(CPU,))


def version(replicas: int = 1, *, ready: int | None = None, scaler: Scaler | None = HPA) -> VersionCapacity:
    costs = (COST,) * len(scaler.metrics) if scaler else ()
    return VersionCapacity(
        "v2", replicas, replicas if ready is None else ready, scaler=scaler, costs=costs, startup_s=15.0
    )


def test_pods_carry_what_their_headroom_leaves() -> None:
    assert saturates(version(2)) == pytest.approx(190.0)
    assert carries(version(2), headroom=0.2) == pytest.approx(2 * (500 / 1.2 - 25) / 5)
    assert carries(version(2, ready=0), headroom=0.2) == 0.0
    assert carries(version(scaler=None), headroom=0.2) is None


def test_pods_are_busy_where_their_hpa_wants_more_and_shows_them_so() -> None:
    assert busy_at(replace(version(2), use=(300.0,))) == pytest.approx(2 * (275 - 25) / 5)
    assert busy_at(replace(version(2), use=(200.0,))) is None, "slow, and not for want of CPU"
    assert busy_at(version(2)) is None


def test_pods_are_full_only_while_their_hpa_shows_them_busy() -> None:
    assert full_at(replace(version(2), use=(480.0,))) == pytest.approx(190.0)
    assert full_at(replace(version(2), use=(30.0,))) is None, "a release that fails at once uses no CPU: that is harm"
    assert full_at(version(2)) is None


@pytest.mark.parametrize("target", [*range(30, 200, 5), 91, 92])
def test_however_high_its_target_a_pod_is_brought_to_where_its_hpa_grows(target: int) -> None:
    """Above 90 % of the request an HPA grows only beyond it, and with a bound of the request it would never see a reason."""
    metric = cpu(100.0, target)
    allowed = metric.allowed(0.2)
    assert recommend(4, pods=[PodUse(allowed)] * 4, target=metric.target) > 4
    assert metric.saturation is None or metric.saturation > metric.wanted, "what lets the HPA grow is no overload"


def test_a_limit_that_its_hpa_can_never_exceed_is_where_a_pod_is_full() -> None:
    assert cpu(100.0, 95, limit=1.0).saturation == 100.0
    assert cpu(100.0, 95, limit=1.0).allowed(0.0) == 100.0


def test_a_limit_says_where_a_pod_is_full_and_promises_nothing() -> None:
    metric = cpu(100.0, 50, limit=8.0)
    assert (metric.saturation, metric.bears) == (800.0, 100.0)


def test_where_nobody_said_how_much_a_pod_bears_it_is_not_known_when_it_is_full() -> None:
    requests = Metric.without_limit("requests", Target(per_pod=20.0))
    it = VersionCapacity("v2", 2, 2, scaler=replace(HPA, metrics=(requests,)), costs=(Cost(0.0, 1.0),), use=(40.0,))
    assert saturates(it) is None
    assert full_at(it) is None
    assert carries(it, headroom=0.0) == pytest.approx(2 * 20 * 1.1 * 1.1)
    both = replace(it, scaler=replace(HPA, metrics=(CPU, requests)), costs=(COST, Cost(0.0, 1.0)))
    assert saturates(both) == pytest.approx(190.0), "what is known still counts"


def test_the_hpa_settles_at_the_replicas_that_its_algorithm_gives() -> None:
    assert needed(version(), 200.0) == 5
    assert needed(version(5), 215.0) == 5, "within the tolerance nothing moves"
    assert needed(version(), 0.0) == 1


def test_with_several_metrics_the_largest_need_counts() -> None:
    requests = Metric("requests", Target(per_pod=20.0), saturation=40.0)
    both = VersionCapacity("v2", 1, 1, scaler=replace(HPA, metrics=(CPU, requests)), costs=(COST, Cost(0.0, 1.0)))
    assert needed(both, 200.0) == 10
    assert saturates(both) == pytest.approx(40.0)


def test_a_step_that_ready_pods_carry_is_made() -> None:
    assert admit(version(2), Load(200.0, weight=10.0), wanted=60.0, headroom=0.2).gate is Gate.OPEN


def test_a_step_beyond_ready_pods_is_split_and_the_rest_waits() -> None:
    passage = admit(version(1), Load(200.0, weight=10.0), wanted=60.0, headroom=0.2)
    assert (passage.gate, passage.weight) == (Gate.PART, 39.0)
    assert passage.eta_s == pytest.approx(30.0, abs=20.0)
    assert passage.reason == (
        "60 % is 120 requests/s, and v2's 1 ready pod carries 78.33 requests/s: waits for its HPA, expected in "
        f"{passage.eta_s:.0f} s"
    )


def test_pending_pods_are_no_capacity() -> None:
    passage = admit(version(4, ready=1), Load(200.0, weight=39.0), wanted=60.0, headroom=0.2)
    assert (passage.gate, passage.weight) == (Gate.WAIT, 39.0)
    assert "1 ready pod (3 more starting)" in passage.reason


def test_what_never_fits_is_refused_with_the_weight_that_does() -> None:
    passage = admit(version(1), Load(2000.0), wanted=50.0, headroom=0.2)
    assert passage.gate is Gate.NEVER
    assert passage.fits is not None
    assert 20.0 * passage.fits <= 10 * (500 / 1.2 - 25) / 5 < 20.0 * (passage.fits + 1)
    assert "raise its maxReplicas to 21" in passage.reason


def test_a_service_that_is_always_at_its_maximum_is_not_refused() -> None:
    """Its HPA would like five pods at a target of 50 %; three carry everything, with headroom."""
    full = version(3, scaler=replace(HPA, min_replicas=3, max_replicas=3))
    assert (needed(full, 200.0) or 0) > 3
    assert admit(full, Load(200.0, weight=10.0), wanted=100.0, headroom=0.2).gate is Gate.OPEN
    waits = admit(replace(full, ready=1), Load(200.0, weight=10.0), wanted=100.0, headroom=0.2)
    assert waits.gate is Gate.PART, "two more are starting, and are enough"


def test_pods_that_an_hpa_may_not_start_are_never_waited_for() -> None:
    fixed = version(1, scaler=replace(HPA, up=replace(DEFAULT_UP, select="Disabled")))
    passage = admit(fixed, Load(200.0, weight=10.0), wanted=60.0, headroom=0.2)
    assert (passage.gate, passage.fits) == (Gate.NEVER, 39.0)
    assert "keeps the 1 that there are (behavior.scaleUp.selectPolicy: Disabled)" in passage.reason
    starting = admit(replace(fixed, replicas=2), Load(200.0, weight=39.0), wanted=60.0, headroom=0.2)
    assert starting.gate is Gate.WAIT, "those that are there already may still get ready"


def test_a_first_per_cent_that_overloads_the_only_pod_says_what_a_person_has_to_do() -> None:
    roomy = version(1, scaler=replace(HPA, max_replicas=1000))
    passage = admit(roomy, Load(20_000.0), wanted=1.0, headroom=0.2)
    assert passage.gate is Gate.WAIT
    assert passage.eta_s is None
    assert passage.reason.endswith("set minReplicas of HorizontalPodAutoscaler canary to 3 for the rollout")


def test_unknown_capacity_lets_the_step_through_and_says_so() -> None:
    passage = admit(replace(version(scaler=None), unknown="v2 has no HPA"), Load(200.0), wanted=50.0, headroom=0.2)
    assert (passage.gate, passage.sure, passage.reason) == (Gate.OPEN, False, "v2 has no HPA")


def cpu(request: float, target: int, *, limit: float | None = None) -> Metric:
    """CPU of a pod that requests `request`, with a limit of so many times that, or none."""
    usual, most = (request, math.inf) if limit is None else (request * limit, request * limit)
    wished = Target(per_pod=request * target / 100, request=request)
    return Metric.of_cpu("cpu", wished, request=request, usual=usual, most=most)


metrics = st.builds(
    lambda request, target, limit, cost_share, idle: (
        cpu(request, target, limit=limit),
        Cost(intercept=idle * request, slope=cost_share * request),
    ),
    st.floats(50, 4000),
    st.integers(30, 200),
    st.none() | st.floats(1, 4),
    st.floats(0.0005, 0.05),
    st.floats(0.0, 0.15),
)
per_pod = st.builds(
    lambda target, tolerance, cost: (
        Metric.without_limit("requests", Target(per_pod=target, tolerance=tolerance)),
        Cost(intercept=0.0, slope=cost),
    ),
    st.floats(1, 500),
    st.floats(0.01, 0.3),
    st.floats(0.5, 2.0),
)
several = st.lists(metrics | per_pod, min_size=1, max_size=3)


def bears(it: VersionCapacity, *, pods: int) -> float:
    """What pods are trusted with at the very most [requests/s]."""
    return pods * min(cost.load_at(metric.bears) for metric, cost in it.known)


@st.composite
def steps(draw: st.DrawFn) -> tuple[VersionCapacity, Load, float, float]:
    """Draw a version, its HPA of one to three metrics, its load around what its pods carry, a step, and headroom."""
    pairs = draw(several)
    replicas, headroom = draw(st.integers(1, 20)), draw(st.floats(0, 0.5))
    it = VersionCapacity(
        "v2",
        replicas,
        draw(st.integers(0, replicas)),
        scaler=Scaler("hpa", 1, replicas + draw(st.integers(0, 20)), tuple(metric for metric, _ in pairs)),
        costs=tuple(cost for _, cost in pairs),
    )
    weight = draw(st.integers(0, 99))
    wanted = draw(st.integers(weight + 1, 100))
    around = draw(st.floats(0.1, 3.0)) * (bears(it, pods=max(1, it.ready)) or 1.0)
    elsewhere = draw(st.floats(0, 0.99))
    load = Load(around * (1 - elsewhere) * 100 / wanted, elsewhere=around * elsewhere, weight=float(weight))
    return it, load, float(wanted), headroom


@settings(deadline=None, max_examples=500)
@given(steps())
def test_a_step_is_never_taken_onto_missing_capacity(step: tuple[VersionCapacity, Load, float, float]) -> None:
    it, load, wanted, headroom = step
    passage = admit(it, load, wanted=wanted, headroom=headroom)
    assert load.weight <= passage.weight <= wanted
    assert it.scaler is not None
    if passage.gate in {Gate.OPEN, Gate.PART}:
        assert passage.weight > load.weight
        assert load.at(passage.weight) <= bears(it, pods=it.ready) * (1 + 1e-9), "pods that are ready, not wanted"
        full = saturates(it)
        assert full is None or load.at(passage.weight) <= full * (1 + 1e-9)
    else:
        assert passage.weight == load.weight
        assert passage.reason


@settings(deadline=None)
@given(
    metrics | per_pod,
    st.floats(0, 1),
    st.builds(Load, st.floats(0.5, 5000), st.just(0.0), st.integers(0, 99).map(float)),
    st.integers(1, 100),
    st.floats(0, 0.5),
)
def test_waiting_ends_where_the_hpa_can_grow(
    pair: tuple[Metric, Cost], doubt: float, load: Load, step: int, headroom: float
) -> None:
    metric, cost = pair
    scaler = Scaler("hpa", 1, 1_000_000, (metric,))
    wanted = min(100.0, load.weight + step)
    uncertain = replace(cost, var_slope=(doubt * cost.slope) ** 2)
    it = VersionCapacity("v2", 1, 1, scaler=scaler, costs=(uncertain,))
    pods = needed(it, load.at(load.weight)) or 1
    it = replace(it, replicas=pods, ready=pods)
    for _ in range(200):
        passage = admit(it, load, wanted=wanted, headroom=headroom)
        load = replace(load, weight=passage.weight)
        if passage.gate is Gate.OPEN:
            return
        # The real HPA's algorithm, at the load that the gate allows; its new pods get ready.
        use = cost.use(load.at(load.weight) / it.ready)
        recommended = recommend(it.ready, pods=[PodUse(use)] * it.ready, target=metric.target)
        grown = Stabiliser().decide(recommended, current=it.ready, bounds=(1, 1_000_000), now_s=0.0)
        if grown <= it.ready and passage.gate is Gate.WAIT:
            assert "set minReplicas" in passage.reason, "a wait that nothing ends has to be told to a person"
            more = load.at(math.floor(load.weight) + 1.0)
            assert more > it.ready * cost.load_at(min(metric.lift, metric.bears)) * (1 - 1e-9), "one more was possible"
            return
        it = replace(it, replicas=max(grown, it.ready), ready=max(grown, it.ready))
    pytest.fail(f"still waiting at {load.weight} %: {passage.reason}")
