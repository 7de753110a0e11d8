"""The whole story on the real thing: releases promoted with proof, and rolled back.

Everything is that of `policies/examples/helloworld`, but for the policy's pace (`shops.quicken`): steps of ten seconds instead
of thirty, a bake of ten seconds instead of ten minutes, weights of 10, 25, 50 and 100. Where a release is bad, the judge's
settings are the example's own. Where it is harmless, its budget is wider (`shops.LENIENT`): at the example's, a proof takes
hundreds of thousands of requests. What Serin asks of others is counted on rollouts with the example's own pace beside them. Two
replicas run, as deploy/ has them.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from analyzer.ports import Object
from tests.cluster.account import Account
from tests.cluster.audit import busiest_minute, show_verbs
from tests.cluster.bed.client import Bed, until
from tests.cluster.evidence import FLYING
from tests.cluster.serin import Replicas
from tests.cluster.shops import LENIENT, STAGES, Judge, Shop, Shops, now_s

DETECTION_S: Final = 20.0
"""From the first failing request until the weight is zero, where each request to 10 % of 60 requests/s fails."""
PATIENCE_S: Final = 480.0
REPLICAS: Final = 2
IN_FLIGHT_PER_MINUTE: Final = 10.0
IDLE_PER_MINUTE: Final = 1.0
LEASE_PER_MINUTE: Final = 25.0
"""The leader renews it each three seconds, and the other replica looks on."""
IDLE_S: Final = 60.0
UNHURRIED: Final[Judge] = {"dwell": {"min": "30s", "max": "5m"}, "bake": "10m"}
"""The example's own pace."""
EXAMPLE: Final = (1, 5, 10, 25, 50, 100)
COMPANY: Final = 3
"""More of them with a few users, so that there are many."""
WINDOW_S: Final = 30.0
"""For which Prometheus' queries are counted, while the number of rollouts is the same: several periods of Serin's."""


async def rolled_back(shop: Shop, account: Account, *, what: str, bad_since_s: float, version: str = "v2") -> float:
    """Wait for the rollback, and account for it; return how long it took from `bad_since_s` [s]."""
    index = ("v1", "v2").index(version)
    zero_s = await shop.eyes.until_weight(shop.namespace, 0, version=index, patience_s=PATIENCE_S)
    await shop.eyes.until_phase(shop.namespace, "RolledBack")
    await until(lambda: _has(shop, "RolledBack"), what=lambda: f"alert RolledBack; got {shop.alerts()}")
    assert shop.status["reason"] == "Harm", shop.eyes.tell(shop.namespace)
    shop.check_told_once()
    assert len(shop.pages()) == 1
    right = "weight zero"
    row = shop.row(fault="none", service=what, right=right, since_s=bad_since_s, right_s=zero_s, version=version)
    account.rows.append(row)
    return row.seconds


async def _has(shop: Shop, reason: str) -> list[Object]:
    return [alert for alert in shop.alerts() if alert["reason"] == reason]


async def _promoted_and_swapped(shops: Shops, account: Account) -> None:
    """A release that is as good as what is there is promoted; then v1 is the canary, and is promoted too."""
    shop = await shops.open("good", rate=120, judge=LENIENT)
    begun_s = now_s()
    await shop.eyes.until_phase(shop.namespace, "Baking", "Promoted", "RolledBack", patience_s=PATIENCE_S)
    assert shop.eyes.weights[shop.namespace][0][1] == (90, 10), "adopted where it was"
    done_s = await shop.eyes.until_weight(shop.namespace, 100)
    await shop.eyes.until_phase(shop.namespace, "Promoted")
    await _account_for_promotion(shop, account, version="v2", begun_s=begun_s, done_s=done_s)
    shop.check_course(*STAGES)
    await _followed(shop, account)
    begun_s = now_s()
    await shop.release("v1", RELEASE=2)  # another template, and no other behaviour
    done_s = await shop.eyes.until_weight(shop.namespace, 100, version=0, patience_s=PATIENCE_S)
    await shop.eyes.until_status(
        shop.namespace,
        lambda status: status["phase"] == "Promoted" and status["canary"]["version"] == "v1",
        what="v1 promoted",
    )
    await _account_for_promotion(shop, account, version="v1", begun_s=begun_s, done_s=done_s)
    shop.check_course(*STAGES, version="v1", since_s=begun_s)


