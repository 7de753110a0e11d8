"""The outside world, as the loop sees it.

Every call is asynchronous, every call can fail, and every failure is one of `analyzer.errors`. Time-outs are the caller's:
each call is made under `asyncio.timeout`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Object = dict[str, Any]
"""A Kubernetes object as the API server writes it in JSON."""


# --- the cluster ------------------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """A resource type of the API server."""

    group: str  # "" is the core group
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """`apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version


CANARY_POLICY: Final = Kind("serin.dev", "v1alpha1", "canarypolicies", "CanaryPolicy")
CANARY_DEFAULTS: Final = Kind("serin.dev", "v1alpha1", "canarydefaults", "CanaryDefaults")
VIRTUAL_SERVICE: Final = Kind("networking.istio.io", "v1", "virtualservices", "VirtualService")
DESTINATION_RULE: Final = Kind("networking.istio.io", "v1", "destinationrules", "DestinationRule")
SERVICE: Final = Kind("", "v1", "services", "Service")
POD: Final = Kind("", "v1", "pods", "Pod")
DEPLOYMENT: Final = Kind("apps", "v1", "deployments", "Deployment")
HORIZONTAL_POD_AUTOSCALER: Final = Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
EVENT: Final = Kind("events.k8s.io", "v1", "events", "Event")
LEASE: Final = Kind("coordination.k8s.io", "v1", "leases", "Lease")


class Ref(NamedTuple):
    """The name of one object."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything of a kind at one instant."""

    items: Sequence[Object]
    resource_version: str


class ChangeType(StrEnum):
    """What a watch reports."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


class Change(NamedTuple):
    """One event of a watch."""

    type: ChangeType
    object: Object


PatchOperation = Mapping[str, Any]
"""One operation of a JSON Patch (RFC 6902): `op`, `path`, `value`."""


class Cluster(Protocol):
    """The Kubernetes API server, narrowly.

    Objects given are never kept, objects returned are the caller's own.
    """

    async def get(self, ref: Ref) -> Object:
        """Read one object from the server itself, never from a cache.

        Raises
        ------
        ObjectMissing
            There is none.
        ReadRefused
            We may not read it.
        ClusterUnavailable
            The server did not answer.
        """
        ...

    async def list(self, kind: Kind, *, namespace: str | None = None) -> Listing:
        """Read all objects of a kind, in one namespace or in all."""
        ...

    def watch(self, kind: Kind, *, namespace: str | None = None, resource_version: str) -> AsyncIterator[Change]:
        """Report changes after `resource_version`, until the server closes the stream (which is no error).

        Raises
        ------
        WatchExpired
            `resource_version` is too old: list again.
        ClusterUnavailable
            The connection broke.
        """
        ...

    async def patch(self, ref: Ref, operations: Sequence[PatchOperation], *, dry_run: bool = False) -> Object:
        """Apply a JSON Patch to an object (not to its status).

        Raises
        ------
        ObjectMissing
            There is no such object.
        ConflictError
            A `test` failed or an operation leads nowhere (422; the API server does not tell the two apart), or another write
            came between (409).
        WriteRefused
            The result is not valid, or admission said no.
        OutcomeUnknown
            No answer: read back.
        ClusterUnavailable
            The server said that it cannot serve now; nothing was written. AdmissionUnavailable: a webhook, istiod's say,
            does not answer.
        """
        ...

    async def replace_status(self, ref: Ref, obj: Object) -> Object:
        """Write `obj["status"]`, if `obj["metadata"]["resourceVersion"]` is still the newest.

        Raises as `patch`.
        """
        ...

    async def create(self, kind: Kind, obj: Object) -> Object:
        """Make a new object; one without a namespace belongs to the cluster.

        Raises
        ------
        ConflictError
            The name is taken.
        WriteRefused, OutcomeUnknown, ClusterUnavailable
            As for `patch`.
        """
        ...


# --- telemetry --------------------------------------------------------------------------------------------------------


class Workload(NamedTuple):
    """A Deployment, as Istio's labels `destination_workload_namespace` and `destination_workload` name it."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class SeriesBatch:
    """Raw samples of many series, as columns.

    Attributes
    ----------
    labels
        One mapping per series, `__name__` included.
    offsets : ndarray, shape (n_series + 1,), int64
        Samples of series i are `[offsets[i]:offsets[i + 1]]`.
    times : ndarray, shape (n_samples,), float64
        The samples' own timestamps [unix seconds], ascending within a series.
    values : ndarray, shape (n_samples,), float64
        As Prometheus gave them; NaN and infinities included.
    """

    labels: Sequence[Mapping[str, str]]
    offsets: "NDArray[np.int64]"
    times: "NDArray[np.float64]"
    values: "NDArray[np.float64]"


@dataclass(frozen=True, slots=True)
class TelemetryQuery:
    """What to read for all rollouts in flight at once.

    Attributes
    ----------
    workloads
        Both versions of every rollout.
    end_s, window_s
        Samples in `(end_s - window_s, end_s]` [unix seconds, s].
    """

    workloads: frozenset[Workload]
    end_s: float
    window_s: float


@dataclass(frozen=True, slots=True)
class TelemetryWindow:
    """The raw samples of one turn.

    Attributes
    ----------
    requests
        `istio_requests_total`.
    durations
        `istio_request_duration_milliseconds_bucket`.
    reporters
        For each instance that has any of the above: `up`, and `envoy_server_uptime` [s] where it is scraped. They tell scrape
        instants, missed scrapes and restarts of the proxy.
    """

    query: TelemetryQuery
    requests: SeriesBatch
    durations: SeriesBatch
    reporters: SeriesBatch


class Telemetry(Protocol):
    """Where Istio's metrics are read."""

    async def now_s(self) -> float:
        """Tell the time by the telemetry store's own clock [unix seconds].

        Raises
        ------
        MetricsUnavailable
            It did not answer.
        """
        ...

    async def fetch(self, query: TelemetryQuery) -> TelemetryWindow:
        """Read raw samples; a constant number of requests, however many workloads.

        Raises
        ------
        MetricsUnavailable
            No answer, an answer that is not what was asked for, or one with warnings (possibly partial).
        """
        ...


# --- alerts -----------------------------------------------------------------------------------------------------------


class Severity(StrEnum):
    """How urgently a person is needed."""

    PAGE = "page"
    NOTICE = "notice"
    INFO = "info"

    @property
    def rank(self) -> int:
        """The more urgent, the higher."""
        return ("info", "notice", "page").index(self.value)


@dataclass(frozen=True, slots=True)
class Alert:
    """A message to people on call.

    Attributes
    ----------
    dedup_key
        The same for every alert of one rollout, so that receivers fold them into one incident.
    reason
        CamelCase, stable: `RolledBack`, `Promoted`, `Blind` …
    severity
        How urgent.
    resolved
        True when this ends what an earlier alert of the same `dedup_key` and `reason` began; the severity is that alert's.
    title
        One line: what happened to what.
    what, evidence, done, to_do
        The four parts of the text, plain.
    command
        For `to_do`: one shell command, on one line; empty where none would help.
    links
        Where there is more: a name (`runbook`, `dashboard`, `source` …), and a URL.
    lasts
        True for a condition, which another alert will resolve; False for what happened once and for all.
    still
        Reasons of other alerts of this `dedup_key` that still stand: while there are any, its incident goes on.
    ends
        Reasons of others that this one is the end of, without an alert of their own.
    policy
        `namespace/name`.
    receivers
        Names from the policy; empty means the operator's default.
    at_s
        When it happened [unix seconds].
    details
        The same for machines.
    """

    dedup_key: str
    reason: str
    severity: Severity
    resolved: bool
    title: str
    what: str
    evidence: str
    done: str
    to_do: str
    policy: str
    receivers: tuple[str, ...]
    at_s: float
    details: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    lasts: bool = False
    still: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()


class AlertSink(Protocol):
    """One way to reach people."""

    async def send(self, alert: Alert) -> None:
        """Hand the alert over.

        Raises
        ------
        AlertUndelivered
            It may be tried again (after `retry_after_s`, where the receiver said so).
        TerminalError
            The receiver will never take it (a wrong key, say).
        """
        ...


# --- decisions --------------------------------------------------------------------------------------------------------


class DecisionSink(Protocol):
    """Where the decision log is kept. Its calls are short, and made from the loop."""

    def last(self) -> str:
        """Return the last line that is there, without its end; empty where there is none.

        Raises
        ------
        DecisionsUnwritable
            It cannot be read.
        """
        ...

    def append(self, line: str) -> bool:
        """Write a line; True where it is the last before a new file is begun.

        Raises
        ------
        DecisionsUnwritable
            It was not written, or not whole.
        """
        ...


# --- time -------------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Two clocks: one for people, one for durations."""

    def now_s(self) -> float:
        """Wall clock [unix seconds]: for what people read, and for `spec.schedule`.

        No other decision depends on it: set wrong, it delays a step, and no more.
        """
        ...

    def monotonic_s(self) -> float:
        """Seconds that no clock step changes."""
        ...
