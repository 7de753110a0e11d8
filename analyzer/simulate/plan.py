"""`serin plan`: what a policy will do to releases of a service, from simulation with the real judge and decision.

The sizes follow from how many intervals a rollout takes, not from the clock: the same seed gives the same report on any
machine.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from analyzer.app.plan import judge_settings, limits_of, rollout_plan
from analyzer.core.judge.types import ISTIO_EDGES_MS
from analyzer.core.rollout import Limits, RolloutPlan
from analyzer.simulate.fleet import Fleet, Scene
from analyzer.simulate.noise import Noise
from analyzer.simulate.outcomes import Outcomes, quantiles_of
from analyzer.simulate.plan_svg import render_svg
from analyzer.simulate.plan_text import render_table, to_json
from analyzer.simulate.plan_types import BadPlan, HarmlessPlan, PlanReport
from analyzer.simulate.regressions import HARMLESS, Regression
from analyzer.simulate.rollouts import run_closed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from analyzer.core.judge.types import JudgeState
    from analyzer.policy.model import CanaryPolicy
    from analyzer.simulate.traffic import Traffic

__all__ = ["BadPlan", "HarmlessPlan", "PlanReport", "plan_report", "render_svg", "render_table", "to_json"]

NOISE: Final = Noise(
    load_sd=0.1, shared_errors_sd=0.2, pod_errors_sd=0.15, pod_latency_sd=0.02, cold_extra=0.3, cold_s=30.0
)
"""An ordinary service: load and errors that move, pods that differ a little, new pods slower at first."""

BAD: Final = (
    Regression(name="+0.1 % errors", errors=0.001),
    Regression(name="+1 % errors", errors=0.01),
    Regression(name="100 % errors", errors=1.0),
    Regression(name="latency +10 %", slower=1.1),
    Regression(name="latency +50 %", slower=1.5),
)

_HARMLESS_BUDGET: Final = 24_000  # simulated intervals; one takes about 0.2 ms
_BAD_BUDGET: Final = 4_000
_FIRST: Final = 30
_MOST_HARMLESS, _MOST_BAD = 500, 150
_MOST_INTERVALS: Final = 320
_HORIZON: Final = 1.2  # a policy that only ever waits takes this much of its longest time at most
_HISTORIES: Final = 10


def plan_report(policy: "CanaryPolicy", traffic: "Traffic", *, seed: int, history: bool = True) -> PlanReport:
    """Simulate what a policy will do.

    Parameters
    ----------
    policy
        Its stages, judge and dwell times are followed; it is taken to act, and not to be suspended.
    traffic
        The service; each stage's route gets all of its traffic.
    seed
        The same seed, the same report.
    history
        Whether the judge knows the stable version's last hour, pod by pod.
    """
    plan = rollout_plan(policy)
    longest_s = sum((len(stage.weights) - 1) * plan.dwell_max_s for stage in plan.stages) + plan.bake_s
    interval_s = max(traffic.interval_s, float(np.ceil(longest_s * _HORIZON / _MOST_INTERVALS)))
    traffic = replace(traffic, interval_s=interval_s)
    scene = Scene(traffic=traffic, noise=NOISE, settings=judge_settings(policy))
    runs = _Runs(scene, plan, seed=seed, horizon_s=longest_s * _HORIZON, history=history)
    return PlanReport(
        policy="/".join(policy.key),
        traffic=traffic,
        interval_s=interval_s,
        horizon_s=longest_s * _HORIZON,
        history=history,
        seed=seed,
        allowed_false_rollback=policy.spec.judge.false_rollback,
        weights=tuple(stage.weights for stage in plan.stages),
        harmless=_harmless(runs.of(HARMLESS, budget=_HARMLESS_BUDGET, most=_MOST_HARMLESS)),
        bad=tuple(_bad(bad, runs.of(bad, budget=_BAD_BUDGET, most=_MOST_BAD)) for bad in BAD),
        assumptions=_assumptions(policy, traffic, history=history),
    )


class _Runs:
    """Runs as many rollouts of a release as a budget of simulated intervals allows."""

    def __init__(self, scene: Scene, plan: RolloutPlan, *, seed: int, horizon_s: float, history: bool) -> None:
        self._scene, self._plan, self._seed, self._horizon_s = scene, plan, seed, horizon_s
        known = Fleet(scene, rollouts=_HISTORIES if history else 1, seed=seed).initial_states(history=history)
        self._known: Sequence[JudgeState] = known

    def of(self, regression: Regression, *, budget: int, most: int) -> Outcomes:
        """Run a few, and by their length decide how many more."""
        few = self._run(regression, first=0, rollouts=_FIRST)
        used = int(np.count_nonzero(few.weights))
        rollouts = min(budget * _FIRST // max(used, 1), most)
        if rollouts <= _FIRST:
            return few
        return Outcomes.joined([few, self._run(regression, first=_FIRST, rollouts=rollouts - _FIRST)])

    def _run(self, regression: Regression, *, first: int, rollouts: int) -> Outcomes:
        fleet = Fleet(replace(self._scene, regression=regression), rollouts=rollouts, seed=self._seed, first=first)
        # A few histories do for all: what is learned differs little between rollouts of one service.
        initial = [self._known[number % len(self._known)] for number in range(rollouts)]
        return run_closed(fleet, self._plan, horizon_s=self._horizon_s, initial=initial)


def _harmless(outcomes: Outcomes) -> HarmlessPlan:
    low, median, high = quantiles_of(outcomes.promoted_s, 0.1, 0.5, 0.9)
    weights = np.where(np.isfinite(outcomes.promoted_s) & _after_end(outcomes), 100.0, outcomes.weights)
    return HarmlessPlan(
        rollouts=outcomes.rollouts,
        rolled_back=int(np.isfinite(outcomes.rolled_back_s).sum()),
        promoted_s=(low, median, high),
        canary_requests=float(np.median(outcomes.canary_requests)),
        steps=float(outcomes.steps.mean()),
        unproven_steps=float(outcomes.unproven_steps.mean()),
        weights=tuple(
            (float(a), float(b), float(c))
            for a, b, c in np.quantile(weights, [0.1, 0.5, 0.9], axis=1, method="lower").T
        ),
    )


def _after_end(outcomes: Outcomes) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Tell in which intervals a rollout has ended, shape (T, R)."""
    going = outcomes.weights > 0
    return np.asarray(~np.maximum.accumulate(going[::-1], axis=0)[::-1])


