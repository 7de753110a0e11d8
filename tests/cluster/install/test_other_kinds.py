"""Resources of other projects' kinds, on a server that has their definitions: nothing unknown in them, nothing wrong."""

import re
from pathlib import Path

import pytest

from tests.cluster.api.apiserver import BINARIES
from tests.cluster.install.installed import Kubectl, documents
from tests.cluster.install.test_manifests import DEPLOY, with_components

KINDS = {
    "argocd-crds.yaml": ["gitops/argocd/application.yaml"],
    "flux-crds.yaml": ["gitops/flux/kustomization.yaml"],
    "prometheus-crds.yaml": ["components/monitoring/podmonitor.yaml", "components/monitoring/prometheusrule.yaml"],
}


@pytest.fixture(scope="module")
def with_kinds(kubectl: Kubectl) -> Kubectl:
    """The server, with the definitions as these projects ship them."""
    for name in KINDS:
        kubectl.server.apply_crds(documents((BINARIES / name).read_text()))
    for namespace in ("argocd", "flux-system"):
        kubectl("create", "namespace", namespace)
    return kubectl


FILES = [file for files in KINDS.values() for file in files]


@pytest.mark.parametrize("file", FILES)
def test_the_server_takes(file: str, with_kinds: Kubectl) -> None:
    answer = with_kinds("apply", "--dry-run=server", "--validate=strict", "-f", str(DEPLOY / file))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "created (server dry run)" in answer.stdout


@pytest.mark.parametrize("file", FILES)
def test_a_field_that_is_misspelt_there_would_be_refused(file: str, with_kinds: Kubectl) -> None:
    text = re.sub(r"(?m)^spec:$", "spec:\n  unheardOf: true", (DEPLOY / file).read_text())
    answer = with_kinds("apply", "--dry-run=server", "--validate=strict", "-f", "-", text=text)
    assert 'unknown field "spec.unheardOf"' in answer.stderr


def test_the_monitoring_component_is_applied(with_kinds: Kubectl, tmp_path: Path) -> None:
    with_kinds.done("apply", "-k", str(with_components(tmp_path, "monitoring")))
    for kind in ("podmonitor", "prometheusrule", "configmap/serin-dashboard"):
        name = kind if "/" in kind else f"{kind}/serin"
        assert with_kinds.done("-n", "serin-system", "get", name, "-o", "name")
