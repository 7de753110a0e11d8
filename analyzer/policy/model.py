"""The `CanaryPolicy` and the `CanaryDefaults` (`serin.dev/v1alpha1`), field by field.

Names are camelCase in the file and snake_case here; durations are seconds and end in `_s`, percentages are ratios.
Rules over several fields are in `rules.py`; `analyzer.policy.parse.parse_policy` applies both. The docstrings of the
fields are their descriptions in the generated schema.
"""

from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from analyzer.policy.fields import DEFAULT_WEIGHTS, ApprovalPoint, ObjectName, RouteName, VersionName, Versions, Weights
from analyzer.policy.quantities import Duration, Percent, PositiveDuration, PositivePercent, RiskPercent
from analyzer.policy.schedule import DatesField, HoursField, ZoneName

API_VERSION: Final = "serin.dev/v1alpha1"
KIND: Final = "CanaryPolicy"
DEFAULTS_KIND: Final = "CanaryDefaults"
DEFAULTS_NAME: Final = "default"
"""Of every `CanaryDefaults`: there is one in a namespace, and no question of which one counts."""


class Mode(StrEnum):
    """What Serin does with its decisions."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


class OnInconclusive(StrEnum):
    """What follows `dwell.max` without a verdict."""

    ADVANCE = "advance"
    HOLD = "hold"
    ROLLBACK = "rollback"


class OnRollback(StrEnum):
    """How people are told of a rollback."""

    PAGE = "page"
    NOTICE = "notice"


class OnDelete(StrEnum):
    """What becomes of a rollout in flight whose policy is deleted."""

    RESTORE = "restore"
    KEEP = "keep"


class CapacityMode(StrEnum):
    """How replicas take part in decisions."""

    OFF = "off"
    GATE = "gate"
    RESERVE = "reserve"


Lax = Field(strict=False)
"""For types that YAML cannot write itself: enumerations (from strings) and tuples (from lists)."""


class Model(BaseModel):
    """Strict and frozen: an unknown field or a wrong type is an error, never a guess."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", alias_generator=to_camel, use_attribute_docstrings=True
    )


# --- spec.target, spec.stages -----------------------------------------------------------------------------------------


class TargetSpec(Model):
    """The VirtualService to watch, and the two versions behind it."""

    virtual_service: ObjectName
    """Its name, in the policy's own namespace."""
    versions: Versions | None = None
    """The two subsets (or hosts); needed only if no route has exactly two destinations."""
    stable: VersionName | None = None
    """The version to trust; needed only where the weights are equal at adoption."""
    deployments: dict[VersionName, ObjectName] | None = None
    """Version to Deployment; otherwise found through the labels of DestinationRule and Service."""


class Stage(Model):
    """One http route to move, and its steps."""

    route: RouteName | None = None
    """Its name. A policy with one stage may leave it out: then every route that splits both versions is moved."""
    weights: Weights = DEFAULT_WEIGHTS
    """The canary's share, step by step [per cent]; or `auto`: it follows the proof, up to three times as much in a step."""


# --- spec.judge -------------------------------------------------------------------------------------------------------


class ErrorTolerance(Model):
    """Errors are harm beyond (1 + tolerance) times stable's rate, plus floor."""

    tolerance: Percent = 0.10
    """Relative to the stable version's error rate."""
    floor: Percent = 0.0001
    """Absolute; it matters where the stable version has hardly any errors."""


class LatencyTolerance(Model):
    """Latency is harm when everything is slower by more than this."""

    tolerance: Percent = 0.05
    """Relative to the stable version."""
    warm_up_s: Duration = Field(default=60.0, alias="warmUp")
    """Young canary pods are given more tolerance, fading with this time constant; 0s gives none."""


class Limits(Model):
    """Absolute limits, in addition to the comparison."""

    error_rate: PositivePercent | None = None
    """The canary's error rate."""
    p99_s: PositiveDuration | None = Field(default=None, alias="p99")
    """The canary's 99th percentile of latency."""


class Dwell(Model):
    """How long a step lasts."""

    min_s: Duration = Field(default=30.0, alias="min")
    """At least, however good the evidence."""
    max_s: PositiveDuration = Field(default=300.0, alias="max")
    """At most without a verdict; then `onInconclusive` says what happens."""


