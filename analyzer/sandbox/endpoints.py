"""What istiod makes of Services, DestinationRules and Pods: Envoy's clusters and their endpoints. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from analyzer.policy.mesh import resolve_host
from analyzer.ports import Object
from analyzer.sandbox.routes import cluster_name, service_host

ADDRESS: Final = "sandbox.serin.dev/address"
"""Annotation of a Pod: where it really listens. All pods share 127.0.0.1, so a pod's port is its own."""

TEMPLATE_HASH: Final = "pod-template-hash"

_CLUSTER: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
_ASSIGNMENT: Final = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
_REVISION_LABELS: Final = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
_NAME_LABELS: Final = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")


@dataclass(frozen=True, slots=True)
class Upstream:
    """One cluster of the gateway: a Service's port, or a subset of it, and the pods behind it."""

    name: str
    assignment: Object


def build_upstreams(
    services: Iterable[Object], *, destination_rules: Sequence[Object], pods: Sequence[Object]
) -> tuple[Upstream, ...]:
    """List a cluster for each port of each Service and for each subset of it, with its ready pods."""
    upstreams = []
    for service in services:
        host = service_host(service)
        subsets: list[tuple[str | None, Mapping[str, str]]] = [(None, {}), *_subsets(host, destination_rules)]
        for subset, labels in subsets:
            selector = {**service["spec"].get("selector", {}), **labels}
            members = [pod for pod in pods if _is_member(pod, service["metadata"]["namespace"], selector)]
            for port in service["spec"]["ports"]:
                name = cluster_name(host, port=port["port"], subset=subset)
                upstreams.append(Upstream(name, _build_assignment(name, members)))
    return tuple(upstreams)


def build_cluster(name: str, *, endpoints_file: str) -> Object:
    """Build a cluster that reads its endpoints from a file; least request, as Istio's default."""
    source = {"path_config_source": {"path": endpoints_file}, "resource_api_version": "V3"}
    return {
        "@type": _CLUSTER,
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": source},
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": "10s",
    }


def workload_of(pod: Object) -> str:
    """Name the Deployment of a pod as Istio does: its ReplicaSet's name without the template hash."""
    metadata = pod["metadata"]
    owner = next((ref["name"] for ref in metadata.get("ownerReferences", []) if ref.get("controller")), None)
    if owner is None:
        return str(metadata["name"])
    return str(owner).removesuffix(f"-{metadata.get('labels', {}).get(TEMPLATE_HASH, '')}")


def is_ready(pod: Object) -> bool:
    """Tell what the pod's Ready condition says."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _subsets(host: str, destination_rules: Iterable[Object]) -> list[tuple[str | None, Mapping[str, str]]]:
    return [
        (subset["name"], subset.get("labels", {}))
        for rule in destination_rules
        if resolve_host(rule["spec"]["host"], rule["metadata"]["namespace"]) == host
        for subset in rule["spec"].get("subsets", [])
    ]


def _is_member(pod: Object, namespace: str, selector: Mapping[str, str]) -> bool:
    metadata = pod["metadata"]
    labels = metadata.get("labels", {})
    return (
        metadata["namespace"] == namespace
        and bool(selector)
        and all(labels.get(key) == value for key, value in selector.items())
        and is_ready(pod)
        and "deletionTimestamp" not in metadata
    )


def _build_assignment(name: str, pods: Iterable[Object]) -> Object:
    endpoints = sorted((_build_endpoint(pod) for pod in pods), key=str)
    return {"@type": _ASSIGNMENT, "cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}


def _build_endpoint(pod: Object) -> Object:
    address, _, port = pod["metadata"]["annotations"][ADDRESS].rpartition(":")
    metadata = pod["metadata"]
    labels = metadata.get("labels", {})
    workload = workload_of(pod)
    canonical = _first(labels, _NAME_LABELS, default=workload)
    revision = _first(labels, _REVISION_LABELS, default="latest")
    attributes = ";".join((workload, metadata["namespace"], canonical, revision, "Kubernetes"))
    return {
        "endpoint": {"address": {"socket_address": {"address": address, "port_value": int(port)}}},
        "metadata": {"filter_metadata": {"istio": {"workload": attributes}}},
    }


def _first(labels: Mapping[str, str], keys: Iterable[str], *, default: str) -> str:
    return next((labels[key] for key in keys if key in labels), default)
