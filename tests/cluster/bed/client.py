"""The bed, as tests see it."""

import asyncio
import json
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp

from analyzer.errors import SerinError
from analyzer.ports import Object
from analyzer.sandbox.people import Users
from analyzer.sandbox.scope import beside
from tests.cluster.bed.keys import write_kubeconfig
from tests.cluster.bed.kube import Kube
from tests.cluster.bed.places import API_URL, CONTROL_URL, ENVOY_ADMIN, GATEWAY_URL, PROMETHEUS_URL, Places

_POLL_S: Final = 0.2
PATIENCE_S: Final = 60.0
"""Only a failing test waits so long."""

T = TypeVar("T")


class KubectlFailed(SerinError):
    """kubectl ended with an error; the message is what it wrote."""

    reason = "KubectlFailed"


async def until(
    condition: Callable[[], Awaitable[T]], *, what: str | Callable[[], str], patience_s: float = PATIENCE_S
) -> T:
    """Wait until a condition gives something true, and return that.

    Raises
    ------
    AssertionError
        It does not in time; with `what` was waited for, and what the condition gave last.
    """
    last: object = "nothing: the first look took too long"
    try:
        async with asyncio.timeout(patience_s):
            while True:
                found = await condition()
                if found:
                    return found
                last = found
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        goal = what if isinstance(what, str) else what()
        raise AssertionError(f"not within {patience_s:.0f} s: {goal}; last was {last!r}") from None


def trusting_session(places: Places) -> aiohttp.ClientSession:
    """Open a session that trusts the bed's own authority."""
    context = ssl.create_default_context(cafile=str(places.authority))
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))


