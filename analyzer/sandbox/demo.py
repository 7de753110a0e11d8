"""The demo: real traffic, real telemetry, three releases, and Serin's own daemon deciding about them."""

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from analyzer.adapters.clock import SystemClock
from analyzer.adapters.memory import MemoryCluster
from analyzer.assembly import Assembly, Settings, assemble
from analyzer.core.rollout import Phase, RolloutState
from analyzer.errors import SerinError
from analyzer.policy.examples import example_objects
from analyzer.ports import CANARY_POLICY, DEPLOYMENT, VIRTUAL_SERVICE, Object, Ref
from analyzer.sandbox.people import GATEWAY, Tally
from analyzer.sandbox.story import PERIOD_S, POLICY_SPEC, REQUESTS_PER_S, SCRAPE_S, SETTLE_S, Result, Scene
from analyzer.sandbox.view import Frame, Moment, View
from analyzer.sandbox.world import Options, World

NAMESPACE: Final = "helloworld"
POLICY: Final = Ref(CANARY_POLICY, NAMESPACE, "helloworld")
ROUTE: Final = Ref(VIRTUAL_SERVICE, NAMESPACE, "helloworld")
_FINAL: Final = frozenset({Phase.PROMOTED, Phase.ROLLED_BACK})
_FRAME_S: Final = 0.5
_SCENE_S: Final = 240.0
_SHRINK_S: Final = 60.0
_STABLE_PODS: Final = 6
_HISTORY: Final = 200


@dataclass
class Chronicle:
    """What happened, as anybody could see it from outside: weights and history from watches, replicas by looking."""

    world: World
    clock: SystemClock = field(default_factory=SystemClock)
    weights: dict[str, int] = field(default_factory=dict)
    weights_at_s: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    replicas: dict[str, int] = field(default_factory=dict)
    replicas_at_s: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    status: Object = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began_s = self.clock.monotonic_s()
        self._seen: set[tuple[str, str]] = set()

    @property
    def now_s(self) -> float:
        """Seconds since the demo began."""
        return self.clock.monotonic_s() - self._began_s

    def note(self, text: str) -> None:
        """Add something that happened."""
        self.moments.append(Moment(self.now_s, text))
        del self.moments[:-_HISTORY]

    async def follow_weights(self) -> None:
        """Note every change of the weights when it is made."""
        async for obj in _follow(self.world.cluster, ROUTE):
            entries = obj["spec"]["http"][0]["route"]
            weights = {entry["destination"]["subset"]: entry.get("weight", 0) for entry in entries}
            if weights != self.weights:
                self.weights = weights
                self.weights_at_s.append((self.now_s, weights))

    async def follow_policy(self) -> None:
        """Note what Serin writes about itself."""
        async for obj in _follow(self.world.cluster, POLICY):
            self.status = obj.get("status") or {}
            for entry in self.status.get("history") or ():
                key = (entry["at"], entry["message"])
                if key not in self._seen:
                    self._seen.add(key)
                    self.note(entry["message"])

    async def look_at_replicas(self) -> None:
        """Note the number of ready pods."""
        replicas = {name.removeprefix("helloworld-"): n for name, n in (await self.world.replicas()).items()}
        if replicas != self.replicas:
            self.replicas = replicas
            self.replicas_at_s.append((self.now_s, replicas))

    def replicas_since(self, at_s: float) -> list[tuple[float, dict[str, int]]]:
        """Return what the replicas were then, and their changes since."""
        before = [entry for entry in self.replicas_at_s if entry[0] < at_s]
        return [*before[-1:], *(entry for entry in self.replicas_at_s if entry[0] >= at_s)]


async def _follow(cluster: MemoryCluster, ref: Ref) -> AsyncIterator[Object]:
    """Yield one object, now and at every change."""
    listing = await cluster.list(ref.kind, namespace=ref.namespace)
    revision = listing.resource_version
    for obj in listing.items:
        if obj["metadata"]["name"] == ref.name:
            yield obj
    while True:
        async for change in cluster.watch(ref.kind, namespace=ref.namespace, resource_version=revision):
            revision = change.object["metadata"]["resourceVersion"]
            if change.object["metadata"].get("name") == ref.name:
                yield change.object


