"""The only write Serin makes to a VirtualService: weights, and only where everything else is as expected.

With a lease, the writer's epoch is written into an annotation by the same patch (`fence`).
"""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from analyzer.app.fence import fence
from analyzer.core.rollout import Weights
from analyzer.policy.routes import RouteTarget, StageTarget
from analyzer.ports import Object, PatchOperation


def weight_patch(
    virtual_service: Object,
    stages: tuple[StageTarget, ...],
    *,
    stable: str,
    canary: str,
    wanted: Weights,
    epoch: int | None = None,
) -> list[PatchOperation]:
    """Build the JSON Patch that gives the canary `wanted` per cent of each stage's routes.

    Each changed route is tested first: the object's uid, the route's name, both destinations, both old weights. If someone
    else wrote in between, the server refuses the whole patch. A route's weights always sum to what they summed to.

    Raises
    ------
    LeadershipLost
        A leader with a later `epoch` wrote the object.
    """
    tests: list[PatchOperation] = [_test("/metadata/uid", virtual_service["metadata"]["uid"])]
    changes: list[PatchOperation] = []
    for stage, share in zip(stages, wanted, strict=True):
        for route in stage.routes:
            canary_weight = round(route.total * share / 100)
            weights = {stable: route.total - canary_weight, canary: canary_weight}
            if weights != {name: route.weights[name] for name in weights}:
                tests += _expectations(virtual_service, route)
                changes += _replacements(virtual_service, route, weights)
    if changes and epoch is not None:
        fenced, mark = fence(virtual_service, epoch)
        tests, changes = [*tests, *fenced], [*changes, *mark]
    return [*tests, *changes] if changes else []


def _test(path: str, value: object) -> PatchOperation:
    return {"op": "test", "path": path, "value": value}


def _entries(virtual_service: Object, route: RouteTarget) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return per version the JSON pointer of its destination, and the destination as it is."""
    listed = virtual_service["spec"]["http"][route.index]["route"]
    return {
        name: (f"/spec/http/{route.index}/route/{position}", listed[position])
        for name, position in route.destination_index.items()
    }


def _expectations(virtual_service: Object, route: RouteTarget) -> list[PatchOperation]:
    tests = [_test(f"/spec/http/{route.index}/name", route.name)] if route.name else []
    for path, entry in _entries(virtual_service, route).values():
        tests.append(_test(f"{path}/destination", entry["destination"]))
        if "weight" in entry:
            tests.append(_test(f"{path}/weight", entry["weight"]))
    return tests


def _replacements(virtual_service: Object, route: RouteTarget, weights: Mapping[str, int]) -> list[PatchOperation]:
    return [
        # `add` replaces a member that is there, and makes one that is not: the API server drops zero weights from some
        # clients' manifests.
        {"op": "replace" if "weight" in entry else "add", "path": f"{path}/weight", "value": weights[name]}
        for name, (path, entry) in _entries(virtual_service, route).items()
    ]


def kubectl_command(namespace: str, virtual_service: str, operations: list[PatchOperation]) -> str:
    """Write the command with which a person can make the same change, without the tests that failed perhaps, or our mark."""
    changes = [
        operation for operation in operations if operation["op"] != "test" and operation["path"].startswith("/spec/")
    ]
    body = shlex.quote(json.dumps(changes, separators=(",", ":")))
    return f"kubectl -n {namespace} patch virtualservice {virtual_service} --type=json -p {body}"
