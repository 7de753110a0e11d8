"""What every implementation of `ports.Cluster` does, in memory or in a real API server.

Subclass `ClusterContract`, give the `cluster` fixture (both namespaces there and empty) and the three ways in which
users act on the server.
"""

import asyncio
import contextlib
import copy
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final

import pytest

from analyzer.errors import ConflictError, ObjectMissing, WatchExpired, WriteRefused
from analyzer.ports import CANARY_POLICY, EVENT, VIRTUAL_SERVICE, Change, ChangeType, Cluster, Kind, Object, Ref

NAMESPACE: Final = "serin-contract"
OTHER_NAMESPACE: Final = "serin-contract-other"
WEIGHT: Final = "/spec/http/0/route/1/weight"
PATIENCE_S: Final = 20.0  # only a failing test waits so long


def virtual_service(
    name: str = "helloworld", *, namespace: str = NAMESPACE, weights: tuple[Any, Any] = (90, 10)
) -> Object:
    route = [
        {"destination": {"host": "helloworld", "subset": subset}, "weight": weight}
        for subset, weight in zip(("v1", "v2"), weights, strict=True)
    ]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace, "annotations": {"example.com/owner": "team a"}},
        "spec": {"hosts": ["helloworld"], "http": [{"name": "primary", "route": route}]},
    }


def canary_policy(name: str = "helloworld") -> Object:
    return {
        "apiVersion": "serin.dev/v1alpha1",
        "kind": "CanaryPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"target": {"virtualService": "helloworld"}},
    }


def event(name: str = "helloworld.1") -> Object:
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "eventTime": "2026-11-20T10:00:00.000000Z",
        "reportingController": "serin.dev/serin",
        "reportingInstance": "serin-0",
        "action": "Advance",
        "reason": "WeightAdvanced",
        "type": "Normal",
        "note": "10 to 25",
        "regarding": {"kind": "CanaryPolicy", "namespace": NAMESPACE, "name": "helloworld"},
    }


VS: Final = Ref(VIRTUAL_SERVICE, NAMESPACE, "helloworld")
POLICY: Final = Ref(CANARY_POLICY, NAMESPACE, "helloworld")


def version(obj: Object) -> str:
    answer: str = obj["metadata"]["resourceVersion"]
    return answer


def to(weight: int) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": WEIGHT, "value": weight}]


async def changes(
    cluster: Cluster, kind: Kind, resource_version: str, *, count: int, namespace: str | None = NAMESPACE
) -> list[Change]:
    """Collect the next changes of a watch, without its bookmarks."""
    stream = cluster.watch(kind, namespace=namespace, resource_version=resource_version)
    collected: list[Change] = []
    async with asyncio.timeout(PATIENCE_S), closing(stream):
        async for change in stream:
            if change.type is not ChangeType.BOOKMARK:
                collected.append(change)
            if len(collected) >= count:
                break
    return collected