class Demo:
    """Plays scenes one after the other in one world."""

    def __init__(self, scenes: Sequence[Scene], view: View) -> None:
        self._scenes = scenes
        self._view = view
        self._number = 0

    async def play(self) -> list[Result]:
        """Play all scenes.

        Raises
        ------
        SerinError
            Something that the demo needs is not there or stopped, or a release came to no end.
        """
        self._view.say("Starting two versions of helloworld, Envoy, Prometheus and the users …")
        manifests = demo_manifests(self._scenes[0])
        templates = {
            obj["metadata"]["name"]: copy.deepcopy(obj["spec"]["template"])
            for obj in example_objects("helloworld")
            if obj["kind"] == "Deployment"
        }
        async with (
            World(manifests, Options(scrape_s=SCRAPE_S)) as world,
            assemble(
                world.cluster, Settings(prometheus_url=world.prometheus_url, period_s=PERIOD_S, settle_s=SETTLE_S)
            ) as serin,
            self._recorded(world, serin) as chronicle,
        ):
            await world.users.start(REQUESTS_PER_S)
            results = [
                await self._scene(number, chronicle=chronicle, templates=templates)
                for number in range(1, len(self._scenes) + 1)
            ]
            await world.users.stop()
        return results

    @asynccontextmanager
    async def _recorded(self, world: World, serin: Assembly) -> AsyncIterator[Chronicle]:
        """Run daemon, chronicle and picture beside the story."""
        chronicle = Chronicle(world)
        async with asyncio.TaskGroup() as tasks:
            daemon = tasks.create_task(serin.daemon.run())
            rest = [
                tasks.create_task(chronicle.follow_weights()),
                tasks.create_task(chronicle.follow_policy()),
                tasks.create_task(self._draw(serin, chronicle)),
            ]
            try:
                yield chronicle
            finally:
                for task in rest:
                    task.cancel()
                serin.daemon.stop()
                await daemon

    async def _draw(self, serin: Assembly, chronicle: Chronicle) -> None:
        while True:
            await chronicle.look_at_replicas()
            if self._number:
                self._view.show(
                    Frame(
                        at_s=chronicle.now_s,
                        number=self._number,
                        of=len(self._scenes),
                        scene=self._scenes[self._number - 1],
                        state=serin.daemon.state_of(POLICY) or RolloutState(),
                        weights=chronicle.weights,
                        replicas=chronicle.replicas,
                        moments=tuple(chronicle.moments),
                    )
                )
            await asyncio.sleep(_FRAME_S)

    async def _scene(self, number: int, *, chronicle: Chronicle, templates: Mapping[str, Object]) -> Result:
        scene, world = self._scenes[number - 1], chronicle.world
        self._number = number
        known = _canary_revision(chronicle)
        version = "v2" if number == 1 else _lighter(chronicle.weights)
        before, began_s = _copy(world.users.total), chronicle.now_s
        chronicle.note(f"Release {number}: {scene.title}, into {version}.")
        if number > 1:
            template = scene.release.template(templates[f"helloworld-{version}"], tag=f"release-{number}")
            await world.release(Ref(DEPLOYMENT, NAMESPACE, f"helloworld-{version}"), template)
        phase = await self._until_judged(chronicle, known, number=number)
        await self._two_reports(world)
        if phase is Phase.PROMOTED:
            await self._until_shrunk(chronicle, _lighter(chronicle.weights))
        return _result(scene, version, phase, chronicle, began_s=began_s, before=before, after=_copy(world.users.total))

    @staticmethod
    async def _until_judged(chronicle: Chronicle, known: str, *, number: int) -> Phase:
        """Wait until a canary revision other than `known` has come to its end."""
        try:
            async with asyncio.timeout(_SCENE_S):
                while chronicle.status.get("phase") not in _FINAL or _canary_revision(chronicle) == known:  # noqa: ASYNC110
                    await asyncio.sleep(_FRAME_S / 5)
        except TimeoutError:
            status = chronicle.status
            raise SerinError(
                f"release {number} came to no end within {_SCENE_S:.0f} s: {status.get('phase')}: {status.get('message')}"
            ) from None
        return Phase(chronicle.status["phase"])

    async def _until_shrunk(self, chronicle: Chronicle, version: str) -> None:
        """Watch the old version's HPA take its pods away; it is no failure if that takes longer."""
        chronicle.note(f"All traffic is on the new version; {version} shrinks to its minimum.")
        try:
            async with asyncio.timeout(_SHRINK_S):
                while chronicle.replicas.get(version, 0) > 1:  # noqa: ASYNC110 - watched by a task of its own
                    await asyncio.sleep(_FRAME_S)
        except TimeoutError:
            chronicle.note(f"{version} still has {chronicle.replicas.get(version)} pods.")

    @staticmethod
    async def _two_reports(world: World) -> None:
        """Wait until the users have told of the requests under way."""
        seconds = world.users.follow()
        try:
            for _ in range(2):
                await anext(seconds)
        finally:
            await seconds.aclose()


