"""What a policy may point to, in whole turns: delegates, hosts, several gateways; and what is said where that is not clear."""

from dataclasses import replace
from typing import Any

import pytest

from analyzer.core.rollout import Phase
from analyzer.ports import CANARY_POLICY, VIRTUAL_SERVICE, Object, Ref
from tests.app.audiences import Audience, AudienceMesh, quick_audiences
from tests.app.loop import Loop
from tests.app.model import NAMESPACE, POLICY, ROUTE, Behaviour

HOST = "helloworld"
SITE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "site", "namespace": "edge"},
    "spec": {
        "hosts": ["site.example.com"],
        "gateways": ["edge/site"],
        "http": [{"name": "hello", "delegate": {"name": "helloworld", "namespace": NAMESPACE}}],
    },
}


def change(mesh: AudienceMesh, **spec: Any) -> None:
    """Change the VirtualService as its owner does; None takes a field away."""
    service = mesh.read(ROUTE)
    service["spec"] = {key: value for key, value in (service["spec"] | spec).items() if value is not None}
    mesh.cluster.apply(service)


def split(name: str | None = "primary", *, v1: int = 90, v2: int = 10, **more: Any) -> Object:
    entries = [{"destination": {"host": HOST, "subset": s}, "weight": w} for s, w in (("v1", v1), ("v2", v2))]
    return ({"name": name} if name else {}) | more | {"route": entries}


def all_to(subset: str | None, name: str | None = None) -> Object:
    destination = {"host": HOST} | ({"subset": subset} if subset else {})
    return ({"name": name} if name else {}) | {"route": [{"destination": destination}]}


FOCUS = [{"headers": {"x-group": {"exact": "insiders"}}}]


def message(mesh: AudienceMesh) -> str:
    return str((mesh.read(POLICY).get("status") or {}).get("message"))


async def begun(mesh: AudienceMesh) -> Loop:
    loop = Loop(mesh)
    await loop.cycle()
    await loop.cycle()
    return loop


def routes_judged(loop: Loop) -> frozenset[str] | None:
    assert loop.life is not None
    assert loop.life.result is not None
    order = loop.life.result.order
    assert order is not None, loop.phase
    return order.demand.routes


# --- delegates --------------------------------------------------------------------------------------------------------


async def test_a_delegate_without_a_root_in_sight_is_judged_as_a_whole_and_promoted() -> None:
    mesh = quick_audiences()
    change(mesh, hosts=None, gateways=None)
    loop = Loop(mesh)
    await loop.until(lambda: loop.phase == Phase.PROMOTED)
    assert mesh.weights() == {"v1": 0, "v2": 100}


async def test_a_delegates_route_is_judged_under_its_joined_name_and_patched_under_its_own() -> None:
    mesh = quick_audiences()
    mesh.set_policy(stages=[{"route": "primary", "weights": [10, 50, 100]}])
    change(mesh, hosts=None, gateways=None, http=[all_to("v1", "legacy") | {"match": FOCUS}, split()])
    mesh.cluster.apply(SITE)
    mesh.main = 1
    mesh.audiences = {0: Audience(500.0, "hello-legacy"), 1: Audience(1000.0, "hello-primary")}
    loop = await begun(mesh)
    assert routes_judged(loop) == frozenset({"hello-primary"})
    await loop.until(lambda: loop.phase == Phase.PROMOTED)
    assert mesh.weights_of(1) == {"v1": 0, "v2": 100}
    assert mesh.read(Ref(VIRTUAL_SERVICE, "edge", "site"))["spec"] == SITE["spec"]


async def test_the_root_that_appears_mends_a_focused_delegate() -> None:
    mesh = quick_audiences()
    mesh.set_policy(stages=[{"route": "primary", "weights": [10, 50, 100]}])
    change(mesh, hosts=None, gateways=None, http=[all_to("v1", "legacy") | {"match": FOCUS}, split()])
    mesh.main = 1
    loop = await begun(mesh)
    assert loop.phase == Phase.INVALID
    assert "no VirtualService that is seen here delegates to helloworld/helloworld" in message(mesh)
    assert "--namespace" in message(mesh)
    mesh.cluster.apply(SITE)
    await loop.cycle()
    assert routes_judged(loop) == frozenset({"hello-primary"})


async def test_the_change_of_a_root_wakes_the_policy_of_its_delegate() -> None:
    mesh = quick_audiences()
    change(mesh, hosts=None, gateways=None)
    mesh.cluster.apply(SITE)
    loop = await begun(mesh)
    assert loop.life is not None
    assert loop.life.result is not None
    assert loop.life.result.interest is not None
    assert Ref(VIRTUAL_SERVICE, "edge", "site") in loop.life.result.interest


