"""Everything together: `async with World(manifests) as world:` is a small cluster with traffic."""

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp

from analyzer.adapters.clock import SystemClock
from analyzer.adapters.memory import MemoryCluster
from analyzer.errors import PolicyError, SerinError
from analyzer.policy.mesh import resolve_host
from analyzer.ports import DEPLOYMENT, VIRTUAL_SERVICE, Object, Ref
from analyzer.sandbox.autoscaler import Autoscaler, Pace
from analyzer.sandbox.child import Child
from analyzer.sandbox.gateway import Gateway, find_envoy
from analyzer.sandbox.istiod import Istiod
from analyzer.sandbox.kubelet import Kubelet
from analyzer.sandbox.people import Users
from analyzer.sandbox.pods import Pods
from analyzer.sandbox.prometheus import Prometheus, find_prometheus
from analyzer.sandbox.routes import is_at_gateway
from analyzer.sandbox.scope import Job, beside, workplace

_IGNORED_KINDS: Final = frozenset({"Namespace", "Gateway"})  # every namespace is there, and so is one gateway
_POLL_S: Final = 0.05
_PATIENCE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """How the world is made.

    Attributes
    ----------
    seed
        Of everything random: the same arrivals, latencies and errors in the same order.
    scrape_s
        Prometheus' scrape interval [s].
    pace
        Of the HPAs.
    host
        The users' Host header; None: the first host of a VirtualService at the gateway, fully qualified.
    path
        What the users ask for.
    directory
        Where logs and data go, and stay; None: a temporary directory that goes with the world.
    """

    seed: str = "serin"
    scrape_s: float = 2.0
    pace: Pace = field(default_factory=Pace)
    host: str | None = None
    path: str = "/hello"
    directory: Path | None = None


class World:
    """A cluster in memory, its controllers, pods, gateway, Prometheus and users.

    If a process or a controller fails, the body of the `async with` is cancelled and the failure is raised, with the
    last lines of the process' log. On every way out, every process is ended before the world is.

    Parameters
    ----------
    manifests
        Objects to begin with, as from YAML. A copy of each is made.
    options
        See `Options`.
    """

    def __init__(self, manifests: Iterable[Object], options: Options | None = None) -> None:
        self.cluster = MemoryCluster(SystemClock())
        self.users = Users()
        self.pods = Pods()
        self._options = options or Options()
        self._manifests = list(manifests)
        self._exit = AsyncExitStack()
        self._gateway: Gateway | None = None
        self._prometheus: Prometheus | None = None

    @property
    def gateway(self) -> Gateway:
        """Envoy."""
        assert self._gateway is not None, "the world has not begun"
        return self._gateway

    @property
    def prometheus(self) -> Prometheus:
        """Prometheus."""
        assert self._prometheus is not None, "the world has not begun"
        return self._prometheus

    @property
    def gateway_url(self) -> str:
        """Where users come in."""
        return self.gateway.url

    @property
    def prometheus_url(self) -> str:
        """Where telemetry is read."""
        return self.prometheus.url

    @property
    def processes(self) -> dict[str, int]:
        """Process ids by name."""
        return {child.name: child.pid for child in self._children}

    @property
    def _children(self) -> tuple[Child, ...]:
        return self.pods.child, self.gateway.child, self.prometheus.child, self.users.child

    async def replicas(self) -> dict[str, int]:
        """Ready replicas by Deployment."""
        deployments = (await self.cluster.list(DEPLOYMENT)).items
        return {obj["metadata"]["name"]: obj.get("status", {}).get("readyReplicas", 0) for obj in deployments}

    async def settled(self) -> None:
        """Wait until every Deployment is as its spec says, and the gateway knows its pods.

        Raises
        ------
        SerinError
            It is not within 30 s; says what is missing.
        """
        waiting: list[str] = []
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while waiting := await self._unsettled():  # noqa: ASYNC110 - a wait for many objects at once
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise SerinError(f"not ready within {_PATIENCE_S:.0f} s: {', '.join(waiting)}") from None
        await self.routed()

    async def routed(self) -> None:
        """Wait until the gateway routes as the cluster says now."""
        await self._istiod.turn()

    async def release(self, ref: Ref, template: Object) -> None:
        """Give a Deployment a new pod template, as a pipeline does."""
        deployment = await self.cluster.get(ref)
        deployment["spec"]["template"] = template
        self.cluster.apply(deployment)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._begin(stack)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._exit.__aexit__(kind, error, trace)

    async def _begin(self, stack: AsyncExitStack) -> None:
        find_envoy()  # before anything is started
        find_prometheus()
        for manifest in self._manifests:
            if manifest["kind"] not in _IGNORED_KINDS:
                self.cluster.apply(manifest)
        directory = stack.enter_context(workplace(self._options.directory))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        self._gateway = Gateway(directory, session=session)
        self._prometheus = Prometheus(directory, session=session)
        self._istiod = Istiod(self.cluster, gateway=self.gateway)
        for close in (self.pods.close, self.gateway.close, self._prometheus.close, self.users.close):
            stack.push_async_callback(close)
        await self._start_processes(directory)
        await stack.enter_async_context(beside(self._jobs()))
        await self.settled()

    async def _start_processes(self, directory: Path) -> None:
        options = self._options
        host = options.host or await self._first_host()
        routes, upstreams = await self._istiod.translate()
        await self.pods.open(seed=options.seed, log=directory / "workloads.log")
        await self.gateway.start(routes=routes, upstreams=upstreams)
        target = self.gateway.admin_url.removeprefix("http://")
        await self.prometheus.start(target=target, scrape_s=options.scrape_s)
        url = f"{self.gateway.url}{options.path}"
        await self.users.open(url, host=host, seed=options.seed, log=directory / "users.log")

    def _jobs(self) -> list[Job]:
        kubelet = Kubelet(self.cluster, pods=self.pods)
        autoscaler = Autoscaler(self.cluster, pods=self.pods, pace=self._options.pace)
        controllers = (self._istiod.run, kubelet.run, autoscaler.run)
        return [*(child.watch for child in self._children), self.pods.listen, self.users.listen, *controllers]

    async def _first_host(self) -> str:
        for virtual_service in (await self.cluster.list(VIRTUAL_SERVICE)).items:
            if is_at_gateway(virtual_service):
                host = virtual_service["spec"]["hosts"][0]
                return resolve_host(host.replace("*", "any"), virtual_service["metadata"]["namespace"])
        raise PolicyError(
            "no VirtualService is bound to a gateway: without `gateways`, Istio applies it inside the mesh"
        )

    async def _unsettled(self) -> list[str]:
        waiting = []
        for deployment in (await self.cluster.list(DEPLOYMENT)).items:
            wanted, status = deployment["spec"].get("replicas", 1), deployment.get("status") or {}
            current = status.get("observedGeneration") == deployment["metadata"]["generation"]
            if not current or {status[f] for f in ("replicas", "updatedReplicas", "readyReplicas")} != {wanted}:
                ready = status.get("readyReplicas", 0)
                waiting.append(f"{deployment['metadata']['name']} ({ready} of {wanted} pods ready)")
        return waiting