def _canary_revision(chronicle: Chronicle) -> str:
    return str((chronicle.status.get("canary") or {}).get("revision", ""))


def _lighter(weights: Mapping[str, int]) -> str:
    return min(weights, key=lambda version: weights[version])


def _copy(tally: Tally) -> Tally:
    return Tally().add([tally])


def _result(
    scene: Scene, version: str, phase: Phase, chronicle: Chronicle, *, began_s: float, before: Tally, after: Tally
) -> Result:
    other = next(name for name in chronicle.weights if name != version)
    changes = [(at, weights[version]) for at, weights in chronicle.weights_at_s if at >= began_s]
    first_s = next((at for at, weight in changes if weight > 0), began_s)
    if chronicle.weights_at_s[0][1][version] > 0 and began_s <= chronicle.weights_at_s[0][0] + 1:
        first_s = began_s  # adopted: it had traffic from the start
    decided_s = next((at for at, weight in reversed(changes) if weight in {0, 100}), chronicle.now_s)
    failed_before, failed_after = before.failed(), after.failed()
    failed = {who: failed_after[who] - failed_before[who] for who in failed_after}
    steps = [moment.text for moment in chronicle.moments if moment.at_s >= began_s]
    return Result(
        scene=scene,
        version=version,
        phase=phase,
        reason=str(chronicle.status.get("reason", "")),
        proven=sum("proven in" in text for text in steps),
        decided_s=decided_s - first_s,
        canary_requests=after.served(version) - before.served(version),
        failed_by_canary=failed.get(version, 0),
        failed_otherwise=failed.get(other, 0) + failed.get(GATEWAY, 0),
        replicas=tuple(
            (max(at - began_s, 0.0), replicas.get(other, 0), replicas.get(version, 0))
            for at, replicas in chronicle.replicas_since(began_s)
        ),
    )


def demo_manifests(first: Scene) -> list[Object]:
    """Return the example as the demo begins with it: v1 big enough for all users, v2 the first release at 10 %."""
    manifests = example_objects("helloworld")
    for obj in manifests:
        name = obj["metadata"]["name"]
        if obj["kind"] == "Deployment":
            obj["spec"]["replicas"] = _STABLE_PODS if name.endswith("v1") else 1
        if obj["kind"] == "Deployment" and name.endswith("v2"):
            obj["spec"]["template"] = first.release.template(obj["spec"]["template"], tag="release-1")
        if obj["kind"] == "HorizontalPodAutoscaler":
            # The sandbox's HPAs are 15 times as fast as real ones: two and a half minutes are 10 s here.
            obj["spec"]["behavior"] = {"scaleDown": {"stabilizationWindowSeconds": 150}}
        if obj["kind"] == "CanaryPolicy":
            spec: dict[str, Any] = obj["spec"]
            spec |= copy.deepcopy(POLICY_SPEC)
    return manifests
