"""What a rollout learns from the stable version's own pods before it begins, and what it does without them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from analyzer.app.history.lessons import Lesson, Pupil, history_of_pods, teach
from analyzer.app.history.pods import read_pods
from analyzer.app.judging import JudgeAnswer, JudgeOrder, Judging
from analyzer.app.metrics import Metrics
from analyzer.core.judge import JudgeSettings, JudgeState, initial_state, learn, load_state
from analyzer.core.judge.state import layout
from analyzer.errors import MetricsUnavailable
from analyzer.ports import TelemetryQuery, TelemetryWindow, Workload
from analyzer.replay.learning import history_of
from analyzer.replay.lines import HistoryLine
from tests.app.loop import POLICY, Loop
from tests.app.model import NAMESPACE
from tests.app.test_judging import in_flight
from tests.app.test_turns import quick_mesh
from tests.fakes import FakeTelemetry
from tests.replay.past import EVERY_S, START_S, V1, Past, Served, pods_past

N = 240
PUPIL = Pupil(key="shop/cart", stable=V1, pods=6, routes=None, settings=JudgeSettings())


@dataclass
class Pods:
    """Per-pod telemetry whose clock stands at the end of the past."""

    past: Past
    at_s: float = START_S + N * EVERY_S
    queries: list[TelemetryQuery] = field(default_factory=list)
    gate: asyncio.Event | None = None

    async def now_s(self) -> float:
        return self.at_s

    async def fetch(self, query: TelemetryQuery) -> TelemetryWindow:
        self.queries.append(query)
        if self.gate is not None:
            await self.gate.wait()
        return await self.past.fetch(query)


async def lessons(
    telemetry: Pods | FakeTelemetry, pupils: Sequence[Pupil], *, patience_s: float = 30.0
) -> list[Lesson]:
    return await teach(telemetry, pupils, call_timeout_s=5.0, patience_s=patience_s)


def has_learned(state: JudgeState) -> bool:
    return bool(np.frombuffer(state.record, layout(len(state.edges_ms)))["learned"][0]) if state.record else False


async def test_the_stable_versions_pods_teach_the_judge() -> None:
    [lesson] = await lessons(Pods(pods_past()), [PUPIL])
    assert has_learned(lesson.state)
    assert lesson.said.startswith("learned from 6 pods over 59 min")


async def test_it_is_what_a_replay_learns_of_the_same_past() -> None:
    past = pods_past()
    counts = await read_pods(past, V1, from_s=START_S, to_s=START_S + N * EVERY_S)
    assert counts is not None
    counts = counts.newest(N)
    lines = [
        HistoryLine(
            "r",
            t=counts.start_s + (row + 1) * EVERY_S,
            seconds=EVERY_S,
            requests=counts.requests[row],
            errors=counts.errors[row],
            latency_counts=counts.latency_counts[row],
            pod_age_s=counts.age_s[row],
        )
        for row in range(counts.n_intervals)
    ]
    [lesson] = await lessons(Pods(past), [PUPIL])
    assert lesson.state == initial_state(learn(history_of(lines, counts.edges_ms), JudgeSettings()))


async def test_a_noisy_past_teaches_more_tolerance_than_a_quiet_one() -> None:
    quiet, noisy = [(await lessons(Pods(pods_past(noise=sd)), [PUPIL]))[0] for sd in (0.0, 0.8)]

    def noise(lesson: Lesson) -> float:
        return float(np.frombuffer(lesson.state.record, layout(len(lesson.state.edges_ms)))["noise"][0, 0])

    assert noise(noisy) > 2 * noise(quiet)


@pytest.mark.parametrize(
    ("telemetry", "pupil", "why"),
    [
        (Pods(Past()), PUPIL, 'no per-pod telemetry (reporter="destination") of shop/cart-v1'),
        (Pods(pods_past(n=10), START_S + 10 * EVERY_S), PUPIL, "only 9 intervals of per-pod telemetry"),
        (
            Pods(pods_past(n=40)),
            replace(PUPIL, routes=frozenset({"insiders"})),
            "per-pod telemetry does not tell a route's",
        ),
    ],
)
async def test_without_a_past_the_usual_values_are_taken_and_it_is_told_why(
    telemetry: Pods, pupil: Pupil, why: str
) -> None:
    [lesson] = await lessons(telemetry, [pupil])
    assert lesson.state == initial_state()
    assert lesson.said.startswith(f"usual values: {why}")


async def test_a_past_that_cannot_be_read_is_told_with_the_reason() -> None:
    mesh = quick_mesh()
    gone = FakeTelemetry(mesh.clock, now_error=MetricsUnavailable("Prometheus at http://p: nothing listens there"))
    [lesson] = await lessons(gone, [PUPIL])
    assert lesson == Lesson(
        initial_state(),
        "usual values: its history could not be read (Prometheus at http://p: nothing listens there)",
    )


async def test_a_past_that_does_not_come_is_not_waited_for() -> None:
    hung = Pods(pods_past(n=40), gate=asyncio.Event())
    first, second = await lessons(hung, [PUPIL, replace(PUPIL, pods=100)], patience_s=0.05)
    assert first.said == second.said == "usual values: its history was not read within 0.05 s"


@pytest.mark.parametrize("part", ["learn", "read_all_pods"])
async def test_a_bug_in_learning_reaches_no_rollout(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(f"analyzer.app.history.lessons.{part}", broken)
    [lesson] = await lessons(Pods(pods_past(n=40), START_S + 40 * EVERY_S), [PUPIL])
    assert lesson.said == "usual values: learning failed on its history (ZeroDivisionError); this is a bug of Serin"


async def test_many_that_begin_together_are_read_together_and_never_too_many_pods_at_once() -> None:
    rng = np.random.default_rng(1)
    past, pupils = Past(), []
    for number in range(20):
        stable = Workload("shop", f"s{number}")
        served = Served.make(rng, np.full(40, 5.0), errors=np.full(40, 0.01))
        past.add_proxy(f"10.0.0.{number}:15020", {stable: served}, reporter="destination", pod=f"s{number}-0")
        pupils.append(replace(PUPIL, key=stable.name, stable=stable, pods=5))
    telemetry = Pods(past, START_S + 40 * EVERY_S)
    taught = await lessons(telemetry, pupils)
    assert {lesson.said.split(" over ")[0] for lesson in taught} == {"learned from 1 pod"}
    assert {len(query.workloads) for query in telemetry.queries} == {10}
    assert len({query.workloads for query in telemetry.queries}) == 2
    assert max(query.window_s for query in telemetry.queries) < 700
    assert len(telemetry.queries) == 2 * (1 + 8)


async def test_where_no_pods_report_an_hour_of_nothing_is_not_read() -> None:
    telemetry = Pods(Past())
    await lessons(telemetry, [PUPIL])
    assert len(telemetry.queries) == 1


async def test_only_as_much_is_read_as_is_wanted() -> None:
    """With a scrape each 15 s an hour has 240 intervals; where scrapes are more frequent, less than an hour is read."""
    past = pods_past(n=N)
    fast = Past(
        [(labels, [(START_S + (t - START_S) / 3, v) for t, v in samples]) for labels, samples in past.rows]
    )  # a scrape every 5 s: the past is 20 minutes long, and so are 240 intervals
    slow, quick = Pods(past), Pods(fast, START_S + N * EVERY_S / 3)
    await lessons(slow, [PUPIL])
    [lesson] = await lessons(quick, [PUPIL])
    assert lesson.said.startswith("learned from 6 pods over 19 min")
    counts = await read_pods(past, V1, from_s=START_S, to_s=START_S + N * EVERY_S)
    assert counts is not None
    assert history_of_pods(counts.newest(50)).requests.shape == (50, 6)


# --- among the other rollouts ---


async def beginning() -> tuple[Loop, JudgeOrder]:
    mesh, order = await in_flight()
    loop = Loop(mesh)
    return loop, replace(order, state=initial_state(), demand=replace(order.demand, since_s=None, interval_s=None))


def own_pods(at_s: float, *, pods: int = 4) -> Pods:
    """An hour of the example's stable version up to a time."""
    rng = np.random.default_rng(5)
    past = Past()
    for number in range(pods):
        served = Served.make(rng, np.full(N, 40.0), errors=np.full(N, 0.001))
        stable = Workload(NAMESPACE, "helloworld-v1")
        past.add_proxy(f"10.0.0.{number}:15020", {stable: served}, reporter="destination", pod=f"v1-{number}")
    return Pods(past.shifted(at_s - START_S - N * EVERY_S), at_s)


