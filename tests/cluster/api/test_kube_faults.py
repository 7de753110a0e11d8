"""The adapter on a real API server: what it refuses by itself, and what a fault proxy before it does to us."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from analyzer.adapters.clock import SystemClock
from analyzer.adapters.kube import Credentials, KubeCluster, connect
from analyzer.app.cache import ClusterCache
from analyzer.errors import (
    AdmissionUnavailable,
    ClusterUnavailable,
    ConflictError,
    ObjectMissing,
    OutcomeUnknown,
    ReadRefused,
    WatchExpired,
    WriteRefused,
)
from analyzer.ports import SERVICE, VIRTUAL_SERVICE, Kind, Object, Ref
from tests.adapters.cluster_contract import NAMESPACE, OTHER_NAMESPACE, VS, to, virtual_service
from tests.cluster.api.apiserver import NOBODY_TOKEN, ApiServer
from tests.faultproxy import Fault, FaultProxy, Rule, html, kubernetes_status

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
VIRTUAL_SERVICES = f"/apis/networking.istio.io/v1/namespaces/{NAMESPACE}/virtualservices"
RULES = [{"apiGroups": ["networking.istio.io"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["*"]}]


@pytest.fixture
def there(api_server: ApiServer) -> Object:
    """A VirtualService at 90:10, and nothing else in both namespaces."""
    for namespace in (NAMESPACE, OTHER_NAMESPACE):
        api_server.call("DELETE", f"/apis/networking.istio.io/v1/namespaces/{namespace}/virtualservices")
    return api_server.apply(f"{VIRTUAL_SERVICES}/helloworld", virtual_service())


@pytest.fixture
async def proxy(api_server: ApiServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(api_server.url, tls=api_server.tls).running() as proxy:
        yield proxy


@pytest.fixture
async def cluster(api_server: ApiServer, proxy: FaultProxy) -> AsyncIterator[KubeCluster]:
    async with connect(Credentials(str(api_server.kubeconfig(server=proxy.url))), timeout_s=2.0) as cluster:
        yield cluster


# --- what the API server refuses by itself ----------------------------------------------------------------------------


async def test_who_has_no_permission_is_told_which(api_server: ApiServer, there: Object) -> None:
    credentials = Credentials(str(api_server.kubeconfig("nobody", token=NOBODY_TOKEN)))
    async with connect(credentials) as cluster:
        with pytest.raises(ReadRefused, match='cannot get resource "virtualservices"'):
            await cluster.get(VS)
        with pytest.raises(WriteRefused, match='cannot patch resource "virtualservices"'):
            await cluster.patch(VS, to(25))
        with pytest.raises(ReadRefused, match="cannot watch"):
            await anext(cluster.watch(VIRTUAL_SERVICE, resource_version="7"))


async def test_who_is_not_known_may_try_again_with_a_newer_token(api_server: ApiServer) -> None:
    async with connect(Credentials(str(api_server.kubeconfig("stranger", token="expired")))) as cluster:
        with pytest.raises(ClusterUnavailable, match="the token is wrong or has expired"):
            await cluster.get(VS)


async def test_a_kind_whose_crd_is_not_installed_is_missing(cluster: KubeCluster) -> None:
    with pytest.raises(ObjectMissing, match="CRD"):
        await cluster.list(Kind("nobody.example.com", "v1", "limas", "Lima"))


async def test_with_istiod_gone_its_webhook_is_named(
    api_server: ApiServer, cluster: KubeCluster, there: Object
) -> None:
    name = "rev.validation.istio.io"
    webhook: Object = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": name,
                "rules": RULES,
                "clientConfig": {"url": "https://127.0.0.1:1/validate"},
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 2,
            }
        ],
    }
    path = f"{ADMISSION}/validatingwebhookconfigurations/{name}"
    api_server.apply(path, webhook)
    try:
        error = await _refusal(cluster)
    finally:
        api_server.call("DELETE", path)
    assert isinstance(error, AdmissionUnavailable)
    assert "istiod does not answer" in str(error)
    assert (await cluster.get(VS))["metadata"]["resourceVersion"] == there["metadata"]["resourceVersion"]


async def test_what_an_admission_policy_says_is_kept(
    api_server: ApiServer, cluster: KubeCluster, there: Object
) -> None:
    policy: Object = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "freeze"},
        "spec": {
            "matchConstraints": {"resourceRules": RULES},
            "validations": [{"expression": "false", "message": "change freeze until Monday"}],
        },
    }
    binding: Object = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "freeze"},
        "spec": {"policyName": "freeze", "validationActions": ["Deny"]},
    }
    paths = [f"{ADMISSION}/validatingadmissionpolicies/freeze", f"{ADMISSION}/validatingadmissionpolicybindings/freeze"]
    for path, obj in zip(paths, (policy, binding), strict=True):
        api_server.apply(path, obj)
    try:
        error = await _refusal(cluster)
    finally:
        for path in paths:
            api_server.call("DELETE", path)
    assert type(error) is WriteRefused
    assert "change freeze until Monday" in str(error)


async def _refusal(cluster: KubeCluster) -> Exception:
    """Write until admission, which the server learns of a moment later, refuses."""
    async with asyncio.timeout(30):
        weight = 11
        while True:
            weight = 21 - weight
            try:
                await cluster.patch(VS, to(weight), dry_run=True)
            except (AdmissionUnavailable, WriteRefused) as error:
                return error
            await asyncio.sleep(0.1)


# --- what happens on the way ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.HANG])
@pytest.mark.parametrize("reaches", [False, True])
async def test_a_write_without_an_answer_is_read_back(
    cluster: KubeCluster, proxy: FaultProxy, there: Object, *, fault: Fault, reaches: bool
) -> None:
    proxy.add(Rule(name="lost", fault=fault, method="PATCH", reaches=reaches))
    with pytest.raises(OutcomeUnknown):
        await cluster.patch(VS, to(25))
    weight = (await cluster.get(VS))["spec"]["http"][0]["route"][1]["weight"]
    assert weight == (25 if reaches else 10)


async def test_a_status_that_was_written_without_an_answer_is_a_conflict_the_next_time(
    cluster: KubeCluster, proxy: FaultProxy, there: Object
) -> None:
    obj = await cluster.get(VS)
    proxy.add(Rule(name="lost", fault=Fault.HANG, method="PUT", reaches=True))
    with pytest.raises(OutcomeUnknown):
        await cluster.replace_status(VS, {**obj, "status": {"observedGeneration": "1"}})
    proxy.remove()
    with pytest.raises(ConflictError, match="modified"):
        await cluster.replace_status(VS, {**obj, "status": {"observedGeneration": "2"}})


@pytest.mark.parametrize(
    ("rule", "read", "write"),
    [
        (html(), ClusterUnavailable, OutcomeUnknown),
        (html(status=500), ClusterUnavailable, OutcomeUnknown),
        (kubernetes_status(500, "InternalError", "etcdserver: leader changed"), ClusterUnavailable, OutcomeUnknown),
        (kubernetes_status(429, "TooManyRequests", "slow", retry_after_s=3), ClusterUnavailable, ClusterUnavailable),
        (kubernetes_status(409, "Conflict", "the object has been modified"), ConflictError, ConflictError),
        (kubernetes_status(410, "Expired", "too old"), WatchExpired, WatchExpired),
        (Rule(name="half", fault=Fault.TRUNCATE, size=100), ClusterUnavailable, OutcomeUnknown),
    ],
    ids=["html 503", "html 500", "500", "429", "409", "410", "half an answer"],
)
async def test_wrong_answers_are_told_apart_and_pass(
    cluster: KubeCluster, proxy: FaultProxy, there: Object, *, rule: Rule, read: Any, write: Any
) -> None:
    async with proxy.faulty(rule):
        with pytest.raises(read):
            await cluster.get(VS)
        with pytest.raises(write):
            await cluster.patch(VS, to(25))
    assert (await cluster.patch(VS, to(50)))["spec"]["http"][0]["route"][1]["weight"] == 50


async def test_a_slow_answer_is_an_answer_and_one_that_is_too_slow_is_none(
    cluster: KubeCluster, proxy: FaultProxy, there: Object
) -> None:
    async with proxy.faulty(Rule(name="slow", fault=Fault.DELAY, seconds=0.5)):
        await cluster.patch(VS, to(25))
        assert (await cluster.get(VS))["spec"]["http"][0]["route"][1]["weight"] == 25
    async with proxy.faulty(Rule(name="too slow", fault=Fault.DELAY, seconds=4.0)):
        with pytest.raises(ClusterUnavailable):
            await cluster.get(VS)
        with pytest.raises(OutcomeUnknown):
            await cluster.patch(VS, to(50))
    assert (proxy.hits("slow"), proxy.hits("too slow")) == (2, 2)


async def test_a_busy_server_says_when_to_come_again(cluster: KubeCluster, proxy: FaultProxy, there: Object) -> None:
    proxy.add(kubernetes_status(429, "TooManyRequests", "slow down", retry_after_s=7))
    for call in (cluster.get(VS), cluster.patch(VS, to(25)), cluster.list(VIRTUAL_SERVICE)):
        with pytest.raises(ClusterUnavailable) as caught:
            await call
        assert caught.value.retry_after_s == 7.0


# --- the cache over it ------------------------------------------------------------------------------------------------


@pytest.fixture
def rng() -> random.Random:
    return random.Random(5)


async def _shows(cache: ClusterCache, weight: int, *, ref: Ref = VS) -> None:
    async with asyncio.timeout(30):
        while True:
            obj = cache.get(ref)
            if obj is not None and obj["spec"]["http"][0]["route"][1]["weight"] == weight:
                return
            await asyncio.sleep(0.05)


def _weigh(api_server: ApiServer, weight: int) -> None:
    api_server.call("PATCH", f"{VIRTUAL_SERVICES}/helloworld", to(weight), content_type="application/json-patch+json")


FAULTS = [
    Rule(name="cut", fault=Fault.DROP),
    Rule(name="hang", fault=Fault.HANG),
    html(),
    Rule(name="slow", fault=Fault.DELAY, seconds=0.3),
    Rule(name="too slow", fault=Fault.DELAY, seconds=2.0),
    kubernetes_status(429, "TooManyRequests", "slow down", name="busy", retry_after_s=1),
    kubernetes_status(500, "InternalError", "etcdserver: leader changed", name="broken"),
    kubernetes_status(410, "Expired", "too old", name="expired"),
    Rule(name="half", fault=Fault.TRUNCATE, size=60),
    Rule(name="stall", fault=Fault.STALL, size=60),
]


@pytest.mark.parametrize("rule", FAULTS, ids=lambda rule: rule.name)
async def test_the_cache_sees_what_is_there_soon_after_any_fault(
    api_server: ApiServer, proxy: FaultProxy, there: Object, *, rng: random.Random, rule: Rule
) -> None:
    async with connect(
        Credentials(str(api_server.kubeconfig(server=proxy.url))), timeout_s=1.0, watch_s=1.0
    ) as cluster:
        cache = ClusterCache(
            cluster, [VIRTUAL_SERVICE, SERVICE], clock=SystemClock(), call_timeout_s=1.0, idle_s=2.0, rng=rng
        )
        with capture_logs() as logs:
            async with asyncio.TaskGroup() as group:
                following = group.create_task(cache.run())
                await _shows(cache, 10)
                _weigh(api_server, 20)
                await _shows(cache, 20)
                async with proxy.faulty(rule), asyncio.timeout(30):
                    _weigh(api_server, 30)
                    while proxy.hits(rule.name) < 5:  # noqa: ASYNC110  the proxy has no event for it
                        await asyncio.sleep(0.05)
                _weigh(api_server, 40)
                await _shows(cache, 40)
                following.cancel()
    assert len([log for log in logs if log["event"] == "cluster_lost"]) <= 2 * 4


async def test_some_namespaces_are_followed_one_by_one(api_server: ApiServer, proxy: FaultProxy, there: Object) -> None:
    elsewhere = VS._replace(namespace=OTHER_NAMESPACE)
    path = f"/apis/networking.istio.io/v1/namespaces/{OTHER_NAMESPACE}/virtualservices/helloworld"
    api_server.apply(path, virtual_service(namespace=OTHER_NAMESPACE, weights=(60, 40)))
    async with connect(Credentials(str(api_server.kubeconfig(server=proxy.url)))) as cluster:
        cache = ClusterCache(cluster, [VIRTUAL_SERVICE], clock=SystemClock(), namespaces=[NAMESPACE, OTHER_NAMESPACE])
        async with asyncio.TaskGroup() as group:
            following = group.create_task(cache.run())
            await _shows(cache, 10)
            await _shows(cache, 40, ref=elsewhere)
            following.cancel()
    asked = {path.partition("?")[0] for _, path in proxy.requests}
    assert asked == {VIRTUAL_SERVICES, VIRTUAL_SERVICES.replace(NAMESPACE, OTHER_NAMESPACE)}
