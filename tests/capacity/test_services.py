import numpy as np
import pytest

from tests.capacity.services import always_ramped, draw, one_jump, planned, play

SEED = 7


def test_the_choice_is_nearly_always_the_better_course() -> None:
    rng = np.random.default_rng(SEED)
    better, chosen_sum, jump_sum = 0, 0.0, 0.0
    for number in range(24):
        service = draw(rng)
        hurts = [play(service, course, seed=number) for course in (one_jump, always_ramped(service), planned(service))]
        jump, ramp, chosen = (h.failed + 0.25 * h.slow for h in hurts)
        better += chosen <= 1.05 * min(jump, ramp) + 1
        chosen_sum, jump_sum = chosen_sum + hurts[2].failed, jump_sum + hurts[0].failed
    if better < 20 or chosen_sum > jump_sum / 2:
        pytest.fail(f"seed {SEED}: better in {better} of 24; {chosen_sum:.0f} failed, by one jump {jump_sum:.0f}")


def test_a_course_is_the_same_for_the_same_seed() -> None:
    service = draw(np.random.default_rng(SEED))
    assert play(service, planned(service), seed=1) == play(service, planned(service), seed=1)
