"""The loop is killed between any two calls of its ports, and nothing is lost or done twice."""

import asyncio
import random
from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from analyzer.errors import ClusterUnavailable, OutcomeUnknown, WriteRefused
from analyzer.ports import EVENT
from tests.app.decision_log import again, logged
from tests.app.loop import Loop
from tests.app.model import NAMESPACE, POLICY, Behaviour, ModelMesh
from tests.app.test_turns import QUICK, quick_mesh
from tests.fakes import Killed

STEPS = [10, 50, 100]
FINAL = {"Promoted", "RolledBack"}


async def story(loop: Loop) -> None:
    """One rollout to its end, and some quiet turns after it."""
    await loop.until(lambda: loop.phase in FINAL, cycles=60)
    for _ in range(3):
        await loop.cycle()


def kill_at(call: int, phase: str) -> Callable[[int, str, str], BaseException | None]:
    return lambda number, _method, now: Killed() if (number, now) == (call, phase) else None


async def tell_of(mesh: ModelMesh, reason: str) -> int:
    """Count the Events with a reason."""
    events = (await mesh.cluster.list(EVENT, namespace=NAMESPACE)).items
    return sum(event["reason"] == reason for event in events)


def mesh_with(behaviour: Behaviour) -> ModelMesh:
    mesh = quick_mesh()
    mesh.behaviours["v2"] = behaviour
    return mesh


STORIES = [
    pytest.param(Behaviour(), STEPS, "Promoted", id="harmless"),
    pytest.param(Behaviour(error_rate=0.05), [10, 0], "RolledBack", id="5 % errors"),
]


@pytest.mark.parametrize(("behaviour", "weights", "end"), STORIES)
async def test_killed_between_any_two_calls_no_step_is_lost_or_made_twice(
    behaviour: Behaviour, weights: list[int], end: str
) -> None:
    undisturbed = Loop(mesh_with(behaviour))
    await story(undisturbed)
    assert (undisturbed.weights, undisturbed.phase) == (weights, end)
    calls = undisturbed.calls
    # Lists only read, and there are many: those around the writes stand for all.
    interesting = [n for n, method in enumerate(undisturbed.methods, start=1) if method != "list"]
    assert len(interesting) >= 10
    for call in sorted({n + d for n in interesting for d in (0, 1)} & set(range(1, calls + 1))):
        for phase in ("before", "after"):
            loop = Loop(mesh_with(behaviour), decide=kill_at(call, phase))
            await story(loop)
            where = f"killed {phase} call {call} of {calls} ({undisturbed.methods[call - 1]})"
            assert (loop.weights, loop.phase, loop.kills) == (weights, end, 1), where
            assert await tell_of(loop.mesh, end) == 1, where
            assert loop.mesh.read(POLICY)["status"]["intent"] is None, where


FAULTS = [
    ClusterUnavailable("the API server is restarting"),
    OutcomeUnknown("no answer within 10 s"),
    WriteRefused("denied by a webhook"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: type(f).__name__)
@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize(("behaviour", "weights", "end"), STORIES)
async def test_a_fault_of_any_single_write_changes_nothing_about_the_outcome(
    behaviour: Behaviour, weights: list[int], end: str, phase: str, fault: Exception
) -> None:
    undisturbed = Loop(mesh_with(behaviour))
    await story(undisturbed)
    writes = [n for n, method in enumerate(undisturbed.methods, start=1) if method in {"patch", "replace_status"}]
    for write in writes:
        loop = Loop(
            mesh_with(behaviour),
            decide=lambda number, _method, now, write=write: fault if (number, now) == (write, phase) else None,  # type: ignore[misc]
        )
        await story(loop)
        assert (loop.weights, loop.phase) == (weights, end), f"{fault} {phase} call {write}"


class Disturbed(RuleBasedStateMachine):
    """Kills, faults, releases and other people's hands, in any order."""

    LADDER: ClassVar = {(10, 50), (50, 100), (0, 10)}

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.images = 0
        self.foreign = False
        self.seen = 0

    @initialize(seed=st.integers(0, 10_000), bad=st.booleans())
    def begin(self, seed: int, bad: bool) -> None:  # noqa: FBT001
        note(f"seed {seed}")
        self.rng = random.Random(seed)
        self.mesh = ModelMesh(requests_per_s=1000.0, seed=seed)
        self.mesh.set_policy(**QUICK)
        self.bad = bad
        self.mesh.behaviours["v2"] = self._behaviour()
        self.loop = Loop(self.mesh)
        self.log = logged(self.loop)

    def _behaviour(self) -> Behaviour:
        return Behaviour(error_rate=0.2 if self.bad else 0.001)

    @rule(cycles=st.integers(1, 4))
    def go_on(self, cycles: int) -> None:
        for _ in range(cycles):
            self.runner.run(self.loop.cycle())

    @rule(after=st.integers(1, 60), phase=st.sampled_from(["before", "after"]), cycles=st.integers(1, 3))
    def go_on_until_killed(self, after: int, phase: str, cycles: int) -> None:
        due = self.loop.calls + after
        self.loop.decide = kill_at(due, phase)
        self.go_on(cycles)
        self.loop.decide = lambda *_: None

    @rule(
        fault=st.sampled_from(FAULTS),
        method=st.sampled_from(["patch", "replace_status", "get", "create"]),
        cycles=st.integers(1, 3),
    )
    def go_on_with_failing_calls(self, fault: Exception, method: str, cycles: int) -> None:
        self.loop.decide = lambda _n, called, now: fault if (called, now) == (method, "before") else None
        self.go_on(cycles)
        self.loop.decide = lambda *_: None

    @rule(bad=st.booleans())
    def release_into_v2(self, bad: bool) -> None:  # noqa: FBT001
        if self.mesh.weights()["v2"] == 100:
            return  # that would be a change of the stable version
        self.images += 1
        self.bad = bad
        self.mesh.release("v2", f"v2.{self.images}", self._behaviour())

    @rule()
    def the_process_dies(self) -> None:
        self.loop.life = None

    @invariant()
    def weights_move_one_step_up_or_to_zero(self) -> None:
        if not hasattr(self, "loop"):
            return
        for before, after in list(pairwise(self.loop.weights))[self.seen :]:
            assert after == 0 or (before, after) in self.LADDER, self.loop.weights
        self.seen = max(0, len(self.loop.weights) - 1)

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.decide = lambda *_: None
            self.runner.run(self._end())
        self.runner.close()

    async def _end(self) -> None:
        """Left alone, every release comes to its right end."""
        await self.loop.until(lambda: self.loop.phase in FINAL, cycles=150)
        for _ in range(4):
            await self.loop.cycle()
        await self.loop.until(lambda: self.loop.phase in FINAL, cycles=150)
        status = self.mesh.read(POLICY)["status"]
        assert status["intent"] is None
        assert self.mesh.weights()["v2"] in {0, 100}
        if self.bad:
            assert (status["phase"], self.mesh.weights()["v2"]) == ("RolledBack", 0), status["message"]
        else:
            assert status["phase"] == "Promoted", status["message"]
        again(self.log.lines)  # and all of it follows from what was seen


def test_whatever_happens_every_release_comes_to_its_right_end() -> None:
    run_state_machine_as_test(
        Disturbed,
        settings=settings(
            max_examples=25,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
