"""Rules over several fields of a policy, and fields whose behaviour is still to come."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from analyzer.policy.findings import Code, Path, Problem, suggest
from analyzer.policy.model import Behaviour, Spec
from analyzer.policy.quantities import format_duration


def check_rules(spec: Behaviour) -> list[Problem]:
    """Find what contradicts itself, and what this version cannot do."""
    problems = [*_target(spec)] if isinstance(spec, Spec) else []
    for rule in (_stages, _dwell, _alerts):
        problems += rule(spec)
    for entry in NOT_YET:
        problems += [Problem(Code.NOT_YET, entry.message, entry.mend, path) for path in entry.find(spec)]
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


# --- not yet ----------------------------------------------------------------------------------------------------------


class NotYet(NamedTuple):
    """A part of the schema that this version refuses, so that nobody relies on what does not happen."""

    find: Callable[[Behaviour], Iterable[Path]]
    message: str
    mend: str


def _where(path: str, present: Callable[[Behaviour], bool]) -> Callable[[Behaviour], Iterable[Path]]:
    """Find one fixed place."""
    return lambda spec: [tuple(path.split("."))] if present(spec) else []


NOT_YET: Final = (
    NotYet(
        _where("spec.approval", lambda spec: bool(spec.approval)),
        "approval is not supported yet: no step would wait for a person",
        "leave `approval` out, or hold the rollout with `suspend: true`",
    ),
)
"""Work that brings a behaviour deletes its entry."""
