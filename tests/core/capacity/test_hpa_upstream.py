"""Kubernetes' own cases: horizontal_test.go of v1.36.3 (pkg/controller/podautoscaler), with its names and figures.

`LIMITS` are those of TestScalingWithRules, `WINDOWS` of TestNormalizeDesiredReplicasWithBehavior, `PLAIN` of
TestConvertDesiredReplicasWithRules, `REMEMBERED` of TestNormalizeDesiredReplicas; `TOTALS` and `TOLERANCES` are of
replica_calculator_test.go.
"""

from dataclasses import dataclass

import pytest

from analyzer.core.capacity.hpa import (
    DEFAULT_DOWN,
    DEFAULT_UP,
    PLAIN_DOWN,
    PLAIN_UP,
    PodUse,
    Policy,
    Rules,
    Stabiliser,
    Target,
    recommend,
)

NOW_S = 10_000.0
SPREAD_S = 120
FREELY_DOWN = Rules(0, DEFAULT_DOWN.policies)


@dataclass(frozen=True)
class Case:
    """One row; the changes of replicas are spread over the last two minutes."""

    name: str
    bounds: tuple[int, int]
    current: int
    recommended: int
    wanted: int
    up: Rules = DEFAULT_UP
    down: Rules = FREELY_DOWN
    added: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.name


def rules(pods: int, pods_period_s: int, percent: int, percent_period_s: int) -> Rules:
    """Make rules as `generateScalingRules` does; the windows are another test's."""
    policies = [Policy("Pods", pods, pods_period_s)] if pods else []
    policies += [Policy("Percent", percent, percent_period_s)] if percent else []
    return Rules(0, tuple(policies))


def spread(changes: tuple[int, ...], sign: int) -> list[tuple[float, int]]:
    """Place changes as `generateEventsUniformDistribution` does."""
    segment_s = SPREAD_S / max(1, len(changes))
    return [
        (NOW_S - int(SPREAD_S - segment_s * (number + 1) + segment_s / 2), sign * change)
        for number, change in enumerate(changes)
    ]


