"""What requests the weights of all stages bring to a version: stages have routes of their own, and share the pods.

What is counted is `moving` on the active stage's routes, and `…_elsewhere` on all others, with the weights as they are. So
every other weight is reckoned from there.
"""

import math

from analyzer.core.capacity import Load
from analyzer.core.rollout.model import CapacityView, Weights
from analyzer.core.rollout.weights import FULL, active_stage

_ROUNDING = 1e-6


def rate_of(capacity: CapacityView, weights: Weights, stage: int) -> float:
    """Give the requests per second on a stage's routes, of both versions; 0 where none are counted."""
    if stage == active_stage(weights):
        return capacity.moving
    return capacity.staged[stage] if stage < len(capacity.staged) else 0.0


def canary_load(capacity: CapacityView, weights: Weights, *, stage: int, others: Weights) -> Load:
    """Give the canary's load as the weight of one stage moves.

    Parameters
    ----------
    capacity
        What was counted, at `weights`.
    weights
        Those that there are [per cent].
    stage
        Whose weight moves.
    others
        The weights of the other stages meanwhile; that of `stage` in it is of no account.
    """
    active = active_stage(weights)
    elsewhere = capacity.canary_elsewhere
    for i, weight in enumerate(weights):
        counted = 0.0 if i == active else weight
        wanted = 0.0 if i == stage else others[i]
        elsewhere += rate_of(capacity, weights, i) * (wanted - counted) / FULL
    return Load(rate_of(capacity, weights, stage), max(0.0, elsewhere), weights[stage])


def returning_load(capacity: CapacityView, weights: Weights) -> Load:
    """Give what comes back to the stable version: `weight` is the canary's share of the routes of all stages together."""
    active = active_stage(weights)
    rates = [rate_of(capacity, weights, i) for i in range(len(weights))]
    whole = sum(rates)
    given = sum(rate * weight for rate, weight in zip(rates, weights, strict=True))
    counted = sum(rate * (FULL - weights[i]) / FULL for i, rate in enumerate(rates) if i != active)
    return Load(whole, max(0.0, capacity.stable_elsewhere - counted), given / whole if whole > 0.0 else 0.0)


def keep_share(load: Load, weights: Weights, share: float) -> Weights:
    """Leave the canary `share` [per cent] of all stages' requests, of which it has `load.weight`: each stage gives alike."""
    part = share / load.weight
    return tuple(min(weight, float(math.ceil(weight * part - _ROUNDING))) for weight in weights)
