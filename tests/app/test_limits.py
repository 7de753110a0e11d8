"""Absolute limits in the daemon: a canary beyond one is rolled back though the stable version is no better."""

import pytest

from tests.app.loop import POLICY, Loop
from tests.app.model import Behaviour
from tests.app.test_turns import QUICK, quick_mesh


def both(behaviour: Behaviour, **limits: str) -> Loop:
    """Let both versions be the same, with these limits."""
    mesh = quick_mesh()
    mesh.set_policy(judge={**QUICK["judge"], "limits": limits})
    mesh.behaviours = {"v1": behaviour, "v2": behaviour}
    return Loop(mesh)


@pytest.mark.parametrize(
    ("behaviour", "limits", "says"),
    [
        (Behaviour(error_rate=0.08), {"errorRate": "5%"}, "), and spec.judge.limits.errorRate allows 5 %,"),
        (
            Behaviour(median_ms=600.0),
            {"p99": "800ms"},
            "is above the 800 ms that spec.judge.limits.p99 allows, tested at",
        ),
    ],
)
async def test_a_canary_beyond_a_limit_is_rolled_back_with_the_limit_and_what_was_seen(
    behaviour: Behaviour, limits: dict[str, str], says: str
) -> None:
    loop = both(behaviour, **limits)
    await loop.until(lambda: loop.phase == "RolledBack")
    assert says in loop.state.message
    status = loop.mesh.read(POLICY)["status"]
    assert status["evidence"]["culprit"] == "limits"
    assert max(status["evidence"]["limits"].values()) > 4
    [page] = [e["message"] for e in status["history"] if e["reason"] == "RolledBack"]
    assert says in page


async def test_a_canary_within_its_limits_is_promoted() -> None:
    loop = both(Behaviour(), errorRate="5%", p99="500ms")
    await loop.until(lambda: loop.phase == "Promoted")
