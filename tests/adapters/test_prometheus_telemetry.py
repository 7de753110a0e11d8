import asyncio
import math
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_api_client import PrometheusConnect

from analyzer.adapters.prometheus import PrometheusTelemetry
from analyzer.errors import MetricsUnavailable
from analyzer.ports import Telemetry, TelemetryQuery, Workload
from tests.adapters.scripted_prometheus import EMPTY, Asked, Reply, ScriptedPrometheus, html, success

CART = Workload("shop", "cart-v1")
QUERY = TelemetryQuery(frozenset({CART, Workload("shop", "cart-v2")}), end_s=1_700_000_100.0, window_s=30.0)
NO_ANSWER = None


class ManualMonotonic:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def server() -> Iterator[ScriptedPrometheus]:
    with ScriptedPrometheus().running() as server:
        yield server


@pytest.fixture
async def telemetry(server: ScriptedPrometheus) -> AsyncIterator[PrometheusTelemetry]:
    telemetry = PrometheusTelemetry(server.url)
    yield telemetry
    await telemetry.aclose()


def series(workload: Workload, *samples: tuple[float, str], **labels: str) -> dict[str, Any]:
    metric = {
        "__name__": "istio_requests_total",
        "job": "mesh",
        "instance": "gw:15020",
        "destination_workload": workload.name,
        "destination_workload_namespace": workload.namespace,
        **labels,
    }
    return {"metric": metric, "values": [list(sample) for sample in samples]}


def by_metric(requests: Reply, durations: Reply = EMPTY, reporters: Reply = EMPTY) -> Any:
    def answer(asked: Asked) -> Reply:
        if asked.query.startswith("istio_requests_total"):
            return requests
        return durations if asked.query.startswith("istio_request_duration") else reporters

    return answer


async def failure(telemetry: PrometheusTelemetry) -> MetricsUnavailable:
    with pytest.raises(MetricsUnavailable) as caught:
        await telemetry.fetch(QUERY)
    return caught.value


# --- what is asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 1000])
async def test_the_number_of_requests_does_not_grow_with_the_workloads(
    server: ScriptedPrometheus, telemetry: PrometheusTelemetry, count: int
) -> None:
    workloads = frozenset(Workload(f"ns-{k % 7}", f"app-{k}") for k in range(count))
    server.script = by_metric(success([series(w, (1_700_000_090.0, "1")) for w in workloads]))
    window = await telemetry.fetch(TelemetryQuery(workloads, QUERY.end_s, QUERY.window_s))

    assert len(window.requests.labels) == count
    assert len(server.asked) == telemetry.queries == 3


async def test_without_a_reporter_nothing_more_is_asked(
    server: ScriptedPrometheus, telemetry: PrometheusTelemetry
) -> None:
    window = await telemetry.fetch(QUERY)

    assert len(server.asked) == 2
    assert window.reporters.offsets.tolist() == [0]


async def test_without_workloads_nothing_is_asked(server: ScriptedPrometheus, telemetry: PrometheusTelemetry) -> None:
    window = await telemetry.fetch(TelemetryQuery(frozenset(), QUERY.end_s, QUERY.window_s))

    assert server.asked == []
    assert window.requests.labels == []


async def test_queries_are_posted_in_the_body_with_a_fixed_time(
    server: ScriptedPrometheus, telemetry: PrometheusTelemetry
) -> None:
    server.script = by_metric(success([series(CART, (1_700_000_090.0, "1"))]))
    await telemetry.fetch(QUERY)

    assert len({asked.port for asked in server.asked}) == 1  # one connection, kept
    assert [(asked.method, asked.path) for asked in server.asked] == [("POST", "/api/v1/query")] * 3
    assert {asked.form["time"] for asked in server.asked} == {"1700000100.000"}
    assert [asked.query for asked in server.asked] == [
        (
            'istio_requests_total{reporter="source",destination_workload=~"cart-v1|cart-v2|unknown",'
            'destination_workload_namespace=~"shop|unknown"}[30000ms]'
        ),
        (
            'istio_request_duration_milliseconds_bucket{reporter="source",destination_workload=~"cart-v1|cart-v2",'
            'destination_workload_namespace=~"shop"}[30000ms]'
        ),
        '{__name__=~"up|envoy_server_uptime",job=~"mesh",instance=~"gw:15020"}[30000ms]',
    ]


