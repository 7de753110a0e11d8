"""The reserve is put back on every path, and on none is anything written that somebody else changed meanwhile."""

from dataclasses import replace
from typing import Any

import pytest

from analyzer.app.reserve import (
    ANNOTATION,
    LASTS_S,
    LINGERS_S,
    LOST,
    floor_for,
    hold_operations,
    read_reserve,
    release_orphans,
)
from analyzer.app.writer import Services, Writer
from analyzer.core.capacity import Scaler
from analyzer.core.rollout import CapacityView
from analyzer.errors import ConflictError, WriteRefused
from analyzer.ports import HORIZONTAL_POD_AUTOSCALER, Object, PatchOperation, Ref
from tests.app.loop import POLICY, Loop
from tests.app.model import NAMESPACE
from tests.app.test_capacity import STABLE_HPA, change_floor, floor_of, mesh_of, scaling_loop
from tests.core.capacity.test_gate import HPA, version

CANARY_HPA = Ref(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, "helloworld-v2")


async def reserved() -> Loop:
    """A rollout in flight, whose stable version's HPA is held at five."""
    loop = scaling_loop(mode="reserve")
    await loop.until(lambda: floor_of(loop) == 5, cycles=100)
    return loop


def services_of(loop: Loop) -> Services:
    return (loop.life or loop.begin_life()).reconciler._services


async def orphans_released(loop: Loop, *, later_s: float = 0.0) -> None:
    """What the leader does from time to time, at its start first."""
    life = loop.life or loop.begin_life()
    await life.view.refresh()
    services = services_of(loop)
    await release_orphans(life.view, Writer(services, POLICY), now_s=services.clock.now_s() + later_s)


async def lingers_and_is_put_back(loop: Loop) -> None:
    """The traffic may just have come back, and the HPA not have seen it."""
    floor = floor_of(loop)
    await orphans_released(loop)
    await orphans_released(loop, later_s=LINGERS_S / 2)
    assert (floor_of(loop), is_held(loop)) == (floor, True)
    await orphans_released(loop, later_s=LINGERS_S)


def is_held(loop: Loop) -> bool:
    return ANNOTATION in (loop.mesh.read(STABLE_HPA)["metadata"].get("annotations") or {})


@pytest.mark.parametrize("mode", ["gate", "off"])
async def test_a_policy_that_wants_none_any_more_gets_none_any_more(mode: str) -> None:
    loop = await reserved()
    loop.mesh.set_policy(capacity={"mode": mode})
    await loop.cycle()
    assert (floor_of(loop), is_held(loop)) == (1, False)
    assert loop.phase in {"Progressing", "Baking"}, "the rollout goes on"


async def test_a_policy_that_only_observes_holds_nothing() -> None:
    loop = await reserved()
    loop.mesh.set_policy(mode="observe")
    await loop.cycle()
    assert (floor_of(loop), is_held(loop)) == (1, False)


async def test_a_policy_deleted_while_nobody_led_is_put_back_by_the_next_leader_and_its_weight_stays() -> None:
    loop = await reserved()
    weight = loop.weights[-1]
    loop.life = None
    loop.mesh.cluster.delete(POLICY)
    await lingers_and_is_put_back(loop)
    assert (floor_of(loop), is_held(loop)) == (1, False)
    assert loop.mesh.weights()["v2"] == weight > 0, "what its policy would have wanted nobody knows any more"


async def test_a_policy_deleted_under_way_is_put_back_after_its_canary_was_taken_back() -> None:
    loop = await reserved()
    assert loop.life is not None
    loop.mesh.cluster.delete(POLICY)
    await loop.life.view.refresh()
    assert await loop.life.reconciler.abandon()
    assert loop.mesh.weights()["v2"] == 0
    await lingers_and_is_put_back(loop)
    assert (floor_of(loop), is_held(loop)) == (1, False)


async def test_a_reserve_of_a_policy_that_lives_is_no_orphan() -> None:
    loop = await reserved()
    await orphans_released(loop)
    assert floor_of(loop) == 5


async def test_what_a_broken_policy_holds_is_put_back_when_it_is_stale() -> None:
    loop = await reserved()
    loop.mesh.set_policy(target={"virtualService": "nowhere"})
    for _ in range(3):
        await loop.cycle()
    assert floor_of(loop) == 5, "it may be mended in a minute"
    await orphans_released(loop, later_s=LASTS_S + 60)
    assert (floor_of(loop), is_held(loop)) == (1, False)


async def test_without_traffic_a_reserve_is_renewed_all_the_same() -> None:
    loop = await reserved()
    loop.mesh.requests_per_s = 0.0
    before = read_reserve(loop.mesh.read(STABLE_HPA))
    mesh_of(loop).ready["v1"] = 5
    loop.mesh.clock.elapsed_s += 0.6 * LASTS_S
    loop.mesh.clock.wall_s += 0.6 * LASTS_S
    loop.life = None  # nothing of the capacity is known now
    await loop.cycle()
    after = read_reserve(loop.mesh.read(STABLE_HPA))
    assert before is not None
    assert after is not None
    assert after.floor == before.floor == 5
    assert after.expires_s > before.expires_s


