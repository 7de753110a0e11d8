"""What a HorizontalPodAutoscaler scales by, read for forecasts: targets, bounds, behaviour, and what its metrics show now.

Pure functions over objects as the API server writes them (autoscaling/v2). What cannot be mapped to the requests of one
version is named, never guessed at: External metrics, as KEDA makes them; Object metrics with a total as their target,
and those of an object that both versions share, which no weight changes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median
from typing import Any, Final

from analyzer.core.capacity.demand import Metric, Scaler
from analyzer.core.capacity.hpa import TOLERANCE, Target, parse_behaviour
from analyzer.policy.amounts import quantity
from analyzer.policy.cpu import PodCpu, is_counted, pod_cpu
from analyzer.policy.mesh import Object, get_map, get_maps, name_of

_MILLI: Final = 1000.0
USUAL_STARTUP_S: Final = 30.0

MOST_STARTUP_S: Final = 600.0
"""A Deployment whose pods take longer has failed (`progressDeadlineSeconds`, by default): such a pod was unready once."""


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


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else has to be known of a version to understand its HPA.

    Attributes
    ----------
    pods
        Its pods; empty where nobody looked.
    services, deployments
        Those of its namespace.
    """

    pods: Sequence[Object] = ()
    services: Sequence[Object] = ()
    deployments: Sequence[Object] = ()


def read_scaling(deployment: Object, autoscalers: Iterable[Object], around: Surroundings | None = None) -> Scaling:
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
    return _read(own[0], deployment, around or Surroundings())


def autoscalers_of(deployment: str, autoscalers: Iterable[Object]) -> list[Object]:
    """Give the HPAs that scale the Deployment of that name; more than one is one too many."""
    targets = ((a, get_map(a, "spec", "scaleTargetRef")) for a in autoscalers)
    return [a for a, ref in targets if ref.get("kind", "Deployment") == "Deployment" and ref.get("name") == deployment]


def _read(autoscaler: Object, deployment: Object, around: Surroundings) -> Scaling:
    spec = get_map(autoscaler, "spec")
    behaviour = spec.get("behavior") if isinstance(spec.get("behavior"), Mapping) else None
    shown = {_parts(metric)[2]: metric for metric in get_maps(autoscaler, "status", "currentMetrics")}
    wished = _tolerances(behaviour)
    found = [_metric(m, deployment, around, wished=wished, shown=shown.get(_parts(m)[2])) for m in _metrics(spec)]
    metrics = [m for m in found if isinstance(m, Metric)]
    unknown = tuple(m for m in found if isinstance(m, str))
    up, down = parse_behaviour(behaviour)
    scaler = Scaler(
        name=name_of(autoscaler),
        min_replicas=int(spec.get("minReplicas", 1)),
        max_replicas=int(spec.get("maxReplicas", 1)),
        metrics=tuple(metrics),
        up=up,
        down=down,
        unknown=unknown,
    )
    return Scaling(scaler, use=tuple(_use(shown.get(metric.name)) for metric in metrics), unknown=_why(scaler))


def leave_out(scaling: Scaling, names: frozenset[str]) -> Scaling:
    """Call those custom metrics unknown that turned out to have nothing to do with requests."""
    scaler = scaling.scaler
    out = [] if scaler is None else [metric for metric in scaler.metrics if metric.custom and metric.name in names]
    if scaler is None or not out:
        return scaling
    kept = [(metric, use) for metric, use in zip(scaler.metrics, scaling.use, strict=True) if metric not in out]
    unknown = (*scaler.unknown, *(f"{metric.name} (which does not follow the requests)" for metric in out))
    scaler = replace(scaler, metrics=tuple(metric for metric, _ in kept), unknown=unknown)
    return Scaling(scaler, use=tuple(use for _, use in kept), unknown=_why(scaler))


def _why(scaler: Scaler) -> str:
    if scaler.metrics:
        return ""
    return f"{scaler.name} scales by {', '.join(scaler.unknown) or 'nothing'}, which says nothing of requests"


def _metrics(spec: Object) -> list[Object]:
    """Kubernetes' own default, where no metric is written, is 80 % of CPU."""
    cpu = {"type": "Utilization", "averageUtilization": spec.get("targetCPUUtilizationPercentage", 80)}
    return get_maps(spec, "metrics") or [{"type": "Resource", "resource": {"name": "cpu", "target": cpu}}]


