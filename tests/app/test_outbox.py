import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import looptime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from analyzer.app.metrics import Metrics
from analyzer.app.outbox import Outbox, OutboxSettings
from analyzer.errors import AlertUndelivered, TerminalError
from analyzer.ports import Alert, AlertSink, Severity
from tests.alerts import ROLLED_BACK
from tests.fakes import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Answer = Callable[[], Awaitable[None]]


class LoopClock:
    """The virtual time of a looptime event loop."""

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


@dataclass
class ScriptedSink:
    """Fails as scripted, one answer per attempt, then takes everything; remembers what it took, and when."""

    script: list[Answer] = field(default_factory=list)
    forever: Answer | None = None
    attempts: list[tuple[float, Alert]] = field(default_factory=list)
    taken: list[tuple[float, Alert]] = field(default_factory=list)

    async def send(self, alert: Alert) -> None:
        now_s = asyncio.get_running_loop().time()
        self.attempts.append((now_s, alert))
        answer = self.script.pop(0) if self.script else self.forever
        if answer is not None:
            await answer()
        self.taken.append((asyncio.get_running_loop().time(), alert))

    @property
    def alerts(self) -> list[Alert]:
        return [alert for _, alert in self.taken]


def fails(error: Exception) -> Answer:
    async def answer() -> None:
        raise error

    return answer


async def hangs() -> None:
    await asyncio.Event().wait()


DOWN = fails(AlertUndelivered("connection refused"))
REFUSES = fails(TerminalError("the key is wrong"))
BREAKS = fails(KeyError("a bug"))


def alert(at: int = 0, *, key: str = "shop/helloworld/v2", **changes: Any) -> Alert:
    return replace(ROLLED_BACK, dedup_key=key, at_s=ROLLED_BACK.at_s + at, receivers=(), **changes)


def virtually(story: Coroutine[Any, Any, None]) -> None:
    """Run a story on virtual time: sleeping costs nothing, and waiting for ever fails after an hour of it."""

    async def limited() -> None:
        async with asyncio.timeout(1_000_000):
            await story

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(limited())


def make(
    sinks: dict[str, AlertSink], *, default: Iterable[str] | None = None, metrics: Metrics | None = None, **more: Any
) -> Outbox:
    return Outbox(
        sinks,
        default=list(sinks if default is None else default),
        clock=LoopClock(),
        metrics=metrics or Metrics(),
        rng=random.Random(1),
        settings=OutboxSettings(**more),
    )


def running(outbox: Outbox) -> AbstractAsyncContextManager[None]:
    @asynccontextmanager
    async def run() -> "AsyncIterator[None]":
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(outbox.run())
            yield
            task.cancel()

    return run()


async def settled(outbox: Outbox) -> None:
    while outbox.pending:  # noqa: ASYNC110  on virtual time polling costs nothing
        await asyncio.sleep(0.5)


def test_an_alert_reaches_every_default_receiver_once() -> None:
    async def story() -> None:
        pager, log = ScriptedSink(), ScriptedSink()
        outbox = make({"pager": pager, "log": log})
        async with running(outbox):
            assert outbox.offer(alert())
            assert not outbox.is_settled(alert())
            await settled(outbox)
            assert outbox.is_settled(alert())
        assert pager.alerts == log.alerts == [alert()]

    virtually(story())


def test_a_policy_chooses_its_receivers() -> None:
    async def story() -> None:
        pager, log = ScriptedSink(), ScriptedSink()
        outbox = make({"pager": pager, "log": log}, default=["log"])
        async with running(outbox):
            outbox.offer(replace(alert(), receivers=("pager",)))
            await settled(outbox)
        assert (len(pager.alerts), len(log.alerts)) == (1, 0)

    virtually(story())


def test_an_unknown_receiver_falls_back_to_the_default_with_one_warning() -> None:
    async def story() -> None:
        pager, log = ScriptedSink(), ScriptedSink()
        outbox = make({"pager": pager, "log": log}, default=["log"])
        with capture_logs() as lines:
            async with running(outbox):
                outbox.offer(replace(alert(), receivers=("pager", "onkall")))
                outbox.offer(replace(alert(1), receivers=("onkall",), reason="Blind"))
                await settled(outbox)
        assert (len(pager.alerts), len(log.alerts)) == (1, 2)
        (warning,) = [line for line in lines if line["log_level"] == "warning"]
        assert warning["receiver"] == "onkall"
        assert warning["configured"] == ["pager", "log"]

    virtually(story())


@pytest.mark.parametrize("default", [[], ["onkall"]])
def test_default_receivers_must_exist(default: list[str]) -> None:
    with pytest.raises(ValueError, match=r"name at least one, and only configured ones \(pager\)"):
        make({"pager": ScriptedSink()}, default=default)


