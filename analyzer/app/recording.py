"""What is written into `.status` at once, and what waits for the next checkpoint. Pure."""

from typing import Final

from analyzer.core.judge.types import Verdict
from analyzer.core.rollout import IN_FLIGHT, Phase, RolloutState

_MATERIAL: Final = (
    "phase", "reason", "weights", "intent", "judged", "told", "stable_revision", "canary_revision",
    "paused", "answered", "awaits", "approved", "promotion", "restoring",
)  # fmt: skip
"""A change in one of these is written at once; evidence and messages wait for the next checkpoint."""

_TELLING: Final = frozenset({Verdict.HARM, Verdict.PROVEN})
"""Verdicts that are written at once; that there is none, or none any more, waits for the next checkpoint."""

_GROWING: Final = ("judged_until_s", "waiting_s", "blind_s", "mismatch_s", "short_s", "notices")


def must_record(state: RolloutState, recorded: RolloutState | None, *, checkpoint_due: bool) -> bool:
    """Tell whether a state is to be written on top of what `.status` has; None: it has nothing of ours.

    `checkpoint_due`: nothing was written for as long as evidence may wait.
    """
    if recorded is None or any(getattr(state, name) != getattr(recorded, name) for name in _MATERIAL):
        return True
    if state.verdict is not recorded.verdict and state.verdict in _TELLING:
        return True
    if (state.hold and state.hold.reason) != (recorded.hold and recorded.hold.reason):
        return True  # its message counts on with each interval
    if set(state.notices) - set(recorded.notices):
        return True
    if state.phase not in IN_FLIGHT or state.phase is Phase.ROLLING_BACK:
        return state.notices != recorded.notices  # no checkpoint will come to take the delivered ones off
    return checkpoint_due and any(getattr(state, name) != getattr(recorded, name) for name in _GROWING)
