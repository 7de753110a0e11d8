import asyncio
from collections.abc import AsyncIterator
from typing import Any

import looptime
import pytest

from analyzer.adapters.memory import MemoryCluster, Verb
from analyzer.errors import ConflictError, ObjectMissing, TerminalError, WatchExpired, WriteRefused
from analyzer.ports import (
    CANARY_POLICY,
    DEPLOYMENT,
    EVENT,
    VIRTUAL_SERVICE,
    Change,
    ChangeType,
    Cluster,
    Kind,
    Object,
    Ref,
)
from tests.fakes import FaultyCluster, ManualClock

pytest.register_assert_rewrite("tests.adapters.cluster_contract")

from tests.adapters.cluster_contract import (  # noqa: E402  its asserts are to be rewritten first
    NAMESPACE,
    PATIENCE_S,
    POLICY,
    VS,
    ClusterContract,
    canary_policy,
    changes,
    event,
    to,
    version,
    virtual_service,
)

LIMA = Kind("", "v1", "limas", "Lima")


@pytest.fixture
def memory() -> MemoryCluster:
    return MemoryCluster(ManualClock())


class TestMemoryCluster(ClusterContract):
    @pytest.fixture
    async def cluster(self) -> Cluster:
        return MemoryCluster(ManualClock())

    def memory_of(self, cluster: Cluster) -> MemoryCluster:
        assert isinstance(cluster, MemoryCluster)
        return cluster

    async def apply(self, cluster: Cluster, obj: Object) -> Object:
        return self.memory_of(cluster).apply(obj)

    async def delete(self, cluster: Cluster, ref: Ref) -> None:
        self.memory_of(cluster).delete(ref)

    async def expired_version(self, cluster: Cluster) -> str:
        memory = self.memory_of(cluster)
        first = version(memory.apply(virtual_service("first")))
        memory.apply(virtual_service("second"))
        memory.compact()
        return first


class TestFaultyClusterWithoutFaults(TestMemoryCluster):
    @pytest.fixture
    async def cluster(self) -> Cluster:
        return FaultyCluster(MemoryCluster(ManualClock()))

    def memory_of(self, cluster: Cluster) -> MemoryCluster:
        assert isinstance(cluster, FaultyCluster)
        return super().memory_of(cluster.inner)


async def test_versions_move_by_writes_alone_and_over_all_kinds(memory: MemoryCluster) -> None:
    seen = [memory.apply(virtual_service()), memory.apply(canary_policy()), await memory.patch(VS, to(25))]
    assert [int(version(obj)) for obj in seen] == [2, 3, 4]
    assert (await memory.list(EVENT)).resource_version == "4"


async def test_times_come_from_the_given_clock() -> None:
    memory = MemoryCluster(ManualClock(wall_s=1_700_000_000.9))
    assert memory.apply(virtual_service())["metadata"]["creationTimestamp"] == "2023-11-14T22:13:20Z"


async def test_the_same_history_makes_the_same_uids() -> None:
    one, other = (MemoryCluster(ManualClock()).apply(virtual_service()) for _ in range(2))
    assert one == other


async def test_other_tasks_run_before_a_write_and_before_its_answer(memory: MemoryCluster) -> None:
    memory.apply(virtual_service())
    order: list[str] = []

    async def write() -> None:
        order.append("sent")
        await memory.patch(VS, to(25))
        order.append("answered")

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        await asyncio.sleep(0)
        order.append("another task")
        await asyncio.sleep(0)
        order.append("and again")
        memory.apply(virtual_service(weights=(50, 50)))
    assert order == ["sent", "another task", "and again", "answered"]
    assert (await memory.get(VS))["spec"] == virtual_service(weights=(50, 50))["spec"]


async def test_an_unknown_kind_is_missing(memory: MemoryCluster) -> None:
    with pytest.raises(ObjectMissing, match="limas"):
        await memory.list(LIMA)
    with pytest.raises(ObjectMissing, match="limas"):
        await changes(memory, LIMA, "1", count=1)
    with pytest.raises(WriteRefused, match='no matches for kind "Lima" in version "v1"'):
        memory.apply({"apiVersion": "v1", "kind": "Lima", "metadata": {"name": "x"}})


# --- apply, delete and set_status, the hands of users and controllers -------------------------------------------------


async def test_apply_puts_an_object_without_a_namespace_into_default(memory: MemoryCluster) -> None:
    obj = virtual_service()
    del obj["metadata"]["namespace"]
    memory.apply(obj)
    assert await memory.get(VS._replace(namespace="default"))