def test_a_person_is_told_once_however_often_the_loop_offers() -> None:
    async def story() -> None:
        pager = ScriptedSink(script=[DOWN])
        outbox = make({"pager": pager})
        async with running(outbox):
            for turn in range(5):
                assert outbox.offer(alert())  # the same, while pending and after
                assert outbox.offer(alert(turn))  # says the same, later
                await asyncio.sleep(1)
            await settled(outbox)
            assert all(outbox.is_settled(alert(turn)) for turn in range(5))
        assert pager.alerts == [alert()]

    virtually(story())


def test_what_was_resolved_and_comes_back_is_told_again() -> None:
    async def story() -> None:
        pager = ScriptedSink()
        outbox = make({"pager": pager})
        blind, seeing, blind_again = alert(0), alert(1, resolved=True), alert(2)
        async with running(outbox):
            for each in (blind, seeing, blind_again):
                outbox.offer(each)
            await settled(outbox)
            outbox.offer(blind)  # the loop has not dropped it from its list yet
            await settled(outbox)
        assert pager.alerts == [blind, seeing, blind_again]

    virtually(story())


def test_what_still_stands_after_the_window_is_told_again() -> None:
    async def story() -> None:
        pager = ScriptedSink()
        outbox = make({"pager": pager}, fold_window_s=3600)
        async with running(outbox):
            outbox.offer(alert(0))
            await asyncio.sleep(3599)
            outbox.offer(alert(3599))
            await asyncio.sleep(10)
            outbox.offer(alert(3609))
            await settled(outbox)
        assert pager.alerts == [alert(0), alert(3609)]

    virtually(story())


def test_what_was_told_before_the_window_is_forgotten() -> None:
    async def story() -> None:
        outbox = make({"pager": ScriptedSink()}, fold_window_s=3600)
        async with running(outbox):
            outbox.offer(alert(0, key="shop/helloworld/1"))
            await asyncio.sleep(3599)
            outbox.offer(alert(1, key="shop/helloworld/2"))
            await settled(outbox)
            assert outbox.is_settled(alert(0, key="shop/helloworld/1"))
            await asyncio.sleep(3500)
            outbox.offer(alert(2, key="shop/helloworld/3"))
            await settled(outbox)
            assert not outbox.is_settled(alert(0, key="shop/helloworld/1"))
            assert outbox.is_settled(alert(1, key="shop/helloworld/2"))
            assert set(outbox._folding._said) == {"shop/helloworld/2", "shop/helloworld/3"}

    virtually(story())


def test_another_reason_on_the_same_rollout_is_news() -> None:
    async def story() -> None:
        pager = ScriptedSink()
        outbox = make({"pager": pager})
        async with running(outbox):
            outbox.offer(alert())
            outbox.offer(alert(reason="RollbackBlocked"))
            await settled(outbox)
        assert [each.reason for each in pager.alerts] == ["RolledBack", "RollbackBlocked"]

    virtually(story())


@pytest.mark.parametrize(
    "broken", [DOWN, hangs, BREAKS, fails(TimeoutError())], ids=["down", "hanging", "a bug", "timing out itself"]
)
def test_a_failing_receiver_delays_no_other(broken: Answer) -> None:
    async def story() -> None:
        bad, good = ScriptedSink(forever=broken), ScriptedSink()
        outbox = make({"bad": bad, "good": good})
        with capture_logs():
            async with running(outbox):
                for second in range(30):
                    outbox.offer(alert(second, key=f"rollout {second}"))
                    await asyncio.sleep(1)
        assert [at_s for at_s, _ in good.taken] == pytest.approx(range(30), abs=0.01)
        assert bad.taken == []

    virtually(story())


def test_an_alert_that_a_receiver_chokes_on_does_not_keep_others_from_it() -> None:
    class Choking(ScriptedSink):
        async def send(self, alert: Alert) -> None:
            self.forever = DOWN if alert.dedup_key == "poison" else None
            await super().send(alert)

    async def story() -> None:
        pager = Choking()
        outbox = make({"pager": pager})
        with capture_logs():
            async with running(outbox):
                outbox.offer(alert(key="poison"))
                outbox.offer(alert(key="page"))
                await asyncio.sleep(0.1)
        assert [each.dedup_key for each in pager.alerts] == ["page"]

    virtually(story())


def test_pages_go_first_when_a_receiver_comes_back() -> None:
    async def story() -> None:
        pager = ScriptedSink(script=[fails(AlertUndelivered("busy", retry_after_s=30))])
        outbox = make({"pager": pager})
        with capture_logs():
            async with running(outbox):
                for number, severity in enumerate([Severity.INFO, Severity.NOTICE, Severity.PAGE]):
                    outbox.offer(alert(key=f"rollout {number}", severity=severity))
                await settled(outbox)
        assert pager.alerts[0].severity is Severity.PAGE
        assert len(pager.alerts) == 3

    virtually(story())


