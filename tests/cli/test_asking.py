"""What a person asks for: shown before, written once, signed, answered; and what is said when nobody answers."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from analyzer.adapters.clock import SystemClock
from analyzer.adapters.memory import MemoryCluster
from analyzer.cli.people.ask import Wish, ask, preview
from analyzer.cli.people.reach import Exit, Place, Stopped
from analyzer.core.rollout.requests import DriftAnswer, Request, Verb
from analyzer.errors import ConflictError, OutcomeUnknown, WriteRefused
from analyzer.policy.requests import REQUEST_ANNOTATION, parse_request, render_request
from analyzer.ports import CANARY_POLICY, LEASE, Cluster, Object, Ref
from tests.app.model import NAMESPACE
from tests.cli.scenes import connector, err, left_in, out, screen, with_policies
from tests.cli.test_people import check
from tests.fakes import FaultyCluster, ManualClock

CART = Ref(CANARY_POLICY, NAMESPACE, "cart")
Answer = Callable[[Request], Object]


async def shop(scene: str, **annotations: str) -> MemoryCluster:
    obj, _ = await left_in(scene)
    obj["metadata"]["name"] = "cart"
    cluster = with_policies(MemoryCluster(ManualClock()), obj)
    if annotations:
        made = await cluster.get(CART)
        cluster.apply({**made, "metadata": {**made["metadata"], "annotations": annotations}})
    return cluster


def done(request: Request) -> Object:
    return {"id": request.id, "verb": request.verb.value, "outcome": "Done", "message": f"{request.verb.value} it is."}


def refused(request: Request) -> Object:
    return {"id": request.id, "verb": request.verb.value, "outcome": "Refused", "message": "v3 is judged by now."}


async def written(cluster: MemoryCluster) -> Request | None:
    """The request that stands in the policy's annotation."""
    text = ((await cluster.get(CART))["metadata"].get("annotations") or {}).get(REQUEST_ANNOTATION)
    request = parse_request(text) if text else None
    return request if isinstance(request, Request) else None


async def serin(cluster: MemoryCluster, answer: Answer) -> None:
    """Stands in for the daemon: answers in `.status.request`, as it does, and goes on writing the status meanwhile."""
    turn = 0
    answered = ""
    while True:
        await asyncio.sleep(0.005)
        turn += 1
        status = (await cluster.get(CART)).get("status") or {}
        request = await written(cluster)
        news: Object = {}
        if request is not None and request.id != answered:
            answered, news = request.id, {"request": answer(request)}
        cluster.set_status(CART, {**status, **news, "turn": turn})


async def asked(cluster: Cluster, wish: Wish, *, answers: str | None = None) -> tuple[int, str, str]:
    shown = screen(answers=answers)
    code = await ask(Place(), wish, screen=shown, clock=SystemClock(), connector=connector(cluster))
    return code, out(shown), err(shown)


async def with_serin(cluster: MemoryCluster, answer: Answer, wish: Wish, **more: Any) -> tuple[int, str, str]:
    async with asyncio.TaskGroup() as tasks:
        daemon = tasks.create_task(serin(cluster, answer))
        try:
            return await asked(cluster, wish, **more)
        finally:
            daemon.cancel()


@pytest.mark.parametrize("verb", Verb)
async def test_a_request_is_written_once_signed_and_answered(verb: Verb) -> None:
    cluster = await shop("progressing")
    code, said, told = await with_serin(cluster, done, Wish(verb, "cart", why="late shift", yes=True))
    assert (code, said) == (Exit.OK, f"Done: {verb.value} it is.\n")
    request = await written(cluster)
    assert request is not None
    assert (request.verb, request.by, request.why) == (verb, "kim", "late shift")
    assert request.rollout == "v2@977d8f141d"
    assert "helloworld/cart" in told


async def test_what_serin_refuses_is_said_and_is_exit_code_1() -> None:
    code, said, told = await with_serin(await shop("progressing"), refused, Wish(Verb.PROMOTE, "cart", yes=True))
    assert (code, said) == (Exit.REFUSED, "Refused: v3 is judged by now.\n")
    assert "serin explain cart -n helloworld" in told


@pytest.mark.parametrize(
    ("answer", "goes"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)]
)
async def test_a_person_is_asked_and_nothing_but_yes_means_yes(answer: str, *, goes: bool) -> None:
    cluster = await shop("progressing")
    code, _, told = await with_serin(cluster, done, Wish(Verb.ABORT, "cart"), answers=answer)
    assert code == (Exit.OK if goes else Exit.REFUSED)
    assert (await written(cluster) is not None) is goes
    assert "Abort? [y/N]" in told


async def test_without_a_terminal_and_without_yes_nothing_is_asked() -> None:
    cluster = await shop("progressing")
    with pytest.raises(Stopped, match="nobody is at a terminal") as caught:
        await asked(cluster, Wish(Verb.ABORT, "cart"))
    assert caught.value.code == Exit.USAGE
    assert await written(cluster) is None


async def test_what_will_happen_is_shown_before() -> None:
    texts = []
    for scene, wish in [
        ("progressing", Wish(Verb.PAUSE, "cart")),
        ("progressing", Wish(Verb.PROMOTE, "cart", why="hotfix", force=True)),
        ("baking", Wish(Verb.ABORT, "cart")),
        ("rolled_back", Wish(Verb.RETRY, "cart")),
        ("drift", Wish(Verb.RESUME, "cart", weights=DriftAnswer.ADOPT)),
        ("drift", Wish(Verb.RESUME, "cart", weights=DriftAnswer.RESTORE)),
        ("unseen", Wish(Verb.PAUSE, "cart")),
    ]:
        obj = await (await shop(scene)).get(CART)
        texts.append("\n".join(preview(wish, obj, by="kim@example.org", context="prod", screen=screen(width=100))))
    check("asking.txt", "\n\n".join(texts) + "\n")