def _bad(regression: Regression, outcomes: Outcomes) -> BadPlan:
    found = np.sort(outcomes.rolled_back_s[np.isfinite(outcomes.rolled_back_s)])
    median, most = quantiles_of(outcomes.rolled_back_s, 0.5, 0.9)
    return BadPlan(
        name=regression.name,
        rollouts=outcomes.rollouts,
        rolled_back=found.size,
        promoted=int(np.isfinite(outcomes.promoted_s).sum()),
        found_s=tuple(found.tolist()),
        median_s=median,
        most_s=most,
        canary_requests=float(np.median(outcomes.canary_requests)),
        users_hurt=float(outcomes.hurt.mean()),
    )


def _assumptions(policy: "CanaryPolicy", traffic: "Traffic", *, history: bool) -> tuple[str, ...]:
    p50, p99 = (traffic.latency.quantile_ms(share) for share in (0.5, 0.99))
    told = "known" if history else "not known"
    return (
        (
            f"{traffic.rps:,.6g} requests/s, {100 * traffic.error_rate:.3g} % errors, "
            f"p50 {p50:,.3g} ms, p99 {p99:,.3g} ms, {traffic.stable_pods} stable pods, counts every {traffic.interval_s:g} s."
        ),
        f"The stable version's last hour, pod by pod, is {told}.",
        (
            "The service is ordinary: load ±10 %, both versions' errors ±20 %, each pod's errors ±15 % and latency ±2 %, "
            "new pods 30 % slower, fading in 30 s."
        ),
        "A user is hurt whose request failed or became slower because of the canary.",
        *_limits(limits_of(policy), traffic),
    )


def _limits(limits: Limits, traffic: "Traffic") -> "Iterator[str]":
    """Tell what absolute limits come to; one that the stable version itself exceeds rolls everything back."""
    if limits.error_rate is not None:
        broken = traffic.error_rate > limits.error_rate
        text = f"Whatever the stable version does, more than {100 * limits.error_rate:.3g} % errors are rolled back"
        yield text + (", and the stable version has more: every release will be." if broken else ".")
    if limits.p99_ms is not None:
        edge_ms = limits.p99_edge_ms(ISTIO_EDGES_MS)
        broken = edge_ms is not None and traffic.latency.quantile_ms(0.99) > edge_ms
        tested = (
            "no edge of the histogram is so high: it is never tested"
            if edge_ms is None
            else (
                f"a p99 above {edge_ms:,.4g} ms, the histogram's edge for the limit of {limits.p99_ms:,.4g} ms, is rolled back"
            )
        )
        text = f"Whatever the stable version does, {tested}"
        yield text + (", and the stable version's is: every release will be." if broken else ".")
