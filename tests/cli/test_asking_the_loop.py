"""What is asked for is what the real loop does: the command line and the daemon's turns, on one in-memory cluster."""

import asyncio

from analyzer.adapters.clock import SystemClock
from analyzer.cli.people.ask import Wish, ask
from analyzer.cli.people.explain import explanation, know
from analyzer.cli.people.reach import Exit, Place
from analyzer.core.rollout.requests import DriftAnswer, Verb
from tests.app.loop import Loop
from tests.app.model import POLICY
from tests.cli.scenes import SCENES, connector, out, run, screen


async def asked(loop: Loop, verb: Verb, *, weights: DriftAnswer | None = None) -> tuple[int, str]:
    """Ask, and let the loop turn meanwhile."""
    shown = screen()
    wish = Wish(verb, POLICY.name, why="late shift", yes=True, weights=weights)
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(
            ask(Place(), wish, screen=shown, clock=SystemClock(), connector=connector(loop.mesh.cluster))
        )
        while not asking.done():
            await loop.cycle()
            await asyncio.sleep(0.05)
    return asking.result(), out(shown)


def explained(loop: Loop) -> str:
    known = know(loop.mesh.read(POLICY), now_s=loop.mesh.clock.now_s())
    return "\n".join(explanation(known, screen()))


async def test_a_pause_holds_until_it_is_ended() -> None:
    loop = await SCENES["progressing"]()
    code, said = await asked(loop, Verb.PAUSE)
    assert (code, said.partition(":")[0]) == (Exit.OK, "Done")
    await run(loop, 1)
    text = explained(loop)
    assert "Paused by kim" in text
    assert "(late shift)" in text
    assert "serin resume helloworld -n helloworld" in text
    assert "Last request: pause by kim" in text
    code, said = await asked(loop, Verb.RESUME)
    assert (code, said.partition(":")[0]) == (Exit.OK, "Done")
    await run(loop, 1)
    assert "Paused by kim" not in explained(loop)


async def test_an_abort_takes_the_canary_out_and_a_retry_judges_it_again() -> None:
    loop = await SCENES["progressing"]()
    code, said = await asked(loop, Verb.ABORT)
    assert (code, said.partition(":")[0]) == (Exit.OK, "Done")
    await loop.until(lambda: loop.phase == "RolledBack")
    assert loop.mesh.weights() == {"v1": 100, "v2": 0}
    code, said = await asked(loop, Verb.RETRY)
    assert (code, said.partition(":")[0]) == (Exit.OK, "Done")
    await loop.until(lambda: loop.phase in {"Pending", "Progressing"})


async def test_a_promotion_gives_everybody_the_canary() -> None:
    loop = await SCENES["progressing"]()
    code, said = await asked(loop, Verb.PROMOTE)
    assert (code, said.partition(":")[0]) == (Exit.OK, "Done")
    await loop.until(lambda: loop.phase == "Promoted")


async def test_a_drift_is_adopted_or_restored() -> None:
    for answer, weight in ((DriftAnswer.ADOPT, 30), (DriftAnswer.RESTORE, 10)):
        loop = await SCENES["drift"]()
        code, said = await asked(loop, Verb.RESUME, weights=answer)
        assert (code, said.partition(":")[0]) == (Exit.OK, "Done"), said
        await run(loop, 2)
        assert loop.mesh.weights()["v2"] == weight
        assert loop.state.hold is None or loop.state.hold.reason.value != "Drift"


async def test_what_the_loop_refuses_is_exit_code_1_with_its_reason() -> None:
    loop = await SCENES["progressing"]()
    code, said = await asked(loop, Verb.RETRY)
    assert (code, said.partition(":")[0]) == (Exit.REFUSED, "Refused")
    assert len(said) > len("Refused: .\n")
