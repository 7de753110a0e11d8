"""Ready-made parts of decisions, so that a test shows only what it is about."""

import math
from dataclasses import replace

from analyzer.core.judge import initial_state
from analyzer.core.judge.types import Assessment, Channel, Evidence, JudgeState, Rates, Verdict
from analyzer.core.rollout import (
    Phase,
    RolloutPlan,
    RolloutState,
    Snapshot,
    StagePlan,
    TargetView,
    TelemetryHealth,
    VersionView,
    Weights,
    decide,
    settle,
)

PLAN = RolloutPlan(stages=(StagePlan(None, (10, 25, 50, 100)),), dwell_min_s=30, dwell_max_s=300, bake_s=600)
TWO_STAGES = replace(PLAN, stages=(StagePlan("insiders", (50, 100)), StagePlan("primary", (1, 10, 100))))
FRESH = TelemetryHealth(fresh=True, now_s=1000.0)
BLIND = TelemetryHealth(fresh=False, reason="MetricsUnavailable", message="Prometheus does not answer.")

STABLE = VersionView("v1", "aaa", ready_pods=3, settled=True)
CANARY = VersionView("v2", "bbb", ready_pods=1, settled=True)


def rates(*, requests: int, errors: int) -> Rates:
    rate = errors / requests if requests else math.nan
    return Rates(requests, errors, rate, rate / 2, rate * 2, 20.0, 80.0)


def evidence(
    *, log_e: float = -0.5, step_seconds: float = 60.0, step_intervals: int = 10, canary_requests: int = 500
) -> Evidence:
    return Evidence(
        log_e=log_e,
        log_threshold=math.log(100),
        p_value=min(1.0, math.exp(-log_e)),
        culprit=Channel.ERRORS,
        channels={Channel.ERRORS: log_e, Channel.LATENCY: 0.0},
        proof={"errors": 1.0, "latency p50": 3.5},
        log_proof_threshold=math.log(20),
        margins="errors at most 1.1 x stable + 0.40 %",
        stable=rates(requests=4500, errors=4),
        canary=rates(requests=canary_requests, errors=canary_requests // 20),
        seconds=120.0,
        intervals=20,
        step_seconds=step_seconds,
        step_intervals=step_intervals,
        step_canary_requests=canary_requests,
        step_stable_requests=4500,
        unattributed_errors=0,
    )


def assessment(verdict: Verdict, seen: Evidence | None = None, state: JudgeState | None = None) -> Assessment:
    return Assessment(state or initial_state(), verdict, seen or evidence())


def target(
    *canary_weights: float,
    stable: VersionView = STABLE,
    canary: VersionView = CANARY,
    default_stable: str | None = "v1",
) -> TargetView:
    weights: Weights = canary_weights
    return TargetView(
        versions=(stable, canary),
        shares={stable.name: tuple(100 - w for w in weights), canary.name: weights},
        default_stable=default_stable,
    )


def progressing(*weights: float, phase: Phase = Phase.PROGRESSING) -> RolloutState:
    return RolloutState(
        phase=phase,
        reason="Proven",
        stable="v1",
        canary="v2",
        stable_revision="aaa",
        canary_revision="bbb",
        weights=weights,
        judge=initial_state(),
        judged_until_s=990.0,
    )


def snapshot(
    *weights: float,
    verdict: Verdict | None = None,
    seen: Evidence | None = None,
    telemetry: TelemetryHealth | None = FRESH,
    elapsed_s: float = 5.0,
    canary: VersionView = CANARY,
    stable: VersionView = STABLE,
) -> Snapshot:
    return Snapshot(
        target=target(*weights, canary=canary, stable=stable),
        elapsed_s=elapsed_s,
        telemetry=telemetry,
        assessment=assessment(verdict, seen) if verdict is not None else None,
    )


def carry_out(plan: RolloutPlan, state: RolloutState, seen: Snapshot) -> RolloutState:
    """Decide, and let the cluster do what is wanted."""
    decided = decide(plan, state, seen)
    return decided if decided.intent is None else settle(decided, decided.intent.after, now_s=1000.0)


def reasons(state: RolloutState) -> list[str]:
    return [notice.reason for notice in state.notices]
