"""Which routes of a VirtualService each stage moves, and what their weights are now.

`resolve_routes` depends on the structure of the objects only. What depends on the weights that happen to be there is in
`check_weights`: a rollout in flight must stay resolvable, and so able to go back, whatever someone wrote into them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from analyzer.policy import delegation, mesh
from analyzer.policy.fields import AUTO_WEIGHTS
from analyzer.policy.findings import Code, Path, Problem, Severity, Subject, suggest
from analyzer.policy.mesh import Object, RouteView
from analyzer.policy.model import CanaryPolicy, Stage
from analyzer.policy.versions import Version, resolve_versions


@dataclass(frozen=True, slots=True)
class RouteTarget:
    """One route to move.

    Attributes
    ----------
    name
        None if the route has none.
    index
        Position in `spec.http`.
    destination_index
        Version name → position in the route's list of destinations.
    weights
        Version name → weight now, as it is in effect.
    total
        Sum of the weights; every change keeps it.
    telemetry
        What telemetry calls it: its name, or for a delegate's route the joined names of all that lead to it. None where it
        cannot be told from other routes to its versions.
    """

    name: str | None
    index: int
    destination_index: Mapping[str, int]
    weights: Mapping[str, int]
    total: int
    telemetry: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class StageTarget:
    """The routes that one stage moves, all together.

    Attributes
    ----------
    name
        `spec.stages[].route`; None for "every route that splits both versions".
    routes
        At least one.
    shared
        True when other http routes lead to either version too: the versions then serve different users, and telemetry
        per route is needed to compare them.
    """

    name: str | None
    routes: tuple[RouteTarget, ...]
    shared: bool

    @property
    def indices(self) -> frozenset[int]:
        """The positions of its routes in `spec.http`."""
        return frozenset(route.index for route in self.routes)

    @property
    def telemetry(self) -> frozenset[str] | None:
        """What telemetry calls its routes; None where it cannot tell one of them from others."""
        names = [route.telemetry for route in self.routes]
        return None if None in names else frozenset().union(*(name for name in names if name is not None))


Resolved = tuple[tuple[Version, Version], tuple[StageTarget, ...]]


def resolve_routes(
    policy: CanaryPolicy, virtual_service: Object, *, others: Sequence[Object] = ()
) -> Resolved | list[Problem]:
    """Resolve the versions, and the routes of each stage.

    `others`: all other VirtualServices that may matter: its roots, its delegates, and those that lead to the same versions.
    What telemetry calls the routes depends on them, and whether they share their versions; never which routes there are.
    """
    versions = resolve_versions(virtual_service, policy.spec.target, stages=policy.spec.stages)
    if isinstance(versions, list):
        return _delegated(policy, virtual_service) or versions
    views = mesh.find_routes(virtual_service)
    problems: list[Problem] = []
    stages: list[StageTarget] = []
    for index, stage in enumerate(policy.spec.stages):
        chosen = _routes_of_stage(views, versions, stage=stage, path=("spec", "stages", index, "route"))
        if isinstance(chosen, Problem):
            problems.append(chosen)
        else:
            neighbours = _neighbours(virtual_service, views, moved={view.index for view in chosen}, others=others)
            roots = delegation.root_names(virtual_service, others)
            stages.append(_stage_target(stage.route, chosen, neighbours=neighbours, roots=roots, versions=versions))
    if problems:
        return _delegated(policy, virtual_service) or problems
    return versions, tuple(stages)


def _delegated(policy: CanaryPolicy, virtual_service: Object) -> list[Problem]:
    """Say that the weights are elsewhere, if routes lead elsewhere; asked where none here will do."""
    found = delegation.delegations_of(virtual_service)
    if not found:
        return []
    names = list(dict.fromkeys(d.delegate for d in found))
    message = (
        f"VirtualService {delegation.full_name(virtual_service)} delegates to {', '.join(names)}: the weights are there"
    )
    own = policy.metadata.namespace
    there = [d for d in found if d.namespace == own]
    mend = (
        f"write `virtualService: {there[0].name}`"
        if there
        else f"write the policy into namespace {found[0].namespace}, with `virtualService: {found[0].name}`"
    )
    return [Problem(Code.WEIGHTS_DELEGATED, message, mend, ("spec", "target", "virtualService"))]


def _routes_of_stage(
    views: Sequence[RouteView], versions: tuple[Version, Version], *, stage: Stage, path: Path
) -> list[RouteView] | Problem:
    """Choose the routes that a stage moves: the one it names, or all that split both versions."""
    both = {version.key for version in versions}
    names = f"{versions[0].name} and {versions[1].name}"
    if stage.route is None:
        chosen = [view for view in views if both <= {d.key for d in view.destinations}]
        if not chosen:
            mend = f"write both into a route, the canary with `weight: 0`: {names}"
            message = f"no route of the VirtualService leads to both {names}"
            return Problem(Code.ROUTE_NOT_SPLIT, message, mend, ("spec", "target", "virtualService"))
    else:
        chosen = [view for view in views if view.name == stage.route]
        if not chosen:
            message = f"the VirtualService has no route `{stage.route}`"
            return Problem(Code.ROUTE_MISSING, message, suggest(stage.route, [v.name for v in views if v.name]), path)
    for view in chosen:
        keys = {d.key for d in view.destinations}
        if not both <= keys:
            mend = f"write both {names} into it; the one without traffic has `weight: 0`"
            return Problem(Code.ROUTE_NOT_SPLIT, f"{view} does not lead to both {names}", mend, path)
        if extra := keys - both:
            message = f"{view} also leads to {', '.join(sorted(subset or host for host, subset in extra))}"
            mend = "leave exactly the two versions in it: with a third one the weights are not the canary's share"
            at: Path = ("spec", "http", view.index, "route")
            return Problem(Code.EXTRA_DESTINATION, message, mend, at, Subject.VIRTUAL_SERVICE)
    return chosen


def _neighbours(
    virtual_service: Object, views: Sequence[RouteView], *, moved: set[int], others: Sequence[Object]
) -> list[tuple[str | None, RouteView]]:
    """List the routes that a stage does not move, as telemetry calls them."""
    own = [
        (delegation.joined_name(root, view.name), view)
        for view in views
        if view.index not in moved
        for root in delegation.root_names(virtual_service, others) or (None,)
    ]
    return [*own, *delegation.routes_beside(virtual_service, others)]


def _stage_target(
    name: str | None,
    chosen: Sequence[RouteView],
    *,
    neighbours: Sequence[tuple[str | None, RouteView]],
    roots: Sequence[str | None],
    versions: tuple[Version, Version],
) -> StageTarget:
    sharing = [called for called, view in neighbours if any(view.leads_to(version.key) for version in versions)]
    return StageTarget(
        name=name,
        routes=tuple(_route_target(view, versions, _telemetry_names(view, roots, sharing)) for view in chosen),
        shared=bool(sharing),
    )


def _telemetry_names(
    view: RouteView, roots: Sequence[str | None], sharing: Sequence[str | None]
) -> frozenset[str] | None:
    """Tell what telemetry calls a route; None where it has no name, or one that a route beside it has too."""
    names = [delegation.joined_name(root, view.name) for root in roots]
    known = frozenset(name for name in names if name is not None)
    # Behind a dot Istio writes the name of a match.
    taken = any(other == name or (other or "").startswith(f"{name}.") for name in known for other in sharing)
    return known if known and None not in names and not taken else None


def _route_target(view: RouteView, versions: tuple[Version, Version], telemetry: frozenset[str] | None) -> RouteTarget:
    at = {version.name: view.position(version.key) for version in versions}
    index = {name: position for name, position in at.items() if position is not None}
    return RouteTarget(
        name=view.name,
        index=view.index,
        destination_index=index,
        weights={name: view.destinations[position].weight for name, position in index.items()},
        total=view.total,
        telemetry=telemetry,
    )


# --- weights as they are now ------------------------------------------------------------------------------------------


def heavier_version(stages: Sequence[StageTarget]) -> str | None:
    """Tell the version with more traffic: in the last stage's routes (everybody's), or else in an earlier one's.

    Total weights would mislead: a focused stage that is through has all of its few users on the canary.
    """
    for stage in reversed(stages):
        for route in stage.routes:
            (one, weight_of_one), (other, weight_of_other) = route.weights.items()
            if weight_of_one != weight_of_other:
                return one if weight_of_one > weight_of_other else other
    return None


def check_weights(policy: CanaryPolicy, target_stages: Sequence[StageTarget]) -> list[Problem]:
    """Find what is wrong with the weights that are there now: for lint, and for the moment a rollout would begin."""
    problems: list[Problem] = []
    for stage, target in zip(policy.spec.stages, target_stages, strict=True):
        for route in target.routes:
            problems += _inexpressible(stage, route)
        shares = [tuple(w / (route.total or 1) for w in route.weights.values()) for route in target.routes]
        if odd := [route for route, share in zip(target.routes, shares, strict=True) if share != shares[0]]:
            message = "this route and the others that split both versions have different weights, and move together"
            mend = "write the same weights into them, or name one route per stage"
            problems.append(_in_route(odd[0], Code.WEIGHTS_DISAGREE, message, mend, severity=Severity.WARNING))
    if policy.spec.target.stable is None and heavier_version(target_stages) is None:
        message = "both versions have the same weight, so nothing tells which one is stable"
        problems.append(Problem(Code.STABLE_UNKNOWN, message, "name it: `stable: <version>`", ("spec", "target")))
    return problems


def check_sums(virtual_service: Object, *, known: Collection[Path] = ()) -> list[Problem]:
    """Find weights that Istio refuses, and such as look like per cent and are none; but not at the places that are `known`."""
    problems: list[Problem] = []
    for view in mesh.find_routes(virtual_service):
        path: Path = ("spec", "http", view.index, "route")
        if len(view.destinations) < 2 or path in known:
            continue
        if view.total == 0:
            message = f"the weights of {view} sum to 0, which Istio refuses"
            problems.append(Problem(Code.WEIGHTS_SUM, message, "let them sum to 100", path, Subject.VIRTUAL_SERVICE))
        elif view.total % 100:
            largest = max(view.destinations, key=lambda destination: destination.weight)
            share = 100 * largest.weight / view.total
            message = f"the weights of {view} sum to {view.total}, so {largest.weight} is {share:.3g} % of the requests"
            warning = Severity.WARNING
            problems.append(
                Problem(Code.WEIGHTS_SUM, message, "let them sum to 100", path, Subject.VIRTUAL_SERVICE, warning)
            )
    return problems


def _inexpressible(stage: Stage, route: RouteTarget) -> list[Problem]:
    # `auto` may begin at any whole per cent up to its first rung.
    steps = (1, 2, 3, 4, *AUTO_WEIGHTS[1:]) if stage.weights == "auto" else stage.weights
    off = [step for step in steps if step * route.total % 100]
    if not off and route.total > 0:
        return []
    message = f"the route's weights sum to {route.total}" + (
        f", and {off[0]} % of that is no whole number" if off else ""
    )
    return [_in_route(route, Code.WEIGHTS_INEXPRESSIBLE, message, "let them sum to 100")]


def _in_route(
    route: RouteTarget, code: Code, message: str, mend: str, *, severity: Severity = Severity.ERROR
) -> Problem:
    return Problem(code, message, mend, ("spec", "http", route.index, "route"), Subject.VIRTUAL_SERVICE, severity)
