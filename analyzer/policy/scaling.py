"""What a HorizontalPodAutoscaler scales by, read for forecasts: targets, bounds, behaviour, and what its metrics show now.

Pure functions over objects as the API server writes them (autoscaling/v2). What cannot be mapped to requests (External
metrics, as KEDA makes them; Object metrics with a total as their target) is named, never guessed at.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any, Final

from analyzer.core.capacity.demand import Metric, Scaler
from analyzer.core.capacity.hpa import DEFAULT_DOWN, DEFAULT_UP, TOLERANCE, Target, parse_rules
from analyzer.policy.mesh import Object, get_map, get_maps, name_of

_QUANTITY: Final = re.compile(
    r"(?P<number>[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)(?P<suffix>n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?"
)
_SUFFIXES: Final = {
    **{
        suffix: 10.0**power
        for suffix, power in zip(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), range(-9, 21, 3), strict=True)
    },
    **{
        suffix: 2.0**power
        for suffix, power in zip(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), range(10, 70, 10), strict=True)
    },
}
_MILLI: Final = 1000.0
USUAL_STARTUP_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Scaling:
    """What scales one Deployment.

    Attributes
    ----------
    scaler
        Its HPA; None where it has none that works.
    use
        Per metric of the scaler, the average use of a pod now, in the metric's unit; None where the HPA shows none.
    unknown
        Why nothing can be foretold, in words; empty where something can.
    """

    scaler: Scaler | None
    use: tuple[float | None, ...] = ()
    unknown: str = ""


def read_scaling(deployment: Object, autoscalers: Iterable[Object]) -> Scaling:
    """Find and read the HPA of a Deployment."""
    name = name_of(deployment)
    own = autoscalers_of(name, autoscalers)
    if not own:
        return Scaling(None, unknown=f"no HorizontalPodAutoscaler scales Deployment {name}")
    if len(own) > 1:
        names = " and ".join(sorted(map(name_of, own)))
        return Scaling(None, unknown=f"HorizontalPodAutoscalers {names} both scale Deployment {name}: neither works")
    if get_map(deployment, "spec").get("replicas") == 0:
        return Scaling(None, unknown=f"Deployment {name} has no replicas, which switches {name_of(own[0])} off")
    return _read(own[0], deployment)


def autoscalers_of(deployment: str, autoscalers: Iterable[Object]) -> list[Object]:
    """Give the HPAs that scale the Deployment of that name; more than one is one too many."""
    targets = ((a, get_map(a, "spec", "scaleTargetRef")) for a in autoscalers)
    return [a for a, ref in targets if ref.get("kind", "Deployment") == "Deployment" and ref.get("name") == deployment]


def _read(autoscaler: Object, deployment: Object) -> Scaling:
    spec = get_map(autoscaler, "spec")
    behaviour = get_map(spec, "behavior")
    found = [_metric(metric, deployment, behaviour) for metric in _metrics(spec)]
    metrics = [m for m in found if isinstance(m, Metric)]
    unknown = tuple(m for m in found if isinstance(m, str))
    scaler = Scaler(
        name=name_of(autoscaler),
        min_replicas=int(spec.get("minReplicas", 1)),
        max_replicas=int(spec.get("maxReplicas", 1)),
        metrics=tuple(metrics),
        up=parse_rules(get_map(behaviour, "scaleUp"), default=DEFAULT_UP),
        down=parse_rules(get_map(behaviour, "scaleDown"), default=DEFAULT_DOWN),
        unknown=unknown,
    )
    now = dict(_current(autoscaler))
    why = (
        ""
        if metrics
        else f"{name_of(autoscaler)} scales by {', '.join(unknown) or 'nothing'}, which says nothing of requests"
    )
    return Scaling(scaler, use=tuple(now.get(metric.name) for metric in metrics), unknown=why)


def _metrics(spec: Object) -> list[Object]:
    """Kubernetes' own default, where no metric is written, is 80 % of CPU."""
    cpu = {"type": "Utilization", "averageUtilization": spec.get("targetCPUUtilizationPercentage", 80)}
    return get_maps(spec, "metrics") or [{"type": "Resource", "resource": {"name": "cpu", "target": cpu}}]


