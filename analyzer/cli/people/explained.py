"""The explanation for machines; its fields are documented in the README."""

from typing import Any

from analyzer.app.status import evidence_summary, timestamp
from analyzer.cli.people.document import rollout_document
from analyzer.cli.people.explain import Known, commands_for, entries_of, last_step
from analyzer.core.judge.outlook import SURE, Found, Need
from analyzer.core.judge.types import Evidence
from analyzer.core.rollout import explain
from analyzer.core.rollout.outlook import Outlook


def explanation_document(known: Known) -> dict[str, Any]:
    """Write the same for machines: the rollout's document, with what lies ahead. Documented in the README."""
    state, plan, outlook = known.state, known.plan, known.outlook
    return {
        **rollout_document(known.obj),
        "evidence": evidence_summary(state.evidence) or known.status.get("evidence"),
        "whyHere": explain.why_here(plan, state, last_step=last_step(known)) if known.status else None,
        "whyNotNext": explain.why_not_next(plan, state, outlook),
        "judgedUntil": None if state.judged_until_s is None else timestamp(state.judged_until_s),
        "outlook": None if outlook is None else _outlook_document(outlook, state.evidence),
        "history": list(entries_of(known)),
        "commands": [command for command, _ in commands_for(known)],
    }


def _outlook_document(outlook: Outlook, evidence: Evidence | None) -> dict[str, Any]:
    return {
        "nextWeights": list(outlook.following),
        "watchLeftSeconds": round(outlook.watch_left_s, 1),
        "inconclusiveInSeconds": None if outlook.patience_left_s is None else round(outlook.patience_left_s, 1),
        "stepSeconds": None if evidence is None else round(evidence.step_seconds, 1),
        "canaryRequestsPerSecond": None if outlook.canary_rps is None else round(outlook.canary_rps, 3),
        "lackingProof": None if outlook.lacking is None else {k: round(v, 3) for k, v in outlook.lacking.items()},
        "ifHarmless": _need_document(outlook.if_harmless),
        "asSoFar": _need_document(outlook.as_so_far),
        "foundByNow": _found_document(outlook.found),
    }


def _need_document(need: Need | None) -> dict[str, Any] | None:
    if need is None:
        return None
    return {
        "verdict": need.verdict.value,
        "seconds": round(need.seconds, 1),
        "canaryRequests": need.canary_requests,
    }


def _found_document(found: Found | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "chance": SURE,
        "errorRate": None if found.error_rate is None else float(f"{found.error_rate:.3g}"),
        "stableErrorRate": float(f"{found.stable_error_rate:.3g}"),
        "timesSlower": None if found.slower is None else round(found.slower, 3),
    }
