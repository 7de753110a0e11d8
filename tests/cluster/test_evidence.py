"""What counts as lost, in courses of statuses that are made up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pytest

from analyzer.ports import Object
from tests.cluster.account import Account
from tests.cluster.evidence import LAG_S, check_evidence_is_whole

if TYPE_CHECKING:
    from tests.cluster.shops import Shop

SCRAPE_S = 5


@dataclass
class SeenEyes:
    """Eyes that have seen a course."""

    statuses: dict[str, list[tuple[float, Object]]]

    def tell(self, _namespace: str) -> str:
        return "…"


@dataclass
class SeenShop:
    """What is asked of a shop."""

    eyes: SeenEyes
    name: str = "cart"
    namespace: str = "cart-1"


def shop(*, minutes: float = 2.0, gaps: Sequence[tuple[int, int]] = (), ends_s: float | None = None) -> SeenShop:
    """A rollout from 1000 on that is judged each five seconds, ten seconds late, but in no gap, from its begin to its end."""
    end_s = 60 * minutes
    course: list[tuple[float, Object]] = [(990.0, {"phase": "Pending"}), (1000.0, {"phase": "Progressing"})]
    judged = 0
    for at_s in range(SCRAPE_S, round(end_s) + 1, SCRAPE_S):
        if not any(begin < at_s <= end for begin, end in gaps):
            judged += SCRAPE_S
            evidence = {"evidence": {"seconds": judged}, "checkpoint": {"judgedUntil": 1000.0 + at_s}}
            course.append((1010.0 + at_s, {"phase": "Progressing", **evidence}))
    course.append((1010.0 + (ends_s or end_s), {**course[-1][1], "phase": "Promoted"}))
    return SeenShop(SeenEyes({"cart-1": course}))


def check(seen: SeenShop, *, lost_s: float = 0.0) -> Account:
    account = Account()
    check_evidence_is_whole(cast("Shop", seen), account, fault="none", lost_s=lost_s)
    return account


def test_what_is_judged_to_the_last_interval_is_whole() -> None:
    assert check(shop()).notes == ["evidence of cart, none: 120 s judged of 130, 0.0 s left out"]


def test_one_interval_in_the_middle_is_missed() -> None:
    with pytest.raises(AssertionError, match="5 s were not judged"):
        check(shop(gaps=[(40, 45)]))


def test_what_nobody_measured_may_be_left_out_and_no_more() -> None:
    check(shop(gaps=[(40, 70)]), lost_s=30)
    with pytest.raises(AssertionError, match="35 s were not judged"):
        check(shop(gaps=[(40, 75)]), lost_s=30)


def test_evidence_that_ends_long_before_the_rollout_is_missed() -> None:
    check(shop(ends_s=120 + LAG_S - 10))
    with pytest.raises(AssertionError):
        check(shop(ends_s=120 + LAG_S + 1))


def test_evidence_that_begins_long_after_the_rollout_is_missed() -> None:
    with pytest.raises(AssertionError):
        check(shop(gaps=[(0, 20)]))
