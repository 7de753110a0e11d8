import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import looptime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from analyzer.adapters.memory import MemoryCluster
from analyzer.app.cache import ClusterCache
from analyzer.app.mirror import Mirror
from analyzer.errors import ClusterUnavailable, InvariantViolation, WatchExpired, WriteRefused
from analyzer.ports import (
    CANARY_POLICY,
    SERVICE,
    VIRTUAL_SERVICE,
    Change,
    ChangeType,
    Cluster,
    Kind,
    Listing,
    Object,
    Ref,
)
from tests.fakes import Decide, FaultyCluster, Hung, ManualClock, Phase, StreamClosed

KINDS = (VIRTUAL_SERVICE, SERVICE)


class LoopClock:
    """The virtual time of the test's event loop."""

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    monotonic_s = now_s


class World:
    """A cluster, a cache that follows it, and what the cache reported."""

    def __init__(self, decide: Decide = lambda _number, _method, _phase: None, **options: Any) -> None:
        self.memory = MemoryCluster(ManualClock())
        self.faulty = FaultyCluster(self.memory, decide)
        self.reports: list[str] = []
        self.reported: dict[Ref, Object] = {}
        self.cache = cache_of(self.faulty, on_change=self.note, **options)

    def note(self, kind: Kind, obj: Object) -> None:
        ref = Ref(kind, obj["metadata"]["namespace"], obj["metadata"]["name"])
        there = self.cache.get(ref)
        self.reports.append(f"{ref.name} {'is' if there else 'gone'}")
        if there is None:
            self.reported.pop(ref, None)
        else:
            assert there is obj
            self.reported[ref] = obj


def cache_of(cluster: Cluster, **options: Any) -> ClusterCache:
    defaults: dict[str, Any] = {"kinds": KINDS, "clock": LoopClock(), "rng": random.Random(1)}
    return ClusterCache(cluster, **{**defaults, **options})


@asynccontextmanager
async def following(cache: ClusterCache) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(cache.run())
        yield
        task.cancel()


