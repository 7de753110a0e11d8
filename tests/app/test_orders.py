"""What is ordered from the judge: which routes' telemetry a stage is judged on."""

import copy
from typing import Any

import pytest

from analyzer.app.judging import JudgeOrder
from tests.app.loop import ROUTE, Loop
from tests.app.test_turns import quick_mesh


async def order_for(routes: dict[str | None, bool]) -> JudgeOrder:
    """Order for a stage that names no route, where these routes split both versions, or lead to v1 alone."""
    mesh = quick_mesh()
    mesh.set_policy(stages=[{"weights": [10, 50, 100]}])
    service = mesh.read(ROUTE)
    [split] = service["spec"]["http"]
    service["spec"]["http"] = [_route(split, name, both=both) for name, both in routes.items()]
    mesh.cluster.apply(service)
    loop = Loop(mesh)
    await loop.cycle()
    assert loop.life is not None
    assert loop.life.result is not None
    order = loop.life.result.order
    assert order is not None
    return order


def _route(split: dict[str, Any], name: str | None, *, both: bool) -> dict[str, Any]:
    route = copy.deepcopy(split)
    route.pop("name", None)
    if name is not None:
        route["name"] = name
    route["match"] = [{"uri": {"prefix": f"/{name}"}}]
    if not both:
        route["route"] = [entry for entry in route["route"] if entry["destination"]["subset"] == "v1"]
    return route


@pytest.mark.parametrize(
    ("routes", "judged"),
    [
        ({"beta": True, "primary": True, "legacy": False}, {"beta", "primary"}),
        ({"primary": True, "legacy": False}, {"primary"}),
        ({"beta": True, "primary": True}, None),  # nobody else is served by these versions
        ({"primary": True, None: True}, None),
    ],
)
async def test_a_stage_is_judged_on_all_of_its_routes_together(
    routes: dict[str | None, bool], judged: set[str] | None
) -> None:
    order = await order_for(routes)
    assert order.demand.routes == (None if judged is None else frozenset(judged))
    assert not order.settings.sticky_users
