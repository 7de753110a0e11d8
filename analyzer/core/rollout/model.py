"""What the decision is made of: the plan, the state, the snapshot; and what comes out."""

from dataclasses import dataclass, field
from enum import StrEnum

from analyzer.core.capacity.demand import VersionCapacity
from analyzer.core.capacity.giveback import Severity
from analyzer.core.capacity.report import CapacityReport
from analyzer.core.judge.types import Assessment, Evidence, JudgeState, Verdict
from analyzer.core.rollout.phases import Phase
from analyzer.core.rollout.requests import Answer, Malformed, Pause, Promotion, Request

Weights = tuple[float, ...]
"""The canary's share in each stage's routes [per cent], in the order of the stages.

It says where a rollout is: the active stage is the first that is below 100. Nothing else needs to be stored, and a service
found at 90/10 is at 10 without having been brought there.
"""


# --- what is there ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VersionView:
    """One version as the cluster has it.

    Attributes
    ----------
    name
        Subset or host.
    revision
        Hash of the Deployment's pod template; empty where there is no Deployment.
    ready_pods
        Pods that can answer [count].
    settled
        Every pod runs this revision and is ready, and there is at least one.
    """

    name: str
    revision: str
    ready_pods: int
    settled: bool


@dataclass(frozen=True, slots=True)
class TargetView:
    """The policy's target as the cluster has it.

    Attributes
    ----------
    versions
        Both versions.
    shares
        Per version name, its share in each stage [per cent].
    default_stable
        The version with the larger weight; where they are equal, the one that the policy names; None where neither decides.
    unfit
        Why no rollout can begin on the weights as they are (a total that cannot express the steps, say). One in flight goes
        on: whatever someone wrote into the weights, a rollback must stay possible.
    aside
        What else leads to the versions and is not moved, as a sentence; empty where nothing does.
    """

    versions: tuple[VersionView, VersionView]
    shares: dict[str, Weights]
    default_stable: str | None
    unfit: "Problem | None" = None
    aside: str = ""

    def version(self, name: str) -> VersionView | None:
        """Return the version of that name, if it still is one."""
        return next((v for v in self.versions if v.name == name), None)

    def other(self, name: str) -> VersionView:
        """Return the version that is not `name`."""
        first, second = self.versions
        return second if first.name == name else first


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the policy cannot work on what is there."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class TelemetryHealth:
    """Whether there is anything to judge by.

    Attributes
    ----------
    fresh
        Telemetry is there and recent.
    reason, message
        CamelCase and for a person, where it is not.
    now_s
        The telemetry store's clock [unix seconds]; None while it has never answered.
    """

    fresh: bool
    reason: str = ""
    message: str = ""
    now_s: float | None = None


@dataclass(frozen=True, slots=True)
class CapacityView:
    """What the pods of both versions can do, and what they have to.

    Attributes
    ----------
    stable, canary
        The versions.
    moving
        Requests per second of the routes whose weights move.
    stable_elsewhere, canary_elsewhere
        Requests per second that a version gets from other routes, those of other stages among them.
    staged
        Requests per second of each stage's routes, of both versions; empty where there is one stage.
    learning
        How many requests there are, or what one costs, is not known yet and will be within seconds.
    severity
        How bad the canary has been since harm began; None where nobody knows.
    trouble
        What the canary's autoscaler and Deployment say of pods that do not come, in words; empty where they say nothing.
    """

    stable: VersionCapacity
    canary: VersionCapacity
    moving: float
    stable_elsewhere: float = 0.0
    canary_elsewhere: float = 0.0
    staged: tuple[float, ...] = ()
    learning: bool = False
    severity: Severity | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a decision may depend on besides policy and state.

    Attributes
    ----------
    target
        What is there, or why it cannot be made out.
    elapsed_s
        Monotonic time since the previous turn [s]; 0 on the first.
    telemetry
        None: telemetry was not asked in this turn.
    assessment
        The judge's answer to this turn's telemetry.
    passed
        The same for the users of stages that are through; None where nothing watches them.
    strays
        Proxies that do not split requests by the weight, in words; empty where none is known.
    capacity
        None: nothing is known of it, and nothing waits for it.
    request
        What a person asks for, answered already or not.
    closed
        Why no step forward may be made at this hour, and until when, in words; empty where one may. The core has no clock.
    """

    target: TargetView | Problem
    elapsed_s: float
    telemetry: TelemetryHealth | None = None
    assessment: Assessment | None = None
    passed: Assessment | None = None
    strays: str = ""
    capacity: CapacityView | None = None
    request: Request | Malformed | None = None
    closed: str = ""


# --- what is remembered -----------------------------------------------------------------------------------------------


class HoldReason(StrEnum):
    """Why the weights stay where they are."""

    BLIND = "Blind"
    DRIFT = "Drift"
    SAMPLE_RATIO = "SampleRatio"
    CAPACITY = "Capacity"
    SCHEDULE = "Schedule"
    APPROVAL = "Approval"
    PAUSED = "Paused"
    UNREACHABLE = "Unreachable"


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold, with its explanation."""

    reason: HoldReason
    message: str


@dataclass(frozen=True, slots=True)
class Intent:
    """A weight change that is recorded and not yet confirmed.

    Attributes
    ----------
    before, after
        The canary's weights expected now and wanted [per cent per stage].
    reason
        CamelCase: why.
    message
        The same for a person.
    """

    before: Weights
    after: Weights
    reason: str
    message: str


