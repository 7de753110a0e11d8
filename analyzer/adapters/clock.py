"""The machine's own clocks."""

import time


class SystemClock:
    """`analyzer.ports.Clock` on this machine."""

    def now_s(self) -> float:
        """Wall clock [unix seconds]: may be stepped by NTP or a person, so nothing is decided by it."""
        return time.time()

    def monotonic_s(self) -> float:
        """Seconds that no clock step changes; the origin has no meaning."""
        return time.monotonic()