@contextlib.asynccontextmanager
async def closing(stream: AsyncIterator[Change]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


class ClusterContract:
    # --- to be given by the subclass ----------------------------------------------------------------------------------

    @pytest.fixture
    async def cluster(self) -> Cluster:
        raise NotImplementedError

    async def apply(self, cluster: Cluster, obj: Object) -> Object:
        raise NotImplementedError

    async def delete(self, cluster: Cluster, ref: Ref) -> None:
        raise NotImplementedError

    async def expired_version(self, cluster: Cluster) -> str:
        """Give a resourceVersion that is not in the history any more."""
        raise NotImplementedError

    # --- get and list -------------------------------------------------------------------------------------------------

    async def test_a_new_object_has_what_the_server_adds(self, cluster: Cluster) -> None:
        await self.apply(cluster, virtual_service())
        obj = await cluster.get(VS)
        assert obj["spec"] == virtual_service()["spec"]
        assert obj["metadata"]["uid"]
        assert obj["metadata"]["creationTimestamp"].endswith("Z")
        assert obj["metadata"]["generation"] == 1
        assert version(obj)

    async def test_an_object_that_is_not_there_is_missing_by_name(self, cluster: Cluster) -> None:
        with pytest.raises(ObjectMissing, match="helloworld"):
            await cluster.get(VS)

    async def test_what_is_returned_belongs_to_the_caller(self, cluster: Cluster) -> None:
        await self.apply(cluster, virtual_service())
        (await cluster.get(VS))["spec"]["http"].clear()
        (await cluster.list(VIRTUAL_SERVICE)).items[0]["spec"]["http"].clear()
        assert (await cluster.get(VS))["spec"] == virtual_service()["spec"]

    async def test_a_list_is_of_one_namespace_or_of_all(self, cluster: Cluster) -> None:
        await self.apply(cluster, virtual_service("one"))
        await self.apply(cluster, virtual_service("two", namespace=OTHER_NAMESPACE))
        there = (await cluster.list(VIRTUAL_SERVICE, namespace=NAMESPACE)).items
        everywhere = (await cluster.list(VIRTUAL_SERVICE)).items
        assert [obj["metadata"]["name"] for obj in there] == ["one"]
        assert {obj["metadata"]["name"] for obj in everywhere} >= {"one", "two"}

    async def test_listed_objects_are_as_get_returns_them(self, cluster: Cluster) -> None:
        await self.apply(cluster, virtual_service())
        await cluster.create(EVENT, event())
        for kind, name in ((VIRTUAL_SERVICE, "helloworld"), (EVENT, "helloworld.1")):
            listing = await cluster.list(kind, namespace=NAMESPACE)
            assert listing.items == [await cluster.get(Ref(kind, NAMESPACE, name))]
            assert listing.items[0]["kind"] == kind.kind
            assert listing.items[0]["apiVersion"] == kind.api_version

    async def test_an_empty_list_has_a_version_to_watch_from(self, cluster: Cluster) -> None:
        listing = await cluster.list(VIRTUAL_SERVICE, namespace=NAMESPACE)
        assert listing.items == []
        await self.apply(cluster, virtual_service())
        (change,) = await changes(cluster, VIRTUAL_SERVICE, listing.resource_version, count=1)
        assert change.type is ChangeType.ADDED

    # --- patch --------------------------------------------------------------------------------------------------------

    async def test_a_patch_changes_what_it_names_and_nothing_else(self, cluster: Cluster) -> None:
        before = await self.apply(cluster, virtual_service())
        operations = [
            {"op": "test", "path": "/metadata/uid", "value": before["metadata"]["uid"]},
            {"op": "test", "path": "/spec/http/0/name", "value": "primary"},
            {"op": "test", "path": "/spec/http/0/route/1/destination", "value": {"subset": "v2", "host": "helloworld"}},
            {"op": "test", "path": WEIGHT, "value": 10},
            {"op": "replace", "path": "/spec/http/0/route/0/weight", "value": 75},
            {"op": "replace", "path": WEIGHT, "value": 25},
        ]
        given = copy.deepcopy(operations)
        answer = await cluster.patch(VS, operations)
        assert operations == given
        assert answer == await cluster.get(VS)
        assert answer["spec"] == virtual_service(weights=(75, 25))["spec"]
        assert answer["metadata"]["uid"] == before["metadata"]["uid"]
        assert answer["metadata"]["generation"] == 2
        assert version(answer) != version(before)

    @pytest.mark.parametrize(
        "test",
        [
            {"op": "test", "path": WEIGHT, "value": 11},
            {"op": "test", "path": WEIGHT, "value": "10"},
            {"op": "test", "path": "/metadata/uid", "value": "another"},
            {"op": "test", "path": "/metadata/resourceVersion", "value": "1"},
            {"op": "test", "path": "/metadata/annotations/example.com~1epoch", "value": "7"},
            {"op": "test", "path": "/spec/http/7/name", "value": "primary"},
            {"op": "test", "path": "/spec/tcp/0/name", "value": "primary"},
        ],
        ids=lambda test: f"{test['path']}={test['value']}",
    )
    async def test_a_failed_test_is_a_conflict_and_nothing_is_written(self, cluster: Cluster, test: Any) -> None:
        before = await self.apply(cluster, virtual_service())
        with pytest.raises(ConflictError, match="test"):
            await cluster.patch(VS, [*to(25), test])
        assert await cluster.get(VS) == before

    async def test_a_patch_that_carries_an_older_version_is_a_conflict(self, cluster: Cluster) -> None:
        first = await self.apply(cluster, virtual_service())
        second = await cluster.patch(VS, to(25))
        carried = {"op": "replace", "path": "/metadata/resourceVersion", "value": version(first)}
        with pytest.raises(ConflictError, match="the object has been modified"):
            await cluster.patch(VS, [carried, *to(50)])
        assert await cluster.get(VS) == second

    async def test_testing_for_null_passes_where_there_is_nothing(self, cluster: Cluster) -> None:
        await self.apply(cluster, virtual_service())
        absent = {"op": "test", "path": "/metadata/annotations/example.com~1epoch", "value": None}
        answer = await cluster.patch(VS, [absent, {**absent, "op": "add", "value": "1"}])
        assert answer["metadata"]["annotations"] == {"example.com/owner": "team a", "example.com/epoch": "1"}
        with pytest.raises(ConflictError):
            await cluster.patch(VS, [absent])

    async def test_annotations_do_not_move_the_generation(self, cluster: Cluster) -> None:
        before = await self.apply(cluster, virtual_service())
        operation = {"op": "replace", "path": "/metadata/annotations/example.com~1owner", "value": "team b"}
        answer = await cluster.patch(VS, [operation])
        assert answer["metadata"]["annotations"] == {"example.com/owner": "team b"}
        assert answer["metadata"]["generation"] == before["metadata"]["generation"]
        assert version(answer) != version(before)

    @pytest.mark.parametrize(
        "operation",
        [
            {"op": "replace", "path": WEIGHT, "value": "25"},
            {"op": "replace", "path": "/metadata/name", "value": "other"},
            {"op": "replace", "path": "/metadata/uid", "value": "5e9b2a4e-0000-4000-8000-000000000000"},
            {"op": "replace", "path": "/metadata/annotations/example.com~1owner", "value": 7},
            {"op": "replace", "path": 7, "value": 25},
        ],
        ids=lambda operation: f"{operation['op']} {operation['path']}",
    )
    async def test_a_patch_that_cannot_be_is_refused_and_nothing_is_written(
        self, cluster: Cluster, operation: Any
    ) -> None:
        before = await self.apply(cluster, virtual_service())
        with pytest.raises(WriteRefused):
            await cluster.patch(VS, [*to(25), operation])
        assert await cluster.get(VS) == before

    @pytest.mark.parametrize(
        "operation",
        [
            {"op": "replace", "path": "/spec/http/7/name", "value": "primary"},
            {"op": "remove", "path": "/spec/nothing"},
            {"op": "add", "path": "/spec/no/where", "value": 1},
            {"op": "jump", "path": WEIGHT},
            {"path": WEIGHT, "value": 25},
            {"op": "replace", "path": "spec", "value": {}},
            {"op": "test", "path": WEIGHT},
        ],
        ids=lambda operation: f"{operation.get('op')} {operation.get('path')}",
    )
    async def test_a_patch_that_does_not_apply_is_a_conflict_and_nothing_is_written(
        self, cluster: Cluster, operation: Any
    ) -> None:
        """The API server does not tell a failed test from an operation that leads nowhere."""
        before = await self.apply(cluster, virtual_service())
        with pytest.raises(ConflictError):
            await cluster.patch(VS, [*to(25), operation])
        assert await cluster.get(VS) == before

    @pytest.mark.parametrize(
        ("field", "value"), [("creationTimestamp", "2020-01-01T00:00:00Z"), ("generation", 77)], ids=str
    )
    async def test_what_the_server_keeps_itself_stays_as_it_is(
        self, cluster: Cluster, field: str, value: object
    ) -> None:
        before = await self.apply(cluster, virtual_service())
        assert await cluster.patch(VS, [{"op": "replace", "path": f"/metadata/{field}", "value": value}]) == before

    async def test_a_patch_that_drops_the_version_is_refused(self, cluster: Cluster) -> None:
        before = await self.apply(cluster, virtual_service())
        with pytest.raises(WriteRefused, match="must be specified for an update"):
            await cluster.patch(VS, [{"op": "remove", "path": "/metadata/resourceVersion"}, *to(25)])
        assert await cluster.get(VS) == before

    async def test_patching_what_is_not_there_says_so(self, cluster: Cluster) -> None:
        with pytest.raises(ObjectMissing, match="helloworld"):
            await cluster.patch(VS, to(25))

    async def test_a_patch_that_changes_nothing_is_no_write(self, cluster: Cluster) -> None:
        before = await self.apply(cluster, virtual_service())
        assert await cluster.patch(VS, to(10)) == before
        assert await cluster.get(VS) == before

    async def test_a_dry_run_answers_and_writes_nothing(self, cluster: Cluster) -> None:
        before = await self.apply(cluster, virtual_service())
        answer = await cluster.patch(VS, to(25), dry_run=True)
        assert answer["spec"] == virtual_service(weights=(90, 25))["spec"]
        assert await cluster.get(VS) == before

    async def test_a_dry_run_fails_as_the_write_would(self, cluster: Cluster) -> None:
        await self.apply(cluster, virtual_service())
        with pytest.raises(ConflictError):
            await cluster.patch(VS, [{"op": "test", "path": WEIGHT, "value": 11}], dry_run=True)
        with pytest.raises(WriteRefused):
            await cluster.patch(VS, [{"op": "replace", "path": WEIGHT, "value": "25"}], dry_run=True)

    async def test_a_patch_leaves_the_status_alone(self, cluster: Cluster) -> None:
        obj = await self.apply(cluster, canary_policy())
        obj = await cluster.replace_status(POLICY, {**obj, "status": {"phase": "Idle"}})
        suspend = {"op": "add", "path": "/spec/suspend", "value": True}
        answer = await cluster.patch(POLICY, [suspend, {"op": "replace", "path": "/status/phase", "value": "Promoted"}])
        assert answer["spec"]["suspend"] is True
        assert answer["status"] == {"phase": "Idle"}

    # --- status -------------------------------------------------------------------------------------------------------

    async def test_writing_a_status_writes_nothing_but_the_status(self, cluster: Cluster) -> None:
        before = await self.apply(cluster, canary_policy())
        foreign = {**before["spec"], "suspend": True}
        answer = await cluster.replace_status(POLICY, {**before, "spec": foreign, "status": {"phase": "Idle"}})
        assert answer == await cluster.get(POLICY)
        assert answer["status"] == {"phase": "Idle"}
        assert answer["spec"] == before["spec"]
        assert answer["metadata"]["generation"] == before["metadata"]["generation"]
        assert version(answer) != version(before)

    async def test_a_status_from_an_older_version_is_a_conflict(self, cluster: Cluster) -> None:
        first = await self.apply(cluster, canary_policy())
        second = await cluster.replace_status(POLICY, {**first, "status": {"phase": "Idle"}})
        with pytest.raises(ConflictError, match="the object has been modified"):
            await cluster.replace_status(POLICY, {**first, "status": {"phase": "Pending"}})
        assert await cluster.get(POLICY) == second

    async def test_a_status_without_a_version_is_refused(self, cluster: Cluster) -> None:
        await self.apply(cluster, canary_policy())
        with pytest.raises(WriteRefused, match="resourceVersion"):
            await cluster.replace_status(POLICY, {**canary_policy(), "status": {"phase": "Idle"}})

    async def test_the_status_of_what_is_not_there_cannot_be_written(self, cluster: Cluster) -> None:
        before = await self.apply(cluster, canary_policy())
        await self.delete(cluster, POLICY)
        with pytest.raises(ObjectMissing, match="helloworld"):
            await cluster.replace_status(POLICY, {**before, "status": {"phase": "Idle"}})

    async def test_the_same_status_again_is_no_write(self, cluster: Cluster) -> None:
        obj = await self.apply(cluster, canary_policy())
        obj = await cluster.replace_status(POLICY, {**obj, "status": {"phase": "Idle"}})
        assert await cluster.replace_status(POLICY, obj) == obj

    # --- create -------------------------------------------------------------------------------------------------------

    async def test_a_created_object_can_be_read(self, cluster: Cluster) -> None:
        given = event()
        answer = await cluster.create(EVENT, given)
        assert given == event()
        assert answer == await cluster.get(Ref(EVENT, NAMESPACE, "helloworld.1"))
        assert answer["note"] == "10 to 25"

    async def test_a_name_can_be_taken_only_once(self, cluster: Cluster) -> None:
        first = await cluster.create(CANARY_POLICY, canary_policy())
        with pytest.raises(ConflictError, match="already exists"):
            await cluster.create(CANARY_POLICY, canary_policy())
        assert await cluster.get(POLICY) == first

    async def test_an_invalid_name_is_refused(self, cluster: Cluster) -> None:
        with pytest.raises(WriteRefused, match=r"metadata\.name"):
            await cluster.create(CANARY_POLICY, canary_policy("Hello_World"))

    async def test_a_new_policy_has_a_status_that_speaks_of_no_generation(self, cluster: Cluster) -> None:
        """By the definition's default, whatever its author wrote."""
        answer = await cluster.create(CANARY_POLICY, {**canary_policy(), "status": {"phase": "Promoted"}})
        assert answer["status"] == {"observedGeneration": -1}
        assert await cluster.get(POLICY) == answer
        assert (await cluster.list(CANARY_POLICY, namespace=NAMESPACE)).items == [answer]

    async def test_a_default_is_stored_by_the_first_write_even_by_one_that_changes_nothing(
        self, cluster: Cluster
    ) -> None:
        added = await cluster.create(CANARY_POLICY, canary_policy())
        nothing = [{"op": "test", "path": "/kind", "value": "CanaryPolicy"}]
        first = await cluster.patch(POLICY, nothing)
        assert version(first) != version(added)
        assert first["status"] == added["status"]
        assert await cluster.patch(POLICY, nothing) == first
        seen = await changes(cluster, CANARY_POLICY, version(added), count=1)
        assert seen == [(ChangeType.MODIFIED, first)]

    async def test_a_new_object_of_another_kind_has_no_status_yet(self, cluster: Cluster) -> None:
        answer = await cluster.create(VIRTUAL_SERVICE, {**virtual_service(), "status": {"observedGeneration": "1"}})
        assert "status" not in answer

    async def test_an_object_made_again_is_another_one(self, cluster: Cluster) -> None:
        first = await self.apply(cluster, canary_policy())
        await self.delete(cluster, POLICY)
        with pytest.raises(ObjectMissing):
            await cluster.get(POLICY)
        assert (await self.apply(cluster, canary_policy()))["metadata"]["uid"] != first["metadata"]["uid"]

    @pytest.mark.parametrize(
        "change",
        [
            {"eventTime": "2026-11-20T10:00:00Z"},
            {"eventTime": None},
            {"note": "ä" * 513},
            {"reportingInstance": ""},
            {"reportingInstance": "x" * 129},
            {"reportingController": ""},
            {"action": ""},
            {"reason": ""},
            {"reason": "x" * 129},
            {"type": "Page"},
            {"series": {"count": 1, "lastObservedTime": "2026-11-20T10:00:00.000000Z"}},
            {"regarding": {}},
        ],
        ids=lambda change: f"{next(iter(change))}={next(iter(change.values()))!r:.30}",
    )
    async def test_an_event_that_is_not_as_the_server_wants_it_is_refused(self, cluster: Cluster, change: Any) -> None:
        wrong = {key: value for key, value in (event() | change).items() if value is not None}
        with pytest.raises(WriteRefused):
            await cluster.create(EVENT, wrong)

    async def test_an_event_may_fill_its_limits(self, cluster: Cluster) -> None:
        full = event() | {"note": "ä" * 512, "reportingInstance": "x" * 128, "reason": "y" * 128, "action": "z" * 128}
        assert (await cluster.create(EVENT, full))["note"] == full["note"]

    # --- watch --------------------------------------------------------------------------------------------------------

    async def test_a_watch_reports_every_change_in_order(self, cluster: Cluster) -> None:
        listing = await cluster.list(VIRTUAL_SERVICE, namespace=NAMESPACE)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(changes(cluster, VIRTUAL_SERVICE, listing.resource_version, count=4))
            added = await self.apply(cluster, virtual_service())
            first = await cluster.patch(VS, to(25))
            second = await cluster.patch(VS, to(50))
            await self.delete(cluster, VS)
        *seen, deleted = watching.result()
        assert seen == [
            (ChangeType.ADDED, added),
            (ChangeType.MODIFIED, first),
            (ChangeType.MODIFIED, second),
        ]
        assert deleted.type is ChangeType.DELETED
        assert deleted.object["metadata"]["uid"] == added["metadata"]["uid"]
        assert version(deleted.object) != version(second)

    async def test_a_watch_from_a_version_begins_after_it(self, cluster: Cluster) -> None:
        added = await self.apply(cluster, virtual_service())
        first = await cluster.patch(VS, to(25))
        second = await cluster.patch(VS, to(50))
        assert await changes(cluster, VIRTUAL_SERVICE, version(added), count=2) == [
            (ChangeType.MODIFIED, first),
            (ChangeType.MODIFIED, second),
        ]
        assert await changes(cluster, VIRTUAL_SERVICE, version(first), count=1) == [(ChangeType.MODIFIED, second)]

    async def test_a_watch_reports_the_status_but_no_write_that_changes_nothing(self, cluster: Cluster) -> None:
        added = await self.apply(cluster, canary_policy())
        idle = await cluster.replace_status(POLICY, {**added, "status": {"phase": "Idle"}})
        await cluster.patch(POLICY, [{"op": "test", "path": "/kind", "value": "CanaryPolicy"}])
        await cluster.replace_status(POLICY, idle)
        pending = await cluster.replace_status(POLICY, {**idle, "status": {"phase": "Pending"}})
        seen = await changes(cluster, CANARY_POLICY, version(added), count=2)
        assert [change.object for change in seen] == [idle, pending]

    async def test_a_watch_is_of_one_namespace_or_of_all(self, cluster: Cluster) -> None:
        start = (await cluster.list(VIRTUAL_SERVICE)).resource_version
        await self.apply(cluster, virtual_service("one", namespace=OTHER_NAMESPACE))
        await self.apply(cluster, virtual_service("two"))
        (there,) = await changes(cluster, VIRTUAL_SERVICE, start, count=1)
        everywhere = await changes(cluster, VIRTUAL_SERVICE, start, count=2, namespace=None)
        assert there.object["metadata"]["name"] == "two"
        assert [change.object["metadata"]["name"] for change in everywhere] == ["one", "two"]

    async def test_a_watch_is_of_one_kind(self, cluster: Cluster) -> None:
        start = (await cluster.list(VIRTUAL_SERVICE)).resource_version
        await self.apply(cluster, canary_policy())
        await self.apply(cluster, virtual_service())
        (change,) = await changes(cluster, VIRTUAL_SERVICE, start, count=1)
        assert change.object["kind"] == "VirtualService"

    async def test_two_watches_hear_the_same(self, cluster: Cluster) -> None:
        start = (await cluster.list(VIRTUAL_SERVICE)).resource_version
        async with asyncio.TaskGroup() as group:
            watching = [group.create_task(changes(cluster, VIRTUAL_SERVICE, start, count=2)) for _ in range(2)]
            await self.apply(cluster, virtual_service())
            await cluster.patch(VS, to(25))
        one, other = (watch.result() for watch in watching)
        assert one == other
        assert [change.type for change in one] == [ChangeType.ADDED, ChangeType.MODIFIED]

    async def test_a_watch_from_before_the_history_has_expired(self, cluster: Cluster) -> None:
        too_old = await self.expired_version(cluster)
        with pytest.raises(WatchExpired):
            await changes(cluster, VIRTUAL_SERVICE, too_old, count=1)
