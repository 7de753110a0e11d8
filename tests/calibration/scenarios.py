"""Harmless releases of disturbed services: whatever is rolled back here is rolled back wrongly."""

from dataclasses import dataclass, replace
from typing import Final

from analyzer.core.judge.types import JudgeSettings
from analyzer.simulate import Noise, Scene, Traffic

USUAL: Final = Noise(load_sd=0.1, pod_errors_sd=0.15, pod_latency_sd=0.02)
"""What detection and proof are measured under: load that moves, and pods that differ a little from interval to interval."""

INDEPENDENT: Final = Noise(young_pods=0.0)
"""Independent requests, of a service none of whose pods was young in its history: its warm-up is not known."""

PODS: Final = Noise(pod_errors_sd=0.3, pod_latency_sd=0.05)


@dataclass(frozen=True, slots=True)
class Harmless:
    """A scenario.

    Attributes
    ----------
    name
        For people.
    scene
        What is simulated, and how it is judged; its release is as good as the stable version.
    """

    name: str
    scene: Scene


def _scenario(name: str, noise: Noise, traffic: Traffic | None = None, *, sticky: bool = False) -> Harmless:
    settings = JudgeSettings(sticky_users=sticky)
    return Harmless(name, Scene(traffic=traffic or Traffic(rps=1000.0), noise=noise, settings=settings))


def _at(rps: float = 1000.0, *, stable: int = 20, canary: int = 2, error_rate: float = 0.001) -> Traffic:
    return Traffic(rps=rps, stable_pods=stable, canary_pods=canary, error_rate=error_rate)


HARMLESS_SCENARIOS: Final = (
    *(_scenario(f"independent, {rps:,} rps", Noise(), _at(rps)) for rps in (1, 10, 100, 1000, 10_000)),
    _scenario("independent, 1 stable pod", Noise(), _at(stable=1, canary=1)),
    _scenario("independent, 50 stable pods", Noise(), _at(stable=50)),
    _scenario(
        "bursts of load and errors for both",
        Noise(
            load_sd=0.3,
            shared_errors_sd=0.5,
            shared_latency_sd=0.1,
            burst_chance=0.03,
            burst_load=3.0,
            burst_errors=10.0,
        ),
    ),
    _scenario("pod noise 30 %/5 %, memory 0.6", PODS),
    _scenario("pod noise 60 %/4 %, memory 0.6", Noise(pod_errors_sd=0.6, pod_latency_sd=0.04)),
    _scenario("pod noise 30 %/10 %, memory 0.9", replace(PODS, pod_latency_sd=0.1, pod_memory=0.9)),
    _scenario("pod noise 30 %/5 %, memory 0.9, 10,000 rps", replace(PODS, pod_memory=0.9), _at(10_000)),
    _scenario("pod noise 30 %/5 %, 3 stable pods", PODS, _at(stable=3, canary=1)),
    _scenario("pod noise 30 %/5 %, 1 stable pod", PODS, _at(stable=1, canary=1)),
    _scenario("clumps of 2", Noise(clump=2.0)),
    _scenario("clumps of 4, 1 + Poisson", Noise(clump=4.0, clump_geometric=False)),
    _scenario("clumps of 4, geometric", Noise(clump=4.0)),
    _scenario("clumps of 5, geometric, 100 rps", Noise(clump=5.0), _at(100, error_rate=0.005)),
    _scenario("pods that differ 20 %/5 % for good", Noise(pod_errors_spread=0.2, pod_latency_spread=0.05)),
    _scenario("cold start +50 %, 30 s", Noise(cold_extra=0.5, cold_s=30.0)),
    _scenario("cold start +100 %, 60 s", Noise(cold_extra=1.0, cold_s=60.0)),
    _scenario("cold start +100 %, 60 s, 100 rps", Noise(cold_extra=1.0, cold_s=60.0), _at(100)),
    _scenario("cold start +100 %, 60 s, no pod born before", Noise(cold_extra=1.0, cold_s=60.0, young_pods=0.0)),
    _scenario("cold start +200 %, 60 s", Noise(cold_extra=2.0, cold_s=60.0)),
    _scenario("cold start +100 %, 120 s", Noise(cold_extra=1.0, cold_s=120.0)),
    _scenario("a blip of 5 % errors", Noise(blip_at_s=300.0, blip_s=15.0, blip_errors=0.05)),
    _scenario("daily rhythm, steep", Noise(rhythm=0.8, rhythm_s=7200.0, shared_errors_sd=0.2)),
    _scenario(
        "a canary pod of 3 on a slow node, +20 %",
        Noise(slow_nodes=0.2, slow_node_extra=0.2, canary_slow_nodes=1),
        _at(canary=3),
    ),
    _scenario("sticky users", Noise(user_errors_sd=1.0, user_speed_sd=0.2)),
    _scenario(
        "few sticky users, and the judge knows",
        Noise(user_errors_sd=1.0, user_speed_sd=0.2, users_per_rps=2.0),
        sticky=True,
    ),
    _scenario("retries, half fail again", Noise(retried=0.5), _at(error_rate=0.01)),
    _scenario(
        "all of it, a little",
        Noise(
            load_sd=0.2,
            shared_errors_sd=0.3,
            burst_chance=0.01,
            burst_load=1.5,
            burst_errors=4.0,
            pod_errors_sd=0.2,
            pod_latency_sd=0.03,
            pod_errors_spread=0.1,
            pod_latency_spread=0.02,
            clump=2.0,
            cold_extra=0.5,
            cold_s=30.0,
        ),
    ),
)
