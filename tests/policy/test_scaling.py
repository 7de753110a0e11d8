from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analyzer.core.capacity.hpa import DEFAULT_DOWN, DEFAULT_UP, PLAIN_DOWN, PLAIN_UP, PodUse, Rules, recommend
from analyzer.policy.amounts import quantity
from analyzer.policy.scaling import Surroundings, leave_out, read_scaling, startup_s


def deployment(*, cpu: str | None = "500m", replicas: int = 3, sidecar: str | None = None) -> dict[str, Any]:
    def container(name: str, asked: str | None) -> dict[str, Any]:
        return {"name": name, "resources": {"requests": {"cpu": asked}} if asked else {}}

    containers = [container("app", cpu)] + ([container("istio-proxy", sidecar)] if sidecar else [])
    return {
        "metadata": {"name": "shop-v1", "namespace": "shop"},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": containers}}},
    }


def hpa(
    *metrics: dict[str, Any], name: str = "shop-v1", status: list[dict[str, Any]] | None = None, **spec: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "shop-v1"},
            "minReplicas": 2,
            "maxReplicas": 20,
            "metrics": list(metrics),
            **spec,
        },
        "status": {"currentMetrics": status or []},
    }


CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}


def cpu_by(percent: int) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def cpu_now(percent: int, value: str) -> dict[str, Any]:
    current = {"averageUtilization": percent, "averageValue": value}
    return {"type": "Resource", "resource": {"name": "cpu", "current": current}}


CPU_NOW = cpu_now(41, "205m")


def test_a_utilisation_refers_to_what_all_containers_of_a_pod_request() -> None:
    scaling = read_scaling(deployment(sidecar="100m"), [hpa(CPU, status=[cpu_now(34, "205m")])])
    assert scaling.scaler is not None
    (metric,) = scaling.scaler.metrics
    assert (metric.target.per_pod, metric.target.request, metric.saturation) == (360.0, 600.0, 600.0)
    assert (scaling.scaler.min_replicas, scaling.scaler.max_replicas) == (2, 20)
    assert list(scaling.use) == pytest.approx([205.0])
    assert scaling.unknown == ""


def running(app: str | None = "100m", proxy: str | None = "100m", **more: Any) -> dict[str, Any]:
    """A pod as it runs, with a proxy that was injected as a restartable init container."""

    def asked(cpu: str | None) -> dict[str, Any]:
        return {"requests": {"cpu": cpu}, "limits": {"cpu": "2"}} if cpu else {}

    sidecar = {"name": "istio-proxy", "restartPolicy": "Always", "resources": asked(proxy)}
    setup = {"name": "istio-init", "resources": {"requests": {"cpu": "3"}}}
    containers = [{"name": "app", "resources": {"requests": {"cpu": app}} if app else {}}]
    return {"metadata": {}, "spec": {"containers": containers, "initContainers": [setup, sidecar]}, **more}


def target_of(percent: int, *pods: dict[str, Any], **hpas: Any) -> tuple[float | None, float, float | None]:
    """Request, target and saturation of the CPU metric of a Deployment whose template requests 100m."""
    scaling = read_scaling(deployment(cpu="100m"), [hpa(cpu_by(percent), **hpas)], Surroundings(pods=pods))
    assert scaling.scaler is not None
    (metric,) = scaling.scaler.metrics
    return metric.target.request, metric.target.per_pod, metric.saturation


def test_what_was_injected_into_the_pods_counts_as_the_hpa_counts_it() -> None:
    assert target_of(80, running()) == (200.0, 160.0, 200.0), (
        "a proxy's own limit is no reason to take more for possible"
    )
    assert target_of(80) == (100.0, 80.0, 100.0), "without a pod the template has to do"


