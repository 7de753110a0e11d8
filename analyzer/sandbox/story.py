"""What happens in the demo: releases after each other, and what each should come to."""

from dataclasses import dataclass
from typing import Any, Final

from analyzer.core.rollout import Phase
from analyzer.sandbox.release import Release

REQUESTS_PER_S: Final = 200.0
SCRAPE_S: Final = 2.0
PERIOD_S: Final = 0.5
SETTLE_S: Final = 0.2

POLICY_SPEC: Final[dict[str, Any]] = {
    # As in policies/examples, but for people who watch: shorter waits, and a budget of harm that 200 requests/s can prove
    # in seconds instead of minutes.
    "stages": [{"route": "primary", "weights": [10, 25, 50, 100]}],
    "judge": {
        "falseRollback": "5%",  # people who watch wait less for the last doubt than an on-call engineer would
        "harmBudget": "1%",
        "latency": {"warmUp": "10s"},
        "dwell": {"min": "6s", "max": "45s"},
        "bake": "10s",
    },
    "deadlines": {"canaryReady": "1m", "blind": "1m"},
}


@dataclass(frozen=True, slots=True)
class Scene:
    """One release of the demo.

    Attributes
    ----------
    title
        For people.
    release
        How its pods behave.
    expected
        The phase that it should end in; None: whatever it deserves.
    """

    title: str
    release: Release
    expected: Phase | None


STORY: Final = (
    Scene("a good release", Release(), Phase.PROMOTED),
    Scene("a release with 5 % errors", Release(errors=0.05), Phase.ROLLED_BACK),
    Scene("a release twice as slow", Release(latency=2.0), Phase.ROLLED_BACK),
)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a release.

    Attributes
    ----------
    scene
        The release.
    version
        Where it went.
    phase, reason, proven
        How it ended, why, and how many of its steps were proven rather than timed out.
    decided_s
        From the canary's first weight (or the first user) to 0 or 100 % [s].
    canary_requests, failed_by_canary, failed_otherwise
        Users' requests in that time [count].
    replicas
        Ready replicas over time: (seconds, stable, canary), at each change.
    """

    scene: Scene
    version: str
    phase: Phase
    reason: str
    proven: int
    decided_s: float
    canary_requests: int
    failed_by_canary: int
    failed_otherwise: int
    replicas: tuple[tuple[float, int, int], ...]

    @property
    def as_expected(self) -> bool:
        """Tell whether it ended as it should."""
        return self.scene.expected in {None, self.phase}
