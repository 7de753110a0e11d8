"""Many rollouts at once, on in-memory ports, for the benchmark."""

import asyncio
import copy
import json
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from analyzer.adapters.memory import MemoryCluster
from analyzer.adapters.prometheus import PrometheusTelemetry
from analyzer.app.cache import ClusterCache
from analyzer.app.daemon import WATCHED
from analyzer.app.judging import Judging
from analyzer.app.metrics import Metrics
from analyzer.app.outbox import Outbox
from analyzer.app.reconcile import Reconciler, TurnResult
from analyzer.app.writer import Services
from analyzer.core.judge.types import ISTIO_EDGES_MS
from analyzer.policy.examples import example_objects
from analyzer.ports import (
    CANARY_POLICY,
    DEPLOYMENT,
    Ref,
    SeriesBatch,
    TelemetryQuery,
    TelemetryWindow,
    Workload,
)
from tests.fakes import FakeTelemetry, FaultyCluster, ManualClock, RecordingSink

SCRAPE_S = 15.0
_KEPT = 8
_CODES = ("200", "500")


class Crowd:
    """As many copies of the example as wanted, each in a namespace of its own, all behind one gateway."""

    def __init__(self, rollouts: int) -> None:
        self.clock = ManualClock()
        self.cluster = MemoryCluster(self.clock)
        self.policies: list[Ref] = []
        self._rng = np.random.default_rng(1)
        base = [obj for obj in example_objects("helloworld") if obj["kind"] != "Gateway"]
        for number in range(rollouts):
            self._add(base, f"shop-{number:04d}")
        self._series = [
            {"workload": f"helloworld-{version}", "namespace": ref.namespace}
            for ref in self.policies
            for version in ("v1", "v2")
        ]
        counts = np.array([2700, 300] * rollouts)
        self._per_scrape = counts
        self._scrapes = 0

    def _add(self, base: list[dict[str, Any]], namespace: str) -> None:
        for obj in copy.deepcopy(base):
            obj["metadata"]["namespace"] = namespace
            there = self.cluster.apply(obj)
            if obj["kind"] == "Deployment":
                status = {"observedGeneration": there["metadata"]["generation"]}
                status |= dict.fromkeys(
                    ("replicas", "updatedReplicas", "readyReplicas"), obj["spec"].get("replicas", 1)
                )
                self.cluster.set_status(Ref(DEPLOYMENT, namespace, obj["metadata"]["name"]), status)
        self.policies.append(Ref(CANARY_POLICY, namespace, "helloworld"))

    def scrape(self) -> None:
        """Let a scrape interval pass."""
        self._scrapes += 1
        self.clock.advance(SCRAPE_S)

    def window(self, query: TelemetryQuery) -> TelemetryWindow:
        """Answer with the last scrapes of all series."""
        scrapes = np.arange(max(0, self._scrapes - _KEPT), self._scrapes + 1)
        times = (self.clock.now_s() - SCRAPE_S * (self._scrapes - scrapes)).astype(np.float64)
        up = {"__name__": "up", "job": "gateway", "instance": "gw:15090"}
        edges = (*map(str, ISTIO_EDGES_MS), "+Inf")
        share = np.linspace(0, 1, len(edges))
        return TelemetryWindow(
            query=query,
            requests=self._batch(
                "istio_requests_total", "response_code", _CODES, np.array([0.999, 0.001]), times, scrapes
            ),
            durations=self._batch("istio_request_duration_milliseconds_bucket", "le", edges, share, times, scrapes),
            reporters=SeriesBatch([up], np.array([0, times.size]), times, np.ones(times.size)),
        )

    def _batch(  # noqa: PLR0917 - columns of one table
        self, name: str, label: str, values: tuple[str, ...], shares: Any, times: Any, scrapes: Any
    ) -> SeriesBatch:
        labels = [
            {
                "__name__": name,
                "job": "gateway",
                "instance": "gw:15090",
                "reporter": "source",
                "destination_workload": own["workload"],
                "destination_workload_namespace": own["namespace"],
                label: value,
            }
            for own in self._series
            for value in values
        ]
        rates = np.round(np.outer(self._per_scrape, shares)).ravel()
        return SeriesBatch(
            labels=labels,
            offsets=np.arange(len(labels) + 1) * times.size,
            times=np.tile(times, len(labels)),
            values=np.outer(rates, scrapes).ravel().astype(np.float64),
        )


class Turns:
    """The daemon's work for a crowd, without the waiting."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._cluster = FaultyCluster(crowd.cluster)
        self._view = ClusterCache(crowd.cluster, WATCHED, clock=crowd.clock)
        metrics = Metrics()
        services = Services(
            cluster=self._cluster,
            cache=self._view,
            clock=crowd.clock,
            outbox=Outbox(
                {"log": RecordingSink()}, default=("log",), clock=crowd.clock, metrics=metrics, rng=random.Random(1)
            ),
            metrics=metrics,
        )
        self._reconcilers = [Reconciler(services, ref) for ref in crowd.policies]
        self._results: list[TurnResult | None] = [None] * len(self._reconcilers)
        telemetry = FakeTelemetry(crowd.clock, crowd.window)
        self._judging = Judging(telemetry, crowd.clock, metrics, period_s=5.0, call_timeout_s=60.0)

    async def begin(self) -> None:
        """Fill the cache; from then on, the loop's own writes keep it up to date."""
        async with asyncio.TaskGroup() as group:
            following = group.create_task(self._view.run())
            await self._view.synced.wait()
            following.cancel()

    async def all(self) -> dict[str, float]:
        """Turn every rollout once, and tell what it took: process CPU [s] and calls to the cluster."""
        self._crowd.scrape()
        orders = [result.order if result else None for result in self._results]
        answers: list[Any] = [None] * len(orders)
        began = time.process_time()
        found = await self._judging.answer([order for order in orders if order is not None])
        judging_s = time.process_time() - began
        by_key = {answer.order.key: answer for answer in found}
        answers = [by_key.get(order.key) if order else None for order in orders]
        calls, began = self._cluster.call_count, time.process_time()
        for number, reconciler in enumerate(self._reconcilers):
            self._results[number] = await reconciler.turn(answers[number])
        turns_s = time.process_time() - began
        return {"judging_s": judging_s, "turns_s": turns_s, "calls": self._cluster.call_count - calls}


class _Empty(BaseHTTPRequestHandler):
    """A Prometheus with one sample of everything."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked += 1  # type: ignore[attr-defined]
        scalar = b"time" in self.path.encode()
        labels = {"job": "gateway", "instance": "gw:15090", "destination_workload": "unknown"}
        result: Any = [time.time(), "1700000000"] if scalar else [{"metric": labels, "values": [[1_700_000_000, "1"]]}]
        body = json.dumps(
            {"status": "success", "data": {"resultType": "scalar" if scalar else "matrix", "result": result}}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the standard library
        """Say nothing."""


async def count_queries(rollouts: int) -> int:
    """Count the HTTP requests of one read for so many rollouts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Empty)
    server.asked = 0  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    telemetry = PrometheusTelemetry(f"http://127.0.0.1:{server.server_address[1]}")
    try:
        workloads = frozenset(Workload(f"shop-{n}", f"helloworld-{v}") for n in range(rollouts) for v in ("v1", "v2"))
        await telemetry.fetch(TelemetryQuery(workloads, 1_700_000_000.0, 60.0))
    finally:
        await telemetry.aclose()
        server.shutdown()
        server.server_close()
    return int(server.asked)  # type: ignore[attr-defined]
