"""`serin pause|resume|retry|promote|abort`: a request to Serin, confirmed, signed, and answered."""

import asyncio
import getpass
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from analyzer.cli.people.policies import (
    Seen,
    ago,
    inherited_by,
    look,
    number_of,
    part_of,
    seconds_of,
    status_of,
    text_of,
    whole_of,
)
from analyzer.cli.people.reach import Connector, Exit, Place, Reached, Stopped, explain_failure, find, reach
from analyzer.cli.people.screen import Screen
from analyzer.cli.people.table import wrapped
from analyzer.core.rollout.requests import DriftAnswer, Request, Verb
from analyzer.errors import ConflictError, SerinError
from analyzer.policy.requests import LONGEST_WHY, REQUEST_ANNOTATION, parse_request, render_request
from analyzer.ports import CANARY_POLICY, LEASE, Clock, Kind, Object, PatchOperation, Ref

_SELF: Final = Kind("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview")
_PATH: Final = f"/metadata/annotations/{REQUEST_ANNOTATION.replace('/', '~1')}"
_TRIES: Final = 5
_POLL_S: Final = 0.5
_OF_ROLLOUT: Final = frozenset({Verb.RETRY, Verb.PROMOTE, Verb.ABORT})


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person typed.

    Attributes
    ----------
    verb, name, why
        What is to happen to which policy, and why.
    yes
        It needs no confirmation.
    wait_s
        How long to wait for the answer; None: not at all [s].
    weights, force
        As of `Request`.
    lease
        Namespace and name of the Lease that the running Serin holds: it says whether anybody can answer.
    """

    verb: Verb
    name: str
    why: str = ""
    yes: bool = False
    wait_s: float | None = 30.0
    weights: DriftAnswer | None = None
    force: bool = False
    lease: tuple[str, str] = ("serin-system", "serin")


def ask_serin(place: Place, wish: Wish, *, screen: Screen, clock: Clock, connector: Connector = reach) -> int:
    """Ask, wait for the answer, and return the exit code."""
    return asyncio.run(ask(place, wish, screen=screen, clock=clock, connector=connector))


def _check(wish: Wish, screen: Screen) -> None:
    if not wish.yes and screen.source is None:
        raise Stopped(f"{wish.verb.value} asks before it acts, and nobody is at a terminal", "say --yes in scripts")
    if len(wish.why) > LONGEST_WHY or not wish.why.isprintable():
        raise Stopped(f"--why is longer than {LONGEST_WHY} characters, or not one line", "write one sentence")


async def ask(place: Place, wish: Wish, *, screen: Screen, clock: Clock, connector: Connector) -> int:
    """Do the same within a running loop."""
    _check(wish, screen)
    async with connector(place) as reached:
        obj = await find(reached, wish.name)
        _check_sense(wish, obj)
        by = await _whoami(reached)
        for line in preview(wish, obj, by=by, context=reached.context, screen=screen):
            screen.tell(line)
        if not wish.yes and not _confirmed(wish, screen):
            screen.tell("Nothing was asked.")
            return Exit.REFUSED
        request = _request(wish, obj, by=by, now_s=clock.now_s())
        await _write(reached, obj, request)
        if wish.wait_s is None:
            screen.say(f"Asked ({request.id}); serin explain {wish.name} -n {reached.namespace} tells what came of it.")
            return Exit.OK
        return await _answer(reached, wish, request, screen=screen, clock=clock)


def _check_sense(wish: Wish, obj: Object) -> None:
    """Refuse what cannot be meant; whether it is possible now only Serin knows."""
    seen, status = look(obj), status_of(obj)
    if wish.verb in _OF_ROLLOUT and not _rollout(status):
        why = "Serin has not looked at it yet" if not status else "no release was judged"
        raise Stopped(
            f"there is nothing to {wish.verb.value} in {seen.called}: {why}", _explain(seen), code=Exit.REFUSED
        )
    if wish.verb is Verb.RESUME and seen.held == "Drift" and wish.weights is None:
        raise Stopped(
            f"somebody else changed the weights of {seen.called}: {text_of(part_of(status, 'hold'), 'message')}",
            "say --adopt to go on from them, or --restore to put back what was",
        )
    if wish.verb is Verb.RESUME and seen.held == "Paused" and not part_of(status, "paused"):
        patch = f"kubectl patch canarypolicy {seen.name} -n {seen.namespace} --type=merge -p "
        alone = f"""{patch}'{{"spec":{{"suspend":false}}}}'"""
        by, mend = "the policy itself", f"change that: {alone}"
        if told := inherited_by(obj).get("suspend"):  # `true (shop)`
            by = f"the CanaryDefaults of {told.rpartition('(')[2].rstrip(')')}"
            mend = f"change that there, or for this policy alone: {alone}"
        raise Stopped(f"{seen.called} is suspended by {by}, not by a person", mend, code=Exit.REFUSED)
    if wish.weights is not None and seen.held != "Drift":
        mend = f"leave --{wish.weights.value} out"
        raise Stopped(f"{seen.called} is not held by Drift: nobody else changed its weights", mend, code=Exit.REFUSED)


def _explain(seen: Seen) -> str:
    return f"serin explain {seen.name} -n {seen.namespace} tells where it is"


def _rollout(status: Mapping[str, Any]) -> str:
    canary = part_of(status, "canary")
    version, revision = text_of(canary, "version"), text_of(canary, "revision")
    return f"{version}@{revision}" if version and revision else ""


# --- who asks, and for what -------------------------------------------------------------------------------------------


async def _whoami(reached: Reached) -> str:
    """Ask the API server what it calls us; only where it does not say, believe the kubeconfig."""
    review = {"apiVersion": _SELF.api_version, "kind": _SELF.kind, "metadata": {}}
    try:
        answer = await reached.cluster.create(_SELF, review)
    except (SerinError, TimeoutError):
        return reached.user or getpass.getuser()
    return text_of(part_of(part_of(answer, "status"), "userInfo"), "username") or reached.user or getpass.getuser()


def _request(wish: Wish, obj: Object, *, by: str, now_s: float) -> Request:
    return Request(
        id=secrets.token_hex(8),
        verb=wish.verb,
        by=by,
        why=wish.why,
        at=datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        rollout=_rollout(part_of(obj, "status")),
        weights=wish.weights,
        force=wish.force,
    )


def preview(wish: Wish, obj: Object, *, by: str, context: str, screen: Screen) -> list[str]:
    """Say what will happen, and what is known so far."""
    seen, status = look(obj), status_of(obj)
    lines = [screen.paint(f"{wish.verb.value} {seen.called}", "bold")]
    told = [
        f"VirtualService {seen.target}: {_will(wish, status)}",
        f"Now: {seen.phase or 'never looked at'}, {_split(seen, status)}.",
        *([f"Held, {seen.held}: {text_of(part_of(status, 'hold'), 'message')}"] if seen.held else []),
        *_evidence(seen, status),
    ]
    waiting = _unanswered(obj)
    if waiting:
        told.append(f"An earlier request is not answered yet, and is replaced by this one: {waiting}.")
    told.append(f"As {by}{f', in context {context}' if context else ''}{f'; why: {wish.why}' if wish.why else ''}.")
    return lines + [line for sentence in told for line in wrapped(sentence, screen, indent="  ")]


def _will(wish: Wish, status: Mapping[str, Any]) -> str:
    canary = text_of(part_of(status, "canary"), "version") or "the canary"
    stable = text_of(part_of(status, "stable"), "version") or "the stable version"
    match wish.verb:
        case Verb.PAUSE:
            return "nothing moves forward until `serin resume`; a rollback would still be made."
        case Verb.RESUME if wish.weights is DriftAnswer.ADOPT:
            return "goes on from the weights that are there now."
        case Verb.RESUME if wish.weights is DriftAnswer.RESTORE:
            return "puts back the weights that were there before somebody changed them, and goes on."
        case Verb.RESUME:
            return "goes on by the evidence; a step that waits for approval is approved."
        case Verb.RETRY:
            return f"{_rollout(status)} is judged again, from the beginning."
        case Verb.PROMOTE:
            force = ", and whatever the evidence of harm and the pods say" if wish.force else ""
            return f"everybody gets {canary} ({_rollout(status)}), {stable} gets nothing, proven or not{force}."
        case Verb.ABORT:
            return f"{canary} ({_rollout(status)}) goes to zero, {stable} takes everything back."


def _split(seen: Seen, status: Mapping[str, Any]) -> str:
    canary, weight = text_of(part_of(status, "canary"), "version"), seen.weight
    if weight is None or not canary:
        return "no weights known"
    return f"{canary} has {weight} %, {text_of(part_of(status, 'stable'), 'version')} {100 - weight} %"


def _evidence(seen: Seen, status: Mapping[str, Any]) -> list[str]:
    evidence = part_of(status, "evidence")
    log_e, threshold = number_of(evidence, "logE"), number_of(evidence, "logThreshold")
    if log_e is None or threshold is None:
        return ["Evidence so far: none."]
    rates = [_rate(part_of(status, role), part_of(evidence, role)) for role in ("canary", "stable")]
    return [f"Evidence so far: {seen.verdict}, harm {log_e:.1f} of {threshold:.1f}; {'; '.join(rates)}."]


def _rate(role: Mapping[str, Any], rates: Mapping[str, Any]) -> str:
    requests, rate = whole_of(rates, "requests") or 0, number_of(rates, "errorRate")
    said = "no requests" if rate is None else f"{100 * rate:.3g} % errors of {requests:,} requests"
    return f"{text_of(role, 'version')} {said}"


def _unanswered(obj: Object) -> str:
    text = part_of(part_of(obj, "metadata"), "annotations").get(REQUEST_ANNOTATION)
    request = parse_request(text) if isinstance(text, str) else None
    if not isinstance(request, Request) or _is_answered(part_of(obj, "status"), request.id):
        return ""
    return f"{request.verb.value} by {request.by}"


def _is_answered(status: Mapping[str, Any], identity: str) -> bool:
    answered = status.get("answered")
    known = answered if isinstance(answered, Sequence) and not isinstance(answered, str) else ()
    return part_of(status, "request").get("id") == identity or identity in known


def _confirmed(wish: Wish, screen: Screen) -> bool:
    assert screen.source is not None, "checked before"
    screen.err.write(f"{wish.verb.value.capitalize()}? [y/N] ")
    screen.err.flush()
    return screen.source.readline().strip().lower() in {"y", "yes"}


# --- asking -----------------------------------------------------------------------------------------------------------


async def _write(reached: Reached, obj: Object, request: Request) -> None:
    """Write the annotation, if the policy is still the one that was looked at and says what it said.

    Where there is no annotation yet, only the resourceVersion can say so, and any write of the status moves that.
    """
    ref = Ref(CANARY_POLICY, obj["metadata"]["namespace"], obj["metadata"]["name"])
    uid, had = obj["metadata"].get("uid"), _annotation(obj)
    for left in reversed(range(_TRIES)):
        try:
            await reached.cluster.patch(ref, _operations(obj, render_request(request)))
        except ConflictError as error:
            if left == 0:
                raise explain_failure(error, reached=reached, doing=request.verb.value) from error
            obj = await find(reached, ref.name)
            if obj["metadata"].get("uid") != uid or _annotation(obj) != had:
                what = f"{ref.namespace}/{ref.name} was replaced, or somebody else asked for something, just now"
                raise Stopped(
                    what, f"look again: serin explain {ref.name} -n {ref.namespace}", code=Exit.REFUSED
                ) from error
        except (SerinError, TimeoutError) as error:
            raise explain_failure(error, reached=reached, doing=request.verb.value) from error
        else:
            return


def _annotation(obj: Object) -> object:
    return part_of(obj["metadata"], "annotations").get(REQUEST_ANNOTATION)


def _operations(obj: Object, text: str) -> list[PatchOperation]:
    metadata = obj["metadata"]
    same: PatchOperation = {"op": "test", "path": "/metadata/uid", "value": metadata.get("uid")}
    newest: PatchOperation = {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}
    had = _annotation(obj)
    if had is not None:
        return [same, {"op": "test", "path": _PATH, "value": had}, {"op": "replace", "path": _PATH, "value": text}]
    if metadata.get("annotations"):
        return [same, newest, {"op": "add", "path": _PATH, "value": text}]
    return [same, newest, {"op": "add", "path": "/metadata/annotations", "value": {REQUEST_ANNOTATION: text}}]


# --- the answer -------------------------------------------------------------------------------------------------------


async def _answer(reached: Reached, wish: Wish, request: Request, *, screen: Screen, clock: Clock) -> int:
    assert wish.wait_s is not None, "asked for"
    ref = Ref(CANARY_POLICY, reached.namespace, wish.name)
    end_s = clock.monotonic_s() + wish.wait_s
    trouble = ""
    while clock.monotonic_s() < end_s:
        await asyncio.sleep(_POLL_S)
        try:
            obj = await reached.cluster.get(ref)
        except (SerinError, TimeoutError) as error:
            trouble = str(error)
            continue
        status = part_of(obj, "status")
        answer = part_of(status, "request")
        if answer.get("id") == request.id:
            return _conclude(answer, look(obj), screen)
        if _is_answered(status, request.id):
            screen.say(f"Answered, and another request was answered since. {_explain(look(obj))}.")
            return Exit.OK
    what = f"nobody answered within {wish.wait_s:g} s; the request stands"
    raise Stopped(trouble or what, await _is_it_running(reached, wish, clock), code=Exit.UNREACHABLE)


def _conclude(answer: Mapping[str, Any], seen: Seen, screen: Screen) -> int:
    done = text_of(answer, "outcome") == "Done"
    word = screen.paint("Done", "green") if done else screen.paint("Refused", "bold", "red")
    screen.say(f"{word}: {text_of(answer, 'message')}")
    if not done:
        screen.tell(f"mend: {_explain(seen)}")
    return Exit.OK if done else Exit.REFUSED


async def _is_it_running(reached: Reached, wish: Wish, clock: Clock) -> str:
    """Say what the Lease tells of a running Serin."""
    ref = Ref(LEASE, *wish.lease)
    try:
        lease = await reached.cluster.get(ref)
    except (SerinError, TimeoutError) as error:
        return f"is Serin running? its Lease {ref.namespace}/{ref.name} cannot be read: {error}"
    spec = part_of(lease, "spec")
    holder, renewed = text_of(spec, "holderIdentity"), seconds_of(text_of(spec, "renewTime"))
    if not holder:
        return f"is Serin running? its Lease {ref.namespace}/{ref.name} says: nobody leads"
    age = ago(renewed, now_s=clock.now_s())
    return (
        f"is Serin running? its Lease {ref.namespace}/{ref.name} says: {holder} leads, renewed {age or '?'} ago; "
        f"does it watch namespace {reached.namespace}?"
    )
