"""The cluster as a turn sees it: from memory, at once."""

from typing import Protocol

from analyzer.ports import Kind, Object, Ref


class ClusterView(Protocol):
    """What turns need of the cluster cache. Objects are read-only."""

    def get(self, ref: Ref) -> Object | None:
        """Look one object up."""
        ...

    def leading_to(self, name: str) -> list[Object]:
        """List the VirtualServices that lead to a host (fully qualified), or delegate to `namespace/name`."""
        ...

    def list(self, kind: Kind, namespace: str | None = None) -> list[Object]:
        """List all objects of a kind."""
        ...

    def put(self, obj: Object) -> bool:
        """Take the server's answer to our own call in; False if something newer is known."""
        ...
