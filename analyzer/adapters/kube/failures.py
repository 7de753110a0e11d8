"""Every way in which the API server can fail us, as one of our errors.

The question behind all of them is whether a write was made. Where only the API server itself can know, and it did not say,
the answer is OutcomeUnknown: whoever wrote reads back.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import aiohttp

from analyzer.errors import (
    AdmissionUnavailable,
    ClusterUnavailable,
    ConflictError,
    ObjectMissing,
    OutcomeUnknown,
    ReadRefused,
    SerinError,
    WatchExpired,
    WriteRefused,
)

_EXCERPT: Final = 600
_NOT_SERVED: Final = b"404 page not found"
_ISTIO: Final = "validation.istio.io"

Status = Mapping[str, Any]
"""A `Status` object, as the API server explains itself."""


def explain_no_answer(error: BaseException, *, what: str, write: bool) -> SerinError:
    """Say why there was no answer, and whether a write can have arrived."""
    reason = f"{what}: {_problem(error)}"
    never_sent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL)
    if write and not never_sent:
        return OutcomeUnknown(f"{reason}; the write may have been made")
    return ClusterUnavailable(reason)


def _problem(error: BaseException) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return f"TLS with the API server failed ({_short(str(error))}); check its certificate and the CA"
        case aiohttp.ClientConnectorDNSError():
            return f"the API server's host name cannot be resolved ({_short(str(error))})"
        case aiohttp.ClientConnectorError():
            return f"the API server cannot be reached ({_short(str(error))})"
        case aiohttp.ConnectionTimeoutError():
            return "no connection to the API server in time"
        case TimeoutError():
            return "the API server did not answer in time"
    return f"the connection to the API server broke ({type(error).__name__}: {_short(str(error))})"


def explain_garbage(*, what: str, write: bool) -> SerinError:
    """Say that an answer is not what the API server writes: cut off, or from something else."""
    problem = f"{what}: the answer is cut off, or not the API server's"
    return OutcomeUnknown(f"{problem}; the write may have been made") if write else ClusterUnavailable(problem)


def explain_answer(
    code: int, headers: Mapping[str, str], body: bytes, *, what: str, write: bool, returned: bool = False
) -> SerinError:
    """Say what an answer other than 2xx means; `returned`: as for `explain_status`."""
    status = _status_of(body)
    if status is None:
        return _explain_foreign(code, headers, body, what=what, write=write)
    return explain_status(
        {"code": code, **status}, what=what, write=write, retry_after_s=_retry_after_s(headers), returned=returned
    )


def explain_status(
    status: Status, *, what: str, write: bool, retry_after_s: float | None = None, returned: bool = False
) -> SerinError:
    """Say what the API server's own explanation means.

    `returned`: it did not answer a while ago. One that has just started forbids whatever roles allow, until it has read them.
    """
    code = int(status.get("code") or 500)
    message = str(status.get("message") or "no message")
    text = f"{what}: {code}: {_short(message)}"
    retry_after_s = retry_after_s or (status.get("details") or {}).get("retryAfterSeconds")
    if "denied the request" in message or "denied request" in message:  # a webhook chooses its code freely
        return WriteRefused(text)
    if "failed calling webhook" in message:
        return AdmissionUnavailable(_webhook(text), retry_after_s=retry_after_s)
    if code == 403 and returned:
        return ClusterUnavailable(f"{text}; an API server that has just come back may not have read its roles yet")
    if code == 422 and _does_not_apply(status):
        return ConflictError(
            f"{what}: 422: the object is not what the patch expects: a test in it failed, or a path in it leads "
            "nowhere (the API server does not say which)"
        )
    return _explain_code(code, text, write=write, retry_after_s=retry_after_s)


def _explain_code(code: int, text: str, *, write: bool, retry_after_s: float | None) -> SerinError:
    match code:
        case 401:
            return ClusterUnavailable(f"{text}; the token is wrong or has expired")
        case 404:
            return ObjectMissing(text)
        case 409:
            return ConflictError(text)
        case 410:
            return WatchExpired(text)
        case 429 | 503:
            return ClusterUnavailable(text, retry_after_s=retry_after_s)
    if code >= 500:
        return OutcomeUnknown(f"{text}; the write may have been made") if write else ClusterUnavailable(text)
    return WriteRefused(text) if write else ReadRefused(text)


def _does_not_apply(status: Status) -> bool:
    """Tell a JSON Patch that did not apply from an object that is not valid: only the second has details."""
    return not status.get("details") and "error in our request" in str(status.get("message"))


def _webhook(text: str) -> str:
    if _ISTIO in text:
        return (
            "istiod does not answer, and without its webhook the API server takes no VirtualService, from nobody: "
            f"bring istiod back first ({text})"
        )
    return f"an admission webhook does not answer, and the API server takes no such write without it ({text})"


def _explain_foreign(code: int, headers: Mapping[str, str], body: bytes, *, what: str, write: bool) -> SerinError:
    """Say what an answer means that the API server did not write: a proxy's, mostly."""
    if code == 404 and body.startswith(_NOT_SERVED):
        return ObjectMissing(f"{what}: 404: the API server does not serve this kind; is its CRD installed?")
    kind = headers.get("Content-Type", "no content type").partition(";")[0]
    text = f"{what}: {code} ({kind}), not from the API server but from something before it"
    if write and code >= 500:
        return OutcomeUnknown(f"{text}; the write may have been made")
    return ClusterUnavailable(text, retry_after_s=_retry_after_s(headers))


def _status_of(body: bytes) -> Status | None:
    try:
        status = json.loads(body)
    except ValueError:
        return None
    return status if isinstance(status, dict) and status.get("kind") == "Status" else None


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _EXCERPT else f"{line[:_EXCERPT]}…"
