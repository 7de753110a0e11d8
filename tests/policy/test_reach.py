"""Whose requests a VirtualService splits."""

from typing import Any

import pytest

from analyzer.policy.findings import Code
from analyzer.policy.reach import check_reach, gateways_of
from tests.policy.test_delegation import delegate, root, to_stable
from tests.policy.test_mesh import policy as made_policy
from tests.policy.test_mesh import resolved, route, virtual_service

VERSIONS, _ = resolved(made_policy(), route(v1=90, v2=10))


def codes(made: dict[str, Any], *others: dict[str, Any]) -> list[Code]:
    return [problem.code for problem in check_reach(made, VERSIONS, others=others)]


def service(**spec: Any) -> dict[str, Any]:
    return virtual_service(route("primary", v1=90, v2=10), **spec)


def other(*http: Any, name: str = "public", namespace: str = "edge", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"hosts": ["shop.example.com"], "gateways": ["site"], "http": list(http)} | spec,
    }


@pytest.mark.parametrize(
    ("gateways", "expected"),
    [(None, ["mesh"]), ([], ["mesh"]), (["mesh", "gw", "edge/gw"], ["mesh", "shop/gw", "edge/gw"])],
)
def test_without_gateways_it_is_for_the_mesh(gateways: list[str] | None, expected: list[str]) -> None:
    assert gateways_of(service(gateways=gateways)) == expected


@pytest.mark.parametrize(
    ("hosts", "gateways", "warned"),
    [
        (["shop"], None, False),
        (["shop.shop.svc.cluster.local"], ["mesh"], False),
        (["shop.example.com"], None, True),
        (["*"], ["mesh"], True),
        (["shop", "*.example.com"], None, True),
        (["shop.example.com"], ["edge/site"], False),
        (["shop.example.com"], ["edge/site", "mesh"], False),
    ],
)
def test_a_public_host_without_a_gateway_is_not_seen_by_an_ingress(
    hosts: list[str],
    gateways: Any,
    warned: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    assert codes(service(hosts=hosts, gateways=gateways)) == ([Code.MESH_ONLY] if warned else [])


def test_two_for_one_host_only_one_is_moved() -> None:
    made = service(hosts=["shop.example.com"])
    twin = other(to_stable())
    (problem,) = check_reach(made, VERSIONS, others=[twin])
    assert problem.code is Code.ANOTHER_WAY
    assert "VirtualService edge/public (for edge/site) leads to the same versions" in problem.message
    assert "its weights are not moved" in problem.message


def test_one_that_leads_to_the_host_without_a_subset_is_another_way_too() -> None:
    bare = other({"route": [{"destination": {"host": "shop.shop.svc.cluster.local"}}]})
    assert codes(service(), bare) == [Code.ANOTHER_WAY]
    elsewhere = other({"route": [{"destination": {"host": "shop"}}]})  # of namespace edge
    assert codes(service(), elsewhere) == []


def test_roots_and_delegates_are_no_other_way() -> None:
    assert codes(delegate(route(v1=90, v2=10)), root("site", own=[to_stable()])) == []
    assert codes(delegate(route(v1=90, v2=10)), root("site"), other(to_stable())) == [Code.ANOTHER_WAY]
    main = other({"delegate": {"name": "shop", "namespace": "shop"}}, route("primary", v1=90, v2=10), name="main")
    assert codes(main, delegate(to_stable())) == []


@pytest.mark.parametrize(
    ("exported", "gateways", "warned"),
    [
        (["."], ["edge/site"], True),
        ([".", "edge"], ["edge/site"], False),
        (["*"], ["edge/site"], False),
        (["."], ["site", "mesh"], False),
        (["~"], None, True),
        (None, ["edge/site"], False),
    ],
)
def test_what_is_not_exported_to_a_gateway_is_not_seen_there(exported: Any, gateways: Any, warned: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert codes(service(exportTo=exported, gateways=gateways)) == ([Code.EXPORT_HIDES] if warned else [])
