import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from analyzer.adapters.kube import Credentials, CredentialsInvalid, KubeCluster, connect
from analyzer.adapters.kube import config as kube_config
from analyzer.adapters.kube.api import AT_ONCE
from analyzer.errors import (
    AdmissionUnavailable,
    ClusterUnavailable,
    ConflictError,
    ObjectMissing,
    OutcomeUnknown,
    ReadRefused,
    SerinError,
    WatchExpired,
    WriteRefused,
)
from analyzer.ports import CANARY_POLICY, POD, SERVICE, VIRTUAL_SERVICE, Change, ChangeType, Ref
from tests.adapters.scripted_api import ScriptedApi, kubeconfig, status
from tests.faultproxy import Fault, FaultProxy, Rule, kubernetes_status

VS = Ref(VIRTUAL_SERVICE, "shop", "helloworld")
OBJ = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {
        "name": "helloworld",
        "namespace": "shop",
        "resourceVersion": "7",
        "managedFields": [{"manager": "x"}],
    },
}
PATCH = [{"op": "replace", "path": "/spec/x", "value": 1}]


@pytest.fixture
async def api() -> AsyncIterator[ScriptedApi]:
    async with ScriptedApi().running() as api:
        yield api


@pytest.fixture
async def proxy(api: ScriptedApi) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(api.url).running() as proxy:
        yield proxy


@pytest.fixture
async def cluster(proxy: FaultProxy, tmp_path: Path) -> AsyncIterator[KubeCluster]:
    async with connect(Credentials(kubeconfig(tmp_path / "config", proxy.url)), timeout_s=0.5) as cluster:
        yield cluster


def answers(*responses: web.StreamResponse | Callable[[], web.StreamResponse]) -> Callable[..., Awaitable[Any]]:
    queue = list(responses)

    async def script(_request: web.Request) -> web.StreamResponse:
        response = queue.pop(0) if len(queue) > 1 else queue[0]
        return response() if callable(response) else response

    return script


def page_for_people(code: int) -> web.Response:
    return web.Response(status=code, text="<html>sign in</html>", content_type="text/html")


def found() -> web.Response:
    return web.json_response(OBJ)


async def changes(cluster: KubeCluster) -> list[Change]:
    async with aclosing(cluster.watch(VIRTUAL_SERVICE, resource_version="7")) as stream:
        return [change async for change in stream]


Call = Callable[[KubeCluster], Awaitable[object]]
READS: dict[str, Call] = {
    "get": lambda cluster: cluster.get(VS),
    "list": lambda cluster: cluster.list(VIRTUAL_SERVICE),
    "watch": changes,
}
WRITES: dict[str, Call] = {
    "patch": lambda cluster: cluster.patch(VS, PATCH),
    "replace_status": lambda cluster: cluster.replace_status(VS, OBJ),
    "create": lambda cluster: cluster.create(VIRTUAL_SERVICE, OBJ),
}
ALL = READS | WRITES


async def failure(call: Call, cluster: KubeCluster) -> SerinError:
    with pytest.raises(SerinError) as caught:
        await call(cluster)
    return caught.value


# --- what is sent -----------------------------------------------------------------------------------------------------


async def test_requests_are_what_the_api_server_expects(cluster: KubeCluster, api: ScriptedApi) -> None:
    api.script = answers(found)
    await cluster.get(VS)
    await cluster.get(Ref(SERVICE, "shop", "a/../b"))
    await cluster.patch(VS, PATCH, dry_run=True)
    await cluster.replace_status(VS, OBJ)
    await cluster.create(VIRTUAL_SERVICE, OBJ)
    base = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices"
    assert [(method, path, body) for method, path, _, body in api.asked] == [
        ("GET", f"{base}/helloworld", None),
        ("GET", "/api/v1/namespaces/shop/services/a%2F..%2Fb", None),
        ("PATCH", f"{base}/helloworld?fieldManager=serin&dryRun=All", PATCH),
        ("PUT", f"{base}/helloworld/status?fieldManager=serin", OBJ),
        ("POST", f"{base}?fieldManager=serin", OBJ),
    ]
    assert api.asked[2][2]["Content-Type"] == "application/json-patch+json"
    assert all(headers["Authorization"] == "Bearer secret" for _, _, headers, _ in api.asked)
    assert all(headers["User-Agent"].startswith("serin/") for _, _, headers, _ in api.asked)


async def test_managed_fields_are_left_out(cluster: KubeCluster, api: ScriptedApi) -> None:
    api.script = answers(found)
    assert "managedFields" not in (await cluster.get(VS))["metadata"]


