import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.core.capacity import Cost, Samples, fit, follows

STABLE = Cost(intercept=20.0, slope=5.0)


def seen(
    loads: list[float], *, slope: float = 5.0, intercept: float = 20.0, noise: float = 0.0, seed: int = 1
) -> Samples:
    rng, samples = random.Random(seed), Samples()
    for load in loads:
        samples = samples.add(load, intercept + slope * load + rng.gauss(0, noise))
    return samples


def fitted(samples: Samples, *, other: Cost | None = None) -> Cost:
    cost = fit(samples, other=other)
    assert cost is not None
    return cost


def test_nothing_is_known_of_a_version_that_was_never_seen() -> None:
    assert fit(Samples()) is None
    assert fit(Samples(), other=STABLE) is STABLE


def test_loads_that_differ_tell_intercept_and_slope() -> None:
    cost = fitted(seen([5, 10, 20, 40, 10, 30] * 5, noise=2.0))
    assert cost.slope == pytest.approx(5.0, rel=0.1)
    assert cost.intercept == pytest.approx(20.0, abs=10.0)


def test_one_load_alone_overstates_what_more_of_it_needs() -> None:
    cost = fitted(seen([10.0] * 20))
    assert cost.use(10.0) == pytest.approx(70.0, rel=0.02)
    assert cost.use(40.0) >= 20.0 + 5.0 * 40.0


def test_an_idle_canary_is_taken_to_cost_what_the_stable_version_does() -> None:
    cost = fitted(seen([0.5] * 20), other=STABLE)
    assert cost.slope == pytest.approx(5.0, rel=0.1)


def test_a_version_that_was_seen_at_one_load_learns_from_the_other_how_much_of_its_use_is_idle() -> None:
    varied = fitted(seen([5.0, 20.0, 45.0] * 5, noise=1.0))
    cost = fitted(seen([10.0] * 20), other=varied)
    assert cost.load_at(500.0) == pytest.approx(96.0, rel=0.05)
    assert fitted(seen([10.0] * 20)).load_at(500.0) < 80.0, "by itself it looks dearer"


@pytest.mark.parametrize(("one", "another"), [(10.0, 45.0), (45.0, 10.0), (0.5, 45.0), (45.0, 0.5)])
def test_two_versions_at_one_load_each_tell_together_what_neither_does(one: float, another: float) -> None:
    cost = fitted(seen([one] * 20), other=fitted(seen([another] * 20)))
    assert cost.load_at(500.0) == pytest.approx(96.0, rel=0.1)


def test_a_dearer_canary_is_found_as_soon_as_it_has_traffic() -> None:
    cost = fitted(seen([30.0] * 20, slope=8.0), other=STABLE)
    assert cost.slope == pytest.approx(8.0, rel=0.1)


def test_doubt_lowers_what_a_pod_is_trusted_with_but_not_to_nothing() -> None:
    cost = fitted(seen([0.5] * 3), other=STABLE)
    expected = cost.load_at(100.0)
    assert 0.5 * expected <= cost.load_at(100.0, doubt=1.0) < expected
    assert cost.load_at(10.0, doubt=1.0) == 0.0, "below what an idle pod uses nothing is carried"


def test_what_was_long_ago_is_forgotten() -> None:
    samples = seen([10.0, 30.0] * 100, slope=20.0)
    for load in [10.0, 30.0] * 200:
        samples = samples.add(load, 20.0 + 5.0 * load)
    assert fitted(samples).slope == pytest.approx(5.0, rel=0.1)


@given(
    st.lists(st.tuples(st.floats(0.0, 1e5), st.floats(0.0, 1e6)), max_size=30),
    st.none()
    | st.builds(Cost, st.floats(0.0, 1e3), st.floats(1e-3, 1e3), st.floats(0, 1e4), st.just(0.0), st.floats(0, 1e3)),
)
def test_a_request_always_costs_something_and_an_idle_pod_never_less_than_nothing(
    points: list[tuple[float, float]], other: Cost | None
) -> None:
    samples = Samples()
    for load, use in points:
        samples = samples.add(load, use)
    cost = fit(samples, other=other)
    if cost is not None:
        assert cost.intercept >= 0.0
        assert cost.slope > 0.0
        assert cost.load_at(100.0, doubt=1.0) >= 0.0


RAMP = [5.0, 10, 20, 40, 10, 30] * 4


@pytest.mark.parametrize("seed", range(20))
def test_a_metric_that_has_nothing_to_do_with_requests_is_known_by_that(seed: int) -> None:
    rng = random.Random(seed)
    queue, heap, swept = Samples(), Samples(), Samples()
    for number, load in enumerate(RAMP):
        queue = queue.add(load, rng.choice([0.0, 0.0, 1.0, 30.0, 60.0]))
        heap = heap.add(load, 800.0 * (1 + rng.gauss(0, 0.03)))
        swept = swept.add(load, 300.0 + 60.0 * (number % 10))
    assert [follows(queue), follows(heap), follows(swept)] == [False, False, False], seed


@pytest.mark.parametrize("seed", range(20))
def test_one_that_has_is_not_taken_for_such(seed: int) -> None:
    def measured(loads: list[float], intercept: float, noise: float) -> Samples:
        rng, samples = random.Random(seed), Samples()
        for load in loads:
            samples = samples.add(load, (intercept + load) * max(0.0, 1 + rng.gauss(0, noise)))
        return samples

    assert follows(measured(RAMP, 0.0, 0.05)), seed
    assert follows(measured(RAMP, 0.0, 0.25)), "few threads at a time are a noisy measure"
    assert follows(measured(RAMP, 40.0, 0.05)), "an idle pod has some as well"
    assert follows(measured([20.0 * (1 + random.Random(n).gauss(0, 0.1)) for n in range(50)], 0.0, 0.3)), "at one load"
    assert follows(measured([1.0, 40.0] * 4, 500.0, 0.1)), "too few to say so"
