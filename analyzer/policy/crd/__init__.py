"""The CustomResourceDefinitions of `CanaryPolicy` and `CanaryDefaults`, made from the model.

The server writes no defaults into a policy: the object stays what the user wrote, a GitOps tool sees no difference, and a
policy that is silent on a field has the default of the Serin that runs, not of the one that ran when it was applied.

One exception: a status that Serin has not written yet says that it speaks of no generation. Without it whoever waits by the
rules of kstatus (Flux, say) would take a policy that nobody looked at for one that is done.

`.status` is open at every level: a newer Serin under an older definition must lose nothing that it remembers, and must not
have a write of its status refused for a word that the definition does not know.
"""

from typing import Any

from analyzer.policy.crd.rules import ACROSS_FIELDS, NAMED_DEFAULT
from analyzer.policy.crd.status import STATUS
from analyzer.policy.crd.structural import Schema, structural
from analyzer.policy.model import API_VERSION, DEFAULTS_KIND, KIND, CanaryDefaults, CanaryPolicy
from analyzer.policy.schema import kind_schema
from analyzer.policy.server import SERVER_RULES

_GROUP, _VERSION = API_VERSION.split("/")


def crd() -> dict[str, Any]:
    """Build the CustomResourceDefinition of policies."""
    names = {
        "kind": KIND,
        "listKind": f"{KIND}List",
        "plural": "canarypolicies",
        "singular": KIND.lower(),
        "shortNames": ["cpol"],  # `canary` and `canaries` belong to others
        "categories": ["serin"],
    }
    schema = _schema(kind_schema(CanaryPolicy), "Spec")
    schema["properties"]["status"] = STATUS | {"default": {"observedGeneration": -1}}
    return _definition(names, schema, _columns(), subresources={"status": {}})


def defaults_crd() -> dict[str, Any]:
    """Build the CustomResourceDefinition of defaults."""
    names = {
        "kind": DEFAULTS_KIND,
        "listKind": f"{DEFAULTS_KIND}List",
        "plural": DEFAULTS_KIND.lower(),
        "singular": DEFAULTS_KIND.lower(),
        "shortNames": ["cdef"],
        "categories": ["serin"],
    }
    schema = _schema(kind_schema(CanaryDefaults), "Behaviour")
    schema[SERVER_RULES] = [NAMED_DEFAULT]
    columns = [
        _column("Mode", ".spec.mode", "What Serin does with its decisions."),
        _column("Paused", ".spec.suspend", "Whether policies hold all but rollbacks.", type="boolean"),
        _column("Age", ".metadata.creationTimestamp", "When it was made.", type="date"),
    ]
    return _definition(names, schema, columns)


def _definition(
    names: dict[str, Any], schema: Schema, columns: list[dict[str, Any]], **more: dict[str, Any]
) -> dict[str, Any]:
    version = {
        "name": _VERSION,
        "served": True,
        "storage": True,
        **more,
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{names['plural']}.{_GROUP}",
            "labels": {"app.kubernetes.io/name": "serin", "app.kubernetes.io/part-of": "serin"},
        },
        "spec": {"group": _GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def _schema(whole: dict[str, Any], spec: str) -> Schema:
    root: Schema = {
        "type": "object",
        "description": whole["description"],
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural({"$ref": f"#/$defs/{spec}"}, whole["$defs"]),
        },
    }
    fields = root["properties"]["spec"]["properties"]
    for path, rule in ACROSS_FIELDS:
        if path.split(".")[1] in fields:
            _at(root, path).setdefault(SERVER_RULES, []).append(rule)
    return root


def _at(root: Schema, path: str) -> Schema:
    node = root
    for name in path.split("."):
        node = node["properties"][name]
    return node


def _columns() -> list[dict[str, Any]]:
    return [
        _column("Target", ".spec.target.virtualService", "The VirtualService whose weights are moved."),
        _column("Phase", ".status.phase", "Where the rollout is in its life."),
        _column("Weight", ".status.weight", "The canary's share of the active stage [per cent].", type="integer"),
        _column("Verdict", ".status.verdict", "What the evidence amounts to so far."),
        _column("Step", ".status.step", "Stage and weight."),
        _column("Since", ".status.since", "When phase or weights changed last.", type="date"),
        _column("Reason", ".status.reason", "Why the phase is what it is.", priority=1),
        _column(
            "Samples", ".status.evidence.canary.requests", "Requests of the canary judged.", type="integer", priority=1
        ),
        _column(
            "Suspended", ".spec.suspend", "Whether the policy holds all but rollbacks.", type="boolean", priority=1
        ),
        _column("Paused", ".status.paused.by", "Who asked to hold all but rollbacks.", priority=1),
    ]


def _column(name: str, path: str, text: str, *, type: str = "string", priority: int = 0) -> dict[str, Any]:  # noqa: A002 - the field's own name
    column: dict[str, Any] = {"name": name, "type": type, "jsonPath": path, "description": text}
    return column | ({"priority": priority} if priority else {})