def virtually(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a story on virtual time: sleeping costs nothing."""
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(story())


def service(name: str, *, namespace: str = "shop", port: int = 80) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": port}]}}


def ref(name: str) -> Ref:
    return Ref(SERVICE, "shop", name)


def to(port: int) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": "/spec/ports/0/port", "value": port}]


def names(cache: ClusterCache, namespace: str | None = None) -> list[str]:
    return [obj["metadata"]["name"] for obj in cache.list(SERVICE, namespace)]


# --- what is there ----------------------------------------------------------------------------------------------------


def test_the_cache_holds_what_was_there_and_what_came() -> None:
    async def story() -> None:
        world = World()
        world.memory.apply(service("b"))
        world.memory.apply(service("c", namespace="other"))
        async with following(world.cache):
            await world.cache.synced.wait()
            world.memory.apply(service("a"))
            await asyncio.sleep(0.1)
            assert names(world.cache) == ["c", "a", "b"]
            assert names(world.cache, "shop") == ["a", "b"]
            assert names(world.cache, "nowhere") == []
            assert world.cache.get(ref("a")) == await world.memory.get(ref("a"))
            assert world.cache.get(ref("c")) is None
            world.memory.apply(service("a", port=81))
            world.memory.delete(ref("b"))
            await asyncio.sleep(0.1)
            assert world.cache.get(ref("a")) == await world.memory.get(ref("a"))
            assert names(world.cache, "shop") == ["a"]
        assert world.reports == ["c is", "b is", "a is", "a is", "b gone"]

    virtually(story)


def test_the_cache_of_one_namespace_knows_no_other() -> None:
    async def story() -> None:
        world = World(namespaces=["shop"])
        world.memory.apply(service("a", namespace="other"))
        async with following(world.cache):
            await world.cache.synced.wait()
            world.memory.apply(service("b", namespace="other"))
            world.memory.apply(service("c"))
            await asyncio.sleep(0.1)
            assert names(world.cache) == ["c"]

    virtually(story)


def test_what_is_not_followed_cannot_be_asked_for() -> None:
    cache = cache_of(MemoryCluster(ManualClock()))
    with pytest.raises(InvariantViolation, match=r"does not follow canarypolicies\.serin\.dev"):
        cache.list(CANARY_POLICY)
    with pytest.raises(InvariantViolation, match="does not follow v1 Pod"):
        cache.put({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": "a"}})


def test_synced_means_that_every_kind_was_listed() -> None:
    async def story() -> None:
        refused = WriteRefused("services is forbidden")
        world = World(lambda number, method, _phase: refused if method == "list" and number == 2 else None)
        async with following(world.cache):
            for _ in range(20):  # rounds of the event loop; no time passes
                await asyncio.sleep(0)
            assert world.faulty.calls[:2] == ["list", "list"]
            assert not world.cache.synced.is_set()
            await asyncio.sleep(1)
            assert world.cache.synced.is_set()

    virtually(story)


def test_an_error_in_the_callback_ends_the_run() -> None:
    async def story() -> None:
        memory = MemoryCluster(ManualClock())
        memory.apply(service("a"))

        def broken(_kind: Kind, _obj: Object) -> None:
            raise InvariantViolation("a bug")

        await cache_of(memory, on_change=broken).run()

    with pytest.raises(ExceptionGroup) as caught:
        virtually(story)
    assert caught.group_contains(InvariantViolation)


# --- trouble ----------------------------------------------------------------------------------------------------------


def test_what_happened_while_the_history_was_lost_is_found_by_listing() -> None:
    async def story() -> None:
        world = World()
        for name in ("kept", "changed", "deleted"):
            world.memory.apply(service(name))
        async with following(world.cache):
            await world.cache.synced.wait()
            await asyncio.sleep(1)
            world.reports.clear()
            world.memory.close_watches()
            world.memory.apply(service("changed", port=81))
            world.memory.delete(ref("deleted"))
            world.memory.apply(service("new"))
            world.memory.compact()
            await asyncio.sleep(1)
            assert names(world.cache) == ["changed", "kept", "new"]
            assert world.reports == ["changed is", "new is", "deleted gone"]

    virtually(story)


def test_a_server_that_closes_every_stream_at_once_is_not_hammered() -> None:
    async def story() -> None:
        world = World(lambda _number, method, _phase: StreamClosed() if method == "watch" else None, kinds=[SERVICE])
        async with following(world.cache):
            await asyncio.sleep(600)
        assert 60 <= world.faulty.calls.count("watch") <= 150

    virtually(story)


@pytest.mark.parametrize("error", [ClusterUnavailable("connection refused"), WatchExpired("too old"), TimeoutError()])
def test_a_server_that_fails_every_call_is_not_hammered(error: Exception) -> None:
    async def story() -> None:
        world = World(lambda _number, method, _phase: error if method == "watch" else None, kinds=[SERVICE])
        async with following(world.cache):
            await asyncio.sleep(600)
        assert world.faulty.call_count <= 300

    virtually(story)


def test_a_retry_waits_as_long_as_the_server_said() -> None:
    async def story() -> None:
        busy = ClusterUnavailable("too many requests", retry_after_s=40.0)
        world = World(lambda number, _method, _phase: busy if number == 1 else None, kinds=[SERVICE])
        async with following(world.cache):
            await asyncio.sleep(39)
            assert world.faulty.call_count == 1
            await asyncio.sleep(2)
            assert world.cache.synced.is_set()

    virtually(story)


def test_the_cache_of_some_namespaces_knows_all_of_them_and_no_other() -> None:
    async def story() -> None:
        world = World(namespaces=["shop", "bakery"])
        for namespace in ("shop", "bakery", "other"):
            world.memory.apply(service(f"first-{namespace}", namespace=namespace))
        async with following(world.cache):
            await world.cache.synced.wait()
            for namespace in ("shop", "bakery", "other"):
                world.memory.apply(service(f"second-{namespace}", namespace=namespace))
            await asyncio.sleep(0.1)
            assert names(world.cache) == ["first-bakery", "second-bakery", "first-shop", "second-shop"]
            assert names(world.cache, "shop") == ["first-shop", "second-shop"]
            assert names(world.cache, "other") == []
            assert world.cache.get(ref("first-shop")) is not None
            assert world.cache.get(Ref(SERVICE, "other", "first-other")) is None
            assert world.cache.put(await world.memory.get(Ref(SERVICE, "bakery", "first-bakery"))) is False

    virtually(story)


def test_a_loss_is_logged_once_and_its_end_once_and_meanwhile_the_cache_grows_stale() -> None:
    async def story() -> None:
        down = False
        unavailable = ClusterUnavailable("connection refused")
        world = World(lambda _number, _method, _phase: unavailable if down else None, kinds=[SERVICE])
        assert world.cache.stale_s() == float("inf")
        async with following(world.cache):
            await world.cache.synced.wait()
            assert world.cache.stale_s(SERVICE) == 0.0
            down = True
            world.memory.apply(service("a"))
            await asyncio.sleep(100)
            assert world.cache.stale_s(SERVICE) == world.cache.stale_s() == pytest.approx(100)
            assert world.cache.get(ref("a")) is None
            down = False
            await asyncio.sleep(15)
            assert world.cache.stale_s() < 15
            assert world.cache.get(ref("a")) is not None

    with capture_logs() as logs:
        virtually(story)
    lost, regained = logs
    assert (lost["event"], lost["reason"], lost["kind"]) == ("cluster_lost", "ClusterUnavailable", "Service")
    assert (regained["event"], regained["log_level"]) == ("cluster_regained", "info")
    assert 100 < regained["silent_s"] < 115


def test_a_half_open_connection_costs_no_more_than_the_idle_limit() -> None:
    async def story() -> None:
        world = World(lambda _number, method, _phase: Hung() if method == "watch" else None, kinds=[SERVICE], idle_s=20)
        async with following(world.cache):
            await world.cache.synced.wait()
            world.memory.apply(service("a"))
            await asyncio.sleep(21)
            assert names(world.cache) == ["a"]
            await asyncio.sleep(1_000)
            assert world.cache.stale_s() < 21

    with capture_logs() as logs:
        virtually(story)
    assert logs == []


def test_a_list_that_never_answers_is_given_up() -> None:
    async def story() -> None:
        world = World(
            lambda number, _method, _phase: Hung() if number == 1 else None, kinds=[SERVICE], call_timeout_s=3
        )
        async with following(world.cache):
            await asyncio.sleep(4)
            assert world.cache.synced.is_set()

    virtually(story)


class Deaf(MemoryCluster):
    """Its watches have every bookmark, and forget every change."""

    async def watch(self, kind: Kind, *, namespace: str | None = None, resource_version: str) -> AsyncIterator[Change]:
        async for change in super().watch(kind, namespace=namespace, resource_version=resource_version):
            if change.type is ChangeType.BOOKMARK:
                yield change


def test_what_a_lively_watch_never_said_is_found_at_the_next_resync() -> None:
    async def story() -> None:
        memory = Deaf(ManualClock(), bookmark_s=1.0)
        cache = cache_of(memory, kinds=[SERVICE], resync_s=60)
        async with following(cache):
            await cache.synced.wait()
            memory.apply(service("a"))
            await asyncio.sleep(30)
            assert names(cache) == []
            await asyncio.sleep(31)
            assert names(cache) == ["a"]

    virtually(story)


def test_a_store_that_went_back_is_believed() -> None:
    async def story() -> None:
        world = World(kinds=[SERVICE], idle_s=20)
        for port in range(80, 90):
            world.memory.apply(service("a", port=port))
        async with following(world.cache):
            await world.cache.synced.wait()
            restored = MemoryCluster(ManualClock())
            restored.apply(service("b"))
            world.faulty.inner = restored
            world.memory.close_watches()
            await asyncio.sleep(60)
            assert names(world.cache) == ["b"]
            restored.apply(service("b", port=81))
            await asyncio.sleep(1)
            assert world.cache.get(ref("b")) == await restored.get(ref("b"))
        assert world.reports == ["a is", "b is", "a gone", "b is"]

    virtually(story)


def test_a_stream_that_ends_well_is_opened_again_where_it_ended_and_one_that_breaks_is_checked_with_a_list() -> None:
    async def story() -> None:
        broken = False
        reset = ClusterUnavailable("connection reset")
        world = World(lambda _number, method, _phase: reset if broken and method == "watch" else None, kinds=[SERVICE])
        async with following(world.cache):
            await asyncio.sleep(1)
            world.memory.close_watches()
            await asyncio.sleep(1)
            assert world.faulty.calls == ["list", "watch", "watch"]
            broken = True
            world.memory.close_watches()
            await asyncio.sleep(0.01)
            broken = False
            await asyncio.sleep(1)
            assert world.faulty.calls == ["list", "watch", "watch", "list", "watch"]

    virtually(story)


def test_every_event_of_a_watch_shows_that_the_server_is_there() -> None:
    async def story() -> None:
        world = World(kinds=[SERVICE], resync_s=1_000, idle_s=1_000)
        async with following(world.cache):
            await world.cache.synced.wait()
            for port in range(80, 90):
                await asyncio.sleep(10)
                world.memory.apply(service("a", port=port))
            await asyncio.sleep(1)
            assert world.cache.stale_s() == pytest.approx(1)
            assert world.faulty.calls == ["list", "watch"]

    virtually(story)


# --- our own writes ---------------------------------------------------------------------------------------------------


def test_the_answer_to_our_own_write_is_there_at_once_and_not_reported_back() -> None:
    async def story() -> None:
        world = World(watch_never)  # else the watch may be faster than the answer
        world.memory.apply(service("a"))
        async with following(world.cache):
            await world.cache.synced.wait()
            answer = await world.memory.patch(ref("a"), to(81))
            assert world.cache.put(answer)
            assert world.cache.get(ref("a")) == answer
            await asyncio.sleep(60)
            assert world.cache.get(ref("a")) == answer
        assert world.reports == ["a is"]

    virtually(story)


def test_an_answer_that_is_late_does_not_turn_the_cache_back() -> None:
    async def story() -> None:
        world = World()
        for name in ("a", "b"):
            world.memory.apply(service(name))
        async with following(world.cache):
            await world.cache.synced.wait()
            late = [await world.memory.patch(ref(name), to(81)) for name in ("a", "b")]
            newest = await world.memory.patch(ref("a"), to(82))
            world.memory.delete(ref("b"))
            await asyncio.sleep(1)
            assert [world.cache.put(answer) for answer in late] == [False, False]
            assert world.cache.list(SERVICE) == [newest]

    virtually(story)


def test_a_list_that_is_older_than_our_own_write_does_not_take_it_back() -> None:
    async def story() -> None:
        world = World(kinds=[SERVICE])
        world.memory.apply(service("a"))

        class Slow(FaultyCluster):
            """Answers a list after what the loop wrote meanwhile."""

            async def list(self, kind: Kind, *, namespace: str | None = None) -> Any:
                listing = await super().list(kind, namespace=namespace)
                cache.put(await world.memory.patch(ref("a"), to(81)))
                cache.put(await world.memory.create(SERVICE, service(f"b{self.call_count}")))
                return listing

        cache = cache_of(Slow(world.memory, watch_never), kinds=[SERVICE])
        async with following(cache):
            await cache.synced.wait()
            assert names(cache) == ["a", "b1"]
            assert cache.get(ref("a")) == await world.memory.get(ref("a"))

    virtually(story)


def test_the_end_of_an_object_that_was_made_again_is_no_news() -> None:
    story = [
        {"metadata": {"namespace": "shop", "name": "a", "resourceVersion": str(number)}} for number in range(1, 10)
    ]
    mirror = Mirror(SERVICE)
    mirror.replace(Listing([story[1]], "2"))
    assert mirror.put(story[5])
    assert not mirror.absorb(Change(ChangeType.DELETED, story[4]))
    assert not mirror.absorb(Change(ChangeType.ADDED, story[5]))
    assert mirror.objects() == [story[5]]
    assert mirror.absorb(Change(ChangeType.DELETED, story[6]))
    assert mirror.objects() == []


def test_a_namespace_that_is_empty_again_is_forgotten() -> None:
    first, last = ({"metadata": {"namespace": "pr-1", "name": "a", "resourceVersion": version}} for version in "12")
    mirror = Mirror(SERVICE)
    mirror.replace(Listing([first], "1"))
    assert mirror.absorb(Change(ChangeType.DELETED, last))
    assert mirror._objects == {}


def test_what_is_found_by_a_word_is_what_has_it_now() -> None:
    rng = random.Random(1)
    mirror = Mirror(SERVICE, lambda obj: obj["words"])
    seen = 0
    for version in range(1, 400):
        name, words = rng.choice("abc"), rng.sample("xyz", rng.randrange(4))
        obj = {"metadata": {"namespace": "shop", "name": name, "resourceVersion": str(version)}, "words": words}
        match rng.randrange(6):
            case 0:
                mirror.absorb(Change(ChangeType.DELETED, obj))
            case 1:
                mirror.replace(Listing(rng.sample([obj, *mirror.objects()], 1), str(version)))
            case _:
                mirror.put(obj)
        for word in "xyz":
            there = [obj for obj in mirror.objects() if word in obj["words"]]
            assert mirror.find(word) == there
            seen += len(there)
    assert seen > 100


def watch_never(_number: int, method: str, _phase: Phase) -> BaseException | None:
    return Hung() if method == "watch" else None


# --- everything at once -----------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("apply"), NAMES, st.integers(80, 83)),
        st.tuples(st.just("delete"), NAMES, st.just(0)),
        st.tuples(st.just("write"), NAMES, st.integers(80, 83)),
        st.tuples(st.just("compact"), NAMES, st.just(0)),
        st.tuples(st.just("close"), NAMES, st.just(0)),
        st.tuples(st.just("wait"), NAMES, st.sampled_from([0, 1, 30])),
    ),
    max_size=30,
)


async def take(step: tuple[str, str, int], world: World) -> None:
    """Do one thing to the cluster, as users or the loop itself do."""
    what, name, number = step
    there = ref(name) in {
        Ref(SERVICE, "shop", obj["metadata"]["name"]) for obj in (await world.memory.list(SERVICE)).items
    }
    if what == "apply":
        world.memory.apply(service(name, port=number))
    elif what == "delete" and there:
        world.memory.delete(ref(name))
    elif what == "write" and there:
        answer = await world.memory.patch(ref(name), to(number))
        if world.cache.put(answer):
            world.reported[ref(name)] = answer
    elif what == "compact":
        world.memory.compact()
    elif what == "close":
        world.memory.close_watches()
    elif what == "wait":
        await asyncio.sleep(number)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 2**32), share=st.sampled_from([0.0, 0.2, 0.6]))
def test_whatever_happens_the_cache_ends_with_what_is_there_and_has_reported_it(
    steps: list[tuple[str, str, int]], seed: int, share: float
) -> None:
    rng = random.Random(seed)
    calm = False
    faults: list[BaseException] = [ClusterUnavailable("down"), TimeoutError(), Hung(), WatchExpired("gone")]

    def decide(_number: int, method: str, _phase: Phase) -> BaseException | None:
        if calm or rng.random() >= share:
            return None
        return rng.choice([*faults, StreamClosed()] if method == "watch" else faults)

    async def story() -> None:
        nonlocal calm
        world = World(decide, kinds=[SERVICE], idle_s=20)
        async with following(world.cache):
            for step in steps:
                await take(step, world)
            calm = True
            await asyncio.sleep(60)
            there = (await world.memory.list(SERVICE)).items
            assert world.cache.list(SERVICE) == there
            assert [world.reported[key] for key in sorted(world.reported)] == there

    virtually(story)
