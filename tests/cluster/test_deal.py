"""In which order the tests are given out."""

from collections.abc import Sequence

import pytest

from tests.cluster.conftest import deal


def parts(items: Sequence[str], workers: int) -> list[list[str]]:
    """Part a list as pytest-xdist does."""
    given: list[list[str]] = []
    rest = list(items)
    for worker in range(workers):
        size = len(rest) // (workers - worker)
        given.append(rest[:size])
        rest = rest[size:]
    return given


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_each_worker_begins_with_its_share_of_the_long_ones(workers: int) -> None:
    items = [f"quick{n}" for n in range(50)] + [f"long{n}" for n in range(9)]
    dealt = deal(items, workers=workers, long=lambda item: int(item[4:]) if item.startswith("long") else None)
    assert sorted(dealt) == sorted(items)
    for worker, part in enumerate(parts(dealt, workers)):
        own = [f"long{n}" for n in range(worker, 9, workers)]
        assert part[: len(own)] == own
        assert not any(item.startswith("long") for item in part[len(own) :])


def test_more_long_ones_than_a_part_holds_are_all_given_out() -> None:
    items = [f"long{n}" for n in range(5)] + ["quick"]
    dealt = deal(items, workers=3, long=lambda item: int(item[4:]) if item.startswith("long") else None)
    assert sorted(dealt) == sorted(items)
