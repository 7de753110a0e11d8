import numpy as np

from analyzer.app.history.pods import PodCounts, pod_of, read_pods
from tests.replay.past import EVERY_S, START_S, V1, V2, Past, Served, pods_past

N = 80


async def read(past: Past, *, n: int = N) -> PodCounts:
    counts = await read_pods(past, V1, from_s=START_S, to_s=START_S + n * EVERY_S)
    assert counts is not None
    return counts


async def test_each_pods_counts_come_back_on_one_grid() -> None:
    past = pods_past(pods=3, n=N)
    counts = await read(past)
    assert counts.pods == ("cart-v1-0", "cart-v1-1", "cart-v1-2")
    assert counts.seconds == EVERY_S
    assert counts.edges_ms == (5.0, 10.0, 25.0, 50.0, 100.0, 250.0)
    for column, pod in enumerate(counts.pods):
        increments = [
            np.diff([value for _, value in samples])
            for labels, samples in past.rows
            if labels.get("pod") == pod and labels["__name__"] == "istio_requests_total"
        ]
        wanted = np.sum(increments, axis=0).astype(int).tolist()
        found = [count for count in counts.requests[:, column].tolist() if count]
        assert found in [wanted[k : k + len(found)] for k in range(3)]
        assert len(found) >= N - 2
    assert (counts.errors <= counts.requests).all()
    assert counts.errors.sum() > 0
    assert (counts.latency_counts.sum(axis=2) == counts.requests).all()


async def test_a_pods_age_is_its_proxys_uptime() -> None:
    past = pods_past(pods=1, n=N)
    rng = np.random.default_rng(9)
    late = Served.make(rng, np.full(N, 50.0), errors=np.full(N, 0.01))
    past.add_proxy("10.0.1.1:15020", {V1: late}, reporter="destination", born=40, pod="cart-v1-late")
    counts = await read(past)
    column = counts.pods.index("cart-v1-late")
    busy = np.flatnonzero(counts.requests[:, column])
    assert abs(int(busy[0]) - 40) <= 1
    ages = counts.age_s[busy, column]
    assert ages[0] <= 3 * EVERY_S
    assert np.allclose(np.diff(ages), EVERY_S, atol=1.5)
    assert np.isnan(counts.age_s[:35, column]).all()


async def test_other_workloads_of_the_answer_are_left_out() -> None:
    past = pods_past(pods=2, n=N)
    rng = np.random.default_rng(9)
    other = Served.make(rng, np.full(N, 50.0), errors=np.full(N, 0.01))
    past.add_proxy("10.0.1.1:15020", {V2: other}, reporter="destination", pod="cart-v2-0")
    assert (await read(past)).pods == ("cart-v1-0", "cart-v1-1")


async def test_nothing_there_is_none() -> None:
    assert await read_pods(Past(), V1, from_s=START_S, to_s=START_S + 3600) is None


def test_a_pod_is_named_by_its_label_or_its_address() -> None:
    assert pod_of({"pod": "a", "instance": "1:2"}) == "a"
    assert pod_of({"kubernetes_pod_name": "b", "instance": "1:2"}) == "b"
    assert pod_of({"instance": "1:2"}) == "1:2"
