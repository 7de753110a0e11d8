"""What a person asks of a rollout. It comes as an annotation; `analyzer.policy.requests` reads and writes that."""

from dataclasses import dataclass
from enum import StrEnum


class Verb(StrEnum):
    """What can be asked for."""

    PAUSE = "pause"  # no step forward until `resume`; a rollback is still made
    RESUME = "resume"  # ends a pause or a Drift hold, or approves the step that waits
    RETRY = "retry"  # judges a revision again that was judged
    PROMOTE = "promote"  # everybody gets the canary, proven or not
    ABORT = "abort"  # nobody gets the canary


class DriftAnswer(StrEnum):
    """What becomes of weights that somebody else wrote."""

    ADOPT = "adopt"  # go on from them
    RESTORE = "restore"  # write the weights again that were there before


@dataclass(frozen=True, slots=True)
class Request:
    """One thing that one person asks for, once.

    Attributes
    ----------
    id
        Hexadecimal; the same id is answered once, whoever reads it how often.
    verb
        What is asked for.
    by
        The user name, as the API server knows it. Only the admission policy in `deploy/admission` makes sure that it is
        theirs.
    why
        In their words; may be empty.
    at
        When it was asked, RFC 3339 in UTC. For people to read.
    rollout
        The rollout that they saw, `RolloutState.rollout`: a request that comes late never hits the next release. Empty
        where none was seen; only a pause, and a resume that ends it, can do without.
    weights
        With `resume` of a Drift hold: what becomes of the weights.
    force
        With `promote`: whatever the evidence and the pods say.
    """

    id: str
    verb: Verb
    by: str
    why: str
    at: str
    rollout: str = ""
    weights: DriftAnswer | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Malformed:
    """An annotation that is no request: it too is answered, once. `id` is made of its text; `message` says what is wrong."""

    id: str
    message: str


class AnswerOutcome(StrEnum):
    """What became of a request."""

    DONE = "Done"
    REFUSED = "Refused"


@dataclass(frozen=True, slots=True)
class Answer:
    """A request that was dealt with, and how. Of a malformed one only id, outcome and message are known."""

    id: str
    outcome: AnswerOutcome
    message: str
    verb: str = ""
    by: str = ""
    why: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Who holds the policy, why, and since when. It outlives the rollout: only `resume` ends it."""

    by: str
    why: str
    at: str

    def __str__(self) -> str:
        return f"Paused by {self.by}{f' ({self.why})' if self.why else ''}; `resume` ends it."


@dataclass(frozen=True, slots=True)
class Promotion:
    """Everybody is to get the canary, because a person says so. `force`: whatever the evidence and the pods say."""

    by: str
    why: str
    force: bool = False