async def test_a_policy_at_the_root_is_told_where_the_weights_are() -> None:
    mesh = quick_audiences()
    change(mesh, http=[{"name": "hello", "delegate": {"name": "hello", "namespace": "team"}}])
    loop = await begun(mesh)
    assert (loop.phase, loop.state.reason) == (Phase.INVALID, "WeightsDelegated")
    assert "delegates to team/hello: the weights are there; write the policy into namespace team" in message(mesh)


# --- hosts, and names of hosts ----------------------------------------------------------------------------------------


def by_host(mesh: AudienceMesh, *, suffix: str = "") -> None:
    """Give each version a Service of its own, and split between the two."""
    for version in ("v1", "v2"):
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"helloworld-{version}", "namespace": NAMESPACE},
            "spec": {"selector": {"app": "helloworld", "version": version}, "ports": [{"name": "http", "port": 5000}]},
        }
        mesh.cluster.apply(service)
    entries = [
        {"destination": {"host": f"helloworld-{version}{suffix}"}, "weight": weight}
        for version, weight in (("v1", 90), ("v2", 10))
    ]
    change(mesh, http=[{"name": "primary", "route": entries}])


@pytest.mark.parametrize("suffix", ["", f".{NAMESPACE}.svc.cluster.local"])
async def test_versions_may_be_hosts_short_or_full(suffix: str) -> None:
    mesh = quick_audiences()
    by_host(mesh, suffix=suffix)
    mesh.set_policy(target={"virtualService": "helloworld", "versions": ["helloworld-v1", "helloworld-v2"]})
    loop = Loop(mesh)
    await loop.until(lambda: loop.phase == Phase.PROMOTED)
    assert mesh.weights() == {"v1": 0, "v2": 100}


async def test_hosts_are_found_without_being_named() -> None:
    mesh = quick_audiences()
    by_host(mesh)
    mesh.set_policy(target={"virtualService": "helloworld"})
    mesh.release("v2", "bad", Behaviour(error_rate=0.2))
    loop = Loop(mesh)
    await loop.until(lambda: loop.phase == Phase.ROLLED_BACK)
    assert mesh.weights() == {"v1": 100, "v2": 0}


async def test_a_host_that_istio_does_not_complete_is_explained() -> None:
    mesh = quick_audiences()
    by_host(mesh, suffix=f".{NAMESPACE}")
    mesh.set_policy(target={"virtualService": "helloworld"})
    loop = await begun(mesh)
    assert (loop.phase, loop.state.reason) == (Phase.INVALID, "ServiceMissing")
    assert "Istio completes only names without a dot: write `helloworld-v1`" in message(mesh)


async def test_a_version_in_another_namespace_is_refused() -> None:
    mesh = quick_audiences()
    by_host(mesh, suffix=".elsewhere.svc.cluster.local")
    mesh.set_policy(target={"virtualService": "helloworld"})
    loop = await begun(mesh)
    assert (loop.phase, loop.state.reason) == (Phase.INVALID, "ForeignHost")
    assert "helloworld-v1.elsewhere.svc.cluster.local is not in the policy's namespace, helloworld" in message(mesh)


# --- several gateways -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gateways", [None, ["mesh"], ["helloworld-gateway", "edge/other", "mesh"]])
async def test_one_virtual_service_of_any_gateways_is_moved_once(gateways: list[str] | None) -> None:
    mesh = quick_audiences()
    change(mesh, gateways=gateways)
    loop = Loop(mesh)
    await loop.until(lambda: loop.phase == Phase.PROMOTED)
    assert mesh.weights() == {"v1": 0, "v2": 100}
    assert mesh.read(ROUTE)["spec"].get("gateways") == gateways


def add_public(mesh: AudienceMesh, name: str | None) -> None:
    """Add another VirtualService, for another gateway: it sends everybody to v1."""
    full = f"{HOST}.{NAMESPACE}.svc.cluster.local"
    other = mesh.read(ROUTE)
    other["metadata"] = {"name": "public", "namespace": "edge"}
    to_stable = {"route": [{"destination": {"host": full, "subset": "v1"}}]} | ({"name": name} if name else {})
    other["spec"] |= {"gateways": ["edge/site"], "http": [to_stable]}
    mesh.cluster.apply(other)
    mesh.audiences = {0: Audience(1000.0, "primary"), 1: Audience(1000.0, name or "", weights={"v1": 100, "v2": 0})}


async def test_of_two_virtual_services_one_is_moved_and_judged_by_its_own_users() -> None:
    mesh = quick_audiences()
    add_public(mesh, "public")
    loop = await begun(mesh)
    assert routes_judged(loop) == frozenset({"primary"})
    await loop.until(lambda: loop.phase == Phase.PROMOTED)
    told = [notice["message"] for notice in mesh.read(POLICY)["status"]["history"]]
    assert any("VirtualService edge/public leads to the same versions, and is not moved" in text for text in told), told