async def _account_for_promotion(shop: Shop, account: Account, *, version: str, begun_s: float, done_s: float) -> None:
    async def told() -> bool:
        return any(alert["reason"] == "Promoted" for alert in shop.alerts(begun_s))

    await until(told, what=lambda: f"alert Promoted; got {shop.alerts()}")
    shop.check_told_once()
    assert not shop.pages()
    account.rows.append(
        shop.row(
            fault="none",
            service=f"{version} is as it was",
            right="all traffic, proven",
            since_s=begun_s,
            right_s=done_s,
            version=version,
        )
    )
    steps = [
        entry["message"]
        for entry in shop.status["history"]
        if entry["reason"] in {"WeightAdvanced", "Baking"}
        and datetime.fromisoformat(entry["at"]).timestamp() >= begun_s - 1
    ]
    assert sum("proven in" in message for message in steps) == len(STAGES) - 1, steps


async def _followed(shop: Shop, account: Account) -> None:
    """Both autoscalers follow the traffic: v2's grew, and v1's shrinks to one pod while users are there."""

    async def settled() -> bool:
        replicas = await shop.bed.replicas(shop.namespace)
        return replicas["helloworld-v2"] >= 3 and replicas["helloworld-v1"] == 1

    begun_s = now_s()
    grown = f"{await shop.bed.replicas(shop.namespace)}"
    await until(
        settled, what="three pods for 120 requests/s, 40 a pod, and one of the version without any", patience_s=120
    )
    now = await shop.bed.replicas(shop.namespace)
    account.notes.append(f"autoscalers after the promotion of v2: {grown}, {now} {now_s() - begun_s:.0f} s later")


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
    for _ in range(REPLICAS):
        await serin.start()
    company = await _open_company(shops)
    async with asyncio.TaskGroup() as group:
        queries = group.create_task(_queries_per_minute(bed, shops, company))
        group.create_task(_promoted_and_swapped(shops, account))
        took = group.create_task(_all_errors(shops, account))
        group.create_task(_bad_from_the_beginning(shops, account, what="errors 0.1 -> 1 %", v2={"ERROR_RATE": 0.01}))
        group.create_task(_bad_from_the_beginning(shops, account, what="latency 20 -> 40 ms", v2={"LATENCY_MS": 40}))
    assert took.result() <= DETECTION_S
    account.notes.append(queries.result())
    await _account_for_requests(shops, company[0], account)
    async with asyncio.TaskGroup() as group:
        group.create_task(_shrink(bed, shops["good"], account))
        group.create_task(_idle(shops, account))


# --- what it costs ----------------------------------------------------------------------------------------------------


