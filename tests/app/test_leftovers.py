"""Splits that a deleted policy left behind."""

import json
import shlex
from typing import Any

from structlog.testing import capture_logs

from analyzer.adapters.memory.json_patch import apply_patch
from analyzer.app.fence import EPOCH
from analyzer.app.leftovers import find_leftovers
from analyzer.ports import CANARY_POLICY, VIRTUAL_SERVICE, Kind, Object
from tests.app.model import POLICY, ROUTE
from tests.app.test_daemon import running
from tests.app.test_turns import quick_mesh


class View:
    def __init__(self, *objects: Object) -> None:
        self._objects = objects

    def list(self, kind: Kind, namespace: str | None = None) -> list[Object]:
        return [obj for obj in self._objects if obj["kind"] == kind.kind]


def virtual_service(*routes: list[int], annotations: dict[str, str] | None = None) -> Object:
    names = ("v1", "v2", "v3")
    http = [
        {"route": [{"destination": {"host": "shop", "subset": n}, "weight": w} for n, w in zip(names, weights)]}  # noqa: B905
        for weights in routes
    ]
    metadata = {
        "namespace": "shop",
        "name": "shop",
        "annotations": {EPOCH: "3"} if annotations is None else annotations,
    }
    return {"kind": VIRTUAL_SERVICE.kind, "metadata": metadata, "spec": {"http": http}}


def found(*objects: Object) -> list[Any]:
    return find_leftovers(View(*objects))  # type: ignore[arg-type]


def test_a_split_without_a_policy_is_found_with_the_command_that_ends_it() -> None:
    obj = virtual_service([100], [75, 25], [10, 80, 10], [0, 100])
    (left,) = found(obj)
    assert left.virtual_service == "shop/shop"
    assert left.splits == "route 1: v1 75, v2 25; route 2: v1 10, v2 80, v3 10"
    words = shlex.split(left.command)
    assert words[:-1] == ["kubectl", "-n", "shop", "patch", "virtualservice", "shop", "--type=json", "-p"]
    ended = apply_patch(obj, json.loads(words[-1]))
    weights = [[entry["weight"] for entry in route["route"]] for route in ended["spec"]["http"]]
    assert weights == [[100], [100, 0], [0, 100, 0], [0, 100]]


def test_nobody_guesses_whom_equal_shares_belong_to() -> None:
    (left,) = found(virtual_service([50, 50]))
    assert (left.splits, left.command) == ("route 0: v1 50, v2 50", "")


def test_what_serin_did_not_write_or_what_is_no_split_is_not_its_business() -> None:
    assert found(virtual_service([75, 25], annotations={})) == []
    assert found(virtual_service([100, 0])) == []
    assert found({"kind": VIRTUAL_SERVICE.kind, "metadata": virtual_service()["metadata"], "spec": {}}) == []


def test_a_policy_answers_for_its_virtual_service_and_for_no_other() -> None:
    def policy(namespace: str, name: str) -> Object:
        spec = {"target": {"virtualService": name}}
        return {"kind": CANARY_POLICY.kind, "metadata": {"namespace": namespace, "name": "p"}, "spec": spec}

    obj = virtual_service([75, 25])
    assert found(obj, policy("shop", "shop")) == []
    assert len(found(obj, policy("other", "shop"), policy("shop", "other"))) == 1


async def test_whoever_begins_to_lead_warns_once() -> None:
    mesh = quick_mesh()
    obj = mesh.read(ROUTE)
    obj["metadata"]["annotations"] = {EPOCH: "3"}
    mesh.cluster.apply(obj)
    mesh.cluster.delete(POLICY)
    with capture_logs() as logs:
        async with running(mesh) as serin:
            await serin.live(20)
    (warning,) = [entry for entry in logs if "has no policy" in entry["event"]]
    assert (warning["virtual_service"], warning["weights"]) == ("helloworld/helloworld", "primary: v1 90, v2 10")
    assert "kubectl -n helloworld patch virtualservice helloworld" in warning["command"]
    assert mesh.weights() == {"v1": 90, "v2": 10}
