from typing import Any

import pytest

from analyzer.policy.scaling import quantity, read_scaling, startup_s


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
CPU_NOW = {
    "type": "Resource",
    "resource": {"name": "cpu", "current": {"averageUtilization": 41, "averageValue": "205m"}},
}


def test_a_utilisation_refers_to_what_all_containers_of_a_pod_request() -> None:
    scaling = read_scaling(deployment(sidecar="100m"), [hpa(CPU, status=[CPU_NOW])])
    assert scaling.scaler is not None
    (metric,) = scaling.scaler.metrics
    assert (metric.target.per_pod, metric.target.request, metric.saturation) == (360.0, 600.0, 600.0)
    assert (scaling.scaler.min_replicas, scaling.scaler.max_replicas) == (2, 20)
    assert list(scaling.use) == pytest.approx([205.0])
    assert scaling.unknown == ""


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


def pod(seconds: int, *, restarts: int = 0, ready: str = "True") -> dict[str, Any]:
    return {
        "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {
            "containerStatuses": [{"restartCount": restarts}],
            "conditions": [
                {"type": "Ready", "status": ready, "lastTransitionTime": f"2026-01-01T00:00:{seconds:02d}Z"}
            ],
        },
    }


def test_start_up_is_the_median_of_pods_that_never_restarted() -> None:
    assert startup_s([pod(10), pod(14), pod(30), pod(55, restarts=1), pod(50, ready="False")]) == 14.0
    assert startup_s([pod(5, restarts=2)]) is None
