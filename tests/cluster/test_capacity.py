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
    reason="ten minutes: SERIN_LONG=1 make cluster-test PYTEST_ARGS='-k test_capacity'",
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
FEW: Final = 20.0
SETTLED: Final = 5
"""Pods that 180 requests/s need at the HPA's target, and at which it stays."""
ENOUGH: Final = 4
"""Pods with which an HPA may leave it at 200 requests/s, within its tolerance."""
PATIENCE_S: Final = 240.0


@pytest.fixture
def components() -> tuple[str, ...]:
    """One of the courses is `reserve`."""
    return ("reserve",)


async def opened(shops: Shops, name: str, *, bake: str, **capacity: Any) -> Shop:
    """Open a shop with few users and its canary at 10 %."""
    judge = {**JUDGE, "bake": bake}
    return await shops.open(name, rate=FEW, v1=POD, v2=POD, judge=judge, stages=STAGES, capacity=capacity)


async def settled(shop: Shop) -> None:
    """Give the stable version the pods that its HPA wants at 90 % of the traffic, and then let all users come.

    So nobody has failed when the release begins; the canary's HPA has one pod.
    """
    await _hold(shop, SETTLED)

    async def grown() -> bool:
        return (await shop.bed.replicas(shop.namespace))["helloworld-v1"] == SETTLED

    await until(grown, what="the stable version's pods", patience_s=120)
    await shop.users.start(RATE)
    await shop.served(int(20 * RATE))
    await _hold(shop, 1)


async def _hold(shop: Shop, replicas: int) -> None:
    """Set the least replicas of the stable version's HPA."""
    await shop.kubectl("patch", "hpa/helloworld-v1", f'--patch={{"spec": {{"minReplicas": {replicas}}}}}')


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


