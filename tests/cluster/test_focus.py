"""The focused canary on the real thing: first the company's own people, half and half, then everybody.

Everything is that of `policies/examples/helloworld-focused`, but for the policy's pace (`shops.quicken`) and fewer weights for
everybody; the judge's settings are the example's own. Half of the users are insiders: the gateway knows them by their cookie,
and so do the pods, which can be bad for one half only. (Istio's example without a focus is that of `test_story.py`.)
"""

import asyncio
import math
from collections import Counter
from itertools import pairwise
from typing import Final, NamedTuple

from analyzer.sandbox.people import Tally
from tests.cluster.account import Account, Row
from tests.cluster.bed.client import Bed, until
from tests.cluster.serin import Replicas
from tests.cluster.shops import Shop, Shops

FOCUS: Final = (50, 100)
STAGES: Final = (25, 50, 100)
RATE: Final = 120.0
BAD: Final = 0.2
PATIENCE_S: Final = 200.0
PACE: Final = {"dwell": {"min": "10s", "max": "30s"}}
"""A proof at the example's own tolerances takes hundreds of thousands of requests: steps are made without one."""
SIGMAS: Final = 5.0
"""The gateway's choice is random, and not ours to seed: one false failure in two million."""


class Shares(NamedTuple):
    """The canary's weights at one time [per cent]."""

    insiders: int
    others: int


async def test_first_the_insiders_then_everybody(bed: Bed, serin: Replicas, shops: Shops, account: Account) -> None:
    await serin.start()
    async with asyncio.TaskGroup() as group:
        group.create_task(_harmless(shops, account))
        group.create_task(_bad_for_insiders(shops, account))
        group.create_task(_bad_for_others(shops, account))


async def _harmless(shops: Shops, account: Account) -> None:
    """The insiders' route goes its steps, and everybody else stays on v1; then everybody."""
    shop = await shops.open("focused", rate=RATE, judge=PACE, stages=STAGES, focus=FOCUS)
    begun_s = await shop.eyes.until_phase(shop.namespace, "Progressing")
    done_s = await shop.eyes.until_weight(shop.namespace, 100, patience_s=PATIENCE_S)
    await shop.eyes.until_phase(shop.namespace, "Promoted")
    _check_first_stage(shop)
    _check_second_stage(shop)
    shop.check_course(0, *STAGES)
    assert not shop.pages()
    _account_for(shop, account, what="focused: harmless", right="all traffic", begun_s=begun_s, done_s=done_s)


async def _bad_for_insiders(shops: Shops, account: Account) -> None:
    """It is found in the first stage; nobody else ever met it."""
    shop = await shops.open(
        "insiders", rate=RATE, v2={"ERROR_RATE_INSIDERS": BAD}, judge=PACE, stages=STAGES, focus=FOCUS
    )
    begun_s = await shop.eyes.until_phase(shop.namespace, "Progressing")
    done_s = await _until_rolled_back(shop)
    course = [shares for _, shares in _course(shop)]
    assert course[0] == Shares(50, 0), "adopted where it was"
    assert all(before.insiders > after.insiders for before, after in pairwise(course)), f"{course}: only back"
    assert {shares.others for shares in course} == {0}
    met = _met(shop.felt())
    assert not met[False, "v2"], f"others met the canary: {met}"
    failed = _failed(shop.felt())
    assert failed[True, "v2"], failed
    _account_for(
        shop, account, what="focused: 20 % of the insiders' fail", right="weights zero", begun_s=begun_s, done_s=done_s
    )


async def _bad_for_others(shops: Shops, account: Account) -> None:
    """The first stage is passed; the second finds it, and both routes go back."""
    shop = await shops.open("others", rate=RATE, v2={"ERROR_RATE_OTHERS": BAD}, judge=PACE, stages=STAGES, focus=FOCUS)
    await shop.eyes.until_phase(shop.namespace, "Progressing")
    done_s = await _until_rolled_back(shop)
    _check_first_stage(shop)
    course = [shares for _, shares in _course(shop)]
    assert max(shares.others for shares in course) == STAGES[0], f"{course}: found at its first weight"
    assert course[-1] == Shares(0, 0)
    _account_for(
        shop,
        account,
        what="focused: 20 % of all others' fail",
        right="weights zero",
        begun_s=_second_stage_s(shop),  # from then on it could be known
        done_s=done_s,
    )


