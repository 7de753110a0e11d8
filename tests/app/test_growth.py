"""Nothing of the daemon may grow with its age: what some releases leave behind, as many more must not add to."""

import asyncio
import gc
import logging
from collections import Counter
from collections.abc import Iterator

import looptime
import pytest
import structlog

from tests.app.market import Market

SHOPS = 20
ROUND = 10
"""Releases after which one shop closes and another opens."""
RELEASES = 300
LOOKS = 3
NOISE = 60
"""Objects more or less at any moment: one per release would be five times as many."""


@pytest.fixture
def quiet() -> Iterator[None]:
    """Write no log: pytest would keep it, and most of the time would go into it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


async def _trade(market: Market, until: int) -> "Counter[str]":
    """Let so many releases be made, and count the objects that are there once all is quiet."""
    while market.released < until:
        market.release_where_idle()
        await market.scrape()
        market.forget_events()
        if market.released // ROUND > market.closed:
            market.close_oldest()
            market.open()
    for _ in range(100):
        await market.scrape()
        if market.all_idle():
            break
    else:
        raise AssertionError("the market does not come to rest")
    market.forget_events()
    counts = []
    for _ in range(LOOKS):  # what is on its way at one of these moments is not at all of them; what has grown is
        for _ in range(30):  # longer than anything is remembered
            await market.scrape()
        gc.collect()
        counts.append(Counter(type(obj).__name__ for obj in gc.get_objects()))
    return min(counts, key=Counter.total)


@pytest.mark.usefixtures("quiet")
def test_releases_and_policies_that_are_over_leave_nothing_behind() -> None:
    async def story() -> None:
        market = Market(SHOPS)
        for _ in range(12):
            await market.scrape()
        async with market.running():
            before = await _trade(market, RELEASES)
            after = await _trade(market, 2 * RELEASES)
            grown = {name: after[name] - before[name] for name in after if after[name] > before[name]}
            assert after.total() - before.total() < NOISE, Counter(grown).most_common(12)

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(story())