# fmt: off
LIMITS = [
    Case("prenormalized desired replicas within range",
         (3, 8), 5, 7, 7),
    Case("prenormalized desired replicas < minReplicas",
         (2, 8), 3, 1, 2),
    Case("prenormalized desired replicas within range when minReplicas is 0",
         (0, 10), 1, 0, 0),
    Case("maxReplicas is the limit because maxReplicas < scaleUpLimit",
         (1, 10), 20, 1000, 10),
    Case("desired replica count is more than the maximum replica count",
         (100, 150), 100, 1000, 150),
    Case("scaleUpLimit is the limit because scaleUpLimit < maxReplicas with user policies",
         (1, 2000), 3, 1000, 4, up=rules(0, 0, 1, 60)),
    Case("scaleDownLimit is the limit because scaleDownLimit > minReplicas with user defined policies",
         (3, 2000), 1000, 3, 980, down=rules(20, 60, 0, 0)),
    Case("scaleUp with default behavior",
         (1, 1000), 10, 50, 20),
    Case("scaleUp with pods policy larger than percent policy",
         (1, 1000), 10, 500, 110, up=rules(100, 60, 100, 60)),
    Case("scaleUp with percent policy larger than pods policy",
         (1, 1000), 10, 500, 20, up=rules(2, 60, 100, 60)),
    Case("scaleUp with spec MaxReplicas limitation with large pod policy",
         (1, 1000), 10, 50, 50, up=rules(100, 60, 0, 0)),
    Case("scaleUp with spec MaxReplicas limitation with large percent policy",
         (1, 1000), 10, 50, 50, up=rules(10000, 60, 0, 0)),
    Case("scaleUp with pod policy limitation",
         (1, 1000), 10, 50, 40, up=rules(30, 60, 0, 0)),
    Case("scaleUp with percent policy limitation",
         (1, 1000), 10, 50, 30, up=rules(0, 0, 200, 60)),
    Case("scaleDown with percent policy larger than pod policy",
         (1, 1000), 100, 2, 80, down=rules(20, 60, 1, 60)),
    Case("scaleDown with pod policy larger than percent policy",
         (1, 1000), 100, 2, 98, down=rules(2, 60, 1, 60)),
    Case("scaleDown with spec MinReplicas=nil limitation with large pod policy",
         (1, 1000), 10, 0, 1, down=rules(100, 60, 0, 0)),
    Case("scaleDown with spec MinReplicas limitation with large pod policy",
         (1, 1000), 10, 0, 1, down=rules(100, 60, 0, 0)),
    Case("scaleDown with spec MinReplicas limitation with large percent policy",
         (5, 1000), 10, 2, 5, down=rules(0, 0, 100, 60)),
    Case("scaleDown with pod policy limitation",
         (1, 1000), 10, 2, 5, down=rules(5, 60, 0, 0)),
    Case("scaleDown with percent policy limitation",
         (1, 1000), 10, 5, 5, down=rules(0, 0, 50, 60)),
    Case("scaleUp with spec MaxReplicas limitation with large pod policy and events",
         (1, 200), 100, 500, 200, up=rules(300, 60, 0, 0), added=(1, 5, 9)),
    Case("scaleUp with spec MaxReplicas limitation with large percent policy and events",
         (1, 200), 100, 500, 200, up=rules(0, 0, 10000, 60), added=(1, 5, 9)),
    Case("scaleUp with currentReplicas limitation with rate.PeriodSeconds with a lot of recent scale up events",
         (1, 1000), 100, 500, 100, up=rules(5, 120, 0, 0), added=(1, 5, 9)),
    Case("scaleUp with pod policy and previous scale up events",
         (1, 1000), 100, 500, 235, up=rules(150, 120, 0, 0), added=(1, 5, 9)),
    Case("scaleUp with percent policy and previous scale up events",
         (1, 1000), 100, 500, 255, up=rules(0, 0, 200, 120), added=(1, 5, 9)),
    Case("scaleUp with percent policy and previous scale up and down events",
         (1, 1000), 6, 24, 16, up=rules(0, 0, 300, 300), added=(4,), removed=(2,)),
    Case("scaleDown with default policy and previous events",
         (1, 1000), 10, 5, 5, removed=(1, 5, 9)),
    Case("scaleDown with spec MinReplicas=nil limitation with large pod policy and previous events",
         (1, 1000), 100, 0, 1, down=rules(115, 120, 0, 0), removed=(1, 5, 9)),
    Case("scaleDown with spec MinReplicas limitation with large pod policy and previous events",
         (5, 1000), 100, 0, 5, down=rules(130, 120, 0, 0), removed=(1, 5, 9)),
    Case("scaleDown with spec MinReplicas limitation with large percent policy and previous events",
         (5, 1000), 100, 2, 5, down=rules(0, 0, 100, 120), removed=(1, 5, 9)),
    Case("scaleDown with pod policy limitation and previous events",
         (1, 1000), 100, 2, 100, down=rules(5, 120, 0, 0), removed=(1, 5, 9)),
    Case("scaleDown with percent policy limitation and previous events",
         (1, 1000), 100, 0, 56, down=rules(0, 0, 50, 120), removed=(2, 4, 6)),
    Case("scaleDown with percent policy and previous scale up and down events",
         (1, 1000), 10, 1, 6, down=rules(0, 0, 50, 180), added=(2,), removed=(4,)),
    Case("scaleDown with previous events preventing further scale down",
         (1, 1000), 100, 0, 100, down=rules(0, 0, 10, 120), removed=(10, 10, 10)),
    Case("scaleDown with with previous events still allowing more scale down",
         (1, 1000), 10, 5, 5, down=rules(0, 0, 1000, 120), removed=(10, 10, 10)),
    Case("check 'outdated' flag for events for one behavior for up",
         (1, 1000), 100, 200, 200, up=rules(1000, 60, 0, 0), added=(8, 12, 9, 11)),
    Case("check that events were not marked 'outdated' for two different policies in the behavior for up",
         (1, 1000), 100, 200, 200, up=rules(1000, 120, 100, 60), added=(8, 12, 9, 11)),
    Case("check that events were marked 'outdated' for two different policies in the behavior for up",
         (1, 1000), 100, 200, 200, up=rules(1000, 30, 100, 60), added=(8, 12, 9, 11)),
    Case("check 'outdated' flag for events for one behavior for down",
         (1, 1000), 100, 5, 5, down=rules(1000, 60, 0, 0), removed=(8, 12, 9, 11)),
    Case("check that events were not marked 'outdated' for two different policies in the behavior for down",
         (1, 1000), 100, 5, 5, down=rules(1000, 120, 100, 60), removed=(8, 12, 9, 11)),
    Case("check that events were marked 'outdated' for two different policies in the behavior for down",
         (1, 1000), 100, 5, 5, down=rules(1000, 30, 100, 60), removed=(8, 12, 9, 11)),
    Case("lowest change up", (1, 100), 1, 10, 2, up=Rules(0, rules(2, 60, 50, 60).policies, "Min")),
    Case("lowest change down", (1, 100), 5, 1, 3, down=Rules(0, rules(2, 60, 50, 60).policies, "Min")),
]