async def test_apply_replaces_the_spec_and_keeps_the_status_and_foreign_annotations(memory: MemoryCluster) -> None:
    memory.apply(virtual_service())
    await memory.patch(VS, [{"op": "add", "path": "/metadata/annotations/serin.dev~1epoch", "value": "3"}])
    memory.set_status(VS, {"observedGeneration": 1})
    manifest = virtual_service(weights=(50, 50)) | {"status": {"observedGeneration": 9}}
    manifest["metadata"] |= {"creationTimestamp": None, "labels": {"app": "helloworld"}}
    answer = memory.apply(manifest)
    assert answer["spec"] == manifest["spec"]
    assert answer["status"] == {"observedGeneration": 1}
    assert answer["metadata"]["labels"] == {"app": "helloworld"}
    assert answer["metadata"]["annotations"] == {"example.com/owner": "team a", "serin.dev/epoch": "3"}
    assert answer["metadata"]["generation"] == 2


async def test_apply_of_the_same_manifest_is_no_write(memory: MemoryCluster) -> None:
    first = memory.apply(virtual_service())
    assert memory.apply(virtual_service()) == first


async def test_apply_with_an_older_version_is_a_conflict(memory: MemoryCluster) -> None:
    first = memory.apply(virtual_service())
    await memory.patch(VS, to(25))
    with pytest.raises(ConflictError, match="the object has been modified"):
        memory.apply(first)


async def test_a_status_can_be_set_whatever_the_version(memory: MemoryCluster) -> None:
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 1}}
    memory.apply(deployment)
    ref = Ref(DEPLOYMENT, "default", "d")
    await memory.patch(ref, [{"op": "replace", "path": "/spec/replicas", "value": 2}])
    answer = memory.set_status(ref, {"readyReplicas": 2})
    assert (answer["spec"], answer["status"]) == ({"replicas": 2}, {"readyReplicas": 2})
    assert answer["metadata"]["generation"] == 2


async def test_an_event_has_no_status(memory: MemoryCluster) -> None:
    made = await memory.create(EVENT, event())
    with pytest.raises(ObjectMissing, match="events/status"):
        await memory.replace_status(Ref(EVENT, NAMESPACE, "helloworld.1"), made)


async def test_a_finalizer_keeps_an_object_until_it_is_removed(memory: MemoryCluster) -> None:
    obj = canary_policy()
    obj["metadata"]["finalizers"] = ["serin.dev/restore"]
    added = memory.apply(obj)
    memory.delete(POLICY)
    memory.delete(POLICY)
    marked = await memory.get(POLICY)
    assert marked["metadata"]["deletionTimestamp"]
    await memory.patch(POLICY, [{"op": "remove", "path": "/metadata/finalizers"}])
    with pytest.raises(ObjectMissing):
        await memory.get(POLICY)
    seen = await changes(memory, CANARY_POLICY, version(added), count=2)
    assert [change.type for change in seen] == [ChangeType.MODIFIED, ChangeType.DELETED]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((90, -1), r"spec\.http\[0\]\.route\[1\]\.weight: weight -1 < 0"),
        ((0, 0), r"spec\.http\[0\]\.route: total destination weight = 0"),
        ((90, True), r"spec\.http\[0\]\.route\[1\]\.weight: .*must be of type integer"),
        ((90, 10.5), r"spec\.http\[0\]\.route\[1\]\.weight: .*must be of type integer"),
        ((90, 2**31), r"spec\.http\[0\]\.route\[1\]\.weight: weight 2147483648 is no int32"),
    ],
)
async def test_weights_that_istiod_refuses(memory: MemoryCluster, weights: tuple[Any, Any], message: str) -> None:
    with pytest.raises(WriteRefused, match=message):
        memory.apply(virtual_service(weights=weights))


async def test_a_single_destination_needs_no_weight(memory: MemoryCluster) -> None:
    obj = virtual_service()
    obj["spec"]["http"][0]["route"] = [{"destination": {"host": "helloworld"}}]
    memory.apply(obj)
    obj["spec"]["http"] = "all"
    with pytest.raises(WriteRefused, match=r"spec\.http: .*must be a list of objects"):
        memory.apply(obj)


