from typing import Any

import numpy as np
import pytest

from analyzer.app.history.pods import PodCounts
from analyzer.core.judge.types import Channel
from analyzer.core.rollout import Phase
from analyzer.replay.calibrate import Calibration, Outcome, tally
from analyzer.replay.mend import calibrate, report_dict, report_text
from analyzer.replay.overrides import policy_of
from analyzer.replay.pseudo import HISTORY, Draw, draw_rollouts, history_before, interval_at

EDGES = (10.0, 25.0, 50.0)


def counts(
    *, n: int = 400, pods: int = 8, requests: int = 400, errors: float = 0.002, noise: float = 0.0, seed: int = 1
) -> PodCounts:
    """Pods that answer independently; `noise` is the spread of a pod's log error rate, with memory."""
    rng = np.random.default_rng(seed)
    wander = np.zeros((n, pods))
    for t in range(1, n):
        wander[t] = 0.95 * wander[t - 1] + np.sqrt(1 - 0.95**2) * rng.standard_normal(pods)
    served = rng.poisson(requests, (n, pods))
    failed = rng.binomial(served, np.minimum(errors * np.exp(noise * wander), 1.0))
    return PodCounts(
        seconds=15.0,
        start_s=1000.0,
        pods=tuple(f"p{k}" for k in range(pods)),
        edges_ms=EDGES,
        requests=served.astype(np.int32),
        errors=failed.astype(np.int32),
        latency_counts=rng.multinomial(served, [0.3, 0.5, 0.19, 0.01]).astype(np.int32),
        age_s=np.full((n, pods), np.nan),
    )


def draws(seen: PodCounts, count: int = 50, **how: Any) -> list[Draw]:
    return draw_rollouts(seen, count, longest_s=how.get("longest_s", 600.0), rng=np.random.default_rng(1))


def test_both_versions_are_the_same_workload_at_the_same_instants() -> None:
    for draw in draws(counts()):
        assert not {*draw.stable} & {*draw.canary}
        assert {*draw.stable} | {*draw.canary} == {*range(8)}
        assert 1 <= len(draw.canary) <= 4
        assert 200 <= draw.start < draw.end <= 400
        assert not draw.is_past


def test_each_rollout_has_a_history_and_time_to_end() -> None:
    found = draws(counts(n=2000), longest_s=3000.0)
    assert min(draw.start for draw in found) == HISTORY
    assert max(draw.start for draw in found) == 2000 - 200


def test_pods_that_are_not_there_play_no_part() -> None:
    seen = counts()
    seen.requests[:, 5:] = 0
    assert {pod for draw in draws(seen) for pod in draw.stable + draw.canary} == {*range(5)}


def test_a_single_pod_is_compared_with_its_own_past() -> None:
    seen = counts(pods=1)
    [draw, *_] = draws(seen)
    assert draw.is_past
    interval = interval_at(seen, draw, draw.start, weight=50.0, rng=np.random.default_rng(1))
    before, now = (int(seen.requests[number, 0]) for number in (draw.start - 1, draw.start))
    assert max(interval.stable.requests / before, interval.canary.requests / now) == 1.0


def test_too_little_past_gives_no_rollouts() -> None:
    assert draws(counts(n=8)) == []
    seen = counts()
    seen.requests[:] = 0
    assert draws(seen) == []


@pytest.mark.parametrize("weight", [1.0, 10.0, 50.0])
def test_requests_are_thinned_to_the_weight(weight: float) -> None:
    seen = counts()
    rng = np.random.default_rng(3)
    [draw, *_] = draws(seen)
    made = [interval_at(seen, draw, draw.start + k % 100, weight=weight, rng=rng) for k in range(1000)]
    stable, canary = (sum(getattr(i, side).requests for i in made) for side in ("stable", "canary"))
    assert canary / (stable + canary) == pytest.approx(weight / 100, rel=0.03)
    for interval in made:
        for side in (interval.stable, interval.canary):
            assert 0 <= side.errors <= side.requests
            assert side.latency_counts.shape == (4,)
    errors = sum(i.canary.errors for i in made) / canary
    assert errors == pytest.approx(0.002, rel=0.5)


def test_an_interval_without_scrapes_is_one_without_requests() -> None:
    seen = counts()
    [draw, *_] = draws(seen)
    seen.requests[draw.start] = seen.errors[draw.start] = 0
    seen.latency_counts[draw.start] = 0
    interval = interval_at(seen, draw, draw.start, weight=10.0, rng=np.random.default_rng(1))
    assert interval.stable.requests == interval.canary.requests == 0


