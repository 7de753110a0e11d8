"""Names of policies for the shell: fast or not at all, and never an error in somebody's prompt."""

import asyncio
from typing import Final

import typer

_PATIENCE_S: Final = 2.0


def complete_policy(context: typer.Context, incomplete: str) -> list[str]:
    """Give the names of the policies in the namespace that the words so far name."""
    try:
        return asyncio.run(_names(context, incomplete))
    except Exception:  # noqa: BLE001  whatever is wrong, the shell gets no completion, and no traceback
        return []


async def _names(context: typer.Context, incomplete: str) -> list[str]:
    from analyzer.cli.people.reach import Place, reach
    from analyzer.ports import CANARY_POLICY

    given = context.params
    place = Place(given.get("kubeconfig"), given.get("context"), given.get("namespace"))
    async with asyncio.timeout(_PATIENCE_S), reach(place) as reached:
        listing = await reached.cluster.list(CANARY_POLICY, namespace=reached.namespace)
    names = (str(obj["metadata"]["name"]) for obj in listing.items)
    return sorted(name for name in names if name.startswith(incomplete))
