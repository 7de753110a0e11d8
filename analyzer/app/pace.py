"""When telemetry is read next: just after a scrape is stored, since until then a read brings nothing new.

A read that comes at any time finds a scrape that is half a period old on average: that long a bad release would stay for
nothing. One read serves all rollouts, so with several gateways it comes when their newest scrapes are youngest together.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from analyzer.app.answers import JudgeAnswer

EARLY: Final = 0.25
"""Share of a period by which a read may come before its time, to meet a scrape; and no later than a period minus that after."""
_LATE_S: Final = 0.1
"""After an interval is settled: clocks are read at the two ends of a request."""


class Beat(NamedTuple):
    """The intervals of one rollout.

    Attributes
    ----------
    closed_s
        End of one of them, whichever [unix seconds].
    width_s
        [s].
    """

    closed_s: float
    width_s: float

    def age_s(self, at_s: float) -> float:
        """Tell how long ago the newest of them ended."""
        return (at_s - self.closed_s) % self.width_s

    def first_end_s(self, since_s: float) -> float:
        """Tell when the first of them ends, from a time on."""
        return self.closed_s + self.width_s * math.ceil((since_s - self.closed_s) / self.width_s)


def beats(answers: "Sequence[JudgeAnswer]") -> list[Beat]:
    """List the intervals of those rollouts that have any."""
    return [
        Beat(answer.judged_until_s, answer.interval_s)
        for answer in answers
        if answer.judged_until_s is not None and answer.interval_s
    ]


def wait_s(beats: Sequence[Beat], *, now_s: float, period_s: float, settle_s: float) -> float:
    """Choose the time until the next read: about a period [s].

    The time within reach at which the newest intervals of all rollouts are youngest together; a period where none ends.
    Since it is as good a period later, reads stay where they are as long as the rollouts do.

    Parameters
    ----------
    now_s
        When the last read was made, by the clock of the telemetry [unix seconds].
    settle_s
        Age from which an interval is taken to be complete [s].
    """
    late_s = settle_s + _LATE_S
    first_s, due_s = now_s + (1.0 - EARLY) * period_s, now_s + period_s
    ends = {end_s for beat in beats if (end_s := beat.first_end_s(first_s - late_s)) + late_s < first_s + period_s}
    if not ends:
        return period_s

    def cost(end_s: float) -> tuple[float, float]:
        return round(sum(beat.age_s(end_s + 1e-6) for beat in beats), 3), abs(end_s + late_s - due_s)

    return min(ends, key=cost) + late_s - now_s
