"""The whole story on the real thing: releases promoted with proof, and rolled back.

Everything is that of `policies/examples/helloworld`, but for the policy's pace (`shops.quicken`): steps of ten seconds instead
of thirty, a bake of ten seconds instead of ten minutes, weights of 10, 25, 50 and 100. Where a release is bad, the judge's
settings are the example's own. Where it is harmless, its budget is wider (`shops.LENIENT`): at the example's, a proof takes
hundreds of thousands of requests.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from analyzer.ports import Object
from tests.cluster.account import Account, Row
from tests.cluster.audit import busiest_minute, show_verbs
from tests.cluster.bed.client import Bed, until
from tests.cluster.serin import Replica, Replicas
from tests.cluster.shops import LENIENT, STAGES, Shop, Shops, now_s

DETECTION_S: Final = 20.0
"""From the first failing request until the weight is zero, where each request to 10 % of 60 requests/s fails."""
PATIENCE_S: Final = 480.0
IN_FLIGHT_PER_MINUTE: Final = 10.0
PER_EVENT: Final = 5.0
"""Requests that something costs of which there is an Event, this included: intent, weights, reading back, result, delivery."""
PER_MINUTE: Final = 3.0
"""Requests while nothing happens: checkpoints."""
IDLE_PER_MINUTE: Final = 1.0
IDLE_S: Final = 60.0


async def rolled_back(shop: Shop, account: Account, *, what: str, bad_since_s: float, version: str = "v2") -> float:
    """Wait for the rollback, and account for it; return how long it took from `bad_since_s` [s]."""
    index = ("v1", "v2").index(version)
    zero_s = await shop.eyes.until_weight(shop.namespace, 0, version=index, patience_s=PATIENCE_S)
    await shop.eyes.until_phase(shop.namespace, "RolledBack")
    await until(lambda: _has(shop, "RolledBack"), what=lambda: f"alert RolledBack; got {shop.alerts()}")
    assert shop.status["reason"] == "Harm", shop.eyes.tell(shop.namespace)
    shop.check_told_once()
    assert len(shop.pages()) == 1
    felt, took_s = shop.felt(bad_since_s), zero_s - bad_since_s
    row = Row(
        fault="none",
        service=what,
        right="weight zero",
        seconds=took_s,
        failed=felt.failed().total(),
        canary=felt.served(version),
        alerts=shop.told(),
        writes=shop.writes(),
    )
    account.rows.append(row)
    return took_s


async def _has(shop: Shop, reason: str) -> list[Object]:
    return [alert for alert in shop.alerts() if alert["reason"] == reason]


async def _promoted_and_swapped(shops: Shops, account: Account) -> None:
    """A good release is promoted; then v1 is the canary, and is promoted too."""
    shop = await shops.open("good", rate=120, v2={"LATENCY_MS": 19}, judge=LENIENT)
    begun_s = now_s()
    await shop.eyes.until_phase(shop.namespace, "Baking", "Promoted", "RolledBack", patience_s=PATIENCE_S)
    assert shop.eyes.weights[shop.namespace][0][1] == (90, 10), "adopted where it was"
    done_s = await shop.eyes.until_weight(shop.namespace, 100)
    await shop.eyes.until_phase(shop.namespace, "Promoted")
    await _account_for_promotion(shop, account, version="v2", begun_s=begun_s, done_s=done_s)
    shop.check_course(*STAGES)
    begun_s = now_s()
    await shop.release("v1", LATENCY_MS=19)
    done_s = await shop.eyes.until_weight(shop.namespace, 100, version=0, patience_s=PATIENCE_S)
    await shop.eyes.until_status(
        shop.namespace,
        lambda status: status["phase"] == "Promoted" and status["canary"]["version"] == "v1",
        what="v1 promoted",
    )
    await _account_for_promotion(shop, account, version="v1", begun_s=begun_s, done_s=done_s)
    shop.check_course(*STAGES, version="v1", since_s=begun_s)


async def _account_for_promotion(shop: Shop, account: Account, *, version: str, begun_s: float, done_s: float) -> None:
    await until(lambda: _has(shop, "Promoted"), what=lambda: f"alert Promoted; got {shop.alerts()}")
    shop.check_told_once()
    assert not shop.pages()
    felt = shop.felt(begun_s)
    account.rows.append(
        Row(
            fault="none",
            service=f"{version} is harmless",
            right="all traffic, proven",
            seconds=done_s - begun_s,
            failed=felt.failed().total(),
            canary=felt.served(version),
            alerts=shop.told(),
            writes=shop.writes(),
        )
    )
    steps = [
        entry["message"]
        for entry in shop.status["history"]
        if entry["reason"] in {"WeightAdvanced", "Baking"}
        and datetime.fromisoformat(entry["at"]).timestamp() >= begun_s - 1
    ]
    assert sum("proven in" in message for message in steps) == len(STAGES) - 1, steps


async def _all_errors(shops: Shops, account: Account) -> float:
    """Each request to a canary with 10 % of 60 requests/s fails."""
    shop = await shops.open("broken", rate=60)
    await shop.eyes.until_phase(shop.namespace, "Progressing")
    await shop.served(300)
    begun_s = now_s()
    await shop.bed.behave(shop.namespace, "helloworld-v2", error_rate=1.0)
    await until(lambda: _failed(shop, begun_s), what="a failed request")
    first_s = shop.first_failure_s("v2", begun_s)
    return await rolled_back(shop, account, what="all of 10 % of 60/s fail", bad_since_s=first_s)


async def _failed(shop: Shop, since_s: float) -> int:
    return shop.failed(since_s)


async def _bad_from_the_beginning(shops: Shops, account: Account, *, what: str, v2: Mapping[str, float]) -> None:
    """Ten per cent of 200 requests/s go to a release that is bad."""
    shop = await shops.open(what.split(maxsplit=1)[0], rate=200, v2=v2)
    begun_s = await shop.eyes.until_phase(shop.namespace, "Progressing")
    await rolled_back(shop, account, what=f"{what}, 10 % of 200/s", bad_since_s=begun_s)


async def test_good_releases_are_promoted_and_bad_ones_rolled_back(
    bed: Bed, serin: Replicas, shops: Shops, account: Account
) -> None:
    replica = await serin.start()
    async with asyncio.TaskGroup() as group:
        group.create_task(_promoted_and_swapped(shops, account))
        took = group.create_task(_all_errors(shops, account))
        group.create_task(_bad_from_the_beginning(shops, account, what="errors 0.1 -> 1 %", v2={"ERROR_RATE": 0.01}))
        group.create_task(_bad_from_the_beginning(shops, account, what="latency 20 -> 40 ms", v2={"LATENCY_MS": 40}))
        queries = group.create_task(_queries_per_minute(bed, replica, shops))
    assert took.result() <= DETECTION_S
    account.notes.append(queries.result())
    _account_for_requests(shops, account)
    async with asyncio.TaskGroup() as group:
        group.create_task(_shrink(bed, shops["good"], account))
        group.create_task(_idle(shops, account))


# --- what it costs ----------------------------------------------------------------------------------------------------


async def _queries_per_minute(bed: Bed, replica: Replica, shops: Shops) -> str:
    """Prometheus is asked as often for one rollout as for many."""
    rates: dict[int, float] = {}

    async def measure(n_rollouts: int) -> None:
        begun_s, before = now_s(), await _queries(bed, replica)
        for _ in range(15):
            await asyncio.sleep(1)  # while exactly so many are in flight
            if _in_flight(shops) != n_rollouts:
                return
        rates[n_rollouts] = 60 * (await _queries(bed, replica) - before) / (now_s() - begun_s)

    while not (len(rates) >= 2 and 1 in rates):
        await asyncio.sleep(0.5)
        n_rollouts = _in_flight(shops)
        if n_rollouts and n_rollouts not in rates:
            await measure(n_rollouts)
    assert max(rates.values()) <= 1.3 * min(rates.values()), rates
    return "Prometheus queries per minute, by rollouts in flight: " + ", ".join(
        f"{n}: {rate:.0f}" for n, rate in sorted(rates.items())
    )


def _in_flight(shops: Shops) -> int:
    return sum(shop.status.get("phase") in {"Progressing", "Baking"} for shop in shops.opened)


async def _queries(bed: Bed, replica: Replica) -> float:
    return (await replica.metrics(bed.session))["serin_telemetry_queries_total"]


def _account_for_requests(shops: Shops, account: Account) -> None:
    """Count what a step costs, and what the time between two: the pace here is not the example's.

    At the example's, a rollout has eight Events (start, six steps, bake) in no less than 12.5 minutes.
    """
    for shop in shops.opened:
        asked = shop.audit.asked([shop.namespace])
        minutes = _minutes_in_flight(shop)
        n_events = sum((one.verb, one.resource) == ("create", "events") for one in asked)
        assert 0 < len(asked) <= n_events * PER_EVENT + minutes * PER_MINUTE, show_verbs(asked)
        account.notes.append(
            f"API requests of {shop.name}: {len(asked)} in {minutes:.1f} min in flight with {n_events} events, "
            f"{busiest_minute(asked)} in the busiest minute; {show_verbs(asked)}"
        )
    per_minute = PER_MINUTE + 8 * PER_EVENT / 12.5
    account.notes.append(f"so at the example's pace no more than {per_minute:.1f} per rollout and minute")
    assert per_minute <= IN_FLIGHT_PER_MINUTE


def _minutes_in_flight(shop: Shop) -> float:
    """Sum up the time in which a rollout was in flight, from what the policy's status said when."""
    changes = shop.eyes.statuses[shop.namespace]
    flying = {"Pending", "Progressing", "Baking", "RollingBack"}
    ends = [at_s for at_s, _ in changes[1:]] + [now_s()]
    return (
        sum(end_s - at_s for (at_s, status), end_s in zip(changes, ends, strict=True) if status.get("phase") in flying)
        / 60
    )


