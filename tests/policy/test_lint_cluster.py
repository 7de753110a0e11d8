"""`serin lint --cluster`: the same checks, with what is in a cluster beside the files."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from analyzer.adapters import kube
from analyzer.adapters.memory import MemoryCluster
from analyzer.cli import app
from analyzer.cli.live import list_objects
from analyzer.errors import ReadRefused
from analyzer.policy.defaults import HOME
from analyzer.policy.findings import Code, Finding, has_errors
from analyzer.policy.lint import lint_files
from analyzer.policy.load import load_objects
from analyzer.ports import HORIZONTAL_POD_AUTOSCALER, VIRTUAL_SERVICE, Cluster, Kind, Listing, Object, Ref
from tests.app.model import EXAMPLE, NAMESPACE
from tests.app.scaling import ScalingMesh
from tests.fakes import ManualClock

POLICY = EXAMPLE / "policy.yaml"
HPA_V1 = Ref(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, "helloworld-v1")
HPA_V2 = Ref(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, "helloworld-v2")


async def linted(cluster: Cluster, *paths: Path, namespace: str | None = None) -> list[Finding]:
    objects = await list_objects(cluster, [namespace or NAMESPACE], command="lint")
    return lint_files(paths or [POLICY], namespace=namespace, list_objects=lambda _: objects)


def said(findings: Sequence[Finding]) -> list[str]:
    return [f"{Path(f.file).name}:{f.line}:{f.column} {f.code} {f.message}; {f.mend}" for f in findings]


@pytest.fixture
def mesh() -> ScalingMesh:
    """The example's service, with 200 requests/s."""
    found = ScalingMesh()
    for _ in range(6):
        found.scrape()
    return found


def change(mesh: ScalingMesh, ref: Ref, **spec: Any) -> None:
    obj = mesh.read(ref)
    obj["spec"] |= spec
    mesh.cluster.apply(obj)


async def test_the_example_is_as_clean_in_a_cluster_as_in_its_folder(mesh: ScalingMesh) -> None:
    assert await linted(mesh.cluster) == []
    assert await linted(mesh.cluster, POLICY, EXAMPLE / "virtual-service.yaml") == []


async def test_a_target_that_is_not_there_is_told_with_what_is() -> None:
    cluster = MemoryCluster(ManualClock())
    for obj in load_objects(sorted(EXAMPLE.glob("*.yaml"))):
        if obj["kind"] not in {"VirtualService", "Gateway"}:
            cluster.apply(obj)
    (line,) = said(await linted(cluster))
    assert " SRN201 there is no VirtualService helloworld/helloworld; there are none" in line
    assert line.startswith("policy.yaml:")
    cluster.apply({**VIRTUAL_SERVICE_ELSE, "metadata": {"name": "helloworlds", "namespace": NAMESPACE}})
    (line,) = said(await linted(cluster))
    assert line.endswith("did you mean `helloworlds`?")


VIRTUAL_SERVICE_ELSE = {"apiVersion": VIRTUAL_SERVICE.api_version, "kind": VIRTUAL_SERVICE.kind, "spec": {}}


async def test_what_stands_in_the_virtual_service_of_the_cluster_is_told_where_the_policy_names_it(
    mesh: ScalingMesh,
) -> None:
    mesh.set_weights(50, 49)
    findings = await linted(mesh.cluster)
    (line,) = said(findings)
    row = next(n for n, text in enumerate(POLICY.read_text().splitlines(), 1) if "virtualService" in text)
    assert (findings[0].file, findings[0].line) == (str(POLICY), row)
    assert "SRN211 VirtualService helloworld in the cluster, spec.http[0].route: the route's weights sum to 99" in line


async def test_files_count_before_the_cluster_for_they_are_to_be_applied(mesh: ScalingMesh) -> None:
    mesh.set_weights(50, 49)
    assert await linted(mesh.cluster, POLICY, EXAMPLE / "virtual-service.yaml") == []


async def test_a_deployment_that_is_missing_is_no_mere_gap_in_the_files(mesh: ScalingMesh) -> None:
    class WithoutDeployments(MemoryCluster):
        async def list(self, kind: Kind, *, namespace: str | None = None) -> Listing:
            found = await mesh.cluster.list(kind, namespace=namespace)
            return Listing([], found.resource_version) if kind.kind == "Deployment" else found

    findings = await linted(WithoutDeployments(ManualClock()))
    assert {f.code for f in findings} == {Code.DEPLOYMENT_MISSING}
    assert has_errors(findings)


async def test_a_short_window_and_a_missing_request_are_told_before_a_release(mesh: ScalingMesh) -> None:
    change(mesh, HPA_V1, behavior={"scaleDown": {"stabilizationWindowSeconds": 60}})
    deployment = mesh.deployment("v2")
    deployment["spec"]["template"]["spec"]["containers"][0]["resources"] = {}
    mesh.cluster.apply(deployment)
    assert [f.code for f in await linted(mesh.cluster)] == [Code.SCALE_DOWN_WINDOW, Code.NO_CPU_REQUEST]


async def test_an_hpa_of_one_container_does_not_ask_what_the_others_request(mesh: ScalingMesh) -> None:
    deployment = mesh.deployment("v2")
    deployment["spec"]["template"]["spec"]["containers"].append({"name": "proxy", "image": "proxy:1"})
    mesh.cluster.apply(deployment)
    assert [f.code for f in await linted(mesh.cluster)] == [Code.NO_CPU_REQUEST]
    target = {"type": "Utilization", "averageUtilization": 50}
    body = {"name": "cpu", "container": "helloworld", "target": target}
    change(mesh, HPA_V2, metrics=[{"type": "ContainerResource", "containerResource": body}])
    assert await linted(mesh.cluster) == []
    body["container"] = "proxy"
    change(mesh, HPA_V2, metrics=[{"type": "ContainerResource", "containerResource": body}])
    (line,) = said(await linted(mesh.cluster))
    assert "SRN403 container proxy of Deployment helloworld-v2 requests no CPU" in line


