"""Whether all that was measured while a rollout was in flight was judged."""

from typing import Final

from tests.cluster.account import Account
from tests.cluster.shops import Shop

FLYING: Final = frozenset({"Progressing", "Baking"})
SCRAPE_S: Final = 5.0
LAG_S: Final = 25.0
"""From what happens until it is judged and in the policy's status: a scrape, until it is stored, and a period; at both ends,
for the statuses tell when they were."""


def check_evidence_is_whole(shop: Shop, account: Account, *, fault: str, lost_s: float = 0.0) -> None:
    """Fail if anything between a rollout's first weight and its end was not judged, but for `lost_s` that nobody measured."""
    statuses = [(at_s, status) for at_s, status in shop.eyes.statuses[shop.namespace] if status.get("evidence")]
    begun_s = next(at_s for at_s, status in shop.eyes.statuses[shop.namespace] if status.get("phase") in FLYING)
    ended_s = next(at_s for at_s, status in statuses if status["phase"] not in FLYING)
    judged = [
        (status["checkpoint"]["judgedUntil"], status["evidence"]["seconds"])
        for _, status in statuses
        if status["evidence"]["seconds"]
    ]
    (first_s, before), (last_s, seconds) = judged[0], judged[-1]
    missing_s = last_s - first_s - (seconds - before)
    account.notes.append(
        f"evidence of {shop.name}, {fault}: {seconds:.0f} s judged of {ended_s - begun_s:.0f}, {missing_s:.1f} s left out"
    )
    assert missing_s <= lost_s + 1.0, f"{missing_s:.0f} s were not judged: {shop.eyes.tell(shop.namespace)}"
    assert seconds >= ended_s - begun_s - lost_s - LAG_S, shop.eyes.tell(shop.namespace)
