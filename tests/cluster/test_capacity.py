"""Two real HPAs and one set of weights: what users feel where the pods are not there.

Pods start in 15 s, answer in 20 ms, two requests at a time: about 95 requests/s when full, 45 at the HPA's target of half
their CPU request. 200 requests/s in all. The HPA controller looks every 3 s instead of 15 (five times as fast), and its
windows are as many times as short as `shops.SCALE_DOWN` and `bed.pace` say; start-up is not accelerated.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any, Final

import pytest

from analyzer.core.capacity import Metric, Samples, Scaler, VersionCapacity, fit, needed
from analyzer.core.capacity.hpa import Target
from analyzer.policy.scaling import read_scaling
from tests.cluster.account import Account
from tests.cluster.bed.client import Bed, until
from tests.cluster.serin import Replicas
from tests.cluster.shops import LENIENT, Shop, Shops, now_s

pytestmark = pytest.mark.skipif(
    "SERIN_LONG" not in os.environ,
    reason="a quarter of an hour: SERIN_LONG=1 make cluster-test PYTEST_ARGS='-k test_capacity'",
)

RATE: Final = 200.0
POD: Final[Mapping[str, Any]] = {
    "LATENCY_MS": 20,
    "LATENCY_SIGMA": 0,
    "CONCURRENCY": 2,
    "QUEUE_LIMIT": 20,
    "STARTUP_SECONDS": 15,
    "CPU_BASE_MILLI": 5,
    "CPU_MILLISECONDS_PER_REQUEST": 1.0,
    "ERROR_RATE": 0,
}
STAGES: Final = (10, 30, 60, 90, 100)
JUDGE: Final = {**LENIENT, "dwell": {"min": "5s", "max": "20s"}, "latency": {"tolerance": "50%", "warmUp": "0s"}}
SLOW_MS: Final = 250
PATIENCE_S: Final = 240.0


async def opened(shops: Shops, name: str, *, bake: str, **capacity: Any) -> Shop:
    """Open a shop with its canary at 10 %, where the canary's HPA has one pod and the stable version's five."""
    judge = {**JUDGE, "bake": bake}
    return await shops.open(name, rate=RATE, v1=POD, v2=POD, judge=judge, stages=STAGES, capacity=capacity)


async def settled(shop: Shop) -> None:
    """Wait until the stable version's HPA has given it the pods that 90 % of the traffic need."""

    async def grown() -> bool:
        return (await shop.bed.replicas(shop.namespace))["helloworld-v1"] >= 4

    await until(grown, what="four pods of the stable version", patience_s=120)
    await shop.served(int(20 * RATE))  # its latencies are those of enough pods from now on


async def test_a_harmless_release_goes_to_100_without_a_request_that_had_no_pod(
    serin: Replicas, shops: Shops, account: Account
) -> None:
    shop = await opened(shops, "harmless", bake="5s")
    await settled(shop)
    begun_s = now_s()
    await serin.start()
    await shop.eyes.until_phase(shop.namespace, "Promoted", "RolledBack", patience_s=PATIENCE_S)
    assert shop.status["phase"] == "Promoted", shop.status["message"]
    felt = shop.felt(begun_s)
    weights = [canary for _, (_, canary) in shop.eyes.weights[shop.namespace]]
    account.notes.append(
        f"harmless, HPA from one pod: weights {weights}, {now_s() - begun_s:.0f} s, "
        f"{felt.failed().total()} of {felt.answered} requests failed"
    )
    assert felt.failed().total() == 0
    assert "RolledBack" not in shop.history()


async def turned_bad(shop: Shop, *, kept: int) -> tuple[int, int, int]:
    """Let a release turn bad at 90 %, when the stable version is small; failed by canary, failed by overload, slow."""
    await shop.eyes.until_weight(shop.namespace, 90, patience_s=PATIENCE_S)

    async def shrunk() -> bool:
        replicas = await shop.bed.replicas(shop.namespace)
        return replicas["helloworld-v1"] == kept

    await until(shrunk, what="the stable version is as small as it gets", patience_s=120)
    since_s = now_s()
    await shop.bed.behave(shop.namespace, "helloworld-v2", error_rate=0.3)
    await shop.eyes.until_weight(shop.namespace, 0, patience_s=PATIENCE_S)
    await shop.served(int(20 * RATE))
    felt = shop.felt(since_s)
    failed = felt.failed()
    return failed.get("v2", 0), failed.total() - failed.get("v2", 0), sum(felt.slow[v, SLOW_MS] for v in ("v1", "v2"))


async def test_a_release_that_turns_bad_after_the_stable_version_has_shrunk(
    serin: Replicas, shops: Shops, account: Account
) -> None:
    rows: dict[str, tuple[int, int, int]] = {}
    for name, capacity in (
        ("at-once", {"rollbackWithin": "0s"}),
        ("ramped", {}),
        ("reserve", {"mode": "reserve"}),
    ):
        shop = await opened(shops, name, bake="10m", **capacity)
        await settled(shop)
        replica = await serin.start()
        rows[name] = await turned_bad(shop, kept=5 if name == "reserve" else 1)
        by_canary, by_overload, slow = rows[name]
        account.notes.append(
            f"30 % errors at 90 %, stable shrunk, {name}: {by_canary} failed by the canary, {by_overload} by overload, "
            f"{slow} slower than {SLOW_MS} ms"
        )
        await shop.users.stop()
        await replica.stop()
    at_once = sum(rows["at-once"][:2])
    assert sum(rows["ramped"][:2]) <= at_once / 3, rows
    assert rows["reserve"][1] == 0, rows


async def test_replicas_are_foretold_to_half_a_pod(bed: Bed, shops: Shops, account: Account) -> None:
    shop = await shops.open("foretold", rate=RATE, v1=POD, v2=POD)
    metric = Metric("cpu", Target(per_pod=50, request=100), saturation=100)
    samples, errors = Samples(), []
    for canary in (10, 35, 60, 85, 50, 20):
        await bed.set_weights(shop.namespace, [100 - canary, canary])
        foretold = {}
        for version, share in (("v1", 100 - canary), ("v2", canary)):
            replicas = (await bed.replicas(shop.namespace))[f"helloworld-{version}"]
            capacity = VersionCapacity(version, replicas, replicas, Scaler("hpa", 1, 10, (metric,)), (fit(samples),))
            foretold[version] = needed(capacity, RATE * share / 100)
        await asyncio.sleep(45)  # the HPA's own time: start-up, metrics, its window on the way down
        for version, share in (("v1", 100 - canary), ("v2", canary)):
            deployment = await bed.get(shop.namespace, f"deployment/helloworld-{version}")
            autoscaler = await bed.get(shop.namespace, f"hpa/helloworld-{version}")
            (use,) = read_scaling(deployment, [autoscaler]).use
            replicas = deployment["spec"]["replicas"]
            if foretold[version] is not None:
                errors.append(abs(foretold[version] - replicas))
            assert use is not None
            samples = samples.add(RATE * share / 100 / replicas, use)
    mean = sum(errors) / len(errors)
    account.notes.append(
        f"replicas foretold: mean absolute error {mean:.2f} over {len(errors)} steady states ({errors})"
    )
    assert mean <= 0.5, errors