async def test_names_are_never_read_as_promql(server: ScriptedPrometheus) -> None:
    telemetry = PrometheusTelemetry(server.url, reporter='way"point')
    await telemetry.fetch(TelemetryQuery(frozenset({Workload("a.b", 'x"}|.*\\')}), QUERY.end_s, QUERY.window_s))
    await telemetry.aclose()

    assert 'reporter="way\\"point"' in server.asked[0].query
    assert 'destination_workload=~"unknown|x\\"\\\\}\\\\|\\\\.\\\\*\\\\\\\\"' in server.asked[0].query
    assert 'destination_workload_namespace=~"a\\\\.b|unknown"' in server.asked[0].query


async def test_the_token_is_read_anew_for_each_request(server: ScriptedPrometheus, tmp_path: Path) -> None:
    token = tmp_path / "token"
    telemetry = PrometheusTelemetry(server.url, bearer_token_file=token)
    for text in ("first\n", "second"):
        token.write_text(text)
        await telemetry.fetch(QUERY)
    await telemetry.aclose()

    sent = [asked.headers["Authorization"] for asked in server.asked]
    assert sent == ["Bearer first", "Bearer first", "Bearer second", "Bearer second"]


async def test_a_token_file_that_is_missing_is_named(server: ScriptedPrometheus, tmp_path: Path) -> None:
    telemetry = PrometheusTelemetry(server.url, bearer_token_file=tmp_path / "token")
    error = await failure(telemetry)
    await telemetry.aclose()

    assert str(tmp_path / "token") in str(error)
    assert server.asked == []


async def test_a_broken_token_is_not_shown(server: ScriptedPrometheus, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret one\nand another")
    telemetry = PrometheusTelemetry(server.url, bearer_token_file=tmp_path / "token")
    error = await failure(telemetry)
    await telemetry.aclose()

    assert "holds no token" in str(error)
    assert "secret" not in str(error)


async def test_a_ca_file_that_is_missing_is_named(tmp_path: Path) -> None:
    telemetry = PrometheusTelemetry("https://127.0.0.1:1", ca_file=tmp_path / "ca.crt")
    error = await failure(telemetry)
    await telemetry.aclose()

    assert str(tmp_path / "ca.crt") in str(error)


@pytest.mark.parametrize("url", ["prometheus:9090", "ftp://prometheus", "http://", ""])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="write it like http://prometheus"):
        PrometheusTelemetry(url)


# --- what comes back --------------------------------------------------------------------------------------------------


async def test_samples_come_as_columns(server: ScriptedPrometheus, telemetry: PrometheusTelemetry) -> None:
    server.script = by_metric(
        success(
            [
                series(CART, (1_700_000_080.123, "7"), (1_700_000_090.123, "9"), response_code="200"),
                series(CART, (1_700_000_090.123, "1"), response_code="503"),
            ]
        )
    )
    batch = (await telemetry.fetch(QUERY)).requests

    assert [labels["response_code"] for labels in batch.labels] == ["200", "503"]
    assert batch.offsets.tolist() == [0, 2, 3]
    assert batch.times.tolist() == [1_700_000_080.123, 1_700_000_090.123, 1_700_000_090.123]
    assert batch.values.tolist() == [7, 9, 1]
    assert [str(column.dtype) for column in (batch.offsets, batch.times, batch.values)] == [
        "int64",
        "float64",
        "float64",
    ]


async def test_the_left_end_of_the_window_is_not_in_it(
    server: ScriptedPrometheus, telemetry: PrometheusTelemetry
) -> None:
    server.script = by_metric(
        success(
            [series(CART, (1_700_000_070.0, "1"), (1_700_000_071.0, "2")), series(CART, (1_700_000_070.0, "3"), a="b")]
        )
    )
    batch = (await telemetry.fetch(QUERY)).requests

    assert batch.offsets.tolist() == [0, 1, 1]
    assert batch.values.tolist() == [2]


