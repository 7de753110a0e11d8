"""The simulator has the means, variances and memories that it is told to have."""

from dataclasses import replace

import numpy as np
import pytest

from analyzer.core.judge.types import ISTIO_EDGES_MS
from analyzer.simulate import HARMLESS, MORE, LatencyShape, Noise, Regression, Scene, Traffic, shape_of
from analyzer.simulate.fleet import Fleet
from analyzer.simulate.history import history_of
from analyzer.simulate.latency import bucket_table, slowed_share
from analyzer.simulate.noise import error_counts, innovate, multiplier, past_of, with_retries
from analyzer.simulate.world import BLOCK, Block

SEED = 11


def block(traffic: Traffic | None = None, noise: Noise | None = None, regression: Regression = HARMLESS) -> Block:
    return Block(traffic or Traffic(), noise or Noise(), regression, seed=SEED)


def at(weight: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.full(BLOCK, weight)


# --- counts -----------------------------------------------------------------------------------------------------------


def test_requests_are_split_by_weight_and_fail_at_the_error_rate() -> None:
    one = block(Traffic(rps=1000.0, error_rate=0.01))
    counts = [one.advance(at(10.0)) for _ in range(20)]
    requests = np.sum([c.requests for c in counts], axis=(0, 1))
    errors = np.sum([c.errors for c in counts], axis=(0, 1))
    assert requests.sum() == pytest.approx(1000 * 15 * 20 * BLOCK, rel=0.002)
    assert requests[1] / requests.sum() == pytest.approx(0.10, rel=0.01)
    assert errors / requests == pytest.approx([0.01, 0.01], rel=0.05)


def test_independent_errors_have_the_variance_of_a_poisson_law() -> None:
    one = block(Traffic(rps=1000.0, error_rate=0.01))
    errors = np.array([one.advance(at(50.0)).errors[:, 0] for _ in range(20)])
    assert errors.var() / errors.mean() == pytest.approx(1.0, abs=0.15)


def test_histograms_hold_every_request() -> None:
    counts = block(noise=Noise(pod_latency_sd=0.2, cold_extra=1.0)).advance(at(10.0))
    assert (counts.histogram.sum(axis=2) == counts.requests).all()


@pytest.mark.parametrize(
    ("noise", "dispersion"),
    [(Noise(clump=3.0), 5.0), (Noise(clump=4.0, clump_geometric=False), 4.75), (Noise(), 1.0)],
    ids=["geometric", "1 + Poisson", "none"],
)
def test_clumped_errors_have_the_declared_dispersion(noise: Noise, dispersion: float) -> None:
    rng = np.random.default_rng(SEED)
    n = np.full(40_000, 10_000)
    errors = error_counts(rng, n, np.full(n.shape, 0.002), noise)
    assert errors.mean() == pytest.approx(20.0, rel=0.02)
    assert errors.var() / errors.mean() == pytest.approx(dispersion, rel=0.05)


def test_retries_add_attempts_and_failures() -> None:
    n, x = with_retries(np.random.default_rng(SEED), np.array([100_000]), np.array([10_000]), Noise(retried=0.5))
    assert x[0] == pytest.approx(17_500, rel=0.02)
    assert n[0] - 110_000 == pytest.approx(5_000, rel=0.05)


# --- noise ------------------------------------------------------------------------------------------------------------


def test_wandering_noise_has_mean_one_and_the_declared_memory() -> None:
    rng = np.random.default_rng(SEED)
    path = [rng.standard_normal(20_000)]
    for _ in range(5):
        path.append(innovate(rng, path[-1], 0.8))
    assert multiplier(path[-1], 0.5).mean() == pytest.approx(1.0, abs=0.02)
    assert np.corrcoef(path[0], path[1])[0, 1] == pytest.approx(0.8, abs=0.02)
    assert path[-1].std() == pytest.approx(1.0, abs=0.02)


def test_the_past_leads_up_to_the_present() -> None:
    rng = np.random.default_rng(SEED)
    now = rng.standard_normal(20_000)
    past = past_of(rng, now, memory=0.7, steps=4)
    assert np.corrcoef(past[-1], now)[0, 1] == pytest.approx(0.7, abs=0.02)
    assert np.corrcoef(past[0], now)[0, 1] == pytest.approx(0.7**4, abs=0.02)
    assert past.std(axis=1) == pytest.approx(np.ones(4), abs=0.02)


def test_noisy_pods_vary_more_than_chance_and_more_pods_vary_less() -> None:
    def dispersion(pods: int) -> float:
        one = block(Traffic(rps=3000.0, error_rate=0.01, stable_pods=pods), Noise(pod_errors_sd=0.3))
        errors = np.array([one.advance(at(50.0)).errors[:, 0] for _ in range(20)])
        return float(errors.var() / errors.mean())

    assert dispersion(2) > 3.0 * dispersion(20) > 3.0


def test_a_cold_start_fades_with_age_and_comes_back_with_new_pods() -> None:
    one = block(Traffic(rps=1000.0), Noise(cold_extra=1.0, cold_s=30.0))

    def canary_fast(weight: float) -> float:
        counts = one.advance(at(weight))
        return float(counts.histogram[:, 1, :6].sum() / counts.histogram[:, 1].sum())

    first = canary_fast(10.0)
    for _ in range(20):
        warm = canary_fast(10.0)
    assert first < warm / 2
    assert canary_fast(100.0) < warm / 1.5


def test_ages_are_those_of_the_youngest_canary_pod() -> None:
    one = block()
    assert one.advance(at(1.0)).youngest_s[0] == 15.0
    assert one.advance(at(1.0)).youngest_s[0] == 30.0
    grown = one.advance(at(50.0))
    assert (grown.youngest_s[0], grown.pods[0, 1]) == (15.0, 10)


# --- releases ---------------------------------------------------------------------------------------------------------


def test_hanging_requests_are_missing_until_clients_give_up_and_then_are_errors() -> None:
    hang = next(r for r in MORE if r.hang and r.client_timeout_s == 60.0)
    one = block(Traffic(rps=1000.0, error_rate=0.0), regression=hang)
    counts = [one.advance(at(50.0)) for _ in range(6)]
    done = np.array([c.requests[:, 1].mean() for c in counts]) / 7500
    assert done[:4] == pytest.approx([0.8] * 4, abs=0.01)
    assert done[4:] == pytest.approx([1.0] * 2, abs=0.01)
    errors = np.array([c.errors[:, 1].mean() for c in counts]) / 7500
    assert errors == pytest.approx([0, 0, 0, 0, 0.2, 0.2], abs=0.01)
    assert counts[4].histogram[:, 1, ISTIO_EDGES_MS.index(6e4)].mean() == pytest.approx(1500, rel=0.05)


def test_users_hurt_are_those_whose_request_failed_or_had_to_become_slower() -> None:
    failing = block(Traffic(rps=1000.0), regression=Regression(errors=0.1)).advance(at(50.0))
    assert failing.hurt.mean() == pytest.approx(750, rel=0.02)
    slower = block(Traffic(rps=1000.0), regression=Regression(slow_share=0.02)).advance(at(50.0))
    assert slower.hurt.mean() == pytest.approx(150, rel=0.1)
    assert block().advance(at(50.0)).hurt.sum() == 0


def test_a_leak_makes_everything_slower_little_by_little() -> None:
    one = block(Traffic(rps=1000.0), regression=Regression(leak=0.05))
    above = [one.advance(at(50.0)).histogram[:, 1, 7:].sum() for _ in range(10)]
    assert above == sorted(above)
    assert above[-1] > 3 * above[0]


# --- latency ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p50", "p99"), [(60.0, 120.0), (60.0, 240.0), (20.0, 2000.0)])
def test_a_shape_has_the_quantiles_it_was_made_for(p50: float, p99: float) -> None:
    shape = shape_of(p50, p99)
    assert shape.quantile_ms(0.5) == pytest.approx(p50, rel=0.01)
    assert shape.quantile_ms(0.99) == pytest.approx(p99, rel=0.01)


def test_a_p99_below_the_p50_is_refused() -> None:
    with pytest.raises(ValueError, match="p99"):
        shape_of(60.0, 50.0)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.3, 3.0])