async def _shrink(bed: Bed, shop: Shop, account: Account) -> None:
    """When the load stops, both autoscalers shrink to one pod, whatever the weights say."""
    grown = await bed.replicas(shop.namespace)
    assert grown["helloworld-v1"] >= 2, f"{grown}: 120 requests/s, 40 a pod"
    await shop.users.stop()

    async def shrunk() -> bool:
        return set((await bed.replicas(shop.namespace)).values()) == {1}

    begun_s = now_s()
    await until(shrunk, what="one pod of each", patience_s=120)
    weights = shop.eyes.weights[shop.namespace][-1][1]
    account.notes.append(f"autoscalers: {grown} to one each in {now_s() - begun_s:.0f} s, at weights {weights}")
    assert weights == (100, 0)


async def _idle(shops: Shops, account: Account) -> None:
    """What is not in flight is not asked about."""
    assert not _in_flight(shops)
    namespaces = [shop.namespace for shop in shops.opened]
    audit, begun_s = shops.audit_from_now(), now_s()
    await asyncio.sleep(IDLE_S)  # the time is what is measured
    minutes = (now_s() - begun_s) / 60
    asked = [one for one in audit.asked() if one.resource != "leases"]
    assert not [one for one in asked if one.namespace in namespaces]
    rate = len(asked) / minutes / len(namespaces)
    lease = sum(one.resource == "leases" for one in audit.asked()) / minutes
    account.notes.append(
        f"API requests while idle: {rate:.2f} per policy and minute with {len(namespaces)} policies; "
        f"and {lease:.0f} a minute for the Lease, however many policies"
    )
    assert rate <= IDLE_PER_MINUTE, show_verbs(asked)
