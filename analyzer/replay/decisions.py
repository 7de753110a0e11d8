"""The decision log, decided again: the same weights for the same reasons, or the first line at which it is otherwise.

Each policy is followed by itself. A line without `state` goes on from the one before; where the log begins in the middle (older
files are gone, another replica led), it has `state`, and what is before that is not judged.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from analyzer.app.decisions import codec
from analyzer.app.decisions.chain import digest
from analyzer.app.decisions.recorder import outcome
from analyzer.app.observe import read_for_rollback
from analyzer.app.plan import judge_settings, rollout_plan
from analyzer.app.snapshot import hear_nothing
from analyzer.core.judge import initial_state, judge, load_state
from analyzer.core.judge.types import Assessment, JudgeRequest, JudgeSettings, JudgeState
from analyzer.core.rollout import (
    Problem,
    RolloutPlan,
    RolloutState,
    Snapshot,
    decide,
    settle,
    write_failed,
)
from analyzer.core.rollout.returning import abandon
from analyzer.core.rollout.transitions import break_off
from analyzer.errors import PolicyError
from analyzer.policy.model import API_VERSION, KIND, CanaryPolicy
from analyzer.policy.parse import parse_policy

_COMPARED: Final = ("phase", "reason", "weights", "to", "held", "verdict", "message", "request")


class BadLog(ValueError):
    """The log is not what Serin wrote: with the line, and what is wrong."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first decision that came out otherwise.

    Attributes
    ----------
    line
        Its number.
    policy, at
        As in the line.
    name, logged, again
        Which part of the outcome, as it was logged, and as it was decided again.
    """

    line: int
    policy: str
    at: str
    name: str
    logged: object
    again: object

    def __str__(self) -> str:
        return f"line {self.line}: {self.policy} at {self.at}: {self.name} was {self.logged}, and is {self.again}"


@dataclass(slots=True)
class Followed:
    """One policy, as far as the log was read."""

    facts: dict[str, Any] = field(default_factory=dict)
    edges_ms: tuple[float, ...] = ()
    state: RolloutState | None = None
    now_s: float | None = None
    decisions: int = 0
    steps: int = 0
    intervals: int = 0


@dataclass(slots=True)
class DecisionReplay:
    """Reads lines and decides again.

    Attributes
    ----------
    policies
        By `namespace/name`.
    skipped
        Lines before the first that says what was remembered.
    beginnings
        Lines at which a chain begins that does not go on from the line before: a process began to write.
    cut_off
        Lines that a crash cut off.
    """

    policies: dict[str, Followed] = field(default_factory=dict)
    skipped: int = 0
    beginnings: list[int] = field(default_factory=list)
    cut_off: list[int] = field(default_factory=list)

    def play(self, lines: Iterable[str]) -> Difference | None:
        """Decide all again; the first difference, if there is one.

        Raises
        ------
        BadLog
            A line was changed, or some are missing, or it is no decision log.
        """
        for number, line in self._checked(lines):
            difference = self._line(number, line)
            if difference is not None:
                return difference
        return None

    def _checked(self, lines: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Hold each line to the one before."""
        before, doubtful = None, 0
        for number, text in enumerate(lines, start=1):
            try:
                line = json.loads(text)
            except ValueError:
                line = None
            if not isinstance(line, dict) or "prev" not in line:
                if doubtful:
                    raise BadLog(f"line {doubtful} is no line of a decision log")
                before, doubtful = digest(text), number
                continue
            prev = line["prev"]
            if doubtful:
                if prev not in {before, ""}:
                    raise BadLog(f"line {doubtful} is no line of a decision log")
                self.cut_off.append(doubtful)
                doubtful = 0
            elif before is not None and prev not in {before, ""}:
                raise BadLog(
                    f"line {number} does not go on from the one before: a line was changed, or some are missing"
                )
            if prev == "" and number > 1:
                self.beginnings.append(number)
            before = digest(text)
            yield number, line
        if doubtful:
            self.cut_off.append(doubtful)

    def _line(self, number: int, line: Mapping[str, Any]) -> Difference | None:
        key = str(line.get("policy", ""))
        followed = self.policies.setdefault(key, Followed())
        try:
            again = self._again(followed, key, line)
        except (ValueError, KeyError, TypeError, LookupError) as error:
            raise BadLog(f"line {number} cannot be read: {type(error).__name__}: {error}") from error
        if again is None:
            self.skipped += 1
            return None
        followed.state = again
        followed.decisions += 1
        logged, made = line["decided"], outcome(again)
        for name in _COMPARED:
            if logged.get(name) != made.get(name):
                return Difference(number, key, str(line.get("at")), name, logged.get(name), made.get(name))
        return None

    def _again(self, followed: Followed, key: str, line: Mapping[str, Any]) -> RolloutState | None:
        if "state" in line:
            followed.state = codec.decode_state(line["state"])
            followed.facts, followed.edges_ms = {}, ()
        state = followed.state
        if state is None:
            return None
        if "moved" in line:
            followed.steps += 1
            return settle(state, tuple(line["moved"]), now_s=followed.now_s)
        if "failed" in line:
            return write_failed(state, **line["failed"], advice="", command="")
        followed.facts = codec.patched(followed.facts, line.get("facts", {}))
        if "deleted" in line:
            plan, deleted = _policy(key, followed.facts)[1], line["deleted"]
            followed.now_s = None
            return abandon(plan, state, tuple(deleted["live"]), message=deleted["message"])
        return _decided(followed, key, line, state)


