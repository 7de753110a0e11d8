"""`.status` of a policy: what people read, and the checkpoint from which any replica goes on.

The judge's state is one opaque string; everything else is written so that `kubectl get -o yaml` explains itself.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from analyzer.core.capacity import CapacityReport, Severity, VersionReport
from analyzer.core.judge import dump_state, load_state
from analyzer.core.judge.types import Evidence, Rates, Verdict
from analyzer.core.rollout import Hold, Intent, Judged, Notice, Phase, RolloutState, Weights
from analyzer.core.rollout.requests import Answer, Pause, Promotion
from analyzer.core.rollout.weights import active_stage
from analyzer.errors import TerminalError
from analyzer.ports import Object

_KEEP_HISTORY = 20
_READY_PHASES_BROKEN = {Phase.INVALID}
_PROMOTED: Mapping[Phase, str] = {Phase.PROMOTED: "True", Phase.ROLLED_BACK: "False"}


class StatusUnreadable(TerminalError):
    """`.status` holds something that this version of Serin did not write. Nothing is overwritten."""

    reason = "StatusUnreadable"


class _Role(BaseModel):
    version: str = ""
    revision: str = ""


class _Checkpoint(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    judge: str | None = None
    judged_until: float | None = None
    interval_seconds: float | None = None
    passed: str | None = None
    passed_until: float | None = None
    weights_since: float | None = None
    weights_before: Weights = ()
    cleared: Weights = ()
    unproven: Weights = ()
    severity: Severity | None = None
    returning_seconds: float = 0.0
    course: str = ""
    waiting_seconds: float = 0.0
    blind_seconds: float = 0.0
    mismatch_seconds: float = 0.0
    short_seconds: float = 0.0
    awaits: Weights = ()
    approved: Weights = ()
    promotion: Promotion | None = None
    restoring: bool = False


class _Stored(BaseModel):
    """The part of `.status` that is read back."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")

    turn: int = 0
    phase: Phase = Phase.IDLE
    reason: str = ""
    message: str = ""
    stable: _Role = _Role()
    canary: _Role = _Role()
    weights: Weights = ()
    intent: Intent | None = None
    hold: Hold | None = None
    verdict: Verdict = Verdict.NO_DATA
    dispersion: str = ""
    judged: tuple[Judged, ...] = ()
    notices: tuple[Notice, ...] = ()
    told: frozenset[str] = frozenset()
    paused: Pause | None = None
    request: Answer | None = None
    answered: tuple[str, ...] = ()
    checkpoint: _Checkpoint = _Checkpoint()


def read_status(status: Mapping[str, Any] | None) -> tuple[RolloutState, int]:
    """Return the remembered state, and the number of the turn that wrote it (0: never written).

    Raises
    ------
    StatusUnreadable
        With what is wrong and how to mend it.
    """
    if not status:
        return RolloutState(), 0
    try:
        stored = _Stored.model_validate(status)
        judge = load_state(stored.checkpoint.judge) if stored.checkpoint.judge else None
        passed = load_state(stored.checkpoint.passed) if stored.checkpoint.passed else None
    except (ValidationError, ValueError) as error:
        problem = str(error).replace("\n", " ")
        raise StatusUnreadable(
            f".status cannot be read ({problem}). Restore it, or empty it to start over from the live weights: "
            "kubectl patch canarypolicy NAME --subresource=status --type=json "
            """-p '[{"op":"remove","path":"/status"}]'"""
        ) from error
    kept = stored.checkpoint
    state = RolloutState(
        phase=stored.phase,
        reason=stored.reason,
        message=stored.message,
        stable=stored.stable.version,
        canary=stored.canary.version,
        stable_revision=stored.stable.revision,
        canary_revision=stored.canary.revision,
        weights=stored.weights,
        intent=stored.intent,
        hold=stored.hold,
        verdict=stored.verdict,
        dispersion=stored.dispersion,
        judge=judge,
        judged_until_s=kept.judged_until,
        interval_s=kept.interval_seconds,
        passed=passed,
        passed_until_s=kept.passed_until,
        weights_since_s=kept.weights_since,
        weights_before=kept.weights_before,
        cleared=kept.cleared,
        unproven=kept.unproven,
        severity=kept.severity,
        returning_s=kept.returning_seconds,
        course=kept.course,
        waiting_s=kept.waiting_seconds,
        blind_s=kept.blind_seconds,
        mismatch_s=kept.mismatch_seconds,
        short_s=kept.short_seconds,
        awaits=kept.awaits,
        approved=kept.approved,
        promotion=kept.promotion,
        restoring=kept.restoring,
        paused=stored.paused,
        request=stored.request,
        answered=stored.answered,
        judged=stored.judged,
        notices=stored.notices,
        told=stored.told,
    )
    return state, stored.turn


