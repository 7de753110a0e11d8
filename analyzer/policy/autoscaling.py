"""Settings of autoscalers that make a rollback dangerous (semantics.md §3); all of them are warnings."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from analyzer.policy.cpu import without_request
from analyzer.policy.findings import Code, Path, Problem, Severity
from analyzer.policy.mesh import Object, get_map, get_maps, name_of
from analyzer.policy.model import CanaryPolicy
from analyzer.policy.quantities import format_duration
from analyzer.policy.scaling import autoscalers_of, read_scaling

DEFAULT_WINDOW_S = 300
"""Kubernetes' default `behavior.scaleDown.stabilizationWindowSeconds`."""

_USUAL_UTILISATION: Final = 80

_WHERE: Path = ("spec", "target")


def check_autoscaling(
    policy: CanaryPolicy, *, deployments: Sequence[Object], autoscalers: Sequence[Object], live: bool = False
) -> Iterator[Problem]:
    """Look at the two Deployments of a policy and what scales them; `live`: with what they use now."""
    scaled = {name_of(d): autoscalers_of(name_of(d), autoscalers) for d in deployments}
    for deployment in deployments:
        name = name_of(deployment)
        match scaled[name]:
            case []:
                yield _unscaled(name, [name_of(own[0]) for own in scaled.values() if own])
            case [only]:
                yield from _check_one(policy, deployment, only)
            case several:
                message = f"HorizontalPodAutoscalers {_listed(several)} all scale Deployment {name}: none of them works"
                yield _warn(Code.AUTOSCALERS_AMBIGUOUS, message, "keep one; it may have several metrics")
    if live:
        yield from _too_few_replicas(deployments, autoscalers)


def _listed(autoscalers: Iterable[Object]) -> str:
    return " and ".join(sorted(map(name_of, autoscalers)))


def _unscaled(name: str, others: Sequence[str]) -> Problem:
    """Tell of a version without an HPA; one HPA for both cannot be, for it scales one object."""
    message = f"no HorizontalPodAutoscaler scales Deployment {name}: its replicas do not follow the traffic"
    if others:
        return _warn(Code.NO_AUTOSCALER, message, f"add one of its own: {others[0]} scales the other version alone")
    return _warn(Code.NO_AUTOSCALER, message, "add one, or size the Deployment for all of the traffic")


def _check_one(policy: CanaryPolicy, deployment: Object, autoscaler: Object) -> Iterator[Problem]:
    name, needed_s = name_of(deployment), shortest_rollout_s(policy)
    window_s = scale_down_window_s(autoscaler)
    if window_s is not None and window_s < needed_s:
        message = (
            f"HorizontalPodAutoscaler {name_of(autoscaler)} shrinks {name} after {format_duration(window_s)}, and a "
            f"rollout takes at least {format_duration(needed_s)}: a rollback may find too few replicas"
        )
        seconds = min(3600, round(needed_s))
        yield _warn(Code.SCALE_DOWN_WINDOW, message, f"set `behavior.scaleDown.stabilizationWindowSeconds: {seconds}`")
    if get_map(autoscaler, "spec", "behavior", "scaleUp").get("selectPolicy") == "Disabled":
        scaled_by = f"HorizontalPodAutoscaler {name_of(autoscaler)}"
        message = f"{scaled_by} never scales {name} up (`behavior.scaleUp.selectPolicy: Disabled`)"
        yield _warn(Code.NEVER_SCALES_UP, message, "remove that, or size the Deployment for all of the traffic")
    yield from _check_cpu(deployment, autoscaler)


def _check_cpu(deployment: Object, autoscaler: Object) -> Iterator[Problem]:
    name, scaled_by = name_of(deployment), name_of(autoscaler)
    without = (without_request(deployment, container=container) for container in _cpu_of(autoscaler))
    if container := next(filter(None, without), None):
        message = f"container {container} of Deployment {name} requests no CPU: its HorizontalPodAutoscaler cannot work"
        yield _warn(Code.NO_CPU_REQUEST, message, "add `resources: {requests: {cpu: …}}`")
    scaler = read_scaling(deployment, [autoscaler]).scaler
    for metric in scaler.metrics if scaler is not None else ():
        request = metric.target.request
        if request and (metric.saturation is None or metric.saturation <= metric.wanted):
            message = (
                f"HorizontalPodAutoscaler {scaled_by} starts more pods of {name} only when they use more than "
                f"{100 * metric.wanted / request:.3g} % of the CPU that they request, which nobody promised them"
            )
            mend = f"set `averageUtilization: {_USUAL_UTILISATION}`, or a CPU limit far above the request"
            yield _warn(Code.TARGET_TOO_HIGH, message, mend)


def _too_few_replicas(deployments: Sequence[Object], autoscalers: Sequence[Object]) -> Iterator[Problem]:
    """Compare what both versions use now, which together is all of the traffic, with what each may grow to.

    Idle pods use a little too, so that an HPA just large enough may be warned of.
    """
    found = [(read_scaling(d, autoscalers), int(get_map(d, "status").get("readyReplicas", 0))) for d in deployments]
    total: dict[str, float] = {}
    for scaling, ready in found:
        for metric, use in zip(scaling.scaler.metrics if scaling.scaler else (), scaling.use, strict=False):
            total[metric.name] = total.get(metric.name, 0.0) + ready * (use or 0.0)
    for deployment, (scaling, _ready) in zip(deployments, found, strict=True):
        scaler = scaling.scaler
        if scaler is None or not scaler.metrics:
            continue
        needs = [(total[m.name] / m.wanted, total[m.name] / m.target.per_pod) for m in scaler.metrics]
        least, need = max(needs)
        if least > scaler.max_replicas:
            message = (
                f"HorizontalPodAutoscaler {scaler.name} ends at {scaler.max_replicas} replicas of {name_of(deployment)}, and "
                f"all of the traffic of now needs about {math.ceil(need)}: no weight above "
                f"{math.floor(100 * scaler.max_replicas / least)} % fits"
            )
            yield _warn(Code.MAX_REPLICAS_TOO_FEW, message, f"set `maxReplicas: {math.ceil(need)}`, or more")


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


def _cpu_of(autoscaler: Object) -> Iterator[str | None]:
    """Give whose share of its CPU request the metrics are: a container's, or None for the whole pod's.

    Without any metric, Kubernetes takes that of the pod.
    """
    metrics = get_maps(autoscaler, "spec", "metrics")
    if not metrics:
        yield None
    for body in (get_map(metric, kind) for metric in metrics for kind in ("resource", "containerResource")):
        if body.get("name") == "cpu" and get_map(body, "target").get("averageUtilization") is not None:
            container = body.get("container")
            yield None if container is None else str(container)


def _warn(code: Code, message: str, mend: str) -> Problem:
    return Problem(code, message, mend, _WHERE, severity=Severity.WARNING)
