from typing import Any

import pytest

from analyzer.policy import mesh
from analyzer.policy.findings import Code, Problem
from analyzer.policy.model import API_VERSION, KIND, CanaryPolicy
from analyzer.policy.parse import parse_policy
from analyzer.policy.routes import StageTarget, check_weights, heavier_version, resolve_routes
from analyzer.policy.target import VersionTarget, check_workloads, resolve_workload
from analyzer.policy.versions import Version

HOST = "shop.shop.svc.cluster.local"


def policy(target: dict[str, Any] | None = None, *stages: dict[str, Any]) -> CanaryPolicy:
    spec: dict[str, Any] = {"target": {"virtualService": "shop"} | (target or {})}
    if stages:
        spec["stages"] = list(stages)
    metadata = {"name": "shop", "namespace": "shop"}
    return parse_policy({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})


def route(name: str | None = None, *, match: bool = False, **weights: int | None) -> dict[str, Any]:
    entries = []
    for subset, weight in weights.items():
        entry: dict[str, Any] = {"destination": {"host": "shop", "subset": subset}}
        entries.append(entry if weight is None else entry | {"weight": weight})
    made: dict[str, Any] = {"route": entries}
    if name:
        made["name"] = name
    if match:
        made["match"] = [{"uri": {"prefix": "/"}}]
    return made


def virtual_service(*http: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "shop", "namespace": "shop"}, "spec": {"hosts": ["shop"], "http": list(http)} | spec}


def resolved(made: CanaryPolicy, *http: dict[str, Any]) -> tuple[tuple[Version, Version], tuple[StageTarget, ...]]:
    found = resolve_routes(made, virtual_service(*http))
    assert not isinstance(found, list), found
    return found


def codes(found: object) -> list[Code]:
    assert isinstance(found, list), found
    assert all(isinstance(problem, Problem) for problem in found)
    return [problem.code for problem in found]


@pytest.mark.parametrize(
    ("host", "full"),
    [
        ("shop", HOST),
        ("shop.other", "shop.other"),  # Istio completes only names without a dot
        ("shop.example.com", "shop.example.com"),
        ("*", "*"),
    ],
)
def test_only_a_name_without_a_dot_is_short(host: str, full: str) -> None:
    assert mesh.resolve_host(host, "shop") == full


def test_a_single_destination_has_everything_whatever_its_weight() -> None:
    for weight in (None, 0, 7):
        assert mesh.destinations(route(v1=weight), namespace="shop") == [(HOST, "v1", 100)]


def test_a_weight_that_is_not_written_is_nothing_beside_another() -> None:
    assert [d.weight for d in mesh.destinations(route(v1=100, v2=None))] == [100, 0]


def test_routes_are_seen_in_order_with_names_and_matches() -> None:
    first, second = mesh.find_routes(virtual_service(route("a", match=True, v1=50, v2=50), {"redirect": {}}))
    assert (first.index, first.name, first.matches, first.total) == (0, "a", True, 100)
    assert (second.index, second.name, second.matches, second.destinations) == (1, None, False, ())


def test_the_only_pair_is_the_versions() -> None:
    versions, (stage,) = resolved(policy(), route(v1=90, v2=10))
    assert versions == (Version("v1", HOST, "v1"), Version("v2", HOST, "v2"))
    (moved,) = stage.routes
    assert (moved.name, moved.index, moved.total) == (None, 0, 100)
    assert moved.destination_index == {"v1": 0, "v2": 1}
    assert moved.weights == {"v1": 90, "v2": 10}


def test_the_policy_may_name_versions_in_its_own_order() -> None:
    versions, (stage,) = resolved(policy({"versions": ["v2", "v1"]}), route(v1=90, v2=10))
    assert [version.name for version in versions] == ["v2", "v1"]
    assert stage.routes[0].destination_index == {"v2": 1, "v1": 0}


def test_the_keys_of_deployments_name_versions_too() -> None:
    made = policy({"deployments": {"v2": "b", "v1": "a"}})
    versions, _ = resolved(made, route(v1=90, v2=10))
    assert [version.name for version in versions] == ["v2", "v1"]


def test_versions_may_be_hosts() -> None:
    http = {
        "route": [{"destination": {"host": "shop-v1"}, "weight": 9}, {"destination": {"host": "shop-v2"}, "weight": 1}]
    }
    for target in ({}, {"versions": ["shop-v1", "shop-v2"]}):
        versions, _ = resolved(policy(target), http)
        assert versions[0] == Version("shop-v1", "shop-v1.shop.svc.cluster.local", None)


def test_short_and_full_hosts_are_the_same_version() -> None:
    full = {"destination": {"host": HOST, "subset": "v2"}, "weight": 10}
    http = {"route": [*route(v1=90)["route"], full]}
    _, (stage,) = resolved(policy(), http, route(v1=90, v2=10))
    assert [moved.index for moved in stage.routes] == [0, 1]


