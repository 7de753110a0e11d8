"""A model of a mesh on manual time, for whole turns of the loop without a process: declared as a model, exact in its counts.

One gateway reports. Each scrape adds requests to its counters, split by the weights that the VirtualService has just then.
"""

import math
import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.adapters.memory import MemoryCluster
from analyzer.core.judge.types import ISTIO_EDGES_MS
from analyzer.policy.load import load_objects
from analyzer.ports import (
    CANARY_POLICY,
    DEPLOYMENT,
    POD,
    VIRTUAL_SERVICE,
    Object,
    Ref,
    SeriesBatch,
    TelemetryQuery,
    TelemetryWindow,
)
from tests.fakes import ManualClock

EXAMPLE = Path(__file__).parents[2] / "policies" / "examples" / "helloworld"
NAMESPACE = "helloworld"
POLICY = Ref(CANARY_POLICY, NAMESPACE, "helloworld")
ROUTE = Ref(VIRTUAL_SERVICE, NAMESPACE, "helloworld")
SCRAPE_S = 5.0

Labels = tuple[tuple[str, str], ...]


@dataclass
class Behaviour:
    """How one version answers."""

    error_rate: float = 0.001
    median_ms: float = 20.0


@dataclass
class ModelMesh:
    """The cluster, the gateway's counters and what was scraped of them."""

    requests_per_s: float = 400.0
    seed: int = 1
    clock: ManualClock = field(default_factory=ManualClock)
    behaviours: dict[str, Behaviour] = field(default_factory=lambda: {"v1": Behaviour(), "v2": Behaviour()})
    up: bool = True
    scrape_s: float = SCRAPE_S
    istiod_up: bool = True
    """False: weights are written and reach no proxy."""

    def __post_init__(self) -> None:
        self.cluster = MemoryCluster(self.clock)
        self.rng = random.Random(self.seed)
        self.counters: dict[Labels, float] = defaultdict(float)
        self.samples: dict[Labels, list[tuple[float, float]]] = defaultdict(list)
        self.served: dict[str, int] = defaultdict(int)
        self.in_effect: dict[str, int] = {}
        for manifest in load_objects(sorted(EXAMPLE.glob("*.yaml"))):
            if manifest["kind"] != "Gateway":
                self.cluster.apply(manifest)
        for version in ("v1", "v2"):
            self.settle(version)
        self.scrape()

    def read(self, ref: Ref) -> Object:
        """Return an object as it is now, for a test to look at or to change."""
        return self.cluster._store.read(ref)

    # --- what people do ---

    def set_policy(self, **spec: Any) -> None:
        """Change fields of the policy's spec."""
        obj = self.read(POLICY)
        obj["spec"] |= spec
        self.cluster.apply(obj)

    def release(self, version: str, image: str, behaviour: Behaviour) -> None:
        """Put a new template into a version's Deployment; its pods are there at once."""
        obj = self.deployment(version)
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = image
        self.cluster.apply(obj)
        self.behaviours[version] = behaviour
        self.settle(version)

    def deployment(self, version: str) -> Object:
        """Return a version's Deployment."""
        return self.read(Ref(DEPLOYMENT, NAMESPACE, f"helloworld-{version}"))

    def settle(self, version: str, *, ready: int | None = None) -> None:
        """Let a Deployment's status, and one pod, follow its spec."""
        obj = self.deployment(version)
        replicas = obj["spec"].get("replicas", 1)
        status = {
            "observedGeneration": obj["metadata"]["generation"],
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": replicas if ready is None else ready,
        }
        self.cluster.set_status(Ref(DEPLOYMENT, NAMESPACE, f"helloworld-{version}"), status)
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"helloworld-{version}-0",
                "namespace": NAMESPACE,
                "labels": {"app": "helloworld", "version": version},
            },
            "spec": {},
        }
        self.cluster.apply(pod)
        self.cluster.set_status(
            Ref(POD, NAMESPACE, f"helloworld-{version}-0"), {"conditions": [{"type": "Ready", "status": "True"}]}
        )

    def weights(self) -> dict[str, int]:
        """Return the route's weights now."""
        route = self.read(ROUTE)["spec"]["http"][0]["route"]
        return {version_of(entry["destination"]): entry.get("weight", 0) for entry in route}

    def set_weights(self, v1: int, v2: int) -> None:
        """Change the weights by hand."""
        obj = self.read(ROUTE)
        for entry in obj["spec"]["http"][0]["route"]:
            entry["weight"] = {"v1": v1, "v2": v2}[entry["destination"]["subset"]]
        self.cluster.apply(obj)

    # --- traffic and telemetry ---

    def scrape(self) -> None:
        """Let one scrape interval pass, with its requests."""
        self.clock.advance(self.scrape_s)
        if self.istiod_up:
            self.in_effect = self.weights()
        self._serve()
        for labels, value in self.counters.items():
            self.samples[labels].append((self.clock.now_s(), value))

    def _serve(self) -> None:
        total = sum(self.in_effect.values())
        for version, weight in self.in_effect.items():
            requests = round(self.requests_per_s * self.scrape_s * weight / total)
            self.served[version] += requests
            self._count(version, requests)

    def _count(self, version: str, requests: int) -> None:
        behaviour = self.behaviours[version]
        errors = sum(self.rng.random() < behaviour.error_rate for _ in range(requests))
        for code, n in (("200", requests - errors), ("500", errors)):
            if n:
                self.counters[self._labels("istio_requests_total", version, response_code=code)] += n
        slower = [
            round(requests * 0.5 * math.erfc(math.log(edge / behaviour.median_ms) / 0.4 / math.sqrt(2)))
            for edge in ISTIO_EDGES_MS
        ]
        for edge, above in zip((*map(str, ISTIO_EDGES_MS), "+Inf"), (*slower, 0), strict=True):
            key = self._labels("istio_request_duration_milliseconds_bucket", version, response_code="200", le=edge)
            self.counters[key] += requests - above

    def _labels(self, name: str, version: str, **more: str) -> Labels:
        labels = {
            "__name__": name,
            "job": "gateway",
            "instance": "127.0.0.1:15090",
            "reporter": "source",
            "destination_workload": f"helloworld-{version}",
            "destination_workload_namespace": NAMESPACE,
            "destination_service_name": "helloworld",
            **more,
        }
        return tuple(sorted(labels.items()))

    def window(self, query: TelemetryQuery) -> TelemetryWindow:
        """Answer a query from what was scraped."""
        up = {"__name__": "up", "job": "gateway", "instance": "127.0.0.1:15090"}
        scrapes = sorted({at for samples in self.samples.values() for at, _ in samples})
        return TelemetryWindow(
            query=query,
            requests=self._batch(query, "istio_requests_total"),
            durations=self._batch(query, "istio_request_duration_milliseconds_bucket"),
            reporters=_columns(query, {tuple(sorted(up.items())): [(at, 1.0) for at in scrapes]}),
        )

    def _batch(self, query: TelemetryQuery, name: str) -> SeriesBatch:
        return _columns(query, {labels: s for labels, s in self.samples.items() if dict(labels)["__name__"] == name})


def version_of(destination: Mapping[str, str]) -> str:
    """Name the version of a destination: its subset, or what follows in the host `helloworld-VERSION`."""
    return destination.get("subset") or destination["host"].partition(".")[0].removeprefix("helloworld-")


def _columns(query: TelemetryQuery, series: Mapping[Labels, list[tuple[float, float]]]) -> SeriesBatch:
    kept = {
        labels: [(at, value) for at, value in samples if query.end_s - query.window_s < at <= query.end_s]
        for labels, samples in series.items()
    }
    flat = [sample for samples in kept.values() for sample in samples]
    return SeriesBatch(
        labels=[dict(labels) for labels in kept],
        offsets=np.cumsum([0, *(len(samples) for samples in kept.values())]),
        times=np.array([at for at, _ in flat], dtype=np.float64),
        values=np.array([value for _, value in flat], dtype=np.float64),
    )
