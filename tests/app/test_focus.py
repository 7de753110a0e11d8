"""The focused canary in whole turns: first the insiders, then everybody; each compared among themselves."""

from typing import Any

import pytest
import yaml

from analyzer.core.judge import dump_state, initial_state
from analyzer.core.rollout import Phase
from analyzer.policy.findings import Code
from analyzer.policy.lint import lint_files
from tests.app.audiences import Audience, AudienceMesh, quick_audiences
from tests.app.loop import Loop
from tests.app.model import POLICY, ROUTE, Behaviour
from tests.fakes import ManualClock

INSIDERS, PRIMARY = 0, 1
FOCUS = [{"headers": {"cookie": {"regex": r"^(.*?;\s*)?(email=[^;]*@some-company-name\.com)(;.*)?$"}}}]
STAGES = [{"route": "insiders", "weights": [50, 100]}, {"route": "primary", "weights": [10, 50, 100]}]


def both(v1: int, v2: int) -> list[dict[str, Any]]:
    return [{"destination": {"host": "helloworld", "subset": s}, "weight": w} for s, w in (("v1", v1), ("v2", v2))]


def focused(
    *, labels: bool = True, insiders: Any = None, primary: Any = None, clock: ManualClock | None = None
) -> AudienceMesh:
    """Make a mesh whose insiders are half and half, and everybody else on v1; `labels`: telemetry names routes."""
    mesh = quick_audiences(clock=clock, stages=STAGES)
    service = mesh.read(ROUTE)
    service["spec"]["http"] = [
        {"name": "insiders", "match": FOCUS, "route": both(50, 50)},
        {"name": "primary", "route": both(100, 0)},
    ]
    mesh.cluster.apply(service)
    mesh.main = PRIMARY
    mesh.audiences = {
        INSIDERS: Audience(400.0, "insiders" if labels else "", insiders or {"v1": Behaviour(), "v2": Behaviour()}),
        PRIMARY: Audience(1000.0, "primary" if labels else "", primary or {"v1": Behaviour(), "v2": Behaviour()}),
    }
    return mesh


def weights(mesh: AudienceMesh) -> tuple[int, int]:
    return mesh.weights_of(INSIDERS)["v2"], mesh.weights_of(PRIMARY)["v2"]


async def watched(mesh: AudienceMesh, end: Phase) -> list[tuple[int, int]]:
    """Turn until the rollout ends; return the weights of both routes as they went."""
    loop = Loop(mesh)
    seen = [weights(mesh)]
    for _ in range(150):
        await loop.cycle()
        if weights(mesh) != seen[-1]:
            seen.append(weights(mesh))
        if loop.phase == end:
            return seen
    raise AssertionError(f"{loop.phase} {seen}: {mesh.read(POLICY)['status']['message']}")


async def test_first_the_insiders_then_everybody() -> None:
    seen = await watched(focused(), Phase.PROMOTED)
    assert seen == [(50, 0), (100, 10), (100, 50), (100, 100)]


async def test_bad_only_for_the_insiders_is_found_in_the_first_stage() -> None:
    bad = {"v1": Behaviour(), "v2": Behaviour(error_rate=0.1)}
    seen = await watched(focused(insiders=bad), Phase.ROLLED_BACK)
    assert seen == [(50, 0), (0, 0)]


async def test_bad_only_for_everybody_else_is_found_in_the_second_stage_and_both_go_back() -> None:
    bad = {"v1": Behaviour(), "v2": Behaviour(error_rate=0.1)}
    seen = await watched(focused(primary=bad), Phase.ROLLED_BACK)
    assert seen == [(50, 0), (100, 10), (0, 0)]


@pytest.mark.parametrize("worse", ["insiders", "primary"])
async def test_different_users_are_not_compared(worse: str) -> None:
    """One route's users fail ten times as often as the other's, on both versions alike: that is nobody's release."""
    unlucky = {"v1": Behaviour(error_rate=0.03), "v2": Behaviour(error_rate=0.03)}
    mesh = focused(insiders=unlucky) if worse == "insiders" else focused(primary=unlucky)
    seen = await watched(mesh, Phase.PROMOTED)
    assert seen[-1] == (100, 100)


