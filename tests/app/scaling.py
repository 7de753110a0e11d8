"""The model mesh with pods that fill up and HPAs that follow: the real HPA's algorithm, pods that start, requests refused."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from analyzer.core.capacity.hpa import DEFAULT_DOWN, PodUse, Rules, Stabiliser, Target, recommend
from analyzer.ports import DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER, POD, Ref
from tests.app.model import NAMESPACE, SCRAPE_S, ModelMesh

REQUEST_M, IDLE_M, COST_MS = 500.0, 25.0, 5.0
FULL = (REQUEST_M - IDLE_M) / COST_MS
"""Requests per second that a pod serves: 95; at the HPA's target of half its request, 45."""
SYNCS = 3
"""Scrapes from one decision of the HPAs to the next: 15 s."""


@dataclass
class ScalingMesh(ModelMesh):
    """Declared as a model: refused requests are counted as errors of the version whose pods are full."""

    requests_per_s: float = 200.0
    startup_s: float = 15.0
    shrink_after_s: float = 60.0
    refused: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    failed: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        self.ready = {"v1": 5, "v2": 1}
        self._starting: dict[str, list[float]] = {"v1": [], "v2": []}
        self._scrapes = 0
        self._made: set[str] = set()
        down = Rules(self.shrink_after_s, DEFAULT_DOWN.policies)
        self._hpas = {version: Stabiliser(down=down) for version in self.ready}
        super().__post_init__()

    def settle(self, version: str, *, ready: int | None = None) -> None:
        """Let status and pods be what the model says."""
        obj = self.deployment(version)
        count = self.ready[version] if ready is None else ready
        obj["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": f"{REQUEST_M:.0f}m"}}
        obj["spec"]["replicas"] = count + len(self._starting[version])
        self.cluster.apply(obj)
        generation = self.deployment(version)["metadata"]["generation"]
        replicas = obj["spec"]["replicas"]
        self.cluster.set_status(
            Ref(DEPLOYMENT, NAMESPACE, f"helloworld-{version}"),
            {
                "observedGeneration": generation,
                "replicas": replicas,
                "updatedReplicas": replicas,
                "readyReplicas": count,
            },
        )
        for number in range(30):
            self._pod(version, number, ready=number < count)

    def _pod(self, version: str, number: int, *, ready: bool) -> None:
        name = f"helloworld-{version}-{number}"
        labels = {"app": "helloworld", "version": version}
        if ready or name in self._made:
            self._made.add(name)
            metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
            self.cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}})
        else:
            return
        status = [{"type": "Ready", "status": str(ready)}]
        self.cluster.set_status(Ref(POD, NAMESPACE, name), {"conditions": status})

    def scrape(self) -> None:
        """Let one scrape interval pass: pods get ready, requests come, HPAs decide."""
        now_s = self.clock.now_s()
        for version, due in self._starting.items():
            self.ready[version] += sum(1 for at in due if at <= now_s)
            self._starting[version] = [at for at in due if at > now_s]
        super().scrape()
        self._scrapes += 1
        if self._scrapes % SYNCS == 0:
            for version in self.ready:
                self._scale(version)
        for version in self.ready:
            self.settle(version)

    def _count(self, version: str, requests: int) -> None:
        room = round(self.ready[version] * FULL * SCRAPE_S)
        refused = max(0, requests - room)
        self.refused[version] += refused
        super()._count(version, requests - refused)
        if refused:
            duration = "istio_request_duration_milliseconds_bucket"
            self.counters[self._labels("istio_requests_total", version, response_code="503")] += refused
            self.counters[self._labels(duration, version, response_code="503", le="+Inf")] += refused
        self.failed[version] += round((requests - refused) * self.behaviours[version].error_rate)

    def use(self, version: str) -> float:
        """CPU of a pod now [millicores]."""
        weight = self.in_effect.get(version, 0) / max(1, sum(self.in_effect.values()))
        served = min(self.requests_per_s * weight / max(1, self.ready[version]), FULL)
        return IDLE_M + COST_MS * served

    def _floor(self, version: str) -> int:
        hpa = self.read(Ref(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, f"helloworld-{version}"))
        return int(hpa["spec"].get("minReplicas", 1))

    def _scale(self, version: str) -> None:
        ready, starting = self.ready[version], self._starting[version]
        if ready + len(starting) == 0:
            return
        pods = [PodUse(self.use(version))] * ready + [PodUse(None, ready=False)] * len(starting)
        current = ready + len(starting)
        wanted = self._hpas[version].decide(
            recommend(current, pods=pods, target=Target(REQUEST_M / 2, REQUEST_M)),
            current=current,
            bounds=(self._floor(version), 10),
            now_s=self.clock.now_s(),
        )
        for _ in range(wanted - current):
            starting.append(self.clock.now_s() + self.startup_s)
        self.ready[version] = min(ready, wanted)
        metric: dict[str, Any] = {"name": "cpu", "current": {"averageValue": f"{self.use(version):.0f}m"}}
        status = {"currentReplicas": current, "currentMetrics": [{"type": "Resource", "resource": metric}]}
        self.cluster.set_status(Ref(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, f"helloworld-{version}"), status)
