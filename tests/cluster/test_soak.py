"""What the soak finds in curves that are made up, and in an audit log."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.audit import OpenWatches
from tests.cluster.soak import Look, find_growth

FLAT = Look(minute=0, memory_mb=100, tasks=30, connections=10, watches=8, sockets=20, files=25, threads=15, releases=0)
COUNTED = ("tasks", "connections", "watches", "sockets", "files", "threads")
Curve = Callable[[int], float]


def looks(**curves: Curve) -> list[Look]:
    """A look each minute of an hour, flat but for what a curve gives for the minute."""
    shown: list[Look] = []
    for minute in range(60):
        values: dict[str, Any] = {name: curve(minute) for name, curve in curves.items()}
        shown.append(replace(FLAT, minute=minute, **values))
    return shown


def test_what_is_flat_did_not_grow() -> None:
    assert find_growth(looks()) == []


def test_a_leak_of_a_few_kilobytes_a_release_is_found() -> None:
    (said,) = find_growth(looks(memory_mb=lambda minute: 100 + 0.1 * minute))
    assert said == "memory: 102.0 MB to 105.4 MB"


def test_what_is_below_two_per_cent_is_not_called_growth() -> None:
    assert find_growth(looks(memory_mb=lambda minute: 100 + 0.03 * minute)) == []


def test_what_was_taken_while_it_warmed_up_is_not_called_growth() -> None:
    assert find_growth(looks(memory_mb=lambda minute: 60 + 4 * min(minute, 14))) == []


def test_a_collection_that_comes_late_does_not_hide_a_leak_nor_make_one() -> None:
    saw = [0.0, 1.5, 3.0, 4.5]  # MB until the next collection, all the time
    assert find_growth(looks(memory_mb=lambda minute: 100 + saw[minute % 4])) == []
    (said,) = find_growth(looks(memory_mb=lambda minute: 100 + saw[minute % 4] + 0.1 * minute))
    assert said.startswith("memory")


@pytest.mark.parametrize("name", COUNTED)
def test_one_more_that_stays_is_found(name: str) -> None:
    before = getattr(FLAT, name)
    (said,) = find_growth(looks(**{name: lambda minute: before + (minute > 40)}))
    assert said == f"{name}: {before} to {before + 1}, at the least"


@pytest.mark.parametrize("name", COUNTED)
def test_more_of_it_now_and_then_is_no_growth(name: str) -> None:
    before = getattr(FLAT, name)
    assert find_growth(looks(**{name: lambda minute: before + 3 * (minute % 2)})) == []


def test_fewer_are_no_growth() -> None:
    assert find_growth(looks(watches=lambda minute: 8 - (minute > 40))) == []


def test_watches_are_open_from_their_begin_to_their_end_whoever_else_watches(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text(line("of a run before", "ResponseStarted"))
    watches = OpenWatches(path)
    assert watches.count() == 0
    with path.open("a") as log:
        log.write(line("a", "ResponseStarted") + line("b", "ResponseStarted"))
        log.write(line("istiod's", "ResponseStarted", agent="pilot-discovery/v0"))
        log.write(line("refused", "ResponseComplete"))
        log.write(line("a list", "ResponseComplete", verb="list"))
        log.flush()
        assert watches.count() == 2
        late = line("c", "ResponseStarted")
        log.write(line("a", "ResponseComplete") + late[:40])  # the server is still writing
        log.flush()
        assert watches.count() == 1
        log.write(late[40:])
        log.flush()
        assert watches.count() == 2


def line(audit_id: str, stage: str, *, verb: str = "watch", agent: str = "serin/0.1.0") -> str:
    event = {"auditID": audit_id, "stage": stage, "verb": verb, "userAgent": agent}
    return json.dumps(event, separators=(",", ":")) + "\n"
