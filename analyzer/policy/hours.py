"""A schedule that slows a rollout down more than it seems to; all of this is warnings."""

from collections.abc import Iterator

from analyzer.policy.findings import Code, Problem, Severity
from analyzer.policy.model import CanaryPolicy
from analyzer.policy.quantities import format_duration


def check_schedule(policy: CanaryPolicy) -> Iterator[Problem]:
    """Look at `spec.schedule`."""
    schedule, shortest_s = policy.spec.schedule, policy.spec.judge.dwell.min_s
    for index, hours in enumerate(schedule.forward if schedule is not None else ()):
        lasts_s = 60.0 * hours.minutes
        if lasts_s < shortest_s:
            message = (
                f"`{hours.text}` is over after {format_duration(lasts_s)}, and a step takes at least "
                f"{format_duration(shortest_s)} (`dwell.min`): one step is made in these hours at the most"
            )
            mend = "lengthen the hours, or lower `dwell.min`"
            path = ("spec", "schedule", "forward", index)
            yield Problem(Code.SHORT_WINDOW, message, mend, path, severity=Severity.WARNING)
