"""Istio: istiod with its validating webhook, and the ingress gateway that it configures over xDS."""

import json
from base64 import b64encode

from analyzer.ports import Object
from analyzer.sandbox.bootstrap import BUCKETS_MS, METRICS_PREFIX, build_metrics
from analyzer.sandbox.gateway import find_envoy
from tests.cluster.bed.components import Recipe
from tests.cluster.bed.places import (
    ENVOY_ADMIN,
    GATEWAY_ADDRESS,
    ISTIO_NAMESPACE,
    ISTIOD_GRPC,
    ISTIOD_HTTP,
    ISTIOD_WEBHOOK,
    Places,
)

WEBHOOK = f"istio-validator-{ISTIO_NAMESPACE}"
_MANAGER = "envoy.filters.network.http_connection_manager"
_MANAGER_TYPE = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def istiod(places: Places) -> Recipe:
    """Give istiod. It has no certificate authority here: the gateway speaks plaintext to it and to the pods."""
    mesh = {
        "rootNamespace": ISTIO_NAMESPACE,
        "enableAutoMtls": False,
        "enablePrometheusMerge": False,
        "enableTracing": False,
        "defaultProviders": {},
        "defaultConfig": {"discoveryAddress": _join(ISTIOD_GRPC)},
    }
    path = places.directory / "mesh.json"
    path.write_text(json.dumps(mesh))
    argv = (
        places.program("pilot-discovery"),
        "discovery",
        f"--kubeconfig={places.kubeconfig}",
        f"--meshConfig={path}",
        f"--grpcAddr={_join(ISTIOD_GRPC)}",
        f"--httpAddr={ISTIOD_HTTP}",
        f"--httpsAddr={_join(ISTIOD_WEBHOOK)}",
        "--secureGRPCAddr=",
        "--monitoringAddr=127.0.0.1:15014",
        f"--tlsCertFile={places.keys}/istiod.crt",
        f"--tlsKeyFile={places.keys}/istiod.key",
        f"--caCertFile={places.keys}/ca.crt",
        "--log_output_level=default:warn",
    )
    environment = {
        # Envoy as its own project builds it lacks Istio's filters.
        "PILOT_ENABLE_ALPN_FILTER": "false",
        "PILOT_ENABLE_METADATA_EXCHANGE": "false",
        "ENABLE_CA_SERVER": "false",
        "PILOT_CERT_PROVIDER": "none",
        "PILOT_ENABLE_WORKLOAD_ENTRY_AUTOREGISTRATION": "false",
        "INJECTION_WEBHOOK_CONFIG_NAME": "",
        "VALIDATION_WEBHOOK_CONFIG_NAME": WEBHOOK,
        "POD_NAMESPACE": ISTIO_NAMESPACE,
        "POD_NAME": "istiod-0",
        "REVISION": "default",
        "CLUSTER_ID": "Kubernetes",
    }
    return Recipe("istiod", argv, f"http://{ISTIOD_HTTP}/ready", environment)


def build_webhook(places: Places) -> Object:
    """Build what Istio's chart registers. istiod itself turns `Ignore` into `Fail` once it refuses what it should."""
    rule = {
        "operations": ["CREATE", "UPDATE"],
        "apiGroups": ["security.istio.io", "networking.istio.io", "telemetry.istio.io", "extensions.istio.io"],
        "apiVersions": ["*"],
        "resources": ["*"],
    }
    client = {
        "url": f"https://{_join(ISTIOD_WEBHOOK)}/validate",
        "caBundle": b64encode(places.authority.read_bytes()).decode(),
    }
    webhook = {
        "name": "validation.istio.io",
        "clientConfig": client,
        "rules": [rule],
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": WEBHOOK, "labels": {"app": "istiod", "istio.io/rev": "default"}},
        "webhooks": [webhook],
    }


def build_telemetry() -> Object:
    """Make the gateway count requests as Istio's filter does, with `route_name` and `upstream_cluster`.

    In a cluster a Telemetry resource with `tagOverrides` gives those two. That needs Istio's own build of Envoy; so does
    the filter. Here an access logger counts the same at the same moment (see `analyzer.sandbox.bootstrap`).
    """
    listener = {"filterChain": {"filter": {"name": _MANAGER}}}
    value = {"typed_config": {"@type": _MANAGER_TYPE, "access_log": [build_metrics()]}}
    patch = {
        "applyTo": "NETWORK_FILTER",
        "match": {"context": "GATEWAY", "listener": listener},
        "patch": {"operation": "MERGE", "value": value},
    }
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "metrics", "namespace": ISTIO_NAMESPACE},
        "spec": {"configPatches": [patch]},
    }


def gateway(places: Places) -> Recipe:
    """Give the ingress gateway: Envoy, with everything but its admin port from istiod."""
    path = places.directory / "gateway.json"
    path.write_text(json.dumps(_build_bootstrap()))
    argv = (find_envoy(), "-c", str(path), "--concurrency", "1", "--log-level", "warning", "--disable-hot-restart")
    return Recipe("gateway", argv, f"http://{_join(ENVOY_ADMIN)}/ready")


def _build_bootstrap() -> Object:
    source = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    streams = [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]
    ads = {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": streams,
    }
    metadata = {
        "NAMESPACE": ISTIO_NAMESPACE,
        "NAME": "ingressgateway-0",
        "CLUSTER_ID": "Kubernetes",
        "MESH_ID": "cluster.local",
        "ISTIO_VERSION": "1.32.0",
        "INSTANCE_IPS": GATEWAY_ADDRESS,
        "LABELS": {"istio": "ingressgateway", "app": "istio-ingressgateway"},
    }
    name = f"ingressgateway-0.{ISTIO_NAMESPACE}"
    return {
        "node": {
            "id": f"router~{GATEWAY_ADDRESS}~{name}~{ISTIO_NAMESPACE}.svc.cluster.local",
            "cluster": f"istio-ingressgateway.{ISTIO_NAMESPACE}",
            "metadata": metadata,
        },
        "admin": {"address": _address(ENVOY_ADMIN)},
        "stats_flush_interval": "1s",
        "stats_config": {
            "histogram_bucket_settings": [{"match": {"prefix": METRICS_PREFIX}, "buckets": list(BUCKETS_MS)}]
        },
        "dynamic_resources": {"ads_config": ads, "lds_config": source, "cds_config": source},
        "static_resources": {"clusters": [_build_xds_cluster()]},
    }


def _build_xds_cluster() -> Object:
    http2 = {"@type": f"type.googleapis.com/{_HTTP_OPTIONS}", "explicit_http_config": {"http2_protocol_options": {}}}
    endpoint = {"endpoint": {"address": _address(ISTIOD_GRPC)}}
    return {
        "name": "xds-grpc",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {_HTTP_OPTIONS: http2},
        # An istiod that hangs is noticed, as Istio's own bootstrap has it.
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 300}},
        "load_assignment": {"cluster_name": "xds-grpc", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(pair: tuple[str, int]) -> Object:
    return {"socket_address": {"address": pair[0], "port_value": pair[1]}}


def _join(pair: tuple[str, int]) -> str:
    return f"{pair[0]}:{pair[1]}"
