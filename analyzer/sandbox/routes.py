"""What istiod makes of a VirtualService: Envoy's routes. Pure.

Modelled: hosts; matches on uri, method, authority and headers (exact, prefix, regex as RE2 full match), AND inside a
block and OR across; route names; weights, with zero-weight destinations dropped; time-outs (none by default).
Everything else in a route is refused, never ignored. Istio's default retries are left out: a retry would hide what the
users are to see.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from analyzer.errors import PolicyError
from analyzer.policy.mesh import resolve_host
from analyzer.ports import Object

ROUTES: Final = "gateway"
"""Name of the gateway's RouteConfiguration."""

_ROUTE_FIELDS: Final = frozenset({"name", "match", "route", "timeout"})
_MATCH_FIELDS: Final = frozenset({"name", "uri", "method", "authority", "headers", "withoutHeaders"})
_ROUTE_CONFIGURATION: Final = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"


def cluster_name(host: str, *, port: int, subset: str | None) -> str:
    """Name an Envoy cluster as istiod does."""
    return f"outbound|{port}|{subset or ''}|{host}"


def build_routes(virtual_services: Iterable[Object], services: Iterable[Object]) -> Object:
    """Translate all VirtualServices that are bound to a gateway.

    Raises
    ------
    PolicyError
        A field that the model of istiod does not know, a host that is no Service, or a host in two VirtualServices.
    """
    ports = {service_host(service): [port["port"] for port in service["spec"]["ports"]] for service in services}
    hosts: dict[str, str] = {}
    virtual_hosts = []
    for virtual_service in virtual_services:
        if not is_at_gateway(virtual_service):
            continue
        name = f"{virtual_service['metadata']['namespace']}/{virtual_service['metadata']['name']}"
        domains = [resolve_host(host, virtual_service["metadata"]["namespace"]) for host in _hosts(virtual_service)]
        for domain in domains:
            if domain in hosts:
                raise PolicyError(f"VirtualServices {hosts[domain]} and {name} both claim host {domain!r}: keep one")
            hosts[domain] = name
        try:
            routes = [route for http in _http(virtual_service) for route in _build_route(virtual_service, http, ports)]
        except PolicyError as error:
            raise PolicyError(f"VirtualService {name}: {error}") from None
        virtual_hosts.append({"name": name, "domains": domains, "routes": routes})
    return {
        "@type": _ROUTE_CONFIGURATION,
        "name": ROUTES,
        "virtual_hosts": virtual_hosts,
        "ignore_port_in_host_matching": True,
    }


def service_host(service: Object) -> str:
    """Give the fully qualified host of a Service."""
    return resolve_host(service["metadata"]["name"], service["metadata"]["namespace"])


def is_at_gateway(virtual_service: Object) -> bool:
    """Tell whether it applies to the gateway; without `gateways` it is for the mesh only."""
    gateways = virtual_service["spec"].get("gateways") or ["mesh"]
    return any(gateway != "mesh" for gateway in gateways)


def _hosts(virtual_service: Object) -> list[str]:
    return list(virtual_service["spec"]["hosts"])


def _http(virtual_service: Object) -> list[Object]:
    return list(virtual_service["spec"].get("http") or [])


def _build_route(virtual_service: Object, http: Object, ports: Mapping[str, list[int]]) -> list[Object]:
    name = http.get("name", "")
    _refuse_unknown(http, _ROUTE_FIELDS, where=f"http route {name!r}")
    action = {
        **_build_destination(virtual_service, http, ports),
        "timeout": http.get("timeout", "0s"),
    }
    matches = http.get("match") or [{}]
    return [
        {
            "name": ".".join(filter(None, (name, match.get("name")))),
            "match": build_match(match, where=f"http route {name!r}"),
            "route": action,
        }
        for match in matches
    ]


def _build_destination(virtual_service: Object, http: Object, ports: Mapping[str, list[int]]) -> Object:
    namespace = virtual_service["metadata"]["namespace"]
    destinations = http.get("route") or []
    if not destinations:
        raise PolicyError(f"http route {http.get('name', '')!r} has no destination: give it a `route`")
    clusters = [_cluster_of(entry["destination"], namespace, ports) for entry in destinations]
    if len(clusters) == 1:
        return {"cluster": clusters[0]}
    weighted = [
        {"name": cluster, "weight": entry.get("weight", 0)}
        for cluster, entry in zip(clusters, destinations, strict=True)
        if entry.get("weight", 0) > 0
    ]
    if not weighted:
        raise PolicyError(f"http route {http.get('name', '')!r}: all weights are 0: at least one must be above")
    return {"weighted_clusters": {"clusters": weighted}} if len(weighted) > 1 else {"cluster": weighted[0]["name"]}


def _cluster_of(destination: Object, namespace: str, ports: Mapping[str, list[int]]) -> str:
    host = resolve_host(destination["host"], namespace)
    if host not in ports:
        raise PolicyError(f"destination {destination['host']!r} is no Service ({host})")
    port = (destination.get("port") or {}).get("number") or (ports[host][0] if len(ports[host]) == 1 else None)
    if port is None:
        raise PolicyError(f"destination {destination['host']!r} has several ports: say which as `port: {{number: …}}`")
    return cluster_name(host, port=port, subset=destination.get("subset"))


def build_match(match: Object, *, where: str) -> Object:
    """Translate one HTTPMatchRequest; an empty one matches everything."""
    _refuse_unknown(match, _MATCH_FIELDS, where=f"match of {where}")
    headers = [_header(name, value) for name, value in (match.get("headers") or {}).items()]
    headers += [
        {**_header(name, value), "invert_match": True} for name, value in (match.get("withoutHeaders") or {}).items()
    ]
    for field in ("method", "authority"):
        if field in match:
            headers.append(_header(f":{field}", match[field]))
    return {**_path(match.get("uri")), **({"headers": headers} if headers else {})}


def _path(uri: Mapping[str, str] | None) -> Object:
    kind, text = _string_match(uri) if uri else ("prefix", "/")
    if kind == "regex":
        return {"safe_regex": {"regex": text}}
    return {"path" if kind == "exact" else "prefix": text}


def _header(name: str, value: Mapping[str, str]) -> Object:
    if not value:
        return {"name": name, "present_match": True}
    kind, text = _string_match(value)
    # Envoy's safe_regex is RE2 and matches the whole value, as Istio promises.
    return {"name": name, "string_match": {"safe_regex": {"regex": text}} if kind == "regex" else {kind: text}}


def _string_match(value: Mapping[str, Any]) -> tuple[str, str]:
    if len(value) != 1 or next(iter(value)) not in {"exact", "prefix", "regex"}:
        raise PolicyError(f"{dict(value)} is no string match: give one of exact, prefix, regex")
    return next(iter(value.items()))


def _refuse_unknown(mapping: Object, known: frozenset[str], *, where: str) -> None:
    unknown = sorted(set(mapping) - known)
    if unknown:
        raise PolicyError(f"{where}: the sandbox does not model {', '.join(unknown)}: leave it out")
