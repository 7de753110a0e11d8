"""`serin explain`: why this weight, why not the next, and what is missing."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from analyzer.app.plan import judge_settings, rollout_plan
from analyzer.app.status import StatusUnreadable, read_status, timestamp
from analyzer.cli.people.document import written
from analyzer.cli.people.policies import (
    Seen,
    ago,
    in_effect,
    inherited_by,
    look,
    number_of,
    part_of,
    seconds_of,
    status_of,
    text_of,
    whole_of,
)
from analyzer.cli.people.reach import Connector, Exit, Place, Stopped, find, reach
from analyzer.cli.people.screen import Screen, printable
from analyzer.cli.people.table import Column, table, wrapped
from analyzer.core.judge.types import Rates
from analyzer.core.rollout import IN_FLIGHT, HoldReason, Phase, RolloutPlan, RolloutState, explain, wording
from analyzer.core.rollout.outlook import Outlook, judged_again, look_out
from analyzer.core.rollout.weights import show
from analyzer.errors import PolicyError
from analyzer.policy.parse import parse_policy
from analyzer.ports import Clock, Object

_HISTORY: Final = 8


@dataclass(frozen=True, slots=True)
class Known:
    """All that is known of one policy.

    Attributes
    ----------
    obj
        The policy as the API server has it.
    plan, state, outlook
        Its plan, what is remembered, and what lies ahead.
    now_s
        The time here [unix seconds].
    """

    obj: Object
    seen: Seen
    plan: RolloutPlan
    state: RolloutState
    outlook: Outlook | None
    now_s: float

    @property
    def status(self) -> Mapping[str, Any]:
        """`.status` as it stands there; empty where Serin has not looked yet."""
        return status_of(self.obj)


def explain_policy(
    place: Place, name: str, *, screen: Screen, clock: Clock, output: str = "text", connector: Connector = reach
) -> int:
    """Explain one policy, and return the exit code."""
    obj = asyncio.run(read(place, name, connector))
    known = know(obj, now_s=clock.now_s())
    if output != "text":
        from analyzer.cli.people.explained import explanation_document

        screen.say(written(explanation_document(known), output))
        return Exit.OK
    for line in explanation(known, screen):
        screen.say(line)
    return Exit.OK


async def read(place: Place, name: str, connector: Connector) -> Object:
    """Read the policy that a person means."""
    async with connector(place) as reached:
        return await find(reached, name)


def know(obj: Object, *, now_s: float) -> Known:
    """Read a policy and its status, and look ahead.

    Raises
    ------
    Stopped
        The policy or its status cannot be read by this version.
    """
    seen = look(obj)
    try:
        # Where policy and defaults contradict each other, the status says how, and the policy alone is explained.
        policy = parse_policy(obj if seen.phase == Phase.INVALID else in_effect(obj))
        state, _turn = read_status(part_of(obj, "status"))
    except PolicyError as error:
        problem = printable(str(error).splitlines()[0])
        raise Stopped(
            f"{seen.called} is no policy that this version of serin reads: {problem}",
            "use the serin that the cluster runs; `serin lint` tells what it takes for wrong",
        ) from error
    except StatusUnreadable as error:
        raise Stopped(
            f"the status of {seen.called} is damaged, or from another version of Serin: {printable(str(error.__cause__))}",
            f"use the serin that the cluster runs; kubectl get canarypolicy {seen.name} -n {seen.namespace} -o yaml shows it",
        ) from error
    plan, settings = rollout_plan(policy), judge_settings(policy)
    capacity = part_of(part_of(obj, "status"), "capacity")
    pods = [max(1, whole_of(part_of(capacity, version), "ready") or 1) for version in ("stable", "canary")]
    state = judged_again(plan, settings, state)
    return Known(obj, seen, plan, state, look_out(plan, settings, state, pods=(pods[0], pods[1])), now_s)


# --- for people -------------------------------------------------------------------------------------------------------


def explanation(known: Known, screen: Screen) -> list[str]:
    """Write everything, section by section."""
    lines = _head(known, screen)
    for title, said in _sections(known, screen):
        if said:
            lines += ["", screen.paint(title, "bold"), *said]
    return lines


def _head(known: Known, screen: Screen) -> list[str]:
    seen, state, plan = known.seen, known.state, known.plan
    if not known.status:
        unseen = (
            f"{seen.called}: Serin has not looked at this policy yet. Is it running, and does it watch this namespace?"
        )
        return wrapped(unseen, screen)
    what = f"{state.rollout}, " if state.canary else ""
    weight = f" at {show(state.weights)}" if state.weights and state.phase in IN_FLIGHT else ""
    age = ago(seen.since_s, now_s=known.now_s)
    since = f" for {age} (since {text_of(known.status, 'since')})" if age else ""
    style = "red" if state.phase in {Phase.ROLLED_BACK, Phase.ROLLING_BACK, Phase.INVALID} else "cyan"
    lines = wrapped(f"{seen.called}: {what}{screen.paint(state.phase.value, 'bold', style)}{weight}{since}", screen)
    roles = f"{state.canary} is the canary, {state.stable} is stable" if state.canary else "no roles are given out yet"
    mode = "it only observes" if plan.observe_only else "it moves the weights"
    lines += wrapped(f"VirtualService {seen.target}; {roles}; {mode}.", screen)
    if not seen.current:
        stale = "The policy was changed since: what follows speaks of it as it was before."
        lines += [screen.paint(line, "yellow") for line in wrapped(stale, screen)]
    return lines


def _sections(known: Known, screen: Screen) -> list[tuple[str, list[str]]]:
    state, plan, outlook = known.state, known.plan, known.outlook
    if not known.status:
        return [("What you can do", _commands(known, screen))]
    next_step = explain.next_step(plan, state, outlook)
    title = f"Why not {next_step}" if next_step else "What is next"
    last = last_step(known) if state.phase in {Phase.PROGRESSING, Phase.BAKING} else ""
    here = [printable(explain.why_here(plan, state, last_step=last))]
    further = [printable(line) for line in explain.why_not_next(plan, state, outlook)]
    return [
        (f"Why {show(state.weights)}" if state.weights and state.phase in IN_FLIGHT else "Why", _told(here, screen)),
        (title, _told(further, screen)),
        ("What is missing", _told(explain.missing(plan, state, outlook), screen)),
        ("Evidence of harm", _told(_evidence(known), screen)),
        ("Both versions", _versions(known, screen)),
        ("Capacity", _told(_capacity(known), screen)),
        ("People", _told(_people(known), screen)),
        ("From CanaryDefaults", _told(_inherited(known), screen)),
        ("History", _history(known, screen)),
        ("What you can do", _commands(known, screen)),
    ]


def _told(sentences: Sequence[str], screen: Screen) -> list[str]:
    return [line for sentence in sentences if sentence for line in wrapped(sentence, screen, indent="  ")]


def last_step(known: Known) -> str:
    """Give what was said when the weights changed last in this rollout."""
    for entry in reversed(entries_of(known)):
        if entry.get("reason") == "RolloutStarted":
            break
        if entry.get("reason") == "WeightAdvanced":
            return text_of(entry, "message")
    return ""


def entries_of(known: Known) -> list[Mapping[str, Any]]:
    """Give the history of the status, oldest first."""
    entries = known.status.get("history")
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []


def _evidence(known: Known) -> list[str]:
    state, outlook = known.state, known.outlook
    evidence = state.evidence
    if evidence is None or not evidence.intervals:
        return []
    lines = [explain.evidence_of_harm(evidence)]
    if evidence.limits:
        lines.append(f"Beyond the absolute limits (log E): {wording.exceeding(evidence)}.")
    if state.dispersion:
        lines.append(f"Ordinary variation: {printable(state.dispersion)}.")
    return [*lines, *explain.found(outlook.found if outlook else None)]


def _versions(known: Known, screen: Screen) -> list[str]:
    state, evidence = known.state, known.state.evidence
    if evidence is None or not evidence.intervals:
        return []
    columns = [
        Column("VERSION"),
        Column("REQUESTS", right=True, rank=3),
        Column("ERRORS"),
        Column("P50", right=True, rank=2),
        Column("P99", right=True, rank=1),
    ]
    rows = [
        [(text, ()) for text in _rates(f"{name} ({role})", rates)]
        for name, role, rates in ((state.canary, "canary", evidence.canary), (state.stable, "stable", evidence.stable))
    ]
    lines = table(columns, rows, _narrower(screen))
    many = "1 interval" if evidence.intervals == 1 else f"{evidence.intervals} intervals"
    until = ""
    if state.judged_until_s is not None:
        age = ago(state.judged_until_s, now_s=known.now_s)
        until = f", until {timestamp(state.judged_until_s)} ({age} ago; what came since is not stored yet)"
    watched = f"Watched for {wording.duration(evidence.seconds)} in {many}{until}."
    return [*(f"  {line}" for line in lines), *wrapped(watched, screen, indent="  ")]


def _narrower(screen: Screen) -> Screen:
    return Screen(
        screen.out, screen.err, colour=screen.colour, width=None if screen.width is None else screen.width - 2
    )


def _rates(name: str, rates: Rates) -> list[str]:
    errors = "-"
    if rates.requests:
        low, high = 100 * rates.error_rate_low, 100 * rates.error_rate_high
        errors = f"{wording.percent(rates.error_rate)} ({low:.2g} to {high:.2g} %)"
    quantiles = ("-" if math.isnan(ms) else f"{ms:.3g} ms" for ms in (rates.p50_ms, rates.p99_ms))
    return [name, wording.count(rates.requests), errors, *quantiles]


def _capacity(known: Known) -> list[str]:
    capacity = part_of(known.status, "capacity")
    if not capacity or known.state.phase not in IN_FLIGHT:
        return []
    lines = [text_of(capacity, "message")]
    for version, name in (("canary", known.state.canary), ("stable", known.state.stable)):
        told = part_of(capacity, version)
        if told:
            lines.append(_pods(name, told, said=lines[0]))
    seconds = number_of(capacity, "seconds")
    if seconds:
        lines.append(f"The pods for it are expected in about {wording.duration(seconds)}.")
    return lines


def _pods(name: str, told: Mapping[str, Any], *, said: str) -> str:
    ready, wanted, most, needed = (whole_of(told, key) for key in ("ready", "replicas", "maxReplicas", "needed"))
    parts = [f"{ready} of {wanted} pods ready"]
    if needed is not None:
        parts.append(f"{needed} needed")
    if most is not None:
        parts.append(f"{most} at most ({text_of(told, 'autoscaler')})")
    carries, load = number_of(told, "carries"), number_of(told, "requestsPerSecond")
    if carries is not None and load is not None:
        doubt = number_of(told, "doubt")
        sure = "" if doubt is None else f" ± {100 * doubt:.0f} %"
        parts.append(f"{load:.4g} requests/s of the {carries:.4g}{sure} that they carry")
    unknown = text_of(told, "unknown")
    more = f" {_capital(unknown)}." if unknown and unknown not in said else ""
    return f"{name}: {', '.join(parts)}.{more}"


def _people(known: Known) -> list[str]:
    status = known.status
    lines = []
    if known.plan.suspended:
        lines.append("The policy is suspended: nothing moves forward, a rollback is still made.")
    paused = part_of(status, "paused")
    if paused:
        lines.append(f"Paused by {_asked(paused, known.now_s)}.")
    awaits = part_of(status, "checkpoint").get("awaits")
    if isinstance(awaits, list) and awaits:
        lines.append(f"{' / '.join(f'{w:g} %' for w in awaits)} wait for a person: `serin resume` approves.")
    request = part_of(status, "request")
    if request:
        outcome = text_of(request, "outcome").lower() or "answered"
        said = text_of(request, "message")
        lines.append(
            f"Last request: {text_of(request, 'verb')} by {_asked(request, known.now_s)}: {outcome}. {said}".rstrip()
        )
    return lines


def _asked(said: Mapping[str, Any], now_s: float) -> str:
    why, age = text_of(said, "why"), ago(seconds_of(text_of(said, "at")), now_s=now_s)
    return f"{text_of(said, 'by')}{f', {age} ago' if age else ''}{f' ({why})' if why else ''}"


def _inherited(known: Known) -> list[str]:
    return [f"{field}: {value}" for field, value in inherited_by(known.obj).items()]


def _history(known: Known, screen: Screen) -> list[str]:
    lines = []
    for entry in entries_of(known)[-_HISTORY:]:
        age = ago(seconds_of(text_of(entry, "at")), now_s=known.now_s)
        lines += wrapped(
            f"{text_of(entry, 'at')} ({age} ago) {text_of(entry, 'reason')}: {text_of(entry, 'message')}",
            screen,
            indent="  ",
        )
    return lines


def commands_for(known: Known) -> list[tuple[str, str]]:
    """Name the commands that make sense now, and what each does."""
    seen, state = known.seen, known.state
    here = f"{seen.name} -n {seen.namespace}"
    if not known.status:
        lease = "kubectl get lease serin -n serin-system"
        return [(lease, "who leads, and since when"), (f"kubectl describe canarypolicy {here}", "all of it")]
    held = state.hold.reason if state.hold else None
    if state.phase is Phase.INVALID:
        return [(f"kubectl get canarypolicy {here} -o yaml | serin lint -", "what is wrong, with a mend")]
    if state.phase is Phase.ROLLED_BACK:
        return [(f"serin retry {here}", "judges the same revision again")]
    if state.phase not in IN_FLIGHT:
        return [(f"serin status {here} -w", "follows it")]
    if state.phase is Phase.ROLLING_BACK:
        by_hand = next((n.to_do for n in reversed(state.notices) if n.reason == "CannotRollBack"), "")
        manual = [(printable(by_hand.removeprefix("By hand: ")), "takes the traffic back by hand")] if by_hand else []
        return [*manual, (f"serin status {here} -w", "follows it")]
    paused = part_of(known.status, "paused") or (held is not None and held.value in {"Paused", "Approval"})
    first = [(f"serin resume {here}", "lets it go on")] if paused else [(f"serin pause {here}", "keeps the weights")]
    if known.plan.suspended:
        patch = """--type=merge -p '{"spec":{"suspend":false}}'"""
        first = [(f"kubectl patch canarypolicy {here} {patch}", "lets it go on, until Git says otherwise")]
    if held is HoldReason.DRIFT:
        first = [
            (f"serin resume {here} --adopt", "goes on from the weights that are there"),
            (f"serin resume {here} --restore", f"puts back {show(state.weights)}"),
        ]
    return [
        *first,
        (f"serin promote {here}", f"gives everybody {state.canary} now"),
        (f"serin abort {here}", f"takes {state.canary} out of the traffic"),
    ]


def _commands(known: Known, screen: Screen) -> list[str]:
    commands = commands_for(known)
    width = max(len(command) for command, _ in commands)
    if screen.width is not None and width + 40 > screen.width:
        return [f"  {command}" for command, _ in commands]
    return [f"  {screen.paint(command.ljust(width), 'cyan')}   {what}" for command, what in commands]


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
