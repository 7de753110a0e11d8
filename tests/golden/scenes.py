"""Situations that people are told of, each reached by whole turns of the real loop on the model mesh."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analyzer.core.rollout import Verb
from analyzer.errors import AdmissionUnavailable, ClusterUnavailable, SerinError, WriteRefused
from analyzer.ports import HORIZONTAL_POD_AUTOSCALER, Alert, Ref
from tests.app.loop import Loop
from tests.app.model import NAMESPACE, POLICY, ROUTE, Behaviour, ModelMesh
from tests.app.scaling import ScalingMesh
from tests.app.test_capacity import JUDGE, STAGES, change_floor, floor_of, mesh_of, shrunk
from tests.app.test_focus import INSIDERS, focused, weights
from tests.app.test_requests import ask
from tests.app.test_turns import QUICK
from tests.fakes import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NIGHT_S = 1_763_867_640.0  # 2025-11-23 03:14:00 UTC
BAD, SLOW = Behaviour(error_rate=0.05), Behaviour(median_ms=30.0)

Scene = Callable[[], Awaitable[list[Alert]]]


@dataclass
class LossyMesh(ModelMesh):
    """A mesh in which a part of one version's requests never ends, and so is in no counter."""

    lost: dict[str, float] = field(default_factory=dict)

    def _count(self, version: str, requests: int) -> None:
        super()._count(version, round(requests * (1.0 - self.lost.get(version, 0.0))))


def night(mesh: type[ModelMesh] = ModelMesh, *, requests_per_s: float = 1000.0, **spec: Any) -> Loop:
    """Begin at a quarter past three, with a release that has 10 % of the traffic."""
    loop = Loop(mesh(requests_per_s=requests_per_s, clock=ManualClock(wall_s=NIGHT_S)))
    loop.mesh.set_policy(**{**QUICK, "alerts": ["oncall"], **spec})
    return loop


@asynccontextmanager
async def told(loop: Loop) -> "AsyncIterator[list[Alert]]":
    """Run the outbox, and give what it has delivered by the end."""
    outbox = (loop.life or loop.begin_life()).outbox
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(outbox.run())
        yield loop.sink.sent
        for _ in range(100):  # its lanes take a few rounds of the event loop
            await asyncio.sleep(0)
        task.cancel()


async def until(loop: Loop, done: Callable[[], bool], *, cycles: int = 120) -> list[Alert]:
    async with told(loop) as alerts:
        await loop.until(done, cycles=cycles)
    return alerts


async def until_told(loop: Loop, reason: str, *, cycles: int = 400) -> list[Alert]:
    """Cycle until people are told for this reason."""
    async with told(loop) as alerts:
        for _ in range(cycles):
            await loop.cycle()
            for _ in range(20):
                await asyncio.sleep(0)
            if any(alert.reason == reason for alert in alerts):
                return alerts
    raise AssertionError(f"nobody was told of {reason}: {loop.phase}, {loop.state.message}")


async def steady(loop: Loop, cycles: int = 3) -> None:
    """Let a harmless release be judged for a while, and stay at 10 %."""
    for _ in range(cycles):
        await loop.cycle()
    assert loop.weights == [10], loop.weights


PATIENT: dict[str, Any] = {"judge": {**QUICK["judge"], "dwell": {"min": "20m", "max": "30m"}}}


# --- rolled back ---


async def by_errors() -> list[Alert]:
    loop = night()
    loop.mesh.behaviours["v2"] = BAD
    return await until(loop, lambda: loop.phase == "RolledBack")


async def by_latency() -> list[Alert]:
    loop = night()
    loop.mesh.behaviours["v2"] = SLOW
    return await until(loop, lambda: loop.phase == "RolledBack")


async def by_completions() -> list[Alert]:
    loop = night(LossyMesh, **PATIENT)
    assert isinstance(loop.mesh, LossyMesh)
    await steady(loop)
    loop.mesh.lost["v2"] = 0.9
    return await until(loop, lambda: loop.phase == "RolledBack")


async def by_limit() -> list[Alert]:
    loop = night(judge={**QUICK["judge"], "limits": {"errorRate": "5%"}})
    loop.mesh.behaviours = {"v1": Behaviour(error_rate=0.08), "v2": Behaviour(error_rate=0.08)}
    return await until(loop, lambda: loop.phase == "RolledBack")


async def by_limit_where_everybody_has_it() -> list[Alert]:
    """Users of a stage that is through are hurt: nobody of them has the stable version, and the others see nothing."""
    mesh = focused(clock=ManualClock(wall_s=NIGHT_S))
    judge = {**QUICK["judge"], "limits": {"errorRate": "5%"}}
    mesh.set_policy(judge=judge, alerts=["oncall"])
    loop = Loop(mesh)
    await loop.until(lambda: weights(mesh) == (100, 10) and loop.state.evidence is not None)
    mesh.audiences[INSIDERS].behaviours["v2"] = Behaviour(error_rate=0.3)
    return [alert for alert in await until(loop, lambda: loop.phase == "RolledBack") if alert.reason == "RolledBack"]