def write_status(
    state: RolloutState,
    *,
    turn: int,
    generation: int,
    now_s: float,
    previous: Mapping[str, Any],
    inherited: Mapping[str, str] = MappingProxyType({}),
) -> Object:
    """Return the whole `.status` to write.

    `previous` is the status that this replaces: times of last transitions and the history live on in it. `inherited` is what
    the policy has from `CanaryDefaults`.
    """
    stored = _Stored(
        turn=turn,
        phase=state.phase,
        reason=state.reason,
        message=state.message,
        stable=_Role(version=state.stable, revision=state.stable_revision),
        canary=_Role(version=state.canary, revision=state.canary_revision),
        weights=state.weights,
        intent=state.intent,
        hold=state.hold,
        verdict=state.verdict,
        dispersion=state.dispersion,
        judged=state.judged,
        notices=state.notices,
        told=state.told,
        paused=state.paused,
        request=state.request,
        answered=state.answered,
        checkpoint=_Checkpoint(
            judge=dump_state(state.judge) if state.judge is not None else None,
            judged_until=state.judged_until_s,
            interval_seconds=state.interval_s,
            passed=dump_state(state.passed) if state.passed is not None else None,
            passed_until=state.passed_until_s,
            weights_since=state.weights_since_s,
            weights_before=state.weights_before,
            cleared=state.cleared,
            unproven=state.unproven,
            severity=state.severity,
            returning_seconds=state.returning_s,
            course=state.course,
            waiting_seconds=state.waiting_s,
            blind_seconds=state.blind_s,
            mismatch_seconds=state.mismatch_s,
            short_seconds=state.short_s,
            awaits=state.awaits,
            approved=state.approved,
            promotion=state.promotion,
            restoring=state.restoring,
        ),
    ).model_dump(mode="json", by_alias=True)
    stored["told"] = sorted(state.told)
    moved = (previous.get("phase"), previous.get("weights")) != (stored["phase"], stored["weights"])
    return stored | {
        "observedGeneration": generation,
        "inherited": dict(inherited),
        "weight": round(state.weights[active_stage(state.weights)]) if state.weights else 0,
        "step": show_step(state),
        "since": timestamp(now_s) if moved or "since" not in previous else previous["since"],
        "evidence": evidence_summary(state.evidence) or previous.get("evidence"),
        "capacity": capacity_summary(state.capacity),
        "history": _history(state, previous),
        "conditions": _conditions(state, generation=generation, now_s=now_s, previous=previous),
    }


def stamp_notices(state: RolloutState, now_s: float) -> RolloutState:
    """Give new notices their time."""
    stamped = tuple(notice if notice.at_s else replace(notice, at_s=now_s) for notice in state.notices)
    return replace(state, notices=stamped)


