"""What Serin's account may do to a VirtualService, on a real API server: by the patches that Serin writes, and by any other."""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import pytest

from analyzer.adapters.kube import Credentials, connect
from analyzer.app.fence import EPOCH
from analyzer.app.patch import weight_patch
from analyzer.errors import WriteRefused
from analyzer.policy.model import CanaryPolicy
from analyzer.policy.routes import resolve_routes
from analyzer.ports import VIRTUAL_SERVICE as KIND
from analyzer.ports import Cluster, Ref
from tests.cluster.deployment import ACCOUNT
from tests.cluster.install.installed import Kubectl

VIRTUAL_SERVICE: dict[str, Any] = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {
        "name": "guarded",
        "namespace": "shop",
        "labels": {"team": "shop"},
        "annotations": {"example.com/owner": "shop", "serin.dev/epoch": "1"},
    },
    "spec": {
        "hosts": ["shop"],
        "gateways": ["shop-gateway"],
        "exportTo": ["."],
        "http": [
            {
                "name": "insiders",
                "match": [{"headers": {"cookie": {"exact": "insider"}}}],
                "route": [
                    {"destination": {"host": "shop", "subset": "v1"}, "weight": 50},
                    {"destination": {"host": "shop", "subset": "v2"}, "weight": 50},
                ],
            },
            {
                "name": "primary",
                "timeout": "3s",
                "route": [
                    {"destination": {"host": "shop", "subset": "v1"}, "weight": 100},
                    {
                        "destination": {"host": "shop", "subset": "v2"},
                        "headers": {"response": {"set": {"x-version": "v2"}}},
                    },
                ],
            },
            {"name": "old", "redirect": {"uri": "/new"}},
        ],
    },
}
ROUTE = "/spec/http/1/route"


def step(stable: int, canary: int, route: str = ROUTE) -> list[dict[str, Any]]:
    return [change(f"{route}/0/weight", stable), change(f"{route}/1/weight", canary, "add")]


def change(path: str, value: object = None, op: str = "replace") -> dict[str, Any]:
    return {"op": op, "path": path} | ({} if op == "remove" else {"value": value})


ALLOWED = {
    "a step": step(90, 10),
    "steps in two routes": [*step(90, 10), *step(0, 100, "/spec/http/0/route")],
    "all to the canary": step(0, 100),
    "an epoch": [*step(90, 10), change("/metadata/annotations/serin.dev~1epoch", "2")],
    "an annotation of its own less": [change("/metadata/annotations/serin.dev~1epoch", op="remove")],
}
REFUSED = {
    "hosts": ([change("/spec/hosts/0", "evil")], "nothing of a VirtualService's spec but the weights"),
    "a host more": ([change("/spec/hosts/-", "evil", "add")], "nothing of a VirtualService's spec but the weights"),
    "gateways": ([change("/spec/gateways/0", "evil")], "nothing of a VirtualService's spec but the weights"),
    "no gateways": ([change("/spec/gateways", op="remove")], "nothing of a VirtualService's spec but the weights"),
    "exportTo": ([change("/spec/exportTo/0", "*")], "nothing of a VirtualService's spec but the weights"),
    "tcp routes": (
        [change("/spec/tcp", [{"route": [{"destination": {"host": "evil"}}]}], "add")],
        "nothing of a VirtualService's spec but the weights",
    ),
    "no http": ([change("/spec/http", op="remove")], "nothing of a VirtualService's spec but the weights"),
    "a match": ([change("/spec/http/0/match/0/headers/cookie/exact", "x")], "nothing of an http route but its weights"),
    "no match": ([change("/spec/http/0/match", op="remove")], "nothing of an http route but its weights"),
    "a timeout": ([change("/spec/http/1/timeout", "1s")], "nothing of an http route but its weights"),
    "a fault": (
        [change("/spec/http/1/fault", {"abort": {"httpStatus": 500, "percentage": {"value": 100}}}, "add")],
        "nothing of an http route but its weights",
    ),
    "a mirror": ([change("/spec/http/1/mirror", {"host": "evil"}, "add")], "nothing of an http route but its weights"),
    "a redirect": ([change("/spec/http/2/redirect/uri", "/x")], "nothing of an http route but its weights"),
    "a name": ([change("/spec/http/1/name", "x")], "nothing of an http route but its weights"),
    "order of routes": (
        [{"op": "move", "from": "/spec/http/0", "path": "/spec/http/1"}],
        "nothing of an http route but its weights",
    ),
    "a route less": ([change("/spec/http/0", op="remove")], "add or remove no http route"),
    "a route more": (
        [change("/spec/http/0", {"route": [{"destination": {"host": "evil"}}]}, "add")],
        "add or remove no http route",
    ),
    "a route's destinations": ([change(ROUTE, op="remove")], "nothing of an http route but its weights"),
    "a host of a destination": ([change(f"{ROUTE}/1/destination/host", "evil")], "destinations but their weights"),
    "a subset": ([change(f"{ROUTE}/1/destination/subset", "v3")], "destinations but their weights"),
    "a port": ([change(f"{ROUTE}/1/destination/port", {"number": 1}, "add")], "destinations but their weights"),
    "a destination less": ([change(f"{ROUTE}/1", op="remove")], "destinations but their weights"),
    "a destination more": (
        [change(f"{ROUTE}/-", {"destination": {"host": "evil"}, "weight": 0}, "add")],
        "destinations but their weights",
    ),
    "destinations swapped": (
        [{"op": "move", "from": f"{ROUTE}/0", "path": f"{ROUTE}/1"}],
        "destinations but their weights",
    ),
    "headers of a destination": (
        [*step(90, 10), change(f"{ROUTE}/1/headers/response/set/x-version", "v1")],
        "destinations but their weights",
    ),
    "no headers of a destination": ([change(f"{ROUTE}/1/headers", op="remove")], "destinations but their weights"),
    "another sum": (step(90, 20), "the sum of a route's weights"),
    "a weight below zero": (step(110, -10), "below zero"),
    "a label": ([change("/metadata/labels/team", "x")], "no labels"),
    "no labels": ([change("/metadata/labels", op="remove")], "no labels"),
    "a finalizer": ([change("/metadata/finalizers", ["evil/x"], "add")], "no labels, finalizers or owners"),
    "an annotation": ([change("/metadata/annotations/example.com~1owner", "x")], "no annotations"),
    "an annotation more": ([change("/metadata/annotations/evil", "x", "add")], "no annotations"),
    "an annotation less": ([change("/metadata/annotations/example.com~1owner", op="remove")], "no annotations"),
    "no annotations": ([change("/metadata/annotations", op="remove")], "no annotations"),
    "an annotation of another domain": (
        [change("/metadata/annotations/evil-serin.dev~1x", "x", "add")],
        "no annotations",
    ),
}


