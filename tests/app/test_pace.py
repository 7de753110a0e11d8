"""Telemetry is read when a scrape is new: a read at any other time finds one that is half a period old on average."""

import asyncio
import itertools
import random

import looptime
import pytest

from analyzer.app.ledger import SETTLE_S
from analyzer.app.pace import Beat, wait_s
from analyzer.ports import TelemetryQuery, TelemetryWindow
from tests.app.market import SCRAPE_S, Market

PERIOD_S = 5.0


def reads(
    beats: list[Beat], *, first_s: float, count: int, settle_s: float = 1.0, period_s: float = PERIOD_S
) -> list[float]:
    """Make so many reads, one after the other, from a time on."""
    made = [first_s]
    while len(made) < count:
        made.append(made[-1] + wait_s(beats, now_s=made[-1], period_s=period_s, settle_s=settle_s))
    return made


def waits(beat: Beat, made: list[float], settle_s: float = 1.0) -> list[float]:
    """Tell how long the intervals that ended between two reads waited to be read, each [s]."""
    found = []
    for before_s, at_s in itertools.pairwise(made):
        end_s = beat.first_end_s(before_s - settle_s + 1e-6)
        while end_s + settle_s <= at_s:
            found.append(at_s - end_s - settle_s)
            end_s += beat.width_s
    return found


@pytest.mark.parametrize("first_s", [0.0, 1.3, 2.6, 3.9, 4.999])
@pytest.mark.parametrize("width_s", [4.0, 5.0, 7.0, 15.0, 60.0])
def test_whenever_it_begins_it_soon_reads_as_soon_as_an_interval_is_complete(first_s: float, width_s: float) -> None:
    beat = Beat(100_000.0, width_s)
    made = reads([beat], first_s=100_000.0 + first_s, count=60)
    assert waits(beat, made[15:])
    assert max(waits(beat, made[15:])) < 0.2


def test_it_reads_about_once_a_period_however_many_rollouts_there_are() -> None:
    for seed in range(50):
        rng = random.Random(seed)
        beats = [
            Beat(rng.uniform(0, 100), rng.choice([1.0, 4.9, 5.0, 5.1, 10.0, 15.0])) for _ in range(rng.randint(0, 40))
        ]
        made = reads(beats, first_s=1000.0 + rng.uniform(0, 10), count=200)
        spaces = [after - before for before, after in itertools.pairwise(made)]
        assert min(spaces) >= 0.75 * PERIOD_S - 1e-6, f"seed {seed}"
        assert max(spaces) <= 1.75 * PERIOD_S + 1e-6, f"seed {seed}"


def test_of_several_rollouts_it_serves_the_most() -> None:
    one, many = Beat(2.0, 5.0), [Beat(4.0, 5.0), Beat(9.1, 5.0), Beat(14.05, 5.0)]
    made = reads([one, *many], first_s=100.0, count=40)
    assert max(max(waits(beat, made[10:])) for beat in many) < 0.3
    assert max(waits(one, made[10:])) < PERIOD_S


def test_without_an_interval_it_reads_once_a_period() -> None:
    assert wait_s([], now_s=7.0, period_s=3.0, settle_s=1.0) == 3.0
    assert wait_s([Beat(0.0, 3600.0)], now_s=7.0, period_s=3.0, settle_s=1.0) == 3.0


class _Watched(Market):
    """A market that keeps how old the newest scrape was at each read, but for those of hours ago."""

    def __init__(self, shops: int) -> None:
        super().__init__(shops)
        self.ages_s: list[float] = []

    async def fetch(self, query: TelemetryQuery) -> TelemetryWindow:
        age_s = query.end_s - self._scrapes[-1][0]
        if 0 <= age_s < 2 * SCRAPE_S:
            self.ages_s.append(age_s)
        return await super().fetch(query)


@pytest.mark.parametrize("head_start_s", [0.4, 2.4, 4.4])
def test_a_daemon_reads_what_was_just_scraped(head_start_s: float) -> None:
    async def story() -> None:
        market = _Watched(1)
        for _ in range(12):
            await market.scrape()
        await asyncio.sleep(head_start_s)
        async with market.running():
            await asyncio.sleep(SCRAPE_S - head_start_s)
            for _ in range(5):
                await market.scrape()
        assert len(market.ages_s) >= 4
        assert max(market.ages_s[2:]) < SETTLE_S + 0.1 * SCRAPE_S, market.ages_s

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(story())