@dataclass(frozen=True, slots=True)
class Bed:
    """A running bed. Addresses are on the namespace's own loopback: use them directly. The session trusts its authority."""

    places: Places
    session: aiohttp.ClientSession
    api_url: str = API_URL
    prometheus_url: str = PROMETHEUS_URL
    gateway_url: str = GATEWAY_URL

    @property
    def kubeconfig(self) -> Path:
        """The administrator's; `keys.write_kubeconfig` writes others."""
        return self.places.kubeconfig

    # --- components ---------------------------------------------------------------------------------------------------

    async def components(self) -> dict[str, str]:
        """Tell `running`, `paused` or `stopped` by name."""
        states: dict[str, str] = await self._ask("GET", "/components")
        return states

    async def stop(self, name: str) -> None:
        """Kill etcd, kube-apiserver, kube-controller-manager, istiod, gateway or prometheus; its data stay."""
        await self._ask("POST", f"/components/{name}/stop")

    async def start(self, name: str) -> None:
        """Start it again, and wait until it serves."""
        await self._ask("POST", f"/components/{name}/start")

    async def restart(self, name: str) -> None:
        """Kill and start."""
        await self._ask("POST", f"/components/{name}/restart")

    async def pause(self, name: str) -> None:
        """Let it hang, with all its connections open."""
        await self._ask("POST", f"/components/{name}/pause")

    async def resume(self, name: str) -> None:
        """Let it go on."""
        await self._ask("POST", f"/components/{name}/resume")

    async def heal(self) -> None:
        """Bring every component back, in the order in which they need each other."""
        for name, state in (await self.components()).items():
            if state != "running":
                await (self.resume if state == "paused" else self.start)(name)

    # --- pods ---------------------------------------------------------------------------------------------------------

    async def behave(self, namespace: str, deployment: str, **values: float) -> list[str]:
        """Change how a Deployment's pods behave, the running and the future ones: `error_rate=1.0`, say.

        See `analyzer.sandbox.behaviour` for the names. The pod template stays as it is: nobody deployed anything.
        """
        body = {"namespace": namespace, "deployment": deployment, "values": values}
        changed: list[str] = await self._ask("POST", "/behave", body)
        return changed

    async def crash(self, namespace: str, deployment: str) -> list[str]:
        """End the process of each of a Deployment's pods once. (`CRASH_AFTER_SECONDS` in the environment: always.)"""
        crashed: list[str] = await self._ask("POST", "/crash", {"namespace": namespace, "deployment": deployment})
        return crashed

    async def stalls(self, since_s: float) -> list[tuple[float, float]]:
        """Tell when the process of all pods stood still since a moment [unix seconds], and for how long [s]."""
        return [(at_s, stood_s) for at_s, stood_s in await self._ask("GET", "/stalls") if at_s >= since_s]

    # --- objects ------------------------------------------------------------------------------------------------------

    async def kubectl(self, *arguments: str, stdin: str = "", kubeconfig: Path | None = None) -> str:
        """Run kubectl and return what it wrote.

        Raises
        ------
        KubectlFailed
            With what it wrote.
        """
        process = await asyncio.create_subprocess_exec(
            *(self.places.program("kubectl"), f"--kubeconfig={kubeconfig or self.kubeconfig}", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate(stdin.encode())
        if process.returncode:
            raise KubectlFailed(f"kubectl {' '.join(arguments)}: {err.decode().strip()}")
        return out.decode()

    async def apply(self, objects: Sequence[Object]) -> None:
        """Apply objects as their owner's pipeline does."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        await self.kubectl("apply", "--server-side", "--field-manager=pipeline", "--filename=-", stdin=text)

    async def get(self, namespace: str, what: str) -> Object:
        """Get an object, `deployment/helloworld-v1`, or a list, `pods`."""
        obj: Object = json.loads(await self.kubectl("get", "--namespace", namespace, what, "--output=json"))
        return obj

    async def service_account(self, namespace: str, name: str) -> Path:
        """Make a service account, if it is not there, and give a kubeconfig with its token."""
        metadata = {"name": name, "namespace": namespace}
        await self.apply([{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}])
        token = await self.kubectl("create", "token", "--namespace", namespace, name, "--duration=8h")
        path = self.places.directory / f"kubeconfig-{namespace}-{name}"
        write_kubeconfig(path, token=token.strip(), authority=self.places.authority, namespace=namespace)
        return path

    async def replicas(self, namespace: str) -> dict[str, int]:
        """Give the ready replicas of each Deployment."""
        deployments = await self._deployments(namespace)
        return {obj["metadata"]["name"]: obj["status"].get("readyReplicas", 0) for obj in deployments}

    async def _deployments(self, namespace: str) -> list[Object]:
        """List them without kubectl: many wait for them, and each look of kubectl takes a tenth of a second of a core."""
        found = await Kube(self.session).call("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments")
        items: list[Object] = found["items"]
        return items

    async def weights(self, namespace: str, name: str = "helloworld") -> list[int]:
        """Give the weights of a VirtualService's first route."""
        spec = (await self.get(namespace, f"virtualservice/{name}"))["spec"]
        return [destination.get("weight", 100) for destination in spec["http"][0]["route"]]

    async def set_weights(self, namespace: str, weights: Sequence[int], name: str = "helloworld") -> None:
        """Write weights as a person would."""
        patch = [
            {"op": "replace", "path": f"/spec/http/0/route/{index}/weight", "value": weight}
            for index, weight in enumerate(weights)
        ]
        target = f"virtualservice/{name}"
        await self.kubectl("patch", "--namespace", namespace, target, "--type=json", f"--patch={json.dumps(patch)}")

    async def settled(self, namespace: str) -> None:
        """Wait until every Deployment of a namespace is as its spec says."""

        async def ready() -> bool:
            deployments = await self._deployments(namespace)
            return bool(deployments) and all(map(_is_complete, deployments))

        await until(ready, what=f"all Deployments of {namespace} complete")

    # --- traffic and telemetry ----------------------------------------------------------------------------------------

    @asynccontextmanager
    async def load(
        self,
        namespace: str,
        *,
        rate: float,
        insiders: float = 0.0,
        host: str | None = None,
        path: str = "/hello",
        seed: str = "bed",
    ) -> AsyncIterator[Users]:
        """Send requests to a namespace's helloworld through the gateway, in a process of their own, open loop.

        The outcomes are in `.total`, by version and status, and by second in `.follow()`, with latencies.

        Parameters
        ----------
        rate
            Of the requests [1/s]; `.start` changes it.
        insiders
            Share with the company's cookie [ratio].
        host
            Their Host header; the namespace's helloworld otherwise.
        """
        users = Users()
        host = host or f"helloworld.{namespace}.svc.cluster.local"
        log = self.places.directory / f"users-{namespace}-{time.monotonic_ns()}.log"
        await users.open(f"{self.gateway_url}{path}", host=host, seed=seed, log=log)
        try:
            async with beside([users.child.watch, users.listen]):
                await users.start(rate, insiders=insiders)
                yield users
                await users.close()
        finally:
            await users.close()

    async def routed(
        self, namespace: str, *, subsets: Sequence[str] = ("v1", "v2"), services: Sequence[str] = ("helloworld",)
    ) -> None:
        """Wait until the gateway sends requests of a namespace's helloworld to pods, of each of some subsets.

        Where its destinations are other services, those are waited for; without subsets there is one, without a name.

        A pod that is ready is in nobody's endpoints yet, and one answer through the gateway says nothing of the other
        subset. One request is made that a pod answers.
        """
        domain = f"{namespace}.svc.cluster.local"
        host = f"helloworld.{domain}"

        async def known() -> bool:
            there = [await self._subsets_with_pods(f"{name}.{domain}") for name in services]
            return all(found >= set(subsets) for found in there)

        async def answered() -> bool:
            try:
                async with self.session.get(f"{self.gateway_url}/hello", headers={"Host": host}) as response:
                    return "x-version" in response.headers
            except aiohttp.ClientError:  # no listener before the first Gateway
                return False

        await until(known, what=f"the gateway knows pods of {services} {subsets} in {namespace}")
        await until(answered, what=f"a pod of {namespace} answers through the gateway")

    async def _subsets_with_pods(self, host: str) -> set[str]:
        """Ask the gateway for which subsets of a host it has healthy endpoints."""
        url = f"http://{ENVOY_ADMIN[0]}:{ENVOY_ADMIN[1]}/clusters"
        async with self.session.get(url, params={"format": "json"}) as response:
            clusters = (await response.json(content_type=None)).get("cluster_statuses", [])
        found = (cluster["name"].split("|") for cluster in clusters if any(map(_is_healthy, _hosts(cluster))))
        return {name[2] for name in found if name[-1] == host}  # outbound|5000|v1|helloworld.shop.svc.cluster.local

    async def query(self, promql: str) -> list[tuple[Mapping[str, str], float]]:
        """Ask Prometheus for an instant vector: labels and value of each series."""
        async with self.session.get(f"{self.prometheus_url}/api/v1/query", params={"query": promql}) as response:
            answer = await response.json()
        if answer["status"] != "success":
            raise SerinError(f"{promql}: {answer['error']}")
        return [(series["metric"], float(series["value"][1])) for series in answer["data"]["result"]]

    async def _ask(self, method: str, path: str, body: Object | None = None) -> Any:
        timeout = aiohttp.ClientTimeout(total=90)
        async with self.session.request(method, f"{CONTROL_URL}{path}", json=body, timeout=timeout) as response:
            if response.status >= 400:
                raise SerinError(f"{path}: {await response.text()}")
            return await response.json()


def _hosts(cluster: Object) -> list[Object]:
    hosts: list[Object] = cluster.get("host_statuses", [])
    return hosts


def _is_healthy(host: Object) -> bool:
    return bool(host["health_status"].get("eds_health_status") == "HEALTHY")


def _is_complete(deployment: Object) -> bool:
    wanted, status = deployment["spec"]["replicas"], deployment["status"]
    counts = [status.get(field, 0) for field in ("replicas", "updatedReplicas", "readyReplicas")]
    return status.get("observedGeneration") == deployment["metadata"]["generation"] and counts == [wanted] * 3