async def test_what_is_no_json_is_refused_before_it_is_sent(cluster: KubeCluster, api: ScriptedApi) -> None:
    for value in (float("nan"), object()):
        with pytest.raises(WriteRefused, match="not JSON"):
            await cluster.create(VIRTUAL_SERVICE, {**OBJ, "spec": value})
    assert api.asked == []


async def test_a_warning_of_the_server_is_logged_once(cluster: KubeCluster, api: ScriptedApi) -> None:
    api.script = answers(lambda: web.json_response(OBJ, headers={"Warning": '299 - "unknown field \\"spec.x\\""'}))
    with capture_logs() as logs:
        await cluster.patch(VS, PATCH)
        await cluster.patch(VS, PATCH)
    assert [log["event"] for log in logs] == ["the API server warns"]
    assert "unknown field" in logs[0]["warning"]


# --- lists ------------------------------------------------------------------------------------------------------------


def page(*names: str, token: str = "", version: str = "9") -> web.Response:
    items = [{"metadata": {"name": name, "namespace": "shop", "resourceVersion": "1"}} for name in names]
    metadata = {"resourceVersion": version} | ({"continue": token} if token else {})
    return web.json_response({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items})


async def test_a_list_is_read_in_pages_and_its_items_know_their_kind(cluster: KubeCluster, api: ScriptedApi) -> None:
    api.script = answers(page("a", "b", token="t/1"), page("c"))
    listing = await cluster.list(POD, namespace="shop")
    assert [(obj["kind"], obj["apiVersion"], obj["metadata"]["name"]) for obj in listing.items] == [
        ("Pod", "v1", name) for name in "abc"
    ]
    assert listing.resource_version == "9"
    assert [path for _, path, *_ in api.asked] == [
        "/api/v1/namespaces/shop/pods?limit=500",
        "/api/v1/namespaces/shop/pods?limit=500&continue=t/1",
    ]


async def test_a_list_whose_pages_expire_is_read_at_once(cluster: KubeCluster, api: ScriptedApi) -> None:
    gone = status(410, "The provided continue parameter is too old", reason="Expired")
    api.script = answers(page("a", token="1"), gone, page("a", "b", version="12"))
    listing = await cluster.list(POD)
    assert [obj["metadata"]["name"] for obj in listing.items] == ["a", "b"]
    assert [path for _, path, *_ in api.asked][-1] == "/api/v1/pods"


async def test_an_answer_that_is_no_list_is_no_empty_one(cluster: KubeCluster, api: ScriptedApi) -> None:
    api.script = answers(found)
    with pytest.raises(ClusterUnavailable, match="no list"):
        await cluster.list(POD)


# --- answers that are no success --------------------------------------------------------------------------------------

ISTIOD = 'Internal error occurred: failed calling webhook "rev.validation.istio.io": failed to call webhook: refused'
VALID: dict[str, Any] = {"name": "helloworld", "kind": "VirtualService"}