def test_the_table_of_buckets_agrees_with_the_law(factor: float) -> None:
    shape = LatencyShape()
    exact = -np.diff(np.concatenate([[1.0], shape.scaled(factor).above(np.array(ISTIO_EDGES_MS)), [0.0]]))
    assert bucket_table(shape, ISTIO_EDGES_MS).shares(np.log(np.array(factor))) == pytest.approx(exact, abs=1e-4)


def test_nobody_is_slowed_by_the_same_latency() -> None:
    shape = LatencyShape()
    assert slowed_share(shape, shape) == 0.0
    assert slowed_share(shape, shape.scaled(1.25)) == pytest.approx(0.22, abs=0.02)


# --- seeds and batches ------------------------------------------------------------------------------------------------

SCENE = Scene(noise=Noise(load_sd=0.2, pod_errors_sd=0.3, pod_latency_sd=0.1, clump=2.0, burst_chance=0.1))


def counted(fleet: Fleet) -> list[tuple[int, int, int]]:
    live = np.ones(fleet.rollouts, dtype=np.bool_)
    weight = np.full(fleet.rollouts, 10.0)
    moments = [fleet.advance(weight, live=live) for _ in range(3)]
    canaries = [[moment.intervals[n].canary for moment in moments] for n in range(fleet.rollouts)]
    return [
        (sum(c.requests for c in own), sum(c.errors for c in own), int(own[-1].latency_counts[6])) for own in canaries
    ]


