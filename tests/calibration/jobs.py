"""What the calibration has to do, cut into jobs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from tests.calibration.measures import (
    HANGING,
    MARGIN_NOISE,
    NOISES,
    Size,
    detections,
    false_proofs,
    false_rollbacks,
    hangs,
)
from tests.calibration.scenarios import HARMLESS_SCENARIOS

RPS: Final = (30.0, 300.0, 3000.0)


@dataclass(frozen=True, slots=True)
class Job:
    """Something that a process of its own can measure: a row, or a list of rows, of a section."""

    section: str
    name: str
    run: Callable[[], Any]


def all_jobs(size: Size, only: str) -> Iterator[Job]:
    """List everything; bad releases are found so often that half as many of them will do."""
    for scenario in HARMLESS_SCENARIOS:
        yield Job("harmless", scenario.name, partial(false_rollbacks, scenario, size))
    smaller = Size(max(size.rollouts // 2, 1), size.seed)
    for noise in NOISES:
        for rps in (*RPS, 1000.0):
            run = partial(_detections, noise, rps, smaller, only=only)
            yield Job("detection", f"detection {rps:g} rps, {noise}", run)
    for noise in MARGIN_NOISE:
        for rps in RPS[1:]:
            for history in (True, False):
                name = f"proof {noise}, {rps:g} rps, history {history}"
                yield Job("proof", name, partial(_proofs, noise, rps, size, history=history))
    for regression in HANGING:
        for rps in RPS:
            yield Job("hang", f"hang {regression.name}, {rps:g} rps", partial(hangs, regression, rps, smaller))


def _detections(noise: str, rps: float, size: Size, *, only: str) -> list[Any]:
    everything = not only or only in f"detection {rps:g} rps, {noise}"
    return list(detections(noise, rps, size, wanted=lambda name: everything or only in name))


def _proofs(noise: str, rps: float, size: Size, *, history: bool) -> list[Any]:
    return list(false_proofs(noise, rps, size, history=history))