@pytest.mark.parametrize(
    ("answer", "read", "write", "words"),
    [
        (status(401, "Unauthorized"), ClusterUnavailable, ClusterUnavailable, "token"),
        (status(403, "User cannot patch", **VALID), ReadRefused, WriteRefused, "cannot patch"),
        (status(404, '"helloworld" not found', **VALID), ObjectMissing, ObjectMissing, "not found"),
        (web.Response(status=404, text="404 page not found\n"), ObjectMissing, ObjectMissing, "CRD"),
        (page_for_people(404), ClusterUnavailable, ClusterUnavailable, "before it"),
        (status(409, "the object has been modified", **VALID), ConflictError, ConflictError, "modified"),
        (status(413, "Request entity too large"), ReadRefused, WriteRefused, "too large"),
        (status(422, "the server rejected our request due to an error in our request"), ConflictError, ConflictError, "test"),
        (status(422, "spec.x: Invalid value", **VALID), ReadRefused, WriteRefused, "Invalid value"),
        (status(400, 'admission webhook "v" denied the request: no'), WriteRefused, WriteRefused, "denied"),
        (status(409, 'admission webhook "v" denied the request: no'), WriteRefused, WriteRefused, "denied"),
        (status(429, "too many requests", retryAfterSeconds=7), ClusterUnavailable, ClusterUnavailable, "429"),
        (status(500, ISTIOD), AdmissionUnavailable, AdmissionUnavailable, "bring istiod back"),
        (status(500, 'failed calling webhook "x.example.com": refused'), AdmissionUnavailable, AdmissionUnavailable, "webhook"),
        (status(500, "etcdserver: request timed out"), ClusterUnavailable, OutcomeUnknown, "timed out"),
        (status(503, "apiserver is shutting down"), ClusterUnavailable, ClusterUnavailable, "shutting down"),
        (status(504, "Timeout: request did not complete"), ClusterUnavailable, OutcomeUnknown, "Timeout"),
        (page_for_people(503), ClusterUnavailable, OutcomeUnknown, "503 (text/html)"),
        (web.Response(status=502, body=b"\xff\xfe"), ClusterUnavailable, OutcomeUnknown, "502"),
        (page_for_people(200), ClusterUnavailable, OutcomeUnknown, "not the API server's"),
        (web.json_response([]), ClusterUnavailable, OutcomeUnknown, "not the API server's"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ALL)
async def test_every_answer_means_one_of_our_errors(
    cluster: KubeCluster,
    api: ScriptedApi,
    *,
    method: str,
    answer: web.Response,
    read: type[SerinError],
    write: type[SerinError],
    words: str,
) -> None:
    body, code = answer.body, answer.status
    content_type = answer.headers.get("Content-Type", "application/octet-stream")
    api.script = answers(lambda: web.Response(status=code, body=body, headers={"Content-Type": content_type}))
    error = await failure(ALL[method], cluster)
    assert type(error) is (write if method in WRITES else read)
    assert words in str(error)
    assert len(str(error)) < 1000


async def test_retry_after_is_passed_on(cluster: KubeCluster, proxy: FaultProxy) -> None:
    proxy.add(kubernetes_status(429, "TooManyRequests", "too many", retry_after_s=7))
    for call in ALL.values():
        error = await failure(call, cluster)
        assert isinstance(error, ClusterUnavailable)
        assert error.retry_after_s == 7.0


FORBIDDEN = 'virtualservices is forbidden: User "serin" cannot patch resource'


@pytest.mark.parametrize("method", ALL)
async def test_what_an_api_server_forbids_that_has_just_come_back_is_asked_again(
    cluster: KubeCluster, api: ScriptedApi, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """It serves before it has read its roles, and until then it knows of none."""
    api.script = answers(lambda: status(403, FORBIDDEN, **VALID))
    refused = WriteRefused if method in WRITES else ReadRefused
    assert type(await failure(ALL[method], cluster)) is refused
    proxy.add(Rule(name="restarts", fault=Fault.DROP))
    await failure(ALL["get"], cluster)
    proxy.remove()
    error = await failure(ALL[method], cluster)
    assert type(error) is ClusterUnavailable
    assert "cannot patch resource" in str(error)
    assert "just come back" in str(error)
    monkeypatch.setattr("analyzer.adapters.kube.api._RETURNING_S", 0.0)  # as long as that is ago then
    assert type(await failure(ALL[method], cluster)) is refused


async def test_what_a_webhook_of_one_that_has_just_come_back_denies_is_denied(
    cluster: KubeCluster, api: ScriptedApi, proxy: FaultProxy
) -> None:
    proxy.add(Rule(name="restarts", fault=Fault.DROP))
    await failure(ALL["get"], cluster)
    proxy.remove()
    api.script = answers(lambda: status(403, 'admission webhook "v" denied the request: no', reason="Forbidden"))
    assert type(await failure(ALL["patch"], cluster)) is WriteRefused


# --- no answer, or half of one ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reaches", [False, True])
@pytest.mark.parametrize("fault", [Fault.DROP, Fault.HANG])
@pytest.mark.parametrize("method", ALL)
async def test_without_an_answer_nobody_knows_what_became_of_a_write(
    cluster: KubeCluster, api: ScriptedApi, proxy: FaultProxy, *, method: str, fault: Fault, reaches: bool
) -> None:
    api.script = answers(found)
    proxy.add(Rule(name="lost", fault=fault, reaches=reaches))
    assert type(await failure(ALL[method], cluster)) is (OutcomeUnknown if method in WRITES else ClusterUnavailable)
    assert len(api.asked) >= reaches
    proxy.remove()
    assert (await cluster.get(VS))["kind"] == "VirtualService"


@pytest.mark.parametrize("fault", [Fault.TRUNCATE, Fault.STALL])
@pytest.mark.parametrize("method", [*WRITES, "get"])
async def test_half_an_answer_is_none(
    cluster: KubeCluster, api: ScriptedApi, proxy: FaultProxy, *, method: str, fault: Fault
) -> None:
    api.script = answers(found)
    proxy.add(Rule(name="half", fault=fault, size=20))
    assert type(await failure(ALL[method], cluster)) is (OutcomeUnknown if method in WRITES else ClusterUnavailable)


@pytest.mark.parametrize("method", ALL)
async def test_what_cannot_be_reached_was_not_written(tmp_path: Path, method: str) -> None:
    async with connect(Credentials(kubeconfig(tmp_path / "config", "http://127.0.0.1:1"))) as cluster:
        error = await failure(ALL[method], cluster)
    assert type(error) is ClusterUnavailable
    assert "cannot be reached" in str(error)


async def test_a_slow_answer_is_an_answer(cluster: KubeCluster, api: ScriptedApi, proxy: FaultProxy) -> None:
    api.script = answers(found)
    proxy.add(Rule(name="slow", fault=Fault.DELAY, seconds=0.1, count=1))
    assert (await cluster.get(VS))["kind"] == "VirtualService"
    assert proxy.hits("slow") == 1


# --- watches ----------------------------------------------------------------------------------------------------------


def line(kind: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def streams(*parts: bytes, content_type: str = "application/json") -> Callable[..., Awaitable[web.StreamResponse]]:
    async def script(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        return response

    return script


async def test_a_watch_asks_for_bookmarks_and_an_end_and_yields_changes(cluster: KubeCluster, api: ScriptedApi) -> None:
    bookmark = {"kind": "VirtualService", "metadata": {"resourceVersion": "9"}}
    text = line("ADDED", OBJ) + line("BOOKMARK", bookmark)
    api.script = streams(text[:30], text[30:])
    added, marked = await changes(cluster)
    assert (added.type, added.object["metadata"]["name"]) == (ChangeType.ADDED, "helloworld")
    assert "managedFields" not in added.object["metadata"]
    assert (marked.type, marked.object["metadata"]["resourceVersion"]) == (ChangeType.BOOKMARK, "9")
    assert api.asked[0][1] == (
        "/apis/networking.istio.io/v1/virtualservices?watch=1&allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds=1800"
    )


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (
            line("ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"}),
            WatchExpired,
            "too old",
        ),
        (line("ERROR", {"kind": "Status", "code": 500, "message": "etcd is gone"}), ClusterUnavailable, "etcd is gone"),
        (line("ADDED", OBJ)[:40], ClusterUnavailable, "cut off"),
        (b"<html>no healthy upstream</html>\n", ClusterUnavailable, "cut off"),
        (line("ADDED", {"metadata": {}}), ClusterUnavailable, "cut off"),
        (line("JUMPED", OBJ), ClusterUnavailable, "cut off"),
        (b"[]\n", ClusterUnavailable, "cut off"),
        (b"x" * (5 << 20), ClusterUnavailable, "broke"),
    ],
    ids=["expired", "an error", "cut off", "html", "no version", "unknown type", "a list", "endless"],
)
async def test_whatever_is_no_change_ends_the_watch(
    cluster: KubeCluster, api: ScriptedApi, *, text: bytes, error: type[SerinError], words: str
) -> None:
    api.script = streams(text)
    with pytest.raises(error, match=words) as caught:
        await changes(cluster)
    assert type(caught.value) is error


async def test_a_page_for_people_is_no_stream(cluster: KubeCluster, api: ScriptedApi) -> None:
    api.script = streams(b"<html></html>", content_type="text/html")
    with pytest.raises(ClusterUnavailable):
        await changes(cluster)


async def test_a_version_that_is_gone_can_be_told_at_once(cluster: KubeCluster, proxy: FaultProxy) -> None:
    proxy.add(kubernetes_status(410, "Expired", "too old resource version: 7 (9)"))
    with pytest.raises(WatchExpired):
        await changes(cluster)


async def test_a_connection_that_is_cut_ends_the_watch(
    cluster: KubeCluster, api: ScriptedApi, proxy: FaultProxy
) -> None:
    api.script = streams(line("ADDED", OBJ), line("ADDED", OBJ))
    proxy.add(Rule(name="cut", fault=Fault.TRUNCATE, size=len(line("ADDED", OBJ))))
    with pytest.raises(ClusterUnavailable, match="broke"):
        await changes(cluster)


async def test_who_stops_listening_leaves_no_connection_behind(
    cluster: KubeCluster, api: ScriptedApi, proxy: FaultProxy
) -> None:
    left = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(line("ADDED", OBJ))
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return response

    api.script = endless
    stream = cluster.watch(VIRTUAL_SERVICE, resource_version="7")
    assert (await anext(stream)).type is ChangeType.ADDED
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await anext(stream)
    async with asyncio.timeout(10):
        await left.wait()


# --- credentials ------------------------------------------------------------------------------------------------------


async def test_a_token_file_is_read_again(api: ScriptedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_config, "_REFRESH_S", 0.0)
    api.script = answers(found)
    token = tmp_path / "token"
    token.write_text("first")
    async with connect(Credentials(kubeconfig(tmp_path / "config", api.url, tokenFile=str(token)))) as cluster:
        await cluster.get(VS)
        token.write_text("second")
        await cluster.get(VS)
        token.unlink()
        with pytest.raises(ClusterUnavailable, match="credentials cannot be read"):
            await cluster.get(VS)
    assert [headers["Authorization"] for _, _, headers, _ in api.asked] == ["Bearer first", "Bearer second"]


async def test_an_exec_plugin_gives_tokens_and_is_asked_again_when_they_expire(
    api: ScriptedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_config, "_REFRESH_S", 0.0)
    api.script = answers(found)
    plugin = tmp_path / "plugin"
    plugin.write_text(
        f"#!/bin/sh\necho x >> {tmp_path}/calls\n"
        'echo "{\\"apiVersion\\": \\"client.authentication.k8s.io/v1\\", \\"kind\\": \\"ExecCredential\\", \\"status\\": '
        f'{{\\"token\\": \\"t$(wc -l < {tmp_path}/calls)\\", \\"expirationTimestamp\\": \\"2020-01-01T00:00:00Z\\"}}}}"\n'
    )
    plugin.chmod(0o755)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}}
    async with connect(Credentials(kubeconfig(tmp_path / "config", api.url, **user))) as cluster:
        await cluster.get(VS)
        await cluster.get(VS)
    assert [headers["Authorization"] for _, _, headers, _ in api.asked] == ["Bearer t2", "Bearer t3"]


