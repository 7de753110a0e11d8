"""Who refuses what of Serin's writes in a real mesh, as its own client understands it."""

import json
from pathlib import Path
from typing import Final

import pytest

from analyzer.adapters.kube import Credentials, connect
from analyzer.errors import WriteRefused
from analyzer.policy.load import load_objects
from analyzer.ports import VIRTUAL_SERVICE, PatchOperation, Ref
from tests.cluster.bed.client import Bed, KubectlFailed
from tests.cluster.bed.manifests import build_example
from tests.cluster.deployment import deploy

TELEMETRY: Final = Path(__file__).parents[2] / "deploy" / "telemetry" / "telemetry.yaml"
ROUTE: Final = "/spec/http/0/route"


def weights(*values: int) -> list[PatchOperation]:
    return [{"op": "replace", "path": f"{ROUTE}/{index}/weight", "value": value} for index, value in enumerate(values)]


async def routed(bed: Bed, namespace: str) -> Ref:
    """Apply the example's routes; nobody needs pods to write weights."""
    objects = build_example("helloworld", namespace=namespace)
    await bed.apply([obj for obj in objects if obj["kind"] == "VirtualService"])
    return Ref(VIRTUAL_SERVICE, namespace, "helloworld")


async def test_what_istiod_denies_is_refused_in_its_own_words(bed: Bed, namespace: str) -> None:
    """By an administrator's hand: of Serin's own account, deploy/admission refuses such a patch before istiod is asked."""
    ref = await routed(bed, namespace)
    async with connect(Credentials(str(bed.kubeconfig))) as cluster:
        with pytest.raises(
            WriteRefused, match=r"validation.istio.io.* denied the request: .*total destination weight = 0"
        ):
            await cluster.patch(ref, weights(0, 0))
        await cluster.patch(ref, weights(80, 20))
    assert await bed.weights(namespace) == [80, 20]


async def test_serins_account_may_move_weights_and_nothing_else(bed: Bed, namespace: str, tmp_path: Path) -> None:
    ref = await routed(bed, namespace)
    token = await (await deploy(bed, tmp_path)).issue_token("by-hand")
    hijack: PatchOperation = {"op": "replace", "path": f"{ROUTE}/1/destination/host", "value": "elsewhere"}
    async with connect(Credentials(str(token.kubeconfig))) as cluster:
        with pytest.raises(WriteRefused, match="nothing of a route's destinations but their weights"):
            await cluster.patch(ref, [*weights(80, 20), hijack])
        with pytest.raises(WriteRefused, match="the sum of a route's weights"):
            await cluster.patch(ref, weights(0, 0))
        await cluster.patch(ref, weights(80, 20))
    assert await bed.weights(namespace) == [80, 20]


async def test_istiod_takes_the_telemetry_resource(bed: Bed) -> None:
    """Its webhook is asked in a dry run as well. In effect the resource cannot be here: it needs Istio's own build of Envoy."""
    (telemetry,) = load_objects([TELEMETRY])
    dry_run = ("apply", "--dry-run=server", "--filename=-")
    assert "created (server dry run)" in await bed.kubectl(*dry_run, stdin=json.dumps(telemetry))
    telemetry["spec"]["accessLogging"] = [{"filter": {"expression": "response.code >="}}]  # what only istiod looks at
    with pytest.raises(
        KubectlFailed, match=r"validation\.istio\.io.* denied the request: .*must be a valid CEL expression"
    ):
        await bed.kubectl(*dry_run, stdin=json.dumps(telemetry))
