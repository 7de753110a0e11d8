"""Notices become alerts for people and Events in the cluster."""

import hashlib
from collections.abc import Mapping
from typing import Any

from analyzer.core.rollout import Notice, Urgency
from analyzer.policy.model import OnRollback
from analyzer.ports import CANARY_POLICY, EVENT, Alert, Object, Severity

_SEVERITY = {Urgency.INFO: Severity.INFO, Urgency.NOTICE: Severity.NOTICE, Urgency.PAGE: Severity.PAGE}
# What the API server takes of an Event [byte].
_NOTE_MAX = 1024
_INSTANCE_MAX = 128
_NAME_MAX = 253


SOURCE = "serin.dev/source"
"""Annotation of a policy: the URL of its file, at its commit."""
_ROLLBACKS = frozenset({"RollingBack", "RolledBack"})


def alert_of(
    notice: Notice, policy: Object, *, standing: frozenset[str], ended: bool, details: dict[str, Any]
) -> Alert | None:
    """Return the alert that tells people of `notice`; None where the event log is enough.

    Parameters
    ----------
    notice
        What happened.
    policy
        Whom to tell, and how urgently, is read from it as far as it can be: one that is broken keeps its receivers.
    standing
        Reasons of the conditions that stand.
    ended
        The rollout ended with a rollback, which is still to be looked at.
    details
        For machines.
    """
    severity = _SEVERITY.get(notice.urgency)
    if severity is None:
        return None
    spec = policy.get("spec") or {}
    if notice.reason in _ROLLBACKS and spec.get("onRollback") == OnRollback.NOTICE and severity is Severity.PAGE:
        severity = Severity.NOTICE
    metadata = policy["metadata"]
    key = f"{metadata['namespace']}/{metadata['name']}"
    return Alert(
        dedup_key=f"serin/{key}/{notice.rollout}",
        reason=notice.reason,
        severity=severity,
        resolved=notice.resolved,
        title=f"{key}: {notice.title or notice.what.rstrip('.')}",
        what=notice.what,
        evidence=notice.evidence,
        done=notice.done,
        to_do=notice.to_do,
        policy=key,
        receivers=_receivers(spec),
        at_s=notice.at_s,
        details=details,
        command=notice.command,
        links=_links(metadata),
        lasts=notice.reason in standing,
        still=tuple(sorted((standing | ({"RolledBack"} if ended else set())) - {notice.reason})),
        ends=notice.ends,
    )


def _links(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Link the policy at its commit, where whoever applied it said so."""
    source = (metadata.get("annotations") or {}).get(SOURCE, "")
    fit = source.startswith(("https://", "http://")) and source.isprintable() and " " not in source
    return {"policy": source} if fit else {}


def applied_by(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Name the GitOps tool's object that a policy belongs to, as the tool notes it there."""
    notes = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    found = {
        "argocd": notes.get("argocd.argoproj.io/tracking-id", "").partition(":")[0],
        "flux": notes.get("kustomize.toolkit.fluxcd.io/name", ""),
    }
    return {tool: name for tool, name in found.items() if name}


def _receivers(spec: Mapping[str, Any]) -> tuple[str, ...]:
    named = spec.get("alerts")
    return tuple(name for name in named if isinstance(name, str)) if isinstance(named, list) else ()


def event_of(notice: Notice, policy: Object, *, at: str, instance: str) -> Object:
    """Return the `events.k8s.io/v1` Event of a notice.

    Its name is a hash of what it says, so that a replica that writes it again after a crash only finds it there.
    """
    metadata = policy["metadata"]
    identity = f"{metadata.get('uid')}/{notice.rollout}/{notice.reason}/{notice.at_s}/{notice.resolved}"
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {
            "name": _event_name(metadata["name"], hashlib.sha256(identity.encode()).hexdigest()[:16]),
            "namespace": metadata["namespace"],
        },
        "eventTime": at.replace("Z", ".000000Z"),
        "reportingController": "serin.dev/serin",
        "reportingInstance": _cut(instance or "serin", _INSTANCE_MAX),
        "action": notice.reason,
        "reason": notice.reason,
        "regarding": {
            "apiVersion": CANARY_POLICY.api_version,
            "kind": CANARY_POLICY.kind,
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata.get("uid"),
        },
        "type": "Warning" if notice.urgency in {Urgency.PAGE, Urgency.NOTICE} else "Normal",
        "note": _cut(
            "\n".join(part for part in (notice.title or notice.what, notice.evidence, notice.done) if part), _NOTE_MAX
        ),
    }


def _event_name(policy: str, digest: str) -> str:
    return f"{policy[: _NAME_MAX - len(digest) - 1].rstrip('.-')}.{digest}"


def _cut(text: str, limit: int) -> str:
    """Cut a text to `limit` bytes of UTF-8, and say so."""
    if len(text.encode()) <= limit:
        return text
    mark = "…"
    return text.encode()[: limit - len(mark.encode())].decode(errors="ignore") + mark
