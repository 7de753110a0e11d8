"""What a policy may point to, on real Istio: delegates, hosts, several gateways, several routes; and what is ambiguous."""

import copy
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

import aiohttp
import pytest

from analyzer.ports import Object
from tests.cluster.bed.client import Bed, until
from tests.cluster.bed.manifests import build_example, build_namespace
from tests.cluster.bed.places import GATEWAY_ADDRESS
from tests.cluster.eyes import Eyes
from tests.cluster.serin import Replicas
from tests.cluster.shops import ROOMY, STRICT, quicken

STAGES: Final = (10, 25, 50, 100)
RATE: Final = 60.0
VERSIONS: Final = ("v1", "v2")
PARTNERS_PORT: Final = 8001


@pytest.fixture
async def edge(bed: Bed) -> AsyncIterator[str]:
    """A namespace for what belongs to other people."""
    name = f"edge-{secrets.token_hex(3)}"
    await bed.apply([build_namespace(name)])
    yield name
    await bed.kubectl("delete", "namespace", name, "--wait=false")


def example(namespace: str, *, route: str = "primary") -> dict[str, list[Object]]:
    """Give the example's objects by kind; its policy is quick, and v2 fails a tenth of its requests."""
    behaviour = {"v1": ROOMY, "v2": {**ROOMY, "ERROR_RATE": 0.1}}
    found: dict[str, list[Object]] = {}
    for obj in build_example("helloworld", namespace=namespace, behaviour=behaviour, policy=True):
        found.setdefault(obj["kind"], []).append(obj)
    (policy,) = found["CanaryPolicy"]
    quicken(policy, judge=STRICT, stages=STAGES)
    policy["spec"]["stages"][0]["route"] = route
    policy["spec"]["capacity"] = {"mode": "off"}
    return found


async def begin(
    bed: Bed,
    namespace: str,
    objects: Mapping[str, list[Object]],
    *,
    subsets: Sequence[str] = VERSIONS,
    services: Sequence[str] = ("helloworld",),
) -> None:
    """Apply everything but the policy, and wait until requests are answered by pods of all destinations."""
    await bed.apply([obj for kind, some in objects.items() if kind != "CanaryPolicy" for obj in some])
    await bed.settled(namespace)
    await bed.routed(namespace, subsets=subsets, services=services)


async def until_rolled_back(eyes: Eyes, namespace: str) -> None:
    await eyes.until_weight(namespace, 0)
    await eyes.until_phase(namespace, "RolledBack")
    status = eyes.status(namespace)
    assert status["reason"] == "Harm", eyes.tell(namespace)


async def routes_counted(bed: Bed, namespace: str) -> set[str]:
    found = await bed.query(f'istio_requests_total{{reporter="source",destination_workload_namespace="{namespace}"}}')
    return {labels["route_name"] for labels, _ in found}


async def test_the_weights_of_a_delegate_are_judged_by_its_joined_name(
    bed: Bed, namespace: str, edge: str, serin: Replicas, eyes: Eyes
) -> None:
    objects = example(namespace)
    (delegate,) = objects["VirtualService"]
    hosts = [f"helloworld.{namespace}.svc.cluster.local"]
    del delegate["spec"]["hosts"], delegate["spec"]["gateways"]
    focus = [{"headers": {"x-group": {"exact": "insiders"}}}]
    to_stable = [{"destination": {"host": "helloworld", "subset": "v1"}}]
    delegate["spec"]["http"].insert(0, {"name": "insiders", "match": focus, "route": to_stable})
    root = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "site", "namespace": edge},
        "spec": {
            "hosts": hosts,
            "gateways": [f"{namespace}/helloworld-gateway"],
            "http": [{"name": "hello", "delegate": {"name": "helloworld", "namespace": namespace}}],
        },
    }
    await bed.apply([root])
    await begin(bed, namespace, objects)
    await serin.start()
    async with bed.load(namespace, rate=RATE):
        await bed.apply(objects["CanaryPolicy"])
        await until_rolled_back(eyes, namespace)
        assert await routes_counted(bed, namespace) == {"hello-primary"}
    spec = (await bed.get(namespace, "virtualservice/helloworld"))["spec"]
    assert [part.get("weight") for part in spec["http"][1]["route"]] == [100, 0]
    assert spec["http"][0] == delegate["spec"]["http"][0]