def test_the_same_seed_gives_the_same_numbers_and_another_one_others() -> None:
    assert counted(Fleet(SCENE, rollouts=60, seed=1)) == counted(Fleet(SCENE, rollouts=60, seed=1))
    assert counted(Fleet(SCENE, rollouts=60, seed=1)) != counted(Fleet(SCENE, rollouts=60, seed=2))


@pytest.mark.parametrize("cut", [1, 37, 50, 110])
def test_how_rollouts_are_split_into_batches_does_not_matter(cut: int) -> None:
    together = counted(Fleet(SCENE, rollouts=120, seed=1))
    parts = [Fleet(SCENE, rollouts=cut, seed=1), Fleet(SCENE, rollouts=120 - cut, seed=1, first=cut)]
    assert [row for part in parts for row in counted(part)] == together


# --- history ----------------------------------------------------------------------------------------------------------


def test_a_history_has_the_rates_of_the_service_and_its_young_pods() -> None:
    history = history_of(block(Traffic(rps=300.0, error_rate=0.01, stable_pods=8)), 3)
    assert history.requests.shape == history.errors.shape == (240, 8)
    assert history.requests.sum() == pytest.approx(300 * 15 * 240, rel=0.01)
    assert history.errors.sum() / history.requests.sum() == pytest.approx(0.01, rel=0.05)
    assert (history.latency_counts.sum(axis=2) == history.requests).all()
    assert history.pod_age_s is not None
    assert (history.requests[0] == 0).sum() == 2
    assert (history.pod_age_s >= 15.0).all()


def test_pods_that_differ_for_good_differ_in_the_history_too() -> None:
    noise = Noise(pod_errors_spread=0.8, young_pods=0.0)
    one = block(Traffic(rps=3000.0, error_rate=0.01, stable_pods=6), noise)
    history = history_of(one, 0)
    rates = history.errors.sum(axis=0) / history.requests.sum(axis=0)
    expected = 0.01 * np.exp(one.pods.fixed_errors[0, :6])
    assert rates == pytest.approx(expected, rel=0.05)


def test_cold_starts_show_in_the_history() -> None:
    traffic = Traffic(rps=3000.0, stable_pods=8)
    history = history_of(block(traffic, Noise(cold_extra=2.0, cold_s=60.0)), 0)
    assert history.pod_age_s is not None
    fast = history.latency_counts[..., :6].sum(axis=2) / np.maximum(history.requests, 1)
    young = history.pod_age_s < 40.0
    assert fast[young].mean() < 0.5 * fast[history.pod_age_s > 600.0].mean()


def test_a_history_does_not_change_its_rollouts() -> None:
    with_history, without = block(noise=Noise(pod_errors_sd=0.3)), block(noise=Noise(pod_errors_sd=0.3))
    history_of(with_history, 0)
    assert (with_history.advance(at(10.0)).errors == without.advance(at(10.0)).errors).all()


def test_a_one_pod_service_keeps_its_pod_throughout_the_history() -> None:
    history = history_of(block(replace(Traffic(), stable_pods=1)), 0)
    assert (history.requests > 0).all()
