"""What is in a cluster now, for `serin lint --cluster`: read only, and only what a policy may point to."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from analyzer.errors import ObjectMissing
from analyzer.policy.lint import ListObjects
from analyzer.ports import (
    CANARY_POLICY,
    DEPLOYMENT,
    DESTINATION_RULE,
    HORIZONTAL_POD_AUTOSCALER,
    SERVICE,
    VIRTUAL_SERVICE,
    Cluster,
    Object,
)

KINDS: Final = (VIRTUAL_SERVICE, DESTINATION_RULE, SERVICE, DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER)

_USUAL: Final = Path("~/.kube/config")


def lister(kubeconfig: str | None, context: str | None) -> ListObjects:
    """Give a function that lists the objects of namespaces, as `lint_files` takes one.

    Without a kubeconfig: kubectl's own file, or where there is none the pod's service account. It raises SerinError as the
    adapter says.
    """
    from analyzer.adapters.kube import Credentials, connect  # takes two seconds, which lint alone does not need

    usual = _USUAL.expanduser()
    credentials = Credentials(kubeconfig or (str(usual) if usual.exists() else None), context)

    async def read(namespaces: Iterable[str]) -> Sequence[Object]:
        async with connect(credentials) as cluster:
            return await list_objects(cluster, namespaces)

    return lambda namespaces: asyncio.run(read(namespaces))


async def list_objects(cluster: Cluster, namespaces: Iterable[str]) -> Sequence[Object]:
    """List what policies in these namespaces may point to, and the policies themselves where their CRD is installed.

    Raises
    ------
    SerinError
        As the port says.
    """
    found: list[Object] = []
    for namespace in namespaces:
        for kind in KINDS:
            found += (await cluster.list(kind, namespace=namespace)).items
        try:
            found += (await cluster.list(CANARY_POLICY, namespace=namespace)).items
        except ObjectMissing:
            continue  # before Serin is installed there are none
    return found
