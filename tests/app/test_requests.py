"""People's requests through whole turns: answered in `.status` once, also by the next process; hours by the wall clock."""

import json
from datetime import UTC, datetime
from typing import Any

from analyzer.core.rollout import DriftAnswer, Request, Verb
from analyzer.policy.requests import REQUEST_ANNOTATION, render_request
from analyzer.ports import EVENT
from tests.app.loop import Loop
from tests.app.model import NAMESPACE, POLICY, Behaviour
from tests.app.test_turns import quick_mesh


def ask(loop: Loop, verb: Verb, *, id: str = "00c0ffee", rollout: str | None = None, **more: Any) -> None:  # noqa: A002 - the field's name
    """Write a request about the rollout that `.status` shows."""
    request = Request(
        id=id,
        verb=verb,
        by="alice",
        why="odd logs",
        at="2026-11-28T13:00:00Z",
        rollout=shown_rollout(loop) if rollout is None else rollout,
        **more,
    )
    annotate(loop, render_request(request))


def shown_rollout(loop: Loop) -> str:
    canary = status(loop).get("canary") or {}
    return f"{canary['version']}@{canary['revision']}" if canary.get("version") else ""


def annotate(loop: Loop, text: str) -> None:
    obj = loop.mesh.read(POLICY)
    obj["metadata"].setdefault("annotations", {})[REQUEST_ANNOTATION] = text
    loop.mesh.cluster.apply(obj)


def status(loop: Loop) -> dict[str, Any]:
    read: dict[str, Any] = loop.mesh.read(POLICY).get("status") or {}
    return read


async def count_events(loop: Loop, reason: str) -> int:
    return sum(event["reason"] == reason for event in (await loop.mesh.cluster.list(EVENT, namespace=NAMESPACE)).items)


async def test_a_pause_is_shown_kept_by_the_next_process_and_ended() -> None:
    loop = Loop(quick_mesh())
    await loop.cycle()
    ask(loop, Verb.PAUSE)
    await loop.cycle()
    assert status(loop)["paused"] == {"by": "alice", "why": "odd logs", "at": "2026-11-28T13:00:00Z"}
    assert status(loop)["request"] | {"message": ""} == {
        "id": "00c0ffee", "verb": "pause", "by": "alice", "why": "odd logs", "at": "2026-11-28T13:00:00Z",
        "outcome": "Done", "message": "",
    }  # fmt: skip
    entry = next(entry for entry in status(loop)["history"] if entry["reason"] == "Paused")
    assert "alice asked: pause" in entry["message"]
    assert entry["message"].endswith("Why: odd logs")
    loop.life = None
    for _ in range(12):
        await loop.cycle()
    assert (loop.weights, status(loop)["hold"]["reason"]) == ([10], "Paused")
    assert status(loop)["evidence"]["intervals"] > 5, "evidence grows meanwhile"
    ask(loop, Verb.RESUME, id="00c0ffef")
    await loop.until(lambda: loop.phase == "Promoted")
    assert status(loop)["paused"] is None
    assert await count_events(loop, "Paused") == 1
    assert await count_events(loop, "Resumed") == 1


async def test_a_request_that_is_read_again_by_every_next_process_is_answered_once() -> None:
    loop = Loop(quick_mesh())
    await loop.until(lambda: loop.phase == "Progressing")
    ask(loop, Verb.ABORT)
    await loop.until(lambda: loop.phase == "RolledBack")
    ask(loop, Verb.RETRY, id="00c0ffef")
    for _ in range(3):
        loop.life = None
        await loop.cycle()
    assert await count_events(loop, "RetryRequested") == 1
    assert loop.phase == "Pending" or loop.weights[-1] == 10
    # Somebody applies a manifest with the first request in it once more.
    ask(loop, Verb.ABORT)
    await loop.until(lambda: loop.phase == "Promoted")
    assert await count_events(loop, "AbortRequested") == 1


async def test_what_is_no_request_is_refused_in_the_status_and_breaks_nothing() -> None:
    loop = Loop(quick_mesh())
    annotate(loop, '{"verb": "explode"}')
    await loop.until(lambda: loop.phase == "Promoted")
    request = status(loop)["request"]
    assert request["outcome"] == "Refused"
    assert "`id` is missing" in request["message"]
    assert await count_events(loop, "RequestRefused") == 1


async def test_a_policy_that_cannot_be_read_still_answers() -> None:
    loop = Loop(quick_mesh())
    await loop.cycle()
    loop.mesh.set_policy(target={"virtualService": "no-such"})
    ask(loop, Verb.ABORT)
    await loop.cycle()
    assert status(loop)["phase"] == "Invalid"
    assert status(loop)["request"]["message"].startswith("The policy cannot work now: There is no VirtualService")


