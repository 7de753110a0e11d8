"""Hours in which steps forward may be made, as people write them: `Mon-Fri 09:00-17:00`, and days on which none may.

All by the clocks on the wall of one time zone: an hour that daylight saving skips is not there, and one that it repeats is
there twice.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from analyzer.policy.findings import Code
from analyzer.policy.quantities import fault, show
from analyzer.policy.server import SERVER_RULES, server_rule

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY: Final = f"({'|'.join(DAYS)})"
_HOUR: Final = r"([01][0-9]|2[0-3]):[0-5][0-9]"
HOURS_PATTERN: Final = rf"^{_DAY}(-{_DAY})?(,{_DAY}(-{_DAY})?)* {_HOUR}-({_HOUR}|24:00)$"
DATES_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(/[0-9]{4}-[0-9]{2}-[0-9]{2})?$"
ZONE_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_+/-]*$"

_DAY_MINUTES: Final = 24 * 60
_AHEAD_DAYS: Final = 800
"""A schedule that does not open within this time is one that never does, for a release."""


@dataclass(frozen=True, slots=True)
class Hours:
    """Some hours of some days of the week.

    Attributes
    ----------
    text
        As written.
    days
        Those on which they begin; Monday is 0.
    begin, end
        Minutes after midnight; an end at or before the beginning is on the next day.
    """

    text: str
    days: frozenset[int]
    begin: int
    end: int

    @property
    def minutes(self) -> int:
        """How long it lasts on an ordinary day [min]."""
        return (self.end - self.begin) % _DAY_MINUTES or _DAY_MINUTES

    def has(self, local: datetime) -> bool:
        """Tell whether they include a time on the wall."""
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        return (day in self.days and minute >= self.begin) or ((day - 1) % 7 in self.days and minute < self.end)


@dataclass(frozen=True, slots=True)
class Dates:
    """Days from the first to the last, both included."""

    text: str
    first: date
    last: date


# --- reading ----------------------------------------------------------------------------------------------------------


def parse_hours(text: str) -> Hours:
    """Read hours.

    Raises
    ------
    ValueError
        With what is wrong.
    """
    if not re.fullmatch(HOURS_PATTERN, text):
        raise ValueError(f"{show(text)} are no hours")
    days, times = text.split(" ")
    begin, end = (_minutes(part) for part in times.split("-"))
    if begin == end:
        raise ValueError(f"{show(text)} is empty: it begins and ends at {times.split('-')[0]}")
    return Hours(text, frozenset(day for part in days.split(",") for day in _days(part)), begin, end)


def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _days(text: str) -> Iterator[int]:
    first, _, last = text.partition("-")
    begin, end = DAYS.index(first), DAYS.index(last or first)
    return (day % 7 for day in range(begin, end + 1 if end >= begin else end + 8))


def parse_dates(text: str) -> Dates:
    """Read a day, or the first and the last of some.

    Raises
    ------
    ValueError
        With what is wrong.
    """
    if not re.fullmatch(DATES_PATTERN, text):
        raise ValueError(f"{show(text)} are no days")
    try:
        first, last = (date.fromisoformat(part) for part in (text.split("/") * 2)[:2])
    except ValueError as error:
        raise ValueError(f"{show(text)} are no days of the calendar ({error})") from None
    if "/" in text:
        first, last = (date.fromisoformat(part) for part in text.split("/"))
    if last < first:
        raise ValueError(f"{show(text)} ends before it begins")
    return Dates(text, first, last)


def find_zone(name: str) -> ZoneInfo:
    """Find a time zone.

    Raises
    ------
    ValueError
        There is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {show(name)}") from None


# --- the schedule -----------------------------------------------------------------------------------------------------


def closed(*, zone: str, forward: Sequence[Hours], freeze: Sequence[Dates], now_s: float) -> str:
    """Say why no step forward may be made now, and until when; empty where one may.

    Parameters
    ----------
    zone
        Name of the time zone that all is written in.
    forward
        Hours in which steps may be made; none: at any hour.
    freeze
        Days on which none may, whatever the hours.
    now_s
        The time [unix seconds].
    """
    where = find_zone(zone)
    now = datetime.fromtimestamp(now_s, where)
    frozen = _frozen(now, freeze)
    if not frozen and _within(now, forward):
        return ""
    why = f"`freeze` of spec.schedule ({frozen})" if frozen else "outside the hours of spec.schedule"
    opens = _next_opening(now, where, forward, freeze)
    until = f"closed until {_say(opens, now)}" if opens is not None else "and it never opens again"
    return f"{why}: {until} ({zone})"


