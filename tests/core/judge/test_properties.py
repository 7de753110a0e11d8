"""What holds of the judge as a whole, whatever the counts."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from analyzer.core.judge import (
    Channel,
    Interval,
    JudgeRequest,
    JudgeSettings,
    JudgeState,
    Step,
    Verdict,
    VersionCounts,
    dump_state,
    initial_state,
    judge,
    learn,
    load_state,
)
from analyzer.core.judge.state import layout
from tests.core.judge.test_learning import history
from tests.core.judge.worlds import TO_25, Behaviour, World, counts, feed

WARM = JudgeSettings(warm_up_s=0.0)


def plain(n1: int, x1: int, n2: int, x2: int, *, slow: tuple[int, int] = (0, 0), weight: float = 0.0) -> Interval:
    """An interval of many pods, so that pods that differ widen no tolerance; no weight, so that shares say nothing."""
    stable, canary = counts(n1, x1, slow=slow[0]), counts(n2, x2, slow=slow[1])
    many = 10**9
    return Interval(15.0, 15.0, weight, (100.0,), replace(stable, pods=many), replace(canary, pods=many))


def after(*intervals: Interval, settings: JudgeSettings = WARM) -> JudgeState:
    return feed(initial_state(), intervals, settings=settings).state


N1, N2 = 14, 6
TABLES = [(x1, x2) for x1 in range(N1 + 1) for x2 in range(N2 + 1)]


def expected_growth(state: JudgeState, made: list[Interval], *, p1: float, p2: float) -> float:
    before = feed(state, [], settings=WARM).evidence.log_e
    answers = judge([JudgeRequest(state, WARM, TO_25, (interval,)) for interval in made])
    grown = np.exp([answer.evidence.log_e - before for answer in answers])
    x1, x2 = np.array(TABLES).T
    return float((binom.pmf(x1, N1, p1) * binom.pmf(x2, N2, p2) * grown).sum())


@pytest.mark.parametrize("p1", [0.0, 0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("seen", [(1000, 1), (1000, 300), (3, 0)])
def test_evidence_of_harm_by_errors_is_not_expected_to_grow_on_the_boundary(p1: float, seen: tuple[int, int]) -> None:
    state = after(plain(*seen, 0, 0), plain(*seen, 40, 3))
    p2 = min(1.0, 1.1 * p1 + 1e-4)
    made = [plain(N1, x1, N2, x2) for x1, x2 in TABLES]
    assert expected_growth(state, made, p1=p1, p2=p2) <= 1.0 + 1e-6


@pytest.mark.parametrize("p1", [0.001, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("usual", [10, 200, 950])
def test_evidence_of_harm_by_latency_is_not_expected_to_grow_within_the_tolerance(p1: float, usual: int) -> None:
    state = after(plain(1000, 0, 0, 0, slow=(usual, 0)), plain(1000, 0, 10, 0, slow=(usual, 1)))
    made = [plain(N1, 0, N2, 0, slow=table) for table in TABLES]
    assert expected_growth(state, made, p1=p1, p2=p1) <= 1.0 + 1e-6


@pytest.mark.parametrize("p1", [0.0, 0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("seen", [(1000, 1), (1000, 60), (1000, 300), (3, 0)])
def test_evidence_of_harmlessness_is_not_expected_to_grow_at_the_margin(p1: float, seen: tuple[int, int]) -> None:
    state = after(plain(*seen, 0, 0), plain(*seen, 40, 1))
    p2 = min(1.0, 1.1 * p1 + 0.001 / 0.25)
    before = feed(state, [], settings=WARM).evidence.proof["errors"]
    answers = judge([JudgeRequest(state, WARM, TO_25, (plain(N1, x1, N2, x2),)) for x1, x2 in TABLES])
    grown = np.exp([answer.evidence.proof["errors"] - before for answer in answers])
    x1, x2 = np.array(TABLES).T
    assert float((binom.pmf(x1, N1, p1) * binom.pmf(x2, N2, p2) * grown).sum()) <= 1.0 + 1e-6


KNOWN = initial_state(learn(history(), JudgeSettings()))
SIZES = st.sampled_from([0, 1, 2, 300, 10**6, 10**12])
PARTS = st.sampled_from([0.0, 0.001, 0.5, 1.0])


@given(
    rows=st.lists(st.tuples(SIZES, SIZES, PARTS, PARTS, PARTS, PARTS), min_size=1, max_size=6),
    ages=st.sampled_from([0.0, 20.0, float("inf")]),
    weight=st.sampled_from([0.0, 1.0, 50.0, 100.0]),
    taught=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_evidence_is_finite_with_and_without_a_history_whatever_the_counts(
    rows: list[tuple[int, int, float, float, float, float]], *, ages: float, weight: float, taught: bool
) -> None:
    state = KNOWN if taught else initial_state()
    edges = KNOWN.edges_ms
    strict = JudgeSettings(limit_error_rate=0.02, limit_p99_ms=100.0)
    for n1, n2, *parts in rows:
        stable, canary = (
            counts(n, int(n * failed), slow=int(n * slow), edges=len(edges))
            for n, failed, slow in ((n1, parts[0], parts[1]), (n2, parts[2], parts[3]))
        )
        young = replace(canary, youngest_pod_age_s=ages)
        answer = feed(state, [Interval(15.0, 15.0, weight, edges, stable, young)], settings=strict)
        seen = answer.evidence
        figures = [seen.log_e, seen.p_value, seen.sample_ratio_log_e, *seen.channels.values(), *seen.limits.values()]
        assert np.isfinite([*figures, *seen.proof.values()]).all()
        assert load_state(dump_state(answer.state)) == answer.state
        state = answer.state


@given(order=st.permutations(range(6)), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_rollouts_does_not_matter(order: list[int], seed: int) -> None:
    requests = []
    for number in range(6):
        world = World(
            seed=seed + number, edges_ms=[(10.0, 20.0, 40.0), ()][number % 2], rate=[200.0, 0.0, 5000.0][number % 3]
        )
        intervals = tuple(world.interval(Behaviour(errors=0.01 * number)) for _ in range(number % 4))
        requests.append(JudgeRequest(initial_state(), WARM, TO_25, intervals))
    straight = judge(requests)
    shuffled = judge([requests[n] for n in order])
    for place, number in enumerate(order):
        assert shuffled[place].state == straight[number].state
        assert shuffled[place].verdict is straight[number].verdict
        assert shuffled[place].evidence.log_e == straight[number].evidence.log_e


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_counts_that_add_up_to_the_same_interval_are_the_same(parts: list[int], seed: int) -> None:
    # Rows of several reporters are sums before they come here; a sum does not know its order.
    world = World(seed=seed)
    past = feed(initial_state(), [world.interval() for _ in range(4)], settings=WARM).state
    versions = [world.interval().canary for _ in parts]

    def together(rows: list[VersionCounts]) -> VersionCounts:
        return VersionCounts(
            requests=sum(r.requests for r in rows),
            errors=sum(r.errors for r in rows),
            latency_counts=np.sum([r.latency_counts for r in rows], axis=0),
        )

    base = world.interval()
    one, other = (replace(base, canary=together(rows)) for rows in (versions, versions[::-1]))
    assert feed(past, [one], settings=WARM) == feed(past, [other], settings=WARM)


@given(seed=st.integers(0, 1000), cut=st.integers(0, 8))
@settings(max_examples=10, deadline=None)
def test_with_a_history_too_storing_and_going_on_equals_never_having_stopped(seed: int, cut: int) -> None:
    known = initial_state(learn(history(), JudgeSettings()))
    world = World(seed=seed, edges_ms=known.edges_ms, rate=2000.0, pods=(20, 2))
    strict = JudgeSettings(limit_error_rate=0.02, limit_p99_ms=100.0)
    intervals = [world.interval(Behaviour(errors=0.005), pod_age_s=2.0 * n + 2.0) for n in range(8)]
    whole = feed(known, intervals, settings=strict)
    stopped = feed(known, intervals[:cut], settings=strict)
    resumed = feed(load_state(dump_state(stopped.state)), intervals[cut:], settings=strict)
    assert resumed == whole


def test_a_state_with_everything_in_it_fits_into_four_kilobytes() -> None:
    past = history()
    wide = World(rate=3000.0, seconds=15.0, noise=0.5)
    latency = np.random.default_rng(1).integers(1, 10**4, (240, 20, 20))
    full = replace(
        past, edges_ms=wide.edges_ms, latency_counts=latency, pod_age_s=np.tile(np.arange(240.0), (20, 1)).T * 15
    )
    state = initial_state(learn(full, JudgeSettings()))
    spread = Behaviour(median_ms=200.0, sigma=3.0)
    intervals = [wide.interval(spread, stable=spread, pod_age_s=15.0 * n) for n in range(300)]
    state = feed(state, intervals, settings=JudgeSettings(limit_error_rate=0.5, limit_p99_ms=1e3)).state
    assert len(dump_state(state)) <= 4096
    assert len(state.record) == layout(19).itemsize


def test_evidence_is_made_when_it_is_read_and_equals_itself() -> None:
    world = World()
    one, other = (feed(initial_state(), [world.interval()]) for world in (World(), World()))
    assert one == other
    assert one.evidence is one.evidence
    assert one != feed(initial_state(), [world.interval(), world.interval()])


@given(
    weight=st.one_of(st.sampled_from([0.0, 1e-9, 100.0, float("nan"), float("inf")]), st.floats(-5, 105)),
    requests=st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)),
    limit=st.one_of(st.none(), st.floats(0.0, 2.0)),
    alpha=st.sampled_from([1e-300, 1e-3, 0.5]),
)
@settings(max_examples=80, deadline=None)
def test_no_weight_limit_or_level_makes_evidence_that_is_no_number(
    *, weight: float, requests: tuple[int, int], limit: float | None, alpha: float
) -> None:
    stable, canary = (counts(n, n // 3, slow=n // 2) for n in requests)
    interval = Interval(15.0, 15.0, weight, (100.0,), stable, canary)
    strict = JudgeSettings(false_rollback=alpha, limit_error_rate=limit, limit_p99_ms=limit)
    answer = feed(initial_state(), [interval] * 4, settings=strict)
    seen = answer.evidence
    figures = [
        seen.log_e,
        seen.sample_ratio_log_e,
        *seen.channels.values(),
        *seen.limits.values(),
        *seen.proof.values(),
    ]
    assert np.isfinite(figures).all()
    assert load_state(dump_state(answer.state)) == answer.state


def test_completions_alone_can_be_the_culprit_and_nothing_is_proven_then() -> None:
    world = World(rate=3000.0, seconds=15.0, weight=10.0)
    lenient = JudgeSettings(warm_up_s=0.0, harm_budget=0.01)
    verdicts = []
    state = initial_state()
    for _ in range(10):
        answer = feed(state, [world.interval(Behaviour(completed=0.8))], settings=lenient, step=Step("s", 25.0))
        state = answer.state
        verdicts.append(answer.verdict)
    assert verdicts[-1] is Verdict.HARM
    assert answer.evidence.culprit is Channel.COMPLETIONS
    assert Verdict.PROVEN not in verdicts
