"""The helloworld service, as a user has it."""

from typing import Any

import pytest

from analyzer.ports import Object

NAMESPACE = "shop"


def _object(kind: str, api_version: str, name: str, spec: Object) -> Object:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def _deployment(version: str, *, replicas: int, env: dict[str, str]) -> Object:
    labels = {"app": "helloworld", "version": version}
    container = {
        "name": "helloworld",
        "image": f"registry.example.com:5000/helloworld:{version}",
        "resources": {"requests": {"cpu": "100m"}},
        "env": [{"name": name, "value": value} for name, value in env.items()],
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return _object("Deployment", "apps/v1", f"helloworld-{version}", spec)


def _hpa(version: str) -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"helloworld-{version}"}
    utilisation = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    metrics = [{"type": "Resource", "resource": utilisation}]
    spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 10, "metrics": metrics}
    return _object("HorizontalPodAutoscaler", "autoscaling/v2", f"helloworld-{version}", spec)


@pytest.fixture
def virtual_service() -> Object:
    route = [
        {"destination": {"host": "helloworld", "subset": "v1"}, "weight": 90},
        {"destination": {"host": "helloworld", "subset": "v2"}, "weight": 10},
    ]
    spec = {"hosts": ["hello.example.com"], "gateways": ["public"], "http": [{"name": "primary", "route": route}]}
    return _object("VirtualService", "networking.istio.io/v1", "helloworld", spec)


@pytest.fixture
def service() -> Object:
    spec = {"selector": {"app": "helloworld"}, "ports": [{"name": "http", "port": 5000}]}
    return _object("Service", "v1", "helloworld", spec)


@pytest.fixture
def destination_rule() -> Object:
    subsets = [{"name": version, "labels": {"version": version}} for version in ("v1", "v2")]
    return _object(
        "DestinationRule", "networking.istio.io/v1", "helloworld", {"host": "helloworld", "subsets": subsets}
    )


@pytest.fixture
def quick() -> dict[str, str]:
    """A pod that starts at once and never fails by itself."""
    return {"STARTUP_SECONDS": "0.1", "ERROR_RATE": "0", "LATENCY_MS": "5"}


@pytest.fixture
def manifests(
    service: Object, virtual_service: Object, destination_rule: Object, quick: dict[str, str]
) -> list[dict[str, Any]]:
    versions = [_deployment("v1", replicas=2, env=quick), _deployment("v2", replicas=1, env=quick)]
    return [service, virtual_service, destination_rule, *versions]


@pytest.fixture
def hpas() -> list[Object]:
    return [_hpa("v1"), _hpa("v2")]
