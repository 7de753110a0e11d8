"""What a pod asks of a CPU and how much of it it can use: the HPA sums what runs, not what was written.

Kubernetes' `calculateRequests` (pkg/controller/podautoscaler/replica_calculator.go): the containers of the live pods with
all that was injected into them, restartable init containers too, or what the pod asks for as a whole. [millicores]
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from analyzer.policy.amounts import quantity
from analyzer.policy.mesh import Object, get_map, get_maps

_MILLI: Final = 1000.0


@dataclass(frozen=True, slots=True)
class PodCpu:
    """The CPU of a version's average pod, or of one container in it [millicores].

    Attributes
    ----------
    request
        What it requests: what a utilisation is a share of.
    usual
        Use at which it is full, as far as that is known: the limits of the containers that its author wrote, and what the
        others request (a proxy's limit is far above what it ever needs); a container without a limit counts by its request.
    most
        Use that its limits never let it exceed; infinite where a container has none.
    limited
        True where `usual` has a limit in it.
    """

    request: float
    usual: float
    most: float = math.inf
    limited: bool = False


def pod_cpu(
    deployment: Object, pods: Iterable[Object], *, container: object = None, shown: Object | None = None
) -> PodCpu | None:
    """Find out what a version's average pod requests.

    Parameters
    ----------
    deployment
        Of the version.
    pods
        Its pods. Those that go are no longer counted. Where there are none, the template tells.
    container
        The only one that counts; None for all.
    shown
        `current` of the metric in the HPA's status. Where no pods are known and it contradicts the template, it is believed:
        something is injected into the pods.

    Returns
    -------
    PodCpu or None
        None where a container has no request: there the HPA does not work.
    """
    template = get_map(deployment, "spec", "template", "spec")
    written = {str(each.get("name")) for each in lasting(template)}
    live = [get_map(pod, "spec") for pod in pods if is_counted(pod) and get_maps(pod, "spec", "containers")]
    if live:
        found = [_of_spec(spec, container=container, written=written) for spec in live]
        asked = [each for each in found if each is not None]
        return _mean(asked) if len(asked) == len(found) else None
    from_template = _of_spec(template, container=container, written=written)
    request = _request_shown(get_map(shown or {}), from_template)
    if request is None:
        return from_template
    injected = max(0.0, request - from_template.request) if from_template is not None else request
    return PodCpu(
        request,
        usual=injected + (from_template.usual if from_template is not None else 0.0),
        limited=from_template is not None and from_template.limited,
    )


def without_request(deployment: Object, *, container: object = None) -> str | None:
    """Name the container of a Deployment, of all or of the one that counts, that requests no CPU; None where all do."""
    spec = get_map(deployment, "spec", "template", "spec")
    if container is None and _cpu(get_map(spec, "resources"), "requests") is not None:
        return None
    for each in lasting(spec):
        if container in {None, each.get("name")} and _of_container(each, written=True) is None:
            return str(each.get("name") or "without a name")
    return None


def is_counted(pod: Object) -> bool:
    """Tell whether an HPA counts a pod: those that are on their way out or have failed it leaves aside."""
    return not get_map(pod, "metadata").get("deletionTimestamp") and get_map(pod, "status").get("phase") != "Failed"


def lasting(spec: Object) -> list[Object]:
    """Give the containers of a pod's spec that run as long as it does."""
    sidecars = [c for c in get_maps(spec, "initContainers") if c.get("restartPolicy") == "Always"]
    return [*get_maps(spec, "containers"), *sidecars]


def _of_spec(spec: Object, *, container: object, written: set[str]) -> PodCpu | None:
    whole = get_map(spec, "resources")
    each = [
        _of_container(c, written=str(c.get("name")) in written)
        for c in lasting(spec)
        if container is None or c.get("name") == container
    ]
    asked = [c for c in each if c is not None]
    at_all = _cpu(whole, "requests") if container is None else None
    if at_all is None and (not each or len(asked) < len(each)):
        return None
    most = sum(c.most for c in asked) if len(asked) == len(each) else math.inf
    limit = _cpu(whole, "limits") if container is None else None
    most = most if limit is None else min(most, limit)
    request = sum(c.request for c in asked) if at_all is None else at_all
    if request <= 0.0:
        return None
    usual = max(request, sum(c.usual for c in asked))
    return PodCpu(request, min(usual, most), most, limited=any(c.limited for c in asked) or limit is not None)


def _of_container(container: Object, *, written: bool) -> PodCpu | None:
    resources = get_map(container, "resources")
    limit = _cpu(resources, "limits")
    request = _cpu(resources, "requests")
    if request is None:
        request = limit  # the API server lets a limit stand for the request of a pod
    if request is None:
        return None
    if limit is None:
        return PodCpu(request, request)
    return PodCpu(request, limit if written else request, limit, limited=written)


def _cpu(resources: Object, kind: str) -> float | None:
    amount = quantity(get_map(resources, kind).get("cpu"))
    return None if amount is None else amount * _MILLI


def _mean(pods: list[PodCpu]) -> PodCpu:
    return PodCpu(
        request=fmean(pod.request for pod in pods),
        usual=fmean(pod.usual for pod in pods),
        most=fmean(pod.most for pod in pods),
        limited=all(pod.limited for pod in pods),
    )


_LEAST_SHOWN: Final = 20
"""A utilisation is a whole per cent: below this one, its rounding makes a request that is wrong by more than 5 %."""


def _request_shown(now: Object, template: PodCpu | None) -> float | None:
    """Work out the request from use and utilisation, both of the HPA's status; None where the template agrees with them."""
    utilisation, use = now.get("averageUtilization"), quantity(now.get("averageValue"))
    if not isinstance(utilisation, int) or utilisation < _LEAST_SHOWN or not use:
        return None
    use *= _MILLI
    if (
        template is not None
        and utilisation <= (use + 1.0) * 100 / template.request
        and (use * 100 / template.request < utilisation + 1)
    ):
        return None
    return use * 100 / (utilisation + 0.5)
