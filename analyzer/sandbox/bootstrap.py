"""How the gateway starts: its listener, where it reads the rest, and metrics that look like Istio's. Pure."""

from pathlib import Path
from typing import Final

from analyzer.ports import Object
from analyzer.sandbox.routes import ROUTES

METRICS_PREFIX: Final = "istio_"
"""Every metric that is Istio's begins so, and no other does."""

_SECOND_MS: Final = 1_000
_MINUTE_MS: Final = 60 * _SECOND_MS
BUCKETS_MS: Final = (
    *(0.5, 1, 5, 10, 25, 50, 100, 250, 500),
    *(_SECOND_MS * n for n in (1, 2.5, 5, 10, 30)),
    *(_MINUTE_MS * n for n in (1, 5, 10, 30, 60)),
)
"""Istio's default histogram buckets."""

TAGS: Final = {
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "destination_attributes": "%UPSTREAM_METADATA(istio:workload)%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "route_name": "%ROUTE_NAME%",
}
"""Labels of a request; Prometheus takes `destination_attributes` apart, as the others are ready."""

_MANAGER: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_STATS: Final = "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config"
_ROUTER: Final = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_ANY_PORT: Final = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}


def build_bootstrap(*, routes_file: Path, clusters_file: Path) -> Object:
    """Build Envoy's own configuration: everything on loopback, ports chosen by the kernel."""
    return {
        "node": {"id": "sandbox-gateway", "cluster": "istio-ingressgateway"},
        "admin": {"address": _ANY_PORT},
        # Histograms appear only when they are flushed: well before the next scrape.
        "stats_flush_interval": "0.5s",
        "stats_config": {
            "histogram_bucket_settings": [{"match": {"prefix": METRICS_PREFIX}, "buckets": list(BUCKETS_MS)}]
        },
        "dynamic_resources": {"cds_config": _file(clusters_file)},
        "static_resources": {
            "listeners": [
                {
                    "name": "gateway",
                    "address": _ANY_PORT,
                    "filter_chains": [{"filters": [_build_connection_manager(routes_file)]}],
                }
            ]
        },
    }


def _file(path: Path) -> Object:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def _build_connection_manager(routes_file: Path) -> Object:
    manager = {
        "@type": f"type.googleapis.com/{_MANAGER}",
        "stat_prefix": "gateway",
        "rds": {"route_config_name": ROUTES, "config_source": _file(routes_file)},
        "generate_request_id": False,
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
        "access_log": [build_metrics()],
    }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


def build_metrics() -> Object:
    """Count each request once, when its stream ends, as Istio's own filter does."""
    tags = [{"name": name, "value_format": text} for name, text in TAGS.items()]
    duration = {
        "stat": {"name": "istio_request_duration_milliseconds", "tags": tags},
        "value_format": "%DURATION%",
        "unit": "Milliseconds",
    }
    config = {
        "@type": _STATS,
        "stats_scope": {},
        "counters": [{"stat": {"name": "istio_requests_total", "tags": tags}, "value_fixed": 1}],
        "histograms": [duration],
    }
    return {"name": "envoy.access_loggers.stats", "typed_config": config}
