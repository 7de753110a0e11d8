"""One real API server for all tests of this folder. They need neither a network namespace nor Istio's processes."""

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.adapters.cluster_contract")

from tests.adapters.cluster_contract import NAMESPACE, OTHER_NAMESPACE  # noqa: E402  its asserts are to be rewritten first
from tests.cluster.api.apiserver import ApiServer, missing, running_api_server  # noqa: E402  as above


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave what needs the programs of the cluster to `make cluster-test`."""
    for item in items:
        if "api_server" in getattr(item, "fixturenames", ()):
            item.add_marker("cluster")


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server with Istio's CRDs, Serin's, and the two namespaces of the contract."""
    if what := missing():
        pytest.fail(f"{what}: make cluster-build", pytrace=False)
    with running_api_server(tmp_path_factory.mktemp("apiserver")) as server:
        for namespace in (NAMESPACE, OTHER_NAMESPACE):
            server.apply(
                f"/api/v1/namespaces/{namespace}",
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
            )
        yield server
