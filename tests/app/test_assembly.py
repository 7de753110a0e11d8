"""The daemon as it is put together from its settings."""

from typing import Any

import pytest

from analyzer.adapters.memory import MemoryCluster
from analyzer.assembly import Settings, assemble
from tests.fakes import ManualClock


@pytest.mark.parametrize(
    ("leads", "settings"),
    [
        (0.0, {"leader_elect": True}),
        (1.0, {"leader_elect": False}),
        (1.0, {"leader_elect": True, "dry_run": True}),
    ],
)
async def test_who_asks_nobody_shows_that_it_leads(leads: float, settings: dict[str, Any]) -> None:
    """Or the alert on a Serin without a leader would sound for ever where there is no Lease."""
    clock = ManualClock()
    async with assemble(MemoryCluster(clock), Settings("http://127.0.0.1:1", **settings)) as made:
        assert made.metrics.registry.get_sample_value("serin_leader") == leads
