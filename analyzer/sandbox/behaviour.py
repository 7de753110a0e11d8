"""How a pod behaves.

It is declared in the container's environment, so that an image with other values is another version.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Self

from analyzer.errors import PolicyError

COMPANY_COOKIE: Final = "email=a@some-company-name.com"
"""What the requests of insiders carry; those of all others carry none."""

_RATIOS: Final = ("error_rate", "error_rate_insiders", "error_rate_others", "tail_share", "hang_share")
_POSITIVE: Final = ("latency_ms", "tail_ms", "warmup_seconds", "concurrency")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One version's declared behaviour; each field is the variable of the same name in capitals.

    The CPU defaults make one pod at a 50 % target of its 100m request carry (50 - 10) / 1 = 40 requests/s. So 200
    requests/s need 5 pods, half of them 3, and 20 (a 10 % canary) only 1. Four requests at a time of 22 ms each are
    about 180 requests/s: more than the HPA lets a pod see for long, less than all of the traffic, when it comes back to
    a stable version that has shrunk.

    Attributes
    ----------
    error_rate
        Share of requests answered with 500 [ratio].
    error_rate_insiders, error_rate_others
        What is added to it for requests with the company's cookie, and for all others [ratio].
    latency_ms, latency_sigma
        Median [ms] and log standard deviation of the lognormal service time; it is really slept.
    tail_share, tail_ms
        Share of requests [ratio] that take `tail_ms` (median) instead.
    hang_share
        Share of requests [ratio] that are never answered: the client has to give up.
    warmup_factor, warmup_seconds
        Latency is multiplied by `1 + factor * exp(-age / seconds)`.
    concurrency, queue_limit
        Requests served and waiting at one time; one more is refused with 503.
    cpu_base_milli, cpu_milliseconds_per_request
        CPU that the pod reports (none is burnt): base [millicores] and cost [millicore seconds per request].
    startup_seconds
        From the start of the process to readiness.
    never_ready
        The readiness probe never succeeds.
    """

    error_rate: float = 0.001
    error_rate_insiders: float = 0.0
    error_rate_others: float = 0.0
    latency_ms: float = 20.0
    latency_sigma: float = 0.4
    tail_share: float = 0.0
    tail_ms: float = 800.0
    hang_share: float = 0.0
    warmup_factor: float = 0.0
    warmup_seconds: float = 60.0
    concurrency: float = 4
    queue_limit: float = 60
    cpu_base_milli: float = 10.0
    cpu_milliseconds_per_request: float = 1.0
    startup_seconds: float = 1.0
    never_ready: float = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            if not math.isfinite(value) or value < 0:
                raise PolicyError(f"{name.upper()}={value}: give a finite number, zero or more")
            if name in _RATIOS and value > 1:
                raise PolicyError(f"{name.upper()}={value}: a share of requests is a ratio between 0 and 1")
            if name in _POSITIVE and value == 0:
                raise PolicyError(f"{name.upper()}=0: give a number above zero")

    @classmethod
    def of_template(cls, template: Mapping[str, Any]) -> Self:
        """Read the behaviour from the first container of a pod (template).

        Raises
        ------
        PolicyError
            A variable has a value that is no number or is out of its range.
        """
        container = template["spec"]["containers"][0]
        declared = {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}
        values: dict[str, float] = {}
        for field in fields(cls):
            variable = field.name.upper()
            if variable not in declared:
                continue
            try:
                values[field.name] = float(declared[variable])
            except ValueError:
                message = f"container {container['name']!r}: {variable}={declared[variable]!r} is no number"
                raise PolicyError(message) from None
        return cls(**values)