async def test_an_earlier_request_that_nobody_answered_is_shown_and_replaced() -> None:
    earlier = Request("00000000", Verb.ABORT, "alex", "", "2026-11-28T13:00:00Z", rollout="v2@977d8f141d")
    cluster = await shop("progressing", **{REQUEST_ANNOTATION: render_request(earlier)})
    code, _, told = await with_serin(cluster, done, Wish(Verb.PAUSE, "cart", yes=True))
    assert code == Exit.OK
    assert "abort by alex" in told


async def test_other_annotations_stay_and_a_lost_race_is_run_again() -> None:
    cluster = await shop("progressing", team="cart")
    lost = iter([True, True])

    def decide(_number: int, method: str, phase: str) -> BaseException | None:
        return ConflictError("409") if method == "patch" and phase == "before" and next(lost, False) else None

    code, _, _ = await asked(FaultyCluster(cluster, decide), Wish(Verb.PAUSE, "cart", yes=True, wait_s=None))
    assert code == Exit.OK
    annotations = (await cluster.get(CART))["metadata"]["annotations"]
    assert annotations["team"] == "cart"
    assert json.loads(annotations[REQUEST_ANNOTATION])["verb"] == "pause"


async def test_of_two_people_that_ask_at_once_the_second_looks_again() -> None:
    earlier = Request("00000000", Verb.ABORT, "alex", "", "2026-11-28T13:00:00Z", rollout="v2@977d8f141d")
    cluster = await shop("progressing")

    def decide(_number: int, method: str, phase: str) -> BaseException | None:
        if method == "patch" and phase == "before":
            made = cluster._store.read(CART)
            annotations = {REQUEST_ANNOTATION: render_request(earlier)}
            cluster.apply({**made, "metadata": {**made["metadata"], "annotations": annotations}})
        return None

    with pytest.raises(Stopped, match="somebody else asked"):
        await asked(FaultyCluster(cluster, decide), Wish(Verb.PAUSE, "cart", yes=True, wait_s=None))
    request = await written(cluster)
    assert request is not None
    assert request.by == "alex"


@pytest.mark.parametrize(
    ("scene", "wish", "what", "code"),
    [
        ("unseen", Wish(Verb.PROMOTE, "cart", yes=True), "nothing to promote", 1),
        ("drift", Wish(Verb.RESUME, "cart", yes=True), "somebody else changed the weights", 2),
        ("progressing", Wish(Verb.RESUME, "cart", yes=True, weights=DriftAnswer.ADOPT), "not held by Drift", 1),
        ("suspended", Wish(Verb.RESUME, "cart", yes=True), "suspended by the policy itself", 1),
        ("default_suspends", Wish(Verb.RESUME, "cart", yes=True), "by the CanaryDefaults of serin-system", 1),
        ("progressing", Wish(Verb.PAUSE, "cart", yes=True, why="two\nlines"), "not one line", 2),
        ("progressing", Wish(Verb.PAUSE, "cart", yes=True, why="x" * 1001), "longer than 1000", 2),
    ],
)
async def test_what_cannot_be_meant_is_not_asked_for(scene: str, wish: Wish, what: str, code: int) -> None:
    cluster = await shop(scene)
    with pytest.raises(Stopped, match=what) as caught:
        await asked(cluster, wish)
    assert caught.value.code == code
    assert await written(cluster) is None


@pytest.mark.parametrize(
    ("error", "code", "what"),
    [
        (WriteRefused("patch: 403: kim cannot promote"), 2, "kim cannot promote"),
        (OutcomeUnknown("no answer; the write may have been made"), 4, "nobody knows whether it arrived"),
    ],
)
async def test_a_request_that_is_not_taken_says_why(error: Exception, code: int, what: str) -> None:
    def decide(_number: int, method: str, phase: str) -> BaseException | None:
        return error if method == "patch" and phase == "before" else None

    with pytest.raises(Stopped, match=what) as caught:
        await asked(FaultyCluster(await shop("progressing"), decide), Wish(Verb.PROMOTE, "cart", yes=True))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("holder", "says"),
    [("serin-0_x", "serin-0_x leads, renewed 5h ago"), ("", "nobody leads"), (None, "cannot be read")],
)
async def test_without_an_answer_the_lease_tells_whether_anybody_could(holder: str | None, says: str) -> None:
    cluster = await shop("progressing")
    clock = SystemClock()
    if holder is not None:
        from datetime import UTC, datetime

        renewed = datetime.fromtimestamp(clock.now_s() - 18_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
        metadata = {"name": "serin", "namespace": "serin-system"}
        spec = {"holderIdentity": holder, "renewTime": renewed}
        await cluster.create(
            LEASE, {"apiVersion": LEASE.api_version, "kind": "Lease", "metadata": metadata, "spec": spec}
        )
    with pytest.raises(Stopped, match="nobody answered within") as caught:
        await asked(cluster, Wish(Verb.PAUSE, "cart", yes=True, wait_s=0.6))
    assert caught.value.code == Exit.UNREACHABLE
    assert says in caught.value.mend
    assert await written(cluster) is not None


async def test_the_api_servers_own_name_for_the_person_is_what_signs() -> None:
    class Named(FaultyCluster):
        async def create(self, kind: Any, obj: Object) -> Object:
            assert kind.kind == "SelfSubjectReview"
            return {"metadata": {}, "status": {"userInfo": {"username": "kim@example.org"}}}

    cluster = await shop("progressing")
    with suppress(Stopped):
        await asked(Named(cluster), Wish(Verb.PAUSE, "cart", yes=True, wait_s=None))
    request = await written(cluster)
    assert request is not None
    assert request.by == "kim@example.org"