async def test_a_plugin_that_fails_is_told(tmp_path: Path) -> None:
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/false"}}
    with pytest.raises(CredentialsInvalid, match="exec: process returned 1"):
        async with connect(Credentials(kubeconfig(tmp_path / "config", "http://127.0.0.1:1", **user))):
            pass


async def test_bodies_are_never_logged(
    cluster: KubeCluster, api: ScriptedApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    api.script = answers(lambda: web.json_response({**OBJ, "data": {"password": "hunter2"}}))
    await cluster.get(VS)
    assert "hunter2" not in caplog.text


async def test_all_connections_are_closed_at_the_end(api: ScriptedApi, tmp_path: Path) -> None:
    api.script = answers(found)
    async with connect(Credentials(kubeconfig(tmp_path / "config", api.url))) as cluster:
        await cluster.get(VS)
        session: aiohttp.ClientSession = cluster._api._client.rest_client.pool_manager
    assert session.closed


async def test_the_policies_kind_is_ours(cluster: KubeCluster, api: ScriptedApi) -> None:
    api.script = answers(found)
    await cluster.get(Ref(CANARY_POLICY, "shop", "helloworld"))
    assert api.asked[0][1] == "/apis/serin.dev/v1alpha1/namespaces/shop/canarypolicies/helloworld"


# --- how many at once -------------------------------------------------------------------------------------------------


async def test_many_requests_at_once_share_a_few_connections(cluster: KubeCluster, api: ScriptedApi) -> None:
    now, most = 0, 0
    ports: set[int] = set()

    async def script(request: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        await asyncio.sleep(0.01)
        now -= 1
        return found()

    api.script = script
    async with asyncio.TaskGroup() as group:
        for _ in range(5 * AT_ONCE):
            group.create_task(cluster.get(VS))
    assert (most, len(ports)) == (AT_ONCE, AT_ONCE)


async def test_requests_that_hang_do_not_keep_others_waiting(api: ScriptedApi, tmp_path: Path) -> None:
    hanging, full = 0, asyncio.Event()

    async def script(request: web.Request) -> web.StreamResponse:
        nonlocal hanging
        if request.method == "PATCH":  # a webhook, say
            hanging += 1
            if hanging == AT_ONCE:
                full.set()
            await asyncio.Event().wait()
        return found()

    api.script = script
    credentials = Credentials(kubeconfig(tmp_path / "config", api.url))
    async with connect(credentials, timeout_s=60) as cluster, asyncio.timeout(30), asyncio.TaskGroup() as group:
        patches = [group.create_task(cluster.patch(VS, PATCH)) for _ in range(AT_ONCE)]
        await full.wait()
        obj = await cluster.get(VS)
        assert obj["metadata"]["name"] == "helloworld"
        assert not any(patch.done() for patch in patches)
        for patch in patches:
            patch.cancel()
