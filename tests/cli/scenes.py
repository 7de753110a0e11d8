"""Policies in every phase, as the real loop left them on a model mesh: what `status` and `explain` are tried on."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from copy import deepcopy
from io import StringIO
from typing import Any, Final

from analyzer.adapters.memory import MemoryCluster
from analyzer.cli.people.reach import Place, Reached
from analyzer.cli.people.screen import Screen
from analyzer.policy.defaults import HOME
from analyzer.ports import CANARY_POLICY, Cluster, Object, Ref
from tests.app.loop import Loop
from tests.app.model import NAMESPACE, POLICY, Behaviour, ModelMesh
from tests.app.scaling import ScalingMesh
from tests.app.test_defaults import set_defaults

PLAN: Final[dict[str, Any]] = {
    "stages": [{"route": "primary", "weights": [10, 50, 100]}],
    "judge": {"dwell": {"min": "20s", "max": "10m"}, "bake": "2m", "latency": {"warmUp": "10s"}},
}


def mesh(*, rate: float = 100.0, bad: float | None = None, **spec: Any) -> ModelMesh:
    made = ModelMesh(requests_per_s=rate)
    made.set_policy(**{**PLAN, **spec})
    if bad is not None:
        made.behaviours["v2"] = Behaviour(error_rate=bad)
    return made


async def run(loop: Loop, cycles: int) -> Loop:
    for _ in range(cycles):
        await loop.cycle()
    return loop


async def unseen() -> Loop:
    return Loop(mesh())


async def pending() -> Loop:
    made = mesh()
    made.set_weights(100, 0)
    made.settle("v2", ready=0)
    return await run(Loop(made), 3)


async def progressing() -> Loop:
    return await run(Loop(mesh()), 12)


async def suspicious() -> Loop:
    return await run(Loop(mesh(bad=0.025), checkpoint_s=0.0), 7)


async def blind() -> Loop:
    loop = await run(Loop(mesh()), 12)
    for _ in range(24):
        loop.mesh.clock.advance(5.0)
        await loop.cycle(scrape=False)
    return loop


async def drift() -> Loop:
    loop = await run(Loop(mesh()), 12)
    loop.mesh.set_weights(70, 30)
    return await run(loop, 2)


async def short_of_pods() -> Loop:
    """A step waits for pods that take a minute to start, and the HPA knows of them."""
    made = ScalingMesh(startup_s=60.0)
    stages = [{"route": "primary", "weights": [10, 50, 90, 100]}]
    made.set_policy(**{**PLAN, "stages": stages, "judge": {**PLAN["judge"], "harmBudget": "2%"}})
    loop = Loop(made)
    await loop.until(lambda: loop.state.hold is not None and loop.state.hold.reason == "Capacity", cycles=200)
    return await run(loop, 2)


async def suspended() -> Loop:
    loop = await run(Loop(mesh()), 12)
    loop.mesh.set_policy(suspend=True)
    return await run(loop, 2)


async def inherited() -> Loop:
    """Its namespace makes it patient, and the cluster lets Serin be watched first."""
    made = ModelMesh(requests_per_s=100.0)
    obj = made.read(POLICY)
    obj["spec"] = {"target": obj["spec"]["target"], "stages": PLAN["stages"], "judge": {"latency": {"warmUp": "10s"}}}
    made.cluster.apply(obj)
    set_defaults(made, judge={"dwell": {"min": "20s", "max": "1h"}, "onInconclusive": "hold"}, alerts=["shop"])
    set_defaults(made, HOME, mode="observe", judge={"bake": "2m"})
    return await run(Loop(made), 12)


async def default_suspends() -> Loop:
    loop = await run(Loop(mesh()), 12)
    set_defaults(loop.mesh, HOME, suspend=True)
    return await run(loop, 2)


async def baking() -> Loop:
    loop = Loop(mesh(rate=1000.0), checkpoint_s=0.0)
    await loop.until(lambda: loop.phase == "Baking")
    return await run(loop, 5)


async def promoted() -> Loop:
    loop = Loop(mesh(rate=1000.0))
    await loop.until(lambda: loop.phase == "Promoted")
    return loop


async def rolled_back() -> Loop:
    loop = Loop(mesh(bad=0.08))
    await loop.until(lambda: loop.phase == "RolledBack")
    return loop


async def cannot_roll_back() -> Loop:
    from analyzer.adapters.memory.store import Verb as Write
    from analyzer.errors import AdmissionUnavailable

    made = mesh(bad=0.08)

    def down(verb: Write, old: Object | None, new: Object | None) -> None:
        if new is not None and new["kind"] == "VirtualService":
            raise AdmissionUnavailable("istiod does not answer, and the API server takes no VirtualService without it")

    loop = await run(Loop(made), 2)
    made.cluster.admission = down
    await loop.until(lambda: loop.phase == "RollingBack")
    return await run(loop, 4)


async def invalid() -> Loop:
    loop = await run(Loop(mesh()), 3)
    loop.mesh.set_policy(target={"virtualService": "helloword"})
    return await run(loop, 1)


SCENES: Final[dict[str, Callable[[], Awaitable[Loop]]]] = {
    "unseen": unseen,
    "pending": pending,
    "progressing": progressing,
    "suspicious": suspicious,
    "blind": blind,
    "drift": drift,
    "short_of_pods": short_of_pods,
    "suspended": suspended,
    "default_suspends": default_suspends,
    "inherited": inherited,
    "baking": baking,
    "promoted": promoted,
    "rolled_back": rolled_back,
    "cannot_roll_back": cannot_roll_back,
    "invalid": invalid,
}


_left: dict[str, tuple[Object, float]] = {}


async def left_in(scene: str) -> tuple[Object, float]:
    """The policy as a scene leaves it, and the time then [unix seconds]; each scene is played once."""
    if scene not in _left:
        loop = await SCENES[scene]()
        _left[scene] = loop.mesh.read(POLICY), loop.mesh.clock.now_s()
    obj, now_s = _left[scene]
    return deepcopy(obj), now_s


# --- a terminal, and a way to the cluster ---


def screen(*, width: int | None = None, colour: bool = False, answers: str | None = None) -> Screen:
    return Screen(
        StringIO(), StringIO(), colour=colour, width=width, source=None if answers is None else StringIO(answers)
    )


def out(shown: Screen) -> str:
    assert isinstance(shown.out, StringIO)
    return shown.out.getvalue()


def err(shown: Screen) -> str:
    assert isinstance(shown.err, StringIO)
    return shown.err.getvalue()


def connector(
    cluster: Cluster, *, user: str = "kim", context: str = "prod"
) -> Callable[[Place], AbstractAsyncContextManager[Reached]]:
    @asynccontextmanager
    async def connect(place: Place) -> AsyncIterator[Reached]:
        yield Reached(cluster, place.namespace or NAMESPACE, user, context)

    return connect


def with_policies(cluster: MemoryCluster, *policies: Object) -> MemoryCluster:
    """Put policies with their statuses into a cluster."""
    for obj in policies:
        named = {key: obj["metadata"][key] for key in ("name", "namespace")}
        made = cluster.apply({**{key: value for key, value in obj.items() if key != "status"}, "metadata": named})
        metadata = made["metadata"]
        if obj.get("status"):
            cluster.set_status(Ref(CANARY_POLICY, metadata["namespace"], metadata["name"]), obj["status"])
    return cluster