async def test_the_second_stage_begins_without_evidence_of_the_first() -> None:
    mesh = focused()
    loop = Loop(mesh)
    await loop.until(lambda: weights(mesh) == (50, 0) and loop.state.evidence is not None)
    await loop.until(lambda: weights(mesh) == (100, 10))
    assert loop.life is not None
    assert loop.life.result is not None
    order = loop.life.result.order
    assert order is not None
    assert order.demand.routes == frozenset({"primary"})
    assert (loop.state.judge, loop.state.evidence) == (None, None)
    await loop.cycle()
    evidence = loop.state.evidence
    assert evidence is not None
    # The stable version's past on this route is learnt from; of the canary not one request of the insiders is taken.
    assert evidence.step_canary_requests <= 1000 * 5 * 2 // 10


async def test_without_labels_nothing_moves_and_two_commands_mend_it() -> None:
    mesh = focused(labels=False)
    loop = Loop(mesh)
    for _ in range(30):
        await loop.cycle()
    assert weights(mesh) == (50, 0)
    assert loop.state.hold is not None
    said = loop.state.hold.message
    assert "have no label route_name, so users on the route insiders cannot be told from all the others" in said
    assert "`kubectl apply -f deploy/telemetry/telemetry.yaml`" in said
    assert "`kubectl exec -n istio-system deploy/istio-ingressgateway -c istio-proxy -- pilot-agent request GET" in said
    mesh.audiences[INSIDERS].route_name, mesh.audiences[PRIMARY].route_name = "insiders", "primary"
    await loop.until(lambda: weights(mesh) == (100, 10))


async def until_everybodys_stage(mesh: AudienceMesh) -> Loop:
    loop = Loop(mesh)
    await loop.until(lambda: weights(mesh) == (100, 10))
    return loop


@pytest.mark.parametrize(
    ("limits", "bad"),
    [({"errorRate": "5%"}, Behaviour(error_rate=0.3)), ({"p99": "1s"}, Behaviour(median_ms=900.0))],
    ids=["errors", "latency"],
)
async def test_harm_to_those_who_passed_takes_all_routes_back_where_a_limit_finds_it(
    limits: dict[str, str], bad: Behaviour
) -> None:
    mesh = focused()
    mesh.set_policy(judge=mesh.read(POLICY)["spec"]["judge"] | {"limits": limits})
    loop = await until_everybodys_stage(mesh)
    mesh.audiences[INSIDERS].behaviours["v2"] = bad
    await loop.until(lambda: weights(mesh) == (0, 0), cycles=20)
    status = mesh.read(POLICY)["status"]
    assert (status["phase"], status["reason"]) == (Phase.ROLLED_BACK, "Harm")
    assert "On insiders, where everybody has v2: " in status["message"]
    assert status["message"].endswith("; nobody there has v1")
    assert status["evidence"]["culprit"] == "limits"


async def test_what_was_seen_of_those_who_passed_outlives_the_process() -> None:
    mesh = focused()
    mesh.set_policy(judge=mesh.read(POLICY)["spec"]["judge"] | {"limits": {"errorRate": "5%"}})
    loop = await until_everybodys_stage(mesh)
    await loop.cycle()
    await loop.cycle()
    assert loop.life is not None
    await loop.life.reconciler.checkpoint()
    before = loop.state
    assert before.passed is not None
    loop.life = None
    life = loop.begin_life()
    await life.view.refresh()
    await life.reconciler.turn()
    assert life.reconciler.state.passed_until_s == before.passed_until_s
    assert dump_state(life.reconciler.state.passed or initial_state()) == dump_state(before.passed)


async def test_a_limit_that_those_who_passed_keep_lets_the_release_go_on() -> None:
    mesh = focused()
    mesh.set_policy(judge=mesh.read(POLICY)["spec"]["judge"] | {"limits": {"errorRate": "5%", "p99": "1s"}})
    assert (await watched(mesh, Phase.PROMOTED))[-1] == (100, 100)


async def test_without_a_limit_nothing_finds_harm_to_those_who_passed_and_lint_says_so() -> None:
    """Nobody of them is on the stable version: there is nothing to compare with at the same instants."""
    mesh = focused()
    loop = await until_everybodys_stage(mesh)
    mesh.audiences[INSIDERS].behaviours["v2"] = Behaviour(error_rate=0.5)
    await loop.until(lambda: loop.phase == Phase.PROMOTED)
    found = lint_files([], stdin=yaml.safe_dump(mesh.read(POLICY)))
    assert [finding.code for finding in found] == [Code.PASSED_UNWATCHED]
