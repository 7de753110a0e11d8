"""What can go wrong, as a tree.

    SerinError
    ├── PolicyError            the author's fault: no retry until the policy or its target changes
    ├── TransientError         worth another try, after `retry_after_s`
    │   ├── ClusterUnavailable
    │   │   └── AdmissionUnavailable   a webhook that must be asked does not answer: no such write is taken
    │   ├── OutcomeUnknown     a write timed out: it may have been made; read back before anything else
    │   ├── MetricsUnavailable
    │   └── AlertUndelivered
    ├── ConflictError          someone else wrote first (409, or a JSON Patch `test` failed, 422): read again, decide again
    │   └── WatchExpired       410: list again
    ├── TerminalError          retrying the same call cannot help
    │   ├── ObjectMissing      404
    │   ├── ReadRefused        403
    │   └── WriteRefused       403, a webhook's denial, an invalid object
    ├── LeadershipLost         another process leads, or may: write nothing, tell nobody
    └── InvariantViolation     our own bug: hold the weights and page

Every error has a CamelCase `reason`, which is also the condition reason, event reason and metric label. Bad *data* is no
error: it is a value (NO_DATA with a reason).
"""

from typing import ClassVar


class SerinError(Exception):
    """Anything Serin raises on purpose."""

    reason: ClassVar[str] = "Error"


class PolicyError(SerinError):
    """The policy, or what it points to, cannot work as it is written."""

    reason = "PolicyInvalid"


class TransientError(SerinError):
    """A call that may succeed later.

    Parameters
    ----------
    message
        What failed, for a person.
    retry_after_s
        Seconds to wait before the next try, where the other side said so.
    """

    reason = "Unavailable"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ClusterUnavailable(TransientError):
    """The API server did not answer, or answered that it cannot serve now; nothing was written."""

    reason = "ClusterUnavailable"


class AdmissionUnavailable(ClusterUnavailable):
    """The API server works, but a webhook that it must ask (istiod's, say) does not answer; nothing was written."""

    reason = "AdmissionUnavailable"


class OutcomeUnknown(TransientError):
    """A write ended without an answer: it may or may not have been made."""

    reason = "OutcomeUnknown"


class MetricsUnavailable(TransientError):
    """Telemetry could not be read, or not be trusted (partial answer, warnings)."""

    reason = "MetricsUnavailable"


class DecisionsUnwritable(TransientError):
    """The decision log cannot be written, or read back."""

    reason = "DecisionsUnwritable"


class AlertUndelivered(TransientError):
    """A receiver did not take an alert."""

    reason = "AlertUndelivered"


class ConflictError(SerinError):
    """The object is not what the write expected it to be."""

    reason = "Conflict"


class WatchExpired(ConflictError):
    """The resourceVersion of a watch is too old."""

    reason = "WatchExpired"


class TerminalError(SerinError):
    """The same call can never succeed."""

    reason = "Refused"


class ObjectMissing(TerminalError):
    """There is no such object."""

    reason = "ObjectMissing"


class ReadRefused(TerminalError):
    """The API server does not let us read: a permission is missing."""

    reason = "ReadRefused"


class WriteRefused(TerminalError):
    """The API server, or an admission webhook, refused the write."""

    reason = "WriteRefused"


class LeadershipLost(SerinError):
    """Another process leads, or may by now: nothing may be written."""

    reason = "LeadershipLost"


class InvariantViolation(SerinError):
    """Something that the code holds to be impossible happened."""

    reason = "InvariantViolation"
