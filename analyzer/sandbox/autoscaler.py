"""The model of the HPA controller: measures, decides, and patches `spec.replicas`."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from analyzer.adapters.memory import MemoryCluster
from analyzer.core.capacity.hpa import (
    PodUse,
    Stabiliser,
    Target,
    parse_behaviour,
    recommend,
)
from analyzer.errors import ConflictError, ObjectMissing, PolicyError
from analyzer.ports import DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER, POD, Object, Ref
from analyzer.sandbox.endpoints import is_ready, workload_of
from analyzer.sandbox.pods import Pods, Usage

_REAL_SYNC_S: Final = 15.0
_WINDOWS: Final = 1


@dataclass(frozen=True, slots=True)
class Pace:
    """How much faster than real HPAs those of the sandbox are.

    Attributes
    ----------
    sync_s
        From one look to the next [s]; 15 s in a cluster.
    acceleration
        Stabilisation windows and policy periods are so many times as short: the default 300 s become 20 s.
    """

    sync_s: float = 2.0
    acceleration: float = 15.0


REAL_PACE: Final = Pace(sync_s=_REAL_SYNC_S, acceleration=1.0)


class Autoscaler:
    """All HPAs of the cluster."""

    def __init__(self, cluster: MemoryCluster, *, pods: Pods, pace: Pace) -> None:
        self._cluster = cluster
        self._pods = pods
        self._pace = pace
        self._history: deque[Mapping[str, Usage]] = deque(maxlen=_WINDOWS + 1)  # of ready pods, one per sync
        self._stabilisers: dict[str, Stabiliser] = {}  # by the HPA's uid

    async def run(self) -> None:
        """Look and act at the pace given."""
        while True:
            await asyncio.sleep(self._pace.sync_s)
            await self.turn()

    async def turn(self) -> None:
        """Act once on every HPA; one whose target is gone, or that somebody else just changed, waits."""
        pods = (await self._cluster.list(POD)).items
        ready = {pod["metadata"]["name"] for pod in pods if is_ready(pod)}
        self._history.append({name: usage for name, usage in self._pods.usage.items() if name in ready})
        for hpa in (await self._cluster.list(HORIZONTAL_POD_AUTOSCALER)).items:
            try:
                await self._scale(hpa, pods)
            except (ConflictError, ObjectMissing):
                continue

    async def _scale(self, hpa: Object, pods: Sequence[Object]) -> None:
        namespace, spec = hpa["metadata"]["namespace"], hpa["spec"]
        ref = Ref(DEPLOYMENT, namespace, spec["scaleTargetRef"]["name"])
        deployment = await self._cluster.get(ref)
        target = parse_target(hpa, deployment)
        current = deployment["spec"].get("replicas", 1)
        members = [p for p in pods if p["metadata"]["namespace"] == namespace and workload_of(p) == ref.name]
        measured = [self._measure(pod["metadata"]["name"]) for pod in members]
        wanted = self._stabiliser(hpa).decide(
            recommend(current, pods=measured, target=target),
            current=current,
            bounds=(spec.get("minReplicas", 1), spec["maxReplicas"]),
            now_s=asyncio.get_running_loop().time(),
        )
        if wanted != current:
            path = "/spec/replicas"
            test = [{"op": "test", "path": path, "value": current}] if "replicas" in deployment["spec"] else []
            await self._cluster.patch(ref, [*test, {"op": "add", "path": path, "value": wanted}])
        status = build_status(hpa, current=current, wanted=wanted, measured=measured, target=target)
        self._cluster.set_status(Ref(HORIZONTAL_POD_AUTOSCALER, namespace, hpa["metadata"]["name"]), status)

    def _stabiliser(self, hpa: Object) -> Stabiliser:
        up, down = parse_behaviour(hpa["spec"].get("behavior"))
        stabiliser = self._stabilisers.setdefault(hpa["metadata"]["uid"], Stabiliser())
        stabiliser.up, stabiliser.down = up.scaled(self._pace.acceleration), down.scaled(self._pace.acceleration)
        return stabiliser

    def _measure(self, pod: str) -> PodUse:
        """CPU since the last sync, as metrics-server's window; samples from before readiness are set aside."""
        samples = [usages[pod] for usages in self._history if pod in usages]
        if not samples or samples[-1].at_s <= samples[0].at_s:
            return PodUse(None, ready=False)
        first, last = samples[0], samples[-1]
        return PodUse((last.cpu_milliseconds - first.cpu_milliseconds) / (last.at_s - first.at_s))


def parse_target(hpa: Object, deployment: Object) -> Target:
    """Read the CPU target of an HPA and the CPU request of the pods it scales.

    Raises
    ------
    PolicyError
        Anything but one CPU utilisation metric, or containers without a CPU request.
    """
    name = f"HPA {hpa['metadata']['namespace']}/{hpa['metadata']['name']}"
    metrics: list[Any] = hpa["spec"].get("metrics") or []
    resource = metrics[0].get("resource", {}) if len(metrics) == 1 else {}
    utilisation = resource.get("target", {}).get("averageUtilization")
    if resource.get("name") != "cpu" or utilisation is None:
        raise PolicyError(f"{name}: the sandbox models exactly one metric: Resource cpu with averageUtilization")
    requests = [
        container.get("resources", {}).get("requests", {}).get("cpu")
        for container in deployment["spec"]["template"]["spec"]["containers"]
    ]
    if None in requests:
        raise PolicyError(f"{name}: a container of {deployment['metadata']['name']} has no CPU request: give it one")
    request = sum(map(parse_millicores, requests))
    return Target(request * utilisation / 100, request)


def parse_millicores(quantity: str | float) -> float:
    """Read `100m` or `0.1`."""
    text = str(quantity)
    return float(text[:-1]) if text.endswith("m") else float(text) * 1000


def build_status(
    hpa: Object, *, current: int, wanted: int, measured: Sequence[PodUse], target: Target
) -> dict[str, Any]:
    """Write an HPA's status. Pure."""
    used = [pod.used for pod in measured if pod.ready and pod.used is not None]
    status: dict[str, Any] = {"currentReplicas": current, "desiredReplicas": wanted}
    if used:
        average = sum(used) / len(used)
        now = {
            "averageValue": f"{average:.0f}m",
            "averageUtilization": int(average * 100 / (target.request or target.per_pod)),
        }
        status["currentMetrics"] = [{"type": "Resource", "resource": {"name": "cpu", "current": now}}]
    return {**(hpa.get("status") or {}), **status}
