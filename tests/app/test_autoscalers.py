"""Every kind of autoscaler that a version may have: what is known of it, what is said of it, and how the rollout goes on."""

from collections.abc import Callable
from typing import Any

import pytest

from analyzer.core.rollout import HoldReason
from analyzer.ports import HORIZONTAL_POD_AUTOSCALER, POD, Object, Ref
from tests.app.loop import POLICY, Loop
from tests.app.model import NAMESPACE
from tests.app.scaling import ScalingMesh
from tests.app.test_capacity import JUDGE, mesh_of, scaling_loop

CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
CONTAINER_CPU = {
    "type": "ContainerResource",
    "containerResource": {
        "name": "cpu",
        "container": "helloworld",
        "target": {"type": "Utilization", "averageUtilization": 50},
    },
}
PODS: Object = {
    "type": "Pods",
    "pods": {"metric": {"name": "requests_per_second"}, "target": {"type": "AverageValue", "averageValue": "45"}},
}


def per_service(name: str) -> Object:
    return {
        "type": "Object",
        "object": {
            "metric": {"name": "requests_per_second"},
            "describedObject": {"apiVersion": "v1", "kind": "Service", "name": name},
            "target": {"type": "AverageValue", "averageValue": "45"},
        },
    }


SHARED = per_service("helloworld")
KEDA = {
    "type": "External",
    "external": {
        "metric": {
            "name": "s0-prometheus",
            "selector": {"matchLabels": {"scaledobject.keda.sh/name": "helloworld"}},
        },
        "target": {"type": "AverageValue", "averageValue": "45"},
    },
}


def hpa(mesh: ScalingMesh, version: str) -> Object:
    found = mesh.autoscaler(version)
    assert found is not None
    return found


def scaled_by(*metrics: Object) -> Callable[[ScalingMesh], None]:
    """Let both versions' HPAs scale by these metrics."""

    def change(mesh: ScalingMesh) -> None:
        for version in ("v1", "v2"):
            obj = hpa(mesh, version)
            obj["spec"]["metrics"] = list(metrics)
            mesh.cluster.apply(obj)

    return change


def by_their_own_services(mesh: ScalingMesh) -> None:
    """Let each version's HPA scale by what a Service of its own counts."""
    for version in ("v1", "v2"):
        selector = {"app": "helloworld", "version": version}
        metadata = {"name": f"helloworld-{version}", "namespace": NAMESPACE}
        mesh.cluster.apply(
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": selector}}
        )
        obj = hpa(mesh, version)
        obj["spec"]["metrics"] = [per_service(f"helloworld-{version}")]
        mesh.cluster.apply(obj)


def without(*versions: str) -> Callable[[ScalingMesh], None]:
    """Delete versions' HPAs."""

    def change(mesh: ScalingMesh) -> None:
        for version in versions:
            mesh.cluster.delete(Ref(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, f"helloworld-{version}"))

    return change


def with_two(mesh: ScalingMesh) -> None:
    """Let another HPA scale the canary as well."""
    obj = hpa(mesh, "v2")
    second = {key: obj[key] for key in ("apiVersion", "kind", "spec")}
    mesh.cluster.apply({**second, "metadata": {"name": "helloworld-v2-too", "namespace": NAMESPACE}})


def capacity(loop: Loop) -> dict[str, Any]:
    found: dict[str, Any] = loop.mesh.read(POLICY)["status"]["capacity"]
    return found


async def begun(change: Callable[[ScalingMesh], None], **options: Any) -> Loop:
    """A rollout at 10 % whose capacity was looked at, with autoscalers as `change` leaves them."""
    loop = scaling_loop(**options)
    change(mesh_of(loop))
    await loop.until(lambda: (loop.mesh.read(POLICY).get("status") or {}).get("capacity") is not None, cycles=60)
    return loop


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without("v1", "v2"), "no HorizontalPodAutoscaler scales Deployment helloworld-v2"),
        (without("v2"), "no HorizontalPodAutoscaler scales Deployment helloworld-v2"),
        (with_two, "HorizontalPodAutoscalers helloworld-v2 and helloworld-v2-too both scale Deployment helloworld-v2"),
        (scaled_by(KEDA), "helloworld-v2 scales by External metric s0-prometheus, which says nothing of requests"),
        (
            scaled_by(SHARED),
            "helloworld-v2 scales by Object metric requests_per_second of Service helloworld (not helloworld-v2's alone)",
        ),
    ],
    ids=["no HPA at all", "one HPA, of the stable version", "two HPAs on one Deployment", "KEDA's HPA", "of both"],
)
async def test_where_nothing_can_be_foretold_it_is_said_why_and_the_rollout_goes_on(
    change: Callable[[ScalingMesh], None], why: str
) -> None:
    loop = await begun(change)
    mesh_of(loop).ready["v2"] = 5  # somebody has sized it
    await loop.until(lambda: capacity(loop)["message"].startswith("Whether"), cycles=60)
    said = capacity(loop)
    assert why in said["canary"]["unknown"]
    assert f"nobody can know: {why}" in said["message"]
    assert (said["gate"], said["seconds"], said["canary"]["carries"]) == ("open", None, None)
    await loop.until(lambda: loop.phase == "Promoted", cycles=400)


