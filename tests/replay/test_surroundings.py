from dataclasses import replace

import numpy as np

from analyzer.replay.lines import Header, HistoryLine, IntervalLine, Record
from analyzer.replay.overrides import policy_of
from analyzer.replay.recorded import Recording, read_recording
from analyzer.replay.run import Replay
from analyzer.replay.surroundings import read_surroundings, surround
from tests.replay.past import EVERY_S, START_S, V1, V2, Past, Served, pods_past, rollout_past

N = 60
FROM_S = START_S + 100 * EVERY_S
RECORDING = Recording(stable=V1, canary=V2, policy=policy_of({}), from_s=FROM_S, to_s=FROM_S + N * EVERY_S)
TRAFFIC = rollout_past(weights={0: 10.0}, n=N).shifted(100 * EVERY_S)


def pods() -> Past:
    """Four stable pods all the time; two canary pods, one of them born 20 intervals into the rollout."""
    past = pods_past(pods=4, n=100 + N)
    rng = np.random.default_rng(1)
    for number, born in enumerate((95, 120)):
        served = Served.make(rng, np.full(100 + N, 10.0), errors=np.full(100 + N, 0.001))
        at, pod = f"10.0.2.{number}:15020", f"cart-v2-{number}"
        past.add_proxy(at, {V2: served}, reporter="destination", born=born, pod=pod)
    return past


async def surrounded(recording: Recording, own: Past) -> list[Record]:
    surroundings = await read_surroundings(own, recording)
    return [record async for record in surround(read_recording(TRAFFIC, recording), surroundings, recording)]


def intervals(records: list[Record]) -> list[IntervalLine]:
    return [record for record in records if isinstance(record, IntervalLine)]


async def test_pods_and_the_youngest_ones_age_are_as_their_proxies_tell() -> None:
    told = intervals(await surrounded(RECORDING, pods()))
    assert {line.interval.stable.pods for line in told} == {4}
    assert [line.interval.canary.pods for line in (told[2], told[-2])] == [1, 2]
    ages = [line.interval.canary.youngest_pod_age_s for line in told]
    assert 5 * EVERY_S <= ages[0] <= 8 * EVERY_S
    [born] = [number for number in range(1, len(ages)) if ages[number] < ages[number - 1]]
    assert abs(born - 20) <= 2
    assert ages[born] <= 2 * EVERY_S


async def test_the_hour_before_is_history() -> None:
    records = await surrounded(RECORDING, pods())
    history = [record for record in records if isinstance(record, HistoryLine)]
    assert isinstance(records[0], Header)
    assert len(history) >= 97
    assert all(line.t <= FROM_S for line in history)
    assert {line.requests.shape for line in history} == {(4,)}
    [result] = Replay().play(records)
    assert result.intervals == len(intervals(records))
    assert result.harm_at_s is None


async def test_what_was_given_stays() -> None:
    given = replace(RECORDING, stable_pods=9, canary_pods=3, canary_since_s=FROM_S - 50.0)
    for line in intervals(await surrounded(given, pods())):
        assert (line.interval.stable.pods, line.interval.canary.pods) == (9, 3)
        assert abs(line.interval.canary.youngest_pod_age_s - (line.interval.end_s - FROM_S + 50.0)) < 0.01


async def test_a_routes_own_users_have_no_history() -> None:
    records = await surrounded(replace(RECORDING, route="insiders"), pods())
    assert not any(isinstance(record, HistoryLine) for record in records)


async def test_without_reports_of_the_pods_nothing_changes() -> None:
    plain = [record async for record in read_recording(TRAFFIC, RECORDING)]
    found = await surrounded(RECORDING, Past())
    assert [line.interval.end_s for line in intervals(found)] == [line.interval.end_s for line in intervals(plain)]
    assert {line.interval.canary.pods for line in intervals(found)} == {1}