async def test_those_in_flight_do_not_wait_for_one_that_learns() -> None:
    loop, begins = await beginning()
    _, flies = await in_flight()
    loop.mesh.scrape()
    pods = own_pods(loop.mesh.clock.now_s())
    pods.gate = asyncio.Event()
    hub = Judging(
        FakeTelemetry(loop.mesh.clock, loop.mesh.window),
        loop.mesh.clock,
        Metrics(),
        period_s=0.001,
        call_timeout_s=5.0,
        pods=pods,
    )
    told: asyncio.Queue[JudgeAnswer] = asyncio.Queue()
    hub.submit(begins, told.put_nowait)
    hub.submit(replace(flies, key="other/policy"), told.put_nowait)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(hub.run())
        assert (await told.get()).order.key == "other/policy"
        hub.submit(begins, told.put_nowait)  # each turn orders anew
        pods.gate.set()
        first = await told.get()
        assert first.order.key == begins.key
        assert first.order.dispersion.startswith("learned from 4 pods over")
        assert first.assessment is not None
        assert has_learned(first.assessment.state)
        task.cancel()
    assert told.empty()


async def test_a_rollout_says_in_its_status_what_it_learned_and_does_not_learn_again() -> None:
    mesh = quick_mesh()
    pods = own_pods(mesh.clock.now_s())
    loop = Loop(mesh, pods=pods)
    await loop.until(lambda: loop.phase == "Progressing")
    for _ in range(8):
        await loop.cycle()
    status = mesh.read(POLICY)["status"]
    assert status["dispersion"].startswith("learned from 4 pods over 59 min")
    assert has_learned(load_state(status["checkpoint"]["judge"]))
    read = len(pods.queries)
    assert read
    loop.life = None  # killed
    await loop.until(lambda: loop.phase == "Promoted")
    assert len(pods.queries) == read
    assert mesh.read(POLICY)["status"]["dispersion"] == status["dispersion"]


async def test_edges_that_only_the_pods_have_are_forgotten_again() -> None:
    loop, begins = await beginning()
    loop.mesh.scrape()
    past = own_pods(loop.mesh.clock.now_s())
    rows = [({**labels, "le": f"{float(labels['le']) + 1:g}"} if labels.get("le", "+Inf") != "+Inf" else labels, samples)
            for labels, samples in past.past.rows]  # fmt: skip
    hub = Judging(
        FakeTelemetry(loop.mesh.clock, loop.mesh.window),
        loop.mesh.clock,
        Metrics(),
        period_s=0.001,
        call_timeout_s=5.0,
        pods=replace(past, past=Past(rows)),
    )
    await hub.learn([begins])
    [answer] = await hub.answer([begins])
    assert answer.order.dispersion == "usual values: its pods' histograms have other edges than their callers'"
    assert answer.assessment is not None
    assert len(answer.assessment.state.edges_ms) == 19
