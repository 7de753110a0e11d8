from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from analyzer.policy.quantities import (
    Duration,
    Percent,
    PositiveDuration,
    format_duration,
    format_percent,
    parse_duration,
    parse_percent,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400), ("0s", 0), ("250us", 0.00025), ("1h0m1s", 3601)],
)
def test_durations_read_as_in_go(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1 s", "1d", "1m 30s", "1s\n", "1e3s", "١s", "1s" * 40])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        parse_duration(text)


@given(st.integers(0, 10**9))
def test_durations_read_back_exactly(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@pytest.mark.parametrize(
    ("seconds", "text"), [(90.0, "1m30s"), (0.0, "0s"), (0.8, "800ms"), (7200.0, "2h"), (61.5, "1m1.5s")]
)
def test_durations_are_written_briefly(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 10**6))
def test_percentages_read_back_exactly(ppm: int) -> None:
    ratio = ppm / 10**6
    assert parse_percent(format_percent(ratio)) == ratio


def test_a_tenth_of_a_per_cent_is_exactly_a_thousandth() -> None:
    assert parse_percent("0.1%") == 0.001
    assert format_percent(0.001) == "0.1%"


@pytest.mark.parametrize("text", ["", "10", "%", "-1%", "1 %", "1e1%", "10%\n"])
def test_other_percentages_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        parse_percent(text)


def mend(kind: Any, value: object) -> str:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    (error,) = caught.value.errors()
    return str(error["ctx"]["mend"])


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Duration, 10, "write `10s` (or `10m`, `10ms`)"),
        (Duration, "10", "write `10s` (or `10m`, `10ms`)"),
        (Duration, True, "write it like `30s`, `1m30s` or `500ms`"),
        (Duration, None, "write it like `30s`, `1m30s` or `500ms`"),
        (Duration, {}, "write it like `30s`, `1m30s` or `500ms`"),
        (PositiveDuration, "0s", "write a duration like `30s`"),
        (Percent, 10, "write `10%`"),
        (Percent, 0.1, "write `0.1%`, or `10%` if a share of 1 is meant"),
        (Percent, "10s", "write it like `10%` or `0.1%`"),
        (Percent, "101%", "write at most 100%"),
        (Percent, float("nan"), "write it like `10%` or `0.1%`"),
    ],
    ids=lambda value: "" if hasattr(value, "__metadata__") else repr(value),
)
def test_the_mend_says_what_to_write(kind: Any, value: object, expected: str) -> None:
    assert mend(kind, value) == expected