class Outcome(StrEnum):
    """How the judging of a revision ended."""

    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"
    SUPERSEDED = "Superseded"  # it was stable until a canary was promoted over it


@dataclass(frozen=True, slots=True)
class Judged:
    """A revision that is not to be judged again."""

    version: str
    revision: str
    outcome: Outcome
    reason: str


class Urgency(StrEnum):
    """Who has to know."""

    EVENT = "event"  # in the cluster's event log only
    INFO = "info"
    NOTICE = "notice"
    PAGE = "page"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened and that people may have to be told.

    It is part of the state until it was delivered, so that a crash between the deed and the message loses neither.

    Attributes
    ----------
    reason
        CamelCase, stable.
    urgency
        Who has to know.
    resolved
        It ends what an earlier notice of this rollout began; the urgency is that notice's.
    rollout
        Names the rollout it is about: the canary's version and revision.
    what, evidence, done, to_do
        The parts of the message.
    title
        The same in one line, without a full stop; empty where `what` is one already.
    command
        What a person can run; empty until the loop, which knows names, fills it in.
    ends
        Conditions that this is the end of, without a notice of their own.
    at_s
        When it was recorded [unix seconds]; 0 until then, for the core knows no clock.
    """

    reason: str
    urgency: Urgency
    rollout: str
    what: str
    evidence: str = ""
    done: str = ""
    to_do: str = ""
    resolved: bool = False
    at_s: float = 0.0
    title: str = ""
    command: str = ""
    ends: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RolloutState:
    """All that is remembered of a policy: what `.status` holds.

    Attributes
    ----------
    phase, reason, message
        Where the rollout is, and why.
    stable, canary
        Version names; fixed while a rollout is in flight, empty before the first.
    stable_revision, canary_revision
        What they ran when their roles were fixed.
    weights
        What the route's weights are believed to be [per cent for the canary, per stage].
    intent
        A weight change under way.
    hold
        Why nothing moves forward, if nothing may.
    verdict, evidence
        The judge's last word. `evidence` is not stored: the checkpoint gives it back.
    capacity
        What is known of both versions' pods, for people; not read back either.
    dispersion
        Where the judge has its idea of ordinary variation from, in words; empty where nobody knows.
    judge, judged_until_s, interval_s
        The checkpoint: the judge's state, up to which sample time it was fed [unix seconds], and the grid [s].
    passed, passed_until_s
        The same for the users of stages that are through: they are all on the canary, and only absolute limits find harm there.
    weights_since_s
        When the present weights were read back, by the telemetry store's clock [unix seconds].
    weights_before
        The weights before these; empty where nobody knows them.
    cleared
        Weights that proof or dwelling allow, and pods may not yet [per cent]; empty where the weights are that far.
    unproven
        Weights that the canary was taken beyond without proof [per cent].
    severity, returning_s, course
        Of a rollback: how bad the canary is, time since it began [s], and in words how the traffic goes back.
    waiting_s, blind_s, mismatch_s, short_s
        Time spent waiting for the canary, without telemetry, held because the weights are not in effect, and without a step for
        want of pods [s].
    paused
        Who lets nothing move forward, if anybody does.
    request, answered
        The last request that was dealt with, and the ids of the last ones: none is dealt with twice.
    awaits, approved
        Weights that wait for a person's approval, and those that have it [per cent]; empty where there are none.
    promotion
        Who has ordered that everybody gets the canary.
    restoring
        The weights are to be written again as they were before somebody else wrote others.
    judged
        The newest revisions that need no judging.
    notices
        What happened and is not yet delivered.
    told
        Reasons of the conditions that people were told of in this rollout and that still stand.
    """

    phase: Phase = Phase.IDLE
    reason: str = "NoNewRevision"
    message: str = "Nothing to judge yet."
    stable: str = ""
    canary: str = ""
    stable_revision: str = ""
    canary_revision: str = ""
    weights: Weights = ()
    intent: Intent | None = None
    hold: Hold | None = None
    verdict: Verdict = Verdict.NO_DATA
    evidence: Evidence | None = None
    capacity: CapacityReport | None = None
    dispersion: str = ""
    judge: JudgeState | None = None
    judged_until_s: float | None = None
    interval_s: float | None = None
    passed: JudgeState | None = None
    passed_until_s: float | None = None
    weights_since_s: float | None = None
    weights_before: Weights = ()
    cleared: Weights = ()
    unproven: Weights = ()
    severity: Severity | None = None
    returning_s: float = 0.0
    course: str = ""
    waiting_s: float = 0.0
    blind_s: float = 0.0
    mismatch_s: float = 0.0
    short_s: float = 0.0
    paused: Pause | None = None
    request: Answer | None = None
    answered: tuple[str, ...] = ()
    awaits: Weights = ()
    approved: Weights = ()
    promotion: Promotion | None = None
    restoring: bool = False
    judged: tuple[Judged, ...] = ()
    notices: tuple[Notice, ...] = ()
    told: frozenset[str] = field(default=frozenset())

    @property
    def rollout(self) -> str:
        """Name this rollout: `v2@3f6c…`."""
        return f"{self.canary}@{self.canary_revision}"