def _tolerances(behaviour: Object | None) -> Target:
    """Read both tolerances, into a target whose other values mean nothing yet."""
    up, down = (quantity(get_map(behaviour, side).get("tolerance")) for side in ("scaleUp", "scaleDown"))
    return Target(1.0, tolerance=TOLERANCE if up is None else up, tolerance_down=TOLERANCE if down is None else down)


def _metric(
    metric: Object, deployment: Object, around: Surroundings, *, wished: Target, shown: Object | None
) -> Metric | str:
    """Read one metric; the name of one that cannot be used."""
    kind, body, name = _parts(metric)
    target = get_map(body, "target")
    if kind in {"Resource", "ContainerResource"}:
        if body.get("name") != "cpu":
            return name  # memory does not follow the requests of the moment
        now = None if shown is None else get_map(_parts(shown)[1], "current")
        cpu = pod_cpu(deployment, around.pods, container=body.get("container"), shown=now)
        return _resource(name, target, cpu, wished=wished)
    average = quantity(target.get("averageValue"))
    if kind == "Pods" and average:
        return Metric.without_limit(name, replace(wished, per_pod=average), custom=True)
    if kind == "Object" and average:
        described = get_map(body, "describedObject")
        if not _is_own(described, deployment, around):
            return f"{name} of {described.get('kind')} {described.get('name')} (not {name_of(deployment)}'s alone)"
        return Metric.without_limit(name, replace(wished, per_pod=average, total=True), custom=True)
    return name


def _resource(name: str, target: Object, cpu: PodCpu | None, *, wished: Target) -> Metric | str:
    utilisation, average = target.get("averageUtilization"), quantity(target.get("averageValue"))
    if isinstance(utilisation, int) and cpu is not None:
        asked = replace(wished, per_pod=cpu.request * utilisation / 100, request=cpu.request)
    elif average:
        asked = replace(wished, per_pod=average * _MILLI)
    else:
        return f"{name} without a request"
    if cpu is None:
        return Metric.without_limit(name, asked)
    return Metric.of_cpu(name, asked, request=cpu.request, usual=cpu.usual, most=cpu.most)


def _is_own(described: Object, deployment: Object, around: Surroundings) -> bool:
    """Tell whether what an Object metric describes has to do with this version alone: a Service of its pods and no others."""
    if described.get("kind") != "Service":
        return False  # what an Ingress or a gateway counts, both versions answer
    selector = next(
        (get_map(s, "spec", "selector") for s in around.services if name_of(s) == described.get("name")), {}
    )
    selected = {name_of(d) for d in (deployment, *around.deployments) if selector.items() <= _labels(d).items()}
    return bool(selector) and selected == {name_of(deployment)}


def _labels(deployment: Object) -> Object:
    return get_map(deployment, "spec", "template", "metadata", "labels")


def _use(shown: Object | None) -> float | None:
    """Give a metric's present average, in its unit."""
    if shown is None:
        return None
    kind, body, _ = _parts(shown)
    average = quantity(get_map(body, "current").get("averageValue"))
    return average * _MILLI if average is not None and kind in {"Resource", "ContainerResource"} else average


def _parts(metric: Object) -> tuple[str, Object, str]:
    """Give a metric's type, its part of that type, and its name for people, the same in spec and status."""
    kind = str(metric.get("type", ""))
    body = get_map(metric, kind[:1].lower() + kind[1:])
    if kind == "Resource":
        return kind, body, str(body.get("name"))
    if kind == "ContainerResource":
        return kind, body, f"{body.get('name')} of container {body.get('container')}"
    return kind, body, f"{kind} metric {get_map(body, 'metric').get('name')}"


def startup_s(pods: Iterable[Mapping[str, Any]]) -> float | None:
    """Tell how long pods took from their making to their first readiness [s]; None where none shows it.

    A pod shows only when it was made ready last. One that lost its readiness since seems to have started slowly, and never
    quickly: therefore the median is that of the quicker half, of pods that never restarted.
    """
    took = sorted(s for pod in pods if (s := _started_in_s(pod)) is not None and s <= MOST_STARTUP_S)
    return median(took[: (len(took) + 1) // 2]) if took else None


def _started_in_s(pod: Mapping[str, Any]) -> float | None:
    created = get_map(pod, "metadata").get("creationTimestamp")
    statuses = get_maps(pod, "status", "containerStatuses")
    if not created or not is_counted(pod) or any(status.get("restartCount") for status in statuses):
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
