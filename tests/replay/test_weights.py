import numpy as np
import pytest

from analyzer.replay.weights import WeightFollower

STEPS = (1.0, 5.0, 10.0, 25.0, 50.0, 100.0)


def follow(requests: int, weights: list[float], *, kept: float = 1.0, seed: int = 1) -> list[float]:
    rng = np.random.default_rng(seed)
    follower = WeightFollower(STEPS)
    told = []
    for weight in weights:
        canary = int(rng.binomial(requests, weight / 100))
        done = int(rng.binomial(canary, kept))
        told.append(follower.next_weight(stable=requests - canary, canary=done))
    return told


def test_the_weight_is_the_step_that_explains_the_share() -> None:
    weights = [0.0] * 3 + [1.0] * 5 + [5.0] * 5 + [25.0] * 5 + [100.0] * 3 + [0.0] * 3
    assert follow(3000, weights) == weights


@pytest.mark.parametrize("seed", range(5))
def test_chance_does_not_move_it(seed: int) -> None:
    assert set(follow(200, [10.0] * 200, seed=seed)[5:]) == {10.0}


def test_a_canary_that_hangs_a_fifth_of_its_requests_still_has_its_weight() -> None:
    assert follow(3000, [10.0] * 50, kept=0.8) == [10.0] * 50


def test_an_interval_without_requests_changes_nothing() -> None:
    follower = WeightFollower(STEPS)
    told = [follower.next_weight(stable=s, canary=c) for s, c in ((0, 0), (900, 100), (0, 0), (900, 100))]
    assert told == [0.0, 10.0, 10.0, 10.0]
