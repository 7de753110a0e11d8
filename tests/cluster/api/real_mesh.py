"""The model mesh with a real API server for its cluster: its objects, and the hands of people and controllers."""

import urllib.error
from typing import Any, cast

from analyzer.adapters.memory import KINDS, MemoryCluster
from analyzer.ports import POD, Kind, Object, Ref
from tests.app.model import NAMESPACE, ModelMesh
from tests.cluster.api.apiserver import ApiServer


class Hands:
    """What `ModelMesh` does to its in-memory cluster, done to a real one."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._store = self  # where the model reads

    def read(self, ref: Ref) -> Object:
        return self._server.call("GET", _path(ref))

    def apply(self, obj: Object) -> Object:
        kind = next(kind for kind in KINDS if (kind.api_version, kind.kind) == (obj["apiVersion"], obj["kind"]))
        metadata = {
            key: obj["metadata"][key]
            for key in ("name", "namespace", "labels", "annotations")
            if key in obj["metadata"]
        }
        wanted = {key: value for key, value in obj.items() if key != "status"} | {"metadata": metadata}
        if kind == POD:
            resources = {
                "requests": {"cpu": "100m"}
            }  # as in the example's template: an HPA's target refers to the pod's own
            wanted["spec"] = {"containers": [{"name": "app", "image": "helloworld", "resources": resources}]}
        return self._server.apply(_path(Ref(kind, metadata["namespace"], metadata["name"])), wanted)

    def set_status(self, ref: Ref, status: Object) -> Object:
        return self._server.call(
            "PATCH", f"{_path(ref)}/status", {"status": status}, content_type="application/merge-patch+json"
        )


class RealMesh(ModelMesh):
    """A model mesh whose objects are in a real API server, in a namespace that is new."""

    def __init__(self, server: ApiServer, **options: Any) -> None:
        self._server = server
        super().__init__(**options)

    def __post_init__(self) -> None:
        super().__post_init__()
        memory, hands = self.cluster, Hands(self._server)
        _forget_namespace(self._server)
        self._server.apply(
            f"/api/v1/namespaces/{NAMESPACE}",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        )
        for kind in sorted(KINDS):
            for ref in memory._store.refs(kind, None):
                obj = memory._store.read(ref)
                hands.apply(obj)
                if "status" in obj:
                    hands.set_status(ref, obj["status"])
        self.cluster = cast("MemoryCluster", hands)


def _forget_namespace(server: ApiServer) -> None:
    """Delete what an earlier test left; no controller runs that would do it with the namespace."""
    for kind in KINDS:
        try:
            server.call("DELETE", _collection(kind), gracePeriodSeconds="0")
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in {404, 405}:  # Services can only be deleted one by one
                raise


def _collection(kind: Kind) -> str:
    base = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
    return f"{base}/namespaces/{NAMESPACE}/{kind.plural}"


def _path(ref: Ref) -> str:
    return f"{_collection(ref.kind)}/{ref.name}"
