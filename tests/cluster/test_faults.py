"""What goes wrong around a release, and what users felt and people were told of it.

Several services live through each fault side by side, with one Serin: harmless releases, which must never be rolled back
because something else broke, and bad ones, which must lose their traffic as soon as that can be known and done.
"""

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any, Final

from tests.cluster.account import Account
from tests.cluster.audit import WRITES
from tests.cluster.bed.client import Bed, until
from tests.cluster.bed.mesh import WEBHOOK
from tests.cluster.deployment import NAMESPACE
from tests.cluster.evidence import FLYING, SCRAPE_S, check_evidence_is_whole
from tests.cluster.serin import Replica, Replicas
from tests.cluster.shops import LENIENT, STAGES, Judge, Shop, Shops, Variables, now_s
from tests.faultproxy import Fault, FaultProxy, Rule, html

RATE: Final = 60.0
QUICK: Final[Judge] = {**LENIENT, "dwell": {"min": "10s", "max": "20s"}}
FEW: Final = (10, 50, 100)
SLOWER: Final[Judge] = {**LENIENT, "dwell": {"min": "20s", "max": "30s"}, "bake": "20s"}
PATIENT: Final[Judge] = {**SLOWER, "bake": "100s"}
"""More than two minutes and a half at the least, for ten kills; with steps among them."""
PATIENCE_S: Final = 240.0
OUTAGE_S: Final = 60.0
KILLS: Final = 10
SHORT_LEASE: Final = "5s"


