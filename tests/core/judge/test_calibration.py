"""A small, seeded calibration: how often harmless releases are rolled back, and how fast harm is found."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from analyzer.core.judge import JudgeRequest, JudgeSettings, Step, Verdict, initial_state, judge
from tests.core.judge.worlds import Behaviour, World

SETTINGS = JudgeSettings(warm_up_s=20.0)
NEVER = float("inf")


def harm_seconds(
    rollouts: int, seconds: float, *, world: Callable[[int], World], canary: Behaviour | None = None
) -> list[float]:
    """Seconds after which each rollout was found harmful, on a fixed schedule of weights."""
    worlds = [world(number) for number in range(rollouts)]
    states = [initial_state()] * rollouts
    found = [NEVER] * rollouts
    turns = int(seconds / worlds[0].seconds)
    for turn in range(turns):
        elapsed_s = turn * worlds[0].seconds
        weight = (10.0, 25.0, 50.0)[3 * turn // turns]
        requests = []
        for one, state in zip(worlds, states, strict=True):
            one.weight = weight
            interval = one.interval(canary, pod_age_s=elapsed_s + one.seconds)
            requests.append(JudgeRequest(state, SETTINGS, Step(str(weight), 50.0), (interval,)))
        answers = judge(requests)
        states = [answer.state for answer in answers]
        for number, answer in enumerate(answers):
            if answer.verdict is Verdict.HARM and found[number] == NEVER:
                found[number] = elapsed_s + worlds[0].seconds
    return found


def share_found(found: Sequence[float]) -> float:
    return float(np.mean(np.isfinite(found)))


@pytest.mark.parametrize(("noise", "rate", "seconds"), [(0.0, 200.0, 2.0), (0.3, 200.0, 2.0), (0.3, 2000.0, 15.0)])
def test_harmless_releases_are_seldom_rolled_back(noise: float, rate: float, seconds: float) -> None:
    found = harm_seconds(
        200,
        40 * seconds,
        world=lambda seed: World(seed=seed, rate=rate, seconds=seconds, noise=noise, pods=(4, 2)),
    )
    assert share_found(found) <= 0.03


def test_clumps_of_errors_without_a_history_are_seldom_taken_for_harm() -> None:
    found = harm_seconds(
        200, 1200.0, world=lambda seed: World(seed=seed, rate=1000.0, seconds=15.0, clump=4, pods=(18, 2))
    )
    assert share_found(found) <= 0.03


@pytest.mark.parametrize(
    ("canary", "at_most_s"),
    [
        (Behaviour(errors=0.05), 14.0),
        (Behaviour(errors=0.01), 120.0),
        (Behaviour(median_ms=40.0), 60.0),
    ],
    ids=["5 % errors", "1 % errors", "twice as slow"],
)
def test_harm_is_found_in_time(canary: Behaviour, at_most_s: float) -> None:
    found = harm_seconds(30, 240.0, world=lambda seed: World(seed=seed), canary=canary)
    assert share_found(found) == 1.0
    assert float(np.median(found)) <= at_most_s


def test_a_release_exactly_at_the_margin_is_seldom_called_proven() -> None:
    # The margin for errors at 25 % with the default budget: 1.1 times 0.1 % + 0.4 %. Harm plays no part in a claim.
    at_margin = Behaviour(errors=1.1 * 0.001 + 0.004)
    worlds = [World(seed=seed, rate=1000.0, pods=(4, 2)) for seed in range(100)]
    states = [initial_state() for _ in worlds]
    proven = np.zeros(len(worlds), dtype=np.bool_)
    for _ in range(40):
        step = Step("primary/10", 25.0)
        intervals = [world.interval(at_margin) for world in worlds]
        answers = judge([JudgeRequest(s, SETTINGS, step, (i,)) for s, i in zip(states, intervals, strict=True)])
        states = [answer.state for answer in answers]
        proven |= [a.evidence.proof["errors"] >= a.evidence.log_proof_threshold for a in answers]
    assert proven.mean() <= 0.05
