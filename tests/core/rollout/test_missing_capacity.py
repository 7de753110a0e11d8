"""A step is never taken onto missing capacity: whole rollouts of random services, held against what their pods really bear.

The oracle shares nothing with the code that it judges. It knows what a request really costs, counts the pods that are ready,
and multiplies. The gate only sees what it would see: samples of use that come late, of the loads that there were; nothing for a
while after a restart.
"""

import random
from dataclasses import dataclass, field, replace
from math import ceil

import pytest

from analyzer.core.capacity import Cost, Load, Metric, Passage, Samples, Scaler, VersionCapacity, carries, fit
from analyzer.core.capacity import gate as gate_module
from analyzer.core.capacity.hpa import Policy, Rules, Target
from analyzer.core.judge.types import Verdict
from analyzer.core.rollout import CapacityView, Phase, Snapshot, StagePlan, Weights, decide, settle
from analyzer.core.rollout import room as room_module
from analyzer.core.rollout.loads import canary_load
from analyzer.core.rollout.phases import IN_FLIGHT
from analyzer.core.rollout.weights import active_stage
from tests.core.rollout.scenes import FRESH, PLAN, assessment, evidence, progressing, target

SEEDS = range(60)
TURN_S, TURNS = 5, 160
LATE_TURNS = 8
"""Use is believed 40 s after weights or pods have changed."""


