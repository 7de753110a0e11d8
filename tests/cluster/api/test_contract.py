"""The contract of `ports.Cluster`, kept by a real API server."""

from collections.abc import AsyncIterator

import pytest

from analyzer.adapters.kube import Credentials, KubeCluster, connect
from analyzer.ports import CANARY_POLICY, EVENT, VIRTUAL_SERVICE, Cluster, Kind, Object, Ref
from tests.adapters.cluster_contract import (
    NAMESPACE,
    OTHER_NAMESPACE,
    ClusterContract,
)
from tests.cluster.api.apiserver import ApiServer

KINDS = {kind.kind: kind for kind in (CANARY_POLICY, VIRTUAL_SERVICE, EVENT)}


def path(kind: Kind, namespace: str, name: str = "") -> str:
    base = f"/apis/{kind.api_version}/namespaces/{namespace}/{kind.plural}"
    return f"{base}/{name}" if name else base


class TestRealApiServer(ClusterContract):
    @pytest.fixture(autouse=True)
    def server(self, api_server: ApiServer) -> ApiServer:
        self.api = api_server
        for kind in KINDS.values():
            for namespace in (NAMESPACE, OTHER_NAMESPACE):
                api_server.call("DELETE", path(kind, namespace))
        return api_server

    @pytest.fixture
    async def cluster(self, server: ApiServer) -> AsyncIterator[Cluster]:
        async with connect(Credentials(str(server.kubeconfig()))) as cluster:
            assert isinstance(cluster, KubeCluster)
            yield cluster

    async def apply(self, cluster: Cluster, obj: Object) -> Object:
        kind, namespace = KINDS[obj["kind"]], obj["metadata"]["namespace"]
        self.api.apply(path(kind, namespace, obj["metadata"]["name"]), obj)
        return await cluster.get(Ref(kind, namespace, obj["metadata"]["name"]))

    async def delete(self, cluster: Cluster, ref: Ref) -> None:
        self.api.call("DELETE", path(ref.kind, ref.namespace, ref.name))

    async def expired_version(self, cluster: Cluster) -> str:
        return "1"
