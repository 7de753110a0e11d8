"""Delegates: what telemetry calls their routes, and what is said where that cannot be known."""

from collections.abc import Sequence
from typing import Any

import pytest

from analyzer.policy.findings import Code, Problem
from analyzer.policy.routes import StageTarget, resolve_routes
from analyzer.policy.telling import check_telemetry_names
from tests.policy.test_mesh import codes, policy, route, virtual_service

Object = dict[str, Any]


def root(
    *routes: str | None, name: str = "site", namespace: str = "edge", to: str | None = "shop", **http: Any
) -> Object:
    """Make a root that delegates each of these routes to `shop`."""
    delegate = {"name": "shop"} | ({"namespace": to} if to else {})
    entries = [
        ({"name": r} if r else {}) | {"match": [{"uri": {"prefix": f"/{r}"}}], "delegate": delegate} for r in routes
    ]
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"hosts": ["site.example.com"], "http": [*entries, *http.get("own", [])]},
    }


def delegate(*http: Object, **spec: Any) -> Object:
    made = virtual_service(*http, **spec)
    del made["spec"]["hosts"]
    return made


def stages_of(made: Object, *others: Object, stages: Sequence[Object] = ()) -> tuple[StageTarget, ...]:
    found = resolve_routes(policy({}, *stages), made, others=others)
    assert not isinstance(found, list), found
    return found[1]


def problems_of(made: Object, *others: Object, stages: Sequence[Object] = ()) -> list[Problem]:
    return check_telemetry_names(made, stages_of(made, *others, stages=stages), others=others)


FOCUSED = (route("insiders", match=True, v1=50, v2=50), route("everyone", v1=100, v2=0))
BY_ROUTE = ({"route": "insiders"}, {"route": "everyone"})


# --- names (Istio: `mergeHTTPRoute`) ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roots", "own", "called"),
    [
        (["site"], "everyone", {"site-everyone"}),
        ([None], "everyone", {"everyone"}),
        (["site"], None, {"site"}),
        (["shop", "cart"], "everyone", {"shop-everyone", "cart-everyone"}),
        ([None], None, None),
        (["shop", None], None, None),
    ],
)
def test_a_delegates_route_has_the_joined_names(
    roots: list[str | None], own: str | None, called: set[str] | None
) -> None:
    (stage,) = stages_of(delegate(route(own, v1=90, v2=10)), root(*roots))
    assert stage.routes[0].name == own  # what the weight patch tests
    assert stage.telemetry == called


def test_a_root_in_the_delegates_namespace_needs_to_name_none() -> None:
    (stage,) = stages_of(delegate(route("all", v1=90, v2=10)), root("r", namespace="shop", to=None))
    assert stage.telemetry == frozenset({"r-all"})


def test_several_roots_each_give_a_name() -> None:
    roots = [root("one", namespace="a"), root("two", namespace="b")]
    (stage,) = stages_of(delegate(route("all", v1=90, v2=10)), *roots)
    assert stage.telemetry == frozenset({"one-all", "two-all"})
    assert not stage.shared


def test_the_delegate_of_somebody_else_is_not_ours() -> None:
    elsewhere = root("r", to="cart")
    (stage,) = stages_of(delegate(route("all", v1=90, v2=10)), elsewhere)
    assert stage.telemetry is None


def test_one_with_hosts_is_no_delegate_whoever_delegates_to_it() -> None:
    made = virtual_service(route("all", v1=90, v2=10))
    (stage,) = stages_of(made, root("site"))
    assert stage.telemetry == frozenset({"all"})


def test_each_stage_of_a_delegate_has_its_own_names() -> None:
    insiders, everyone = stages_of(delegate(*FOCUSED), root("site"), stages=BY_ROUTE)
    assert (insiders.telemetry, insiders.shared) == (frozenset({"site-insiders"}), True)
    assert (everyone.telemetry, everyone.shared) == (frozenset({"site-everyone"}), True)
    assert problems_of(delegate(*FOCUSED), root("site"), stages=BY_ROUTE) == []


# --- who else leads there ---------------------------------------------------------------------------------------------

FULL = "shop.shop.svc.cluster.local"


def to_stable(name: str | None = None) -> Object:
    made: Object = {"route": [{"destination": {"host": FULL, "subset": "v1"}}]}
    return made | ({"name": name} if name else {})


