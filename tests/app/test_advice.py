"""What a page says to do, done: the command in it is exact, and mends what it is said to mend."""

from collections.abc import Awaitable, Callable

import pytest

from analyzer.core.rollout import Phase, Verb
from tests.app.loop import Loop
from tests.app.model import Behaviour
from tests.app.test_requests import ask
from tests.app.test_turns import QUICK, quick_mesh

RETRY = "serin retry helloworld -n helloworld"
PATIENT = {**QUICK["judge"], "dwell": {"min": "20m", "max": "30m"}}


async def judged_for_a_while() -> Loop:
    mesh = quick_mesh()
    mesh.set_policy(judge=PATIENT)
    loop = Loop(mesh)
    await loop.until(lambda: loop.state.evidence is not None)
    return loop


async def inconclusive() -> Loop:
    mesh = quick_mesh()
    mesh.requests_per_s = 2.0
    mesh.set_policy(judge={"dwell": {"min": "30s", "max": "2m"}, "onInconclusive": "rollback"})
    return Loop(mesh)


async def stable_changed() -> Loop:
    loop = await judged_for_a_while()
    loop.mesh.release("v1", "shop/helloworld:v1.1", Behaviour())
    return loop


async def canary_unavailable() -> Loop:
    loop = await judged_for_a_while()
    loop.mesh.settle("v2", ready=0)
    return loop


async def canary_not_ready() -> Loop:
    loop = Loop(quick_mesh())
    loop.mesh.set_weights(100, 0)
    loop.mesh.settle("v2", ready=0)
    return loop


async def aborted() -> Loop:
    loop = await judged_for_a_while()
    ask(loop, Verb.ABORT)
    return loop


@pytest.mark.parametrize(
    "rolled_back",
    [inconclusive, stable_changed, canary_unavailable, canary_not_ready, aborted],
    ids=lambda f: f.__name__,
)
async def test_the_same_release_is_judged_again_by_the_command_that_its_page_gives(
    rolled_back: Callable[[], Awaitable[Loop]],
) -> None:
    loop = await rolled_back()
    await loop.until(lambda: loop.phase == Phase.ROLLED_BACK, cycles=200)
    rollout = loop.state.rollout
    page = loop.state.notices[-1]
    assert page.reason == "RolledBack"
    assert f"`{RETRY}`" in page.to_do or page.command == RETRY
    assert "restart" not in f"{page.to_do} {page.command}"
    loop.mesh.settle("v2")  # what the page sends people to mend
    await loop.cycle()
    assert loop.phase == Phase.ROLLED_BACK, "by itself it is not judged again"
    ask(loop, Verb.RETRY, id="00c0ffef")
    await loop.until(lambda: loop.phase == Phase.PROGRESSING)
    assert loop.state.rollout == rollout
