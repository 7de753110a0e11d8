"""Quantities with units, as people write them: `90s`, `0.1%`.

A bare number is refused: `10` has been taken for seconds, minutes and milliseconds by three tools in a row.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Final

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from analyzer.policy.findings import Code
from analyzer.policy.server import SERVER_RULES, server_rule

_SECONDS: Final = {
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("1e-3"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),  # U+00B5
    "μs": Decimal("1e-6"),  # U+03BC, which Go takes too
    "ns": Decimal("1e-9"),
}
_NUMBER: Final = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_PART: Final = re.compile(rf"({_NUMBER})(h|ms|m|s|us|µs|μs|ns)")
DURATION_PATTERN: Final = rf"^({_NUMBER}(h|ms|m|s|us|µs|μs|ns))+$"
PERCENT_PATTERN: Final = rf"^{_NUMBER}%$"
_LONGEST_DURATION: Final = 64
_LONGEST_PERCENT: Final = 20  # what the pattern allows
_BARE: Final = re.compile(rf"^-?{_NUMBER}$")


def fault(code: Code, message: str, mend: str, *, at: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """Make the error that our own validators raise; `at` leads on from the field to the culprit inside it."""
    return PydanticCustomError("serin", "{message}", {"code": code, "message": message, "mend": mend, "at": at})


def show(value: object) -> str:
    """Write a value as in YAML, briefly."""
    names: dict[object, str] = {None: "null"}
    if isinstance(value, bool) or value is None:
        return names.get(value, str(value).lower())
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = str(value)
    return f"`{text if len(text) <= 60 else text[:57] + '…'}`"


# --- durations --------------------------------------------------------------------------------------------------------


def parse_duration(text: str) -> float:
    """Read a duration as Go writes it, in seconds.

    Raises
    ------
    ValueError
        It is not one.
    """
    if len(text) > _LONGEST_DURATION or re.fullmatch(DURATION_PATTERN, text) is None:
        raise ValueError(text)
    return float(sum(Decimal(number) * _SECONDS[unit] for number, unit in _PART.findall(text)))


def format_duration(seconds: float) -> str:
    """Write seconds as a duration that reads back exactly."""
    rest = Decimal(repr(seconds))
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if rest and not (hours or minutes) and rest < 1:
        return f"{_plain(rest * 1000)}ms"
    parts = [f"{hours}h" if hours else "", f"{minutes}m" if minutes else "", f"{_plain(rest)}s" if rest else ""]
    return "".join(parts) or "0s"


def _duration(*, positive: bool) -> Callable[[object], float]:
    def read(value: object) -> float:
        bare = not isinstance(value, bool) and isinstance(value, (int, float, str)) and _BARE.match(str(value).strip())
        if bare:
            number = str(value).strip().removeprefix("-")
            raise fault(
                Code.WRONG_UNIT, f"{show(value)} has no unit", f"write `{number}s` (or `{number}m`, `{number}ms`)"
            )
        try:
            seconds = parse_duration(value if isinstance(value, str) else "")
        except ValueError:
            message = f"{show(value)} is not a duration"
            raise fault(Code.WRONG_UNIT, message, "write it like `30s`, `1m30s` or `500ms`") from None
        if positive and not seconds:
            raise fault(Code.WRONG_VALUE, f"{show(value)} must be longer than nothing", "write a duration like `30s`")
        return seconds

    return read


def _duration_schema(*, positive: bool) -> WithJsonSchema:
    rules = [
        server_rule(
            f"self.matches(r'{DURATION_PATTERN}')", "is not a duration", "write it like `30s`, `1m30s` or `500ms`"
        )
    ]
    if positive:
        rules.append(server_rule("self.matches('[1-9]')", "must be longer than nothing", "write a duration like `30s`"))
    return WithJsonSchema(
        {
            "type": "string",
            "pattern": DURATION_PATTERN,
            "maxLength": _LONGEST_DURATION,
            "examples": ["30s", "1m30s", "500ms"],
            SERVER_RULES: rules,
        }
    )


Duration = Annotated[
    float,
    PlainValidator(_duration(positive=False)),
    PlainSerializer(format_duration),
    _duration_schema(positive=False),
]
"""Seconds ≥ 0, written `1m30s`."""
PositiveDuration = Annotated[
    float,
    PlainValidator(_duration(positive=True)),
    PlainSerializer(format_duration),
    _duration_schema(positive=True),
]
"""Seconds > 0, written `1m30s`."""


# --- percentages ------------------------------------------------------------------------------------------------------


def parse_percent(text: str) -> float:
    """Read a percentage as a ratio.

    Raises
    ------
    ValueError
        It is not one.
    """
    if re.fullmatch(PERCENT_PATTERN, text) is None:
        raise ValueError(text)
    return float(Decimal(text.removesuffix("%")) / 100)


def format_percent(ratio: float) -> str:
    """Write a ratio as a percentage that reads back exactly."""
    return f"{_plain(Decimal(repr(ratio)) * 100)}%"


def _percent(*, positive: bool, highest: str) -> Callable[[object], float]:
    def read(value: object) -> float:
        if not isinstance(value, bool) and isinstance(value, (int, float, str)) and _BARE.match(str(value).strip()):
            number = str(value).strip().removeprefix("-")
            raise fault(Code.WRONG_UNIT, f"{show(value)} has no unit", f"write `{number}%`{_as_ratio(number)}")
        try:
            ratio = parse_percent(value if isinstance(value, str) else "")
        except ValueError:
            message = f"{show(value)} is not a percentage"
            raise fault(Code.WRONG_UNIT, message, "write it like `10%` or `0.1%`") from None
        if ratio > parse_percent(highest) or (positive and not ratio):
            mend = _percent_bounds(positive=positive, highest=highest)
            raise fault(Code.WRONG_VALUE, f"{show(value)} is out of range", mend)
        return ratio

    return read


def _percent_bounds(*, positive: bool, highest: str) -> str:
    return f"write more than 0% and at most {highest}" if positive else f"write at most {highest}"


def _as_ratio(number: str) -> str:
    """Offer the other reading of a fraction: `0.1` may be meant as 10 %."""
    value = Decimal(number)
    return f", or `{_plain(value * 100)}%` if a share of 1 is meant" if 0 < value < 1 else ""


def _plain(number: Decimal) -> str:
    """Write a number without exponent and without needless zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _percent_schema(*, positive: bool, highest: str) -> WithJsonSchema:
    in_range = f"double(self.substring(0, size(self) - 1)) <= {parse_percent(highest) * 100}"
    above_zero = " && self.matches('[1-9]')" if positive else ""
    return WithJsonSchema(
        {
            "type": "string",
            "pattern": PERCENT_PATTERN,
            "maxLength": _LONGEST_PERCENT,
            "examples": ["10%", "0.1%"],
            SERVER_RULES: [
                server_rule(
                    f"self.matches(r'{PERCENT_PATTERN}')", "is not a percentage", "write it like `10%` or `0.1%`"
                ),
                server_rule(
                    f"!self.matches(r'{PERCENT_PATTERN}') || ({in_range}{above_zero})",
                    "is out of range",
                    _percent_bounds(positive=positive, highest=highest),
                ),
            ],
        }
    )


Percent = Annotated[
    float,
    PlainValidator(_percent(positive=False, highest="100%")),
    PlainSerializer(format_percent),
    _percent_schema(positive=False, highest="100%"),
]
"""A ratio from 0 to 1, written `10%`."""
PositivePercent = Annotated[
    float,
    PlainValidator(_percent(positive=True, highest="100%")),
    PlainSerializer(format_percent),
    _percent_schema(positive=True, highest="100%"),
]
"""A ratio above 0 and up to 1, written `10%`."""
RiskPercent = Annotated[
    float,
    PlainValidator(_percent(positive=True, highest="20%")),
    PlainSerializer(format_percent),
    _percent_schema(positive=True, highest="20%"),
]
"""A ratio above 0 and up to 0.2: a chance of error that a person may still call a guarantee."""