class Judge(Model):
    """How strict the comparison is."""

    false_rollback: RiskPercent = 0.01
    """Chance that a harmless release is rolled back, over the whole rollout."""
    errors: ErrorTolerance = ErrorTolerance()
    latency: LatencyTolerance = LatencyTolerance()
    limits: Limits | None = None
    sticky_users: bool = False
    """True: the same user always gets the same version, so that the share of requests follows users, not weights."""
    harm_budget: PositivePercent = 0.001
    """Share of all requests that an undetected bad step may hurt."""
    dwell: Dwell = Dwell()
    bake_s: Duration = Field(default=600.0, alias="bake")
    """A last watch at the last weight below 100."""
    on_inconclusive: Annotated[OnInconclusive, Lax] = OnInconclusive.ADVANCE


# --- the rest of spec -------------------------------------------------------------------------------------------------


class Capacity(Model):
    """Whether steps wait for replicas."""

    mode: Annotated[CapacityMode, Lax] = CapacityMode.GATE
    """`gate`: a step waits until ready pods carry it, and a rollback gives back as fast as it hurts least; `reserve`: also
    keeps the stable version's autoscaler at what taking everything back needs; `off`: replicas play no part."""
    headroom: Percent = 0.20
    """Spare capacity to keep."""
    rollback_within_s: Duration = Field(default=120.0, alias="rollbackWithin")
    """A rollback onto pods that cannot carry all of it is complete after this time, whatever it costs; 0s: at once, always."""


class Schedule(Model):
    """When steps forward may be made; a rollback always may."""

    timezone: ZoneName = "UTC"
    """All hours and days are by the clocks on the wall there."""
    forward: Annotated[tuple[HoursField, ...], Lax, Field(min_length=1, max_length=32)] = ()
    """Hours in which steps may be made, like `Mon-Fri 09:00-17:00`; without any, at all hours."""
    freeze: Annotated[tuple[DatesField, ...], Lax, Field(min_length=1, max_length=64)] = ()
    """Days on which none may, like `2026-12-24/2027-01-02`."""


class Deadlines(Model):
    """When waiting ends."""

    canary_ready_s: PositiveDuration = Field(default=600.0, alias="canaryReady")
    """A canary that is not ready by then is rolled back."""
    blind_s: PositiveDuration = Field(default=1800.0, alias="blind")
    """Telemetry that is missing for this long pages a person."""


class Behaviour(Model):
    """How releases are judged and moved. Everything has a default."""

    mode: Annotated[Mode, Lax] = Mode.ENFORCE
    """`observe` decides and reports, and patches nothing."""
    suspend: bool = False
    """True holds everything but a rollback that is under way."""
    stages: Annotated[tuple[Stage, ...], Lax, Field(min_length=1, max_length=16)] = (Stage(),)
    """One after the other; each takes its route to 100."""
    judge: Judge = Judge()
    capacity: Capacity = Capacity()
    on_delete: Annotated[OnDelete, Lax] = OnDelete.RESTORE
    """Whether deleting the policy takes a canary in flight back to zero."""
    approval: Annotated[tuple[ApprovalPoint, ...], Lax, Field(max_length=32)] = ()
    """What waits for a person: a stage, by its route, before it begins; a weight [per cent], before any stage goes to or past
    it."""
    schedule: Schedule | None = None
    deadlines: Deadlines = Deadlines()
    on_rollback: Annotated[OnRollback, Lax] = OnRollback.PAGE
    """How urgently people are told of a rollback: no user gets the canary any more, so it may wait until the morning. One that
    cannot be made pages in any case."""
    alerts: Annotated[tuple[ObjectName, ...], Lax, Field(max_length=16)] = ()
    """Names of receivers that the operator configured."""


class Spec(Behaviour):
    """What the user wants. Everything but the target has a default."""

    target: TargetSpec


# --- the objects ------------------------------------------------------------------------------------------------------


class Metadata(BaseModel):
    """The parts of an object's metadata that Serin reads; the API server owns the rest."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="ignore", alias_generator=to_camel, use_attribute_docstrings=True
    )

    name: ObjectName
    namespace: ObjectName = "default"
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    deletion_timestamp: str | None = None


class DefaultsMetadata(Metadata):
    """The same; there is one `CanaryDefaults` in a namespace."""

    name: Literal["default"]


class CanaryDefaults(Model):
    """What the policies of a namespace have where they are silent; those in Serin's own namespace, for the whole cluster."""

    api_version: Literal["serin.dev/v1alpha1"]
    kind: Literal["CanaryDefaults"]
    metadata: DefaultsMetadata
    spec: Behaviour


class CanaryPolicy(Model):
    """How one service's canaries are released."""

    api_version: Literal["serin.dev/v1alpha1"]
    kind: Literal["CanaryPolicy"]
    metadata: Metadata
    spec: Spec
    status: dict[str, Any] | None = Field(default=None, exclude=True, repr=False)
    """Serin's own; ignored here."""

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.metadata.namespace, self.metadata.name