PLAIN = [
    Case("within range", (3, 8), 5, 7, 7),
    Case("fewer than minReplicas", (2, 8), 3, 1, 2),
    Case("zero within range", (0, 10), 1, 0, 0),
    Case("maxReplicas are the limit", (1, 10), 10, 1000, 10),
    Case("double is the limit", (1, 2000), 3, 1000, 6),
    Case("four is the limit of one", (1, 2000), 1, 1000, 4),
]

# name, earlier recommendations by age [s], replicas, recommended, wanted, windows up and down [s]
WINDOWS = [
    ("nothing remembered", {}, 100, 5, 5, 0, 0),
    ("simple scale down stabilization", {120: 4, 60: 5}, 100, 3, 5, 0, 180),
    ("simple scale up stabilization", {120: 4, 60: 5}, 1, 7, 4, 300, 0),
    ("no scale down stabilization", {120: 1, 60: 2}, 100, 3, 3, 300, 0),
    ("no scale up stabilization", {120: 4, 60: 5}, 1, 3, 3, 0, 300),
    ("obsolete on the way down", {600: 10, 540: 9}, 100, 3, 3, 0, 0),
    ("obsolete on the way up", {600: 10, 540: 9}, 1, 100, 100, 0, 0),
    ("scale down, partly obsolete", {600: 10, 60: 4, 120: 5, 540: 9}, 100, 3, 5, 0, 180),
    ("scale up, partly obsolete", {6000: 10, 60: 6, 120: 5, 180: 9}, 1, 100, 5, 300, 0),
    ("both: no scale up when the recommendation goes down", {6000: 2, 180: 3}, 2, 1, 2, 300, 300),
    ("both: no scale down when the recommendation goes up", {6000: 2, 180: 1}, 2, 3, 2, 300, 300),
]

# name, earlier recommendations by age [s], recommended, wanted
REMEMBERED = [
    ("empty log", {}, 5, 5),
    ("stabilize", {120: 4, 60: 5}, 3, 5),
    ("no stabilize", {120: 1, 60: 2}, 3, 3),
    ("no stabilize - old recommendations", {600: 10, 540: 9}, 3, 3),
    ("stabilize - old recommendations", {600: 10, 60: 4, 120: 5, 540: 9}, 3, 5),
]

# name, replicas, of all pods together, wanted per pod, tolerance on the way up, wanted replicas: TestReplicaCalc…PerPodCM…
TOTALS = [
    ("ScaleUpPerPodCMExternal", 3, 8600, 2150, 0.1, 4),
    ("ScaleDownPerPodCMObject", 5, 6000, 2000, 0.1, 3),
    ("ScaleDownPerPodCMExternal", 5, 8600, 2867, 0.1, 3),
    ("TolerancePerPodCMObject", 4, 20166, 5000, 0.1, 4),
    ("TolerancePerPodCMExternal", 3, 8600, 2900, 0.1, 3),
    ("ConfigurableTolerancePerPodCMObject", 4, 20208, 5000, 0.01, 5),
]