@pytest.mark.parametrize(
    "change",
    [scaled_by(CPU), scaled_by(CONTAINER_CPU), scaled_by(PODS), by_their_own_services, scaled_by(CPU, PODS)],
    ids=["CPU", "CPU of a container", "a metric of pods", "a metric of an object", "several"],
)
async def test_where_it_can_a_harmless_release_goes_to_100_without_a_request_refused(
    change: Callable[[ScalingMesh], None],
) -> None:
    loop = await begun(change)
    await loop.until(lambda: capacity(loop)["canary"]["carries"] is not None, cycles=60)
    await loop.until(lambda: loop.phase == "Promoted", cycles=600)
    assert dict(mesh_of(loop).refused) == {"v1": 0, "v2": 0}


async def test_beside_a_metric_that_says_nothing_the_others_count_and_that_is_said() -> None:
    loop = await begun(scaled_by(CPU, KEDA))
    await loop.until(lambda: capacity(loop)["canary"]["carries"] is not None, cycles=60)
    assert capacity(loop)["canary"]["unknown"] == (
        "helloworld-v2 also scales by External metric s0-prometheus, of which nothing can be foretold"
    )


async def test_a_metric_of_pods_that_does_not_follow_requests_is_called_unknown() -> None:
    queue = {"type": "Pods", "pods": {"metric": {"name": "queue"}, "target": PODS["pods"]["target"]}}
    loop = await begun(scaled_by(CPU, queue))
    loop.mesh.set_policy(judge={**JUDGE, "dwell": {"min": "2m", "max": "3m"}})  # it is seen at each load for a while
    why = "also scales by Pods metric queue (which does not follow the requests), of which nothing can be foretold"
    await loop.until(lambda: why in capacity(loop)["canary"]["unknown"], cycles=400)
    await loop.until(lambda: loop.phase == "Promoted", cycles=400)
    assert dict(mesh_of(loop).refused) == {"v1": 0, "v2": 0}


async def test_a_canary_switched_off_by_zero_replicas_gets_no_traffic() -> None:
    loop = scaling_loop(start=0)
    mesh = mesh_of(loop)
    mesh.ready["v2"] = 0
    for _ in range(20):
        await loop.cycle()
    assert loop.phase == "Pending"
    assert loop.weights == [0]
    assert loop.state.reason == "CanaryNotReady"


async def test_where_max_replicas_are_reached_it_stays_at_what_fits_and_says_which_that_is() -> None:
    def small(mesh: ScalingMesh) -> None:
        obj = hpa(mesh, "v2")
        obj["spec"]["maxReplicas"] = 2
        mesh.cluster.apply(obj)

    loop = await begun(small)
    await loop.until(
        lambda: (
            loop.state.hold is not None and loop.state.hold.reason is HoldReason.CAPACITY and loop.weights[-1] >= 60
        ),
        cycles=400,
    )
    for _ in range(20):
        await loop.cycle()
    assert loop.weights[-1] == 60
    assert capacity(loop)["gate"] == "never"
    # By the model's own figures two pods carry 157 requests/s with headroom, and at 90 % its HPA would like four.
    assert "allows 2: 78 % fit; raise its maxReplicas to 4" in loop.state.message
    obj = hpa(mesh_of(loop), "v2")
    obj["spec"]["maxReplicas"] = 10
    mesh_of(loop).cluster.apply(obj)
    await loop.until(lambda: loop.phase == "Promoted", cycles=400)


# --- what the pods are, as against what was written -----------------------------------------------------------------------


async def test_a_pod_that_goes_is_no_capacity() -> None:
    loop = await begun(scaled_by(CPU))
    await loop.until(lambda: capacity(loop)["stable"]["carries"] is not None, cycles=60)
    before = capacity(loop)["stable"]
    ref = Ref(POD, NAMESPACE, "helloworld-v1-0")
    pod = loop.mesh.read(ref)
    pod["metadata"]["finalizers"] = ["test.example.com/drains"]
    loop.mesh.cluster.apply(pod)
    loop.mesh.cluster.delete(ref)
    await loop.cycle()
    after = capacity(loop)["stable"]
    assert (before["ready"], after["ready"]) == (5, 4), "it still says that it is ready"