@pytest.mark.parametrize("change", [{"note": float("nan")}, {"note": object()}])
async def test_an_object_that_is_not_json_is_refused(memory: MemoryCluster, change: Object) -> None:
    with pytest.raises(WriteRefused, match="not JSON"):
        await memory.create(EVENT, event() | change)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"name": "x"}, r"metadata\.namespace"),
        ({"namespace": "x"}, r"metadata\.name"),
        ({"name": "x", "namespace": "x", "resourceVersion": "3"}, r"metadata\.resourceVersion"),
    ],
)
async def test_metadata_that_nothing_can_be_created_with(memory: MemoryCluster, metadata: Object, message: str) -> None:
    with pytest.raises(WriteRefused, match=message):
        await memory.create(EVENT, event() | {"metadata": metadata})


async def test_an_object_sent_as_another_kind_is_refused(memory: MemoryCluster) -> None:
    with pytest.raises(WriteRefused, match=r"was sent as serin\.dev/v1alpha1/CanaryPolicy"):
        await memory.create(CANARY_POLICY, event())


async def test_admission_sees_old_and_new_and_can_refuse(memory: MemoryCluster) -> None:
    memory.apply(virtual_service())
    asked: list[tuple[Verb, Any, Any]] = []

    def istiod_is_down(verb: Verb, old: Object | None, new: Object | None) -> None:
        asked.append((verb, old and old["spec"], new and new["spec"]))
        raise WriteRefused('failed calling webhook "validation.istio.io": connection refused')

    memory.admission = istiod_is_down
    for dry_run in (False, True):
        with pytest.raises(WriteRefused, match="connection refused"):
            await memory.patch(VS, to(25), dry_run=dry_run)
    with pytest.raises(WriteRefused, match="connection refused"):
        memory.delete(VS)
    now, then = virtual_service()["spec"], virtual_service(weights=(90, 25))["spec"]
    assert asked == [(Verb.UPDATE, now, then), (Verb.UPDATE, now, then), (Verb.DELETE, now, None)]
    assert (await memory.get(VS))["spec"] == now


# --- watches ----------------------------------------------------------------------------------------------------------


async def test_a_watch_too_far_behind_the_history_has_expired() -> None:
    memory = MemoryCluster(ManualClock(), history=3)
    start = version(memory.apply(virtual_service()))
    for weight in (11, 12, 13):
        await memory.patch(VS, to(weight))
    assert len(await changes(memory, VIRTUAL_SERVICE, start, count=3)) == 3
    await memory.patch(VS, to(14))
    with pytest.raises(WatchExpired, match=r"too old resource version: 2 \(3\)"):
        await changes(memory, VIRTUAL_SERVICE, start, count=1)


async def test_a_slow_watch_is_closed_when_the_history_has_passed_it() -> None:
    memory = MemoryCluster(ManualClock(), history=3)
    memory.apply(virtual_service())
    stream = memory.watch(VIRTUAL_SERVICE, resource_version="1")
    assert (await anext(stream)).type is ChangeType.ADDED
    for weight in (11, 12, 13, 14):
        await memory.patch(VS, to(weight))
    assert await rest(stream) == []


async def test_a_server_that_restarts_closes_its_watches(memory: MemoryCluster) -> None:
    stream = memory.watch(VIRTUAL_SERVICE, resource_version="1")
    memory.apply(virtual_service())
    assert (await anext(stream)).type is ChangeType.ADDED
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        waiting = group.create_task(rest(stream))
        await asyncio.sleep(0)
        memory.close_watches()
    assert waiting.result() == []


async def rest(stream: AsyncIterator[Change]) -> list[Change]:
    return [change async for change in stream]


async def test_a_watch_without_news_hears_bookmarks_and_is_closed_in_time() -> None:
    memory = MemoryCluster(ManualClock(), bookmark_s=0.001, watch_s=0.01)
    await memory.create(EVENT, event())
    heard = await rest(memory.watch(VIRTUAL_SERVICE, resource_version="1"))
    assert {change.type for change in heard} == {ChangeType.BOOKMARK}
    assert heard[-1].object == {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"resourceVersion": "2"},
    }


def test_a_watch_ends_although_virtual_time_is_rounded() -> None:
    async def story() -> None:
        memory = MemoryCluster(ManualClock(), bookmark_s=1.0, watch_s=2.000_000_000_4)
        await asyncio.sleep(0.280349)
        heard = 0
        async for _ in memory.watch(EVENT, namespace=NAMESPACE, resource_version="1"):
            heard += 1
            assert heard < 10, "it hears bookmarks, and no time passes"

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(story())


async def test_a_version_that_is_none_is_refused(memory: MemoryCluster) -> None:
    with pytest.raises(TerminalError, match="resourceVersion: Invalid value: 'newest'"):
        await changes(memory, VIRTUAL_SERVICE, "newest", count=1)