@pytest.mark.parametrize(("percent", "limit", "told"), [(90, None, 0), (91, None, 1), (91, "1", 0), (95, "500m", 1)])
async def test_a_target_is_too_high_where_pods_are_full_before_their_hpa_grows(
    mesh: ScalingMesh, percent: int, limit: str | None, told: int
) -> None:
    deployment = mesh.deployment("v2")
    if limit is not None:
        deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] = {"cpu": limit}
        mesh.cluster.apply(deployment)
    target = {"type": "Utilization", "averageUtilization": percent}
    change(mesh, HPA_V2, metrics=[{"type": "Resource", "resource": {"name": "cpu", "target": target}}])
    assert [f.code for f in await linted(mesh.cluster)] == [Code.TARGET_TOO_HIGH] * told


async def test_one_hpa_for_both_is_one_for_one(mesh: ScalingMesh) -> None:
    class WithoutOne(MemoryCluster):
        async def list(self, kind: Kind, *, namespace: str | None = None) -> Listing:
            found = await mesh.cluster.list(kind, namespace=namespace)
            return Listing([o for o in found.items if kind != HPA_V2.kind or o["metadata"]["name"] != HPA_V2.name], "1")

    (line,) = said(await linted(WithoutOne(ManualClock())))
    assert line.endswith(
        "SRN401 no HorizontalPodAutoscaler scales Deployment helloworld-v2: its replicas do not follow the traffic; "
        "add one of its own: helloworld-v1 scales the other version alone"
    )


async def test_max_replicas_that_can_never_carry_a_stage_name_the_weight_that_fits(mesh: ScalingMesh) -> None:
    change(mesh, HPA_V2, maxReplicas=3)
    (line,) = said(await linted(mesh.cluster))
    assert line.split(" ", 1)[1] == (
        "SRN405 HorizontalPodAutoscaler helloworld-v2 ends at 3 replicas of helloworld-v2, and all of the traffic of now "
        "needs about 5: no weight above 71 % fits; set `maxReplicas: 5`, or more"
    )


async def test_the_load_is_the_clusters_also_where_the_files_say_what_the_autoscaler_will_be(
    mesh: ScalingMesh, tmp_path: Path
) -> None:
    change(mesh, HPA_V2, maxReplicas=3)
    (tmp_path / "hpa.json").write_text(_json(mesh.read(HPA_V2), maxReplicas=4))
    (line,) = said(await linted(mesh.cluster, POLICY, tmp_path))
    assert "helloworld-v2 ends at 4 replicas" in line
    (tmp_path / "hpa.json").write_text(_json(mesh.read(HPA_V2), maxReplicas=5))
    assert await linted(mesh.cluster, POLICY, tmp_path) == []


def _json(obj: Object, **spec: Any) -> str:
    import json

    bare = {key: value for key, value in obj.items() if key != "status"}
    return json.dumps({**bare, "spec": {**obj["spec"], **spec}})


async def test_another_policy_of_the_cluster_on_the_same_virtual_service_is_told(
    mesh: ScalingMesh, tmp_path: Path
) -> None:
    file = tmp_path / "second.yaml"
    file.write_text(POLICY.read_text().replace("name: helloworld\n", "name: second\n", 1))
    (line,) = said(await linted(mesh.cluster, file))
    assert "SRN214 VirtualService helloworld already has the policy helloworld, in the cluster" in line


async def test_objects_without_a_namespace_are_of_the_one_that_is_named(mesh: ScalingMesh, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("".join(line for line in POLICY.read_text().splitlines(keepends=True) if "namespace:" not in line))
    change(mesh, HPA_V2, maxReplicas=3)
    findings = await linted(mesh.cluster, file, namespace=NAMESPACE)
    assert [f.code for f in findings] == [Code.MAX_REPLICAS_TOO_FEW]


def test_the_cluster_is_asked_for_the_namespaces_of_the_policies_alone(tmp_path: Path) -> None:
    text = POLICY.read_text()
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text(text.replace("namespace: helloworld", "namespace: other"))
    asked: list[str] = []

    def none(namespaces: Iterable[str]) -> list[Object]:
        asked.extend(namespaces)
        return []

    lint_files([tmp_path], list_objects=none)
    assert asked == ["helloworld", "other"]


@pytest.mark.parametrize(
    "command",
    [["lint", "--cluster", str(POLICY)], ["init", "helloworld", "-n", NAMESPACE]],
    ids=lambda command: command[0],
)
def test_who_may_not_read_the_clusters_defaults_is_told_by_the_command_that_ran(
    mesh: ScalingMesh, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    class WithoutHome(MemoryCluster):
        async def list(self, kind: Kind, *, namespace: str | None = None) -> Listing:
            if namespace == HOME:
                raise ReadRefused("list: 403: canarydefaults is forbidden")
            return await mesh.cluster.list(kind, namespace=namespace)

    @asynccontextmanager
    async def connect(_credentials: object) -> AsyncIterator[Cluster]:
        yield WithoutHome(ManualClock())

    monkeypatch.setattr(kube, "connect", connect)
    said = CliRunner().invoke(app, command).stderr
    assert " in in " not in said
    assert said.startswith(f"serin {command[0]}: without the cluster's CanaryDefaults: list: 403")
