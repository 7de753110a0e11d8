import asyncio
from dataclasses import replace

from analyzer.app.metrics import Metrics, PolicyReading
from analyzer.core.judge.types import Verdict
from analyzer.core.rollout.model import HoldReason
from analyzer.core.rollout.phases import Phase

READING = PolicyReading(
    phase=Phase.PROGRESSING,
    verdict=Verdict.INCONCLUSIVE,
    weight=10,
    held=HoldReason.BLIND,
    log_e=1.5,
    log_threshold=4.6,
    log_proof=-0.5,
    log_proof_threshold=3.0,
    stable_error_rate=0.001,
    canary_error_rate=0.05,
    judged_at_s=1_763_868_727.25,
)


def series(metrics: Metrics, policy: str) -> dict[str, float]:
    """All samples of a policy, keyed by name and the label that is neither namespace nor policy."""
    return {
        "/".join(
            [sample.name, *(value for key, value in sample.labels.items() if key not in ("namespace", "policy"))]
        ): (sample.value)
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.labels.get("policy") == policy
    }


def test_a_policy_is_shown_in_base_units_and_one_hot() -> None:
    metrics = Metrics()
    metrics.observe_policy("shop", "helloworld", READING)
    shown = series(metrics, "helloworld")
    assert {name: value for name, value in shown.items() if value} == {
        "serin_phase/Progressing": 1,
        "serin_verdict/INCONCLUSIVE": 1,
        "serin_held/Blind": 1,
        "serin_weight_ratio": 0.1,
        "serin_harm_evidence_nats": 1.5,
        "serin_harm_evidence_threshold_nats": 4.6,
        "serin_proof_evidence_nats": -0.5,
        "serin_proof_evidence_threshold_nats": 3.0,
        "serin_error_ratio/stable": 0.001,
        "serin_error_ratio/canary": 0.05,
        "serin_last_judged_timestamp_seconds": 1_763_868_727.25,
    }
    assert sum(name.startswith("serin_phase/") for name in shown) == len(Phase)
    assert sum(name.startswith("serin_verdict/") for name in shown) == len(Verdict)


def test_what_is_not_known_any_more_is_not_shown() -> None:
    metrics = Metrics()
    metrics.observe_policy("shop", "helloworld", READING)
    metrics.observe_policy(
        "shop", "helloworld", replace(READING, log_e=None, canary_error_rate=float("nan"), held=None, phase=Phase.IDLE)
    )
    shown = series(metrics, "helloworld")
    assert "serin_harm_evidence_nats" not in shown
    assert "serin_error_ratio/canary" not in shown
    assert shown["serin_held/Blind"] == 0
    assert (shown["serin_phase/Idle"], shown["serin_phase/Progressing"]) == (1, 0)


def test_a_forgotten_policy_leaves_nothing_and_its_namesake_stays() -> None:
    metrics = Metrics()
    metrics.observe_policy("shop", "helloworld", READING)
    metrics.observe_policy("bank", "helloworld", READING)
    before = len(series(metrics, "helloworld"))
    metrics.forget_policy("shop", "helloworld")
    metrics.forget_policy("shop", "never there")
    assert (
        metrics.registry.get_sample_value("serin_weight_ratio", {"namespace": "shop", "policy": "helloworld"}) is None
    )
    assert len(series(metrics, "helloworld")) == before
    metrics.forget_policy("bank", "helloworld")
    assert series(metrics, "helloworld") == {}


def test_a_flood_of_reasons_is_folded_into_one() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.count_turn_failure(f"Reason{number}")
    (family,) = [family for family in metrics.registry.collect() if family.name == "serin_turn_failures"]
    assert len(family.samples) == 101
    assert metrics.registry.get_sample_value("serin_turn_failures_total", {"reason": "Other"}) == 900


def test_the_loop_is_counted() -> None:
    metrics = Metrics()
    metrics.count_decision("Advance", "Proven")
    metrics.observe_turn(0.02)
    metrics.count_queries(3)
    metrics.count_telemetry_failure("MetricsUnavailable")
    metrics.count_write("Conflict")
    value = metrics.registry.get_sample_value
    assert value("serin_decisions_total", {"decision": "Advance", "reason": "Proven"}) == 1
    assert value("serin_turn_duration_seconds_bucket", {"le": "0.025"}) == 1
    assert value("serin_telemetry_queries_total") == 3
    assert value("serin_telemetry_failures_total", {"reason": "MetricsUnavailable"}) == 1
    assert value("serin_writes_total", {"result": "Conflict"}) == 1


def test_receivers_are_shown_before_their_first_alert() -> None:
    metrics = Metrics()
    metrics.declare_receiver("oncall", ["delivered", "refused"])
    value = metrics.registry.get_sample_value
    assert value("serin_alerts_total", {"receiver": "oncall", "result": "refused"}) == 0


def test_two_daemons_in_one_process_do_not_share_series() -> None:
    one, other = Metrics(), Metrics()
    one.count_queries()
    assert other.registry.get_sample_value("serin_telemetry_queries_total") == 0


async def test_the_tasks_of_the_loop_are_counted() -> None:
    metrics = Metrics()
    before = metrics.registry.get_sample_value("serin_tasks")
    assert before is not None
    async with asyncio.TaskGroup() as group:
        task = group.create_task(asyncio.sleep(60))
        assert metrics.registry.get_sample_value("serin_tasks") == before + 1
        task.cancel()
