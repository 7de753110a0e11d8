"""The ledger against the truth: worlds whose every request is known, seen only through scrapes."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.app.ledger import Demand, Statement, VersionSource, build_intervals, window_for
from analyzer.core.judge.types import Interval, VersionCounts
from analyzer.ports import TelemetryQuery, TelemetryWindow, Workload
from tests.app.ledger_scenes import Row, batch, cut, request_labels

WIDTH = 10  # seconds between scrapes, and of a bin
SCRAPES = 24
SINCE = 80.0  # everything from here on is to be counted
END = WIDTH * SCRAPES + 2 * WIDTH + 1.0
EDGES = ("10", "100", "+Inf")
WORKLOADS = [Workload("shop", f"{name}-{version}") for name in ("cart", "pay") for version in ("v1", "v2")]
DEMANDS = [
    Demand(
        key=f"shop/{stable.name}",
        stable=VersionSource(stable),
        canary=VersionSource(canary),
        since_s=SINCE,
        interval_s=WIDTH,
    )
    for stable, canary in (WORKLOADS[:2], WORKLOADS[2:])
]


class Kind(NamedTuple):
    """Requests that one series counts."""

    workload: int
    code: str


KINDS = [Kind(workload, code) for workload in range(4) for code in ("200", "503", "404")]


@dataclass
class Look:
    """What happens to one reporter between two scrapes, and at the second."""

    requests: dict[Kind, list[int]]  # latency class of each request
    seen: bool  # the scrape succeeds
    restart: float | None  # share of the time since the last scrape after which a new process runs


@dataclass
class Reporter:
    name: str
    phase: float
    first: int  # number of its first scrape: a process that began within the interval before
    old: dict[Kind, list[int]]  # what it counted before the world began, if it is older
    looks: list[Look]


@dataclass
class Truth:
    """What each bin of a demand should hold."""

    counts: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    filled: set[int] = field(default_factory=set)


requests = st.dictionaries(st.sampled_from(KINDS), st.lists(st.integers(0, 2), max_size=6), max_size=5)
looks = st.builds(
    Look, requests, seen=st.sampled_from([True] * 7 + [False]), restart=st.sampled_from([None] * 9 + [0.2, 0.7])
)


@st.composite
def reporters(draw: st.DrawFn, name: str) -> Reporter:
    first = draw(st.sampled_from([0, 0, 0, 9, 15]))
    return Reporter(
        name=name,
        phase=draw(st.integers(1, 10 * WIDTH)) / 10,
        first=first,
        old=draw(requests) if first == 0 else {},
        looks=draw(st.lists(looks, min_size=SCRAPES, max_size=SCRAPES)),
    )


worlds = st.integers(1, 3).flatmap(lambda n: st.tuples(*(reporters(f"proxy-{k}:15020") for k in range(n))))


@dataclass
class Store:
    """The rows of a world, as Prometheus keeps them."""

    requests: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    durations: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    uptimes: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def scrape(self, at: str, time: float, started: float, counted: dict[Kind, list[int]]) -> None:
        # Envoy sets its uptime every 5 s.
        self._add(
            self.uptimes,
            {"__name__": "envoy_server_uptime", "job": "mesh", "instance": at},
            time,
            (time - started) // 5 * 5,
        )
        for kind, classes in counted.items():
            labels = request_labels(WORKLOADS[kind.workload], at, {"response_code": kind.code})
            self._add(self.requests, labels, time, len(classes))
            for place, edge in enumerate(EDGES):
                name = "istio_request_duration_milliseconds_bucket"
                self._add(
                    self.durations, {**labels, "le": edge, "__name__": name}, time, sum(c <= place for c in classes)
                )

    @staticmethod
    def _add(
        table: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]],
        labels: dict[str, str],
        time: float,
        value: float,
    ) -> None:
        table[tuple(sorted(labels.items()))].append((time, value))

    def rows(self) -> tuple[list[Row], list[Row], list[Row]]:
        requests, durations, uptimes = (
            [as_row(labels, samples) for labels, samples in table.items()]
            for table in (self.requests, self.durations, self.uptimes)
        )
        return requests, durations, uptimes


def as_row(labels: tuple[tuple[str, str], ...], samples: list[tuple[float, float]]) -> Row:
    return dict(labels), samples


def play(world: tuple[Reporter, ...]) -> tuple[Store, list[Truth]]:
    """Let a world happen; what a scrape shows, and what it should count for."""
    store, truths = Store(), [Truth() for _ in DEMANDS]
    for reporter in world:
        for show in _shows(reporter, store):
            for number, truth in enumerate(truths):
                _expect(truth, number, show)
    return store, truths


class Show(NamedTuple):
    """One successful scrape."""

    time: float
    known: bool  # a baseline is known, and recent enough
    fresh: dict[Kind, list[int]]  # since the last scrape, by the process that answers now
    counted: dict[Kind, list[int]]


def _shows(reporter: Reporter, store: Store) -> Iterator[Show]:
    counted = defaultdict(list, {kind: list(classes) for kind, classes in reporter.old.items() if classes})
    started = -5000.0 if reporter.first == 0 else (reporter.first - 0.5) * WIDTH + reporter.phase
    fresh: dict[Kind, list[int]] = defaultdict(list)
    last: float | None = None
    shown = 0  # scrapes of this process
    for number, look in enumerate(reporter.looks):
        if number < reporter.first:
            continue
        time = number * WIDTH + reporter.phase
        restart = (
            look.restart is not None and shown >= 3
        )  # a process that dies in its first seconds: see test_ledger_counts
        if restart and look.restart is not None:
            started = time - WIDTH * (1 - look.restart)
            counted, fresh, shown = defaultdict(list), defaultdict(list), 0
        for kind, classes in look.requests.items():
            if classes:
                counted[kind] += classes
                fresh[kind] += classes
        # Its very first scrape is never missed: nobody could know whether it had begun.
        if not look.seen and number != reporter.first and not restart:
            continue
        known = (last is None and reporter.first > 0) or shown == 0 or (last is not None and time - last <= 2.5 * WIDTH)
        if last is None and reporter.first == 0:
            known = False
        store.scrape(reporter.name, time, started, counted)
        yield Show(time, known, fresh, counted)
        last, fresh, shown = time, defaultdict(list), shown + 1


def _expect(truth: Truth, demand: int, show: Show) -> None:
    own = (2 * demand, 2 * demand + 1)
    number = -int(-(show.time - SINCE) // WIDTH)  # the grid begins at SINCE
    if show.time <= SINCE or not any(kind.workload in own for kind in show.counted):
        return
    truth.filled.add(number)
    if not show.known:
        return
    counts = truth.counts[number]
    for kind, classes in show.fresh.items():
        if kind.workload in own:
            role = own.index(kind.workload)
            counts[f"requests {role}"] += len(classes)
            counts[f"errors {role}"] += len(classes) if kind.code == "503" else 0
            for place in classes:
                counts[f"latency {role} {place}"] += 1


def read(rows: tuple[list[Row], list[Row], list[Row]], end_s: float, window_s: float) -> TelemetryWindow:
    query = TelemetryQuery(frozenset(WORKLOADS), end_s, window_s)
    batches = [batch(row for full in part if (row := cut(full, query)) is not None) for part in rows]
    return TelemetryWindow(query, *batches)


def as_counter(interval: Interval) -> Counter[str]:
    counts: Counter[str] = Counter()
    roles: tuple[VersionCounts, VersionCounts] = (interval.stable, interval.canary)
    for role, version in enumerate(roles):
        counts[f"requests {role}"] += version.requests
        counts[f"errors {role}"] += version.errors
        for place, count in enumerate(version.latency_counts.tolist()):
            counts[f"latency {role} {place}"] += count
    return +counts


def as_dict(statement: Statement) -> dict[float, tuple[float, Counter[str]]]:
    return {i.end_s: (i.seconds, as_counter(i)) for i in statement.intervals}


def expected(truth: Truth) -> dict[float, tuple[float, Counter[str]]]:
    said, before = {}, SINCE
    for number in sorted(truth.filled):
        end = float(SINCE + number * WIDTH)
        if number in truth.counts:
            said[end] = (end - max(before, end - 3 * WIDTH), +truth.counts[number])
        before = end
    return said


@settings(max_examples=150, deadline=None)
@given(world=worlds)
def test_every_count_comes_back_exactly(world: tuple[Reporter, ...]) -> None:
    store, truths = play(world)
    statements = build_intervals(read(store.rows(), END, END + 10), DEMANDS)

    assert [as_dict(statement) for statement in statements] == [expected(truth) for truth in truths]


@settings(max_examples=60, deadline=None)
@given(world=worlds, shuffle=st.randoms(use_true_random=False), twice=st.booleans())
def test_the_order_of_rows_and_rows_sent_twice_change_nothing(
    world: tuple[Reporter, ...], shuffle: Random, *, twice: bool
) -> None:
    store, truths = play(world)
    rows = store.rows()
    for part in rows:
        if twice:
            part += part[: len(part) // 2]  # noqa: PLW2901 — the same list, made longer
        shuffle.shuffle(part)
    statements = build_intervals(read(rows, END, END + 10), DEMANDS)

    assert [as_dict(statement) for statement in statements] == [expected(truth) for truth in truths]


@settings(max_examples=80, deadline=None)
@given(world=worlds, turns=st.lists(st.floats(SINCE, END - 1), max_size=8))
def test_turns_of_any_length_count_the_same_as_one(world: tuple[Reporter, ...], turns: list[float]) -> None:
    store, truths = play(world)
    rows, demands = store.rows(), DEMANDS
    said: list[dict[float, tuple[float, Counter[str]]]] = [{} for _ in DEMANDS]
    for now in [*sorted(turns), END]:
        statements = build_intervals(read(rows, now, window_for(demands, now)), demands)
        for number, statement in enumerate(statements):
            assert not said[number].keys() & as_dict(statement).keys()
            said[number] |= as_dict(statement)
        demands = [replace(d, since_s=s.until_s) for d, s in zip(demands, statements, strict=True)]

    assert said == [expected(truth) for truth in truths]
