"""The model of the Deployment controller and the kubelet: makes the pods that Deployments ask for.

Simplified: a new template starts all its pods at once, and the old ones go when all of the new are ready (maxSurge
100 %, maxUnavailable 0). A pod that goes is out of the gateway first and is drained before it ends.
"""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Final

from analyzer.adapters.memory import MemoryCluster
from analyzer.ports import DEPLOYMENT, POD, Object, Ref
from analyzer.sandbox.behaviour import Behaviour
from analyzer.sandbox.controllers import run_level_based
from analyzer.sandbox.endpoints import ADDRESS, TEMPLATE_HASH, is_ready, workload_of
from analyzer.sandbox.pods import Pods

_DRAIN_S: Final = 2.0


def template_hash(deployment: Object) -> str:
    """Give the revision of a Deployment's pod template."""
    text = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do for one Deployment."""

    create: int
    delete: tuple[str, ...]


def plan_pods(deployment: Object, pods: Sequence[Object]) -> Plan:
    """Decide on one Deployment from its pods. Pure.

    Surplus pods go unready ones first, then the youngest, as the ReplicaSet controller does.
    """
    wanted = deployment["spec"].get("replicas", 1)
    revision = template_hash(deployment)
    new = [pod for pod in pods if pod["metadata"]["labels"].get(TEMPLATE_HASH) == revision]
    old = [pod for pod in pods if pod not in new]
    in_order = sorted(new, key=lambda pod: (not is_ready(pod), _number(pod)))
    surplus = [*in_order[wanted:]]
    if sum(map(is_ready, in_order[:wanted])) >= wanted:
        surplus += old
    return Plan(max(0, wanted - len(new)), tuple(pod["metadata"]["name"] for pod in surplus))


def build_status(deployment: Object, pods: Sequence[Object]) -> Object:
    """Write a Deployment's status from its pods. Pure."""
    revision = template_hash(deployment)
    ready = sum(map(is_ready, pods))
    updated = sum(pod["metadata"]["labels"].get(TEMPLATE_HASH) == revision for pod in pods)
    wanted = deployment["spec"].get("replicas", 1)
    available = "True" if ready >= wanted else "False"
    return {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": len(pods),
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(0, wanted - ready),
        "conditions": [{"type": "Available", "status": available, "reason": "MinimumReplicas"}],
    }


class Kubelet:
    """Runs the plans, one after the other."""

    def __init__(self, cluster: MemoryCluster, *, pods: Pods) -> None:
        self._cluster = cluster
        self._pods = pods
        self._numbers = count(1)
        self._ready_at: dict[Ref, float] = {}
        self._gone_at: dict[str, float] = {}

    async def run(self) -> None:
        """Keep the pods as the Deployments say."""
        await run_level_based(self._cluster, (DEPLOYMENT, POD), self.turn)

    async def turn(self) -> float | None:
        """Act once; return the seconds until a pod becomes ready or has been drained."""
        deployments = {_key(obj): obj for obj in (await self._cluster.list(DEPLOYMENT)).items}
        owned: dict[tuple[str, str], list[Object]] = {key: [] for key in deployments}
        for pod in (await self._cluster.list(POD)).items:
            owned.setdefault((pod["metadata"]["namespace"], workload_of(pod)), []).append(pod)
        for key, pods in owned.items():
            deployment = deployments.get(key)
            plan = plan_pods(deployment, pods) if deployment else Plan(0, tuple(p["metadata"]["name"] for p in pods))
            for _ in range(plan.create if deployment else 0):
                await self._create(deployments[key])
            for name in plan.delete:
                self._delete(Ref(POD, key[0], name))
            if deployment:
                self._cluster.set_status(Ref(DEPLOYMENT, *key), build_status(deployment, pods))
        return await self._pass_time()

    async def _create(self, deployment: Object) -> None:
        metadata, template = deployment["metadata"], deployment["spec"]["template"]
        revision = template_hash(deployment)
        behaviour = Behaviour.of_template(template)
        name = f"{metadata['name']}-{revision}-{next(self._numbers):05d}"
        labels = template["metadata"]["labels"]
        port = await self._pods.add(name, version=labels.get("version", metadata["name"]), behaviour=behaviour)
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{metadata['name']}-{revision}"}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": metadata["namespace"],
                "labels": {**labels, TEMPLATE_HASH: revision},
                "annotations": {**template["metadata"].get("annotations", {}), ADDRESS: f"127.0.0.1:{port}"},
                "ownerReferences": [{**owner, "uid": f"{metadata['uid']}-{revision}", "controller": True}],
            },
            "spec": template["spec"],
        }
        ref = Ref(POD, metadata["namespace"], name)
        await self._cluster.create(POD, pod)
        self._cluster.set_status(ref, _pod_status(ready=False))
        if not behaviour.never_ready:
            self._ready_at[ref] = asyncio.get_running_loop().time() + behaviour.startup_seconds

    def _delete(self, ref: Ref) -> None:
        self._cluster.delete(ref)
        self._ready_at.pop(ref, None)
        self._gone_at[ref.name] = asyncio.get_running_loop().time() + _DRAIN_S

    async def _pass_time(self) -> float | None:
        now = asyncio.get_running_loop().time()
        for ref in [ref for ref, at in self._ready_at.items() if at <= now]:
            del self._ready_at[ref]
            self._cluster.set_status(ref, _pod_status(ready=True))
        for name in [name for name, at in self._gone_at.items() if at <= now]:
            del self._gone_at[name]
            await self._pods.remove(name)
        dues = [*self._ready_at.values(), *self._gone_at.values()]
        return max(0.0, min(dues) - now) if dues else None


def _pod_status(*, ready: bool) -> Object:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    state = "True" if ready else "False"
    conditions = [{"type": kind, "status": state, "lastTransitionTime": now} for kind in ("ContainersReady", "Ready")]
    return {"phase": "Running", "podIP": "127.0.0.1", "startTime": now, "conditions": conditions}


def _key(obj: Object) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _number(pod: Object) -> int:
    return int(pod["metadata"]["name"].rpartition("-")[2])
