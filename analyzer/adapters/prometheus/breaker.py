"""A circuit breaker: after several failures in a row, nobody waits for the next one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from analyzer.errors import MetricsUnavailable

FAILURES: Final = 5
PAUSE_S: Final = 10.0


class Breaker:
    """Opens after `failures` in a row; after `pause_s` one call may try, and its outcome decides.

    For one event loop: calls begin and end on it.
    """

    def __init__(
        self, name: str, monotonic_s: Callable[[], float], *, failures: int = FAILURES, pause_s: float = PAUSE_S
    ) -> None:
        self._name = name
        self._monotonic_s = monotonic_s
        self._limit = failures
        self._pause_s = pause_s
        self._failures = 0
        self._last = ""
        self._retry_at_s = 0.0
        self._trying = False

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Refuse, or make the call in the body and learn from its outcome.

        A cancelled call is a failure too: time-outs are the caller's.
        """
        trial = self._admit()
        self._trying = self._trying or trial
        try:
            yield
        except BaseException as error:
            self._failures += 1
            self._last = str(error) or "no answer in the time that the caller allowed"
            self._retry_at_s = self._monotonic_s() + self._pause_s
            raise
        else:
            self._failures = 0
        finally:
            self._trying = self._trying and not trial

    def _admit(self) -> bool:
        """Let a call pass, as a trial or not."""
        if self._failures < self._limit:
            return False
        wait_s = self._retry_at_s - self._monotonic_s()
        if wait_s > 0 or self._trying:
            raise MetricsUnavailable(
                f"{self._name} is not asked for another {max(wait_s, 0.0):.0f} s: it failed {self._failures} times in a"
                f" row. The last time: {self._last}",
                retry_after_s=max(wait_s, 0.0),
            )
        return True
