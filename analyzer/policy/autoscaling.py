"""Settings of autoscalers that make a rollback dangerous (semantics.md §3); all of them are warnings."""

from collections.abc import Iterator, Sequence
from typing import Final

from analyzer.policy.findings import Code, Path, Problem, Severity
from analyzer.policy.mesh import Object, get_map, get_maps, name_of
from analyzer.policy.model import CanaryPolicy
from analyzer.policy.quantities import format_duration

DEFAULT_WINDOW_S = 300
"""Kubernetes' default `behavior.scaleDown.stabilizationWindowSeconds`."""

_WHERE: Path = ("spec", "target")


def check_autoscaling(
    policy: CanaryPolicy, *, deployments: Sequence[Object], autoscalers: Sequence[Object]
) -> Iterator[Problem]:
    """Look at the two Deployments of a policy and what scales them."""
    needed_s = shortest_rollout_s(policy)
    for deployment in deployments:
        name = name_of(deployment)
        own = [a for a in autoscalers if get_map(a, "spec", "scaleTargetRef").get("name") == name]
        if not own:
            message = f"no HorizontalPodAutoscaler scales Deployment {name}: its replicas do not follow the traffic"
            yield _warn(Code.NO_AUTOSCALER, message, "add one, or size the Deployment for all of the traffic")
            continue
        window_s = scale_down_window_s(own[0])
        if window_s is not None and window_s < needed_s:
            message = (
                f"HorizontalPodAutoscaler {name_of(own[0])} shrinks {name} after {format_duration(window_s)}, and a "
                f"rollout takes at least {format_duration(needed_s)}: a rollback may find too few replicas"
            )
            seconds = min(3600, round(needed_s))
            yield _warn(
                Code.SCALE_DOWN_WINDOW, message, f"set `behavior.scaleDown.stabilizationWindowSeconds: {seconds}`"
            )
        if _scales_by_cpu(own[0]) and (container := _without_request(deployment)):
            message = (
                f"container {container} of Deployment {name} requests no CPU: its HorizontalPodAutoscaler cannot work"
            )
            yield _warn(Code.NO_CPU_REQUEST, message, "add `resources: {requests: {cpu: …}}`")


_FEWEST_AUTO: Final = 4
"""Weights below 100 that `auto` stops at, at least: 1, 5, 16, 50."""


def shortest_rollout_s(policy: CanaryPolicy) -> float:
    """Tell how long a rollout takes at least: every step below 100 for `dwell.min`, and the bake [s]."""
    judge = policy.spec.judge
    steps = sum(_FEWEST_AUTO if stage.weights == "auto" else len(stage.weights) - 1 for stage in policy.spec.stages)
    return steps * judge.dwell.min_s + judge.bake_s


def scale_down_window_s(autoscaler: Object) -> float | None:
    """Tell how long an HPA remembers its highest recommendation [s]; None if it never scales down."""
    down = get_map(autoscaler, "spec", "behavior", "scaleDown")
    if down.get("selectPolicy") == "Disabled":
        return None
    window = down.get("stabilizationWindowSeconds", DEFAULT_WINDOW_S)
    return float(window) if isinstance(window, (int, float)) else DEFAULT_WINDOW_S


def _scales_by_cpu(autoscaler: Object) -> bool:
    metrics = get_maps(autoscaler, "spec", "metrics")
    target = any(
        get_map(metric, "resource").get("name") == "cpu"
        and get_map(metric, "resource", "target").get("averageUtilization") is not None
        for metric in metrics
    )
    return target or get_map(autoscaler, "spec").get("targetCPUUtilizationPercentage") is not None


def _without_request(deployment: Object) -> str | None:
    for container in get_maps(deployment, "spec", "template", "spec", "containers"):
        resources = get_map(container, "resources")
        if not any("cpu" in get_map(resources, kind) for kind in ("requests", "limits")):
            return str(container.get("name") or "without a name")
    return None


def _warn(code: Code, message: str, mend: str) -> Problem:
    return Problem(code, message, mend, _WHERE, severity=Severity.WARNING)
