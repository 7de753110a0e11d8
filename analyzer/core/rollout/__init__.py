"""Rollouts: phases as a table, weights, and the decision."""

from analyzer.core.rollout.decide import decide, step_of
from analyzer.core.rollout.hearing import hear
from analyzer.core.rollout.model import (
    CapacityView,
    Hold,
    HoldReason,
    Intent,
    Judged,
    Notice,
    Outcome,
    Problem,
    RolloutState,
    Snapshot,
    TargetView,
    TelemetryHealth,
    Urgency,
    VersionView,
    Weights,
)
from analyzer.core.rollout.phases import IN_FLIGHT, JUDGED, TRANSITIONS, Phase, Trigger
from analyzer.core.rollout.plan import Limits, OnInconclusive, RolloutPlan, StagePlan
from analyzer.core.rollout.requests import (
    Answer,
    AnswerOutcome,
    DriftAnswer,
    Malformed,
    Pause,
    Promotion,
    Request,
    Verb,
)
from analyzer.core.rollout.transitions import settle, write_failed

__all__ = [
    "IN_FLIGHT",
    "JUDGED",
    "TRANSITIONS",
    "Answer",
    "AnswerOutcome",
    "CapacityView",
    "DriftAnswer",
    "Hold",
    "HoldReason",
    "Intent",
    "Judged",
    "Limits",
    "Malformed",
    "Notice",
    "OnInconclusive",
    "Outcome",
    "Pause",
    "Phase",
    "Problem",
    "Promotion",
    "Request",
    "RolloutPlan",
    "RolloutState",
    "Snapshot",
    "StagePlan",
    "TargetView",
    "TelemetryHealth",
    "Trigger",
    "Urgency",
    "Verb",
    "VersionView",
    "Weights",
    "decide",
    "hear",
    "settle",
    "step_of",
    "write_failed",
]