@dataclass
class World:
    """One service, as it really is: rates in requests/s, CPU in millicores, times in turns."""

    rng: random.Random
    request: float = 500.0
    pods: list[int] = field(default_factory=list)  # turns until each pod is ready

    def __post_init__(self) -> None:
        rng = self.rng
        self.target = rng.uniform(0.4, 0.7) * self.request
        self.idle = rng.uniform(0.0, 0.1) * self.request
        self.cost = {"v1": rng.uniform(1.0, 10.0)}
        self.cost["v2"] = self.cost["v1"] * rng.uniform(0.85, 1.12)
        bears = (self.request - self.idle) / self.cost["v2"]
        whole = bears * rng.uniform(0.3, 6.0)
        share = rng.uniform(0.02, 0.5)
        self.rates = (whole,) if rng.random() < 0.5 else (whole * share, whole * (1 - share))
        self.stable = max(1, ceil(whole * self.cost["v1"] / (self.target - self.idle)))
        self.pods = [0] * rng.choice([1, 1, 2, 3])
        self.most = rng.choice([len(self.pods), 4, 10, 20])
        self.startup = rng.randint(1, 20)
        self.disabled = rng.random() < 0.15
        self.window = rng.choice([0, 0, 60])
        self.restarts = set(rng.sample(range(TURNS), rng.randint(0, 3)))
        self.crashes = set(rng.sample(range(TURNS), rng.choice([0, 0, 1])))
        self._wishes: list[int] = []

    @property
    def ready(self) -> int:
        return sum(due <= 0 for due in self.pods)

    def of(self, version: str, weights: Weights) -> float:
        """Requests per second of a version."""
        shares = weights if version == "v2" else tuple(100 - w for w in weights)
        return sum(rate * share / 100 for rate, share in zip(self.rates, shares, strict=True))

    def bears(self) -> float:
        """What the canary's ready pods really bear [requests/s], pod by pod."""
        return sum((self.request - self.idle) / self.cost["v2"] for due in self.pods if due <= 0)

    @property
    def has_room(self) -> bool:
        """Whether its HPA may start pods that bear everything, with headroom for that and for what is not known."""
        bears = self.most * (self.request - self.idle) / self.cost["v2"]
        return not self.disabled and bears > 1.4 * sum(self.rates)

    def use(self, version: str, load: float, pods: int) -> float:
        return min(self.request, self.idle + self.cost[version] * load / pods)

    def turn(self, number: int, weights: Weights) -> None:
        """Let time pass: pods get ready, one may crash, and every third turn an HPA of its own, simpler make looks."""
        self.pods = [due - 1 for due in self.pods]
        if number in self.crashes and self.ready > 1:
            self.pods[0] = self.startup
        self.pods.sort()
        if number % 3 or not self.ready:
            return
        use = self.use("v2", self.of("v2", weights), self.ready)
        wish = ceil(self.ready * use / self.target) if use > 1.1 * self.target else len(self.pods)
        self._wishes = [*self._wishes, wish][-max(1, self.window // 15) :]
        wanted = min(*self._wishes, self.most) if self._wishes else 0
        if not self.disabled:
            self.pods += [self.startup] * max(0, min(wanted, 2 * len(self.pods) + 4) - len(self.pods))


@dataclass
class Known:
    """What the gate is let know of both versions' costs."""

    world: World
    samples: dict[str, Samples] = field(default_factory=dict)
    since: int = 0
    began: int = 0
    setting: tuple[object, ...] = ()

    def turn(self, number: int, weights: Weights) -> None:
        world = self.world
        if number in world.restarts:
            self.samples, self.began, self.since = {}, number, number - LATE_TURNS + 3
        if (weights, world.ready) != self.setting:
            self.setting = weights, world.ready
            self.since = max(self.since, number)
        if number - self.since < LATE_TURNS:
            return
        for version, pods in (("v1", world.stable), ("v2", world.ready)):
            load = world.of(version, weights)
            if load > 0 and pods:
                use = world.use(version, load, pods) * world.rng.gauss(1.0, 0.02)
                self.samples[version] = self.samples.get(version, Samples()).add(load / pods, use)

    def view(self, number: int, weights: Weights) -> CapacityView:
        world = self.world
        metric = Metric("cpu", Target(world.target, world.request), saturation=world.request, promised=world.request)
        up = Rules(
            world.window, (Policy("Percent", 100, 15), Policy("Pods", 4, 15)), "Disabled" if world.disabled else "Max"
        )
        scaler = Scaler("hpa", 1, world.most, (metric,), up=up)
        seen = [self.samples.get(version, Samples()) for version in ("v1", "v2")]
        stable: Cost | None = fit(seen[0])
        canary = fit(seen[1], other=stable)
        if stable is not None:
            stable = fit(seen[0], other=fit(seen[1]))
        active = active_stage(weights)
        others = [(rate, w) for i, (rate, w) in enumerate(zip(world.rates, weights, strict=True)) if i != active]
        counted = number - self.began >= 3 or not world.restarts
        return CapacityView(
            VersionCapacity("v1", world.stable, world.stable, replace(scaler, max_replicas=world.stable), (stable,)),
            VersionCapacity("v2", len(world.pods), world.ready, scaler, (canary,), startup_s=TURN_S * world.startup),
            moving=world.rates[active] if counted else 0.0,
            stable_elsewhere=sum(rate * (100 - w) / 100 for rate, w in others) if counted else 0.0,
            canary_elsewhere=sum(rate * w / 100 for rate, w in others) if counted else 0.0,
            staged=world.rates if counted else (),
            learning=not counted or stable is None,
        )


def overloaded(seed: int) -> str:
    """Say which step of a rollout brought more than ready pods bear; empty where none did."""
    return played(seed)[0]


def played(seed: int) -> tuple[str, Phase]:
    """Play a rollout until a step brings more than ready pods bear, or until it ends; say which, and how it ended."""
    world = World(random.Random(seed))
    known = Known(world)
    steps = ((20, 60, 100),) if len(world.rates) == 1 else ((50, 100), (10, 50, 100))
    stages = tuple(StagePlan(f"r{i}", weights) for i, weights in enumerate(steps))
    plan = replace(PLAN, stages=stages)
    state = replace(progressing(*(0.0,) * len(stages)), phase=Phase.PENDING)
    for number in range(TURNS):
        world.turn(number, state.weights)
        known.turn(number, state.weights)
        canary = replace(target(*state.weights).versions[1], ready_pods=world.ready)
        seen = assessment(Verdict.PROVEN, evidence(log_e=-1.0, step_seconds=700.0))
        capacity = known.view(number, state.weights)
        state = decide(
            plan, state, Snapshot(target(*state.weights, canary=canary), TURN_S, FRESH, seen, capacity=capacity)
        )
        if state.intent is not None:
            before, after = (world.of("v2", w) for w in (state.intent.before, state.intent.after))
            if after > before and after > world.bears() * (1 + 1e-9):
                return (
                    f"seed {seed}, turn {number}: {state.intent.before} to {state.intent.after} brings {after:.1f} requests/s, "
                    f"and {world.ready} ready pods bear {world.bears():.1f}: {state.message}"
                ), state.phase
            state = settle(state, state.intent.after, now_s=1000.0)
        if state.phase not in IN_FLIGHT:
            break
    return "", state.phase


def test_no_step_of_a_whole_rollout_brings_more_than_ready_pods_bear() -> None:
    assert [said for seed in SEEDS if (said := overloaded(seed))] == []


def test_rollouts_get_through_where_pods_can_be_had() -> None:
    """Or else a gate that never opens would pass."""
    roomy = [seed for seed in SEEDS if World(random.Random(seed)).has_room]
    assert len(roomy) > len(SEEDS) // 3
    assert [seed for seed in roomy if played(seed)[1] is not Phase.PROMOTED] == []


def _pending_count(version: VersionCapacity, *, headroom: float, pods: int | None = None) -> float | None:
    return REAL_CARRIES(version, headroom=headroom, pods=version.replicas if pods is None else pods)


def _no_headroom(version: VersionCapacity, *, headroom: float, pods: int | None = None) -> float | None:
    real = REAL_CARRIES(version, headroom=headroom, pods=pods)
    return None if real is None else 1.5 * real


def _first_stage_only(_capacity: CapacityView, weights: Weights, *, stage: int, others: Weights) -> Load:
    del others
    real = REAL_LOAD(_capacity, weights, stage=stage, others=weights)
    return real if stage == active_stage(weights) else replace(real, moving=0.0)


def _all_doors_open(
    version: VersionCapacity, load: Load, *, wanted: float, headroom: float, overdue: bool = False
) -> Passage:
    del version, load, headroom, overdue
    return Passage(gate_module.Gate.OPEN, wanted)


REAL_CARRIES, REAL_LOAD = carries, canary_load
BREAKS = {
    "pods that are only wanted count": ((gate_module, "carries", _pending_count),),
    "pods are trusted with half as much again": ((gate_module, "carries", _no_headroom),),
    "the next stage's traffic is left out": ((room_module, "canary_load", _first_stage_only),),
    "every step is let through": ((room_module, "admit", _all_doors_open),),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_a_gate_that_is_broken_is_found_out(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, instead in BREAKS[broken]:
        monkeypatch.setattr(module, name, instead)
    assert any(overloaded(seed) for seed in SEEDS)


def test_a_leader_that_knows_nothing_yet_and_goes_on_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Known.view
    monkeypatch.setattr(Known, "view", lambda *args: replace(real(*args), learning=False))
    assert any(overloaded(seed) for seed in SEEDS)
