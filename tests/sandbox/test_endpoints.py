from analyzer.ports import Object
from analyzer.sandbox.endpoints import ADDRESS, build_upstreams, workload_of

V1 = "outbound|5000|v1|helloworld.shop.svc.cluster.local"


def make_pod(name: str, *, port: int, ready: bool = True, **labels: str) -> Object:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    owner = {"kind": "ReplicaSet", "name": "helloworld-v1-abc", "controller": True}
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "labels": {"app": "helloworld", "version": "v1", "pod-template-hash": "abc", **labels},
            "annotations": {ADDRESS: f"127.0.0.1:{port}"},
            "ownerReferences": [owner],
        },
        "status": {"conditions": conditions},
    }


def ports_of(upstreams: tuple[object, ...], name: str) -> list[int]:
    (assignment,) = [u.assignment for u in upstreams if u.name == name]  # type: ignore[attr-defined]
    (locality,) = assignment["endpoints"]
    return [e["endpoint"]["address"]["socket_address"]["port_value"] for e in locality["lb_endpoints"]]


def test_each_subset_is_a_cluster_with_its_ready_pods(service: Object, destination_rule: Object) -> None:
    pods = [
        make_pod("a", port=1001),
        make_pod("b", port=1002, ready=False),
        make_pod("c", port=1003, version="v2"),
        make_pod("d", port=1004, app="other"),
    ]
    upstreams = build_upstreams([service], destination_rules=[destination_rule], pods=pods)
    assert {u.name: ports_of(upstreams, u.name) for u in upstreams} == {
        "outbound|5000||helloworld.shop.svc.cluster.local": [1001, 1003],
        V1: [1001],
        "outbound|5000|v2|helloworld.shop.svc.cluster.local": [1003],
    }


def test_a_pod_of_another_namespace_is_no_endpoint(service: Object, destination_rule: Object) -> None:
    pod = make_pod("a", port=1001)
    pod["metadata"]["namespace"] = "elsewhere"
    assert ports_of(build_upstreams([service], destination_rules=[destination_rule], pods=[pod]), V1) == []


def test_an_endpoint_says_which_workload_it_is(service: Object, destination_rule: Object) -> None:
    upstreams = build_upstreams([service], destination_rules=[destination_rule], pods=[make_pod("a", port=1001)])
    (endpoint,) = upstreams[1].assignment["endpoints"][0]["lb_endpoints"]
    attributes = endpoint["metadata"]["filter_metadata"]["istio"]["workload"]
    assert attributes == "helloworld-v1;shop;helloworld;v1;Kubernetes"


def test_a_pod_without_a_revision_label_is_latest(service: Object) -> None:
    pod = make_pod("a", port=1001)
    del pod["metadata"]["labels"]["version"]
    upstreams = build_upstreams([service], destination_rules=[], pods=[pod])
    (endpoint,) = upstreams[0].assignment["endpoints"][0]["lb_endpoints"]
    assert ";latest;" in endpoint["metadata"]["filter_metadata"]["istio"]["workload"]


def test_the_order_of_the_pods_does_not_matter(service: Object, destination_rule: Object) -> None:
    pods = [make_pod("a", port=1001), make_pod("b", port=1002)]
    rules = [destination_rule]
    assert build_upstreams([service], destination_rules=rules, pods=pods) == build_upstreams(
        [service], destination_rules=rules, pods=pods[::-1]
    )


def test_a_pod_without_an_owner_is_its_own_workload() -> None:
    assert workload_of({"metadata": {"name": "alone"}}) == "alone"
