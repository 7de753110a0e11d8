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
    place = {"subresource": subresource, "namespace": right.namespace, "name": right.name}
    reference = {"resource": resource, "apiGroup": right.group} | {key: value for key, value in place.items() if value}
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


def test_a_right_for_all_namespaces_that_is_used_in_serins_own_alone_is_one_too_many() -> None:
    here = STATUS._replace(namespace="serin-system", name="a")
    assert difference(event(LIST), event(WATCH), event(here)).unused == {STATUS}
    there = here._replace(namespace="shop")
    assert difference(event(LIST), event(WATCH), event(there)).unused == frozenset()


def test_a_role_gives_its_rights_in_its_namespace_and_for_the_objects_it_names() -> None:
    role = {
        "kind": "Role",
        "metadata": {"name": "lease", "namespace": "serin-system"},
        "rules": [
            {
                "apiGroups": ["coordination.k8s.io"],
                "resources": ["leases"],
                "resourceNames": ["serin"],
                "verbs": ["get"],
            }
        ],
    }
    binding = {
        **BINDING,
        "kind": "RoleBinding",
        "metadata": {"name": "lease", "namespace": "serin-system"},
        "roleRef": {"kind": "Role", "name": "lease"},
    }
    own = Right("coordination.k8s.io", "leases", "get", "serin-system", "serin")
    others = [own._replace(namespace="shop"), own._replace(name="another"), own._replace(namespace="", name="")]

    def asked(*rights: Right) -> Difference:
        return compare(map(event, rights), [role, binding], namespace="serin-system", name="serin")

    assert asked(own) == Difference(frozenset(), frozenset(), frozenset())
    assert asked(*others) == Difference(frozenset(), missing=frozenset(others), unused=frozenset({own}))


def test_other_accounts_and_discovery_do_not_count() -> None:
    discovery = json.dumps({"verb": "get", "user": {"username": "system:serviceaccount:serin-system:serin"}})
    assert difference(event(PODS, user="admin"), discovery).unused == {LIST, WATCH, STATUS}


def test_a_role_without_a_binding_gives_nothing() -> None:
    assert granted([ROLE, BINDING, OTHER], namespace="serin-system", name="serin") == {LIST, WATCH, STATUS}
    assert not granted([ROLE, OTHER], namespace="serin-system", name="serin")
    assert not granted([ROLE, BINDING], namespace="shop", name="serin")
