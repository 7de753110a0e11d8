"""What kustomize and helm make of deploy/, and that a real API server takes it."""

import copy
import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.install.installed import ROOT, Kubectl, documents, kustomize, program

DEPLOY = ROOT / "deploy"
CLUSTER = DEPLOY / "overlays" / "cluster"
NAMESPACED = DEPLOY / "overlays" / "namespaced"

needs_kubectl = pytest.mark.skipif(program("kubectl") is None, reason="missing: kubectl")
needs_helm = pytest.mark.skipif(program("helm") is None, reason="missing: helm")


def keyed(objects: Iterable[dict[str, Any]]) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"]): obj for obj in objects}


def ordered(objects: dict[tuple[str, str, str], dict[str, Any]]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Put in order what has none of its own: a role's rights, one by one, and environments that do not refer to themselves."""
    made = copy.deepcopy(objects)
    for (kind, _, _), obj in made.items():
        if kind in {"Role", "ClusterRole"}:
            obj["rules"] = sorted(
                (group, resource, rule.get("resourceNames", []), verb)
                for rule in obj["rules"]
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for verb in rule["verbs"]
            )
        if kind == "Deployment":
            environment = obj["spec"]["template"]["spec"]["containers"][0]["env"]
            assert not any("$(" in variable.get("value", "") for variable in environment)
            environment.sort(key=lambda variable: variable["name"])
    return made


def helm(*values: str, namespace: str = "serin-system") -> list[dict[str, Any]]:
    settings = [part for value in values for part in ("--set", value)]
    command = [program("helm") or "helm", "template", "serin", str(DEPLOY / "helm/serin"), "-n", namespace]
    result = subprocess.run([*command, "--kube-version=1.36", *settings], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return documents(result.stdout)


def with_components(folder: Path, *names: str, overlay: str = "cluster") -> Path:
    """Copy deploy/ with components switched on, as the comments in the overlay for the cluster say."""
    here = folder / "deploy"
    shutil.copytree(DEPLOY, here, symlinks=True)
    kustomization = here / "overlays" / overlay / "kustomization.yaml"
    text = kustomization.read_text()
    if overlay == "cluster":
        for name in names:
            assert f"  # - ../../components/{name} " in text
            text = text.replace(f"# - ../../components/{name} ", f"- ../../components/{name} ")
    else:
        text += "".join(["components:\n", *(f"  - ../../components/{name}\n" for name in names)])
    kustomization.write_text(text)
    return kustomization.parent


COMPONENTS = {
    (): [],
    ("monitoring",): ["monitoring.install=true"],
    ("reserve",): ["reserve=true"],
    ("receivers",): ["receivers.secret=serin-receivers"],
    ("monitoring", "receivers", "reserve"): [
        "monitoring.install=true", "reserve=true", "receivers.secret=serin-receivers",
    ],
}  # fmt: skip
"""What is switched on, and the chart's values for it."""


@needs_kubectl
@needs_helm
@pytest.mark.parametrize("components", COMPONENTS, ids="+".join)
def test_helm_and_kustomize_make_the_same_objects(components: tuple[str, ...], tmp_path: Path) -> None:
    by_kustomize = keyed(kustomize(with_components(tmp_path, *components)))
    by_helm = keyed(helm(*COMPONENTS[components]))
    # `helm install --create-namespace` makes it; and helm must not take all policies along when it is uninstalled.
    del by_kustomize["Namespace", "", "serin-system"]
    for name in ("canarypolicies", "canarydefaults"):
        crd = by_helm["CustomResourceDefinition", "", f"{name}.serin.dev"]
        assert crd["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert by_helm.keys() == by_kustomize.keys()
    by_helm, by_kustomize = ordered(by_helm), ordered(by_kustomize)
    for key, obj in by_kustomize.items():
        assert by_helm[key] == obj, key


@needs_kubectl
@needs_helm
@pytest.mark.parametrize("components", [names for names in COMPONENTS if "monitoring" not in names], ids="+".join)
def test_helm_and_kustomize_agree_on_one_namespace(components: tuple[str, ...], tmp_path: Path) -> None:
    values = ["scope=namespace", "crd.install=false", "admission.install=false", *COMPONENTS[components]]
    by_helm = keyed(helm(*values, namespace="shop"))
    by_kustomize = keyed(kustomize(with_components(tmp_path, *components, overlay="namespaced")))
    assert ordered(by_helm) == ordered(by_kustomize)


@needs_helm
def test_helm_takes_webhooks_a_digest_and_more_egress() -> None:
    made = keyed(
        helm(
            "webhooks.oncall=https://alerts.example/hook", "image.digest=sha256:0123", "args={--period=10s}",
            "networkPolicy.egress[0].ports[0].port=9093",
        )
    )  # fmt: skip
    container = made["Deployment", "serin-system", "serin"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "serin@sha256:0123"
    assert container["args"][-2:] == ["--webhook=oncall=https://alerts.example/hook", "--period=10s"]
    assert made["NetworkPolicy", "serin-system", "serin"]["spec"]["egress"][-1] == {"ports": [{"port": 9093}]}


@needs_helm
def test_helm_refuses_a_scope_that_it_does_not_know() -> None:
    with pytest.raises(AssertionError, match="take cluster or namespace"):
        helm("scope=everything")


@needs_kubectl
def test_the_namespace_is_changed_in_one_place(tmp_path: Path) -> None:
    overlay = with_components(tmp_path, "monitoring")
    place = overlay / "serin" / "in-namespace.yaml"
    place.write_text(place.read_text().replace("serin-system", "elsewhere"))
    made = kustomize(overlay)
    assert "serin-system" not in json.dumps([obj for obj in made if obj["kind"] != "CustomResourceDefinition"])
    assert ("Namespace", "", "elsewhere") in keyed(made)
    assert ("Deployment", "elsewhere", "serin") in keyed(made)


@needs_kubectl
def test_nothing_of_the_cluster_has_a_namespace() -> None:
    for kind, namespace, name in keyed(kustomize(CLUSTER)):
        everywhere = kind.startswith(("Cluster", "Validating", "CustomResource")) or kind == "Namespace"
        assert everywhere == (not namespace), (kind, name)


# --- on the server ----------------------------------------------------------------------------------------------------


def test_applying_again_changes_nothing(kubectl: Kubectl) -> None:
    before = keyed(kustomize(CLUSTER))
    lines = kubectl.done("apply", "-k", str(CLUSTER)).splitlines()
    assert len(lines) == len(before)
    # kubectl says "configured" also where the server's defaults were its only difference; generations tell.
    for kind in ("deployment", "poddisruptionbudget", "networkpolicy"):
        assert kubectl.done("-n", "serin-system", "get", kind, "serin", "-o", "jsonpath={.metadata.generation}") == "1"


def test_the_namespaced_installation_is_taken(kubectl: Kubectl) -> None:
    assert "deployment.apps/serin created" in kubectl.done("apply", "--dry-run=server", "-k", str(NAMESPACED))


def test_istio_takes_the_telemetry_resource(kubectl: Kubectl) -> None:
    kubectl("create", "namespace", "istio-system")
    assert "created" in kubectl.done("apply", "--dry-run=server", "-f", str(DEPLOY / "telemetry" / "telemetry.yaml"))


def test_the_pods_are_fit_for_a_restricted_namespace(kubectl: Kubectl) -> None:
    """The namespace enforces it; here the server is asked for a pod, which no controller would make."""
    template = keyed(kustomize(CLUSTER))["Deployment", "serin-system", "serin"]["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "namespace": "serin-system"}, **template}
    pod["metadata"] = {**template["metadata"], "name": "probe", "namespace": "serin-system"}
    answer = kubectl("create", "--dry-run=server", "-f", "-", text=json.dumps(pod))
    assert answer.returncode == 0, answer.stderr
    assert "Warning" not in answer.stderr
    pod["spec"] = {**pod["spec"], "securityContext": {}}
    assert "violates PodSecurity" in kubectl("create", "--dry-run=server", "-f", "-", text=json.dumps(pod)).stderr


ACCOUNT = "--as=system:serviceaccount:serin-system:serin"


@pytest.mark.parametrize(
    ("verb", "resource", "namespace", "allowed"),
    [
        ("patch", "virtualservices.networking.istio.io", "shop", True),
        ("update", "virtualservices.networking.istio.io", "shop", False),
        ("delete", "virtualservices.networking.istio.io", "shop", False),
        ("update", "canarypolicies.serin.dev/status", "shop", True),
        ("update", "canarypolicies.serin.dev", "shop", False),
        ("patch", "deployments.apps", "shop", False),
        ("get", "secrets", "serin-system", False),
        ("create", "leases.coordination.k8s.io", "serin-system", True),
        ("patch", "leases.coordination.k8s.io/serin", "serin-system", True),
        ("patch", "leases.coordination.k8s.io/other", "serin-system", False),
        ("patch", "leases.coordination.k8s.io/serin", "kube-system", False),
    ],
)
def test_the_server_gives_these_rights(
    verb: str, resource: str, namespace: str, *, allowed: bool, kubectl: Kubectl
) -> None:
    name, _, part = resource.partition("/")
    target = [f"{name}/{part}"] if part in {"serin", "other"} else [name, *([f"--subresource={part}"] if part else [])]
    answer = kubectl("auth", "can-i", verb, *target, "-n", namespace, ACCOUNT)
    assert answer.stdout.strip() == ("yes" if allowed else "no"), answer.stderr
