"""The node agent: what a scheduler, a kubelet and a container runtime do, for pods that are servers in this process."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

import structlog

from analyzer.errors import PolicyError
from analyzer.ports import Object
from tests.cluster.bed.kube import MERGE, Kube, News
from tests.cluster.bed.places import NODE, NODE_ADDRESS
from tests.cluster.bed.pod import Pod, Spec

_DRAIN_S: Final = 2.0
_BACK_OFF_S: Final = 5.0  # 10 s to 5 min in a cluster
_PODS: Final = "/api/v1/pods"

log = structlog.get_logger("node")


class NodeAgent:
    """Runs every pod of the cluster, each in a task of its own."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._pods: dict[str, Pod] = {}  # by uid
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._refused: set[str] = set()
        self._changes: dict[tuple[str, str], dict[str, float]] = {}
        self._numbers = count(2)

    def pods(self) -> Iterator[Pod]:
        """Give those that run."""
        return iter(list(self._pods.values()))

    def behave(self, namespace: str, workload: str, values: Mapping[str, float]) -> list[str]:
        """Change the behaviour of a Deployment's pods, running and future ones; return the names of the running.

        Raises
        ------
        PolicyError, TypeError
            There is no such behaviour, or its value is out of range.
        """
        changes = self._changes.setdefault((namespace, workload), {})
        changes.update(values)
        changed = [pod for pod in self.pods() if (pod.spec.namespace, pod.spec.workload) == (namespace, workload)]
        for pod in changed:
            pod.behave(values)
        return [pod.name for pod in changed]

    def crash(self, namespace: str, workload: str) -> list[str]:
        """End the process of each running pod of a Deployment; it is started again after a back-off."""
        crashed = [pod for pod in self.pods() if (pod.spec.namespace, pod.spec.workload) == (namespace, workload)]
        for pod in crashed:
            pod.crash.set()
        return [pod.name for pod in crashed]

    async def run(self) -> None:
        """Follow the API server, for ever; when this is cancelled, all pods end."""
        try:
            async with asyncio.TaskGroup() as group:
                async for news in self._kube.follow(_PODS):
                    self._take(news, group)
        finally:
            for uid in list(self._pods):
                self._forget(uid)

    def _take(self, news: News, group: asyncio.TaskGroup) -> None:
        if isinstance(news, list):
            there = {obj["metadata"]["uid"] for obj in news}
            for uid in self._pods.keys() - there:
                self._forget(uid)
            for obj in news:
                self._see(obj, group)
        elif news[0] == "DELETED":
            self._forget(news[1]["metadata"]["uid"])
        elif news[0] in {"ADDED", "MODIFIED"}:
            self._see(news[1], group)

    # --- one pod ------------------------------------------------------------------------------------------------------

    def _see(self, obj: Object, group: asyncio.TaskGroup) -> None:
        uid, going = obj["metadata"]["uid"], "deletionTimestamp" in obj["metadata"]
        if going:
            self._drain(uid, obj, group)
        elif uid not in self._pods and uid not in self._refused:
            try:
                pod = self._make(obj)
            except PolicyError as error:  # a container that cannot start: its pod stays pending
                self._refused.add(uid)
                log.warning("refused", pod=obj["metadata"]["name"], error=str(error))
                return
            self._pods[uid] = pod
            self._lives[uid] = group.create_task(self._live(pod, bound="nodeName" in obj["spec"]))

    def _make(self, obj: Object) -> Pod:
        spec, number = Spec.of(obj), next(self._numbers)
        pod = Pod(spec, address=f"10.244.{number // 250}.{number % 250 + 1}")
        pod.behave(self._changes.get((spec.namespace, spec.workload), {}))
        return pod

    async def _live(self, pod: Pod, *, bound: bool) -> None:
        """Start, become ready, and after each crash wait and start again."""
        if not bound:
            await self._bind(pod)
        while True:
            pod.crash.clear()
            await pod.open()
            await self._report(pod, ready=False)
            await self._run_until_crash(pod)
            pod.kill()
            pod.restarts += 1
            await self._report(pod, ready=False, waiting="CrashLoopBackOff")
            await asyncio.sleep(_BACK_OFF_S)

    async def _run_until_crash(self, pod: Pod) -> None:
        """Return when the process crashes: told to, or by itself. (A pod that goes is cancelled.)"""
        loop = asyncio.get_running_loop()
        if pod.spec.crash_after_s is not None:
            loop.call_later(pod.spec.crash_after_s, pod.crash.set)
        if await _wait(pod.crash, pod.behaviour.startup_seconds):
            return
        if not pod.behaviour.never_ready:
            await self._report(pod, ready=True)
        await pod.crash.wait()

    async def _bind(self, pod: Pod) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod.name}, "target": target}
        await self._kube.insist("POST", f"{_path(pod)}/binding", body)

    async def _report(self, pod: Pod, *, ready: bool, waiting: str | None = None) -> None:
        status = _build_status(pod, ready=ready, waiting=waiting)
        await self._kube.insist("PATCH", f"{_path(pod)}/status", {"status": status}, content_type=MERGE)

    # --- its end ------------------------------------------------------------------------------------------------------

    def _drain(self, uid: str, obj: Object, group: asyncio.TaskGroup) -> None:
        life = self._lives.pop(uid, None)
        if life is None and uid in self._pods:
            return  # it is going already
        if life is not None:
            life.cancel()
        group.create_task(self._end(uid, obj))

    async def _end(self, uid: str, obj: Object) -> None:
        """Serve on while endpoints drain, then go, and say so."""
        if uid in self._pods:
            await asyncio.sleep(_DRAIN_S)
        self._forget(uid)
        metadata = obj["metadata"]
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        await self._kube.insist("DELETE", path, options)

    def _forget(self, uid: str) -> None:
        if life := self._lives.pop(uid, None):
            life.cancel()
        if pod := self._pods.pop(uid, None):
            pod.close()


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Tell whether it happens within some time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _path(pod: Pod) -> str:
    return f"/api/v1/namespaces/{pod.spec.namespace}/pods/{pod.name}"


def _build_status(pod: Pod, *, ready: bool, waiting: str | None) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    states = {"PodScheduled": True, "Initialized": True, "ContainersReady": ready, "Ready": ready}
    conditions = [
        {"type": kind, "status": "True" if state else "False", "lastTransitionTime": now}
        for kind, state in states.items()
    ]
    message = "the process of this container was told to crash"
    container = {
        "name": pod.spec.container,
        "ready": ready,
        "started": waiting is None,
        "restartCount": pod.restarts,
        "image": "bed",
        "imageID": "bed",
        "state": {"waiting": {"reason": waiting, "message": message}} if waiting else {"running": {"startedAt": now}},
    }
    return {
        "phase": "Running",
        "podIP": pod.address,
        "podIPs": [{"ip": pod.address}],
        "hostIP": NODE_ADDRESS,
        "startTime": now,
        "conditions": conditions,
        "containerStatuses": [container],
    }