async def test_the_cross_product_of_names_and_namespaces_is_cut_down(
    server: ScriptedPrometheus, telemetry: PrometheusTelemetry
) -> None:
    workloads = [Workload("a", "x"), Workload("b", "y"), Workload("a", "y"), Workload("unknown", "unknown")]
    server.script = by_metric(*[success([series(w, (1_700_000_090.0, "1")) for w in workloads])] * 2)
    window = await telemetry.fetch(TelemetryQuery(frozenset(workloads[:2]), QUERY.end_s, QUERY.window_s))

    assert [labels["destination_workload"] for labels in window.requests.labels] == ["x", "y", "unknown"]
    assert [labels["destination_workload"] for labels in window.durations.labels] == ["x", "y"]


async def test_nan_infinite_and_negative_values_are_passed_on(
    server: ScriptedPrometheus, telemetry: PrometheusTelemetry
) -> None:
    values = ["NaN", "+Inf", "-Inf", "-3"]
    server.script = by_metric(success([series(CART, *((1_700_000_090.0 + k, v) for k, v in enumerate(values)))]))
    got = (await telemetry.fetch(QUERY)).requests.values.tolist()

    assert math.isnan(got[0])
    assert got[1:] == [math.inf, -math.inf, -3.0]


async def test_infos_are_no_warnings(server: ScriptedPrometheus, telemetry: PrometheusTelemetry) -> None:
    server.script = lambda _: success([], infos=["PromQL info: metric might not be a counter"])

    assert (await telemetry.fetch(QUERY)).requests.labels == []


# --- what goes wrong --------------------------------------------------------------------------------------------------

ONE = success([series(CART, (1_700_000_090.0, "1"))])


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (html(503), ["answered 503", "text/html, not from Prometheus itself"]),
        (
            Reply(b'{"status":"error","errorType":"bad_data","error":"parse error at char 3"}', 400),
            ["parse error at char 3"],
        ),
        (
            Reply(b'{"status":"error","errorType":"execution","error":"too many samples"}'),
            ["execution: too many samples"],
        ),
        (html(200), ["not JSON but text/html"]),
        (Reply(b"[1,"), ["not JSON"]),
        (Reply(b"[]"), ["no JSON object"]),
        (Reply(b'{"status":"success"}'), ["no data"]),
        (Reply(b'{"status":"success","data":{}}'), ["no data"]),
        (success([], warnings=["store-1: context deadline exceeded"]), ["may be partial", "store-1: context deadline"]),
        (success([], "vector"), ["'vector', not 'matrix'"]),
        (success(1), ["cannot be read"]),
        (success([{"metric": {"destination_workload": "unknown"}, "value": [1, "2"]}]), ["cannot be read (KeyError"]),
        (success([series(CART, (1_700_000_090.0, "many"))]), ["cannot be read (ValueError", "many"]),
        (html(401), ["not allowed", "bearer token file"]),
    ],
)
async def test_a_doubtful_answer_is_no_answer(
    server: ScriptedPrometheus, telemetry: PrometheusTelemetry, reply: Reply, said: list[str]
) -> None:
    server.script = lambda _: reply
    error = await failure(telemetry)

    assert [text for text in (server.url, *said) if text not in str(error)] == []


async def test_each_of_the_three_answers_is_checked(server: ScriptedPrometheus, telemetry: PrometheusTelemetry) -> None:
    for replies in ((ONE, html(503)), (ONE, EMPTY, html(503))):
        server.script = by_metric(*replies)
        assert "answered 503" in str(await failure(telemetry))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "17"}, 17),
        ({"Retry-After": "Mon, 23 Nov 2026 10:00:30 GMT", "Date": "Mon, 23 Nov 2026 10:00:00 GMT"}, 30),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