def _metric(metric: Object, deployment: Object, behaviour: Object) -> Metric | str:
    """Read one metric; the name of one that cannot be used."""
    kind, body, name = _parts(metric)
    target = get_map(body, "target")
    tolerance = quantity(get_map(behaviour, "scaleUp").get("tolerance")) or TOLERANCE
    if kind in {"Resource", "ContainerResource"}:
        if body.get("name") != "cpu":
            return name  # memory does not follow the requests of the moment
        request = _request(deployment, resource=str(body.get("name")), container=body.get("container"))
        return _resource(name, target, request=request, tolerance=tolerance)
    average = quantity(target.get("averageValue"))
    if kind in {"Pods", "Object"} and average:
        return Metric.without_limit(name, Target(average, tolerance=tolerance))
    return name


def _resource(name: str, target: Object, *, request: float | None, tolerance: float) -> Metric | str:
    utilisation, average = target.get("averageUtilization"), quantity(target.get("averageValue"))
    if isinstance(utilisation, int) and request:
        return Metric(
            name,
            Target(request * utilisation / 100, request, tolerance),
            saturation=max(request, request * utilisation / 100),
        )
    if average:
        return Metric.without_limit(name, Target(average * _MILLI, tolerance=tolerance), known=request or 0.0)
    return f"{name} without a request"


def _current(autoscaler: Object) -> Iterator[tuple[str, float]]:
    """Give each metric's present average, by its name."""
    for metric in get_maps(autoscaler, "status", "currentMetrics"):
        kind, body, name = _parts(metric)
        average = quantity(get_map(body, "current").get("averageValue"))
        if average is not None:
            yield name, average * _MILLI if kind in {"Resource", "ContainerResource"} else average


def _parts(metric: Object) -> tuple[str, Object, str]:
    """Give a metric's type, its part of that type, and its name for people, the same in spec and status."""
    kind = str(metric.get("type", ""))
    body = get_map(metric, kind[:1].lower() + kind[1:])
    if kind == "Resource":
        return kind, body, str(body.get("name"))
    if kind == "ContainerResource":
        return kind, body, f"{body.get('name')} of container {body.get('container')}"
    return kind, body, f"{kind} metric {get_map(body, 'metric').get('name')}"


def _request(deployment: Object, *, resource: str, container: object) -> float | None:
    """Sum the requests of a pod's containers [thousandths]; None where one has none (a limit stands for it)."""
    total = 0.0
    for each in get_maps(deployment, "spec", "template", "spec", "containers"):
        if container is not None and each.get("name") != container:
            continue
        resources = get_map(each, "resources")
        asked = quantity(get_map(resources, "requests").get(resource, get_map(resources, "limits").get(resource)))
        if asked is None:
            return None
        total += asked * _MILLI
    return total or None


def quantity(value: object) -> float | None:
    """Read a Kubernetes quantity (`250m`, `1.5`, `2Gi`, 3); None for anything else."""
    match = (
        _QUANTITY.fullmatch(str(value))
        if isinstance(value, (str, int, float)) and not isinstance(value, bool)
        else None
    )
    if match is None:
        return None
    number = float(match["number"]) * _SUFFIXES[match["suffix"] or ""]
    return number if math.isfinite(number) else None


def startup_s(pods: Iterable[Mapping[str, Any]]) -> float | None:
    """Tell how long pods took from their making to their first readiness [s]; None where none shows it.

    The median over pods that are ready and never restarted: a later loss of readiness would be taken for a long start.
    """
    took = [seconds for pod in pods if (seconds := _started_in_s(pod)) is not None]
    return median(took) if took else None


def _started_in_s(pod: Mapping[str, Any]) -> float | None:
    created = get_map(pod, "metadata").get("creationTimestamp")
    statuses = get_maps(pod, "status", "containerStatuses")
    if not created or any(status.get("restartCount") for status in statuses):
        return None
    for condition in get_maps(pod, "status", "conditions"):
        if (
            condition.get("type") == "Ready"
            and condition.get("status") == "True"
            and condition.get("lastTransitionTime")
        ):
            since = datetime.fromisoformat(str(condition["lastTransitionTime"])) - datetime.fromisoformat(str(created))
            return max(0.0, since.total_seconds())
    return None
