"""Two real HPAs and one set of weights: what users feel where the pods are not there.

Pods start in 15 s, answer in 20 ms, two requests at a time: about 95 requests/s when full, 45 at the HPA's target of half
their CPU request. 200 requests/s in all. The HPA controller looks every 3 s instead of 15 (five times as fast), and its
windows are as many times as short as `shops.SCALE_DOWN` and `bed.pace` say; start-up is not accelerated.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

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


def failures(shop: Shop, since_s: float) -> list[str]:
    """Tell the seconds in which requests failed, with the canary's weight then; a stalled machine fails all versions."""
    weights = shop.eyes.weights[shop.namespace]
    told = []
    for second in (s for s in shop.seconds if s.at_s >= since_s and s.tally.failed()):
        weight = next((w[1] for at_s, w in reversed(weights) if at_s <= second.at_s), -1)
        told.append(f"{second.at_s - since_s:.0f} s, {weight} %: {dict(second.tally.failed())}")
    return told


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
        f"{felt.failed().total()} of {felt.answered} requests failed: {failures(shop, begun_s)}"
    )
    assert felt.failed().total() == 0
    assert "RolledBack" not in shop.history()


@dataclass(frozen=True)
class Cost:
    """What a bad release cost the users, until the stable version has its pods again [requests].

    Attributes
    ----------
    noticed_s
        From the first failing request to the first weight that was changed [s].
    before
        Failed until then: the judge's part, whatever course is taken afterwards.
    by_canary, by_overload
        Failed from then on.
    slow
        Answered late from then on.
    """

    noticed_s: float
    before: int
    by_canary: int
    by_overload: int
    slow: int

    @property
    def returning(self) -> int:
        return self.by_canary + self.by_overload

    @classmethod
    async def of(cls, shop: Shop, since_s: float) -> Self:
        """Wait until all are served again, and count."""

        async def grown() -> bool:
            return (await shop.bed.replicas(shop.namespace))["helloworld-v1"] >= 4

        first_s = next(at_s for at_s, _ in shop.eyes.weights[shop.namespace] if at_s > since_s)
        await until(grown, what="the stable version has its pods again", patience_s=120)
        await shop.served(int(10 * RATE))
        before, felt = shop.failed(since_s) - shop.failed(first_s), shop.felt(first_s)
        failed = felt.failed()
        slow = sum(felt.slow[version, SLOW_MS] for version in ("v1", "v2"))
        by_canary = failed.get("v2", 0)
        return cls(first_s - since_s, before, by_canary, failed.total() - by_canary, slow)


async def shrunk(shop: Shop, *, reserved: bool = False) -> None:
    """Wait until the canary has its pods, and the stable version is as small as it gets; reserved, it has its own."""

    async def so_small() -> bool:
        replicas = await shop.bed.replicas(shop.namespace)
        stable = replicas["helloworld-v1"]
        return (stable >= 4 if reserved else stable == 1) and replicas["helloworld-v2"] >= 4

    await until(so_small, what="the canary has its pods, and the stable version is small", patience_s=180)
    await shop.served(int(10 * RATE))


async def turn_bad(shop: Shop, error_rate: float) -> float:
    """Let the canary fail; return since when."""
    since_s = now_s()
    await shop.bed.behave(shop.namespace, "helloworld-v2", error_rate=error_rate)
    return since_s


async def jump(shops: Shops, error_rate: float) -> Cost:
    """Let a person who sees the first failure take everything back in one step: no tool can be faster."""
    shop = await opened(shops, "jump", bake="10m")
    await settled(shop)
    await shop.bed.set_weights(shop.namespace, [10, 90])
    await shrunk(shop)
    since_s = await turn_bad(shop, error_rate)

    async def failing() -> bool:
        return shop.failed(since_s) > 0

    await until(failing, what="a request fails")
    await shop.bed.set_weights(shop.namespace, [100, 0])
    cost = await Cost.of(shop, since_s)
    await shop.users.stop()
    return cost


async def returned(serin: Replicas, shops: Shops, name: str, error_rate: float, capacity: Mapping[str, Any]) -> Cost:
    """Let Serin bring a release to 90 % and, when it turns bad there, take it back."""
    shop = await opened(shops, name, bake="10m", **capacity)
    await settled(shop)
    replica = await serin.start()
    await shop.eyes.until_weight(shop.namespace, 90, patience_s=PATIENCE_S)
    await shrunk(shop, reserved=capacity.get("mode") == "reserve")
    since_s = await turn_bad(shop, error_rate)
    await shop.eyes.until_weight(shop.namespace, 0, patience_s=PATIENCE_S)
    cost = await Cost.of(shop, since_s)
    await shop.users.stop()
    await replica.stop()
    return cost


COURSES: Final[Mapping[str, Mapping[str, Any]]] = {
    "ramped": {},
    "reserve": {"mode": "reserve"},
    "at-once": {"rollbackWithin": "0s"},
}


@pytest.mark.parametrize("error_rate", [0.2, 0.05])
async def test_a_release_that_turns_bad_after_the_stable_version_has_shrunk(
    serin: Replicas, shops: Shops, account: Account, error_rate: float
) -> None:
    rows: dict[str, Cost] = {}

    def note(name: str, cost: Cost) -> None:
        rows[name] = cost
        account.notes.append(
            f"{error_rate:.0%} errors at 90 %, stable shrunk, {name}: noticed after {cost.noticed_s:.1f} s and {cost.before} "
            f"failed; then {cost.by_canary} failed by the canary, {cost.by_overload} by overload, "
            f"{cost.slow} slower than {SLOW_MS} ms"
        )

    note("one jump by hand", await jump(shops, error_rate))
    for name, capacity in COURSES.items():
        note(name, await returned(serin, shops, name, error_rate, capacity))
    jumped = rows["one jump by hand"].returning
    assert rows["ramped"].returning <= jumped / 3, rows
    assert rows["reserve"].returning <= jumped / 20, rows