def test_pauses_double_up_to_the_longest_and_are_spread() -> None:
    async def story() -> None:
        pager = ScriptedSink(script=[DOWN] * 9)
        outbox = make({"pager": pager}, first_retry_s=1, longest_retry_s=60)
        with capture_logs():
            async with running(outbox):
                outbox.offer(alert())
                await settled(outbox)
        times = [at_s for at_s, _ in pager.attempts]
        pauses = [later - earlier for earlier, later in pairwise(times)]
        longest = [1, 2, 4, 8, 16, 32, 60, 60, 60]
        assert all(top / 2 - 0.01 <= pause <= top + 0.01 for pause, top in zip(pauses, longest, strict=True))
        assert len({round(pause / top, 3) for pause, top in zip(pauses, longest, strict=True)}) > 5

    virtually(story())


@pytest.mark.parametrize(("asked_s", "waited_s"), [(0, 0), (7.5, 7.5), (31_536_000, 600), (-5, 0)])
def test_a_receivers_own_wish_is_honoured_within_bounds(asked_s: float, waited_s: float) -> None:
    async def story() -> None:
        pager = ScriptedSink(script=[fails(AlertUndelivered("busy", retry_after_s=asked_s))])
        outbox = make({"pager": pager})
        with capture_logs():
            async with running(outbox):
                outbox.offer(alert())
                await asyncio.sleep(0.001)
                outbox.offer(alert(key="another rollout"))  # it is the receiver that is busy: this one waits too
                await settled(outbox)
        assert [at_s for at_s, _ in pager.taken] == pytest.approx([waited_s, waited_s], abs=0.01)

    virtually(story())


def test_a_refused_alert_is_given_up_loudly_and_goes_to_the_default() -> None:
    async def story() -> None:
        pager, log = ScriptedSink(forever=REFUSES), ScriptedSink()
        metrics = Metrics()
        outbox = make({"pager": pager, "log": log}, default=["log"], metrics=metrics)
        page = replace(alert(), receivers=("pager",))
        with capture_logs() as lines:
            async with running(outbox):
                outbox.offer(page)
                await settled(outbox)
        assert len(pager.attempts) == 1
        assert log.alerts == [page]
        assert outbox.is_settled(page)
        error = lines[0]
        assert (error["log_level"], error["event"]) == ("error", "alert given up")
        assert error["receiver"] == "pager"
        assert error["error"] == "the key is wrong"
        assert count(metrics, "serin_alerts_total", receiver="pager", result="refused") == 1
        assert count(metrics, "serin_alerts_total", receiver="log", result="delivered") == 1

    virtually(story())


def test_a_default_receiver_that_refuses_settles_the_alert() -> None:
    async def story() -> None:
        outbox = make({"log": ScriptedSink(forever=REFUSES)})
        with capture_logs():
            async with running(outbox):
                outbox.offer(alert())
                await settled(outbox)
        assert outbox.is_settled(alert())

    virtually(story())


def test_an_alert_nobody_took_for_a_day_expires() -> None:
    async def story() -> None:
        pager, metrics = ScriptedSink(forever=DOWN), Metrics()
        outbox = make({"pager": pager}, metrics=metrics)
        with capture_logs() as lines:
            async with running(outbox):
                outbox.offer(alert())
                await asyncio.sleep(86_399)
                assert count(metrics, "serin_outbox_pending") == 1
                await asyncio.sleep(61)
        assert outbox.is_settled(alert())
        assert len(lines) < 20  # a day of failures must not fill the log …
        assert lines[-1]["event"] == "alert given up"
        assert count(metrics, "serin_alerts_total", receiver="pager", result="retried") > 1000  # … but is counted
        assert count(metrics, "serin_alerts_total", receiver="pager", result="expired") == 1
        assert count(metrics, "serin_outbox_pending") == 0

    virtually(story())


def test_a_full_outbox_says_so_and_keeps_room_for_pages() -> None:
    async def story() -> None:
        pager = ScriptedSink(forever=hangs)
        outbox = make({"pager": pager}, capacity=10)
        with capture_logs() as lines:
            notices = [alert(key=f"rollout {number}", severity=Severity.NOTICE) for number in range(6)]
            assert [outbox.offer(each) for each in notices] == [True] * 5 + [False]
            assert not outbox.is_settled(notices[-1])
            pages = [alert(key=f"page {number}") for number in range(6)]
            assert [outbox.offer(each) for each in pages] == [True] * 5 + [False]
            assert outbox.offer(notices[0])  # folded: needs no room
        assert [line["log_level"] for line in lines] == ["error", "error"]

    virtually(story())