def test_the_age_of_the_youngest_pod_is_told_where_it_is_known() -> None:
    seen = counts()
    [draw, *_] = draws(seen)
    rng = np.random.default_rng(1)
    assert interval_at(seen, draw, draw.start, weight=10.0, rng=rng).canary.youngest_pod_age_s == float("inf")
    seen.age_s[:] = 900.0
    seen.age_s[draw.start, draw.canary[0]] = 30.0
    assert interval_at(seen, draw, draw.start, weight=10.0, rng=rng).canary.youngest_pod_age_s == 30.0


def test_history_is_of_the_pods_that_were_there() -> None:
    seen = counts()
    seen.requests[:, 3] = 0
    history = history_before(seen, 300)
    assert history is not None
    assert history.requests.shape == (240, 7)
    assert history.latency_counts.shape == (240, 7, 4)
    assert history.pod_age_s is None
    assert history.requests.dtype == np.int64


def test_a_quiet_service_keeps_the_promise() -> None:
    calibration = Calibration(counts(requests=2000), policy_of({}), rollouts=60)
    report = calibrate(calibration)
    assert report.kept
    assert report.mends == ()
    assert report.found.rollouts == 60
    assert report.found.promoted > 30
    assert "The policy keeps its promise" in report_text(calibration, report)


def test_the_same_seed_gives_the_same_answer() -> None:
    one, other = (Calibration(counts(requests=2000), policy_of({}), rollouts=20, seed=3) for _ in range(2))
    assert one.play(one.settings) == other.play(other.settings)


class Fixed(Calibration):
    """Rolls back for errors until the tolerance is 30 %, and for latency until it is 10 %."""

    __slots__ = ()

    def play(self, settings: Any) -> list[Outcome]:
        errors = 0 if settings.error_tolerance >= 0.3 else 6
        latency = 0 if settings.latency_tolerance >= 0.1 or settings.false_rollback <= 0.001 else 1
        kinds = [Channel.ERRORS] * errors + [Channel.LATENCY] * latency
        return [Outcome(Phase.ROLLED_BACK, kind, 60.0) for kind in kinds] + [Outcome(Phase.PROMOTED, None, 900.0)] * 93


def test_the_mildest_setting_that_helps_is_named() -> None:
    calibration = Fixed(counts(), policy_of({}), rollouts=10)
    report = calibrate(calibration)
    assert not report.kept
    mends = {mend.setting: (mend.now, mend.wanted) for mend in report.mends}
    assert mends == {
        "errors.tolerance": ("10%", None),  # one rollback for latency stays, and is too many
        "latency.tolerance": ("5%", None),
        "falseRollback": ("1%", None),
    }
    mild = calibrate(Fixed(counts(), policy_of({"latency": {"tolerance": "10%"}}), rollouts=10))
    assert [(mend.setting, mend.wanted) for mend in mild.mends] == [
        ("errors.tolerance", "30%"),
        ("falseRollback", None),
    ]
    text = report_text(calibration, mild)
    assert "errors.tolerance: 30% instead of 10% (then 0 %)" in text
    assert "falseRollback: nothing that was tried is enough" in text


def test_the_report_is_complete_for_machines() -> None:
    calibration = Fixed(counts(), policy_of({"latency": {"tolerance": "10%"}}), rollouts=10)
    fields = report_dict(calibration, calibrate(calibration))
    assert fields["false_rollback"]["promised"] == 0.01
    assert fields["false_rollback"]["found"] == pytest.approx(6 / 99, abs=1e-6)
    assert fields["false_rollback"]["low"] < 6 / 99 < fields["false_rollback"]["high"]
    assert fields["by_channel"] == {"errors": 6, "latency": 0, "completions": 0, "limits": 0}
    assert (fields["promoted"], fields["promoted_after_s"], fields["against"]) == (93, 900.0, "other pods")
    assert fields["mends"][0] == {"setting": "errors.tolerance", "now": "10%", "wanted": "30%", "found": 0.0}


def test_what_is_rolled_back_is_blamed_on_the_noisy_channel() -> None:
    calibration = Calibration(counts(n=600, requests=20_000, noise=1.0), policy_of({}), rollouts=60)
    found = calibration.try_settings(calibration.settings)
    assert found.by_channel.keys() <= {Channel.ERRORS}


def test_outcomes_are_counted_by_channel() -> None:
    found = tally([
        Outcome(Phase.PROMOTED, None, 100.0),
        Outcome(Phase.PROMOTED, None, 300.0),
        Outcome(Phase.ROLLED_BACK, Channel.LATENCY, 60.0),
        Outcome(Phase.BAKING, None, 60.0),
    ])  # fmt: skip
    assert (found.rollouts, found.promoted, found.promoted_after_s) == (4, 2, 200.0)
    assert (found.rolled_back, found.rate) == (1, 0.25)
    assert found.interval[0] < 0.25 < found.interval[1]
