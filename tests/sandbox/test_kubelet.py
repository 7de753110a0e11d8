import copy

from analyzer.ports import Object
from analyzer.sandbox.kubelet import Plan, build_status, plan_pods, template_hash


def make_pods(deployment: Object, *numbers: int, ready: bool = True) -> list[Object]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    labels = {"pod-template-hash": template_hash(deployment)}
    return [
        {"metadata": {"name": f"pod-{number:05d}", "labels": labels}, "status": {"conditions": conditions}}
        for number in numbers
    ]


def scaled(deployment: Object, replicas: int) -> Object:
    changed = copy.deepcopy(deployment)
    changed["spec"]["replicas"] = replicas
    changed["metadata"]["generation"] = 7
    return changed


def test_missing_pods_are_made(manifests: list[Object]) -> None:
    deployment = scaled(manifests[-1], 3)
    assert plan_pods(deployment, make_pods(deployment, 1)) == Plan(2, ())


def test_surplus_pods_go_unready_ones_first_then_the_youngest(manifests: list[Object]) -> None:
    deployment = scaled(manifests[-1], 1)
    pods = [*make_pods(deployment, 1, ready=False), *make_pods(deployment, 2, 3)]
    assert plan_pods(deployment, pods) == Plan(0, ("pod-00003", "pod-00001"))


def test_old_pods_stay_until_all_new_ones_are_ready(manifests: list[Object]) -> None:
    old = scaled(manifests[-1], 2)
    new = copy.deepcopy(old)
    new["spec"]["template"]["spec"]["containers"][0]["image"] = "helloworld:next"
    before = make_pods(old, 1, 2)
    assert plan_pods(new, before) == Plan(2, ())
    starting = [*before, *make_pods(new, 3), *make_pods(new, 4, ready=False)]
    assert plan_pods(new, starting) == Plan(0, ())
    assert plan_pods(new, [*before, *make_pods(new, 3, 4)]) == Plan(0, ("pod-00001", "pod-00002"))


def test_status_tells_what_is_there(manifests: list[Object]) -> None:
    deployment = scaled(manifests[-1], 3)
    status = build_status(deployment, [*make_pods(deployment, 1), *make_pods(deployment, 2, ready=False)])
    assert status["observedGeneration"] == 7
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (2, 1, 2)
    assert status["unavailableReplicas"] == 2
    assert status["conditions"][0]["status"] == "False"


def test_no_replicas_need_no_pods(manifests: list[Object]) -> None:
    deployment = scaled(manifests[-1], 0)
    assert plan_pods(deployment, make_pods(deployment, 1)) == Plan(0, ("pod-00001",))