def test_pods_that_go_or_have_failed_are_not_counted() -> None:
    going = running(proxy="900m") | {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    failed = running(proxy="900m", status={"phase": "Failed"})
    assert target_of(80, running(), going, failed) == (200.0, 160.0, 200.0)
    assert target_of(80, running(), running(proxy="300m"))[0] == 300.0, "the HPA divides by what all pods request"


def test_one_injected_container_without_a_request_makes_the_hpa_fail() -> None:
    around = Surroundings(pods=[running(proxy=None)])
    assert "cpu without a request" in read_scaling(deployment(cpu="100m"), [hpa(CPU)], around).unknown


def test_what_a_pod_requests_as_a_whole_stands_for_its_containers() -> None:
    pod = running(app=None)
    pod["spec"]["resources"] = {"requests": {"cpu": "1"}, "limits": {"cpu": "3"}}
    assert target_of(50, pod)[:2] == (1000.0, 500.0)


def test_where_pods_are_not_known_the_hpas_own_status_shows_what_they_request() -> None:
    request, target, _ = target_of(80, status=[cpu_now(75, "150m")])
    assert request == pytest.approx(200.0, rel=0.01)
    assert target == pytest.approx(160.0, rel=0.01)
    assert target_of(80, status=[cpu_now(75, "75m")])[0] == 100.0, "rounding is no contradiction"
    assert target_of(80, status=[cpu_now(3, "6m")])[0] == 100.0, "three whole per cent tell too little"


def limited(percent: int, limit: str) -> tuple[float | None, float | None]:
    pod = running()
    pod["spec"]["containers"][0]["resources"]["limits"] = {"cpu": limit}
    given = deployment(cpu="100m")
    given["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] = {"cpu": limit}
    scaling = read_scaling(given, [hpa(cpu_by(percent))], Surroundings(pods=[pod]))
    assert scaling.scaler is not None
    (metric,) = scaling.scaler.metrics
    return metric.saturation, metric.promised


def test_a_container_is_full_at_its_limit_and_promises_its_request() -> None:
    assert limited(80, "500m") == (600.0, 200.0), "the author's limit, and what the proxy requests"


@pytest.mark.parametrize("percent", [30, 60, 80, 90, 91, 95, 120, 200])
def test_pods_may_always_be_brought_to_where_their_hpa_grows(percent: int) -> None:
    scaling = read_scaling(deployment(cpu="100m"), [hpa(cpu_by(percent))])
    assert scaling.scaler is not None
    (metric,) = scaling.scaler.metrics
    assert recommend(3, pods=[PodUse(metric.allowed(0.2))] * 3, target=metric.target) > 3
    assert metric.saturation is None or metric.saturation > metric.wanted


def test_a_container_metric_refers_to_its_container_alone() -> None:
    target = {"type": "Utilization", "averageUtilization": 50}
    metric = {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "app", "target": target}}
    scaling = read_scaling(deployment(sidecar="100m"), [hpa(metric)])
    assert scaling.scaler is not None
    assert scaling.scaler.metrics[0].name == "cpu of container app"
    assert scaling.scaler.metrics[0].target.per_pod == 250.0
    assert scaling.use == (None,)


def test_a_metric_per_pod_is_read_with_its_present_value() -> None:
    name = {"name": "requests_per_second"}
    metric = {"type": "Pods", "pods": {"metric": name, "target": {"type": "AverageValue", "averageValue": "40"}}}
    now = {"type": "Pods", "pods": {"metric": name, "current": {"averageValue": "21500m"}}}
    scaling = read_scaling(deployment(), [hpa(CPU, metric, status=[now, CPU_NOW])])
    assert scaling.scaler is not None
    assert [m.name for m in scaling.scaler.metrics] == ["cpu", "Pods metric requests_per_second"]
    assert list(scaling.use) == pytest.approx([205.0, 21.5])


def test_what_keda_makes_is_named_and_not_guessed_at() -> None:
    external = {"type": "External", "external": {"metric": {"name": "s0-kafka"}, "target": {"averageValue": "5"}}}
    scaling = read_scaling(deployment(), [hpa(external)])
    assert scaling.unknown == "shop-v1 scales by External metric s0-kafka, which says nothing of requests"
    both = read_scaling(deployment(), [hpa(CPU, external)])
    assert both.scaler is not None
    assert both.scaler.unknown == ("External metric s0-kafka",)
    assert both.unknown == ""


@pytest.mark.parametrize(
    ("autoscalers", "replicas", "cpu", "why"),
    [
        ([], 3, "500m", "no HorizontalPodAutoscaler scales Deployment shop-v1"),
        ([hpa(CPU), hpa(CPU, name="other")], 3, "500m", "HorizontalPodAutoscalers other and shop-v1 both scale"),
        ([hpa(CPU)], 0, "500m", "has no replicas, which switches shop-v1 off"),
        ([hpa(CPU)], 3, None, "shop-v1 scales by cpu without a request"),
    ],
)
def test_what_makes_a_forecast_impossible_is_said(
    autoscalers: list[dict[str, Any]], replicas: int, cpu: str | None, why: str
) -> None:
    assert why in read_scaling(deployment(replicas=replicas, cpu=cpu), autoscalers).unknown


def test_memory_says_nothing_of_requests() -> None:
    memory = {"type": "Resource", "resource": {"name": "memory", "target": {"averageUtilization": 80}}}
    scaling = read_scaling(deployment(), [hpa(CPU, memory)])
    assert scaling.scaler is not None
    assert scaling.scaler.unknown == ("memory",)


def test_a_tolerance_of_nothing_is_none_and_each_direction_has_its_own() -> None:
    behaviour = {"scaleUp": {"tolerance": "0"}, "scaleDown": {"tolerance": "0.3"}}
    scaling = read_scaling(deployment(), [hpa(CPU, behavior=behaviour)])
    assert scaling.scaler is not None
    target = scaling.scaler.metrics[0].target
    assert (target.tolerance, target.tolerance_down) == (0.0, 0.3)
    assert target.is_met(0.71)
    assert not target.is_met(1.01)


def rules_of(**spec: Any) -> tuple[Rules, Rules]:
    scaler = read_scaling(deployment(), [hpa(CPU, **spec)]).scaler
    assert scaler is not None
    return scaler.up, scaler.down


def test_without_behaviour_the_controllers_own_limits_hold() -> None:
    assert rules_of() == (PLAIN_UP, PLAIN_DOWN)
    assert rules_of(behavior={}) == (DEFAULT_UP, DEFAULT_DOWN)


def service(name: str, **selector: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {"selector": selector}}


def labelled(version: str) -> dict[str, Any]:
    made = deployment()
    made["metadata"]["name"] = f"shop-{version}"
    made["spec"]["template"]["metadata"] = {"labels": {"app": "shop", "version": version}}
    return made


def per_object(kind: str, name: str) -> dict[str, Any]:
    metric = {"name": "requests_per_second"}
    described = {"kind": kind, "name": name}
    target = {"type": "AverageValue", "averageValue": "40"}
    return {"type": "Object", "object": {"metric": metric, "describedObject": described, "target": target}}


def test_a_metric_that_turned_out_to_have_nothing_to_do_with_requests_is_named() -> None:
    target = {"type": "AverageValue", "averageValue": "40"}
    queue = {"type": "Pods", "pods": {"metric": {"name": "queue"}, "target": target}}
    out = frozenset({"Pods metric queue", "cpu"})
    alone = leave_out(read_scaling(deployment(), [hpa(queue)]), out)
    assert alone.unknown == (
        "shop-v1 scales by Pods metric queue (which does not follow the requests), which says nothing of requests"
    )
    beside = leave_out(read_scaling(deployment(), [hpa(CPU, queue, status=[CPU_NOW])]), out)
    assert beside.scaler is not None
    assert [metric.name for metric in beside.scaler.metrics] == ["cpu"], "of CPU every pod has a use"
    assert beside.scaler.unknown == ("Pods metric queue (which does not follow the requests)",)
    assert (len(beside.use), beside.unknown) == (1, "")


def test_what_an_object_of_both_versions_shows_says_nothing_of_one() -> None:
    around = Surroundings(
        services=[service("shop", app="shop"), service("shop-v1", app="shop", version="v1")],
        deployments=[labelled("v1"), labelled("v2")],
    )
    for kind, name in (("Service", "shop"), ("Service", "elsewhere"), ("Ingress", "shop-v1")):
        scaling = read_scaling(labelled("v1"), [hpa(per_object(kind, name))], around)
        assert f"Object metric requests_per_second of {kind} {name} (not shop-v1's alone)" in scaling.unknown
    own = read_scaling(labelled("v1"), [hpa(per_object("Service", "shop-v1"))], around)
    assert own.scaler is not None
    assert own.scaler.metrics[0].target.total
    assert own.unknown == ""


def test_behaviour_and_tolerance_are_read() -> None:
    behaviour = {
        "scaleUp": {"tolerance": "0.05", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
        "scaleDown": {"stabilizationWindowSeconds": 900},
    }
    scaling = read_scaling(deployment(), [hpa(CPU, behavior=behaviour)])
    assert scaling.scaler is not None
    assert scaling.scaler.metrics[0].target.tolerance == 0.05
    assert scaling.scaler.up.policies[0].value == 1
    assert scaling.scaler.down.window_s == 900


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("250m", 0.25),
        ("2", 2.0),
        ("1.5", 1.5),
        (3, 3.0),
        ("2Ki", 2048.0),
        ("1e3", 1000.0),
        ("5n", 5e-9),
        ("k", None),
        (None, None),
        (True, None),
    ],
)
def test_quantities_are_read_as_kubernetes_writes_them(text: object, number: float | None) -> None:
    assert quantity(text) == (None if number is None else pytest.approx(number))


MADE = datetime(2026, 1, 1, tzinfo=UTC)


def pod(seconds: int, *, restarts: int = 0, ready: str = "True") -> dict[str, Any]:
    return {
        "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {
            "containerStatuses": [{"restartCount": restarts}],
            "conditions": [
                {"type": "Ready", "status": ready, "lastTransitionTime": f"{MADE + timedelta(seconds=seconds):%FT%TZ}"}
            ],
        },
    }


def test_start_up_is_the_usual_one_of_pods_that_never_restarted() -> None:
    assert startup_s([pod(10), pod(14), pod(30), pod(55, restarts=1), pod(50, ready="False")]) == 12.0
    assert startup_s([pod(5, restarts=2)]) is None


def test_a_pod_that_lost_its_readiness_once_makes_no_start_slow() -> None:
    assert startup_s([pod(14), pod(3000)]) == 14.0
    assert startup_s([pod(14), pod(400), pod(16)]) == 15.0
    assert startup_s([pod(3000), pod(7200)]) is None, "no Deployment waits so long"
