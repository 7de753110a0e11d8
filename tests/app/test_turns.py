"""Whole turns: real ledger, judge, decision and writes, against a model mesh on manual time."""

import asyncio
from itertools import pairwise
from typing import Any

from analyzer.errors import OutcomeUnknown
from tests.app.loop import POLICY, Loop
from tests.app.model import Behaviour, ModelMesh

QUICK: dict[str, Any] = {
    "stages": [{"route": "primary", "weights": [10, 50, 100]}],
    "judge": {"dwell": {"min": "10s", "max": "5m"}, "bake": "20s", "harmBudget": "1%", "latency": {"warmUp": "10s"}},
}


def quick_mesh(**options: float) -> ModelMesh:
    mesh = ModelMesh(requests_per_s=1000.0, **options)  # type: ignore[arg-type]
    mesh.set_policy(**QUICK)
    return mesh


async def test_a_harmless_release_found_at_90_10_is_proven_and_promoted() -> None:
    loop = Loop(quick_mesh())
    await loop.until(lambda: loop.phase == "Promoted")
    assert loop.weights == [10, 50, 100]


async def test_a_release_with_errors_is_rolled_back() -> None:
    mesh = quick_mesh()
    mesh.behaviours["v2"] = Behaviour(error_rate=0.05)
    loop = Loop(mesh)
    await loop.until(lambda: loop.phase == "RolledBack")
    assert loop.weights == [10, 0]


async def test_a_step_is_an_intent_a_patch_a_result_and_an_event_and_what_follows_waits_for_the_checkpoint() -> None:
    loop = Loop(quick_mesh())
    await loop.until(lambda: loop.phase == "Progressing")
    while loop.weights[-1] == 10:
        asked = len(loop.methods)
        await loop.cycle()
    written = [method for method in loop.methods[asked:] if method not in {"list", "fetch"}]
    assert written == ["replace_status", "patch", "replace_status", "create"]
    status = loop.mesh.read(POLICY)["status"]
    assert (status["weights"], status["verdict"]) == ([50], "INCONCLUSIVE"), (
        "what was proven is the weight that is there now"
    )
    asked = len(loop.methods)
    await loop.cycle()
    assert set(loop.methods[asked:]) == {"list", "fetch"}


async def test_weights_that_were_written_without_an_answer_are_read() -> None:
    loop = Loop(
        quick_mesh(),
        decide=lambda _n, method, phase: OutcomeUnknown("no answer") if (method, phase) == ("patch", "after") else None,
    )
    await loop.until(lambda: loop.phase == "Promoted")
    assert loop.weights == [10, 50, 100]
    after = [after for before, after in pairwise(loop.methods) if before == "patch"]
    assert after == ["get", "get"]


async def test_what_people_were_told_is_taken_off_status_soon_though_nothing_else_happens() -> None:
    mesh = quick_mesh()
    mesh.behaviours["v2"] = Behaviour(error_rate=0.05)
    loop = Loop(mesh)
    await loop.until(lambda: loop.phase == "RolledBack")
    assert loop.life is not None
    assert mesh.read(POLICY)["status"]["notices"], "nobody was told yet"
    async with asyncio.TaskGroup() as group:
        group.create_task(loop.life.outbox.run())
        await loop.life.outbox.drain(timeout_s=60.0)
    waits_s = []
    while mesh.read(POLICY)["status"]["notices"]:
        await loop.life.view.refresh()
        result = await loop.life.reconciler.turn()
        waits_s.append(result.wait_s)
        assert len(waits_s) < 10
    *until_then_s, after_s = waits_s
    assert sum(until_then_s) <= 10.0
    assert after_s > 60.0, "and then there is nothing to do"