def test_without_a_name_every_route_that_splits_both_versions_moves() -> None:
    _, (stage,) = resolved(policy(), route("a", match=True, v1=90, v2=10), route("b", v1=90, v2=10))
    assert [moved.name for moved in stage.routes] == ["a", "b"]
    assert not stage.shared


def test_a_route_that_stays_makes_telemetry_per_route_necessary() -> None:
    _, (stage,) = resolved(policy(), route("a", match=True, v1=90, v2=10), route("b", v1=None))
    assert stage.shared


def test_requests_to_the_host_without_a_subset_come_to_both_versions() -> None:
    bare = {"match": [{"uri": {"prefix": "/raw"}}], "route": [{"destination": {"host": "shop"}}]}
    _, (stage,) = resolved(policy(), bare, route("b", v1=90, v2=10))
    assert stage.shared


def test_a_subset_of_a_host_that_is_a_version_is_that_version() -> None:
    split = {"name": "a", "route": [{"destination": {"host": f"shop-{v}"}, "weight": 50} for v in ("v1", "v2")]}
    part = {"route": [{"destination": {"host": "shop-v2", "subset": "beta"}}]}
    _, (stage,) = resolved(policy({"versions": ["shop-v1", "shop-v2"]}), part, split)
    assert stage.shared


def test_each_stage_has_its_route() -> None:
    made = policy({}, {"route": "a"}, {"route": "b"})
    _, stages = resolved(made, route("a", match=True, v1=50, v2=50), route("b", v1=100, v2=0))
    assert [(stage.name, stage.routes[0].index, stage.shared) for stage in stages] == [("a", 0, True), ("b", 1, True)]


def test_a_pair_on_another_route_does_not_confuse_a_named_stage() -> None:
    made = policy({}, {"route": "b"})
    versions, _ = resolved(made, route("a", match=True, x=50, y=50), route("b", v1=100, v2=0))
    assert [version.name for version in versions] == ["v1", "v2"]


@pytest.mark.parametrize(
    ("target", "http", "code"),
    [
        ({}, [], Code.ONE_VERSION),
        ({}, [route(v1=None)], Code.ONE_VERSION),
        ({}, [route(v1=80, v2=10, v3=10)], Code.VERSIONS_AMBIGUOUS),
        ({}, [route(match=True, v1=80, v2=20), route(v1=80, v3=20)], Code.VERSIONS_AMBIGUOUS),
        ({}, [route(v1=None, match=True), route(v2=None)], Code.VERSIONS_AMBIGUOUS),
        ({"versions": ["v1", "v9"]}, [route(v1=80, v2=20)], Code.VERSION_MISSING),
        ({"versions": ["v1", "v2"]}, [route(v1=None, match=True), route(v2=None)], Code.ROUTE_NOT_SPLIT),
        ({"versions": ["v1", "v2"]}, [route(v1=80, v2=10, v3=10)], Code.EXTRA_DESTINATION),
    ],
    ids=str,
)
def test_a_target_that_is_not_two_versions_is_a_problem(target: Any, http: Any, code: Code) -> None:
    assert codes(resolve_routes(policy(target), virtual_service(*http))) == [code]


def test_a_subset_of_two_services_is_ambiguous() -> None:
    cart = {"route": [{"destination": {"host": "cart", "subset": s}, "weight": 50} for s in ("v1", "v2")]}
    found = resolve_routes(policy({"versions": ["v1", "v2"]}), virtual_service(route(v1=50, v2=50), cart))
    assert codes(found) == [Code.VERSIONS_AMBIGUOUS] * 2


def test_a_missing_route_suggests_the_one_meant() -> None:
    found = resolve_routes(policy({}, {"route": "primry"}), virtual_service(route("primary", v1=90, v2=10)))
    assert codes(found) == [Code.ROUTE_MISSING]
    assert isinstance(found, list)
    assert found[0].mend == "did you mean `primary`?"
    assert found[0].path == ("spec", "stages", 0, "route")


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"tcp": [{}]}, Code.UNSUPPORTED_ROUTE),
        ({"tls": [{}]}, Code.UNSUPPORTED_ROUTE),
        ({"http": [route("a", v1=None), route("a", v2=None)]}, Code.DUPLICATE_ROUTE),
        ({"http": [{"route": route(v1=1)["route"] * 2}]}, Code.DUPLICATE_DESTINATION),
    ],
    ids=str,
)
def test_a_virtual_service_that_cannot_be_moved_safely_is_a_problem(spec: dict[str, Any], code: Code) -> None:
    assert codes(mesh.check_virtual_service({"spec": spec})) == [code]


@pytest.mark.parametrize(
    "spec",
    [None, {}, {"http": None}, {"http": 5}, {"http": ["x", {"route": "y"}]}, {"http": [{"route": [1]}]}],
    ids=str,
)
def test_a_mangled_virtual_service_raises_nothing(spec: Any) -> None:
    broken = {"metadata": 3, "spec": spec}
    assert mesh.check_virtual_service(broken) == []
    assert codes(resolve_routes(policy(), broken)) == [Code.ONE_VERSION]