async def test_drift_is_ended_by_a_person_either_way() -> None:
    for weights, expected in ((DriftAnswer.ADOPT, [10, 30, 50, 100]), (DriftAnswer.RESTORE, [10, 30, 10, 50, 100])):
        loop = Loop(quick_mesh())
        await loop.until(lambda: loop.phase == "Progressing")  # noqa: B023
        loop.mesh.set_weights(70, 30)
        await loop.cycle()
        assert status(loop)["hold"]["reason"] == "Drift"
        ask(loop, Verb.RESUME, weights=weights)
        await loop.until(lambda: loop.phase == "Promoted")  # noqa: B023
        assert loop.weights == expected


async def test_a_promotion_is_made_without_proof_and_without_telemetry() -> None:
    mesh = quick_mesh()
    loop = Loop(mesh)
    await loop.cycle()
    mesh.up = False
    ask(loop, Verb.PROMOTE)
    await loop.until(lambda: loop.phase == "Promoted", cycles=4)
    assert loop.weights == [10, 100]


async def test_an_approval_is_waited_for_over_restarts_told_once_and_granted() -> None:
    mesh = quick_mesh()
    mesh.set_policy(approval=[50])
    loop = Loop(mesh)
    await loop.until(lambda: (status(loop).get("hold") or {}).get("reason") == "Approval")
    for _ in range(5):
        loop.life = None
        await loop.cycle()
        await loop.cycle()
    assert (loop.weights, await count_events(loop, "Approval")) == ([10], 1)
    ask(loop, Verb.RESUME)
    await loop.until(lambda: loop.phase == "Promoted")
    assert loop.weights == [10, 50, 100]


async def test_harm_while_an_approval_is_waited_for_is_rolled_back() -> None:
    mesh = quick_mesh()
    mesh.set_policy(approval=[50])
    loop = Loop(mesh)
    await loop.until(lambda: (status(loop).get("hold") or {}).get("reason") == "Approval")
    mesh.behaviours["v2"] = Behaviour(error_rate=0.3)
    await loop.until(lambda: loop.phase == "RolledBack")


def set_time(loop: Loop, text: str) -> None:
    now = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    loop.mesh.clock.step_wall(now - loop.mesh.clock.now_s())


async def test_outside_the_hours_it_watches_and_steps_when_they_begin() -> None:
    mesh = quick_mesh()
    mesh.set_policy(schedule={"timezone": "Europe/Zurich", "forward": ["Mon-Fri 09:00-17:00"]})
    loop = Loop(mesh)
    set_time(loop, "2026-11-30 07:56")  # 08:56 in Zürich
    await loop.until(lambda: (status(loop).get("hold") or {}).get("reason") == "Schedule")
    assert "closed until Mon 09:00 (Europe/Zurich)" in status(loop)["hold"]["message"]
    assert loop.weights == [10]
    await loop.until(lambda: loop.phase == "Promoted")
    assert loop.mesh.clock.now_s() >= datetime(2026, 11, 30, 8, 0, tzinfo=UTC).timestamp()


async def test_outside_the_hours_harm_is_rolled_back() -> None:
    mesh = quick_mesh()
    mesh.behaviours["v2"] = Behaviour(error_rate=0.2)
    mesh.set_policy(schedule={"freeze": ["2000-01-01/2099-12-31"]})
    loop = Loop(mesh)
    await loop.until(lambda: loop.phase == "RolledBack")
    assert loop.weights == [10, 0]


async def test_a_clock_that_is_set_wrong_only_delays() -> None:
    mesh = quick_mesh()
    mesh.set_policy(schedule={"forward": ["Mon-Fri 09:00-17:00"]})
    loop = Loop(mesh)
    set_time(loop, "2026-11-30 12:00")
    await loop.until(lambda: loop.weights == [10, 50])
    loop.mesh.clock.step_wall(-5 * 24 * 3600.0 + 8 * 3600)  # Wednesday evening
    samples = loop.mesh.samples
    for labels, series in samples.items():  # Prometheus is on the same machine here
        samples[labels] = [(t - 5 * 24 * 3600.0 + 8 * 3600, value) for t, value in series]
    for _ in range(8):
        await loop.cycle()
    assert loop.weights == [10, 50]
    assert loop.phase in {"Progressing", "Baking"}


def test_the_annotation_is_json_of_one_line() -> None:
    request = Request(id="00c0ffee", verb=Verb.PAUSE, by="alice", why="", at="2026-11-28T13:00:00Z")
    assert json.loads(render_request(request))["verb"] == "pause"
    assert "\n" not in render_request(request)
