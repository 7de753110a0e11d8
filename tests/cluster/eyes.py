"""Sees every weight and every policy's status as they change, apart from Serin's own eyes."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from analyzer.app.fence import epoch_of
from analyzer.ports import Object
from analyzer.sandbox.scope import Job
from tests.cluster.bed.client import PATIENCE_S, until
from tests.cluster.bed.kube import Kube, News

_PATHS: Final = {
    "VirtualService": "/apis/networking.istio.io/v1/virtualservices",
    "CanaryPolicy": "/apis/serin.dev/v1alpha1/canarypolicies",
}


class Eyes:
    """Follows the API server; where it is stopped, it sees what was missed afterwards."""

    def __init__(self, kube: Kube) -> None:
        self.weights: dict[str, list[tuple[float, tuple[int, ...]]]] = defaultdict(list)  # by namespace: since when
        self.routes: dict[str, list[tuple[float, dict[str, tuple[int, ...]]]]] = defaultdict(
            list
        )  # those of each http route
        self.statuses: dict[str, list[tuple[float, Object]]] = defaultdict(list)
        self.epochs: dict[str, list[tuple[float, int]]] = defaultdict(list)  # of those who wrote the weights
        self._kube = kube

    @property
    def jobs(self) -> list[Job]:
        """What has to run."""
        return [self._watch_weights, self._watch_statuses]

    async def _watch_weights(self) -> None:
        async for news in self._kube.follow(_PATHS["VirtualService"]):
            for obj in _objects(news):
                if (epoch := epoch_of(obj)) is not None:
                    _note(self.epochs[obj["metadata"]["namespace"]], epoch)
                weights = {route.get("name", ""): _weights(route) for route in obj["spec"]["http"]}
                _note(self.routes[obj["metadata"]["namespace"]], weights)
                _note(self.weights[obj["metadata"]["namespace"]], _weights(obj["spec"]["http"][-1]))

    async def _watch_statuses(self) -> None:
        async for news in self._kube.follow(_PATHS["CanaryPolicy"]):
            for obj in _objects(news):
                _note(self.statuses[obj["metadata"]["namespace"]], obj.get("status", {}))

    def status(self, namespace: str) -> Object:
        """Give the newest status of a namespace's policy."""
        return self.statuses[namespace][-1][1] if self.statuses[namespace] else {}

    def weight(self, namespace: str, version: int = 1) -> int:
        """Give a version's weight, the second's by default [per cent]."""
        return self.weights[namespace][-1][1][version] if self.weights[namespace] else -1

    async def until_weight(self, namespace: str, weight: int, *, version: int = 1, patience_s: float = 240.0) -> float:
        """Wait until a version has a weight; return since when [unix seconds]."""

        async def has() -> bool:
            return self.weight(namespace, version) == weight

        await until(has, what=lambda: f"weight {weight} in {namespace}: {self.tell(namespace)}", patience_s=patience_s)
        return self.weights[namespace][-1][0]

    async def until_status(
        self, namespace: str, right: Callable[[Object], Any], *, what: str, patience_s: float = PATIENCE_S
    ) -> float:
        """Wait until a policy's status is right; return since when [unix seconds]."""

        async def is_right() -> bool:
            return bool(right(self.status(namespace)))

        await until(is_right, what=lambda: f"{what} in {namespace}: {self.tell(namespace)}", patience_s=patience_s)
        return self.statuses[namespace][-1][0]

    async def until_phase(self, namespace: str, *phases: str, patience_s: float = 240.0) -> float:
        """Wait until a policy is in one of some phases; return since when [unix seconds]."""
        return await self.until_status(
            namespace, lambda status: status.get("phase") in phases, what=" or ".join(phases), patience_s=patience_s
        )

    def check_epochs(self, namespace: str, *, after: int = 0) -> None:
        """Fail unless whoever wrote weights did so in a later epoch than all before, and the last of them after `after`."""
        epochs = [epoch for _, epoch in self.epochs[namespace]]
        assert epochs == sorted(set(epochs)), f"{epochs} in {namespace}: an older leader wrote after a newer one"
        assert max(epochs, default=0) > after, f"{epochs} in {namespace}: nobody wrote after epoch {after}"

    def phases(self, namespace: str) -> list[str]:
        """Give the phases that a policy went through."""
        seen: list[str] = []
        for _, status in self.statuses[namespace]:
            if status.get("phase") not in {None, *seen[-1:]}:
                seen.append(status["phase"])
        return seen

    def tell(self, namespace: str) -> str:
        """Say where a policy is, for the message of a test that fails."""
        status = self.status(namespace)
        shown = {key: status.get(key) for key in ("phase", "reason", "message", "hold", "history", "evidence")}
        return f"{shown}; weights {[weights for _, weights in self.weights[namespace]]}"


def _weights(route: Object) -> tuple[int, ...]:
    return tuple(part.get("weight", 100) for part in route.get("route", []))


def _objects(news: News) -> list[Object]:
    if isinstance(news, list):
        return news
    return [news[1]] if news[0] in {"ADDED", "MODIFIED"} else []


def _note(changes: list[tuple[float, Any]], value: Any) -> None:
    if not changes or changes[-1][1] != value:
        changes.append((time.time(), value))
