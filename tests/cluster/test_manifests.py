"""The examples, as the tests apply them."""

from tests.cluster.bed.manifests import build_example
from tests.cluster.bed.pace import ACCELERATION, accelerate


def test_every_object_of_an_example_moves_to_the_namespace() -> None:
    objects = build_example("helloworld", namespace="shop-1")
    assert {obj["metadata"]["namespace"] for obj in objects} == {"shop-1"}
    kinds = [obj["kind"] for obj in objects]
    assert kinds.count("Gateway") == 1
    assert kinds.count("Deployment") == kinds.count("HorizontalPodAutoscaler") == 2
    assert "CanaryPolicy" not in kinds
    assert "CanaryPolicy" in [obj["kind"] for obj in build_example("helloworld", namespace="shop-1", policy=True)]


def test_behaviour_is_another_environment_of_one_version() -> None:
    objects = build_example("helloworld", namespace="shop-1", behaviour={"v2": {"ERROR_RATE": 0.5}})
    environments = {
        obj["metadata"]["name"]: obj["spec"]["template"]["spec"]["containers"][0]["env"]
        for obj in objects
        if obj["kind"] == "Deployment"
    }
    assert environments == {"helloworld-v1": [], "helloworld-v2": [{"name": "ERROR_RATE", "value": "0.5"}]}


def test_an_autoscalers_own_windows_are_as_many_times_as_short() -> None:
    rules = {"stabilizationWindowSeconds": 900, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 10}]}
    autoscaler = {"spec": {"behavior": {"scaleDown": rules}}}
    accelerated = accelerate(autoscaler)["spec"]["behavior"]["scaleDown"]
    assert accelerated["stabilizationWindowSeconds"] == 900 / ACCELERATION
    assert accelerated["policies"][0]["periodSeconds"] == 1  # the API server takes no less
    assert rules["stabilizationWindowSeconds"] == 900
    assert accelerate({"spec": {}}) == {"spec": {}}
