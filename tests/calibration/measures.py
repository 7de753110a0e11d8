"""What the calibration measures; each measure is a list of jobs that may run side by side, and each job gives rows."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from analyzer.core.judge.types import Assessment, JudgeSettings, JudgeState
from analyzer.core.rollout import RolloutPlan, StagePlan
from analyzer.simulate import (
    MORE,
    TWELVE,
    Fleet,
    Noise,
    Outcomes,
    Phased,
    Regression,
    Scene,
    Traffic,
    median_of,
    run_closed,
    run_schedule,
    schedule,
)
from tests.calibration.scenarios import HARMLESS_SCENARIOS, INDEPENDENT, USUAL, Harmless

PLAN: Final = RolloutPlan(stages=(StagePlan(route=None, weights=(1, 5, 10, 25, 50, 100)),))
STEP_S: Final = 300.0
HORIZON_S: Final = 3600.0
SETTINGS: Final = JudgeSettings()

PUBLISHED: Final = {
    "errors 0.1 → 0.3 %": (645, 270),
    "errors 0.1 → 1 %": (255, 45),
    "errors 0.1 → 5 %": (45, 30),
    "errors 100 %": (30, 30),
    "errors 8 → 12 %": (330, 75),
    "latency +15 %": (1275, 300),
    "latency +30 %": (285, 195),
    "latency x2": (112, 75),
    "p99 x3": (270, 90),
    "2 % take 3 s": (255, 60),
    "leak of 1 % per interval": (390, 285),
    "20 % hang, time-out 60 s": (330, 120),
}
"""Medians at 300 and 3,000 requests/s of another implementation, in another simulation (statistics.md §11) [s]."""

WANTED_AT_1000: Final = {"errors 100 %": 30, "errors 0.1 → 1 %": 90, "latency +25 %": 120}
"""Medians that are wanted at 1,000 requests/s [s]."""

NOISES: Final = {"usual": USUAL, "independent, warm-up unknown": INDEPENDENT}
"""What detection is measured under."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is simulated."""

    rollouts: int
    seed: int


@dataclass(frozen=True, slots=True)
class FalseRollbacks:
    """Wrong rollbacks of a harmless scenario: how many of how many, per way of running it."""

    scenario: str
    rollouts: int
    counts: Mapping[tuple[bool, bool], int] = field(default_factory=dict)
    promoted_s: float = float("inf")
    unproven: float = float("nan")


def false_rollbacks(scenario: Harmless, size: Size, *, histories: tuple[bool, ...] = (True, False)) -> FalseRollbacks:
    """Count wrong rollbacks, keyed by (with history, closed loop)."""
    scene, counts = scenario.scene, {}
    closed = None
    for history in histories:
        known = _initial(scene, size, history=history)
        fixed = run_schedule(_fleet(scene, size), _steps(scene.traffic), initial=known)
        follows = run_closed(_fleet(scene, size), PLAN, horizon_s=HORIZON_S, initial=known)
        counts[history, False] = int(np.isfinite(fixed.harm_s).sum())
        counts[history, True] = int(np.isfinite(follows.rolled_back_s).sum())
        closed = closed or follows
    assert closed is not None, "there is at least one way of running it"
    return FalseRollbacks(
        scenario=scenario.name,
        rollouts=size.rollouts,
        counts=counts,
        promoted_s=median_of(closed.promoted_s),
        unproven=float(closed.unproven_steps.mean()),
    )


@dataclass(frozen=True, slots=True)
class Detection:
    """How a regression is found, with history: on a fixed schedule and by a rollout that follows the decisions."""

    regression: str
    noise: str
    rps: float
    rollouts: int
    fixed: Outcomes
    closed: Outcomes

    @property
    def published(self) -> bool:
        """Whether the wanted median is a published one."""
        return self.rps in _PUBLISHED_AT and self.regression in PUBLISHED

    @property
    def wanted_s(self) -> float:
        """The median that is to be beaten [s]; NaN where there is none."""
        if self.published:
            return float(PUBLISHED[self.regression][_PUBLISHED_AT[self.rps]])
        return float(WANTED_AT_1000.get(self.regression, math.nan)) if self.rps == _THOUSAND else math.nan


_PUBLISHED_AT: Final = {300.0: 0, 3000.0: 1}
_THOUSAND: Final = 1000.0


def detections(noise: str, rps: float, size: Size, *, wanted: Callable[[str], bool]) -> Iterator[Detection]:
    """Let all regressions happen at one level of traffic; what is learned of the stable version is shared."""
    known: dict[float | None, list[JudgeState]] = {}
    for regression in (*TWELVE, *MORE):
        if not wanted(regression.name):
            continue
        scene = Scene(traffic=Traffic(rps=rps), noise=NOISES[noise], regression=regression, settings=SETTINGS)
        if regression.base_error_rate not in known:
            known[regression.base_error_rate] = _initial(scene, size, history=True)
        initial = known[regression.base_error_rate]
        yield Detection(
            regression=regression.name,
            noise=noise,
            rps=rps,
            rollouts=size.rollouts,
            fixed=run_schedule(_fleet(scene, size), _steps(scene.traffic), initial=initial),
            closed=run_closed(_fleet(scene, size), PLAN, horizon_s=HORIZON_S, initial=initial),
        )