async def canary_unavailable() -> list[Alert]:
    loop = night(**PATIENT)
    await steady(loop)
    loop.mesh.settle("v2", ready=0)
    return await until(loop, lambda: loop.phase == "RolledBack")


async def canary_not_ready() -> list[Alert]:
    loop = night()
    loop.mesh.set_weights(100, 0)
    loop.mesh.settle("v2", ready=0)
    return await until(loop, lambda: loop.phase == "RolledBack", cycles=200)


async def canary_changed() -> list[Alert]:
    loop = night(**PATIENT)
    await steady(loop)
    loop.mesh.release("v2", "shop/helloworld:v2.1", Behaviour())
    return (await until_told(loop, "RolledBack"))[:1]


async def stable_changed() -> list[Alert]:
    loop = night(**PATIENT)
    await steady(loop)
    loop.mesh.release("v1", "shop/helloworld:v1.1", Behaviour())
    return await until(loop, lambda: loop.phase == "RolledBack")


async def inconclusive() -> list[Alert]:
    judge = {"dwell": {"min": "30s", "max": "2m"}, "onInconclusive": "rollback"}
    loop = night(requests_per_s=2.0, judge=judge)
    return await until(loop, lambda: loop.phase == "RolledBack")


async def policy_deleted() -> list[Alert]:
    loop = night(**PATIENT)
    await steady(loop)
    async with told(loop) as alerts:
        loop.mesh.cluster.delete(POLICY)
        assert loop.life is not None
        assert await loop.life.reconciler.abandon()
    return alerts


async def ramped() -> list[Alert]:
    mesh = ScalingMesh(startup_s=15.0, clock=ManualClock(wall_s=NIGHT_S))
    mesh.set_policy(stages=STAGES, judge=JUDGE, alerts=["oncall"])
    mesh.set_weights(90, 10)
    loop = Loop(mesh)
    await shrunk(loop)
    mesh_of(loop).behaviours["v2"] = Behaviour(error_rate=0.2)
    return await until(loop, lambda: loop.phase == "RolledBack", cycles=200)


# --- cannot roll back ---


async def _cannot(error: SerinError) -> list[Alert]:
    loop = night(**PATIENT)
    await steady(loop)
    loop.mesh.behaviours["v2"] = BAD
    broken = True

    def fail(_number: int, method: str, phase: str) -> BaseException | None:
        down = type(error) is ClusterUnavailable  # not only for the weights
        hit = method == "patch" or (down and method in {"replace_status", "create"})
        return error if broken and hit and phase == "before" else None

    loop.decide = fail
    await until_told(loop, "CannotRollBack")
    broken = False
    return await until(loop, lambda: loop.phase == "RolledBack")


async def api_server_down() -> list[Alert]:
    return await _cannot(ClusterUnavailable("the API server cannot be reached: Connect call failed ('10.96.0.1', 443)"))


async def webhook_down() -> list[Alert]:
    return await _cannot(
        AdmissionUnavailable(
            'the webhook "rev.validation.istio.io" does not answer, so that no VirtualService can be written: '
            'failed calling webhook: Post "https://istiod.istio-system.svc:443/validate": connection refused'
        )
    )


async def forbidden() -> list[Alert]:
    return await _cannot(
        WriteRefused(
            'virtualservices.networking.istio.io "helloworld" is forbidden: User '
            '"system:serviceaccount:serin-system:serin" cannot patch resource "virtualservices" in API group '
            '"networking.istio.io" in the namespace "helloworld"'
        )
    )


# --- held ---


async def blind() -> list[Alert]:
    loop = night(deadlines={"blind": "30m"}, **PATIENT)
    await steady(loop)
    async with told(loop) as alerts:
        while not alerts:
            loop.mesh.clock.advance(60.0)
            await loop.cycle(scrape=False)
            await asyncio.sleep(0.001)
        for _ in range(4):
            await loop.cycle()
    return alerts


async def drift() -> list[Alert]:
    loop = night(**PATIENT)
    await steady(loop)
    loop.mesh.set_weights(60, 40)
    await until_told(loop, "Drift")
    loop.mesh.set_weights(90, 10)
    return await until(loop, lambda: loop.state.hold is None)


async def approval() -> list[Alert]:
    loop = night(approval=[50])
    await until_told(loop, "Approval")
    ask(loop, Verb.RESUME)
    return await until(loop, lambda: "Approval" not in loop.state.told)


async def aborted() -> list[Alert]:
    loop = night(**PATIENT)
    await steady(loop)
    ask(loop, Verb.ABORT)
    return await until(loop, lambda: loop.phase == "RolledBack")


async def sample_ratio() -> list[Alert]:
    loop = night(deadlines={"blind": "10m"})
    loop.mesh.set_weights(100, 0)
    loop.mesh.scrape()
    loop.mesh.istiod_up = False
    await until_told(loop, "SampleRatioLasts")
    loop.mesh.istiod_up = True
    return await until(loop, lambda: not loop.state.told)


