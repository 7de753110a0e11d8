import json

from tests.deploy.rights import Difference, Right, compare, granted

ROLE = {
    "kind": "ClusterRole",
    "metadata": {"name": "serin"},
    "rules": [
        {"apiGroups": ["serin.dev"], "resources": ["canarypolicies"], "verbs": ["list", "watch"]},
        {"apiGroups": ["serin.dev"], "resources": ["canarypolicies/status"], "verbs": ["update"]},
    ],
}
BINDING = {
    "kind": "ClusterRoleBinding",
    "roleRef": {"kind": "ClusterRole", "name": "serin"},
    "subjects": [{"kind": "ServiceAccount", "namespace": "serin-system", "name": "serin"}],
}
OTHER = {
    "kind": "ClusterRole",
    "metadata": {"name": "other"},
    "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}],
}

LIST = Right("serin.dev", "canarypolicies", "list")
WATCH = Right("serin.dev", "canarypolicies", "watch")
STATUS = Right("serin.dev", "canarypolicies/status", "update")
PODS = Right("", "pods", "list")


def event(right: Right, *, user: str = "system:serviceaccount:serin-system:serin", decision: str = "allow") -> str:
    resource, _, subresource = right.resource.partition("/")
    reference = {"resource": resource, "apiGroup": right.group} | ({"subresource": subresource} if subresource else {})
    annotations = {"authorization.k8s.io/decision": decision}
    return json.dumps(
        {"verb": right.verb, "user": {"username": user}, "objectRef": reference, "annotations": annotations}
    )


def difference(*audit_log: str) -> Difference:
    return compare(audit_log, [ROLE, BINDING, OTHER], namespace="serin-system", name="serin")


def test_nothing_is_different_where_all_rights_were_used() -> None:
    assert difference(event(LIST), event(WATCH), event(STATUS), event(LIST)) == Difference(
        frozenset(), frozenset(), frozenset()
    )


def test_a_right_that_was_never_used_is_found() -> None:
    assert difference(event(LIST), event(STATUS)).unused == {WATCH}


def test_a_request_that_the_manifests_do_not_allow_is_found() -> None:
    assert difference(event(PODS)).missing == {PODS}
    assert difference(event(PODS, decision="forbid")).refused == {PODS}


def test_other_accounts_and_discovery_do_not_count() -> None:
    discovery = json.dumps({"verb": "get", "user": {"username": "system:serviceaccount:serin-system:serin"}})
    assert difference(event(PODS, user="admin"), discovery).unused == {LIST, WATCH, STATUS}


def test_a_role_without_a_binding_gives_nothing() -> None:
    assert granted([ROLE, BINDING, OTHER], namespace="serin-system", name="serin") == {LIST, WATCH, STATUS}
    assert not granted([ROLE, OTHER], namespace="serin-system", name="serin")
    assert not granted([ROLE, BINDING], namespace="shop", name="serin")
