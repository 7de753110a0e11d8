"""A real Prometheus on loopback, and proxies for it to scrape whose every count is known."""

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from analyzer.ports import Workload

SCRAPE_MS = 500
EDGES = ("10", "100", "+Inf")
BINARY = shutil.which("prometheus")


def wait_for(condition: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)


class Proxy:
    """What Prometheus scrapes for an Envoy: counters of a process that can die and begin anew."""

    def __init__(self) -> None:
        self.scrapes = 0  # answered so far
        self._lock = threading.Lock()
        self._started: float | None = None
        self._counts: Counter[tuple[Workload, str]] = Counter()
        self._buckets: dict[tuple[Workload, str], Counter[str]] = {}
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = owner._page()
                self.send_response(503 if page is None else 200)
                self.end_headers()
                self.wfile.write((page or "").encode())
                owner.scrapes += page is not None

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 — the base class names it so
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @contextmanager
    def running(self) -> Iterator["Proxy"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def start(self) -> None:
        """A new process: whatever the one before counted is gone."""
        with self._lock:
            self._started = time.time()
            self._counts.clear()
            self._buckets.clear()

    def stop(self) -> None:
        """No process: scrapes fail."""
        with self._lock:
            self._started = None

    def serve(self, workload: Workload, durations_ms: Sequence[float], *, code: str = "200") -> None:
        with self._lock:
            self._counts[workload, code] += len(durations_ms)
            buckets = self._buckets.setdefault((workload, code), Counter())
            for edge in EDGES:
                buckets[edge] += sum(duration <= float(edge) for duration in durations_ms)

    def forget(self, workload: Workload, code: str) -> None:
        """Evict a series that was not used for long."""
        with self._lock:
            del self._counts[workload, code], self._buckets[workload, code]

    @property
    def uptime_s(self) -> int:
        return int(time.time() - self._started) if self._started is not None else 0

    def wait_until_seen(self) -> None:
        """Return when Prometheus has stored what is there now: the scrape after the next one has begun."""
        enough = self.scrapes + 2
        wait_for(lambda: self.scrapes >= enough, f"two scrapes of {self.address}")

    def _page(self) -> str | None:
        with self._lock:
            if self._started is None:
                return None
            lines = [f"envoy_server_uptime {self.uptime_s}"]
            for (workload, code), count in self._counts.items():
                labels = (
                    f'reporter="source",destination_workload="{workload.name}",'
                    f'destination_workload_namespace="{workload.namespace}",response_code="{code}",response_flags="-"'
                )
                lines.append(f"istio_requests_total{{{labels}}} {count}")
                for edge, below in self._buckets[workload, code].items():
                    lines.append(f'istio_request_duration_milliseconds_bucket{{{labels},le="{edge}"}} {below}')
            return "\n".join(lines) + "\n"


class RealPrometheus:
    """A Prometheus process of our own."""

    def __init__(self, directory: Path, targets: Sequence[str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        self._directory = directory
        interval = f"{SCRAPE_MS}ms"
        job = {"job_name": "mesh", "static_configs": [{"targets": list(targets)}]}
        config = {"global": {"scrape_interval": interval, "scrape_timeout": interval}, "scrape_configs": [job]}
        (directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML

    @contextmanager
    def running(self) -> Iterator["RealPrometheus"]:
        assert BINARY is not None
        with (self._directory / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    BINARY,
                    f"--config.file={self._directory}/prometheus.yml",
                    f"--storage.tsdb.path={self._directory}/data",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                ],
                stdout=log,
                stderr=log,
            )
            try:
                wait_for(lambda: self._is_ready(process), "Prometheus is ready")
                yield self
            finally:
                process.terminate()
                process.wait(20)

    def _is_ready(self, process: "subprocess.Popen[bytes]") -> bool:
        assert process.poll() is None, (self._directory / "prometheus.log").read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
