"""The model of istiod: keeps the gateway as the cluster's objects say."""

import asyncio

from analyzer.ports import DESTINATION_RULE, POD, SERVICE, VIRTUAL_SERVICE, Cluster, Object
from analyzer.sandbox.controllers import run_level_based
from analyzer.sandbox.endpoints import Upstream, build_upstreams
from analyzer.sandbox.gateway import Gateway
from analyzer.sandbox.routes import build_routes

_KINDS = (SERVICE, VIRTUAL_SERVICE, DESTINATION_RULE, POD)


class Istiod:
    """Translates on every change; Envoy sees only what really changed."""

    def __init__(self, cluster: Cluster, *, gateway: Gateway) -> None:
        self._cluster = cluster
        self._gateway = gateway
        self._turns = asyncio.Lock()  # an older view must not overtake a newer one

    async def translate(self) -> tuple[Object, tuple[Upstream, ...]]:
        """Read the cluster and build the gateway's routes and clusters."""
        services, virtual_services, rules, pods = [(await self._cluster.list(kind)).items for kind in _KINDS]
        return (
            build_routes(virtual_services, services),
            build_upstreams(services, destination_rules=rules, pods=pods),
        )

    async def turn(self) -> None:
        """Bring the gateway up to date and wait until it is."""
        async with self._turns:
            routes, upstreams = await self.translate()
            await self._gateway.apply(routes=routes, upstreams=upstreams)

    async def run(self) -> None:
        """Keep the gateway up to date."""
        await run_level_based(self._cluster, _KINDS, self.turn)
