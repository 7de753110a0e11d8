"""Absolute limits: what they become, and what lint has to say of those that do not do what they seem to."""

import pytest

from analyzer.app.plan import judge_settings, rollout_plan
from analyzer.core.judge import ISTIO_EDGES_MS
from analyzer.policy.limits import EDGES_MS, check_limits
from analyzer.policy.model import CanaryPolicy
from analyzer.policy.parse import parse_policy


def policy(**judge: object) -> CanaryPolicy:
    return parse_policy(
        {
            "apiVersion": "serin.dev/v1alpha1",
            "kind": "CanaryPolicy",
            "metadata": {"name": "shop"},
            "spec": {"target": {"virtualService": "shop"}, "judge": judge},
        }
    )


def test_limits_and_sticky_users_reach_the_judge_and_the_decision() -> None:
    read = policy(limits={"errorRate": "5%", "p99": "800ms"}, stickyUsers=True)
    settings, plan = judge_settings(read), rollout_plan(read)
    assert (settings.limit_error_rate, settings.limit_p99_ms, settings.sticky_users) == (0.05, 800.0, True)
    assert (plan.limits.error_rate, plan.limits.p99_ms, plan.sticky_users) == (0.05, 800.0, True)


def test_without_them_there_are_none() -> None:
    settings = judge_settings(policy())
    assert (settings.limit_error_rate, settings.limit_p99_ms, settings.sticky_users) == (None, None, False)


def test_lint_knows_the_edges_of_the_judge() -> None:
    assert EDGES_MS == ISTIO_EDGES_MS


@pytest.mark.parametrize("p99", ["500ms", "1s", "2.5s", "3600s", "0.5ms"])
def test_a_limit_at_an_edge_is_tested_as_it_is(p99: str) -> None:
    assert list(check_limits(policy(limits={"p99": p99, "errorRate": "1%"}))) == []


@pytest.mark.parametrize(
    ("p99", "mend"),
    [
        (
            "800ms",
            "write 500ms or 1s, or give the pods an edge there (annotation sidecar.istio.io/statsHistogramBuckets)",
        ),
        ("0.2ms", "write 0.5ms, or give the pods an edge there (annotation sidecar.istio.io/statsHistogramBuckets)"),
        ("61m", "lower it to at most 1h"),
    ],
)
def test_a_limit_beside_the_edges_is_told_with_those_that_there_are(p99: str, mend: str) -> None:
    [problem] = check_limits(policy(limits={"p99": p99}))
    assert problem.mend == mend


def test_the_p99_is_tested_at_the_lowest_edge_at_or_above_it() -> None:
    limits = rollout_plan(policy(limits={"p99": "800ms"})).limits
    assert limits.p99_edge_ms(ISTIO_EDGES_MS) == 1000.0
    assert limits.p99_edge_ms((100.0, 800.0, 1000.0)) == 800.0
    assert limits.p99_edge_ms((100.0,)) is None
    assert rollout_plan(policy()).limits.p99_edge_ms(ISTIO_EDGES_MS) is None
