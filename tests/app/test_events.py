from dataclasses import replace
from typing import Any

import pytest

from analyzer.adapters.memory import MemoryCluster
from analyzer.app.alerts import event_of
from analyzer.core.rollout import Notice, Urgency
from analyzer.ports import EVENT, Object
from tests.fakes import ManualClock

AT = "2026-11-20T10:00:00Z"


def policy(name: str = "helloworld") -> Object:
    return {"metadata": {"namespace": "shop", "name": name, "uid": "5e9b2a4e"}}


NOTICE = Notice(
    rollout="v2",
    reason="RolledBack",
    urgency=Urgency.PAGE,
    what="v2 was rolled back",
    evidence="errors 0.1 % and 4 %",
    done="weights 100:0",
    at_s=1.0,
)


def notice(**changes: Any) -> Notice:
    return replace(NOTICE, **changes)


@pytest.mark.parametrize(
    "event",
    [
        event_of(notice(), policy(), at=AT, instance="serin-0"),
        event_of(notice(what="2 × slower … " * 100), policy(), at=AT, instance="serin-0"),
        event_of(notice(), policy("a" * 253), at=AT, instance="serin-0"),
        event_of(notice(), policy(f"{'a' * 234}.{'b' * 18}"), at=AT, instance="serin-0"),
        event_of(notice(), policy(), at=AT, instance="i" * 253),
        event_of(notice(), policy(), at=AT, instance=""),
    ],
    ids=["usual", "a long note", "a long name", "a dot where it is cut", "a long instance", "no instance"],
)
async def test_the_api_server_takes_every_event(event: Object) -> None:
    made = await MemoryCluster(ManualClock()).create(EVENT, event)
    assert len(made["metadata"]["name"]) <= 253


def test_a_note_is_cut_between_characters() -> None:
    note = event_of(notice(what="ä" * 600), policy(), at=AT, instance="serin-0")["note"]
    assert note == "ä" * 510 + "…"


def test_events_of_different_notices_have_different_names() -> None:
    names = {
        event_of(notice(at_s=at_s), policy("a" * 253), at=AT, instance="serin-0")["metadata"]["name"]
        for at_s in (1.0, 2.0)
    }
    assert len(names) == 2
