"""The reserve on a real API server: held, put back to the letter, and never written over somebody else's change."""

from collections.abc import AsyncIterator

import pytest

from analyzer.adapters.kube import Credentials, KubeCluster, connect
from analyzer.app.reserve import ANNOTATION, hold_operations, read_reserve, release_operations
from analyzer.errors import ConflictError
from analyzer.ports import HORIZONTAL_POD_AUTOSCALER, Ref
from tests.app.model import NAMESPACE
from tests.cluster.api.apiserver import ApiServer
from tests.cluster.api.real_mesh import RealMesh

HPA = Ref(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, "helloworld-v1")
POLICY = f"{NAMESPACE}/helloworld"
NOW_S = 1_800_000_000.0


@pytest.fixture
async def cluster(api_server: ApiServer) -> AsyncIterator[KubeCluster]:
    RealMesh(api_server)
    async with connect(Credentials(str(api_server.kubeconfig()))) as found:
        yield found


async def held(cluster: KubeCluster, floor: int = 5) -> None:
    before = await cluster.get(HPA)
    await cluster.patch(HPA, hold_operations(before, policy=POLICY, floor=floor, now_s=NOW_S))


async def test_it_is_held_and_put_back_to_the_letter(cluster: KubeCluster) -> None:
    before = await cluster.get(HPA)
    await held(cluster)
    during = await cluster.get(HPA)
    assert during["spec"] == {**before["spec"], "minReplicas": 5}
    reserve = read_reserve(during)
    assert reserve is not None
    assert (reserve.policy, reserve.original, reserve.floor) == (POLICY, before["spec"]["minReplicas"], 5)
    await cluster.patch(HPA, release_operations(during))
    after = await cluster.get(HPA)
    assert after["spec"] == before["spec"]
    assert ANNOTATION not in after["metadata"].get("annotations", {})


async def test_a_change_between_reading_and_writing_stays(cluster: KubeCluster) -> None:
    read = await cluster.get(HPA)
    await cluster.patch(HPA, [{"op": "replace", "path": "/spec/minReplicas", "value": 3}])
    with pytest.raises(ConflictError):
        await cluster.patch(HPA, hold_operations(read, policy=POLICY, floor=5, now_s=NOW_S))
    assert (await cluster.get(HPA))["spec"]["minReplicas"] == 3


async def test_a_change_while_it_is_held_stays_and_only_the_annotation_goes(cluster: KubeCluster) -> None:
    await held(cluster)
    read = await cluster.get(HPA)
    await cluster.patch(HPA, [{"op": "replace", "path": "/spec/minReplicas", "value": 4}])
    with pytest.raises(ConflictError):
        await cluster.patch(HPA, release_operations(read))
    await cluster.patch(HPA, release_operations(await cluster.get(HPA)))
    after = await cluster.get(HPA)
    assert after["spec"]["minReplicas"] == 4
    assert ANNOTATION not in after["metadata"].get("annotations", {})


async def test_two_leaders_put_it_back_once(cluster: KubeCluster) -> None:
    await held(cluster)
    read = await cluster.get(HPA)
    await cluster.patch(HPA, release_operations(read))
    with pytest.raises(ConflictError):
        await cluster.patch(HPA, release_operations(read))