def _decided(followed: Followed, key: str, line: Mapping[str, Any], state: RolloutState) -> RolloutState:
    facts = followed.facts
    request = None
    if "request" in facts:
        request = codec.REQUEST.validate_python(facts["request"])
    malformed = codec.MALFORMED.validate_python(facts["malformed"]) if "malformed" in facts else None
    if "problem" in facts:
        problem: Problem = codec.PROBLEM.validate_python(facts["problem"])
        return break_off(hear_nothing(state, problem, request or malformed), problem)
    policy, plan = _policy(key, facts)
    target = codec.TARGET.validate_python(facts["target"])
    health = codec.HEALTH.validate_python(line["health"]) if "health" in line else None
    followed.now_s = health.now_s if health is not None else None
    live = target.shares.get(state.canary)
    if live is not None:
        state = settle(state, live, now_s=followed.now_s)
    assessment = passed = None
    if "judged" in line:
        settings = replace(judge_settings(policy), sticky_users=plan.sticky_users)
        judged, through = line["judged"], line.get("passed")
        assessment = _judged(followed, judged, state.judge, settings)
        if through is not None:
            passed = _judged(followed, through, state.passed, settings)
            state = replace(state, passed_until_s=through["until"])
        state = replace(
            state,
            judged_until_s=judged["until"],
            interval_s=judged["every"],
            dispersion=judged.get("dispersion") or state.dispersion,
        )
    snapshot = Snapshot(
        target=target,
        elapsed_s=float(line.get("elapsed", 0.0)),
        telemetry=health,
        assessment=assessment,
        passed=passed,
        strays=str(facts.get("strays", "")),
        capacity=codec.CAPACITY.validate_python(facts["capacity"]) if "capacity" in facts else None,
        request=request or malformed,
        closed=str(facts.get("closed", "")),
    )
    return decide(plan, state, snapshot)


def _policy(key: str, facts: Mapping[str, Any]) -> tuple[CanaryPolicy, RolloutPlan]:
    namespace, _, name = key.partition("/")
    metadata = {"namespace": namespace, "name": name}
    obj = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": facts["spec"]}
    try:
        policy: CanaryPolicy | None = parse_policy(obj)
    except PolicyError:
        policy = read_for_rollback(obj)
    if policy is None:
        raise ValueError("its policy cannot be read")
    plan = rollout_plan(policy)
    return policy, replace(
        plan, observe_only=bool(facts.get("observe", False)), sticky_users=bool(facts.get("sticky", False))
    )


def _judged(
    followed: Followed, judged: Mapping[str, Any], start: JudgeState | None, settings: JudgeSettings
) -> Assessment | None:
    if "step" not in judged:
        return None
    if "settings" in judged:
        settings = codec.SETTINGS.validate_python(judged["settings"])
    if "from" in judged:
        start = load_state(judged["from"])
    intervals = []
    for written in judged["intervals"]:
        interval = codec.decode_interval(written, edges_known=followed.edges_ms)
        followed.edges_ms = interval.edges_ms
        intervals.append(interval)
    followed.intervals += len(intervals)
    step = codec.STEP.validate_python(judged["step"])
    request = JudgeRequest(state=start or initial_state(), settings=settings, step=step, intervals=tuple(intervals))
    return judge([request])[0]


__all__ = ["BadLog", "DecisionReplay", "Difference"]