def test_a_sink_that_breaks_is_tried_again_and_leaves_a_trace() -> None:
    async def story() -> None:
        pager = ScriptedSink(script=[BREAKS])
        outbox = make({"pager": pager})
        with capture_logs() as lines:
            async with running(outbox):
                outbox.offer(alert())
                await settled(outbox)
        assert pager.alerts == [alert()]
        assert isinstance(lines[0]["exc_info"], KeyError)

    virtually(story())


def test_draining_tries_at_once_what_waits_and_ends_the_run() -> None:
    async def story() -> None:
        pager = ScriptedSink(script=[DOWN] * 8)
        outbox = make({"pager": pager})
        with capture_logs():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(outbox.run())
                outbox.offer(alert())
                await asyncio.sleep(65)
                waiting_s = asyncio.get_running_loop().time()
                pager.script.clear()
                assert await outbox.drain(5) == 0
                assert asyncio.get_running_loop().time() == pytest.approx(waiting_s, abs=0.1)
        assert pager.alerts == [alert()]

    virtually(story())


def test_draining_gives_up_in_time_and_says_what_is_left() -> None:
    async def story() -> None:
        outbox = make({"pager": ScriptedSink(forever=hangs), "log": ScriptedSink()})
        with capture_logs() as lines:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(outbox.run())
                outbox.offer(alert())
                assert await outbox.drain(2) == 1
        assert asyncio.get_running_loop().time() == pytest.approx(2, abs=0.1)
        assert lines[-1]["receivers"] == ["pager"]
        assert not outbox.is_settled(alert())

    virtually(story())


async def test_durations_are_slept_through_the_function_that_was_given() -> None:
    clock = ManualClock()
    slept: list[float] = []
    taken = asyncio.Event()

    class Pager:
        async def send(self, alert: Alert) -> None:
            if len(slept) < 3:
                raise AlertUndelivered("down", retry_after_s=7)
            taken.set()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(seconds)

    outbox = Outbox(
        {"pager": Pager()}, default=["pager"], clock=clock, metrics=Metrics(), rng=random.Random(1), sleep=sleep
    )
    with capture_logs():
        async with asyncio.timeout(10), running(outbox):
            clock.step_wall(-1_000_000)  # the wall clock has no say
            outbox.offer(alert())
            await taken.wait()
    assert slept == [7, 7, 7]


answers = st.sampled_from([None, DOWN, hangs, BREAKS, fails(AlertUndelivered("busy", retry_after_s=3))])
events = st.tuples(
    st.sampled_from([0.0, 0.5, 20.0]), st.sampled_from("ab"), st.sampled_from(["Blind", "Drift"]), st.booleans()
)


async def take() -> None:
    return


@settings(max_examples=60, deadline=None)
@given(
    scripts=st.lists(st.lists(answers, max_size=6), min_size=1, max_size=3),
    story=st.lists(events, min_size=1, max_size=8),
)
def test_whatever_fails_each_receiver_gets_all_news_once_and_in_order(
    scripts: list[list[Answer | None]], story: list[tuple[float, str, str, bool]]
) -> None:
    async def play() -> None:
        failing = {
            f"sink {number}": ScriptedSink(script=[answer or take for answer in script])
            for number, script in enumerate(scripts)
        }
        sinks = failing | {"healthy": ScriptedSink()}
        outbox = make(dict(sinks))
        offered = []
        offered_s = []
        with capture_logs():
            async with running(outbox):
                for number, (pause_s, key, reason, resolved) in enumerate(story):
                    offered.append(alert(number, key=key, reason=reason, resolved=resolved))
                    offered_s.append(asyncio.get_running_loop().time())
                    assert outbox.offer(offered[-1])
                    await asyncio.sleep(pause_s)
                await settled(outbox)
        assert all(outbox.is_settled(each) for each in offered)
        for sink in sinks.values():
            for key in "ab":
                news = only_news([each for each in offered if each.dedup_key == key])
                assert [each for each in sink.alerts if each.dedup_key == key] == news
        for taken_s, taken in sinks["healthy"].taken:
            assert taken_s == pytest.approx(offered_s[offered.index(taken)], abs=0.01)

    virtually(play())


def only_news(alerts: list[Alert]) -> list[Alert]:
    """Leave out what says the same as something before it, with no resolve or new trigger in between."""
    news: list[Alert] = []
    said: set[str] = set()
    for each in alerts:
        if news and news[-1].resolved != each.resolved:
            said.clear()
        if each.reason not in said:
            news.append(each)
            said.add(each.reason)
    return news


def count(metrics: Metrics, name: str, **labels: str) -> float:
    value = metrics.registry.get_sample_value(name, labels)
    assert value is not None
    return value