async def open_all(
    shops: Shops, *names: str, judge: Judge = QUICK, stages: Sequence[int] = FEW, v2: Variables | None = None
) -> list[Shop]:
    """Open several at once, and wait until each is judged."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(shops.open(name, rate=RATE, judge=judge, stages=stages, v2=v2)) for name in names]
    opened = [task.result() for task in tasks]
    for shop in opened:
        await shop.eyes.until_phase(shop.namespace, "Progressing", patience_s=60)
    return opened


async def turn_bad(shop: Shop) -> None:
    """Let every request to the canary fail."""
    await shop.bed.behave(shop.namespace, "helloworld-v2", error_rate=1.0)


async def alert_of(shop: Shop, reason: str, *, patience_s: float = 90.0) -> dict[str, Any]:
    """Wait for an alert of a shop."""

    async def there() -> list[dict[str, Any]]:
        return [alert for alert in shop.alerts() if alert["reason"] == reason]

    return (await until(there, what=lambda: f"alert {reason}; got {shop.told()}", patience_s=patience_s))[0]


async def rolled_back(
    shop: Shop,
    account: Account,
    *,
    fault: str,
    since_s: float,
    known_s: float | None = None,
    reasons: frozenset[str] = frozenset({"Harm"}),
) -> None:
    """Wait until a bad release has no traffic; account for it."""
    zero_s = await shop.eyes.until_weight(shop.namespace, 0, patience_s=PATIENCE_S)
    await shop.eyes.until_phase(shop.namespace, "RolledBack")
    told = await alert_of(shop, "RolledBack")
    assert shop.status["reason"] in reasons, shop.eyes.tell(shop.namespace)
    assert told["to_do"]
    shop.check_told_once()
    account.rows.append(shop.row(fault=fault, right="weight zero", since_s=since_s, known_s=known_s, right_s=zero_s))


async def promoted(shop: Shop, account: Account, *, fault: str, since_s: float, known_s: float | None = None) -> None:
    """Wait until a harmless release has all traffic; it never went back, and no step was made twice."""
    done_s = await shop.eyes.until_weight(shop.namespace, 100, patience_s=PATIENCE_S)
    await shop.eyes.until_phase(shop.namespace, "Promoted")
    await alert_of(shop, "Promoted")
    shop.check_course(*shop.stages)
    shop.check_told_once()
    account.rows.append(shop.row(fault=fault, right="promoted", since_s=since_s, known_s=known_s, right_s=done_s))


# --- people and pods --------------------------------------------------------------------------------------------------


async def test_what_people_and_pods_do_in_the_middle_of_a_rollout(
    bed: Bed, serin: Replicas, shops: Shops, account: Account
) -> None:
    await serin.start()
    async with asyncio.TaskGroup() as group:
        for happens in (_crash_loop, _canary_deleted, _another_writer, _policy_deleted, _template_changed):
            group.create_task(happens(shops, account), name=happens.__name__)


async def _crash_loop(shops: Shops, account: Account) -> None:
    (shop,) = await open_all(shops, "crash-loop", v2={"CRASH_AFTER_SECONDS": 30})

    async def crashed() -> bool:
        return (await shop.bed.replicas(shop.namespace))["helloworld-v2"] == 0

    async def failed() -> bool:
        return shop.failed() > 0

    await until(crashed, what="the canary's pod crashed")
    await until(failed, what="a request that failed")
    first_s = next(second.at_s for second in shop.seconds if second.tally.failed()) - 1.0  # at the begin of that second
    reasons = frozenset({"CanaryUnavailable", "Harm"})
    await rolled_back(shop, account, fault="canary crash-loops", since_s=first_s, reasons=reasons)
    assert len(shop.pages()) == 1


async def _canary_deleted(shops: Shops, account: Account) -> None:
    (shop,) = await open_all(shops, "gone")
    begun_s = now_s()
    await shop.kubectl("delete", "hpa/helloworld-v2", "deployment/helloworld-v2", "--wait=false")
    reasons = frozenset({"CanaryUnavailable", "Harm"})
    await rolled_back(shop, account, fault="canary Deployment deleted", since_s=begun_s, reasons=reasons)
    assert len(shop.pages()) == 1


async def _another_writer(shops: Shops, account: Account) -> None:
    """Nobody fights; when the person has put the weights back, the rollout goes on."""
    (shop,) = await open_all(shops, "drift")
    begun_s = now_s()
    await shop.bed.set_weights(shop.namespace, [40, 60])
    told = await alert_of(shop, "Drift")
    assert "give v2 10 % again" in told["to_do"]
    held_s = await shop.eyes.until_status(
        shop.namespace, lambda status: (status["hold"] or {}).get("reason") == "Drift", what="held"
    )
    await shop.served(int(10 * RATE))
    assert shop.eyes.weight(shop.namespace) == 60, "nobody fights"
    account.rows.append(
        shop.row(fault="another writer (90/10 to 40/60)", right="held, told", since_s=begun_s, right_s=held_s)
    )
    begun_s = now_s()
    await shop.bed.set_weights(shop.namespace, [90, 10])
    done_s = await shop.eyes.until_weight(shop.namespace, 100, patience_s=PATIENCE_S)
    await alert_of(shop, "Promoted")
    assert {alert["reason"] for alert in shop.alerts()} == {"Drift", "Promoted"}, shop.told()
    shop.check_course(10, 60, *shop.stages)
    shop.check_told_once()
    account.rows.append(shop.row(fault="another writer, put back", right="promoted", since_s=begun_s, right_s=done_s))


async def _policy_deleted(shops: Shops, account: Account) -> None:
    (shop,) = await open_all(shops, "unpolicied")
    begun_s = now_s()
    await shop.kubectl("delete", "canarypolicy/helloworld")
    zero_s = await shop.eyes.until_weight(shop.namespace, 0)
    told = await alert_of(shop, "RolledBack")
    assert told["details"]["cause"] == "PolicyDeleted"
    shop.check_told_once()
    account.rows.append(shop.row(fault="policy deleted", right="weight zero", since_s=begun_s, right_s=zero_s))
    assert not shop.pages()


async def _template_changed(shops: Shops, account: Account) -> None:
    """The new revision begins at zero; what was proven of the old one says nothing of it."""
    (shop,) = await open_all(shops, "changed")
    begun_s = now_s()
    await shop.release("v2", RELEASE=2)
    zero_s = await shop.eyes.until_weight(shop.namespace, 0)
    told = await alert_of(shop, "RolledBack")
    assert told["details"]["cause"] == "CanaryChanged"
    account.rows.append(shop.row(fault="template changed", right="weight zero", since_s=begun_s, right_s=zero_s))
    assert not shop.pages()
    done_s = await shop.eyes.until_weight(shop.namespace, 100, patience_s=PATIENCE_S)
    await alert_of(shop, "Promoted")
    shop.check_course(10, 0, *shop.stages)
    shop.check_told_once()
    right = "the new one promoted"
    account.rows.append(shop.row(fault="template changed, from zero on", right=right, since_s=zero_s, right_s=done_s))


# --- Serin itself -----------------------------------------------------------------------------------------------------


async def test_a_leader_killed_at_ten_random_moments_makes_no_step_twice_and_loses_nothing(
    bed: Bed, serin: Replicas, shops: Shops, account: Account
) -> None:
    seed = random.SystemRandom().randrange(10_000)
    rng = random.Random(seed)
    print(f"seed {seed}")  # noqa: T201  shown where the test fails
    replicas = [await serin.start(lease=SHORT_LEASE), await serin.start(lease=SHORT_LEASE)]
    good, bad = await open_all(shops, "good", "bad", judge=PATIENT, stages=STAGES)
    epoch = await _epoch(bed)
    begun_s, bad_s = now_s(), 0.0
    moments: list[str] = []
    for kill in range(KILLS):
        if kill == KILLS // 2:
            bad_s = now_s()
            await turn_bad(bad)
        leader = await _leader(bed, replicas)
        # The random moment. Telemetry comes every five seconds, so that some are killed before they make a turn with it, and
        # some make a step.
        await asyncio.sleep(rng.uniform(0.5, 12.0))
        assert good.status["phase"] in FLYING, f"kill {kill + 1} is in no rollout: {good.eyes.tell(good.namespace)}"
        moments.append(f"{good.status['phase']} at {good.eyes.weight(good.namespace)} %")
        await leader.kill()
        replicas.remove(leader)
        replicas.append(await serin.start(lease=SHORT_LEASE))
    account.notes.append(
        f"kill -9 of the leader: {KILLS} times in {now_s() - begun_s:.0f} s, seed {seed}; {', '.join(moments)}"
    )
    fault = f"leader killed {KILLS} times"
    await rolled_back(bad, account, fault=fault, since_s=bad_s)
    await promoted(good, account, fault=fault, since_s=begun_s)
    for shop in (good, bad):
        shop.eyes.check_epochs(shop.namespace, after=epoch)
    check_evidence_is_whole(good, account, fault=fault)


async def _leader(bed: Bed, replicas: list[Replica]) -> Replica:
    async def leading() -> list[Replica]:
        return [replica for replica in replicas if await replica.leads(bed.session)]

    return (await until(leading, what="one leads"))[0]


async def _epoch(bed: Bed) -> int:
    """Tell that of whoever leads."""
    lease = await bed.get(NAMESPACE, "lease/serin")
    return int(lease["spec"]["leaseTransitions"])


async def test_a_paused_leader_is_replaced_and_writes_nothing_when_it_wakes_up(
    bed: Bed, serin: Replicas, shops: Shops, account: Account
) -> None:
    replicas = [await serin.start(lease=SHORT_LEASE), await serin.start(lease=SHORT_LEASE)]
    good, bad = await open_all(shops, "good", "bad")
    leader = await _leader(bed, replicas)
    epoch = await _epoch(bed)
    paused_s = now_s()
    leader.pause()
    await turn_bad(bad)
    await rolled_back(bad, account, fault="leader paused", since_s=paused_s)
    leader.resume()
    woken_s = now_s()

    async def stands_by() -> bool:
        return not await leader.leads(bed.session)

    await until(stands_by, what="the woken leader stands by")
    await promoted(good, account, fault="leader paused", since_s=paused_s)
    written = [
        one for one in good.audit.asked() if one.token == leader.token.id and one.at_s >= woken_s and one.verb in WRITES
    ]
    assert not [one for one in written if one.code < 400], written
    for shop in (good, bad):
        shop.eyes.check_epochs(shop.namespace, after=epoch)
    check_evidence_is_whole(good, account, fault="leader paused")
    account.notes.append(f"paused leader: {len(written)} attempts to write after its wake-up, none of them taken")


# --- what Serin needs -------------------------------------------------------------------------------------------------


async def test_a_rollback_that_is_due_while_the_api_server_is_stopped_is_made_as_soon_as_it_is_back(
    bed: Bed, serin: Replicas, shops: Shops, account: Account
) -> None:
    await serin.start()
    good, bad = await open_all(shops, "good", "bad")
    begun_s = now_s()
    await bed.stop("kube-apiserver")
    await turn_bad(bad)
    told = await alert_of(bad, "CannotRollBack")
    assert told["severity"] == "page"
    assert told["command"].startswith("kubectl")
    await asyncio.sleep(max(0.0, begun_s + OUTAGE_S - now_s()))  # as long as the fault lasts
    back_s = now_s()
    await bed.start("kube-apiserver")
    fault = f"kube-apiserver stopped for {OUTAGE_S:.0f} s"
    await rolled_back(bad, account, fault=fault, since_s=begun_s, known_s=back_s)
    await promoted(good, account, fault=fault, since_s=begun_s, known_s=back_s)
    check_evidence_is_whole(good, account, fault=fault)


async def test_without_telemetry_the_weights_stay_and_with_it_what_is_bad_is_found(
    bed: Bed, serin: Replicas, shops: Shops, account: Account
) -> None:
    async with FaultProxy(bed.prometheus_url).running() as proxy:
        await serin.start(prometheus_url=proxy.url)
        names = ("good", "bad-stopped", "bad-slow", "bad-html")
        good, *bad = await open_all(shops, *names, judge=SLOWER, stages=STAGES)
        spec = {"deadlines": {"blind": "20s"}}
        await bad[0].kubectl(
            "patch", "canarypolicy/helloworld", "--type=merge", f"--patch={json.dumps({'spec': spec})}"
        )
        begun_s = stopped_s = now_s()
        await bed.stop("prometheus")
        await _blind(good, bad[0])
        told = await alert_of(bad[0], "Blind")
        assert told["severity"] == "page"
        assert "Bring telemetry back" in told["to_do"]
        assert told["command"].startswith("kubectl")
        back_s = now_s()
        await bed.start("prometheus")
        away_s = now_s() - stopped_s
        await rolled_back(bad[0], account, fault="Prometheus stopped", since_s=begun_s, known_s=back_s)
        await until(lambda: _seen_again(bad[0]), what="people are told that telemetry is back")
        assert [alert["reason"] for alert in bad[0].pages()] == ["Blind", "RolledBack"], bad[0].told()
        for shop, rule, fault in (
            (bad[1], Rule(name="slow", fault=Fault.DELAY, seconds=15.0), "Prometheus slow (15 s)"),
            (bad[2], html(), "Prometheus answers 503, HTML"),
        ):
            await _seeing(good)
            since_s = now_s()
            async with proxy.faulty(rule):
                await _blind(good, shop)
                back_s = now_s()
            await rolled_back(shop, account, fault=fault, since_s=since_s, known_s=back_s)
        fault = "Prometheus stopped, slow, HTML"
        await promoted(good, account, fault=fault, since_s=begun_s, known_s=back_s)
        assert not good.pages()
        # What it scraped while it was slow, or a page was in its place, is judged all the same; stopped, it scraped nothing.
        check_evidence_is_whole(good, account, fault=fault, lost_s=away_s + 2 * SCRAPE_S)


async def _seen_again(shop: Shop) -> bool:
    return any(alert["reason"] == "Blind" and alert["resolved"] for alert in shop.alerts())


async def _seeing(shop: Shop) -> None:
    await shop.eyes.until_status(shop.namespace, lambda status: not status.get("hold"), what="not held")


async def _blind(good: Shop, bad: Shop) -> None:
    """Let a release turn bad while nobody can see it: all weights stay."""
    for shop in (good, bad):
        await shop.eyes.until_status(
            shop.namespace, lambda status: (status.get("hold") or {}).get("reason") == "Blind", what="held, blind"
        )
    weights = good.eyes.weight(good.namespace), bad.eyes.weight(bad.namespace)
    await turn_bad(bad)
    await bad.served(int(8 * RATE))
    assert (good.eyes.weight(good.namespace), bad.eyes.weight(bad.namespace)) == weights


async def test_without_istiod_a_rollback_that_is_refused_pages_and_weights_without_effect_are_noticed(
    bed: Bed, serin: Replicas, shops: Shops, account: Account
) -> None:
    await serin.start()
    good, bad = await open_all(shops, "good", "bad", judge=SLOWER, stages=STAGES)
    begun_s = now_s()
    await bed.stop("istiod")
    await turn_bad(bad)
    told = await alert_of(bad, "CannotRollBack")
    assert told["severity"] == "page"
    assert "bring istiod back" in told["what"]
    assert told["command"].startswith("kubectl")
    back_s = now_s()
    await bed.start("istiod")
    await rolled_back(bad, account, fault="istiod stopped: writes refused", since_s=begun_s, known_s=back_s)

    begun_s = now_s()
    await bed.stop("istiod")
    await bed.kubectl(
        *("patch", "validatingwebhookconfiguration", WEBHOOK, "--type=json"),
        '--patch=[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]',
    )
    held_s = await good.eyes.until_status(
        good.namespace,
        lambda status: (status.get("hold") or {}).get("reason") == "SampleRatio",
        what="held, weights not in effect",
        patience_s=PATIENCE_S,
    )
    told = await alert_of(good, "SampleRatio")
    assert "Is istiod up" in told["to_do"]
    weights = good.eyes.weight(good.namespace)
    fault = "istiod stopped: weights not in effect"
    account.rows.append(good.row(fault=fault, right="held", since_s=begun_s, right_s=held_s))
    await good.served(int(10 * RATE))
    assert good.eyes.weight(good.namespace) == weights
    back_s = now_s()
    await bed.start("istiod")
    await promoted(good, account, fault="istiod is back", since_s=back_s)
    check_evidence_is_whole(good, account, fault="istiod stopped twice")
    assert not good.pages()
    assert [alert["resolved"] for alert in good.alerts() if alert["reason"] == "SampleRatio"] == [False, True]
    webhook = json.loads(await bed.kubectl("get", "validatingwebhookconfiguration", WEBHOOK, "--output=json"))
    assert webhook["webhooks"][0]["failurePolicy"] == "Fail"


async def test_a_gateway_that_restarts_is_neither_harm_nor_a_loss_of_sight(
    bed: Bed, serin: Replicas, shops: Shops, account: Account
) -> None:
    await serin.start()
    good, bad = await open_all(shops, "good", "bad")
    await good.served(int(5 * RATE))
    begun_s = now_s()
    await bed.restart("gateway")
    bad_s = now_s()
    await turn_bad(bad)
    await rolled_back(bad, account, fault="gateway restarted, then bad", since_s=begun_s, known_s=bad_s)
    await promoted(good, account, fault="gateway restarted", since_s=begun_s)
    assert not good.pages()
    # What it counted between its last scrape and its end is gone, and in its place is what it counted since.
    check_evidence_is_whole(good, account, fault="gateway restarted")
