"""A rollout's life, as a table.

1. The phase is stored; everything else about "where are we" is derived from the weights.
2. A phase changes only through `after`, which knows no phase/trigger pair that is not in the table.
3. Weights change before the phase that depends on them: Progressing, Promoted and RolledBack are entered only when the
   weights were read back. The one exception is RollingBack, which is entered when harm is known, so that a crash between
   the two finds the rollback still due.
4. A hold is not a phase. It stands beside it and stops no evidence and no rollback.
"""

from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """Where a rollout is in its life."""

    IDLE = "Idle"  # nothing to judge
    PENDING = "Pending"  # a new revision waits for its pods and for telemetry
    PROGRESSING = "Progressing"  # judged each interval, moved step by step
    BAKING = "Baking"  # the last weight below 100: one more watch before everybody gets it
    ROLLING_BACK = "RollingBack"  # the weights are due to be zero and not yet known to be
    PROMOTED = "Promoted"  # final for this revision
    ROLLED_BACK = "RolledBack"  # final for this revision
    INVALID = "Invalid"  # the policy or its target cannot work


class Trigger(StrEnum):
    """What moves a rollout from phase to phase."""

    NEW_REVISION = "NewRevision"  # the version with the smaller weight runs a revision that was never judged
    BEGUN = "Begun"  # the canary is ready and has its first (or its adopted) weight
    STEPPED = "Stepped"  # a further weight was read back
    BAKE = "Bake"  # all is proven below 100: watch once more
    COMPLETED = "Completed"  # 100 was read back
    ABORT = "Abort"  # the canary must lose its traffic
    ZEROED = "Zeroed"  # zero was read back, or there never was more than zero
    BROKEN = "Broken"  # the policy or its target cannot work
    MENDED = "Mended"  # it can again


_BROKEN: Final = {Trigger.BROKEN: Phase.INVALID}

TRANSITIONS: Final[dict[Phase, dict[Trigger, Phase]]] = {
    Phase.IDLE: {Trigger.NEW_REVISION: Phase.PENDING} | _BROKEN,
    Phase.PENDING: {
        Trigger.BEGUN: Phase.PROGRESSING,
        Trigger.COMPLETED: Phase.PROMOTED,  # in one step, because a person says so
        Trigger.ABORT: Phase.ROLLING_BACK,
        Trigger.ZEROED: Phase.ROLLED_BACK,
    }
    | _BROKEN,
    Phase.PROGRESSING: {
        Trigger.STEPPED: Phase.PROGRESSING,
        Trigger.BAKE: Phase.BAKING,
        Trigger.COMPLETED: Phase.PROMOTED,
        Trigger.ABORT: Phase.ROLLING_BACK,
    }
    | _BROKEN,
    Phase.BAKING: {
        Trigger.STEPPED: Phase.BAKING,  # a part of the last step, as far as pods carry it
        Trigger.COMPLETED: Phase.PROMOTED,
        Trigger.ABORT: Phase.ROLLING_BACK,
    }
    | _BROKEN,
    Phase.ROLLING_BACK: {Trigger.ZEROED: Phase.ROLLED_BACK} | _BROKEN,
    Phase.PROMOTED: {Trigger.NEW_REVISION: Phase.PENDING} | _BROKEN,
    Phase.ROLLED_BACK: {Trigger.NEW_REVISION: Phase.PENDING} | _BROKEN,
    Phase.INVALID: {Trigger.MENDED: Phase.IDLE},
}

IN_FLIGHT: Final = frozenset({Phase.PENDING, Phase.PROGRESSING, Phase.BAKING, Phase.ROLLING_BACK})
"""A revision is being judged: roles are fixed and the weights are Serin's."""

JUDGED: Final = frozenset({Phase.PENDING, Phase.PROGRESSING, Phase.BAKING})
"""Telemetry is judged. RollingBack needs none: a rollback has the fewest preconditions."""


def after(phase: Phase, trigger: Trigger) -> Phase:
    """Return the phase that `trigger` leads to.

    Raises
    ------
    LookupError
        The table has no such transition: a bug of the caller.
    """
    try:
        return TRANSITIONS[phase][trigger]
    except KeyError:
        raise LookupError(f"no transition from {phase} on {trigger}") from None


def mermaid() -> str:
    """Draw the table as a Mermaid state diagram, for the README."""
    arrows = [
        f"    {phase} --> {target}: {trigger}"
        for phase, row in TRANSITIONS.items()
        for trigger, target in row.items()
        if trigger is not Trigger.BROKEN
    ]
    return "\n".join(["stateDiagram-v2", "    [*] --> Idle", *arrows])
