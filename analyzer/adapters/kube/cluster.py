"""The API server behind `ports.Cluster`."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

from analyzer.adapters.kube import stream
from analyzer.adapters.kube.api import Api, Request, path_of
from analyzer.errors import ClusterUnavailable, WatchExpired
from analyzer.ports import Change, Kind, Listing, Object, PatchOperation, Ref

PAGE: Final = 500
"""Objects read at once: parsing a page blocks the loop, 500 pods for some 20 ms."""

_MANAGER: Final = {"fieldManager": "serin"}
_JSON_PATCH: Final = "application/json-patch+json"


class KubeCluster:
    """A real API server; see `ports.Cluster` for what its methods do and raise.

    `metadata.managedFields` is left out of every object: it is often half of it, and nothing here reads it.

    Parameters
    ----------
    api
        The connection.
    timeout_s
        For one request and its answer [s]; a watch must begin within it.
    watch_s
        The server is asked to close a watch after so long [s].
    page
        Objects per request of a list.
    """

    def __init__(self, api: Api, *, timeout_s: float = 10.0, watch_s: float = 1800.0, page: int = PAGE) -> None:
        self._api = api
        self._timeout_s = timeout_s
        self._watch_s = watch_s
        self._page = page

    async def get(self, ref: Ref) -> Object:
        """See `ports.Cluster.get`."""
        return await self._ask(Request(f"get {ref}", "GET", path_of(*ref)))

    async def list(self, kind: Kind, *, namespace: str | None = None) -> Listing:
        """See `ports.Cluster.list`.

        Without a resourceVersion, so that the answer is the newest there is: an API server that lags behind may not take
        us back in time.
        """
        try:
            return await self._pages(kind, namespace, limit=self._page)
        except WatchExpired:  # the pages after the first are of a version that is gone by now
            return await self._pages(kind, namespace, limit=0)

    async def _pages(self, kind: Kind, namespace: str | None, *, limit: int) -> Listing:
        request = Request(f"list {kind.plural}", "GET", path_of(kind, namespace))
        items: list[Object] = []
        query: dict[str, str] = {"limit": str(limit)} if limit else {}
        while True:
            page = await self._api.ask(_with(request, query), timeout_s=self._timeout_s)
            if not isinstance(page.get("items"), list):
                raise ClusterUnavailable(f"{request.what}: the answer is no list")
            items += (stream.trimmed(kind, item) for item in page["items"])
            token = page["metadata"].get("continue")
            if not token:
                return Listing(items, page["metadata"]["resourceVersion"])
            query["continue"] = token

    async def watch(
        self, kind: Kind, *, namespace: str | None = None, resource_version: str
    ) -> AsyncGenerator[Change, None]:
        """See `ports.Cluster.watch`; bookmarks come about each minute and tell a quiet stream from a dead one."""
        request = Request(
            f"watch {kind.plural}",
            "GET",
            path_of(kind, namespace),
            query={
                "watch": "1",
                "allowWatchBookmarks": "true",
                "resourceVersion": resource_version,
                "timeoutSeconds": f"{self._watch_s:.0f}",
            },
        )
        changes = stream.follow(self._api, request, kind, head_s=self._timeout_s, watch_s=self._watch_s)
        try:
            async for change in changes:
                yield change
        finally:
            await changes.aclose()

    async def patch(self, ref: Ref, operations: Sequence[PatchOperation], *, dry_run: bool = False) -> Object:
        """See `ports.Cluster.patch`."""
        query = {**_MANAGER, "dryRun": "All"} if dry_run else _MANAGER
        body = [dict(operation) for operation in operations]
        return await self._ask(Request(f"patch {ref}", "PATCH", path_of(*ref), query, body, _JSON_PATCH))

    async def replace_status(self, ref: Ref, obj: Object) -> Object:
        """See `ports.Cluster.replace_status`."""
        return await self._ask(
            Request(f"write the status of {ref}", "PUT", path_of(*ref, "status"), query=_MANAGER, body=obj)
        )

    async def create(self, kind: Kind, obj: Object) -> Object:
        """See `ports.Cluster.create`."""
        metadata: Mapping[str, Any] = obj.get("metadata") or {}
        namespace = str(metadata.get("namespace", ""))
        what = f"create {Ref(kind, namespace, str(metadata.get('name', '')))}" if namespace else f"create {kind.kind}"
        return await self._ask(Request(what, "POST", path_of(kind, namespace or None), query=_MANAGER, body=obj))

    async def _ask(self, request: Request) -> Object:
        obj = await self._api.ask(request, timeout_s=self._timeout_s)
        return stream.without_managed_fields(obj)


def _with(request: Request, query: Mapping[str, str]) -> Request:
    return Request(request.what, request.method, request.path, query=dict(query))
