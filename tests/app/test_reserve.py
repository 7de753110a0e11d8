from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.adapters.memory.json_patch import apply_patch
from analyzer.app.reserve import (
    ANNOTATION,
    LASTS_S,
    LINGERS_S,
    hold_operations,
    linger_operations,
    read_reserve,
    release_operations,
)

POLICY = "shop/shop"
NOW_S = 1_800_000_000.0


def hpa(minimum: int | None = 1, **annotations: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"maxReplicas": 10}
    if minimum is not None:
        spec["minReplicas"] = minimum
    metadata: dict[str, Any] = {"uid": "u1", "resourceVersion": "7", "namespace": "shop", "name": "shop-v1"}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"metadata": metadata, "spec": spec}


def held(autoscaler: dict[str, Any], floor: int, *, policy: str = POLICY, now_s: float = NOW_S) -> dict[str, Any]:
    patched: dict[str, Any] = apply_patch(
        autoscaler, hold_operations(autoscaler, policy=policy, floor=floor, now_s=now_s)
    )
    return patched


def released(autoscaler: dict[str, Any]) -> dict[str, Any]:
    patched: dict[str, Any] = apply_patch(autoscaler, release_operations(autoscaler))
    return patched


def test_a_floor_is_held_and_says_whose_it_is_and_what_was_there() -> None:
    found = held(hpa(2), 5)
    assert found["spec"]["minReplicas"] == 5
    reserve = read_reserve(found)
    assert reserve is not None
    assert (reserve.policy, reserve.original, reserve.floor, reserve.expires_s) == (POLICY, 2, 5, NOW_S + LASTS_S)


@pytest.mark.parametrize("original", [None, 1, 3])
def test_what_was_there_comes_back(original: int | None) -> None:
    back = released(held(hpa(original, team="payments"), 5))
    assert back == hpa(original, team="payments")


def test_a_floor_only_grows_while_it_is_held() -> None:
    found = held(held(hpa(1), 5), 3)
    assert found["spec"]["minReplicas"] == 5
    grown = held(found, 7)
    assert grown["spec"]["minReplicas"] == 7
    assert released(grown)["spec"]["minReplicas"] == 1


def test_a_minimum_that_is_high_enough_is_left_alone() -> None:
    assert hold_operations(hpa(5), policy=POLICY, floor=5, now_s=NOW_S) == ()
    assert hold_operations(hpa(5), policy=POLICY, floor=2, now_s=NOW_S) == ()


def test_what_somebody_else_wrote_meanwhile_is_theirs() -> None:
    changed = held(hpa(1), 5)
    changed["spec"]["minReplicas"] = 4
    assert hold_operations(changed, policy=POLICY, floor=8, now_s=NOW_S) == ()
    back = released(changed)
    assert back["spec"]["minReplicas"] == 4
    assert ANNOTATION not in back["metadata"]["annotations"]


def test_the_reserve_of_another_policy_is_not_touched() -> None:
    assert hold_operations(held(hpa(1), 5, policy="shop/other"), policy=POLICY, floor=8, now_s=NOW_S) == ()


def test_a_reserve_is_renewed_before_it_is_stale_and_not_all_the_time() -> None:
    found = held(hpa(1), 5)
    assert hold_operations(found, policy=POLICY, floor=5, now_s=NOW_S + 60) == ()
    renewed = held(found, 5, now_s=NOW_S + LASTS_S - 60)
    reserve = read_reserve(renewed)
    assert reserve is not None
    assert reserve.expires_s == NOW_S + 2 * LASTS_S - 60


def test_an_annotation_that_nobody_understands_is_left_where_it_is() -> None:
    strange = hpa(4, **{ANNOTATION: "mine"})
    assert read_reserve(strange) is None
    assert release_operations(strange) == ()


def lingered(autoscaler: dict[str, Any], now_s: float) -> dict[str, Any]:
    patched: dict[str, Any] = apply_patch(autoscaler, linger_operations(autoscaler, now_s=now_s))
    return patched


def test_a_reserve_that_lingers_is_put_back_when_that_time_is_over() -> None:
    found = held(hpa(1), 5)
    lingering = lingered(found, NOW_S + 300)
    reserve = read_reserve(lingering)
    assert reserve is not None
    assert (reserve.original, reserve.floor, reserve.expires_s) == (1, 5, NOW_S + 300 + LINGERS_S)
    assert lingering["spec"]["minReplicas"] == 5
    assert linger_operations(lingering, now_s=NOW_S + 310) == (), "it is not put off"
    assert lingered(lingering, NOW_S + 300 + LINGERS_S)["spec"] == hpa(1)["spec"]


def test_a_rollout_that_begins_while_a_reserve_lingers_holds_it_on() -> None:
    again = held(lingered(held(hpa(1), 5), NOW_S + 60), 4, now_s=NOW_S + 100)
    reserve = read_reserve(again)
    assert reserve is not None
    assert (reserve.original, reserve.floor, reserve.expires_s) == (1, 5, NOW_S + 100 + LASTS_S)


def test_what_somebody_changed_does_not_linger() -> None:
    changed = held(hpa(1), 5)
    changed["spec"]["minReplicas"] = 4
    assert lingered(changed, NOW_S + 60) == {**changed, "metadata": {**changed["metadata"], "annotations": {}}}


@given(st.none() | st.integers(1, 9), st.lists(st.integers(1, 10), min_size=1, max_size=5))
def test_every_course_of_floors_ends_where_it_began(original: int | None, floors: list[int]) -> None:
    found = hpa(original)
    for floor in floors:
        found = held(found, floor)
        assert (found["spec"].get("minReplicas") or 1) >= max(floor, original or 1)
    back = released(found)
    assert back["spec"] == hpa(original)["spec"]
    assert ANNOTATION not in back["metadata"].get("annotations", {})