async def failures(shop: Shop, since_s: float) -> list[str]:
    """Tell the seconds in which requests failed: the canary's weight then, by whom, and how long the pods' process stood.

    Where that stood still for longer than the pods' queues last, the machine failed those requests and no pod was missing.
    """
    weights = shop.eyes.weights[shop.namespace]
    stalls = await shop.bed.stalls(since_s)
    told = []
    for second in (s for s in shop.seconds if s.at_s >= since_s and s.tally.failed()):
        weight = next((w[1] for at_s, w in reversed(weights) if at_s <= second.at_s), -1)
        failed = {f"{o.version or 'gateway'} {o.status}": n for o, n in second.tally.counts.items() if o.failed}
        stood_s = max((stood_s for at_s, stood_s in stalls if abs(at_s - second.at_s) < 1.5), default=0.0)
        told.append(f"{second.at_s - since_s:.0f} s, {weight} %, stood {stood_s:.1f} s: {failed}")
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
        f"{felt.failed().total()} of {felt.answered} requests failed: {await failures(shop, begun_s)}"
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
    way
        The canary's weights, each with the seconds since that change.
    """

    noticed_s: float
    before: int
    by_canary: int
    by_overload: int
    slow: int
    way: str

    @property
    def returning(self) -> int:
        return self.by_canary + self.by_overload

    @classmethod
    async def of(cls, shop: Shop, since_s: float) -> Self:
        """Wait until all are served again, and count."""

        async def grown() -> bool:
            return (await shop.bed.replicas(shop.namespace))["helloworld-v1"] >= ENOUGH

        changes = [(at_s, canary) for at_s, (_, canary) in shop.eyes.weights[shop.namespace] if at_s > since_s]
        first_s = changes[0][0]
        way = ", ".join(f"{canary} % after {at_s - first_s:.0f} s" for at_s, canary in changes)
        await until(grown, what="the stable version has its pods again", patience_s=120)
        await shop.served(int(10 * RATE))
        before, felt = shop.failed(since_s) - shop.failed(first_s), shop.felt(first_s)
        failed = felt.failed()
        slow = sum(felt.slow[version, SLOW_MS] for version in ("v1", "v2"))
        by_canary = failed.get("v2", 0)
        return cls(first_s - since_s, before, by_canary, failed.total() - by_canary, slow, way)


def tabulate(costs: Mapping[str, Cost], *, error_rate: float) -> str:
    """Write the costs as Markdown, with and without what failed until the first weight was changed."""
    lines = [
        (
            f"| {error_rate:.0%} errors at 90 % | noticed after | failed until then | by the canary | by overload | both | all "
            f"| slower than {SLOW_MS} ms |"
        ),
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {course} | {cost.noticed_s:.1f} s | {cost.before:,} | {cost.by_canary:,} | {cost.by_overload:,} "
        f"| {cost.returning:,} | {cost.before + cost.returning:,} | {cost.slow:,} |"
        for course, cost in costs.items()
    ]
    return "\n".join(lines)


async def shrunk(shop: Shop, *, reserved: bool) -> None:
    """Wait until the canary has its pods, and the stable version is as small as it gets; reserved, it has its own."""

    async def so_small() -> bool:
        replicas = await shop.bed.replicas(shop.namespace)
        stable = replicas["helloworld-v1"]
        return (stable >= ENOUGH if reserved else stable == 1) and replicas["helloworld-v2"] >= ENOUGH

    await until(so_small, what="the canary has its pods, and the stable version is small", patience_s=180)
    await shop.served(int(60 * RATE))  # a minute in which its own small load can be learned from


BY_HAND: Final = "one jump by hand"
RAMPED: Final = "ramped by Serin"
RESERVE: Final = "reserve"
COURSES: Final[Mapping[str, Mapping[str, Any]]] = {
    BY_HAND: {},
    "at once by Serin": {"rollbackWithin": "0s"},
    RAMPED: {},
    RESERVE: {"mode": "reserve"},
}


async def shop_for(shops: Shops, course: str) -> Shop:
    """Open the shop of a course; the one that goes by hand is nobody's but a person's."""
    name = course.split(maxsplit=1)[0]
    shop = await opened(shops, name, bake="10m", **COURSES[course])
    if course == BY_HAND:
        await shop.kubectl("delete", "canarypolicy", "--all")
    await settled(shop)
    return shop


async def cost_of(shop: Shop, course: str, error_rate: float) -> Cost:
    """Let the release come to 90 %, turn bad there, and be taken back.

    By hand, somebody sees the first failure and takes all back in one step: no tool can be faster.
    """
    if course == BY_HAND:
        await shop.bed.set_weights(shop.namespace, [10, 90])
    await shop.eyes.until_weight(shop.namespace, 90, patience_s=PATIENCE_S)
    await shrunk(shop, reserved=course == RESERVE)
    since_s = now_s()
    await shop.bed.behave(shop.namespace, "helloworld-v2", error_rate=error_rate)
    if course == BY_HAND:

        async def failing() -> bool:
            return shop.failed(since_s) > 0

        await until(failing, what="a request fails")
        await shop.bed.set_weights(shop.namespace, [100, 0])
    await shop.eyes.until_weight(shop.namespace, 0, patience_s=PATIENCE_S)
    cost = await Cost.of(shop, since_s)
    await shop.users.stop()
    return cost


@pytest.mark.parametrize("error_rate", [0.2, 0.05])
async def test_a_release_that_turns_bad_after_the_stable_version_has_shrunk(
    bed: Bed, serin: Replicas, shops: Shops, account: Account, error_rate: float
) -> None:
    """All courses at the same time, each in a shop of its own: they are waits."""
    async with asyncio.TaskGroup() as group:
        opening = {course: group.create_task(shop_for(shops, course)) for course in COURSES}
    opened_shops = {course: task.result() for course, task in opening.items()}
    begun_s = now_s()
    await serin.start()
    async with asyncio.TaskGroup() as group:
        running = {
            course: group.create_task(cost_of(shop, course, error_rate)) for course, shop in opened_shops.items()
        }
    costs = {course: task.result() for course, task in running.items()}
    account.tables.append(tabulate(costs, error_rate=error_rate))
    stood_s = max((stood_s for _, stood_s in await bed.stalls(begun_s)), default=0.0)
    account.notes.extend(f"{error_rate:.0%} errors at 90 %, {course}: {cost.way}" for course, cost in costs.items())
    account.notes.append(f"{error_rate:.0%} errors at 90 %: the pods' process stood still for {stood_s:.1f} s at most")
    by_hand = costs[BY_HAND].returning
    assert costs[RAMPED].returning <= by_hand / 3, costs
    assert costs[RESERVE].returning <= by_hand / 20, costs
