"""What became of a rollout, and of all of them."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from analyzer.core.judge.types import Assessment, Channel, Verdict


class Exit(IntEnum):
    """Exit codes of `serin replay`."""

    PROVEN = 0  # no harm, and all that was to be proven was proven
    HARM = 1  # in at least one rollout
    USAGE = 2  # options or input are wrong; nothing was answered
    INCONCLUSIVE = 3  # no harm, and at least one rollout lacks proof of a weight that it asked for, or asked for none
    UNREACHABLE = 4  # telemetry could not be read


@dataclass(slots=True)
class Result:
    """One rollout's outcome; filled as its intervals are judged.

    Attributes
    ----------
    rollout
        Its name.
    verdict
        The last one.
    harm_at_s, harm_channel
        End of the interval at which HARM was first reached, and the channel to blame.
    proven_at_s, proven
        End of the interval of the first PROVEN; the same by the next weight that it was about.
    intervals
        How many were judged.
    max_evidence
        The largest log E; before any data it is 0.
    asked
        Next weights that proof was asked for.
    """

    rollout: str
    verdict: Verdict = Verdict.NO_DATA
    harm_at_s: float | None = None
    harm_channel: Channel | None = None
    proven_at_s: float | None = None
    proven: dict[str, float] = field(default_factory=dict)
    intervals: int = 0
    max_evidence: float = 0.0
    asked: set[str] = field(default_factory=set)

    def take_in(self, assessment: Assessment, *, t: float, next_weight: float | None) -> None:
        """Note what the judge said after the interval that ends at `t`."""
        self.intervals += 1
        self.verdict = assessment.verdict
        if self.verdict is Verdict.HARM:
            self.max_evidence = max(self.max_evidence, assessment.evidence.log_e)
            if self.harm_at_s is None:
                self.harm_at_s, self.harm_channel = t, assessment.evidence.culprit
        if next_weight is None:
            return
        name = f"{next_weight:.12g}"
        self.asked.add(name)
        if self.verdict is Verdict.PROVEN:
            self.proven_at_s = t if self.proven_at_s is None else self.proven_at_s
            self.proven.setdefault(name, t)

    def take_stock(self, assessment: Assessment) -> None:
        """Note the largest evidence so far, when some intervals were taken in.

        Evidence costs the judge more than a verdict, so it is not read at each interval: the p-value keeps the largest.
        (Until HARM it is far from zero; after it, `take_in` looks each time.)
        """
        if self.verdict is not Verdict.HARM:
            self.max_evidence = max(self.max_evidence, -math.log(assessment.evidence.p_value))

    @property
    def conclusive(self) -> bool:
        """Whether every weight that was asked for was proven."""
        return bool(self.asked) and self.asked == self.proven.keys()

    def as_dict(self) -> dict[str, Any]:
        """Give the fields of the published JSON line."""
        return {
            "rollout": self.rollout,
            "verdict": self.verdict.value,
            "harm_at_s": self.harm_at_s,
            "harm_channel": self.harm_channel and self.harm_channel.value,
            "proven_at_s": self.proven_at_s,
            "proven": self.proven,
            "intervals": self.intervals,
            "max_evidence": round(self.max_evidence, 6),
        }

    def as_json(self) -> str:
        """Write the published JSON line."""
        return json.dumps(self.as_dict(), ensure_ascii=False, allow_nan=False)


def exit_code(results: Iterable[Result]) -> Exit:
    """Tell the exit code for all rollouts together: the worst of them, harm before lack of proof."""
    results = list(results)
    if any(result.harm_at_s is not None for result in results):
        return Exit.HARM
    return Exit.PROVEN if results and all(result.conclusive for result in results) else Exit.INCONCLUSIVE