async def test_without_telemetry_per_route_it_is_held_and_not_taken_for_lost_requests() -> None:
    mesh = quick_audiences()
    add_public(mesh, "public")
    mesh.audiences = {route: replace(audience, route_name="") for route, audience in mesh.audiences.items()}
    loop = Loop(mesh)
    for _ in range(30):
        await loop.cycle()
    assert loop.weights == [10]
    assert loop.state.hold is not None
    assert "kubectl apply -f deploy/telemetry/telemetry.yaml" in loop.state.hold.message


async def test_two_virtual_services_whose_routes_have_one_name_are_refused() -> None:
    mesh = quick_audiences()
    add_public(mesh, "primary")
    loop = await begun(mesh)
    assert (loop.phase, loop.state.reason) == (Phase.INVALID, "RouteUnnamed")


# --- ambiguity --------------------------------------------------------------------------------------------------------


async def test_more_than_two_versions_are_listed() -> None:
    mesh = quick_audiences()
    mesh.set_policy(target={"virtualService": "helloworld"})
    change(mesh, http=[split("a", match=FOCUS), {"route": [*split()["route"][:1], *all_to("v3")["route"]]}])
    loop = await begun(mesh)
    assert (loop.phase, loop.state.reason) == (Phase.INVALID, "VersionsAmbiguous")
    assert "leads to v1, v2, v3: which two are to be compared?" in message(mesh)


async def test_several_deployments_of_a_version_are_listed() -> None:
    mesh = quick_audiences()
    mesh.set_policy(target={"virtualService": "helloworld", "versions": ["v1", "v2"]})
    twin = mesh.deployment("v2")
    twin["metadata"] = {"name": "helloworld-v2-old", "namespace": NAMESPACE}
    mesh.cluster.apply(twin)
    loop = await begun(mesh)
    assert (loop.phase, loop.state.reason) == (Phase.INVALID, "DeploymentAmbiguous")
    assert "helloworld-v2, helloworld-v2-old" in message(mesh)


# --- routes that telemetry cannot tell apart --------------------------------------------------------------------------


async def test_a_stage_of_routes_without_names_does_not_begin_where_their_versions_serve_others() -> None:
    mesh = quick_audiences()
    mesh.set_policy(stages=[{"weights": [10, 50, 100]}])
    change(mesh, http=[split("one", match=FOCUS), split(None, match=FOCUS), all_to("v1", "rest")])
    loop = await begun(mesh)
    assert (loop.phase, loop.state.reason) == (Phase.INVALID, "RouteUnnamed")
    assert "spec.http[1]: other routes lead to the same versions" in message(mesh)
    assert "give it a `name` that no other route has" in message(mesh)
    assert loop.weights == [10]


async def test_a_route_that_loses_its_name_in_flight_is_held_and_can_be_rolled_back() -> None:
    mesh = quick_audiences()
    mesh.set_policy(stages=[{"weights": [10, 50, 100]}])
    change(mesh, http=[split("primary", match=FOCUS), all_to("v1", "rest")])
    mesh.audiences = {0: Audience(1000.0, "primary"), 1: Audience(1000.0, "rest")}
    loop = await begun(mesh)
    assert routes_judged(loop) == frozenset({"primary"})
    assert loop.phase == Phase.PROGRESSING
    change(mesh, http=[split(None, match=FOCUS), all_to("v1", "rest")])
    for _ in range(30):
        await loop.cycle()
    assert (loop.phase, loop.weights) == (Phase.PROGRESSING, [10])
    assert loop.state.hold is not None
    assert loop.state.hold.reason == "Blind"
    assert "lost the name by which telemetry told its users from the others" in loop.state.hold.message
    mesh.settle("v2", ready=0)
    await loop.until(lambda: mesh.weights()["v2"] == 0)
    assert "RolledBack" in [entry["reason"] for entry in mesh.read(POLICY)["status"]["history"]]


async def test_policies_of_one_virtual_service_are_not_two() -> None:
    mesh = quick_audiences()
    rival = mesh.read(POLICY)
    rival["metadata"] = {"name": "later", "namespace": NAMESPACE}
    mesh.clock.advance(5.0)
    mesh.cluster.apply(rival)
    loop = await begun(mesh)
    assert loop.phase == Phase.PROGRESSING
    later = mesh.read(Ref(CANARY_POLICY, NAMESPACE, "later"))
    assert later["status"] == {"observedGeneration": -1}, "a policy of this runner's alone would have written it"
