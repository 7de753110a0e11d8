"""Prometheus: the gateway by address, the pods as the node agent lists them."""

import json
from typing import Any, Final

from analyzer.sandbox.prometheus import build_config, find_prometheus
from tests.cluster.bed.components import Recipe
from tests.cluster.bed.places import CONTROL_URL, ENVOY_ADMIN, PROMETHEUS_URL, Places

SCRAPE_S: Final = 5.0


def prometheus(places: Places) -> Recipe:
    """Give Prometheus."""
    path = places.directory / "prometheus.json"  # JSON is YAML
    config = build_config(target=f"{ENVOY_ADMIN[0]}:{ENVOY_ADMIN[1]}", scrape_s=SCRAPE_S)
    config["scrape_configs"].append(_build_pods_job())
    path.write_text(json.dumps(config))
    argv = (
        find_prometheus(),
        f"--config.file={path}",
        f"--web.listen-address={PROMETHEUS_URL.removeprefix('http://')}",
        f"--storage.tsdb.path={places.directory / 'tsdb'}",
        "--log.level=warn",
    )
    return Recipe("prometheus", argv, f"{PROMETHEUS_URL}/-/ready", grace_s=5.0)


def _build_pods_job() -> dict[str, Any]:
    """Find the pods. Debian builds Prometheus without discovery by Kubernetes, so the node agent lists them."""
    return {
        "job_name": "pods",
        "metrics_path": "/stats/prometheus",
        "http_sd_configs": [{"url": f"{CONTROL_URL}/targets", "refresh_interval": "1s"}],
    }