@pytest.fixture(scope="module")
def guarded(kubectl: Kubectl) -> Iterator[Kubectl]:
    kubectl.done("apply", "-f", "-", text=json.dumps(VIRTUAL_SERVICE))
    yield kubectl
    kubectl.done("-n", "shop", "delete", "virtualservice", "guarded")


def patch(kubectl: Kubectl, operations: list[dict[str, Any]], *, account: str = ACCOUNT, name: str = "guarded") -> str:
    """Try a patch, and return the server's objection."""
    answer = kubectl(
        "-n", "shop", "patch", "virtualservice", name, f"--as={account}", "--type=json", "--dry-run=server",
        f"--patch={json.dumps(operations)}",
    )  # fmt: skip
    assert (answer.returncode == 0) == (not answer.stderr), answer.stderr
    return answer.stderr


@pytest.mark.parametrize("what", ALLOWED)
def test_serin_may_write(what: str, guarded: Kubectl) -> None:
    assert patch(guarded, ALLOWED[what]) == ""


# --- as Serin writes it -----------------------------------------------------------------------------------------------

WRITTEN = Ref(KIND, "shop", "written")
POLICY = {
    "apiVersion": "serin.dev/v1alpha1",
    "kind": "CanaryPolicy",
    "metadata": {"name": "written", "namespace": "shop"},
    "spec": {"target": {"virtualService": "written", "versions": ["v1", "v2"]}},
}
ANNOTATIONS: dict[str, dict[str, str]] = {
    "without annotations": {},
    "annotated by others": {"example.com/owner": "shop"},
    "written in an older epoch": {"example.com/owner": "shop", EPOCH: "1"},
    "written in this epoch": {"example.com/owner": "shop", EPOCH: "7"},
    "marked by somebody's hand": {EPOCH: "soon"},
}


@pytest.fixture
async def serins(kubectl: Kubectl) -> AsyncIterator[Cluster]:
    """Serin's client with a token of its account."""
    token = kubectl.done("-n", "serin-system", "create", "token", "serin").strip()
    async with connect(Credentials(str(kubectl.server.kubeconfig("serin", token=token)))) as cluster:
        yield cluster


@pytest.fixture
def written(kubectl: Kubectl) -> Iterator[Callable[[Mapping[str, str]], None]]:
    """Makes a VirtualService with some annotations."""

    def make(annotations: Mapping[str, str]) -> None:
        metadata = {"name": WRITTEN.name, "namespace": "shop"} | ({"annotations": annotations} if annotations else {})
        kubectl.done("create", "-f", "-", text=json.dumps({**VIRTUAL_SERVICE, "metadata": metadata}))

    yield make
    kubectl.done("-n", "shop", "delete", "virtualservice", WRITTEN.name)


