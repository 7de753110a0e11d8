"""Whether the telemetry of a rollout can be relied on, in words."""

from typing import Final

from analyzer.app.ledger.types import EXPECTED_INTERVALS, MAX_WINDOW_S, Demand, Health

STALE_S: Final = 10.0
"""Beyond so many seconds and `EXPECTED_INTERVALS`, samples are old."""

APPLY_TELEMETRY: Final = "kubectl apply -f deploy/telemetry/telemetry.yaml"
SHOW_ROUTE_NAMES: Final = (
    "kubectl exec -n istio-system deploy/istio-ingressgateway -c istio-proxy -- pilot-agent request GET stats/prometheus"
    ' | grep -o \'route_name="[^"]*"\' | sort -u'
)
"""The ingress gateway of Istio's own installation; any other proxy that calls the versions will do."""


def assess_health(
    demand: Demand,
    *,
    newest_s: float | None,
    end_s: float,
    interval_s: float | None,
    known: bool,
    labelled: bool,
    jumped: bool,
) -> Health:
    """Judge the telemetry of one demand.

    `known`: a series of either version is there, on whatever route. `labelled`: one of them names its route.
    """
    if demand.routes is not None and not demand.routes:
        return Health(fresh=False, reason="RouteUnnamed", message=_unnamed(demand), newest_s=newest_s)
    if known and demand.routes is not None and not labelled:
        return Health(fresh=False, reason="RouteLabelMissing", message=_route_missing(demand), newest_s=newest_s)
    if newest_s is None:
        return Health(fresh=False, reason="NoSeries", message=_no_series(demand), newest_s=None)
    if interval_s is None:
        message = f"{demand.key}: there is one scrape so far; two are needed to tell the scrape interval"
        return Health(fresh=False, reason="TooFewScrapes", message=message, newest_s=newest_s)
    age_s = end_s - newest_s
    if age_s > EXPECTED_INTERVALS * interval_s + STALE_S:
        return Health(fresh=False, reason="Stale", message=_stale(demand, age_s, interval_s), newest_s=newest_s)
    if jumped:
        return Health(fresh=True, reason="WindowExceeded", message=_exceeded(demand), newest_s=newest_s)
    return Health(fresh=True, reason="", message="", newest_s=newest_s)


def _versions(demand: Demand) -> str:
    stable, canary = demand.stable.workload, demand.canary.workload
    return f"{stable.namespace}/{stable.name} and {canary.namespace}/{canary.name}"


def _no_series(demand: Demand) -> str:
    route = f" on {_routes(demand.routes)}" if demand.routes is not None else ""
    return (
        f"{demand.key}: no proxy has reported a request to {_versions(demand)}{route}. Check that requests arrive,"
        " that callers (or the ingress gateway) have Istio's proxy, that Prometheus scrapes it (port 15020 or 15090,"
        " `up`), and that istio_requests_total keeps its labels reporter, destination_workload and"
        " destination_workload_namespace"
    )


def _routes(names: frozenset[str]) -> str:
    return f"the route{'s' if len(names) > 1 else ''} {', '.join(sorted(names))}"


def _stale(demand: Demand, age_s: float, interval_s: float) -> str:
    return (
        f"{demand.key}: the newest sample of {_versions(demand)} is {age_s:.0f} s old, with a scrape interval of"
        f" {interval_s:g} s. Check Prometheus' targets for the proxies that call them"
    )


def _unnamed(demand: Demand) -> str:
    return (
        f"{demand.key}: other routes lead to {_versions(demand)} too, and a route of this stage has lost the name by which"
        " telemetry told its users from the others. Give it a `name` that no other route has; for a delegate, see that the"
        " root is there"
    )


def _route_missing(demand: Demand) -> str:
    routes = _routes(demand.routes or frozenset())
    return (
        f"{demand.key}: the metrics of {_versions(demand)} have no label route_name, so users on {routes} cannot be told"
        " from all the others, and comparing the versions would compare different users."
        f" Mend it with `{APPLY_TELEMETRY}` (tagOverrides route_name: xds.route_name),"
        f" and see that it works with `{SHOW_ROUTE_NAMES}`: it lists {routes}; or judge all routes together, in one stage"
    )


def _exceeded(demand: Demand) -> str:
    return (
        f"{demand.key}: the last judged interval ended before what is read back (at most {MAX_WINDOW_S:.0f} s);"
        " the time between is not judged"
    )
