"""Whether telemetry can tell the users of a stage from others."""

from collections.abc import Sequence

from analyzer.policy import delegation
from analyzer.policy.findings import Code, Path, Problem, Subject
from analyzer.policy.mesh import Object
from analyzer.policy.routes import RouteTarget, StageTarget


def check_telemetry_names(
    virtual_service: Object, stages: Sequence[StageTarget], *, others: Sequence[Object] = ()
) -> list[Problem]:
    """Find what keeps the users of a stage from being told from others: for lint, and for the moment a rollout would begin.

    `others`: as for `resolve_routes`.
    """
    followed, hidden = delegation.effective(virtual_service, delegation.find_delegations(virtual_service, others))
    problems = [_hidden(d) for d in hidden]
    for stage in stages:
        odd = next((route for route in stage.routes if route.telemetry is None), None)
        if not stage.shared or odd is None:
            continue
        if followed or not delegation.is_delegate(virtual_service):
            problems.append(_unnamed(odd))
        elif not hidden:
            problems.append(_root_unseen(virtual_service, odd))
    return problems


def _hidden(hidden: delegation.Delegation) -> Problem:
    namespace = hidden.root.partition("/")[0]
    message = (
        f"VirtualService {hidden.root} delegates to this one, and Istio ignores that:"
        f" `exportTo` hides it from {namespace}"
    )
    return _problem(Code.DELEGATE_HIDDEN, message, f"add `{namespace}` to `exportTo`", ("spec", "exportTo"))


def _unnamed(route: RouteTarget) -> Problem:
    message = (
        "other routes lead to the same versions, and telemetry has no name for this one alone:"
        " its users cannot be told from the others"
    )
    return _problem(Code.ROUTE_UNNAMED, message, "give it a `name` that no other route has", _path(route))


def _root_unseen(virtual_service: Object, route: RouteTarget) -> Problem:
    message = (
        f"no VirtualService that is seen here delegates to {delegation.full_name(virtual_service)}, and several of its routes"
        f" lead to the same versions: telemetry calls this one `<the root's route>-{route.name or '…'}`, and which that is"
        " is not known"
    )
    mend = "let Serin see the root (its namespace in `--namespace`, and a Role there), and lint its file"
    return _problem(Code.ROOT_UNSEEN, message, mend, _path(route))


def _path(route: RouteTarget) -> Path:
    return ("spec", "http", route.index)


def _problem(code: Code, message: str, mend: str, path: Path) -> Problem:
    return Problem(code, message, mend, path, Subject.VIRTUAL_SERVICE)
