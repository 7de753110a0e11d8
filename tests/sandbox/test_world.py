"""Real traffic through a real Envoy, measured by a real Prometheus."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from scipy.stats import binom

from analyzer.ports import DEPLOYMENT, VIRTUAL_SERVICE, Object, Ref
from analyzer.sandbox.child import ChildDied
from analyzer.sandbox.people import Second, Tally
from analyzer.sandbox.release import Release
from analyzer.sandbox.world import Options, World

pytestmark = pytest.mark.real

ROUTES = Ref(VIRTUAL_SERVICE, "shop", "helloworld")
V1, V2 = (Ref(DEPLOYMENT, "shop", f"helloworld-{version}") for version in ("v1", "v2"))
QUICK = Options(scrape_s=1)
COMPANY = "^(.*?;)?(email=[^;]*@some-company-name.com)(;.*)?$"


async def until(world: World, condition: Callable[[Second], bool]) -> None:
    async with aclosing(world.users.follow()) as seconds, asyncio.timeout(30):
        async for second in seconds:
            if condition(second):
                return


async def load(world: World, requests: int, **options: Any) -> Tally:
    """Send at least so many requests, and wait for every answer."""
    await world.users.start(400, **options)
    await until(world, lambda _: world.users.total.answered >= requests)
    return await world.users.stop()


async def set_weights(world: World, v1: int, v2: int) -> None:
    paths = [(f"/spec/http/0/route/{i}/weight", weight) for i, weight in enumerate((v1, v2))]
    await world.cluster.patch(ROUTES, [{"op": "replace", "path": path, "value": weight} for path, weight in paths])
    await world.routed()


async def fetch_requests(world: World, total: int) -> list[dict[str, str]]:
    """Read `istio_requests_total` once it shows all requests; the value of a series is under `n`."""
    query = {"query": "istio_requests_total"}
    async with aiohttp.ClientSession() as session, asyncio.timeout(20):
        while True:
            async with session.get(f"{world.prometheus_url}/api/v1/query", params=query) as response:
                answer = await response.json()
            series = [{**row["metric"], "n": row["value"][1]} for row in answer["data"]["result"]]
            if sum(int(row["n"]) for row in series) >= total:
                return series
            await asyncio.sleep(0.2)


def assert_share(hits: int, of: int, share: float) -> None:
    low, high = binom.ppf(1e-6, of, share), binom.isf(1e-6, of, share)
    assert low <= hits <= high, f"{hits} of {of} is not a share of {share}"


def env_of(deployment: Object, **values: str) -> None:
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["env"] += [{"name": name, "value": value} for name, value in values.items()]


async def test_weights_take_effect_and_move_without_a_failed_request(manifests: list[Object]) -> None:
    async with World(manifests, QUICK) as world:
        await world.users.start(300)
        await until(world, lambda _: world.users.total.answered >= 1500)
        seen = world.users.total
        assert_share(seen.served("v2"), seen.answered, 0.1)

        await set_weights(world, 0, 100)
        await until(world, lambda second: second.tally.served("v2") == second.tally.answered > 0)
        total = await world.users.stop()
        assert total.failed() == {}
        assert total.answered == total.sent
        async with aiohttp.ClientSession() as session:
            query = "filter=cx_destroy_with_active_rq|^http.gateway.downstream_cx_destroy$"
            async with session.get(f"{world.gateway.admin_url}/stats?{query}") as response:
                lines = (await response.text()).splitlines()
        assert any("upstream" in line for line in lines)
        assert any("downstream" in line for line in lines)
        assert [line for line in lines if not line.endswith(": 0")] == [], "no connection was dropped"


async def test_the_company_s_cookie_decides_who_meets_the_canary(
    manifests: list[Object], virtual_service: Object
) -> None:
    halves = [{"destination": {"host": "helloworld", "subset": v}, "weight": 50} for v in ("v1", "v2")]
    virtual_service["spec"]["http"] = [
        {"name": "insiders", "match": [{"headers": {"cookie": {"regex": COMPANY}}}], "route": halves},
        {"name": "primary", "route": [{"destination": {"host": "helloworld", "subset": "v1"}}]},
    ]
    async with World(manifests, QUICK) as world:
        total = await load(world, 1200, insiders=0.4)
        insiders = Counter({o.version: n for o, n in total.counts.items() if o.insider})
        others = Counter({o.version: n for o, n in total.counts.items() if not o.insider})
        assert set(others) == {"v1"}
        assert_share(insiders["v2"], insiders.total(), 0.5)
        series = await fetch_requests(world, total.sent)
        by_route = {(row["route_name"], row["destination_workload"]): int(row["n"]) for row in series}
        assert by_route == {
            ("insiders", "helloworld-v1"): insiders["v1"],
            ("insiders", "helloworld-v2"): insiders["v2"],
            ("primary", "helloworld-v1"): others["v1"],
        }


async def test_telemetry_is_istio_s_and_counts_what_the_users_counted(manifests: list[Object]) -> None:
    env_of(manifests[-1], ERROR_RATE="0.2", HANG_SHARE="0.2")
    async with World(manifests, QUICK) as world:
        total = await load(world, 1200, timeout_s=1)
        series = await fetch_requests(world, total.sent)
        timeouts = sum(n for outcome, n in total.counts.items() if outcome.status == "timeout")
        assert timeouts > 0
        assert total.served("v2") > 0

        counted = {(row["destination_canonical_revision"], row["response_code"]): int(row["n"]) for row in series}
        expected = {(o.version, o.status): n for o, n in total.counts.items() if o.version}
        # A client that gives up is code 0: no version has answered, and the pod that hangs is named all the same.
        assert counted == {**expected, ("v2", "0"): timeouts}
        (row,) = (r for r in series if (r["destination_workload"], r["response_code"]) == ("helloworld-v1", "200"))
        assert row == {
            "__name__": "istio_requests_total",
            "job": "gateway",
            "instance": row["instance"],
            "reporter": "source",
            "source_workload": "istio-ingressgateway",
            "source_workload_namespace": "istio-system",
            "destination_workload": "helloworld-v1",
            "destination_workload_namespace": "shop",
            "destination_canonical_service": "helloworld",
            "destination_canonical_revision": "v1",
            "destination_service": "helloworld.shop.svc.cluster.local",
            "destination_service_name": "helloworld",
            "destination_service_namespace": "shop",
            "request_protocol": "http",
            "response_code": "200",
            "response_flags": "-",
            "route_name": "primary",
            "upstream_cluster": "outbound|5000|v1|helloworld.shop.svc.cluster.local",
            "n": row["n"],
        }


async def test_a_subset_without_pods_fails_with_the_cluster_s_name(manifests: list[Object]) -> None:
    manifests[-1]["spec"]["replicas"] = 0
    async with World(manifests, QUICK) as world:
        total = await load(world, 400)
        failed = total.failed()["gateway"]
        assert failed > 0
        series = await fetch_requests(world, total.sent)
        (row,) = (row for row in series if row["response_code"] == "503")
        assert int(row["n"]) == failed
        assert (row["response_flags"], row["destination_workload"]) == ("UH", "unknown")
        assert row["destination_canonical_revision"] == "latest"
        assert row["upstream_cluster"].startswith("outbound|5000|v2|")


async def test_autoscaling_and_a_new_release_lose_no_request(manifests: list[Object], hpas: list[Object]) -> None:
    async with World([*manifests, *hpas], QUICK) as world:
        await world.users.start(200)
        async with asyncio.timeout(30):
            while (await world.replicas())["helloworld-v1"] <= 2:  # noqa: ASYNC110 - the cluster's state
                await asyncio.sleep(0.1)

        usual = (await world.cluster.get(V2))["spec"]["template"]
        await world.release(V2, Release(errors=1).template(usual, tag="bad"))
        await until(world, lambda second: second.tally.failed()["v2"] > 0)
        await world.release(V2, usual)
        await world.settled()
        await until(world, lambda second: second.tally.served("v2") > second.tally.failed()["v2"] == 0)
        total = await world.users.stop()
        assert set(total.failed()) == {"v2"}, "only the bad release failed requests; no pod's coming or going did"


async def test_a_process_that_dies_ends_the_world_and_says_why(manifests: list[Object], tmp_path: Path) -> None:
    processes: dict[str, int] = {}
    with pytest.raises(ChildDied, match=r"(?s)Envoy \(pid \d+\) ended with exit status -9. Its last lines:\n"):  # noqa: PT012 - a world has a body
        async with World(manifests, Options(directory=tmp_path)) as world:
            processes |= world.processes
            os.kill(processes["Envoy"], signal.SIGKILL)
            await asyncio.Event().wait()
    assert_gone(processes)


async def test_no_process_outlives_a_failing_body(manifests: list[Object], tmp_path: Path) -> None:
    processes: dict[str, int] = {}
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - a world has a body
        async with World(manifests, Options(directory=tmp_path / "kept")) as world:
            processes |= world.processes
            await world.users.start(50)
            _ = 1 / 0
    assert_gone(processes)
    assert (tmp_path / "kept" / "envoy.log").exists()


def assert_gone(processes: dict[str, int]) -> None:
    assert set(processes) == {"workloads", "Envoy", "Prometheus", "users"}
    for pid in processes.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
