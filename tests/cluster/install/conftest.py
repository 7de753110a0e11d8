"""What the tests of the installation share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.api.apiserver import BINARIES, istio_crds, missing, running_api_server
from tests.cluster.install.installed import ROOT, Kubectl, documents, program
from tests.cluster.install.reading import Readers

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder belongs to `make cluster-test`: it needs programs that `make test` does without."""
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker("cluster")


@pytest.fixture(scope="session")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """An API server into which deploy/overlays/cluster was applied."""
    if lacking := missing() or ("" if program("kubectl") else "missing: kubectl"):
        pytest.skip(lacking)
    crds = documents((BINARIES / "istio-crds.yaml").read_text())
    telemetry = [crd for crd in crds if crd["metadata"]["name"] == "telemetries.telemetry.istio.io"]
    with running_api_server(tmp_path_factory.mktemp("installed"), crds=[*istio_crds(), *telemetry]) as server:
        kubectl = Kubectl(server)
        kubectl.done("apply", "-k", str(ROOT / "deploy" / "overlays" / "cluster"))
        for namespace in ("shop", "helloworld", "helloworld-focused"):
            kubectl.done("create", "namespace", namespace)
        kubectl.done("wait", "--for=condition=Established", "crd/canarypolicies.serin.dev")
        kubectl.until_guarded()
        yield kubectl


@pytest.fixture(scope="session")
def readers() -> Readers:
    """What GitOps tools read objects with."""
    if not (BINARIES / "readers").exists():
        pytest.skip(f"missing in {BINARIES}: readers: make cluster-build")
    return Readers()
