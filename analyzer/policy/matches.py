"""Matches of http routes: which route a request comes to, and routes that no request comes to.

Routes are tried in their order, and the first that matches has the request. Within a match all conditions hold; of a route's
matches one is enough. Only what can be decided is said: where conditions are of different kinds, nothing is.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from analyzer.policy import mesh
from analyzer.policy.findings import Code, Path, Problem, Severity, Subject
from analyzer.policy.mesh import Object, RouteView

_STRINGS: Final = ("uri", "scheme", "method", "authority")
_MAPS: Final = ("headers", "withoutHeaders", "queryParams")
_EQUAL: Final = ("sourceNamespace", "port")
_KNOWN: Final = frozenset(
    {*_STRINGS, *_MAPS, *_EQUAL, "sourceLabels", "gateways", "ignoreUriCase", "name", "statPrefix"}
)


def check_matches(virtual_service: Object, stages: Sequence[Collection[int]]) -> list[Problem]:
    """Find http routes that no request comes to. That is an error where it is all that a stage moves.

    `stages`: the indices of each stage's routes.
    """
    found = _unreachable(virtual_service, only=None)
    dead = {path[2] for _, _, path in found}
    fatal = {index for routes in stages if dead.issuperset(routes) for index in routes}
    return [_problem(*one, severity=Severity.ERROR if one[2][2] in fatal else Severity.WARNING) for one in found]


def check_stages_reached(virtual_service: Object, stages: Sequence[Collection[int]]) -> list[Problem]:
    """Find the errors of `check_matches`, and only these: it is asked often."""
    problems: list[Problem] = []
    for routes in stages:
        found = _unreachable(virtual_service, only=routes)
        if len(found) == len(routes):
            problems += [_problem(*one, severity=Severity.ERROR) for one in found]
    return problems


def _unreachable(virtual_service: Object, *, only: Collection[int] | None) -> list[tuple[str, str, Path]]:
    """List message, mend and place of each route that no request comes to."""
    views = mesh.find_routes(virtual_service)
    routes = {view.index: mesh.get_list(virtual_service, "spec", "http")[view.index] for view in views}
    found: list[tuple[str, str, Path]] = []
    for later in views:
        if only is not None and later.index not in only:
            continue
        # Of a delegate's requests only those are gone that its own matches take.
        before = [v for v in views if v.index < later.index and not mesh.get_map(routes[v.index], "delegate")]
        cover = _cover(routes[later.index], before, routes)
        if cover is None:
            continue
        first, same = cover
        why = "has the same match" if same else "takes all that it matches"
        message = f"no request comes to {later}: {first}, which is before it, {why}"
        mend = "give them different matches, or make them one" if same else f"write it before {first}"
        found.append((message, mend, ("spec", "http", later.index)))
    return found


def _problem(message: str, mend: str, path: Path, *, severity: Severity) -> Problem:
    return Problem(Code.ROUTE_UNREACHABLE, message, mend, path, Subject.VIRTUAL_SERVICE, severity)


def _cover(later: object, before: Sequence[RouteView], routes: Mapping[int, object]) -> tuple[RouteView, bool] | None:
    """Find the route that has all requests of a later one; and whether it is by the very same match."""
    wanted = _matches(later) or [{}]
    for view in before:
        given = _matches(routes[view.index]) or [{}]
        if all(any(covers(one, other) for one in given) for other in wanted):
            return view, all(any(covers(other, one) for other in wanted) for one in given)
    return None


def _matches(route: object) -> list[Object]:
    return mesh.get_maps(route, "match")


def covers(one: Object, other: Object) -> bool:
    """Tell whether a match takes every request that the other one takes; False where that cannot be decided."""
    if not _KNOWN.issuperset(one):
        return False
    if bool(one.get("ignoreUriCase")) < bool(other.get("ignoreUriCase")) and "uri" in one:
        return False
    exact = all(_implied(one.get(name), other.get(name), any_prefix="/" if name == "uri" else "") for name in _STRINGS)
    maps = all(
        _all_implied(_lowered(one, name), _lowered(other, name), negated=name == "withoutHeaders") for name in _MAPS
    )
    equal = all(one.get(name) in (None, "", 0, other.get(name)) for name in _EQUAL)
    labels = mesh.get_map(one, "sourceLabels").items() <= mesh.get_map(other, "sourceLabels").items()
    gateways, others = mesh.get_list(one, "gateways"), mesh.get_list(other, "gateways")
    return exact and maps and equal and labels and (not gateways or (bool(others) and set(others) <= set(gateways)))


def _lowered(match: Object, name: str) -> dict[str, object]:
    """Names of headers are compared without case; those of query parameters as they are."""
    return {
        key if name == "queryParams" else str(key).lower(): value for key, value in mesh.get_map(match, name).items()
    }


def _all_implied(one: Mapping[str, object], other: Mapping[str, object], *, negated: bool) -> bool:
    if negated:
        return all(key in other and other[key] == value for key, value in one.items())
    return all(
        key in other and _implied(value or {"regex": "*"}, other[key] or {"regex": "*"}) for key, value in one.items()
    )


def _implied(one: object, other: object, *, any_prefix: str = "") -> bool:
    """Tell whether a condition on a string holds wherever the other one does."""
    given, wanted = mesh.get_map({"it": one}, "it"), mesh.get_map({"it": other}, "it")
    if one is None or given.get("regex") == ".*" or (any_prefix and given.get("prefix") == any_prefix):
        return True
    if given.get("regex") == "*":  # Istio: any value
        return other is not None
    if given == wanted:
        return True
    prefix = given.get("prefix")
    if not isinstance(prefix, str):
        return False
    value = wanted.get("exact", wanted.get("prefix"))
    return isinstance(value, str) and value.startswith(prefix)
