from dataclasses import replace

from analyzer.core.capacity import Cost, Metric, Scaler, VersionCapacity
from analyzer.core.capacity.forecast import Moment, play
from analyzer.core.capacity.hpa import DEFAULT_UP, Target

CPU = Metric("cpu", Target(per_pod=250, request=500), saturation=500)
VERSION = VersionCapacity("v1", 1, 1, scaler=Scaler("hpa", 1, 10, (CPU,)), costs=(Cost(25.0, 5.0),), startup_s=15.0)


def grown_at_s(version: VersionCapacity) -> float:
    """When an HPA first wants more pods, with twice the load that is its target."""
    course = play(version, lambda _at_s, _ready: 90.0, seconds=300, until=lambda moment: moment.replicas > 1)
    assert course[-1].replicas > 1
    return course[-1].at_s


def test_an_hpa_grows_at_its_next_look() -> None:
    assert 15 <= grown_at_s(VERSION) <= 16


def test_a_window_on_the_way_up_is_waited_for() -> None:
    assert VERSION.scaler is not None
    patient = replace(VERSION.scaler, up=replace(DEFAULT_UP, window_s=120))
    assert 120 <= grown_at_s(replace(VERSION, scaler=patient)) <= 136


def test_an_hpa_without_behaviour_goes_from_one_to_four_at_once_and_then_doubles() -> None:
    course = play(VERSION, lambda _at_s, ready: 95.0 * ready, seconds=60)
    seen = [moment.replicas for moment in course]
    assert sorted(set(seen)) == [1, 2, 4, 8]
    flooded = play(replace(VERSION, ready=3, replicas=3), lambda _at_s, _ready: 900.0, seconds=20)
    assert flooded[-1].replicas == 6


def test_what_nobody_knows_is_not_refused() -> None:
    requests = Metric.without_limit("requests", Target(per_pod=45.0))
    assert VERSION.scaler is not None
    it = replace(VERSION, scaler=replace(VERSION.scaler, metrics=(requests,)), costs=(Cost(0.0, 1.0),))
    course = play(it, lambda _at_s, _ready: 1000.0, seconds=60)
    assert max(map(refused, course)) == 0.0
    assert course[-1].replicas > 1


def refused(moment: Moment) -> float:
    return moment.refused
