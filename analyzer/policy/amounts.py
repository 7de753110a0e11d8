"""Kubernetes quantities, as the API server writes them: `250m`, `2Gi`."""

import math
import re
from typing import Final

_QUANTITY: Final = re.compile(
    r"(?P<number>[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)(?P<suffix>n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?"
)
_SUFFIXES: Final = {
    **{
        suffix: 10.0**power
        for suffix, power in zip(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), range(-9, 21, 3), strict=True)
    },
    **{
        suffix: 2.0**power
        for suffix, power in zip(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), range(10, 70, 10), strict=True)
    },
}


def quantity(value: object) -> float | None:
    """Read a Kubernetes quantity (`250m`, `1.5`, `2Gi`, 3); None for anything else."""
    match = (
        _QUANTITY.fullmatch(str(value))
        if isinstance(value, (str, int, float)) and not isinstance(value, bool)
        else None
    )
    if match is None:
        return None
    number = float(match["number"]) * _SUFFIXES[match["suffix"] or ""]
    return number if math.isfinite(number) else None
