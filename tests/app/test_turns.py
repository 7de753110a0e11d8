"""Whole turns: real ledger, judge, decision and writes, against a model mesh on manual time."""

from typing import Any

from tests.app.loop import Loop
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
