import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.core.capacity.hpa import (
    DEFAULT_DOWN,
    DEFAULT_UP,
    PLAIN_DOWN,
    PLAIN_UP,
    PodUse,
    Policy,
    Rules,
    Stabiliser,
    Target,
    parse_behaviour,
    recommend,
)

TARGET = Target(per_pod=50, request=100)
BOUNDS = (1, 10)


def recommend_for(*used: float, current: int | None = None) -> int:
    return recommend(current or len(used), pods=[PodUse(cpu) for cpu in used], target=TARGET)


def test_replicas_follow_the_ratio_of_use_to_target() -> None:
    assert recommend_for(100, 100) == 4
    assert recommend_for(70, 80) == 3
    assert recommend_for(10, 10, 10, 10) == 1


@pytest.mark.parametrize("used", [45, 50, 55])
def test_within_a_tenth_of_the_target_nothing_moves(used: float) -> None:
    assert recommend_for(used, used, used) == 3


@pytest.mark.parametrize(("used", "wanted"), [(44, 3), (56, 4)])
def test_beyond_a_tenth_replicas_move(used: float, wanted: int) -> None:
    assert recommend_for(used, used, used) == wanted


def test_on_the_way_up_an_unready_pod_counts_as_idle() -> None:
    pods = [PodUse(150), PodUse(None, ready=False), PodUse(None, ready=False)]
    assert recommend(3, pods=pods, target=TARGET) == 3


def test_on_the_way_down_a_pod_without_a_sample_counts_as_busy() -> None:
    assert recommend(3, pods=[PodUse(20), PodUse(20), PodUse(None)], target=TARGET) == 3
    assert recommend(4, pods=[PodUse(10), PodUse(10), PodUse(10), PodUse(None)], target=TARGET) == 3


def test_without_any_sample_replicas_stay() -> None:
    assert recommend(7, pods=[PodUse(None), PodUse(None, ready=False)], target=TARGET) == 7


@given(
    st.lists(st.builds(PodUse, st.none() | st.floats(0, 500), st.booleans()), min_size=1, max_size=12),
)
def test_doubt_about_pods_never_scales_against_the_measured_ones(pods: list[PodUse]) -> None:
    measured = [pod.used for pod in pods if pod.ready and pod.used is not None]
    wanted = recommend(len(pods), pods=pods, target=TARGET)
    if not measured or all(use == 50 for use in measured):
        assert wanted == len(pods)
    elif sum(measured) < 50 * len(measured):
        assert wanted <= len(pods)


def test_up_is_at_most_four_pods_or_double_in_15_s() -> None:
    hpa = Stabiliser(DEFAULT_UP, DEFAULT_DOWN)
    assert hpa.decide(10, current=1, bounds=(1, 100), now_s=0) == 5
    assert hpa.decide(50, current=5, bounds=(1, 100), now_s=5) == 5, "the period's change is used up"
    assert hpa.decide(50, current=5, bounds=(1, 100), now_s=15) == 10
    assert hpa.decide(50, current=10, bounds=(1, 100), now_s=30) == 20


def test_down_waits_until_the_window_holds_no_greater_recommendation() -> None:
    hpa = Stabiliser()
    assert hpa.decide(8, current=8, bounds=BOUNDS, now_s=0) == 8
    assert hpa.decide(3, current=8, bounds=BOUNDS, now_s=60) == 8
    assert hpa.decide(2, current=8, bounds=BOUNDS, now_s=299) == 8
    assert hpa.decide(2, current=8, bounds=BOUNDS, now_s=301) == 3
    assert hpa.decide(2, current=3, bounds=BOUNDS, now_s=361) == 2


def test_acceleration_shortens_all_times() -> None:
    hpa = Stabiliser(DEFAULT_UP.scaled(15), DEFAULT_DOWN.scaled(15))
    assert hpa.decide(8, current=8, bounds=BOUNDS, now_s=0) == 8
    assert hpa.decide(1, current=8, bounds=BOUNDS, now_s=19) == 8
    assert hpa.decide(1, current=8, bounds=BOUNDS, now_s=21) == 1


def test_replicas_stay_within_their_bounds() -> None:
    assert Stabiliser().decide(50, current=10, bounds=BOUNDS, now_s=0) == 10
    assert Stabiliser().decide(1, current=2, bounds=(3, 10), now_s=0) == 3, "minReplicas act at once"
    assert Stabiliser().decide(12, current=12, bounds=BOUNDS, now_s=0) == 10


def test_no_replicas_switch_the_hpa_off() -> None:
    assert Stabiliser().decide(4, current=0, bounds=BOUNDS, now_s=0) == 0


def test_a_disabled_direction_does_not_move() -> None:
    hpa = Stabiliser(down=Rules(0, DEFAULT_DOWN.policies, "Disabled"))
    assert hpa.decide(1, current=8, bounds=BOUNDS, now_s=0) == 8


def test_a_share_of_pods_is_rounded_as_kubernetes_rounds_it() -> None:
    """Down it is `int32(5 * 0.9)`; up it is the ceiling of `100 * 1.1`, which in floats is a little more than 110."""
    tenth = Rules(0, (Policy("Percent", 10, 60),))
    assert Stabiliser(tenth, tenth).decide(1, current=5, bounds=(1, 10), now_s=0) == 4
    assert Stabiliser(tenth, tenth).decide(500, current=100, bounds=(1, 1000), now_s=0) == 111


def test_behaviour_fills_in_what_is_not_said() -> None:
    spec = {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}
    assert parse_behaviour(spec) == (DEFAULT_UP, Rules(300, (Policy("Pods", 1, 60),), "Max"))
    assert parse_behaviour({}) == (DEFAULT_UP, DEFAULT_DOWN)
    assert parse_behaviour(None) == (PLAIN_UP, PLAIN_DOWN)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_a_decision_is_within_bounds_and_one_step_of_the_policies(recommendations: list[int]) -> None:
    hpa, current = Stabiliser(DEFAULT_UP, DEFAULT_DOWN), 1
    for sync, recommended in enumerate(recommendations):
        wanted = hpa.decide(recommended, current=current, bounds=BOUNDS, now_s=15.0 * sync)
        assert 1 <= wanted <= min(10, max(current + 4, 2 * current))
        current = wanted
