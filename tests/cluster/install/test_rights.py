"""The roles of deploy/ are what Serin uses: nothing is refused, by them or by deploy/admission, and nothing is given in vain.

`serin run` with the service account's own token, on a real API server, and the server's audit log afterwards. A rollout is
promoted, one is rolled back, Events are written, a second replica takes the Lease of one that was killed, a status is written
while somebody changes the policy all the time, a reserve is held and given back, and an answer to a change of the weights and
one to a change of the reserve are lost, so that both are read.
"""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from analyzer.app.reserve import read_reserve
from analyzer.ports import HORIZONTAL_POD_AUTOSCALER, Object, Ref
from tests.app.model import NAMESPACE, POLICY, Behaviour
from tests.cluster.api.apiserver import ApiServer, istio_crds, missing, running_api_server
from tests.cluster.api.real_mesh import RealMesh
from tests.cluster.api.test_run import Process, serin_run
from tests.cluster.install.installed import ROOT, Kubectl, kustomize, program
from tests.cluster.install.mesh_prometheus import mesh_prometheus
from tests.deploy.rights import Difference, compare
from tests.faultproxy import Fault, FaultProxy, Rule

PATIENCE_S = 120.0
SCRAPE_S = 0.5
JUDGE: dict[str, Any] = {"bake": "1s", "harmBudget": "2%", "latency": {"warmUp": "0s"}}
QUICK: dict[str, Any] = {**JUDGE, "dwell": {"min": "1s", "max": "5m"}}
SLOW: dict[str, Any] = {**JUDGE, "dwell": {"min": "1h", "max": "2h"}}

LOST = [
    Rule(name=f"lost: {what}", fault=Fault.DROP, reaches=True, method="PATCH", path=f"/{what}/", count=1)
    for what in ("virtualservices", "horizontalpodautoscalers")
]
"""Of each the first answer: what was written has to be read."""


