"""The judge: tells whether the canary is worse than the stable version, or proven good enough for more traffic.

Numbers in, verdict out; no clock, no input or output. `judge` is the whole of it, the state it keeps is the checkpoint.

    types           what goes in and comes out
    judge           the entry point
    learning        what the stable version's own pods teach before a rollout
    newborn         the same of its young pods
    batch           requests as columns
    prediction      what the stable version is expected to do
    evalues         the evidence of one table: E1, E2
    cells           the tables that take part
    tolerance       "x % slower" at each histogram edge
    warmup, oneedge what young pods are excused for
    dispersion      how far counts vary beyond chance
    completions     requests that never come back; the sample ratio
    limits          absolute limits
    harm            evidence of harm over channels, effects and start times
    noninferiority  margins and claims of a step
    course          many intervals of one rollout at once
    update          one interval for all rollouts at once,
    accusation        its bets on harm,
    proof             and on non-inferiority
    report, rates   verdict and figures for people
    state           memory and checkpoint
"""

from analyzer.core.judge.course import judge_course
from analyzer.core.judge.judge import initial_state, judge
from analyzer.core.judge.learning import learn
from analyzer.core.judge.state import dump_state, load_state
from analyzer.core.judge.types import (
    ISTIO_EDGES_MS,
    Assessment,
    Channel,
    Evidence,
    History,
    Interval,
    JudgeRequest,
    JudgeSettings,
    JudgeState,
    Learned,
    Rates,
    Step,
    Verdict,
    VersionCounts,
)

__all__ = [
    "ISTIO_EDGES_MS",
    "Assessment",
    "Channel",
    "Evidence",
    "History",
    "Interval",
    "JudgeRequest",
    "JudgeSettings",
    "JudgeState",
    "Learned",
    "Rates",
    "Step",
    "Verdict",
    "VersionCounts",
    "dump_state",
    "initial_state",
    "judge",
    "judge_course",
    "learn",
    "load_state",
]
