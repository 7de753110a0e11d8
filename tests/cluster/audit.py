"""What Serin asked of the API server, by the server's own audit log."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from analyzer.ports import Object
from tests.cluster.deployment import ACCOUNT

WRITES: Final = frozenset({"create", "update", "patch", "delete"})
_CREDENTIAL: Final = "authentication.kubernetes.io/credential-id"
_DECISION: Final = "authorization.k8s.io/decision"
_POLICY: Final = "ValidatingAdmissionPolicy"
_MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Attributes
    ----------
    at_s
        When it arrived [unix seconds].
    resource
        The plural, with its subresource: `canarypolicies/status`.
    code
        The answer's; 0 where there was none.
    token
        The id of the token with which it came: each replica has one of its own.
    refusal
        What a role or an admission policy of deploy/ did not allow; empty where that was not why it failed, if it did.
    """

    at_s: float
    verb: str
    resource: str
    namespace: str
    code: int
    token: str
    refusal: str

    @property
    def writes(self) -> bool:
        """Whether it may change something; a Lease is counted apart."""
        return self.verb in WRITES and self.resource != "leases"

    @classmethod
    def of(cls, event: Object) -> Self:
        """Read an event of the log."""
        ref = event.get("objectRef", {})
        parts = [ref[key] for key in ("resource", "subresource") if key in ref]
        at_s = datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
        (token,) = event["user"]["extra"][_CREDENTIAL]
        return cls(
            at_s,
            event["verb"],
            "/".join(parts),
            ref.get("namespace", ""),
            code=event.get("responseStatus", {}).get("code", 0),
            token=token,
            refusal=_refusal(event),
        )


def _refusal(event: Object) -> str:
    said: str = event.get("responseStatus", {}).get("message", "")
    forbidden = event.get("annotations", {}).get(_DECISION) == "forbid"
    return (said or event["requestURI"]) if forbidden or _POLICY in said else ""


def _ends_a_watch(event: Object) -> bool:
    """Tell the end of one that had begun; one that was refused has no begin."""
    code = event.get("responseStatus", {}).get("code", 0)
    return bool(event["verb"] == "watch" and event["stage"] == "ResponseComplete" and code < 400)


class AuditLog:
    """The part of the log that was written since this was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin = path.stat().st_size

    def asked(self, namespaces: Iterable[str] | None = None) -> list[Asked]:
        """Read what Serin's account asked; with `namespaces`, of these alone. A watch counts once, at its begin."""
        wanted = None if namespaces is None else frozenset(namespaces)
        with self._path.open("rb") as log:
            log.seek(self._begin)
            events = [json.loads(line) for line in log if line.endswith(b"\n")]
        mine = [
            Asked.of(event) for event in events if event["user"].get("username") == ACCOUNT and not _ends_a_watch(event)
        ]
        return [one for one in mine if wanted is None or one.namespace in wanted]

    def check_rights(self) -> None:
        """Fail if Serin lacked a right of deploy/, or an admission policy of it refused something.

        What was allowed at other times is not lacking: an API server that has just started forbids what it has not read yet.
        """
        asked = self.asked()
        allowed = {(one.verb, one.resource) for one in asked if not one.refusal}
        refused = [one for one in asked if one.refusal]
        lacking = [one for one in refused if _POLICY in one.refusal or (one.verb, one.resource) not in allowed]
        assert not lacking, lacking


class OpenWatches:
    """Counts Serin's watches that are open, by their begins and ends in the log since this was made."""

    AGENT: Final = "serin/"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = path.stat().st_size
        self._open: set[str] = set()

    def count(self) -> int:
        """Read on in the log, and count."""
        with self._path.open("rb") as log:
            log.seek(self._read)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                if b'"verb":"watch"' in line:
                    self._take(json.loads(line))
        return len(self._open)

    def _take(self, event: Object) -> None:
        if not event.get("userAgent", "").startswith(self.AGENT):
            return
        if event["stage"] == "ResponseStarted":
            self._open.add(event["auditID"])
        else:  # complete, or broken; of one that was refused there was no begin
            self._open.discard(event["auditID"])


def busiest_minute(asked: Iterable[Asked]) -> int:
    """Count the requests in the minute that had the most."""
    times = sorted(one.at_s for one in asked)
    begin = most = 0
    for end, at_s in enumerate(times):
        while times[begin] <= at_s - _MINUTE_S:
            begin += 1
        most = max(most, end - begin + 1)
    return most


def show_verbs(asked: Iterable[Asked]) -> str:
    """Write what was asked for how often: `patch virtualservices 4, …`."""
    counted = Counter(f"{one.verb} {one.resource}" for one in asked)
    return ", ".join(f"{what} {n}" for what, n in counted.most_common())