@dataclass(frozen=True)
class Account:
    """Serin's service account with the roles of an overlay, and the log of what it does."""

    server: ApiServer
    proxy: FaultProxy
    manifests: list[Object]
    kubeconfig: Path
    namespace: str
    everywhere: bool
    log_begin: int

    def difference(self) -> Difference:
        """Compare what was done with what may be done."""
        return compare(self._lines(), self.manifests, namespace=self.namespace, name="serin")

    def denied(self) -> list[str]:
        """Say what the admission policies refused."""
        messages = [event.get("responseStatus", {}).get("message", "") for event in self._events()]
        return [message for message in messages if "ValidatingAdmissionPolicy" in message]

    def used(self, verb: str, resource: str) -> bool:
        """Tell whether it asked for this already, as far as the server wrote its log."""
        return any(
            event["verb"] == verb
            and event.get("objectRef", {}).get("resource") == resource
            and "subresource" not in event["objectRef"]
            for event in self._events()
        )

    def _events(self) -> list[Object]:
        account = f"system:serviceaccount:{self.namespace}:serin"
        events = map(json.loads, self._lines())
        return [event for event in events if event["user"]["username"] == account]

    def _lines(self) -> list[str]:
        with self.server.audit_log.open("rb") as log:
            log.seek(self.log_begin)
            return [line.decode() for line in log if line.endswith(b"\n")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server with what its administrator applied: the kinds and the admission policies, and no roles of Serin's yet."""
    if lacking := missing() or ("" if program("kubectl") else "missing: kubectl"):
        pytest.skip(lacking)
    with running_api_server(tmp_path_factory.mktemp("rights"), crds=istio_crds()) as server:
        kubectl = Kubectl(server)
        for part in ("crd", "admission"):
            kubectl.done("apply", "-k", str(ROOT / "deploy" / part))
        kubectl.done(
            "wait", "--for=condition=Established", "crd/canarypolicies.serin.dev", "crd/canarydefaults.serin.dev"
        )
        kubectl.done("create", "namespace", "serin-system")  # where the probes would be
        kubectl.until_guarded()
        yield server


def overlay(name: str, folder: Path, *, reserve: bool) -> list[Object]:
    """Render an overlay of deploy/ into the test's namespace, where it is for one; with the component, if wanted."""
    copy = folder / "deploy"
    shutil.copytree(ROOT / "deploy", copy, symlinks=True)
    kustomization = copy / "overlays" / name / "kustomization.yaml"
    if name == "namespaced":
        place = kustomization.parent / "in-namespace.yaml"
        place.write_text(place.read_text().replace("namespace: shop", f"namespace: {NAMESPACE}"))
    text = kustomization.read_text()
    if reserve:
        wanted = "components:\n  - ../../components/reserve\n"
        text = text.replace("# - ../../components/reserve", "- ../../components/reserve")
        text = text if "\n  - ../../components/reserve" in text else f"{text}\n{wanted}"
    kustomization.write_text(text)
    return kustomize(kustomization.parent)


ROLES = ("Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


@asynccontextmanager
async def account_of(server: ApiServer, name: str, folder: Path, *, reserve: bool) -> AsyncIterator[Account]:
    """Give the service account an overlay's roles, and take them away again."""
    made = overlay(name, folder, reserve=reserve)
    roles = [obj for obj in made if obj["kind"] in ROLES]
    namespace = next(obj["metadata"]["namespace"] for obj in made if obj["kind"] == "ServiceAccount")
    kubectl = Kubectl(server)
    bundle = json.dumps({"apiVersion": "v1", "kind": "List", "items": roles})
    kubectl("create", "namespace", namespace)
    kubectl.done("apply", "-f", "-", text=bundle)
    token = kubectl.done("-n", namespace, "create", "token", "serin", "--duration=1h").strip()
    async with FaultProxy(server.url, tls=server.tls).running() as proxy:
        yield Account(
            server=server,
            proxy=proxy,
            manifests=made,
            kubeconfig=server.kubeconfig(f"serin-{name}-{reserve}", server=proxy.url, token=token),
            namespace=namespace,
            everywhere=name == "cluster",
            log_begin=server.audit_log.stat().st_size,
        )
    bindings = [obj for obj in roles if obj["kind"].endswith("Binding")]
    kubectl.done("delete", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": bindings}))
    kubectl("-n", namespace, "delete", "lease", "serin")


class Story:
    """A mesh in real time, and replicas of Serin with an account."""

    def __init__(self, account: Account, mesh: RealMesh, prometheus_url: str) -> None:
        self.account = account
        self.mesh = mesh
        scope = [] if account.everywhere else ["--namespace", account.namespace]
        self._args = [
            "--prometheus", prometheus_url, "--kubeconfig", str(account.kubeconfig), "--lease-namespace",
            account.namespace, "--lease-duration", "3s", "--period", "1s", "--checkpoint", "1s", *scope,
        ]  # fmt: skip
        self.reserved = False

    @asynccontextmanager
    async def replica(self) -> AsyncIterator[Process]:
        """Run one."""
        async with serin_run(*self._args) as serin:
            yield serin

    async def live(self) -> None:
        """Let the mesh live in real time."""
        while True:
            self.mesh.scrape()
            autoscaler = self.mesh.read(Ref(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, "helloworld-v1"))
            self.reserved |= read_reserve(autoscaler) is not None
            await asyncio.sleep(SCRAPE_S)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for what will come."""
        until_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < until_s, f"{what}: not within {PATIENCE_S:g} s: {self.status()}"
            await asyncio.sleep(0.2)

    def status(self) -> Object:
        """Return the policy's status."""
        status: Object = self.mesh.read(POLICY).get("status") or {}
        return status

    async def until_phase(self, phase: str) -> None:
        """Wait until a rollout is there."""
        await self.until(lambda: self.status().get("phase") == phase, phase)

    def show_use(self, **use_m: int) -> None:
        """Let the HPAs show what a pod of each version uses [millicores]; they are content with 50."""
        for version, use in use_m.items():
            metric = {"name": "cpu", "current": {"averageValue": f"{use}m", "averageUtilization": use}}
            status = {
                "currentReplicas": 1,
                "desiredReplicas": 1,
                "currentMetrics": [{"type": "Resource", "resource": metric}],
                "conditions": [],
            }
            self.mesh.cluster.set_status(Ref(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, f"helloworld-{version}"), status)

    async def annotate_until(self, condition: Callable[[], bool], what: str) -> None:
        """Change the policy all the time, as a busy GitOps controller does, so that Serin's writes meet changed objects."""
        until_s, number = time.monotonic() + PATIENCE_S, 0
        path = f"/apis/serin.dev/v1alpha1/namespaces/{NAMESPACE}/canarypolicies/{POLICY.name}"
        while not condition():
            assert time.monotonic() < until_s, f"{what}: not within {PATIENCE_S:g} s"
            for _ in range(20):
                number += 1
                patch = {"metadata": {"annotations": {"example.com/synced": str(number)}}}
                await asyncio.get_running_loop().run_in_executor(None, self._merge, path, patch)

    def _merge(self, path: str, patch: Object) -> None:
        self.account.server.call("PATCH", path, patch, content_type="application/merge-patch+json")


def story_mesh(server: ApiServer, *, reserve: bool) -> RealMesh:
    mesh = RealMesh(server, requests_per_s=2000.0, scrape_s=SCRAPE_S)
    mesh.clock.wall_s = time.time()
    stages = [{"route": "primary", "weights": [10, 50, 100]}]
    mesh.set_policy(stages=stages, judge=SLOW, capacity={"mode": "reserve" if reserve else "gate"})
    return mesh


@pytest.mark.parametrize("reserve", [False, True], ids=["weights alone", "with the reserve"])
@pytest.mark.parametrize("name", ["cluster", "namespaced"])
async def test_the_roles_are_what_is_used(name: str, server: ApiServer, tmp_path: Path, *, reserve: bool) -> None:
    mesh = story_mesh(server, reserve=reserve)
    async with (
        account_of(server, name, tmp_path, reserve=reserve) as account,
        mesh_prometheus(mesh) as prometheus_url,
        asyncio.TaskGroup() as group,
    ):
        story = Story(account, mesh, prometheus_url)
        story.show_use(v1=60, v2=2)  # to take everything back, the stable version would need another pod
        for rule in LOST:
            account.proxy.add(rule)
        life = group.create_task(story.live())
        async with story.replica() as first:
            await first.logged("serin runs")
            async with story.replica() as second:
                await second.logged("serin stands by")
                await story.until_phase("Progressing")
                if reserve:
                    await story.until(lambda: story.reserved, "a reserve is held")
                await story.annotate_until(
                    lambda: account.used("get", "canarypolicies"), "a status is written on a changed policy"
                )
                mesh.set_policy(judge=QUICK)
                await story.until_phase("Promoted")
                first.process.kill()
                await second.logged("serin runs")
                story.show_use(v1=2)
                mesh.release("v1", "v1.bad", Behaviour(error_rate=0.3))
                await story.until_phase("RolledBack")
                await story.until(lambda: not story.status()["notices"], "everybody is told")
                autoscalers = [
                    mesh.read(Ref(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, f"helloworld-{version}"))
                    for version in ("v1", "v2")
                ]
                assert [(hpa["spec"]["minReplicas"], read_reserve(hpa)) for hpa in autoscalers] == [(1, None)] * 2
        life.cancel()
        assert account.denied() == []
        assert account.difference() == Difference(refused=frozenset(), missing=frozenset(), unused=frozenset())