async def _until_rolled_back(shop: Shop) -> float:
    """Wait until both routes are back, for harm, and people were told once; return since when [unix seconds]."""

    async def back() -> bool:
        return _course(shop)[-1][1] == Shares(0, 0)

    await until(back, what=lambda: f"both at zero: {shop.eyes.tell(shop.namespace)}", patience_s=PATIENCE_S)
    done_s = _course(shop)[-1][0]
    await shop.eyes.until_phase(shop.namespace, "RolledBack")
    assert shop.status["reason"] == "Harm", shop.eyes.tell(shop.namespace)

    async def told() -> bool:
        return len(shop.pages()) == 1

    await until(told, what=lambda: f"one page; got {shop.alerts()}")
    shop.check_told_once()
    return done_s


# --- what users saw ---------------------------------------------------------------------------------------------------


def _course(shop: Shop) -> list[tuple[float, Shares]]:
    """Give the canary's weights as they went, each with its time [unix seconds]."""
    return [
        (at_s, Shares(routes["insiders"][1], routes["primary"][1])) for at_s, routes in shop.eyes.routes[shop.namespace]
    ]


def _second_stage_s(shop: Shop) -> float:
    return next(at_s for at_s, shares in _course(shop) if shares.others)


def _check_first_stage(shop: Shop) -> None:
    """Fail unless insiders had half and half, then went on to all, while nobody else met the canary."""
    first = [(at_s, shares) for at_s, shares in _course(shop) if at_s <= _second_stage_s(shop)]
    assert first[0][1] == Shares(50, 0), "adopted where it was"
    assert first[-1][1].insiders == 100, f"{first}: everybody else before all insiders"
    assert all(before.insiders <= after.insiders for (_, before), (_, after) in pairwise(first)), first
    met = _met(_until(shop, first[1][0]))
    half, all_insiders = met[True, "v2"], met[True, "v1"] + met[True, "v2"]
    assert abs(half - all_insiders / 2) <= SIGMAS * math.sqrt(all_insiders) / 2, met
    met = _met(_until(shop, first[-1][0]))
    assert not met[False, "v2"], f"others met the canary: {met}"
    assert met[False, "v1"] > all_insiders / 2


def _check_second_stage(shop: Shop) -> None:
    """Fail unless all insiders had the canary, while everybody else came to it step by step."""
    course = [(at_s, shares) for at_s, shares in _course(shop) if shares.others]
    assert {shares.insiders for _, shares in course} == {100}
    arrived_s = next(second.at_s for second in shop.seconds if _met(second.tally)[False, "v2"])
    met = _met(_between(shop, arrived_s + 1.0, math.inf))  # requests that were under way have ended
    assert not met[True, "v1"], f"an insider went back: {met}"
    for (at_s, shares), (end_s, _) in pairwise(course):
        met = _met(_between(shop, at_s, end_s))
        n, share = met[False, "v1"] + met[False, "v2"], shares.others / 100
        assert met[False, "v2"] <= n * share + SIGMAS * math.sqrt(n * share * (1 - share)), f"{shares}: {met}"


def _until(shop: Shop, end_s: float) -> Tally:
    return _between(shop, 0.0, end_s)


def _between(shop: Shop, begin_s: float, end_s: float) -> Tally:
    """Sum up the requests that ended between two moments [unix seconds]."""
    return Tally().add(second.tally for second in shop.seconds if begin_s + 1.0 <= second.at_s <= end_s)


def _met(tally: Tally) -> Counter[tuple[bool, str]]:
    """Count requests by whether an insider made them and which version answered."""
    met: Counter[tuple[bool, str]] = Counter()
    for outcome, n in tally.counts.items():
        met[outcome.insider, outcome.version] += n
    return met


def _failed(tally: Tally) -> Counter[tuple[bool, str]]:
    """Count those of them that failed."""
    failed = {outcome: n for outcome, n in tally.counts.items() if outcome.failed}
    return _met(Tally(counts=Counter(failed)))


def _account_for(shop: Shop, account: Account, *, what: str, right: str, begun_s: float, done_s: float) -> None:
    felt = shop.felt()
    account.rows.append(
        Row(
            fault="none",
            service=what,
            right=right,
            seconds=done_s - begun_s,
            failed=felt.failed().total(),
            canary=felt.served("v2"),
            alerts=shop.told(),
            writes=shop.writes(),
        )
    )