def timestamp(at_s: float) -> str:
    """Write a time as Kubernetes does."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def show_step(state: RolloutState) -> str:
    """Say in a word where the rollout is: `primary 25 %` would be long, `1:25` is the stage and its weight."""
    if not state.weights:
        return ""
    stage = active_stage(state.weights)
    return f"{stage + 1}:{state.weights[stage]:g}"


def _rates_summary(rates: Rates) -> Object:
    summary: Object = {"requests": rates.requests, "errors": rates.errors}
    if rates.requests:
        summary |= {
            "errorRate": round(rates.error_rate, 6),
            "errorRateInterval": [round(rates.error_rate_low, 6), round(rates.error_rate_high, 6)],
        }
    for name, value in (("p50Milliseconds", rates.p50_ms), ("p99Milliseconds", rates.p99_ms)):
        if value == value:  # noqa: PLR0124 - NaN has no place in JSON
            summary[name] = round(value, 1)
    return summary


def evidence_summary(evidence: Evidence | None) -> Object | None:
    """Return the evidence for people; the checkpoint holds it for the judge."""
    if evidence is None:
        return None
    return {
        "logE": round(evidence.log_e, 3),
        "logThreshold": round(evidence.log_threshold, 3),
        "pValue": float(f"{evidence.p_value:.3g}"),
        "culprit": evidence.culprit.value if evidence.culprit else None,
        "proof": {claim: round(value, 3) for claim, value in evidence.proof.items()},
        "logProofThreshold": round(evidence.log_proof_threshold, 3),
        "margins": evidence.margins,
        "limits": {name: round(value, 3) for name, value in evidence.limits.items()},
        "sampleRatioLogE": round(evidence.sample_ratio_log_e, 3),
        "intervals": evidence.intervals,
        "seconds": round(evidence.seconds, 1),
        "stable": _rates_summary(evidence.stable),
        "canary": _rates_summary(evidence.canary),
    }


def capacity_summary(report: CapacityReport | None) -> Object | None:
    """Return what is known of capacity for people; None where nothing is."""
    if report is None:
        return None
    return {
        "nextWeight": report.next_weight,
        "gate": report.gate.value if report.gate else None,
        "seconds": None if report.seconds is None else round(report.seconds),
        "message": report.reason,
        "stable": _version_summary(report.stable),
        "canary": _version_summary(report.canary),
    }


def _version_summary(version: VersionReport) -> Object:
    return {
        "autoscaler": version.autoscaler,
        "replicas": version.replicas,
        "ready": version.ready,
        "maxReplicas": version.max_replicas,
        "needed": version.needed,
        "requestsPerSecond": round(version.load, 1),
        "carries": None if version.carries is None else round(version.carries, 1),
        "doubt": None if version.doubt is None else round(version.doubt, 3),
        "unknown": version.unknown,
    }


def _history(state: RolloutState, previous: Mapping[str, Any]) -> list[Object]:
    old: list[Object] = list(previous.get("history") or ())
    known = {(entry.get("at"), entry.get("reason")) for entry in old}
    new: list[Object] = [
        {"at": timestamp(notice.at_s), "reason": notice.reason, "message": notice.title or notice.what}
        for notice in state.notices
        if (timestamp(notice.at_s), notice.reason) not in known
    ]
    return [*old, *new][-_KEEP_HISTORY:]


def _conditions(state: RolloutState, *, generation: int, now_s: float, previous: Mapping[str, Any]) -> list[Object]:
    """Build `Ready` (the policy is accepted and enforced), `Stalled`, `Promoted` and `Held`.

    `Ready` stays True during a rollout, so that a GitOps tool that waits for it does not wait for hours; `Promoted` is Unknown
    until the end. `Stalled` ends the waiting: what is wrong stays wrong until somebody mends it, and what is only missing may
    come yet.
    """
    broken = state.phase in _READY_PHASES_BROKEN
    stalled = broken and not state.reason.endswith("Missing")
    wanted = [
        (
            "Ready",
            "False" if broken else "True",
            state.reason if broken else "Accepted",
            state.message if broken else "",
        ),
        (
            "Stalled",
            "True" if stalled else "False",
            state.reason if stalled else "NotStalled",
            state.message if stalled else "",
        ),
        ("Promoted", _PROMOTED.get(state.phase, "Unknown"), state.reason or "Waiting", state.message),
        (
            "Held",
            "True" if state.hold else "False",
            state.hold.reason.value if state.hold else "NotHeld",
            state.hold.message if state.hold else "",
        ),
    ]
    old = {condition.get("type"): condition for condition in previous.get("conditions") or ()}
    return [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "observedGeneration": generation,
            "lastTransitionTime": old[kind]["lastTransitionTime"]
            if old.get(kind, {}).get("status") == status
            else timestamp(now_s),
        }
        for kind, status, reason, message in wanted
    ]
