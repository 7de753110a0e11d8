"""What the tests of the installation share."""

from collections.abc import Iterator

import pytest

from tests.cluster.apiserver import istio_crds, missing, running_api_server
from tests.cluster.installed import ROOT, Kubectl, eventually, program

ENDLESS = """
apiVersion: serin.dev/v1alpha1
kind: CanaryPolicy
metadata: {name: probe, namespace: shop}
spec: {target: {virtualService: shop}, stages: [{weights: [10, 50]}]}
"""


@pytest.fixture(scope="session")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """An API server into which deploy/overlays/cluster was applied."""
    if lacking := missing() or ("" if program("kubectl") else "missing: kubectl"):
        pytest.skip(lacking)
    with running_api_server(tmp_path_factory.mktemp("installed"), crds=istio_crds()) as server:
        kubectl = Kubectl(server)
        kubectl.done("apply", "-k", str(ROOT / "deploy" / "overlays" / "cluster"))
        for namespace in ("shop", "helloworld", "helloworld-focused"):
            kubectl.done("create", "namespace", namespace)
        refused = lambda: kubectl("apply", "--dry-run=server", "-f", "-", text=ENDLESS).returncode != 0  # noqa: E731
        kubectl.done("wait", "--for=condition=Established", "crd/canarypolicies.serin.dev")
        eventually(refused, "the admission policies are in force")
        yield kubectl
