"""Stands in for what `core.judge` is getting; removed when it is there."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from analyzer.core.judge.types import JudgeSettings, JudgeState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class History:
    """The stable version alone, per pod."""

    seconds: float
    requests: "NDArray[np.int64]"
    errors: "NDArray[np.int64]"
    edges_ms: tuple[float, ...]
    latency_counts: "NDArray[np.int64]"
    pod_age_s: "NDArray[np.float64] | None" = None


class Learned:
    """Opaque."""


def learn(history: History, settings: JudgeSettings) -> Learned:
    """Learn nothing."""
    del history, settings
    return Learned()


def initial_state(learned: Learned | None = None) -> JudgeState:
    """Give an empty state."""
    del learned
    return JudgeState()