# --- weights ----------------------------------------------------------------------------------------------------------


def test_the_heavier_version_is_stable() -> None:
    _, stages = resolved(policy(), route(v1=10, v2=90))
    assert heavier_version(stages) == "v2"


def test_everybodys_route_says_more_than_the_insiders() -> None:
    made = policy({}, {"route": "insiders"}, {"route": "primary"})
    _, stages = resolved(made, route("insiders", match=True, v1=0, v2=100), route("primary", v1=99, v2=1))
    assert heavier_version(stages) == "v1"


def test_equal_weights_tell_nothing_unless_the_policy_does() -> None:
    http = route(v1=50, v2=50)
    _, stages = resolved(policy(), http)
    assert heavier_version(stages) is None
    assert codes(check_weights(policy(), stages)) == [Code.STABLE_UNKNOWN]
    assert codes(check_weights(policy({"stable": "v1", "versions": ["v1", "v2"]}), stages)) == []


@pytest.mark.parametrize(("total", "fine"), [(100, True), (1000, True), (20, False), (10, False), (99, False)])
def test_every_step_must_be_a_whole_weight(total: int, fine: bool) -> None:  # noqa: FBT001 - a parameter of the test
    _, stages = resolved(policy(), route(v1=total - 1, v2=1))
    assert codes(check_weights(policy(), stages)) == ([] if fine else [Code.WEIGHTS_INEXPRESSIBLE])


def test_a_small_total_is_enough_for_coarse_steps() -> None:
    made = policy({}, {"weights": [25, 50, 100]})
    _, stages = resolved(made, route(v1=3, v2=1))
    assert check_weights(made, stages) == []


# --- what runs behind -------------------------------------------------------------------------------------------------

SERVICE = {"metadata": {"name": "shop", "namespace": "shop"}, "spec": {"selector": {"app": "shop"}}}
RULE = {
    "metadata": {"name": "shop", "namespace": "shop"},
    "spec": {"host": "shop", "subsets": [{"name": v, "labels": {"version": v}} for v in ("v1", "v2")]},
}
V1 = Version("v1", HOST, "v1")


def deployment(name: str, **labels: str) -> dict[str, Any]:
    template = {"metadata": {"labels": labels}}
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {"template": template}}


def test_labels_lead_from_the_subset_to_its_deployment() -> None:
    deployments = [
        deployment("shop-v1", app="shop", version="v1", extra="x"),
        deployment("cart-v1", app="cart", version="v1"),
    ]
    found = resolve_workload(
        V1, policy().spec.target, destination_rules=[RULE], services=[SERVICE], deployments=deployments
    )
    assert found == VersionTarget("v1", HOST, "v1", "shop-v1", {"app": "shop", "version": "v1"})


def test_a_service_without_a_selector_leads_nowhere() -> None:
    bare = Version("shop", HOST, None)
    service = {"metadata": SERVICE["metadata"], "spec": {}}
    found = resolve_workload(
        bare, policy().spec.target, destination_rules=[], services=[service], deployments=[deployment("a", app="b")]
    )
    assert codes(found) == [Code.DEPLOYMENT_MISSING]


@pytest.mark.parametrize(
    ("rules", "services", "names", "expected"),
    [
        ([], [SERVICE], ["a"], [Code.SUBSET_MISSING]),
        ([RULE], [], ["a"], [Code.SERVICE_MISSING]),
        ([], [], [], [Code.SUBSET_MISSING, Code.SERVICE_MISSING]),
        ([RULE], [SERVICE], [], [Code.DEPLOYMENT_MISSING]),
        ([RULE], [SERVICE], ["a", "b"], [Code.DEPLOYMENT_AMBIGUOUS]),
    ],
    ids=["no subset", "no service", "neither", "no deployment", "two deployments"],
)
def test_what_is_missing_behind_a_version_is_named(
    rules: Any, services: Any, names: list[str], expected: list[Code]
) -> None:
    deployments = [deployment(name, app="shop", version="v1") for name in names]
    found = resolve_workload(
        V1, policy().spec.target, destination_rules=rules, services=services, deployments=deployments
    )
    assert codes(found) == expected


def test_a_named_deployment_needs_no_service() -> None:
    target = policy({"deployments": {"v1": "one", "v2": "two"}}).spec.target
    found = resolve_workload(V1, target, destination_rules=[RULE], services=[], deployments=[deployment("one")])
    assert isinstance(found, VersionTarget)
    assert found.deployment == "one"


def test_one_deployment_cannot_be_both_versions() -> None:
    one, other = (VersionTarget(name, HOST, name, "shop", {}) for name in ("v1", "v2"))
    assert codes(check_workloads(one, other)) == [Code.DEPLOYMENT_SHARED]
