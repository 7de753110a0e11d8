from pathlib import Path

import pytest

from analyzer.policy.load import load_objects
from analyzer.ports import Object
from analyzer.sandbox.autoscaler import parse_target
from analyzer.sandbox.endpoints import build_upstreams
from analyzer.sandbox.routes import build_routes

EXAMPLES = Path(__file__).parents[2] / "policies" / "examples"


@pytest.mark.parametrize(
    ("name", "routes"), [("helloworld", ["primary"]), ("helloworld-focused", ["insiders", "primary"])]
)
def test_the_sandbox_can_play_the_examples(name: str, routes: list[str]) -> None:
    objects = load_objects(sorted((EXAMPLES / name).glob("*.yaml")))

    def of_kind(kind: str) -> list[Object]:
        return [obj for obj in objects if obj["kind"] == kind]

    (host,) = build_routes(of_kind("VirtualService"), of_kind("Service"))["virtual_hosts"]
    assert [route["name"] for route in host["routes"]] == routes
    upstreams = build_upstreams(of_kind("Service"), destination_rules=of_kind("DestinationRule"), pods=[])
    known = {upstream.name for upstream in upstreams}
    for route in host["routes"]:
        action = route["route"]
        weighted = action.get("weighted_clusters", {"clusters": []})["clusters"]
        assert {action.get("cluster"), *(cluster["name"] for cluster in weighted)} - {None} <= known
    deployments = {obj["metadata"]["name"]: obj for obj in of_kind("Deployment")}
    for hpa in of_kind("HorizontalPodAutoscaler"):
        target = parse_target(hpa, deployments[hpa["spec"]["scaleTargetRef"]["name"]])
        assert (target.request, target.per_pod) == (100, 50)
