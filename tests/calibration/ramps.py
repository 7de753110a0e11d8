"""Proof over a whole ramp: canaries exactly at a margin of the ladder, while the weight climbs; harm plays no part."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from analyzer.core.judge import JudgeRequest, judge, noninferiority
from analyzer.core.judge.types import JudgeSettings, Step
from analyzer.policy.fields import AUTO_WEIGHTS
from analyzer.simulate import Fleet, Regression, Scene, Traffic
from tests.calibration.measures import MARGIN_NOISE, Size

LADDER: Final = tuple(float(weight) for weight in AUTO_WEIGHTS[1:])
_CLIMB: Final = ((1.0, 5.0), (5.0, 7.0), (16.0, 25.0), (50.0, 100.0))
_INTERVALS: Final = 20
_SETTINGS: Final = JudgeSettings()


@dataclass(frozen=True, slots=True)
class RampProofs:
    """Rollouts of which a weight was called proven whose margin the canary does not keep."""

    claim: str
    noise: str
    rps: float
    margin_of: float
    rollouts: int
    proven: int


def ramp_false_proofs(noise: str, rps: float, size: Size) -> Iterator[RampProofs]:
    """Let canaries be exactly as bad as the margin of a rung, over the whole ramp.

    The claim in question is looked at by itself: that all others are harmless makes it the hardest case.
    """
    for rung in (5.0, 25.0, 100.0):
        margins = noninferiority.margins(np.array([_SETTINGS.harm_budget]), np.array([rung]))
        extra = _SETTINGS.error_tolerance * Traffic().error_rate + float(margins.delta[0])
        slower = 1.0 + float(margins.slower[0])
        for claim, bad in (("errors", Regression(errors=extra)), ("latency", Regression(slower=slower))):
            scene = Scene(traffic=Traffic(rps=rps), noise=MARGIN_NOISE[noise], regression=bad, settings=_SETTINGS)
            proven = _proven(Fleet(scene, rollouts=size.rollouts, seed=size.seed), claim, rung)
            yield RampProofs(claim, noise, rps, rung, size.rollouts, proven)


def _proven(fleet: Fleet, claim: str, rung: float) -> int:
    states = fleet.initial_states(history=True)
    proven = np.zeros(fleet.rollouts, dtype=np.bool_)
    for weight, _ in _CLIMB:
        # `proof` tells of `next_weight`, whatever the present weight is.
        step = Step(key=f"0:{weight:g}", next_weight=rung, ladder=LADDER)
        for _ in range(_INTERVALS):
            moment = fleet.advance(np.full(fleet.rollouts, weight), live=np.ones(fleet.rollouts, np.bool_))
            requests = [JudgeRequest(states[n], _SETTINGS, step, (i,)) for n, i in moment.intervals.items()]
            for number, answer in zip(moment.intervals, judge(requests), strict=True):
                states[number] = answer.state
                parts = [value for name, value in answer.evidence.proof.items() if name.startswith(claim)]
                proven[number] |= min(parts) >= answer.evidence.log_proof_threshold
    return int(proven.sum())
