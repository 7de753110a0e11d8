"""Every way in which a query can fail, in words: what, where, and how to mend it."""

import json
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from requests import Response, exceptions

from analyzer.errors import MetricsUnavailable

_EXCERPT: Final = 300


def shown_url(url: str) -> str:
    """Write a URL without the credentials that may be in it."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def explain_no_answer(error: exceptions.RequestException, where: str) -> MetricsUnavailable:
    """Say why there was no answer."""
    text = str(error)
    match error:
        case exceptions.SSLError():
            return _unavailable(where, f"TLS failed ({_short(text)})", "give the CA that signed its certificate")
        case exceptions.ConnectTimeout():
            return _unavailable(where, "no connection in time", "check the address, its Service and network policies")
        case exceptions.Timeout():
            return _unavailable(where, "no answer in time", "check its load, or allow more time")
        case exceptions.ConnectionError() if "NameResolutionError" in text:
            return _unavailable(where, "its host name cannot be resolved", "check the address, and DNS")
        case exceptions.ConnectionError() if "refused" in text:
            return _unavailable(where, "nothing listens there", "check that Prometheus runs, and the address")
    return _unavailable(where, f"the connection failed ({_short(text)})", "check the address, and Prometheus' log")


def explain_status(response: Response, where: str) -> MetricsUnavailable:
    """Say what an answer other than 200 means."""
    code, retry_after_s = response.status_code, _retry_after_s(response)
    if 300 <= code < 400:
        target = shown_url(response.headers.get("Location", ""))
        return _unavailable(
            where, f"it redirects to {target}", "redirects are not followed: configure the final address"
        )
    if code in {401, 403}:
        return _unavailable(where, f"it answered {code}: not allowed", "check the bearer token file")
    problem = f"it answered {code} ({_reason(response)})"
    mend = "see the error it names" if code < 500 else "check Prometheus, and any proxy before it"
    return _unavailable(where, problem, mend, retry_after_s=retry_after_s)


def explain_payload(payload: object, where: str) -> MetricsUnavailable | None:
    """Say what is wrong with an answer that came as 200; None: nothing is."""
    if not isinstance(payload, dict):
        return _unavailable(where, "the answer is no JSON object", "check that this is Prometheus' address")
    if payload.get("status") != "success":
        error = _short(f"{payload.get('errorType', 'no type')}: {payload.get('error', 'no message')}")
        return _unavailable(where, f"the query failed ({error})", "see the error it names")
    if payload.get("warnings"):
        warnings = _short("; ".join(map(str, payload["warnings"])))
        return _unavailable(where, f"the answer may be partial ({warnings})", "check the stores behind it")
    data = payload.get("data")
    if not isinstance(data, dict) or "result" not in data:
        return _unavailable(where, "the answer has no data", "check that this is Prometheus' address")
    return None


def explain_no_json(response: Response, where: str) -> MetricsUnavailable:
    """Say what came instead of JSON."""
    kind = response.headers.get("Content-Type", "no content type")
    return _unavailable(
        where, f"the answer is not JSON but {kind}", "check that this is Prometheus' address and no proxy's login page"
    )


def explain_type(found: str, expected: str, where: str) -> MetricsUnavailable:
    """Say that another kind of result came than was asked for."""
    problem = f"the answer is of the type {_short(found)!r}, not {expected!r}"
    return _unavailable(where, problem, "check that this is Prometheus' address")


def explain_shape(error: Exception, where: str) -> MetricsUnavailable:
    """Say that the result is not laid out as Prometheus does."""
    problem = f"the result cannot be read ({type(error).__name__}: {_short(str(error))})"
    return _unavailable(where, problem, "check that this is Prometheus' address")


def explain_size(limit: int, where: str) -> MetricsUnavailable:
    """Say that the answer was cut off."""
    problem = f"the answer is larger than {limit / 2**20:.0f} MiB"
    return _unavailable(where, problem, "drop labels that nobody needs from Istio's metrics")


def explain_busy(count: int, where: str) -> MetricsUnavailable:
    """Say that no thread is free."""
    return _unavailable(where, f"all {count} connections wait for it", "check its load, or allow more time")


def explain_file(error: OSError, where: str) -> MetricsUnavailable:
    """Say that the token or the certificates cannot be read."""
    return _unavailable(where, f"a file to ask it with cannot be read ({_short(str(error))})", "check its mount")


def explain_token(path: Path, where: str) -> MetricsUnavailable:
    """Say that there is no token in its file, and do not show what is."""
    return _unavailable(where, f"the bearer token file {path} holds no token", "it must hold one word and nothing else")


def _unavailable(where: str, problem: str, mend: str, *, retry_after_s: float | None = None) -> MetricsUnavailable:
    return MetricsUnavailable(f"Prometheus at {where}: {problem}; {mend}.", retry_after_s=retry_after_s)


def _reason(response: Response) -> str:
    """Prometheus' own error text, or what else answered."""
    try:
        payload = json.loads(response.content)
        return _short(f"{payload['errorType']}: {payload['error']}")
    except (ValueError, TypeError, KeyError):
        kind = response.headers.get("Content-Type", "no content type").partition(";")[0]
        return f"{kind}, not from Prometheus itself"


def _retry_after_s(response: Response) -> float | None:
    """Read `Retry-After`: seconds, or a date by the answer's own clock."""
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        until, now = (parsedate_to_datetime(part) for part in (text, response.headers.get("Date", "")))
    except ValueError:
        return None
    return max((until - now).total_seconds(), 0.0)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _EXCERPT else f"{line[:_EXCERPT]}…"