def _within(local: datetime, forward: Sequence[Hours]) -> bool:
    return not forward or any(hours.has(local) for hours in forward)


def _frozen(local: datetime, freeze: Sequence[Dates]) -> str:
    return next((dates.text for dates in freeze if dates.first <= local.date() <= dates.last), "")


def _next_opening(now: datetime, zone: ZoneInfo, forward: Sequence[Hours], freeze: Sequence[Dates]) -> datetime | None:
    """Find the first moment after now at which all is open: it is a midnight, or the beginning of some hours."""
    begins = sorted({0, *(hours.begin for hours in forward)})
    for days in range(_AHEAD_DAYS):
        day = now.date() + timedelta(days=days)
        for minute in begins:
            moment = _on_the_clock(datetime.combine(day, time(*divmod(minute, 60)), zone))
            if moment > now and not _frozen(moment, freeze) and _within(moment, forward):
                return moment
    return None


def _on_the_clock(local: datetime) -> datetime:
    """Give the moment at which clocks show a local time or, where daylight saving skips it, a later one for the first time."""
    shown = local.astimezone(UTC).astimezone(local.tzinfo)
    if shown.replace(tzinfo=None) == local.replace(tzinfo=None):
        return shown
    after = local.replace(fold=1).utcoffset()  # in a gap, fold 1 reads by the offset on its later side (PEP 495)
    moment = local.astimezone(UTC)
    while (earlier := moment - timedelta(minutes=1)).astimezone(local.tzinfo).utcoffset() == after:
        moment = earlier
    return moment.astimezone(local.tzinfo)


def _say(moment: datetime, now: datetime) -> str:
    near = (moment.date() - now.date()).days < len(DAYS)
    return f"{DAYS[moment.weekday()]} {moment:%H:%M}" if near else f"{moment:%Y-%m-%d %H:%M}"


# --- fields -----------------------------------------------------------------------------------------------------------

_Read = TypeVar("_Read")

_HOURS_MEND: Final = "write it like `Mon-Fri 09:00-17:00`; hours that end on the next day like `Fri 22:00-06:00`"
_DATES_MEND: Final = "write it like `2026-12-24` or `2026-12-24/2027-01-02`, the last day included"
_ZONE_MEND: Final = "write the name from the tz database, `Europe/Zurich` or `UTC`"


# In CEL. Of time zones the API server has no list that can be relied on; the daemon refuses an unknown one.
_NOT_EMPTY: Final = "self.split(' ')[1].split('-')[0] != self.split(' ')[1].split('-')[1]"
_IN_ORDER: Final = (
    "self.split('/').all(day, timestamp(day + 'T00:00:00Z') <= timestamp(self.split('/')[size(self.split('/')) - 1] "
    "+ 'T00:00:00Z'))"
)


def _field(parse: Callable[[str], _Read], mend: str) -> PlainValidator:
    def read(value: object) -> object:
        if not isinstance(value, str):
            raise fault(Code.WRONG_VALUE, f"{show(value)} is not a string", mend)
        try:
            return parse(value)
        except ValueError as error:
            raise fault(Code.WRONG_VALUE, str(error), mend) from None

    return PlainValidator(read)


def _schema(pattern: str, longest: int, what: str, mend: str, *, also: str = "true") -> WithJsonSchema:
    rules = [server_rule(f"self.matches(r'{pattern}') && {also}", what, mend)]
    return WithJsonSchema({"type": "string", "pattern": pattern, "maxLength": longest, SERVER_RULES: rules})


def _zone_name(text: str) -> str:
    return find_zone(text).key


HoursField = Annotated[
    Hours,
    _field(parse_hours, _HOURS_MEND),
    PlainSerializer(lambda hours: hours.text, return_type=str),
    _schema(HOURS_PATTERN, 60, "are no hours", _HOURS_MEND, also=_NOT_EMPTY),
]
DatesField = Annotated[
    Dates,
    _field(parse_dates, _DATES_MEND),
    PlainSerializer(lambda dates: dates.text, return_type=str),
    _schema(DATES_PATTERN, 21, "are no days", _DATES_MEND, also=_IN_ORDER),
]
ZoneName = Annotated[
    str,
    _field(_zone_name, _ZONE_MEND),
    _schema(ZONE_PATTERN, 64, "is no time zone", _ZONE_MEND),
]
