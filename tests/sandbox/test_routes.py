import pytest

from analyzer.errors import PolicyError
from analyzer.ports import Object
from analyzer.sandbox.routes import build_match, build_routes

V1 = "outbound|5000|v1|helloworld.shop.svc.cluster.local"
V2 = "outbound|5000|v2|helloworld.shop.svc.cluster.local"


def routes_of(virtual_service: Object, service: Object) -> list[Object]:
    (host,) = build_routes([virtual_service], [service])["virtual_hosts"]
    return list(host["routes"])


def set_weights(virtual_service: Object, *weights: int) -> None:
    for destination, weight in zip(virtual_service["spec"]["http"][0]["route"], weights, strict=True):
        destination["weight"] = weight


def test_weights_become_weighted_clusters_under_the_route_s_name(virtual_service: Object, service: Object) -> None:
    (route,) = routes_of(virtual_service, service)
    assert route == {
        "name": "primary",
        "match": {"prefix": "/"},
        "route": {
            "weighted_clusters": {"clusters": [{"name": V1, "weight": 90}, {"name": V2, "weight": 10}]},
            "timeout": "0s",
        },
    }


def test_a_destination_of_weight_zero_is_dropped(virtual_service: Object, service: Object) -> None:
    set_weights(virtual_service, 100, 0)
    assert routes_of(virtual_service, service)[0]["route"] == {"cluster": V1, "timeout": "0s"}


def test_a_single_destination_needs_no_weight(virtual_service: Object, service: Object) -> None:
    virtual_service["spec"]["http"][0]["route"] = [{"destination": {"host": "helloworld"}}]
    expected = "outbound|5000||helloworld.shop.svc.cluster.local"
    assert routes_of(virtual_service, service)[0]["route"]["cluster"] == expected


def test_all_weights_zero_are_refused(virtual_service: Object, service: Object) -> None:
    set_weights(virtual_service, 0, 0)
    with pytest.raises(PolicyError, match=r"VirtualService shop/helloworld: http route 'primary': all weights are 0"):
        routes_of(virtual_service, service)


def test_matches_are_or_and_their_conditions_are_and(virtual_service: Object, service: Object) -> None:
    virtual_service["spec"]["http"][0]["match"] = [
        {"name": "beta", "uri": {"prefix": "/a"}, "headers": {"x-user": {"exact": "me"}}},
        {"uri": {"exact": "/b"}, "method": {"exact": "POST"}},
    ]
    first, second = routes_of(virtual_service, service)
    assert (first["name"], second["name"]) == ("primary.beta", "primary")
    assert first["match"] == {"prefix": "/a", "headers": [{"name": "x-user", "string_match": {"exact": "me"}}]}
    assert second["match"] == {"path": "/b", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]}


def test_a_regex_is_matched_as_a_whole(virtual_service: Object, service: Object) -> None:
    match = build_match({"headers": {"cookie": {"regex": "^(.*?;)?(email=.*)$"}}}, where="a test")
    assert match["headers"] == [{"name": "cookie", "string_match": {"safe_regex": {"regex": "^(.*?;)?(email=.*)$"}}}]


def test_a_header_without_a_condition_has_only_to_be_there() -> None:
    assert build_match({"headers": {"x-debug": {}}}, where="a test")["headers"] == [
        {"name": "x-debug", "present_match": True}
    ]


def test_without_headers_is_the_inverse() -> None:
    (header,) = build_match({"withoutHeaders": {"x-bot": {"exact": "1"}}}, where="a test")["headers"]
    assert header == {"name": "x-bot", "string_match": {"exact": "1"}, "invert_match": True}


@pytest.mark.parametrize("field", ["fault", "mirror", "rewrite", "retries"])
def test_what_is_not_modelled_is_refused(field: str, virtual_service: Object, service: Object) -> None:
    virtual_service["spec"]["http"][0][field] = {}
    with pytest.raises(PolicyError, match=f"http route 'primary': the sandbox does not model {field}: leave it out"):
        routes_of(virtual_service, service)


def test_a_host_that_is_no_service_is_refused(virtual_service: Object) -> None:
    with pytest.raises(PolicyError, match=r"'helloworld' is no Service \(helloworld.shop.svc.cluster.local\)"):
        build_routes([virtual_service], [])


def test_a_service_with_several_ports_needs_one_named(virtual_service: Object, service: Object) -> None:
    service["spec"]["ports"].append({"name": "admin", "port": 9000})
    with pytest.raises(PolicyError, match="has several ports"):
        routes_of(virtual_service, service)
    for destination in virtual_service["spec"]["http"][0]["route"]:
        destination["destination"]["port"] = {"number": 9000}
    (first, _) = routes_of(virtual_service, service)[0]["route"]["weighted_clusters"]["clusters"]
    assert first["name"] == "outbound|9000|v1|helloworld.shop.svc.cluster.local"


def test_one_host_belongs_to_one_virtual_service(virtual_service: Object, service: Object) -> None:
    other = {**virtual_service, "metadata": {"name": "other", "namespace": "shop"}}
    with pytest.raises(PolicyError, match=r"shop/helloworld and shop/other both claim host 'hello.example.com'"):
        build_routes([virtual_service, other], [service])


def test_a_virtual_service_of_the_mesh_is_not_the_gateway_s(virtual_service: Object, service: Object) -> None:
    del virtual_service["spec"]["gateways"]
    assert build_routes([virtual_service], [service])["virtual_hosts"] == []


def test_a_short_host_is_one_of_its_namespace(virtual_service: Object, service: Object) -> None:
    virtual_service["spec"]["hosts"] = ["helloworld"]
    (host,) = build_routes([virtual_service], [service])["virtual_hosts"]
    assert host["domains"] == ["helloworld.shop.svc.cluster.local"]