def test_a_roots_own_route_to_a_version_makes_it_shared() -> None:
    made = delegate(route("all", v1=90, v2=10))
    (stage,) = stages_of(made, root("site", own=[to_stable()]))
    assert stage.shared
    (stage,) = stages_of(made, root("site", own=[{"route": [{"destination": {"host": "cart"}}]}]))
    assert not stage.shared


def test_another_delegate_of_the_same_root_makes_it_shared() -> None:
    other = {"metadata": {"name": "vip", "namespace": "edge"}, "spec": {"http": [to_stable("vip")]}}
    made = root("site")
    made["spec"]["http"].insert(0, {"name": "first", "delegate": {"name": "vip"}})
    (stage,) = stages_of(delegate(route("all", v1=90, v2=10)), made, other)
    assert (stage.shared, stage.telemetry) == (True, frozenset({"site-all"}))


def test_a_name_that_another_route_has_too_tells_nothing() -> None:
    made = delegate(route(None, match=True, v1=50, v2=50), route(None, v1=None))  # both become `site`
    assert codes(problems_of(made, root("site"))) == [Code.ROUTE_UNNAMED]
    clash = root("site", own=[to_stable("site-all")])
    assert codes(problems_of(delegate(route("all", v1=90, v2=10)), clash)) == [Code.ROUTE_UNNAMED]


# --- what cannot be known ---------------------------------------------------------------------------------------------


def test_a_delegate_that_serves_nobody_else_needs_no_root() -> None:
    made = delegate(route("all", v1=90, v2=10))
    assert problems_of(made) == []


def test_without_its_root_a_focused_delegate_is_refused_and_says_what_to_do() -> None:
    found = problems_of(delegate(*FOCUSED), stages=BY_ROUTE)
    assert codes(found) == [Code.ROOT_UNSEEN] * 2
    assert "`<the root's route>-insiders`" in found[0].message
    assert "--namespace" in found[0].mend


@pytest.mark.parametrize(
    ("exported", "hidden"),
    [
        (["."], True),
        (["other"], True),
        (["~"], True),
        (["*"], False),
        (["edge"], False),
        ([".", "edge"], False),
        ([], False),
    ],
)
def test_a_delegate_that_its_root_may_not_see_is_a_problem(exported: list[str], hidden: bool) -> None:  # noqa: FBT001 - a parameter of the test
    made = delegate(*FOCUSED, exportTo=exported)
    found = problems_of(made, root("site"), stages=BY_ROUTE)
    assert codes(found) == ([Code.DELEGATE_HIDDEN] if hidden else [])
    if hidden:
        assert found[0].path == ("spec", "exportTo")
        assert "edge/site" in found[0].message


@pytest.mark.parametrize(
    ("others", "unnamed"), [([route(v1=None, match=True)], True), ([], False), ([{"redirect": {}}], False)]
)
def test_a_route_without_a_name_is_refused_where_its_versions_serve_others(others: Any, unnamed: bool) -> None:  # noqa: FBT001 - a parameter of the test
    found = problems_of(virtual_service(*others, route(v1=90, v2=10)))
    assert codes(found) == ([Code.ROUTE_UNNAMED] if unnamed else [])


# --- a policy at the root ---------------------------------------------------------------------------------------------


def test_a_policy_at_the_root_is_sent_to_the_delegate() -> None:
    made = root("site", name="shop", namespace="shop", to="team")
    found = resolve_routes(policy(), made)
    assert codes(found) == [Code.WEIGHTS_DELEGATED]
    assert isinstance(found, list)
    assert "team/shop" in found[0].message
    assert found[0].mend == "write the policy into namespace team, with `virtualService: shop`"


def test_in_its_own_namespace_only_the_name_changes() -> None:
    made = root("site", name="site", namespace="shop", to=None)
    found = resolve_routes(policy({"virtualService": "site"}), made)
    assert isinstance(found, list)
    assert found[0].mend == "write `virtualService: shop`"


def test_a_root_may_hold_weights_of_its_own() -> None:
    made = root("other", name="shop", namespace="shop", own=[route("primary", v1=90, v2=10)])
    (stage,) = stages_of(made)
    assert [(r.name, r.index) for r in stage.routes] == [("primary", 1)]
    assert not stage.shared
    beside = delegate(route("x", v1=None))
    (stage,) = stages_of(root("other", name="main", namespace="shop", own=[route("primary", v1=90, v2=10)]), beside)
    assert stage.shared