@pytest.mark.parametrize("what", ANNOTATIONS)
async def test_weights_and_epoch_are_written_into_what_is(
    what: str, written: Callable[[Mapping[str, str]], None], serins: Cluster
) -> None:
    """In two routes at once, one of them without a weight for v2; with all that Serin's patch tests."""
    written(ANNOTATIONS[what])
    before = await serins.get(WRITTEN)
    assert before["metadata"].get("annotations", {}) == ANNOTATIONS[what]
    resolved = resolve_routes(CanaryPolicy.model_validate(POLICY), before)
    assert not isinstance(resolved, list), resolved
    _, stages = resolved
    operations = weight_patch(before, stages, stable="v1", canary="v2", wanted=(25.0,), epoch=7)
    after = await serins.patch(WRITTEN, operations)
    assert [[part["weight"] for part in route["route"]] for route in after["spec"]["http"][:2]] == [[75, 25]] * 2
    assert after["metadata"]["annotations"] == {**ANNOTATIONS[what], EPOCH: "7"}


async def test_serin_takes_a_refusal_for_one(written: Callable[[Mapping[str, str]], None], serins: Cluster) -> None:
    """Its code is that of a patch whose tests fail, which would be read and written again."""
    written({})
    before = await serins.get(WRITTEN)
    with pytest.raises(WriteRefused, match="Serin must leave the sum of a route's weights as it is"):
        await serins.patch(WRITTEN, step(90, 20))
    assert await serins.get(WRITTEN) == before


# --- whoever holds its token ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", REFUSED)
def test_serin_may_not_change(what: str, guarded: Kubectl) -> None:
    operations, objection = REFUSED[what]
    assert objection in patch(guarded, operations)


@pytest.mark.parametrize("what", REFUSED)
def test_others_may_change(what: str, guarded: Kubectl) -> None:
    assert patch(guarded, REFUSED[what][0], account="admin-of-the-shop") == ""


@pytest.fixture(scope="session", autouse=True)  # as long as the server: a worker may come to this file twice
def others(kubectl: Kubectl) -> None:
    kubectl.done("create", "clusterrolebinding", "others", "--clusterrole=cluster-admin", "--user=admin-of-the-shop")


def test_an_account_called_serin_that_is_no_service_account_is_another(guarded: Kubectl) -> None:
    guarded("create", "clusterrolebinding", "user-serin", "--clusterrole=cluster-admin", "--user=serin")
    assert patch(guarded, [change("/spec/hosts/0", "other")], account="serin") == ""


def test_serin_may_neither_make_nor_delete_even_with_the_rights_to(guarded: Kubectl) -> None:
    everything = "system:serviceaccount:elsewhere:serin"
    guarded.done(
        "create", "clusterrolebinding", "too-much", "--clusterrole=cluster-admin", "--serviceaccount=elsewhere:serin"
    )
    made = json.dumps({**VIRTUAL_SERVICE, "metadata": {"name": "made", "namespace": "shop"}})
    answer = guarded("create", f"--as={everything}", "--dry-run=server", "-f", "-", text=made)
    assert "never create or delete one" in answer.stderr
    answer = guarded("-n", "shop", "delete", "virtualservice", "guarded", f"--as={everything}", "--dry-run=server")
    assert "never create or delete one" in answer.stderr
    assert "spec but the weights" in patch(guarded, [change("/spec/hosts/0", "evil")], account=everything)


@pytest.mark.parametrize("routes", [300, 1000])
def test_many_routes_are_within_the_budget(routes: int, guarded: Kubectl) -> None:
    http = [{**VIRTUAL_SERVICE["spec"]["http"][1], "name": f"route-{number}"} for number in range(routes)]
    many = {
        **VIRTUAL_SERVICE,
        "metadata": {"name": "many", "namespace": "shop"},
        "spec": {"hosts": ["a"], "http": http},
    }
    guarded.server.apply("/apis/networking.istio.io/v1/namespaces/shop/virtualservices/many", many)
    all_of_them = [change for number in range(routes) for change in step(90, 10, f"/spec/http/{number}/route")]
    last = routes - 1
    assert patch(guarded, step(90, 10, f"/spec/http/{last}/route"), name="many") == ""
    assert patch(guarded, all_of_them[:400], name="many") == ""
    hijack = [*step(90, 10), change(f"/spec/http/{last}/timeout", "1s")]
    assert "nothing of an http route but its weights" in patch(guarded, hijack, name="many")
    guarded.done("-n", "shop", "delete", "virtualservice", "many")
