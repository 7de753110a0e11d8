"""Strict reading of one line's values: nothing is guessed, and each fault says how to mend it."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from analyzer.policy.findings import suggest
from analyzer.policy.quantities import show

MAX_COUNT: Final = 2**53
"""Above it, JSON numbers lose their last digit in most programs."""

_GAP: Final = "leave the interval out: absent intervals are gaps"

Obj = Mapping[str, Any]


class Fault(Exception):
    """What is wrong with a line, and how to mend it."""

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(f"{message}; {mend}")


def _refuse_constant(name: str) -> NoReturn:
    raise Fault(f"{name} is no number", f"write a number, or {_GAP}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) != len(pairs):
        twice = next(name for place, (name, _) in enumerate(pairs) if name in dict(pairs[:place]))
        raise Fault(f"the key {show(twice)} is there twice", "keep one of the two")
    return built


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_unique)


def parse_object(raw: bytes) -> dict[str, Any]:
    """Read one JSON object.

    Raises
    ------
    Fault
        It is none, or has a key twice.
    """
    try:
        value = _DECODER.decode(raw.decode("utf-8").rstrip("\r\n"))
    except UnicodeDecodeError as error:
        raise Fault(f"byte {error.start + 1} is not UTF-8", "save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise Fault(f"this is not JSON: {error.msg} at column {error.colno}", "write one whole object a line") from None
    except (ValueError, RecursionError) as error:
        raise Fault(f"this is not JSON that can be read: {error}", "write one whole object a line") from None
    if not isinstance(value, dict):
        raise Fault(f"{show(value)} is no object", 'write `{"rollout": …}`')
    return value


def check_keys(obj: Obj, known: Mapping[str, bool], *, where: str = "") -> None:
    """Hold an object to its fields; `known` tells for each whether it must be there."""
    for name in obj:
        if name not in known:
            raise Fault(f"there is no field {show(at(where, name))}", suggest(name, list(known)))
    for name, needed in known.items():
        if needed and name not in obj:
            raise Fault(f"`{at(where, name)}` is missing", f'add `"{name}": …`')


def at(where: str, name: str) -> str:
    """Write the way to a field."""
    return f"{where}.{name}" if where else name


def read_object(obj: Obj, name: str) -> dict[str, Any]:
    """Read a nested object."""
    value = obj[name]
    if not isinstance(value, dict):
        raise Fault(f"`{name}`: {show(value)} is no object", "write `{…}`")
    return value


def read_text(obj: Obj, name: str) -> str:
    """Read a name."""
    value = obj[name]
    if not isinstance(value, str) or not value:
        raise Fault(f"`{name}`: {show(value)} is no name", "write a string in quotes, not an empty one")
    return value


def read_number(
    obj: Obj, name: str, *, where: str = "", lowest: float = -math.inf, highest: float = math.inf, wanted: str = ""
) -> float:
    """Read a finite number within bounds; `wanted` says which, for people."""
    value = obj[name]
    if type(value) is not float and type(value) is not int:
        raise Fault(f"`{at(where, name)}`: {_named(value)} is no number", "write a number, without quotes")
    number = _finite(value, at(where, name))
    if not lowest <= number <= highest:
        raise Fault(f"`{at(where, name)}`: {value} is out of range", f"write a number {wanted}")
    return number


def read_count(obj: Obj, name: str, *, where: str = "") -> int:
    """Read a whole number, 0 or more."""
    value = obj[name]
    if type(value) is int and 0 <= value <= MAX_COUNT:
        return value
    return _count(value, at(where, name))


def read_counts(values: object, where: str) -> list[int]:
    """Read a list of whole numbers, 0 or more each."""
    if not isinstance(values, list):
        raise Fault(f"`{where}`: {show(values)} is no list", "write `[…]`")
    if values and ({*map(type, values)} != {int} or min(values) < 0 or max(values) > MAX_COUNT):
        return [_count(value, f"{where}[{place}]") for place, value in enumerate(values)]
    return values


def check_length(values: Sequence[object], wanted: int, *, where: str, why: str) -> None:
    """Hold a list to its length."""
    if len(values) != wanted:
        raise Fault(f"`{where}` has {len(values)} entries, and {why}", f"write {wanted}")


def _count(value: object, where: str) -> int:
    if type(value) is not int and type(value) is not float:
        raise Fault(f"`{where}`: {_named(value)} is no count", "write a whole number, without quotes")
    number = _finite(value, where)
    if number < 0:
        raise Fault(f"`{where}`: {value} is negative", "write counts of the interval alone, not differences of resets")
    if number != math.floor(number):
        raise Fault(f"`{where}`: {value} is no whole number", "write counts, not rates")
    if number > MAX_COUNT:
        raise Fault(f"`{where}`: {value} is above 2^53", "write counts of the interval alone, not running totals")
    return int(number)


def _finite(value: float, where: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Fault(f"`{where}` is too large for a number", f"write a smaller one, or {_GAP}")
    return number


def _named(value: object) -> str:
    return f'the string "{value}"' if isinstance(value, str) and len(value) <= 60 else show(value)
