"""The model mesh with pods that fill up and HPAs that follow: the real HPA's algorithm, pods that start, requests refused."""

from collections import defaultdict
from dataclasses import dataclass, field

from analyzer.core.capacity.hpa import DEFAULT_DOWN, DEFAULT_UP, PodUse, Rules, Stabiliser, Target, recommend
from analyzer.ports import DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER, POD, Object, Ref
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
    metrics_lag_scrapes: int = 0
    autoscale: bool = True
    refused: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    failed: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        self.ready = {"v1": 5, "v2": 1}
        self._starting: dict[str, list[float]] = {"v1": [], "v2": []}
        self._scrapes = 0
        self._seen: dict[str, list[float]] = {"v1": [], "v2": []}
        self._made: set[str] = set()
        down = Rules(self.shrink_after_s, DEFAULT_DOWN.policies)
        self._hpas = {version: Stabiliser(DEFAULT_UP, down) for version in self.ready}
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
        for version, seen in self._seen.items():
            seen.append(self._served(version))
        if self.autoscale and self._scrapes % SYNCS == 0:
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
        return IDLE_M + COST_MS * self._served(version)

    def _served(self, version: str) -> float:
        """Requests per second that a pod gets now."""
        weight = self.in_effect.get(version, 0) / max(1, sum(self.in_effect.values()))
        return min(self.requests_per_s * weight / max(1, self.ready[version]), FULL)

    def _lagging(self, version: str) -> float:
        """Requests per second that a pod got when what the HPA looks at was measured."""
        return self._seen[version][-1 - self.metrics_lag_scrapes :][0]

    def autoscaler(self, version: str) -> Object | None:
        """A version's HPA; None where a test deleted it."""
        ref = Ref(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, f"helloworld-{version}")
        return self.read(ref) if ref in self.cluster._store.refs(ref.kind, None) else None

    def _shown(self, version: str, metric: Object, *, current: int) -> tuple[float, Target] | None:
        """What the HPA sees of one metric, and what it wants; None for what is outside of this model (External).

        What an object counts, its HPA divides by all of the version's pods, whoever answered.
        """
        kind = str(metric["type"])
        body = metric[kind[:1].lower() + kind[1:]]
        target = body["target"]
        if kind in {"Resource", "ContainerResource"}:
            use = IDLE_M + COST_MS * self._lagging(version)
            return use, Target(REQUEST_M * target["averageUtilization"] / 100, REQUEST_M)
        if kind == "Object":
            own = body["describedObject"]["name"] == f"helloworld-{version}"
            total = sum(self._lagging(v) * self.ready[v] for v in ([version] if own else self.ready))
            return total / current, Target(float(target["averageValue"]), total=True)
        if kind != "Pods":
            return None
        shown = self._queue(version) if body["metric"]["name"] == "queue" else self._lagging(version)
        return shown, Target(float(target["averageValue"]))

    def _queue(self, version: str) -> float:
        """Something of pods that has nothing to do with their requests: empty as a rule, and sometimes not."""
        return (0.0, 0.0, 35.0, 5.0)[(self._scrapes // SYNCS + len(version)) % 4]

    def _scale(self, version: str) -> None:
        ready, starting = self.ready[version], self._starting[version]
        hpa = self.autoscaler(version)
        if hpa is None or ready + len(starting) == 0:
            return
        current = ready + len(starting)
        recommended, shown = 1, []
        for metric in hpa["spec"]["metrics"]:
            if (seen := self._shown(version, metric, current=current)) is None:
                recommended = max(recommended, current)
                continue
            use, target = seen
            waiting = PodUse(use) if target.total else PodUse(None, ready=False)
            pods = [PodUse(use)] * ready + [waiting] * len(starting)
            recommended = max(recommended, recommend(current, pods=pods, target=target))
            shown.append(_status_of(metric, use))
        wanted = self._hpas[version].decide(
            recommended,
            current=current,
            bounds=(int(hpa["spec"].get("minReplicas", 1)), int(hpa["spec"]["maxReplicas"])),
            now_s=self.clock.now_s(),
        )
        for _ in range(wanted - current):
            starting.append(self.clock.now_s() + self.startup_s)
        self.ready[version] = min(ready, wanted)
        status = {"currentReplicas": current, "currentMetrics": shown}
        self.cluster.set_status(Ref(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, f"helloworld-{version}"), status)


def _status_of(metric: Object, use: float) -> Object:
    """Write a metric's present value as the HPA's status does."""
    kind = str(metric["type"])
    name = kind[:1].lower() + kind[1:]
    body = {key: value for key, value in metric[name].items() if key != "target"}
    unit = "m" if kind in {"Resource", "ContainerResource"} else ""
    return {"type": kind, name: {**body, "current": {"averageValue": f"{use:.3f}".rstrip("0").rstrip(".") + unit}}}