async def test_retry_after_is_passed_on(
    server: ScriptedPrometheus, telemetry: PrometheusTelemetry, headers: dict[str, str], seconds: float | None
) -> None:
    server.script = lambda _: html(429, **headers)

    assert (await failure(telemetry)).retry_after_s == seconds


async def test_a_redirect_is_refused(server: ScriptedPrometheus, telemetry: PrometheusTelemetry) -> None:
    server.script = lambda _: html(302, Location="http://user:secret@127.0.0.1:1/login?token=x")
    error = str(await failure(telemetry))

    assert "redirects to http://127.0.0.1:1/login" in error
    assert "secret" not in error
    assert len(server.asked) == 1


async def test_an_absent_server_is_named_without_credentials() -> None:
    with socket.socket() as probe:  # bound, and nobody listens
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        telemetry = PrometheusTelemetry(f"http://me:secret@127.0.0.1:{port}")
        error = str(await failure(telemetry))
        await telemetry.aclose()

    assert error == (
        f"Prometheus at http://127.0.0.1:{port}: nothing listens there; check that Prometheus runs, and the address."
    )


async def test_a_name_that_does_not_resolve_is_told_apart() -> None:
    telemetry = PrometheusTelemetry("http://prometheus.invalid:9090")
    error = str(await failure(telemetry))
    await telemetry.aclose()

    assert "host name cannot be resolved" in error


async def test_a_server_that_hangs_is_given_up(server: ScriptedPrometheus) -> None:
    server.script = lambda _: NO_ANSWER
    telemetry = PrometheusTelemetry(server.url, timeout_s=(1.0, 0.05))
    error = str(await failure(telemetry))
    await telemetry.aclose()

    assert "no answer in time" in error
    assert len(server.asked) == 1  # and nobody asked again behind our back


async def test_a_slow_trickle_has_a_deadline(server: ScriptedPrometheus) -> None:
    telemetry = PrometheusTelemetry(server.url, deadline_s=0.0)
    server.script = lambda _: success([series(CART, (1_700_000_090.0, "1")) for _ in range(5000)])
    error = str(await failure(telemetry))
    await telemetry.aclose()

    assert "no answer in time" in error


async def test_an_answer_too_large_is_not_read_to_its_end(server: ScriptedPrometheus) -> None:
    telemetry = PrometheusTelemetry(server.url, max_bytes=1000)
    server.script = lambda _: success([series(CART, (1_700_000_090.0, "1")) for _ in range(5000)])
    error = str(await failure(telemetry))
    await telemetry.aclose()

    assert "larger than" in error


# --- threads ----------------------------------------------------------------------------------------------------------


async def test_hung_calls_block_neither_the_others_nor_dns(server: ScriptedPrometheus) -> None:
    telemetry = PrometheusTelemetry(server.url, timeout_s=(1.0, 30.0), deadline_s=30.0)
    server.script = lambda _: NO_ANSWER
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        hung = [group.create_task(telemetry.fetch(QUERY)) for _ in range(3)]
        for _ in hung:
            await loop.run_in_executor(None, server.hanging.acquire)
        for task in hung:
            task.cancel()

    server.script = by_metric(ONE)
    window = await telemetry.fetch(QUERY)  # on the last free thread
    resolved = await loop.getaddrinfo("127.0.0.1", 80)
    await telemetry.aclose()

    assert len(window.requests.labels) == 1
    assert resolved


async def test_when_all_threads_hang_a_call_is_told_so(server: ScriptedPrometheus) -> None:
    telemetry = PrometheusTelemetry(server.url, timeout_s=(1.0, 30.0), deadline_s=0.2)
    server.script = lambda _: NO_ANSWER
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        hung = [group.create_task(telemetry.fetch(QUERY)) for _ in range(4)]
        for _ in hung:
            await loop.run_in_executor(None, server.hanging.acquire)
        error = await failure(telemetry)
        for task in hung:
            task.cancel()
    await telemetry.aclose()

    assert "all 4 connections wait for it" in str(error)


# --- the breaker ------------------------------------------------------------------------------------------------------