@dataclass(frozen=True, slots=True)
class FalseProofs:
    """Claims proven of a canary that is exactly at their margin; harm plays no part."""

    claim: str
    noise: str
    rps: float
    next_weight: float
    history: bool
    rollouts: int
    proven: int


MARGIN_NOISE: Final = {
    "independent": Noise(),
    "pod noise 30 %/5 %": Noise(pod_errors_sd=0.3, pod_latency_sd=0.05),
    "clumps of 3": Noise(clump=3.0),
}
_BEFORE: Final = {5.0: 1.0, 25.0: 10.0, 100.0: 50.0}


def false_proofs(noise: str, rps: float, size: Size, *, history: bool) -> Iterator[FalseProofs]:
    """Let canaries be exactly as bad as each step's margin, for as long as a step may last."""
    traffic = Traffic(rps=rps)
    harmless = Scene(traffic=traffic, noise=MARGIN_NOISE[noise], settings=SETTINGS)
    known = _initial(harmless, size, history=history)
    for next_weight, weight in _BEFORE.items():
        share = next_weight / 100.0
        allowed = float(np.clip(SETTINGS.harm_budget / share, SETTINGS.harm_budget, 0.02))
        extra = SETTINGS.error_tolerance * traffic.error_rate + allowed
        slower = 1.0 + float(np.clip(0.1 / share, 0.1, 1.0))
        for claim, regression in (("errors", Regression(errors=extra)), ("latency", Regression(slower=slower))):
            step = Phased(round(PLAN.dwell_max_s / traffic.interval_s), weight, next_weight)
            proven = _proven(replace(harmless, regression=regression), claim, step, size=size, known=known)
            yield FalseProofs(claim, noise, rps, next_weight, history, size.rollouts, proven)


def _proven(scene: Scene, claim: str, step: Phased, *, size: Size, known: list[JudgeState]) -> int:
    """Count rollouts of which a claim (all parts of it at once) was proven at any time."""
    proven = np.zeros(size.rollouts, dtype=np.bool_)

    def watch(number: int, answer: Assessment) -> None:
        parts = [value for name, value in answer.evidence.proof.items() if name.startswith(claim)]
        proven[number] |= bool(parts) and min(parts) >= answer.evidence.log_proof_threshold

    run_schedule(_fleet(scene, size), [step], initial=known, until_harm=False, watch=watch)
    return int(proven.sum())


@dataclass(frozen=True, slots=True)
class Hangs:
    """Releases that hang a fifth of their requests, and were called proven, or promoted."""

    regression: str
    rps: float
    rollouts: int
    proven: int
    promoted: int
    found_s: float


def hangs(regression: Regression, rps: float, size: Size) -> Hangs:
    """See whether missing completions are overlooked; rollouts go on after harm was found."""
    scene = Scene(traffic=Traffic(rps=rps), noise=USUAL, regression=regression, settings=SETTINGS)
    steps = _steps(scene.traffic)
    known = _initial(scene, size, history=True)
    proven = np.zeros(size.rollouts, dtype=np.bool_)

    def watch(number: int, answer: Assessment) -> None:
        proof = answer.evidence.proof
        proven[number] |= bool(proof) and min(proof.values()) >= answer.evidence.log_proof_threshold

    fixed = run_schedule(_fleet(scene, size), steps, initial=known, until_harm=False, watch=watch)
    closed = run_closed(_fleet(scene, size), PLAN, horizon_s=HORIZON_S, initial=known)
    return Hangs(
        regression=regression.name,
        rps=rps,
        rollouts=size.rollouts,
        proven=int(proven.sum()),
        promoted=int(np.isfinite(closed.promoted_s).sum()),
        found_s=median_of(fixed.harm_s),
    )


HANGING: Final = tuple(regression for regression in MORE if regression.hang > 0)


def scenario_named(name: str) -> Harmless:
    """Find a harmless scenario."""
    return next(s for s in HARMLESS_SCENARIOS if s.name == name)


def _fleet(scene: Scene, size: Size) -> Fleet:
    return Fleet(scene, rollouts=size.rollouts, seed=size.seed)


def _initial(scene: Scene, size: Size, *, history: bool) -> list[JudgeState]:
    return _fleet(scene, size).initial_states(history=history)


def _steps(traffic: Traffic) -> tuple[Phased, ...]:
    return schedule(step_s=STEP_S, interval_s=traffic.interval_s)