async def _open_company(shops: Shops) -> list[Shop]:
    """Open rollouts at the example's own pace."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(shops.open(f"company{number}", rate=2 if number else 20, judge=UNHURRIED, stages=EXAMPLE))
            for number in range(1 + COMPANY)
        ]
    company = [task.result() for task in tasks]
    for shop in company:
        await shop.eyes.until_phase(shop.namespace, "Progressing")
    return company


async def _queries_per_minute(bed: Bed, shops: Shops, company: list[Shop]) -> str:
    """Prometheus is asked as often for one rollout as for many, by its own count of requests."""
    rates: dict[int, float] = {}

    async def measured() -> bool:
        n_rollouts = _in_flight(shops)
        begun_s, before = now_s(), await _queries(bed)
        while now_s() < begun_s + WINDOW_S:
            await asyncio.sleep(1)
            if _in_flight(shops) != n_rollouts:
                return False
        if n_rollouts:
            rate = 60 * (await _queries(bed) - before) / (now_s() - begun_s)
            rates[n_rollouts] = min(rate, rates.get(n_rollouts, rate))  # what one that begins learns is asked once
        return True

    await until(measured, what="as many rollouts for a while", patience_s=PATIENCE_S)
    many = max(rates)
    assert many > COMPANY, rates
    for shop in company[1:]:
        await shop.kubectl("delete", "canarypolicy/helloworld")
    shops.opened = [shop for shop in shops.opened if shop not in company[1:]]

    async def alone() -> bool:
        return _in_flight(shops) == 1 and await measured() and 1 in rates

    await until(alone, what="one rollout for a while", patience_s=2 * PATIENCE_S)
    assert max(rates.values()) <= 1.3 * min(rates.values()), rates
    return "queries that Prometheus answers in a minute, by rollouts in flight: " + ", ".join(
        f"{n}: {rate:.0f}" for n, rate in sorted(rates.items())
    )


def _in_flight(shops: Shops) -> int:
    return sum(shop.status.get("phase") in FLYING for shop in shops.opened)


async def _queries(bed: Bed) -> float:
    async with bed.session.get(f"{bed.prometheus_url}/metrics") as response:
        lines = (await response.text()).splitlines()
    counted = [line for line in lines if line.startswith("prometheus_http_requests_total{") and "/api/v1/" in line]
    return sum(float(line.rpartition(" ")[2]) for line in counted)


async def _account_for_requests(shops: Shops, shop: Shop, account: Account) -> None:
    """Count what a rollout at the example's pace asks of the API server, and its share of lists and watches.

    Whole rollouts at that pace take a quarter of an hour: `api/test_budget.py` plays them on manual time.
    """
    begun_s = next(at_s for at_s, status in shop.eyes.statuses[shop.namespace] if status.get("phase"))
    minutes = (now_s() - begun_s) / 60
    mine = [one for one in shop.audit.asked([shop.namespace]) if one.at_s >= begun_s]
    following = [one for one in shop.audit.asked([""]) if one.at_s >= begun_s]  # in all namespaces
    rate = (len(mine) + len(following)) / minutes
    account.notes.append(
        f"API requests of a rollout at the example's pace: {rate:.1f} a minute for {minutes:.1f} min, "
        f"{busiest_minute(mine)} in the busiest; {show_verbs(mine)}; all lists and watches: {show_verbs(following) or 'none'}"
    )
    assert mine
    assert rate <= IN_FLIGHT_PER_MINUTE
    for other in shops.opened:
        asked = other.audit.asked([other.namespace])
        account.notes.append(f"API requests of {other.name}: {len(asked)}; {show_verbs(asked)}")
    await shop.kubectl("delete", "canarypolicy/helloworld")
    shops.opened.remove(shop)
    await shop.eyes.until_weight(shop.namespace, 0)


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
    """What is not in flight is not asked about. How often lists and watches come in an hour, `api/test_budget.py` tells."""
    assert not _in_flight(shops)
    namespaces = [shop.namespace for shop in shops.opened]
    audit, begun_s = shops.audit_from_now(), now_s()
    await asyncio.sleep(IDLE_S)  # the time is what is measured
    minutes = (now_s() - begun_s) / 60
    asked = audit.asked()
    others = [one for one in asked if one.resource != "leases"]
    assert not [one for one in others if one.namespace in namespaces], show_verbs(others)
    rate, lease = len(others) / minutes / len(namespaces), (len(asked) - len(others)) / minutes
    account.notes.append(
        f"API requests of {REPLICAS} replicas while idle: {rate:.2f} per policy and minute with {len(namespaces)} policies; "
        f"and {lease:.0f} a minute for the Lease, however many policies"
    )
    assert rate <= IDLE_PER_MINUTE, show_verbs(others)
    assert lease <= LEASE_PER_MINUTE, show_verbs(asked)
