"""What is in a cluster now, for `serin lint --cluster` and `serin init`: read only, and only what a policy may point to."""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from analyzer.errors import ObjectMissing, ReadRefused
from analyzer.policy.defaults import HOME
from analyzer.policy.lint import ListObjects
from analyzer.ports import (
    CANARY_DEFAULTS,
    CANARY_POLICY,
    DEPLOYMENT,
    DESTINATION_RULE,
    HORIZONTAL_POD_AUTOSCALER,
    SERVICE,
    VIRTUAL_SERVICE,
    Cluster,
    Kind,
    Object,
)

OURS: Final = (CANARY_POLICY, CANARY_DEFAULTS)
KINDS: Final = (VIRTUAL_SERVICE, DESTINATION_RULE, SERVICE, DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER)

_USUAL: Final = Path("~/.kube/config")


def lister(kubeconfig: str | None, context: str | None, *, command: str, home: str = HOME) -> ListObjects:
    """Give a function that lists the objects of namespaces, as `lint_files` takes one; `command` is who asks.

    Without a kubeconfig: kubectl's own file, or where there is none the pod's service account. It raises SerinError as the
    adapter says.
    """
    from analyzer.adapters.kube import Credentials, connect  # takes two seconds, which lint alone does not need

    usual = _USUAL.expanduser()
    credentials = Credentials(kubeconfig or (str(usual) if usual.exists() else None), context)

    async def read(namespaces: Iterable[str]) -> Sequence[Object]:
        async with connect(credentials) as cluster:
            return await list_objects(cluster, namespaces, command=command, home=home)

    return lambda namespaces: asyncio.run(read(namespaces))


async def list_objects(
    cluster: Cluster, namespaces: Iterable[str], *, command: str, home: str = HOME
) -> Sequence[Object]:
    """List what policies in these namespaces may point to, and the policies themselves where their CRD is installed.

    And the defaults, those of Serin's own namespace (`home`) too. Whoever may not look there is told, and checks without.

    Raises
    ------
    SerinError
        As the port says.
    """
    found: list[Object] = []
    wanted = list(dict.fromkeys(namespaces))
    for namespace in wanted:
        for kind in KINDS:
            found += (await cluster.list(kind, namespace=namespace)).items
        for kind in OURS:
            found += await _ours(cluster, kind, namespace)
    if home not in wanted:
        try:
            found += await _ours(cluster, CANARY_DEFAULTS, home)
        except ReadRefused as error:
            print(f"serin {command}: without the cluster's CanaryDefaults: {error}", file=sys.stderr)
    return found


async def _ours(cluster: Cluster, kind: Kind, namespace: str) -> Sequence[Object]:
    try:
        return (await cluster.list(kind, namespace=namespace)).items
    except ObjectMissing:
        return ()  # before Serin is installed there are none