async def test_versions_may_be_hosts(bed: Bed, namespace: str, serin: Replicas, eyes: Eyes) -> None:
    objects = example(namespace)
    (service,) = objects["VirtualService"]
    (shared,) = objects["Service"]
    objects["Service"] += [_service_of(shared, version) for version in VERSIONS]
    objects["DestinationRule"] = []
    for part, version in zip(service["spec"]["http"][0]["route"], VERSIONS, strict=True):
        part["destination"] = {"host": f"helloworld-{version}"}
    (policy,) = objects["CanaryPolicy"]
    policy["spec"]["target"] = {"virtualService": "helloworld"}
    await begin(bed, namespace, objects, subsets=("",), services=[f"helloworld-{version}" for version in VERSIONS])
    await serin.start()
    async with bed.load(namespace, rate=RATE):
        await bed.apply([policy])
        await until_rolled_back(eyes, namespace)
    assert eyes.status(namespace)["canary"]["version"] == "helloworld-v2"


def _service_of(shared: Object, version: str) -> Object:
    return {
        **shared,
        "metadata": {**shared["metadata"], "name": f"helloworld-{version}"},
        "spec": {**shared["spec"], "selector": {"app": "helloworld", "version": version}},
    }


async def test_of_several_gateways_and_virtual_services_the_policys_own_is_moved_for_all_its_users(
    bed: Bed, namespace: str, edge: str, serin: Replicas, eyes: Eyes
) -> None:
    objects = example(namespace)
    (own,) = objects["VirtualService"]
    own["spec"]["gateways"] = ["helloworld-gateway", "partners"]
    host = f"helloworld.{namespace}.svc.cluster.local"
    to_stable = {"name": "pinned", "route": [{"destination": {"host": host, "subset": "v1"}}]}
    pinned: Object = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "pinned", "namespace": edge},
        "spec": {"hosts": ["pinned.example.com"], "gateways": [f"{namespace}/partners"], "http": [to_stable]},
    }
    await bed.apply([_partners(namespace), pinned])
    await begin(bed, namespace, objects)
    await serin.start()
    async with bed.load(namespace, rate=RATE):
        await until(lambda: _versions_of_partners(bed, host), what="partners are answered")
        await bed.apply(objects["CanaryPolicy"])
        await until_rolled_back(eyes, namespace)
    history = [entry["message"] for entry in eyes.status(namespace)["history"]]
    aside = f"VirtualService {edge}/pinned leads to the same versions, and is not moved"
    assert any(aside in message for message in history), history

    async def back() -> bool:
        return await _versions_of_partners(bed, host) == {"v1"}

    await until(back, what="all partners are back at v1")
    assert (await bed.get(edge, "virtualservice/pinned"))["spec"] == pinned["spec"]


def _partners(namespace: str) -> Object:
    """Build a second Gateway of the same proxy, at a port of its own."""
    server = {"port": {"number": PARTNERS_PORT, "name": "http-partners", "protocol": "HTTP"}, "hosts": ["*"]}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "partners", "namespace": namespace},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": [server]},
    }


async def _versions_of_partners(bed: Bed, host: str) -> set[str]:
    """Send forty requests through the second gateway; tell which versions answered."""
    versions = set()
    for _ in range(40):
        url = f"http://{GATEWAY_ADDRESS}:{PARTNERS_PORT}/hello"
        try:
            async with bed.session.get(url, headers={"Host": host}) as response:
                versions.add(response.headers.get("x-version", ""))
        except aiohttp.ClientError:  # no listener yet
            return set()
    return versions - {""}