# name, tolerance down and up, use of three pods that shall use all of the 1000 they request, wanted: …ConfigurableTolerance
TOLERANCES = [
    ("Outside of a 0% tolerance", 0.0, 0.0, (909, 1010, 1111), 4),
    ("Within a 200% scale-up tolerance", 0.1, 2.0, (1890, 1910, 1900), 3),
    ("Outside 8% scale-up tolerance (and superfuous scale-down tolerance)", 2.0, 0.08, (1100, 1080, 1090), 4),
    ("Within a 36% scale-down tolerance", 0.36, 0.1, (660, 640, 650), 3),
    ("Outside a 34% scale-down tolerance", 0.34, 0.1, (660, 640, 650), 2),
]
# fmt: on


@pytest.mark.parametrize("case", LIMITS, ids=str)
def test_limits_of_the_rate(case: Case) -> None:
    changes = spread(case.added, 1) + spread(case.removed, -1)
    hpa = Stabiliser(case.up, case.down, _changes=changes)
    current = min(
        case.current, case.bounds[1]
    )  # upstream tests the limit alone; more than maxReplicas never come to it
    assert hpa.decide(case.recommended, current=current, bounds=case.bounds, now_s=NOW_S) == case.wanted


@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_limits_without_behaviour(case: Case) -> None:
    hpa = Stabiliser(PLAIN_UP, Rules(0, ()))
    assert hpa.decide(case.recommended, current=case.current, bounds=case.bounds, now_s=NOW_S) == case.wanted


def remembering(up: Rules, down: Rules, earlier: dict[int, int]) -> Stabiliser:
    """An HPA with earlier recommendations; where there are none, one of long ago, or the controller would begin anew."""
    return Stabiliser(up, down, _recommendations=[(NOW_S - age_s, n) for age_s, n in (earlier or {9000: 1}).items()])


@pytest.mark.parametrize(("name", "earlier", "current", "recommended", "wanted", "up_s", "down_s"), WINDOWS)
def test_windows(
    *, name: str, earlier: dict[int, int], current: int, recommended: int, wanted: int, up_s: int, down_s: int
) -> None:
    freely = rules(1000, 60, 0, 0).policies
    hpa = remembering(Rules(up_s, freely), Rules(down_s, freely), earlier)
    assert hpa.decide(recommended, current=current, bounds=(1, 1000), now_s=NOW_S) == wanted, name


@pytest.mark.parametrize(("name", "earlier", "recommended", "wanted"), REMEMBERED)
def test_windows_without_behaviour(name: str, earlier: dict[int, int], recommended: int, wanted: int) -> None:
    hpa = remembering(PLAIN_UP, PLAIN_DOWN, earlier)
    assert hpa.decide(recommended, current=5, bounds=(1, 1000), now_s=NOW_S) == wanted, name


@pytest.mark.parametrize(("name", "current", "total", "per_pod", "tolerance", "wanted"), TOTALS)
def test_a_metric_of_all_pods_together(
    *, name: str, current: int, total: float, per_pod: float, tolerance: float, wanted: int
) -> None:
    target = Target(per_pod, tolerance=tolerance, total=True)
    pods = [PodUse(total / current, ready=number < 1) for number in range(current)]  # who is ready is not asked
    assert recommend(current, pods=pods, target=target) == wanted, name


@pytest.mark.parametrize(("name", "down", "up", "used", "wanted"), TOLERANCES)
def test_tolerances(*, name: str, down: float, up: float, used: tuple[int, ...], wanted: int) -> None:
    target = Target(1000, 1000, tolerance=up, tolerance_down=down)
    assert recommend(3, pods=[PodUse(each) for each in used], target=target) == wanted, name


def test_a_controller_that_just_sees_an_hpa_takes_the_replicas_that_there_are_for_recommended() -> None:
    """TestScaleDownStabilizeInitialSize."""
    assert Stabiliser().decide(1, current=5, bounds=(1, 10), now_s=NOW_S) == 5
