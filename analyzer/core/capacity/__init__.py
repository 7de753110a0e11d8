"""Capacity: what each version's pods can carry, what its HPA will do, and which weights that allows.

Istio's weights and the replicas know nothing of each other. These pure functions tell, for any weight, how many replicas a
version will need and when they are there (`demand`, `forecast`); whether a step may be made (`gate`); and how fast a
rollback may give the traffic back to a stable version that has shrunk (`giveback`).
"""

from analyzer.core.capacity.cost import Cost, Samples, fit, follows
from analyzer.core.capacity.demand import Metric, Scaler, VersionCapacity, carries, needed
from analyzer.core.capacity.gate import Gate, Load, Passage, admit
from analyzer.core.capacity.giveback import Giveback, Severity, plan_giveback
from analyzer.core.capacity.report import CapacityReport, VersionReport

__all__ = [
    "CapacityReport",
    "Cost",
    "Gate",
    "Giveback",
    "Load",
    "Metric",
    "Passage",
    "Samples",
    "Scaler",
    "Severity",
    "VersionCapacity",
    "VersionReport",
    "admit",
    "carries",
    "fit",
    "follows",
    "needed",
    "plan_giveback",
]