async def test_all_routes_of_a_stage_are_judged_and_moved_as_one(
    bed: Bed, namespace: str, serin: Replicas, eyes: Eyes
) -> None:
    """Two routes split both versions, and a third one does not."""
    objects = example(namespace)
    (service,) = objects["VirtualService"]
    (primary,) = service["spec"]["http"]
    search = {**primary, "name": "search", "match": [{"uri": {"prefix": "/search"}}]}
    old = {
        "name": "old",
        "match": [{"uri": {"prefix": "/old"}}],
        "route": [{"destination": {"host": "helloworld", "subset": "v1"}}],
    }
    service["spec"]["http"] = [search, old, primary]
    (policy,) = objects["CanaryPolicy"]
    del policy["spec"]["stages"][0]["route"]
    await begin(bed, namespace, objects)
    await serin.start()
    async with bed.load(namespace, rate=RATE / 2, seed="hello"), bed.load(namespace, rate=RATE / 2, path="/search"):
        await bed.apply([policy])
        await until_rolled_back(eyes, namespace)
        assert await routes_counted(bed, namespace) >= {"search", "primary"}
    seen = [weights for _, weights in eyes.routes[namespace]]
    assert all(weights["search"] == weights["primary"] and weights["old"] == (100,) for weights in seen), seen
    assert seen[-1]["search"] == (100, 0)


async def test_what_is_ambiguous_is_listed_stalls_and_is_ready_when_it_is_mended(
    bed: Bed, namespace: str, serin: Replicas, eyes: Eyes
) -> None:
    """Twice: a third version, and a second Deployment of one. No request is needed to see either."""
    objects = example(namespace)
    (service,), (rule,), (policy,) = (objects[kind] for kind in ("VirtualService", "DestinationRule", "CanaryPolicy"))
    preview = {
        "name": "preview",
        "match": [{"uri": {"prefix": "/preview"}}],
        "route": [
            {"destination": {"host": "helloworld", "subset": subset}, "weight": weight}
            for subset, weight in (("v1", 100), ("v3", 0))
        ],
    }
    service["spec"]["http"].insert(0, preview)
    rule["spec"]["subsets"].append({"name": "v3", "labels": {"version": "v3"}})
    policy["spec"]["target"] = {"virtualService": "helloworld"}
    del policy["spec"]["stages"][0]["route"]
    twin = copy.deepcopy(next(obj for obj in objects["Deployment"] if obj["metadata"]["name"] == "helloworld-v2"))
    twin["metadata"]["name"] = "helloworld-v2-old"
    twin["spec"]["replicas"] = 0
    await begin(bed, namespace, objects)
    await bed.apply([twin])
    await serin.start()

    async def stalls(reason: str, listed: str) -> None:
        await eyes.until_status(namespace, lambda status: status.get("reason") == reason, what=reason)
        assert eyes.status(namespace)["phase"] == "Invalid"
        assert listed in eyes.status(namespace)["message"]
        await wait_for("Stalled=True")
        await wait_for("Ready=False")

    async def wait_for(condition: str) -> None:
        await bed.kubectl("wait", "-n", namespace, "cpol/helloworld", f"--for=condition={condition}", "--timeout=30s")

    await bed.apply([policy])
    await stalls("VersionsAmbiguous", "leads to v1, v3, v2: which two are to be compared?")
    policy["spec"]["target"]["versions"] = list(VERSIONS)
    await bed.apply([policy])
    await stalls("DeploymentAmbiguous", "helloworld-v2, helloworld-v2-old")
    await bed.kubectl("delete", "-n", namespace, "deployment/helloworld-v2-old")
    await wait_for("Ready=True")
    await wait_for("Stalled=False")
    assert [weights for _, weights in eyes.routes[namespace]] == [{"preview": (100, 0), "primary": (90, 10)}]
