"""Writes one policy's turns: each with what it depended on and the log does not know yet, and with what came of it.

A turn that changed nothing, and after which nothing is to be remembered, has no line.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from analyzer.app.answers import JudgeAnswer
from analyzer.app.decisions import codec
from analyzer.app.decisions.chain import Chain
from analyzer.app.plan import judge_settings
from analyzer.core.judge import dump_state, initial_state
from analyzer.core.judge.types import JudgeSettings, JudgeState
from analyzer.core.rollout import Problem, Request, RolloutState, Snapshot, Weights
from analyzer.errors import SerinError
from analyzer.policy.model import CanaryPolicy
from analyzer.ports import DecisionSink

log = structlog.get_logger("serin.decisions")

_HASH_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Seen:
    """What one decision depended on.

    Attributes
    ----------
    before
        What was remembered when the turn began.
    spec
        The policy's, over the defaults of its namespace and of Serin.
    snapshot
        What was there.
    settled
        What was remembered when the judge's answer was taken in: an intent may have been confirmed since `before`.
    policy, observe_only, sticky_users
        The policy as read, and what else the plan has of it; None and False where it cannot be read.
    answer
        The judge's, current or not.
    at
        When, RFC 3339, for people.
    """

    before: RolloutState
    spec: Mapping[str, Any]
    snapshot: Snapshot
    settled: RolloutState
    at: str
    policy: CanaryPolicy | None = None
    observe_only: bool = False
    sticky_users: bool = False
    answer: JudgeAnswer | None = None


class Decisions:
    """The log of all policies.

    A line that cannot be written stops nothing: the loss is in the log of the process, and the next line of each policy says
    again all that it depends on.
    """

    def __init__(self, sink: DecisionSink | None = None) -> None:
        self.sink = sink
        self.generation = 0  # another one: whoever reads on from here has not read what was before
        self._chain: Chain | None = None
        self._failing = False

    def recorder(self, key: str) -> "Recorder":
        """Give the recorder of one policy, `namespace/name`."""
        return Recorder(self, key)

    def write(self, fields: dict[str, Any]) -> None:
        """Append a line."""
        if self.sink is None:
            return
        try:
            chain = self._chain or Chain(self.sink.last())
            self._chain = chain
            line = chain.link(fields)
            begun_anew = self.sink.append(line)
        except SerinError as error:
            self.generation += 1
            if not self._failing:  # once, not for each line
                log.warning("decisions are not logged", error=str(error))
            self._failing = True
            return
        chain.accept(line)
        if self._failing:
            log.info("decisions are logged again")
        self._failing = False
        self.generation += begun_anew


class Recorder:
    """Remembers what the log says of one policy."""

    def __init__(self, decisions: Decisions, key: str) -> None:
        self._decisions = decisions
        self._key = key
        self._forget()

    def _forget(self) -> None:
        self._generation = self._decisions.generation
        self._expected: RolloutState | None = None
        self._facts: dict[str, Any] = {}
        self._edges: tuple[float, ...] = ()

    def decided(self, seen: Seen, after: RolloutState) -> None:
        """Write a decision, before anything is done about it."""
        if self._decisions.sink is None:
            return
        if self._generation != self._decisions.generation:
            self._forget()
        line: dict[str, Any] = {}
        known = self._expected is not None and _bare(seen.before) == self._expected
        if not known:
            line["state"] = codec.encode_state(seen.before)
        facts = _facts(seen)
        if patch := codec.difference(self._facts, facts):
            line["facts"] = patch
        line |= self._answer(seen)
        if known and not line and _bare(after) == self._expected:
            return
        if seen.snapshot.elapsed_s:
            line["elapsed"] = seen.snapshot.elapsed_s
        line["decided"] = outcome(after)
        self._write(seen.at, line)
        self._facts, self._expected = facts, _bare(after)

    def moved(self, after: RolloutState, live: Weights, *, at: str) -> None:
        """Write what was read back after a weight change."""
        self._write(at, {"moved": list(live), "decided": outcome(after)})
        self._expected = _bare(after)

    def deleted(self, before: RolloutState, after: RolloutState, live: Weights, *, message: str, at: str) -> None:
        """Write that a policy was deleted, and what becomes of its canary."""
        base = {} if _bare(before) == self._expected else {"state": codec.encode_state(before), "facts": self._facts}
        deleted = {"live": list(live), "message": message}
        self._write(at, {**base, "deleted": deleted, "decided": outcome(after)})
        self._expected = _bare(after)

    def failed(self, after: RolloutState, *, message: str, tries: int, final: bool, at: str) -> None:
        """Write that a weight change could not be made."""
        failure = {"message": message, "tries": tries, "final": final}
        self._write(at, {"failed": failure, "decided": outcome(after)})
        self._expected = _bare(after)

    def _write(self, at: str, fields: dict[str, Any]) -> None:
        self._decisions.write({"at": at, "policy": self._key, **fields})

    def _answer(self, seen: Seen) -> dict[str, Any]:
        answer = seen.answer
        if answer is None:
            return {}
        written: dict[str, Any] = {"health": codec.encode(codec.HEALTH, answer.health)}
        if seen.snapshot.assessment is None:
            return written
        settings = None
        if seen.policy is not None:
            settings = replace(judge_settings(seen.policy), sticky_users=seen.sticky_users)
        written["judged"] = self._judged(answer, seen.settled.judge, settings)
        if answer.passed is not None:
            written["passed"] = self._judged(answer.passed, seen.settled.passed, settings)
        return written

    def _judged(self, answer: JudgeAnswer, start: JudgeState | None, settings: JudgeSettings | None) -> dict[str, Any]:
        """Write what the judge had, where that is not what it would have by the state and the policy."""
        judged: dict[str, Any] = {"until": answer.judged_until_s, "every": answer.interval_s}
        if answer.assessment is None:
            return judged
        order = answer.order
        judged["step"] = codec.encode(codec.STEP, order.step)
        if order.state != (start or initial_state()):
            judged["from"] = dump_state(order.state)
        if order.settings != settings:
            judged["settings"] = codec.encode(codec.SETTINGS, order.settings)
        if order.dispersion:
            judged["dispersion"] = order.dispersion
        judged["intervals"] = []
        for interval in answer.intervals:
            judged["intervals"].append(codec.encode_interval(interval, edges_known=self._edges))
            self._edges = interval.edges_ms
        return judged


def _bare(state: RolloutState) -> RolloutState:
    """Leave out what people are still to be told."""
    return replace(state, notices=())


def _facts(seen: Seen) -> dict[str, Any]:
    snapshot = seen.snapshot
    facts: dict[str, Any] = {"spec": seen.spec, "hash": _hash(seen.spec)}
    if isinstance(snapshot.target, Problem):
        facts["problem"] = codec.encode(codec.PROBLEM, snapshot.target)
    else:
        facts["target"] = codec.encode(codec.TARGET, snapshot.target)
    said = {
        "observe": seen.observe_only, "sticky": seen.sticky_users, "closed": snapshot.closed, "strays": snapshot.strays,
    }  # fmt: skip
    facts |= {name: value for name, value in said.items() if value}
    if snapshot.capacity is not None:
        facts["capacity"] = codec.encode(codec.CAPACITY, snapshot.capacity)
    if isinstance(snapshot.request, Request):
        facts["request"] = codec.encode(codec.REQUEST, snapshot.request)
    elif snapshot.request is not None:
        facts["malformed"] = codec.encode(codec.MALFORMED, snapshot.request)
    return facts


def _hash(spec: Mapping[str, Any]) -> str:
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]


def outcome(state: RolloutState) -> dict[str, Any]:
    """Write what came of a turn: what people ask the log for, and what has to come out again."""
    made: dict[str, Any] = {
        "phase": state.phase.value,
        "reason": state.reason,
        "weights": list(state.weights),
        "verdict": state.verdict.value,
        "message": state.message,
    }
    if state.intent is not None:
        made["to"] = list(state.intent.after)
    if state.hold is not None:
        made["held"] = state.hold.reason.value
    if state.evidence is not None:
        made["log_e"] = round(state.evidence.log_e, 3)
    if state.request is not None:
        made["request"] = {"id": state.request.id, "outcome": state.request.outcome.value}
    return made
