"""The model mesh with several http routes, each with users of its own."""

from dataclasses import dataclass, field
from typing import Any

from tests.app.model import ROUTE, SCRAPE_S, Behaviour, Labels, ModelMesh, version_of
from tests.app.test_turns import QUICK
from tests.fakes import ManualClock


def _as_usual() -> dict[str, Behaviour]:
    return {"v1": Behaviour(), "v2": Behaviour()}


@dataclass
class Audience:
    """The users of one http route.

    Attributes
    ----------
    requests_per_s
        What they ask for [1/s].
    route_name
        What telemetry calls the route; empty: it has no such label.
    behaviours
        How the versions answer them.
    weights
        By version, where another VirtualService sends them.
    """

    requests_per_s: float
    route_name: str = ""
    behaviours: dict[str, Behaviour] = field(default_factory=_as_usual)
    weights: dict[str, int] | None = None


@dataclass
class AudienceMesh(ModelMesh):
    """Its audiences are by the index of their route; without any it is the mesh of one route."""

    audiences: dict[int, Audience] = field(default_factory=dict)
    main: int = 0
    """The route whose weights a loop notes."""
    _speaking: str = ""

    def weights(self) -> dict[str, int]:
        """Return the main route's weights now; zeros where it has none."""
        return {"v1": 0, "v2": 0} | self.weights_of(self.main)

    def weights_of(self, route: int) -> dict[str, int]:
        """Return a route's weights now; a single destination has everything."""
        entries = self.read(ROUTE)["spec"]["http"][route].get("route", [])
        alone = len(entries) == 1
        return {version_of(entry["destination"]): 100 if alone else entry.get("weight", 0) for entry in entries}

    def _serve(self) -> None:
        if not self.audiences and any(self.weights().values()):
            super()._serve()
        for route, audience in self.audiences.items():
            weights = audience.weights or self.weights_of(route)
            total: int = sum(weights.values())
            self.behaviours, self._speaking = audience.behaviours, audience.route_name
            for version, weight in weights.items():
                requests = round(audience.requests_per_s * SCRAPE_S * weight / total)
                self.served[version] += requests
                self._count(version, requests)

    def _labels(self, name: str, version: str, **more: str) -> Labels:
        return super()._labels(name, version, **({"route_name": self._speaking} if self._speaking else {}), **more)


def quick_audiences(
    audiences: dict[int, Audience] | None = None, *, clock: ManualClock | None = None, **spec: Any
) -> AudienceMesh:
    """Make one with a quick policy."""
    mesh = AudienceMesh(requests_per_s=1000.0, clock=clock or ManualClock())
    mesh.set_policy(**QUICK | spec)
    mesh.audiences = audiences or {}
    return mesh
