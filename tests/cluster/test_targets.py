"""What a policy may point to, on real Istio: a delegate of a root in another namespace; hosts instead of subsets."""

import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Final

import pytest

from analyzer.ports import Object
from tests.cluster.bed.client import Bed
from tests.cluster.bed.manifests import build_example, build_namespace
from tests.cluster.eyes import Eyes
from tests.cluster.serin import Replicas
from tests.cluster.shops import ROOMY, STRICT, quicken

STAGES: Final = (10, 25, 50, 100)
RATE: Final = 60.0
VERSIONS: Final = ("v1", "v2")


@pytest.fixture
async def edge(bed: Bed) -> AsyncIterator[str]:
    """A namespace for the root, which belongs to other people."""
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


async def begin(bed: Bed, namespace: str, objects: Mapping[str, list[Object]]) -> None:
    """Apply everything; the policy last, when requests are answered."""
    await bed.apply([obj for kind, some in objects.items() if kind != "CanaryPolicy" for obj in some])
    await bed.settled(namespace)
    await bed.routed(namespace)


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
    await begin(bed, namespace, objects)
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
