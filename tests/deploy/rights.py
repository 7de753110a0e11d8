"""What an account did, by the API server's audit log, against what the manifests let it do."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

Object = Mapping[str, Any]


class Right(NamedTuple):
    """One verb on one resource, given or asked for.

    Attributes
    ----------
    resource
        A subresource is written as in a role, `canarypolicies/status`.
    namespace
        The only one; empty: all.
    name
        The only object; empty: any, and for what is asked of no object by its name (to list, to watch, to create).
    """

    group: str
    resource: str
    verb: str
    namespace: str = ""
    name: str = ""

    def allows(self, asked: "Right") -> bool:
        """Tell whether this right, as given, allows what was asked for."""
        same = (self.group, self.resource, self.verb) == (asked.group, asked.resource, asked.verb)
        return same and self.namespace in {"", asked.namespace} and self.name in {"", asked.name}

    def __str__(self) -> str:
        what = f"{self.verb} {self.resource}.{self.group or 'core'}"
        return what + (f" {self.name}" if self.name else "") + (f" in {self.namespace}" if self.namespace else "")


@dataclass(frozen=True, slots=True)
class Difference:
    """What does not fit.

    Attributes
    ----------
    refused
        Asked for, and refused by the server.
    missing
        Used, and not in the manifests (another role had it).
    unused
        In the manifests, and not used. One for all namespaces is used by what is asked of all, or of another than Serin's own:
        for its own, a Role there would do.
    """

    refused: frozenset[Right]
    missing: frozenset[Right]
    unused: frozenset[Right]


def used(audit_log: Iterable[str], account: str) -> tuple[frozenset[Right], frozenset[Right]]:
    """Return what the account did, and what it was forbidden, from an audit log of one event a line."""
    allowed, forbidden = set[Right](), set[Right]()
    for line in audit_log:
        event = json.loads(line)
        reference = event.get("objectRef")
        if event["user"]["username"] != account or reference is None or "resource" not in reference:
            continue
        resource = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
        place = reference.get("namespace", ""), reference.get("name", "")
        right = Right(reference.get("apiGroup", ""), resource, event["verb"], *place)
        decision = event.get("annotations", {}).get("authorization.k8s.io/decision")
        (forbidden if decision == "forbid" else allowed).add(right)
    return frozenset(allowed), frozenset(forbidden)


def granted(manifests: Iterable[Object], *, namespace: str, name: str) -> frozenset[Right]:
    """Return what the roles among the manifests give to a ServiceAccount."""
    objects = list(manifests)
    roles = {
        (obj["kind"], obj["metadata"]["name"]): obj["rules"]
        for obj in objects
        if obj["kind"] in {"Role", "ClusterRole"}
    }
    bound = [
        (
            (obj["roleRef"]["kind"], obj["roleRef"]["name"]),
            "" if obj["kind"] == "ClusterRoleBinding" else obj["metadata"]["namespace"],
        )
        for obj in objects
        if obj["kind"] in {"RoleBinding", "ClusterRoleBinding"}
        for subject in obj["subjects"]
        if (subject["kind"], subject["namespace"], subject["name"]) == ("ServiceAccount", namespace, name)
    ]
    return frozenset(
        Right(group, resource, verb, place, object_name)
        for role, place in bound
        for rule in roles[role]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for object_name in rule.get("resourceNames", [""])
    )


def compare(audit_log: Iterable[str], manifests: Iterable[Object], *, namespace: str, name: str) -> Difference:
    """Compare what a ServiceAccount did with what it may."""
    did, refused = used(audit_log, f"system:serviceaccount:{namespace}:{name}")
    may = granted(manifests, namespace=namespace, name=name)
    missing = {asked for asked in did if not any(right.allows(asked) for right in may)}
    needed = {
        right
        for right in may
        if any(right.allows(asked) and (right.namespace or asked.namespace != namespace) for asked in did)
    }
    return Difference(refused=refused, missing=frozenset(missing), unused=may - needed)
