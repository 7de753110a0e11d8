"""The users' manifests (`policies/examples`), moved to a namespace of a test's own."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from analyzer.policy.load import load_objects
from analyzer.ports import Object
from tests.cluster.bed.pace import ACCELERATION, accelerate
from tests.cluster.bed.places import GATEWAY_PORT

EXAMPLES: Final = Path(__file__).parents[3] / "policies" / "examples"


def build_namespace(name: str) -> Object:
    """Build a namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def build_gateway(namespace: str) -> Object:
    """Build the Gateway that the examples' VirtualServices name: operators have one, so it is no part of them."""
    server = {"port": {"number": GATEWAY_PORT, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "helloworld-gateway", "namespace": namespace},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": [server]},
    }


def build_example(
    name: str,
    *,
    namespace: str,
    behaviour: Mapping[str, Mapping[str, Any]] | None = None,
    acceleration: float = ACCELERATION,
    policy: bool = False,
) -> list[Object]:
    """Read a folder of `policies/examples` as objects of one namespace, with a Gateway.

    Parameters
    ----------
    behaviour
        By version: variables of its container's environment (`analyzer.sandbox.behaviour`).
    acceleration
        Of the HPAs' own windows.
    policy
        Whether the CanaryPolicy is among them: its kind must be known to the API server.
    """
    objects = [build_gateway(namespace)]
    for obj in load_objects(sorted((EXAMPLES / name).glob("*.yaml"))):
        if obj["kind"] == "CanaryPolicy" and not policy:
            continue
        moved = copy.deepcopy(obj)
        moved["metadata"]["namespace"] = namespace
        if moved["kind"] == "Deployment":
            declare(moved, (behaviour or {}).get(moved["metadata"]["labels"]["version"], {}))
        if moved["kind"] == "HorizontalPodAutoscaler":
            moved = accelerate(moved, by=acceleration)
        objects.append(moved)
    return objects


def declare(deployment: Object, variables: Mapping[str, Any]) -> None:
    """Set variables in the environment of a Deployment's container: another version, as a new image would be."""
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    values = {entry["name"]: entry["value"] for entry in container.get("env", [])}
    values.update({key: str(value) for key, value in variables.items()})
    container["env"] = [{"name": key, "value": value} for key, value in values.items()]
