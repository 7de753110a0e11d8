"""How much faster than in a cluster the autoscalers of the bed are, so that a test need not wait for a quarter of an hour."""

import copy
from typing import Any, Final

from analyzer.ports import Object

ACCELERATION: Final = 15.0
"""Stabilisation windows and readiness delays are so many times as short; the sync period five times (3 s for 15 s)."""

SYNC_S: Final = 3.0
DOWNSCALE_S: Final = 300.0 / ACCELERATION
READINESS_DELAY_S: Final = 30.0 / ACCELERATION
CPU_INITIALISATION_S: Final = 300.0 / ACCELERATION
METRICS_WINDOW_S: Final = 4.0  # of metrics.k8s.io, 15 s and more in a cluster


def accelerate(autoscaler: Object, *, by: float = ACCELERATION) -> Object:
    """Shorten what an HPA itself says: its own windows and periods win over the controller's flags."""
    result = copy.deepcopy(autoscaler)
    behaviour: dict[str, Any] = result["spec"].get("behavior", {})
    for rules in behaviour.values():
        if "stabilizationWindowSeconds" in rules:
            rules["stabilizationWindowSeconds"] = round(rules["stabilizationWindowSeconds"] / by)
        for policy in rules.get("policies", []):
            policy["periodSeconds"] = max(round(policy["periodSeconds"] / by), 1)
    return result
