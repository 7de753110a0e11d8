"""Hours by the clocks on the wall: over midnight, over the change to and from daylight saving, and until when it is closed."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analyzer.policy.schedule import closed, parse_dates, parse_hours

ZURICH = "Europe/Zurich"
WORK = "Mon-Fri 09:00-17:00"


def at(text: str, *, zone: str = ZURICH, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def said(now_s: float, *forward: str, freeze: tuple[str, ...] = (), zone: str = ZURICH) -> str:
    return closed(
        zone=zone,
        forward=[parse_hours(text) for text in forward],
        freeze=[parse_dates(text) for text in freeze],
        now_s=now_s,
    )


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-11-27 08:59:59", "Fri 09:00"),
        ("2026-11-27 09:00", ""),
        ("2026-11-27 16:59:59", ""),
        ("2026-11-27 17:00", "Mon 09:00"),
        ("2026-11-28 12:00", "Mon 09:00"),
    ],
)
def test_working_hours_are_open_and_it_says_until_when_they_are_not(now: str, until: str) -> None:
    expected = f"outside the hours of spec.schedule: closed until {until} (Europe/Zurich)" if until else ""
    assert said(at(now), WORK) == expected


def test_hours_over_midnight_belong_to_the_day_on_which_they_begin() -> None:
    for now, opened in (
        ("2026-11-27 21:59", False),
        ("2026-11-27 22:00", True),
        ("2026-11-28 05:59", True),
        ("2026-11-28 06:00", False),
        ("2026-11-28 22:30", False),
        ("2026-11-29 00:30", False),
    ):
        assert (said(at(now), "Fri 22:00-06:00") == "") == opened, now
    assert said(at("2026-11-30 03:00"), "Sun 22:00-06:00") == "", "the week ends in the night to Monday"


def test_a_day_ends_at_midnight_and_days_may_wrap_round_the_week() -> None:
    assert said(at("2026-11-28 23:59:59"), "Sat-Mon 12:00-24:00") == ""
    assert said(at("2026-11-29 12:00"), "Sat-Mon 12:00-24:00") == ""
    assert "Sat 12:00" in said(at("2026-12-01 12:00"), "Sat-Mon 12:00-24:00")


def test_a_freeze_closes_whole_days_whatever_the_hours() -> None:
    freeze = ("2026-12-24/2027-01-02",)
    text = said(at("2026-12-28 10:00"), WORK, freeze=freeze)
    assert text == ("`freeze` of spec.schedule (2026-12-24/2027-01-02): closed until 2027-01-04 09:00 (Europe/Zurich)")
    assert said(at("2026-12-24 10:00"), freeze=freeze).endswith("closed until 2027-01-03 00:00 (Europe/Zurich)")
    assert said(at("2026-12-23 23:59"), freeze=freeze) == ""
    assert said(at("2027-01-03 00:00"), freeze=freeze) == ""


def test_hours_that_daylight_saving_skips_open_when_the_clocks_have_moved() -> None:
    skipped = "Sun 02:00-03:00"  # on 29 March 2026 it is 03:00 after 01:59
    assert "2026-04-05 02:00" in said(at("2026-03-29 01:30"), skipped)
    assert "2026-04-05 02:00" in said(at("2026-03-29 03:30"), skipped)
    assert said(at("2026-03-29 01:30"), "Sun 02:30-05:00").endswith("closed until Sun 03:00 (Europe/Zurich)")
    assert said(at("2026-03-29 03:00"), "Sun 02:30-05:00") == "", "at 03:00 it is past 02:30"


def test_hours_that_daylight_saving_repeats_are_open_twice() -> None:
    for fold in (0, 1):  # on 25 October 2026 it is 02:00 after 02:59
        assert said(at("2026-10-25 02:30", fold=fold), "Sun 02:00-03:00") == ""
        assert said(at("2026-10-25 03:00", fold=fold), "Sun 02:00-03:00") != ""


def test_a_schedule_that_never_opens_says_so() -> None:
    assert said(at("2026-11-28 12:00"), WORK, freeze=("2026-01-01/2099-12-31",)).endswith(
        "and it never opens again (Europe/Zurich)"
    )


HOURS = st.sampled_from([WORK, "Fri 22:00-06:00", "Sun 02:00-03:00", "Sun 02:30-05:00", "Mon,Wed-Thu 00:00-24:00"])


@example(minute=105420, hours=["Sun 02:30-05:00"], frozen=[], zone="Africa/Casablanca")  # opens in a skipped hour
@given(
    minute=st.integers(0, 366 * 24 * 60),
    hours=st.lists(HOURS, min_size=1, max_size=3, unique=True),
    frozen=st.lists(st.dates(datetime(2026, 1, 1).date(), datetime(2026, 12, 31).date()), max_size=3),  # noqa: DTZ001
    zone=st.sampled_from([ZURICH, "UTC", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca"]),
)
def test_it_is_open_from_the_moment_it_names_and_not_before(
    minute: int, hours: list[str], frozen: list[object], zone: str
) -> None:
    start = datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")).timestamp()
    freeze = tuple(str(day) for day in frozen)
    now_s = start + 60 * minute
    text = said(now_s, *hours, freeze=freeze, zone=zone)
    if not text:
        return
    step = timedelta(minutes=30).total_seconds()
    tries = 0
    while said(now_s := (now_s // step + 1) * step, *hours, freeze=freeze, zone=zone):
        tries += 1
        assert tries < 40 * 48, "none of these schedules is closed for so long"
    opened = datetime.fromtimestamp(now_s, ZoneInfo(zone))
    assert f"{opened:%H:%M} ({zone})" in text