async def test_the_breaker_opens_and_recovers(server: ScriptedPrometheus) -> None:
    clock = ManualMonotonic()
    telemetry = PrometheusTelemetry(server.url, failure_limit=3, pause_s=10.0, monotonic_s=clock)
    server.script = lambda _: html(503)
    for _ in range(3):
        await failure(telemetry)
    refused = await failure(telemetry)

    assert len(server.asked) == 3
    assert "not asked for another 10 s: it failed 3 times in a row. The last time: " in str(refused)
    assert "answered 503" in str(refused)
    assert refused.retry_after_s == 10

    clock.now_s += 10
    await failure(telemetry)  # the trial fails: open again
    await failure(telemetry)
    assert len(server.asked) == 4

    clock.now_s += 10
    server.script = by_metric(ONE)
    await telemetry.fetch(QUERY)
    await telemetry.fetch(QUERY)
    await telemetry.aclose()
    assert len(server.asked) == 10


async def test_half_open_lets_one_call_try(server: ScriptedPrometheus) -> None:
    clock = ManualMonotonic()
    telemetry = PrometheusTelemetry(server.url, failure_limit=1, monotonic_s=clock)
    server.script = lambda _: html(503)
    await failure(telemetry)
    clock.now_s += 60
    server.script = lambda _: NO_ANSWER
    async with asyncio.TaskGroup() as group:
        trial = group.create_task(telemetry.fetch(QUERY))
        await asyncio.get_running_loop().run_in_executor(None, server.hanging.acquire)
        await failure(telemetry)
        trial.cancel()
    await telemetry.aclose()

    assert len(server.asked) == 2


# --- the clock --------------------------------------------------------------------------------------------------------


async def test_the_time_is_prometheus_own_and_kept_for_a_minute(server: ScriptedPrometheus) -> None:
    clock = ManualMonotonic()
    telemetry = PrometheusTelemetry(server.url, monotonic_s=clock)
    server.script = lambda _: success([1_700_000_000.5, "1700000000.5"], "scalar")
    first = await telemetry.now_s()
    clock.now_s += 59
    second = await telemetry.now_s()
    assert (first, second, len(server.asked)) == (1_700_000_000.5, 1_700_000_059.5, 1)

    clock.now_s += 2
    server.script = lambda _: success([0, "1700000099"], "scalar")
    third = await telemetry.now_s()
    await telemetry.aclose()
    assert (third, len(server.asked)) == (1_700_000_099, 2)
    assert "time" not in server.asked[0].form


async def test_a_time_that_is_none_is_refused(server: ScriptedPrometheus, telemetry: PrometheusTelemetry) -> None:
    server.script = lambda _: success(["x"], "scalar")
    with pytest.raises(MetricsUnavailable, match="cannot be read"):
        await telemetry.now_s()


def test_it_is_a_telemetry(server: ScriptedPrometheus) -> None:
    telemetry: Telemetry = PrometheusTelemetry(server.url)

    assert telemetry is not None


# --- traps upstream: these turn red when prometheus-api-client mends them, and guards here can go ---------------------


@pytest.mark.xfail(strict=True, reason="prometheus-api-client drops the warnings of a partial answer")
def test_upstream_tells_of_warnings(server: ScriptedPrometheus) -> None:
    server.script = lambda _: success([], "vector", warnings=["partial response"])
    with PrometheusConnect(url=server.url) as connect, pytest.raises(Exception, match="partial response"):
        connect.custom_query("up")


@pytest.mark.xfail(strict=True, reason="prometheus-api-client waits for ever unless told otherwise")
def test_upstream_has_a_default_timeout() -> None:
    with PrometheusConnect(url="http://127.0.0.1:1") as connect:
        assert connect._timeout is not None


@pytest.mark.xfail(strict=True, reason="prometheus-api-client puts the parameters of a POST into the URL")
def test_upstream_posts_parameters_in_the_body(server: ScriptedPrometheus) -> None:
    with PrometheusConnect(url=server.url, method="POST") as connect:
        connect.custom_query("up")

    assert server.asked[0].form == {"query": "up"}
