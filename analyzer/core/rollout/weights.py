"""Arithmetic of weights. All shares are the canary's, in per cent."""

import math

from analyzer.core.rollout.model import Weights
from analyzer.core.rollout.plan import RolloutPlan

FULL = 100.0
ENTRY_RPS = 2.0
"""A ramp begins where the canary gets so many requests per second: less proves nothing within the time of a step."""
GROWTH = 3.2
"""By so much a weight may grow in one step, however much is proven: harm that comes with load must have its chance to show."""
_TOLERANCE = 1e-6


def same(left: Weights, right: Weights) -> bool:
    """Tell whether two sets of weights are the same; thirds of a hundred are not whole numbers."""
    return len(left) == len(right) and all(abs(a - b) < _TOLERANCE for a, b in zip(left, right, strict=True))


def zero(plan: RolloutPlan) -> Weights:
    """Return the weights of a canary without traffic."""
    return (0.0,) * len(plan.stages)


def any_traffic(weights: Weights) -> bool:
    """Tell whether the canary gets requests by these weights."""
    return any(w > 0 for w in weights)


def active_stage(weights: Weights) -> int:
    """Return the index of the stage that moves: the first below 100, or the last."""
    return next((i for i, w in enumerate(weights) if w < FULL), len(weights) - 1)


def next_weights(plan: RolloutPlan, weights: Weights) -> Weights:
    """Return the weights one step further, or the same where there is none.

    A stage that reaches 100 hands over to the next one in the same step: nobody waits at a weight of zero, where there is
    nothing to compare.
    """
    stage = active_stage(weights)
    higher = [float(w) for w in plan.stages[stage].weights if w > weights[stage]]
    return moved(plan, weights, higher[0]) if higher else weights


def ladder(plan: RolloutPlan, weights: Weights) -> tuple[float, ...]:
    """Return the weights that are to be proven side by side; none where each step is by itself."""
    stage = plan.stages[active_stage(weights)]
    return tuple(float(w) for w in stage.weights[1:]) if stage.auto else ()


def grown_weights(plan: RolloutPlan, weights: Weights, *, most: float) -> Weights:
    """Return the weights after a step that may go as far as `most`; steps by themselves go one further, whatever it is.

    A step on a ladder multiplies the weight by at most `GROWTH`, but it is at least one rung; and it stops at the last weight
    below 100, where a last watch (bake) comes first.
    """
    following = next_weights(plan, weights)
    stage = active_stage(weights)
    step = plan.stages[stage]
    if not step.auto or following[stage] >= FULL:
        return following
    farthest = min(most, GROWTH * weights[stage])
    within = [float(w) for w in step.weights if following[stage] < w <= farthest and w < FULL]
    return moved(plan, weights, within[-1]) if within else following


def entry_weights(plan: RolloutPlan, weights: Weights, *, canary_rps: float) -> Weights:
    """Return the weights of a ramp that has begun with hardly any requests: what gives `ENTRY_RPS`, at most the first rung."""
    stage = active_stage(weights)
    step = plan.stages[stage]
    if not step.auto or weights[stage] != step.weights[0] or not 0 < canary_rps < ENTRY_RPS:
        return weights
    enough = math.ceil(weights[stage] * ENTRY_RPS / canary_rps)
    return moved(plan, weights, float(min(enough, step.weights[1])))


def moved(plan: RolloutPlan, weights: Weights, weight: float) -> Weights:
    """Return the weights after the active stage went to `weight`; one that is complete hands over to the next."""
    stage = active_stage(weights)
    shares = [*weights[:stage], weight, *weights[stage + 1 :]]
    if weight == FULL and stage + 1 < len(shares) and shares[stage + 1] == 0:
        shares[stage + 1] = float(plan.stages[stage + 1].weights[0])
    return tuple(shares)


def full(plan: RolloutPlan) -> Weights:
    """Return the weights of a canary that everybody gets."""
    return (FULL,) * len(plan.stages)


def completes(weights: Weights) -> bool:
    """Tell whether everybody gets the canary by these weights."""
    return all(w >= FULL for w in weights)


def show(weights: Weights) -> str:
    """Write weights for a person: `25 %`, or `100 % / 5 %` for two stages."""
    return " / ".join(f"{w:g} %" for w in weights)