async def test_one_that_cannot_be_put_back_keeps_no_other_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = await reserved()
    other: Object = loop.mesh.read(CANARY_HPA)
    annotations = loop.mesh.read(STABLE_HPA)["metadata"]["annotations"]
    other["metadata"] = {"name": "a-first-one", "namespace": NAMESPACE, "annotations": annotations}
    loop.mesh.cluster.apply(other)
    loop.mesh.cluster.delete(POLICY)
    services = services_of(loop)
    patch = services.cluster.patch

    async def refusing(ref: Ref, operations: list[PatchOperation], **options: Any) -> Object:
        if ref.name == "a-first-one":
            raise WriteRefused("not this one")
        return await patch(ref, operations, **options)

    monkeypatch.setattr(services.cluster, "patch", refusing)
    await lingers_and_is_put_back(loop)
    assert (floor_of(loop), is_held(loop)) == (1, False)


async def test_what_somebody_changed_is_theirs_also_when_the_policy_is_gone() -> None:
    loop = await reserved()
    hpa = loop.mesh.read(STABLE_HPA)
    hpa["spec"]["minReplicas"] = 4
    loop.mesh.cluster.apply(hpa)
    loop.mesh.cluster.delete(POLICY)
    await orphans_released(loop)
    assert (floor_of(loop), is_held(loop)) == (4, False)


async def test_a_reserve_that_somebody_takes_back_is_told_once_and_so_is_its_end() -> None:
    loop = await reserved()
    told: list[tuple[str, bool]] = []

    async def cycles(count: int) -> list[tuple[str, bool]]:
        for _ in range(count):
            await loop.cycle()
        told.extend((n.reason, n.resolved) for n in loop.state.notices if n.reason == LOST and n.at_s not in seen)
        seen.update(n.at_s for n in loop.state.notices)
        return told

    seen: set[float] = set()
    change_floor(loop, 1)
    assert await cycles(5) == [(LOST, False)]
    loop.life = None  # the next process does not tell it again
    assert await cycles(5) == [(LOST, False)]
    (notice,) = [n for n in loop.state.notices if n.reason == LOST]
    assert notice.what == "minReplicas of HorizontalPodAutoscaler helloworld-v1 is 1 again, not the 5 held in reserve."
    assert floor_of(loop) == 1, "it is theirs"
    change_floor(loop, 5)
    assert await cycles(2) == [(LOST, False), (LOST, True)]


async def test_an_hpa_of_something_else_of_that_name_is_left_alone() -> None:
    loop = scaling_loop(mode="reserve")
    other: Object = loop.mesh.read(STABLE_HPA)
    other["metadata"] = {"name": "of-a-stateful-set", "namespace": NAMESPACE}
    other["spec"] |= {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "helloworld-v1"}}
    loop.mesh.cluster.apply(other)
    await loop.until(lambda: floor_of(loop) == 5, cycles=100)
    await loop.cycle()
    ref = Ref(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, "of-a-stateful-set")
    assert loop.mesh.read(ref)["spec"]["minReplicas"] == 1


async def test_annotations_that_came_meanwhile_are_not_wiped() -> None:
    loop = scaling_loop(mode="reserve")
    read = loop.mesh.read(STABLE_HPA)
    assert not read["metadata"].get("annotations")
    operations = hold_operations(read, policy="shop/shop", floor=5, now_s=0.0)
    loop.mesh.cluster.apply({**read, "metadata": {**read["metadata"], "annotations": {"team": "payments"}}})
    with pytest.raises(ConflictError):
        await services_of(loop).cluster.patch(STABLE_HPA, operations)
    assert loop.mesh.read(STABLE_HPA)["metadata"]["annotations"] == {"team": "payments"}


async def test_a_dry_run_neither_holds_nor_puts_back() -> None:
    loop = await reserved()
    life = loop.begin_life()
    life.reconciler._services = replace(life.reconciler._services, dry_run=True)
    loop.mesh.set_policy(capacity={"mode": "gate"})
    before = loop.mesh.read(STABLE_HPA)["metadata"]["resourceVersion"]
    await life.view.refresh()
    await life.reconciler.turn()
    assert is_held(loop)
    assert loop.mesh.read(STABLE_HPA)["metadata"]["resourceVersion"] == before


def test_a_floor_is_what_taking_everything_back_needs_within_max_replicas() -> None:
    view = CapacityView(version(2), version(1), moving=200.0)
    assert floor_for(view) == 5
    small = Scaler(HPA.name, 1, 3, HPA.metrics)
    assert floor_for(CapacityView(version(2, scaler=small), version(1), moving=200.0)) == 3
    assert floor_for(CapacityView(version(2, scaler=None), version(1), moving=200.0)) is None
    assert floor_for(None) is None