async def never_fits() -> list[Alert]:
    mesh = ScalingMesh(requests_per_s=800.0, clock=ManualClock(wall_s=NIGHT_S))
    mesh.ready["v1"] = 10
    mesh.set_policy(stages=STAGES, judge=JUDGE, alerts=["oncall"])
    mesh.set_weights(100, 0)
    loop = Loop(mesh)
    return await until_told(loop, "CapacityNeverFits")


async def reserve_lost() -> list[Alert]:
    mesh = ScalingMesh(clock=ManualClock(wall_s=NIGHT_S))
    mesh.set_policy(stages=STAGES, judge=JUDGE, capacity={"mode": "reserve"}, alerts=["oncall"])
    mesh.set_weights(90, 10)
    loop = Loop(mesh)
    await loop.until(lambda: floor_of(loop) == 5, cycles=100)
    change_floor(loop, 1)
    await until_told(loop, "ReserveLost")
    change_floor(loop, 5)
    return await until(loop, lambda: not loop.state.told)


async def pods_do_not_come() -> list[Alert]:
    """Metrics are away, and the HPA says so."""
    mesh = ScalingMesh(clock=ManualClock(wall_s=NIGHT_S))
    mesh.set_policy(stages=STAGES, judge=JUDGE, alerts=["oncall"])
    mesh.set_weights(90, 10)
    loop = Loop(mesh)
    await loop.until(lambda: mesh.weights()["v2"] == 30, cycles=100)
    mesh.autoscale = False
    hpa = Ref(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, "helloworld-v2")
    inactive = {
        "type": "ScalingActive",
        "status": "False",
        "reason": "FailedGetResourceMetric",
        "message": "the HPA was unable to compute the replica count: unable to get metrics for resource cpu",
    }
    mesh.cluster.set_status(hpa, {**mesh.read(hpa)["status"], "conditions": [inactive]})
    await until_told(loop, "CapacityLasts")
    mesh.autoscale = True
    return await until(loop, lambda: "CapacityLasts" not in loop.state.told)


async def policy_broken() -> list[Alert]:
    loop = night(**PATIENT)
    await steady(loop)
    kept = loop.mesh.read(POLICY)["spec"]
    loop.mesh.set_policy(judge={"bake": 10})
    await until(loop, lambda: loop.phase == "Invalid")
    loop.mesh.set_policy(**kept)
    return await until(loop, lambda: loop.phase != "Invalid")


async def route_renamed() -> list[Alert]:
    loop = night(**PATIENT)
    await steady(loop)
    route = loop.mesh.read(ROUTE)
    route["spec"]["http"][0]["name"] = "main"
    loop.mesh.cluster.apply(route)
    return await until(loop, lambda: loop.phase == "Invalid")


async def would_roll_back() -> list[Alert]:
    loop = night(mode="observe")
    loop.mesh.behaviours["v2"] = BAD
    await until_told(loop, "Harm")
    loop.mesh.set_weights(100, 0)
    return await until(loop, lambda: loop.phase == "RolledBack")


# --- promoted ---


async def promoted_proven() -> list[Alert]:
    loop = night()
    return await until(loop, lambda: loop.phase == "Promoted")


async def promoted_unproven() -> list[Alert]:
    loop = night(requests_per_s=4.0, judge={"dwell": {"min": "30s", "max": "2m"}, "bake": "1m"})
    return await until(loop, lambda: loop.phase == "Promoted", cycles=400)


SCENES: dict[str, Scene] = {
    "rolled back, errors": by_errors,
    "rolled back, latency": by_latency,
    "rolled back, requests that never end": by_completions,
    "rolled back, absolute limit": by_limit,
    "rolled back, absolute limit where everybody has it": by_limit_where_everybody_has_it,
    "rolled back, canary unavailable": canary_unavailable,
    "rolled back, canary never ready": canary_not_ready,
    "rolled back, canary changed": canary_changed,
    "rolled back, stable changed": stable_changed,
    "rolled back, inconclusive": inconclusive,
    "rolled back, policy deleted": policy_deleted,
    "rolled back, step by step": ramped,
    "cannot roll back, API server down": api_server_down,
    "cannot roll back, istiod's webhook down": webhook_down,
    "cannot roll back, forbidden": forbidden,
    "blind": blind,
    "drift": drift,
    "approval": approval,
    "aborted": aborted,
    "weights not in effect": sample_ratio,
    "capacity never fits": never_fits,
    "capacity lasts": pods_do_not_come,
    "reserve taken back": reserve_lost,
    "policy broken": policy_broken,
    "route renamed": route_renamed,
    "observed, would roll back": would_roll_back,
    "promoted, proven": promoted_proven,
    "promoted, unproven": promoted_unproven,
}
"""By name: the alerts that people get, in their order."""
