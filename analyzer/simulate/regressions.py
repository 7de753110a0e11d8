"""What a bad release does."""

from dataclasses import dataclass, replace
from typing import Final

from analyzer.simulate.latency import LatencyShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """How the canary is worse than the stable version.

    Attributes
    ----------
    name
        For people.
    base_error_rate
        The stable version's error rate, where this regression is about a service of its own kind [ratio].
    errors
        What the canary's error rate gains [ratio].
    slower, tail_slower
        Everything takes longer by this factor; the tail by this one in addition.
    slow_share, slow_ms
        Share of the requests that take this long instead [ms].
    leak
        Everything gets slower by this share in each interval of 15 s.
    hang, client_timeout_s
        Share of the requests that are not answered until the client gives up, after so long [s]; then they are code 0.
    load_errors, load_slower
        What the canary's error rate, and its slowness, gain with its share of the traffic: at 50 % half of it [ratio].
    begins_s
        When it begins, after the rollout does [s].
    """

    name: str = "harmless"
    base_error_rate: float | None = None
    errors: float = 0.0
    slower: float = 1.0
    tail_slower: float = 1.0
    slow_share: float = 0.0
    slow_ms: float = 3000.0
    leak: float = 0.0
    hang: float = 0.0
    client_timeout_s: float = 60.0
    load_errors: float = 0.0
    load_slower: float = 0.0
    begins_s: float = 0.0

    def shape(self, stable: LatencyShape) -> LatencyShape:
        """Give the canary's latency, without the leak."""
        return replace(
            stable.scaled(self.slower, tail=self.tail_slower), slow_share=self.slow_share, slow_ms=self.slow_ms
        )


HARMLESS: Final = Regression()

TWELVE: Final = (
    Regression(name="errors 0.1 → 0.3 %", errors=0.002),
    Regression(name="errors 0.1 → 0.5 %", errors=0.004),
    Regression(name="errors 0.1 → 1 %", errors=0.009),
    Regression(name="errors 0.1 → 5 %", errors=0.049),
    Regression(name="errors 100 %", errors=1.0),
    Regression(name="errors 8 → 12 %", base_error_rate=0.08, errors=0.04),
    Regression(name="latency +15 %", slower=1.15),
    Regression(name="latency +30 %", slower=1.30),
    Regression(name="latency x2", slower=2.0),
    Regression(name="p99 x3", tail_slower=3.0),
    Regression(name="2 % take 3 s", slow_share=0.02),
    Regression(name="leak of 1 % per interval", leak=0.01),
)
"""The twelve of the calibration, at services with 0.1 % errors; requests that hang are apart."""

MORE: Final = (
    Regression(name="latency +25 %", slower=1.25),
    Regression(name="20 % hang, time-out 60 s", hang=0.2),
    Regression(name="20 % hang, time-out 300 s", hang=0.2, client_timeout_s=300.0),
)

GROWING: Final = (
    Regression(name="errors +5 % x share", load_errors=0.05),
    Regression(name="latency +100 % x share", load_slower=1.0),
    Regression(name="+1 % errors from 120 s", errors=0.01, begins_s=120.0),
    Regression(name="latency x2 from 120 s", slower=2.0, begins_s=120.0),
    Regression(name="leak of 2 % from 120 s", leak=0.02, begins_s=120.0),
)
"""Releases whose harm comes with their traffic, or late: what a ramp that hurries may miss."""
