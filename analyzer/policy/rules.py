"""Rules over several fields of a policy."""

from collections.abc import Iterator

from analyzer.policy.fields import steps_of
from analyzer.policy.findings import Code, Problem, suggest
from analyzer.policy.model import Behaviour, Spec
from analyzer.policy.quantities import format_duration


def check_rules(spec: Behaviour) -> list[Problem]:
    """Find what contradicts itself."""
    problems = [*_target(spec)] if isinstance(spec, Spec) else []
    for rule in (_stages, _dwell, _alerts, _approval, _schedule):
        problems += rule(spec)
    return problems


def _contradiction(message: str, mend: str, *path: str | int) -> Problem:
    return Problem(Code.CONTRADICTION, message, mend, ("spec", *path))


def _target(spec: Spec) -> Iterator[Problem]:
    target = spec.target
    deployments = target.deployments
    if deployments is not None and len(deployments) != 2:
        message = f"a canary has exactly two versions, and here are the Deployments of {len(deployments)}"
        yield _contradiction(message, "name both, like `{v1: app-v1, v2: app-v2}`", "target", "deployments")
    elif deployments is not None and len({*deployments.values()}) == 1:
        message = "both versions are the same Deployment"
        yield _contradiction(message, "give each version a Deployment of its own", "target", "deployments")
    known = target.versions or tuple(deployments or ())
    for name in (deployments or {}) if target.versions else ():
        if name not in known:
            message = f"`{name}` is not one of the versions"
            yield _contradiction(message, suggest(name, known), "target", "deployments", name)
    if target.stable is not None and known and target.stable not in known:
        message = f"`stable: {target.stable}` is not one of the versions"
        yield _contradiction(message, suggest(target.stable, known), "target", "stable")


def _stages(spec: Behaviour) -> Iterator[Problem]:
    if len(spec.stages) == 1:
        return
    seen: set[str] = set()
    for index, stage in enumerate(spec.stages):
        if stage.route is None:
            message = "with several stages each must say which route it moves"
            yield _contradiction(message, "add `route: <name of the http route>`", "stages", index)
        elif stage.route in seen:
            message = f"the route `{stage.route}` already has a stage"
            yield _contradiction(message, "join the weights in one stage", "stages", index, "route")
        else:
            seen.add(stage.route)


def _dwell(spec: Behaviour) -> Iterator[Problem]:
    dwell = spec.judge.dwell
    if dwell.min_s > dwell.max_s:
        shortest, longest = format_duration(dwell.min_s), format_duration(dwell.max_s)
        message = f"`min` ({shortest}) is longer than `max` ({longest})"
        yield _contradiction(message, "raise `max`, or lower `min`", "judge", "dwell", "max")


def _alerts(spec: Behaviour) -> Iterator[Problem]:
    for index, name in enumerate(spec.alerts):
        if name in spec.alerts[:index]:
            yield _contradiction(f"the receiver `{name}` is named twice", "name it once", "alerts", index)


def _approval(spec: Behaviour) -> Iterator[Problem]:
    routes = [stage.route for stage in spec.stages if stage.route is not None]
    weights = sorted({weight for stage in spec.stages for weight in steps_of(stage.weights)})
    for index, point in enumerate(spec.approval):
        place = ("approval", index)
        if point in spec.approval[:index]:
            yield _contradiction(f"`{point}` waits for approval twice", "name it once", *place)
        elif isinstance(point, str) and point not in routes:
            known = suggest(point, routes) if routes else "name the stage's route, or a weight"
            yield _contradiction(f"no stage moves the route `{point}`", known, *place)
        elif isinstance(point, int) and point not in weights:
            listed = ", ".join(map(str, weights))
            yield _contradiction(f"no stage has a step of {point}", f"take one of {listed}", *place)


def _schedule(spec: Behaviour) -> Iterator[Problem]:
    if spec.schedule is not None and not spec.schedule.forward and not spec.schedule.freeze:
        message = "a schedule without `forward` and `freeze` says nothing"
        yield _contradiction(message, "write `forward: [Mon-Fri 09:00-17:00]`, or leave it out", "schedule")
