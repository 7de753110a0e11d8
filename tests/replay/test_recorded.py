import asyncio
from dataclasses import replace

import numpy as np
import pytest

from analyzer.core.judge.types import Verdict
from analyzer.errors import MetricsUnavailable, PolicyError
from analyzer.policy.model import CanaryPolicy
from analyzer.policy.parse import parse_policy
from analyzer.ports import TelemetryQuery, TelemetryWindow, Workload
from analyzer.replay.lines import Header, IntervalLine, Record
from analyzer.replay.overrides import policy_of
from analyzer.replay.recorded import Recording, read_recording, workloads_of
from analyzer.replay.result import Result
from analyzer.replay.run import Replay
from tests.replay.past import EVERY_S, START_S, V1, V2, Past, rollout_past

N = 60
WHOLE = Recording(stable=V1, canary=V2, policy=policy_of({}), from_s=START_S, to_s=START_S + N * EVERY_S + 10)
GOOD = rollout_past(weights={0: 10.0, 40: 25.0}, n=N)


async def read(past: Past, recording: Recording, said: list[str] | None = None) -> list[Record]:
    note = (lambda _: None) if said is None else said.append
    return [record async for record in read_recording(past, recording, note=note)]


async def lines(past: Past, recording: Recording) -> list[IntervalLine]:
    return [record for record in await read(past, recording) if isinstance(record, IntervalLine)]


async def result(past: Past, recording: Recording) -> Result:
    [found] = Replay().play(await read(past, recording))
    return found


async def test_every_request_since_the_beginning_comes_back() -> None:
    told = await lines(GOOD, WHOLE)
    counted = {V1: np.zeros(2, dtype=int), V2: np.zeros(2, dtype=int)}
    for line in told:
        for workload, side in ((V1, line.interval.stable), (V2, line.interval.canary)):
            counted[workload] += (side.requests, side.errors)
    begun_s, ended_s = told[0].interval.end_s - told[0].interval.seconds, told[-1].interval.end_s
    assert ended_s - begun_s >= (N - 1) * EVERY_S
    for workload, counts in counted.items():
        for column, codes in enumerate((("200", "503"), ("503",))):
            wanted = 0.0
            for labels, samples in GOOD.rows:
                own = labels.get("destination_workload") == workload.name and "le" not in labels
                if own and labels["response_code"] in codes:
                    before = [value for t, value in samples if t <= begun_s][-1:] or [0.0]
                    until = [value for t, value in samples if t <= ended_s]
                    wanted += until[-1] - before[0]
            assert counts[column] == wanted
    assert [line.interval.seconds for line in told] == [EVERY_S] * len(told)


async def test_a_good_release_is_proven_and_a_bad_one_found() -> None:
    good = await result(GOOD, WHOLE)
    assert good.harm_at_s is None
    assert "25" in good.proven
    bad = await result(rollout_past(weights={0: 10.0}, n=N, canary_errors=0.05), WHOLE)
    assert (bad.verdict, bad.harm_channel) == (Verdict.HARM, "errors")
    assert bad.harm_at_s is not None
    assert bad.harm_at_s - START_S < 120


@pytest.mark.parametrize("window_s", [90.0, 200.0, 10_000.0])
async def test_the_size_of_the_windows_changes_nothing(monkeypatch: pytest.MonkeyPatch, window_s: float) -> None:
    whole = [(line.interval.end_s, line.interval.canary.requests) for line in await lines(GOOD, WHOLE)]
    monkeypatch.setattr("analyzer.replay.recorded.WINDOW_S", window_s)
    assert [(line.interval.end_s, line.interval.canary.requests) for line in await lines(GOOD, WHOLE)] == whole


async def test_no_read_is_longer_than_the_daemons() -> None:
    GOOD.queries.clear()
    await read(GOOD, WHOLE)
    assert GOOD.queries
    assert max(query.window_s for query in GOOD.queries) <= 600.0


async def test_the_weight_follows_the_share_of_the_requests() -> None:
    told = await lines(GOOD, WHOLE)
    assert {(line.interval.weight, line.next_weight) for line in told} == {(10.0, 25.0), (25.0, 50.0)}
    [first] = [number for number, line in enumerate(told[1:]) if line.interval.weight != told[number].interval.weight]
    assert abs(told[first + 1].interval.end_s - (START_S + 41 * EVERY_S)) <= EVERY_S


async def test_a_given_weight_is_taken_as_it_is() -> None:
    told = await lines(GOOD, replace(WHOLE, weight=12.5))
    assert {(line.interval.weight, line.next_weight) for line in told} == {(12.5, 25.0)}


async def test_at_full_weight_nothing_is_to_be_proven() -> None:
    told = await lines(rollout_past(weights={0: 100.0}, n=20), WHOLE)
    assert {line.next_weight for line in told if line.interval.weight == 100.0} == {None}


async def test_pods_and_their_age_are_as_given() -> None:
    [line, *_] = await lines(GOOD, replace(WHOLE, stable_pods=8, canary_pods=2, canary_since_s=START_S - 100.0))
    assert (line.interval.stable.pods, line.interval.canary.pods) == (8, 2)
    assert line.interval.canary.youngest_pod_age_s == pytest.approx(line.interval.end_s - START_S + 100.0)


async def test_nothing_there_is_told_and_is_no_data() -> None:
    said: list[str] = []
    records = await read(Past(), WHOLE, said)
    assert [type(record) for record in records] == [Header]
    assert said == [f"no requests of cart-v1 or cart-v2 at {START_S + 480:.0f}"]
    [found] = Replay().play(records)
    assert found.verdict is Verdict.NO_DATA


async def test_a_read_that_takes_too_long_is_unreachable() -> None:
    class Slow(Past):
        async def fetch(self, query: TelemetryQuery) -> TelemetryWindow:
            await asyncio.Event().wait()
            raise AssertionError

    with pytest.raises(MetricsUnavailable, match=r"was not read within 0\.01 s"):
        [_ async for _ in read_recording(Slow(), WHOLE, timeout_s=0.01)]


def policy(**target: object) -> CanaryPolicy:
    kind = {"apiVersion": "serin.dev/v1alpha1", "kind": "CanaryPolicy", "metadata": {"name": "x", "namespace": "shop"}}
    return parse_policy({**kind, "spec": {"target": {"virtualService": "x", **target}}})


def test_a_policy_may_tell_the_workloads() -> None:
    told = workloads_of(policy(deployments={"a": "cart-a", "b": "cart-b"}, stable="b"))
    assert told == (Workload("shop", "cart-b"), Workload("shop", "cart-a"))


@pytest.mark.parametrize("target", [{}, {"deployments": {"a": "cart-a", "b": "cart-b"}}])
def test_a_policy_that_does_not_is_told_what_to_write(target: dict[str, object]) -> None:
    with pytest.raises(PolicyError, match=r"write --stable NAMESPACE/NAME --canary NAMESPACE/NAME"):
        workloads_of(policy(**target))
