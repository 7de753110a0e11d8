"""A real Prometheus that scrapes the gateway, so that its series look exactly like those of an Istio gateway."""

import asyncio
import json
import shutil
import socket
import sys
from pathlib import Path
from typing import Any, Final

import aiohttp

from analyzer.errors import SerinError, TerminalError
from analyzer.sandbox.bootstrap import METRICS_PREFIX
from analyzer.sandbox.child import Child

_ATTEMPTS: Final = 5
_POLL_S: Final = 0.05
_PATIENCE_S: Final = 30.0
_ISTIO: Final = "istio_(requests_total|request_duration_milliseconds.*)"
_ATTRIBUTES: Final = "([^;]*);([^;]*);([^;]*);([^;]*);.*"
_CLUSTER: Final = r"outbound\|\d+\|[^|]*\|"
_ATTRIBUTE_LABELS: Final = (
    "destination_workload",
    "destination_workload_namespace",
    "destination_canonical_service",
    "destination_canonical_revision",
)


def build_config(*, target: str, scrape_s: float) -> dict[str, Any]:
    """Build the configuration: one target, and relabeling that makes Istio's labels of Envoy's. Pure.

    Where no pod was picked, Istio reports workload `unknown` and revision `latest`: so do we.
    """
    interval = f"{round(scrape_s * 1000)}ms"
    job = {
        "job_name": "gateway",
        "metrics_path": "/stats/prometheus",
        # Only what the relabeling keeps: Envoy has a thousand other series.
        "params": {"filter": [rf"^({METRICS_PREFIX}|server\.uptime)"]},
        "static_configs": [{"targets": [target]}],
        "metric_relabel_configs": _build_relabeling(),
    }
    return {"global": {"scrape_interval": interval, "scrape_timeout": interval}, "scrape_configs": [job]}


def _build_relabeling() -> list[dict[str, Any]]:
    def rule(source: str, regex: str, target: str, replacement: str) -> dict[str, Any]:
        return {"source_labels": [source], "regex": regex, "target_label": target, "replacement": replacement}

    def rule_of_istio(target: str, source: str, regex: str, replacement: str) -> dict[str, Any]:
        """Apply to Istio's metrics only: Envoy's own must not look like a reporter's."""
        pair = {"source_labels": ["__name__", source], "separator": "@", "target_label": target}
        return {**pair, "regex": f"istio_[^@]*@{regex}", "replacement": replacement}

    constants = {
        "reporter": "source",
        "request_protocol": "http",
        "source_workload": "istio-ingressgateway",
        "source_workload_namespace": "istio-system",
    }
    return [
        rule("__name__", f"envoy_{_ISTIO}", "__name__", "istio_$1"),
        {"source_labels": ["__name__"], "regex": f"{_ISTIO}|envoy_server_uptime", "action": "keep"},
        *(rule("__name__", "istio_.*", label, value) for label, value in constants.items()),
        *(
            rule_of_istio(label, "destination_attributes", _ATTRIBUTES, f"${group}")
            for group, label in enumerate(_ATTRIBUTE_LABELS, start=1)
        ),
        rule_of_istio("destination_workload", "destination_workload", "", "unknown"),
        rule_of_istio("destination_workload_namespace", "destination_workload_namespace", "", "unknown"),
        rule_of_istio("destination_canonical_service", "destination_canonical_service", "", "unknown"),
        rule_of_istio("destination_canonical_revision", "destination_canonical_revision", "(unknown|)", "latest"),
        rule("upstream_cluster", "(.*);", "upstream_cluster", "$1"),
        rule("upstream_cluster", rf"{_CLUSTER}(.+)", "destination_service", "$1"),
        rule("upstream_cluster", rf"{_CLUSTER}([^.]+)\..*", "destination_service_name", "$1"),
        rule("upstream_cluster", rf"{_CLUSTER}[^.]+\.([^.]+)\..*", "destination_service_namespace", "$1"),
        {"regex": "destination_attributes", "action": "labeldrop"},
    ]


def find_prometheus() -> str:
    """Find `prometheus`: in PATH, or beside the interpreter, where `make` puts it.

    Raises
    ------
    TerminalError
        There is none; the message says how to get it.
    """
    found = shutil.which("prometheus") or shutil.which("prometheus", path=Path(sys.executable).parent)
    if found is None:
        raise TerminalError("there is no `prometheus` in PATH: `make demo` fetches it, or: apt-get install prometheus")
    return found


class Prometheus:
    """The process, on a port of its own."""

    def __init__(self, directory: Path, *, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self._directory = directory
        self._session = session
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The process."""
        assert self._child is not None, "Prometheus was not started"
        return self._child

    async def start(self, *, target: str, scrape_s: float) -> None:
        """Start it and wait until it answers queries.

        Prometheus cannot be given port 0. So a free one is picked, and another if somebody was faster.

        Raises
        ------
        ChildDied
            With what Prometheus said.
        """
        config = self._directory / "prometheus.json"  # JSON is YAML
        config.write_text(json.dumps(build_config(target=target, scrape_s=scrape_s)))
        for attempt in range(_ATTEMPTS):
            port = _free_port()
            self.url = f"http://127.0.0.1:{port}"
            argv = [find_prometheus(), f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"]
            argv += [f"--storage.tsdb.path={self._directory / f'tsdb-{attempt}'}", "--log.level=warn"]
            self._child = await Child.start("Prometheus", argv, log=self._directory / f"prometheus-{attempt}.log")
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    if await self._is_ready():
                        return
            except TimeoutError:
                raise SerinError(f"Prometheus did not become ready. It said:\n{self.child.tail()}") from None
            if "address already in use" not in self.child.log.read_text():
                break
        self.child.died()

    async def close(self) -> None:
        """End the process."""
        if self._child is not None:
            await self._child.stop(grace_s=5)

    async def _is_ready(self) -> bool:
        """Wait for readiness; False where the process ended instead."""
        while self.child.running:
            try:
                async with self._session.get(f"{self.url}/-/ready") as response:
                    # Another process that answers on this port is not ours: ours is still running only if it listens.
                    if response.ok and self.child.running:
                        return True
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(_POLL_S)
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
