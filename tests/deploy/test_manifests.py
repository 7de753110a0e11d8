"""The manifests by themselves: what a server does with them is shown in tests/cluster."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from typer.main import get_command

from analyzer.app.metrics import Metrics
from analyzer.cli import app
from tests.deploy.raw import DEPLOY, ROOT, one, read

POD = one("base/deployment.yaml", "Deployment")["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]


def test_the_pod_is_restricted() -> None:
    security, container = POD["spec"]["securityContext"], CONTAINER["securityContext"]
    assert security["runAsNonRoot"] is True
    assert (security["runAsUser"], security["runAsGroup"]) == (65532, 65532)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["readOnlyRootFilesystem"] is True
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}


def test_the_mesh_is_not_between_serin_and_what_it_needs() -> None:
    assert POD["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"


def test_the_probes_and_the_metrics_port_are_where_the_daemon_listens() -> None:
    port = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}["http"]
    assert f"--listen=0.0.0.0:{port}" in CONTAINER["args"]
    probes = {name: CONTAINER[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["port"] for probe in probes.values()} == {"http"}
    assert probes["readinessProbe"]["path"] == "/readyz"
    assert (
        one("components/monitoring/podmonitor.yaml", "PodMonitor")["spec"]["podMetricsEndpoints"][0]["port"] == "http"
    )


def test_the_daemon_knows_its_arguments_and_its_environment() -> None:
    run = get_command(app).commands["run"]  # type: ignore[attr-defined]  # a group of commands
    options = {name for parameter in run.params for name in parameter.opts}
    environment = {name for parameter in run.params for name in names(parameter.envvar)}
    assert CONTAINER["args"][0] == "run"
    assert {argument.partition("=")[0] for argument in CONTAINER["args"][1:]} <= options
    allocator = {"MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_"}  # the C library's
    assert {entry["name"] for entry in CONTAINER["env"]} <= environment | allocator


def names(envvar: str | Sequence[str] | None) -> Sequence[str]:
    return [envvar] if isinstance(envvar, str) else envvar or ()


def test_what_selects_pods_selects_these() -> None:
    labels = POD["metadata"]["labels"].items()
    deployment = one("base/deployment.yaml", "Deployment")["spec"]
    budget = one("base/poddisruptionbudget.yaml", "PodDisruptionBudget")["spec"]
    selectors = [
        deployment["selector"],
        budget["selector"],
        one("base/networkpolicy.yaml", "NetworkPolicy")["spec"]["podSelector"],
        one("components/monitoring/podmonitor.yaml", "PodMonitor")["spec"]["selector"],
    ]
    assert all(selector["matchLabels"].items() <= labels for selector in selectors)
    assert 0 < budget["maxUnavailable"] < deployment["replicas"], "a node can be drained, and one replica stays"


def test_the_network_policy_lets_through_what_the_daemon_needs_and_no_more() -> None:
    spec = one("base/networkpolicy.yaml", "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    (inward,) = spec["ingress"]
    assert inward["from"]
    assert [port["port"] for port in inward["ports"]] == ["http"]
    outward = {(port["port"], port["protocol"]) for rule in spec["egress"] for port in rule["ports"]}
    (address,) = (entry["value"] for entry in CONTAINER["env"] if entry["name"] == "SERIN_PROMETHEUS")
    prometheus, servers, dns = (
        {(urlsplit(address).port, "TCP")},
        {(443, "TCP"), (6443, "TCP")},
        {(53, "UDP"), (53, "TCP")},
    )
    assert outward == prometheus | servers | dns


def test_the_allocator_keeps_one_heap_and_gives_large_pieces_back() -> None:
    """The soak (tests/cluster/soak.py) runs with these; without them memory that was freed is not given back."""
    settings = {entry["name"]: entry["value"] for entry in CONTAINER["env"] if entry["name"].startswith("MALLOC_")}
    assert settings == {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}


def test_namespaced_and_cluster_wide_have_the_same_rights() -> None:
    cluster = one("overlays/cluster/serin/role.yaml", "ClusterRole")
    assert one("overlays/namespaced/role.yaml", "Role")["rules"] == cluster["rules"]


def test_no_right_is_a_wildcard_and_no_secret_is_read() -> None:
    roles = [obj for path in DEPLOY.glob("**/*role.yaml") for obj in read(path) if "rules" in obj]
    assert len(roles) == 3
    for rule in (rule for role in roles for rule in role["rules"]):
        assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]
        assert not {"secrets", "configmaps"} & {*rule["resources"]}


# --- monitoring -------------------------------------------------------------------------------------------------------


def exported() -> set[str]:
    """Names of all series of the daemon, as Prometheus stores them."""
    metrics = Metrics()
    names = set[str]()
    for family in metrics.registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
        names |= {f"{family.name}{suffix}" for suffix in suffixes}
    return names


def named(expression: str) -> set[str]:
    return set(re.findall(r"\bserin_\w+", expression))


def dashboard() -> dict[str, Any]:
    board: dict[str, Any] = json.loads((DEPLOY / "components/monitoring/serin.json").read_text())
    return board


def rules() -> list[dict[str, Any]]:
    groups = one("components/monitoring/prometheusrule.yaml", "PrometheusRule")["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_dashboard_shows_series_that_exist() -> None:
    shown = {name for panel in dashboard()["panels"] for target in panel["targets"] for name in named(target["expr"])}
    shown |= {name for variable in dashboard()["templating"]["list"] for name in named(json.dumps(variable["query"]))}
    assert shown
    assert shown - exported() == set()
    assert all(panel["description"] for panel in dashboard()["panels"])


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken = set[tuple[int, int]]()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_alerts_are_about_series_that_exist() -> None:
    assert {name for rule in rules() for name in named(rule["expr"])} - exported() == set()


def test_each_alert_has_a_chapter_in_the_runbook() -> None:
    of_itself, _, of_releases = (DEPLOY / "runbook.md").read_text().partition("\n# What Serin tells of your releases\n")
    assert of_releases
    headings = set(re.findall(r"(?m)^## (\w+)$", of_itself))
    assert {rule["alert"] for rule in rules()} == headings
    for rule in rules():
        assert rule["annotations"]["runbook_url"].endswith(f"/runbook#{rule['alert'].lower()}")


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not here: `make test` fetches it")
    return found


def write_rules(folder: Path) -> None:
    spec = one("components/monitoring/prometheusrule.yaml", "PrometheusRule")["spec"]
    (folder / "rules.yaml").write_text(yaml.safe_dump(spec))


def test_prometheus_takes_the_rules(promtool: str, tmp_path: Path) -> None:
    write_rules(tmp_path)
    result = subprocess.run(
        [promtool, "check", "rules", "rules.yaml"], check=False, cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(rules())} rules found" in result.stdout


def test_the_alerts_fire_when_they_should(promtool: str, tmp_path: Path) -> None:
    write_rules(tmp_path)
    shutil.copy(Path(__file__).with_name("alerts.test.yaml"), tmp_path)
    result = subprocess.run(
        [promtool, "test", "rules", "alerts.test.yaml"], check=False, cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    tested = {
        case["alertname"]
        for test in read(tmp_path / "alerts.test.yaml")[0]["tests"]
        for case in test["alert_rule_test"]
    }
    assert tested == {rule["alert"] for rule in rules()}


# --- telemetry, chart -------------------------------------------------------------------------------------------------


def test_telemetry_adds_the_labels_that_the_ledger_reads() -> None:
    overrides = one("telemetry/telemetry.yaml", "Telemetry")["spec"]["metrics"][0]["overrides"]
    assert {override["match"]["metric"] for override in overrides} == {"REQUEST_COUNT", "REQUEST_DURATION"}
    for override in overrides:
        assert set(override["tagOverrides"]) == {"route_name", "upstream_cluster"}


def test_the_chart_uses_the_same_files() -> None:
    files = sorted((DEPLOY / "helm/serin/files").iterdir())
    assert len(files) == 8
    for file in files:
        assert file.is_symlink()
        assert file.resolve().is_relative_to(DEPLOY)
        assert file.exists()


def test_the_versions_are_one() -> None:
    chart = read(DEPLOY / "helm/serin/Chart.yaml")[0]
    version = re.search(r'(?m)^version = "(.+)"$', (ROOT / "pyproject.toml").read_text())
    assert version is not None
    assert (chart["version"], chart["appVersion"]) == (version[1], version[1])
    assert CONTAINER["image"] == f"serin:{version[1]}"


ROLES = ["overlays/cluster/serin/role.yaml", "overlays/namespaced/role.yaml"]


@pytest.mark.parametrize("role", ROLES)
def test_an_autoscaler_may_be_written_only_where_the_reserve_is_turned_on(role: str) -> None:
    rules = next(obj["rules"] for obj in read(DEPLOY / role) if obj["kind"] in {"Role", "ClusterRole"})
    verbs = {verb for rule in rules if "autoscaling" in rule["apiGroups"] for verb in rule["verbs"]}
    assert verbs == {"list", "watch"}
    component = one("components/reserve/kustomization.yaml", "Component")
    for patch in component["patches"]:
        ((operation,),) = yaml.load_all(patch["patch"], Loader=yaml.SafeLoader)
        assert operation["value"] == {
            "apiGroups": ["autoscaling"],
            "resources": ["horizontalpodautoscalers"],
            "verbs": ["get", "patch"],
        }


@pytest.mark.parametrize("overlay", ["overlays/cluster", "overlays/namespaced"])
def test_no_overlay_turns_the_reserve_on_by_itself(overlay: str) -> None:
    (kustomization,) = read(DEPLOY / overlay / "kustomization.yaml")
    assert not [name for name in (kustomization.get("components") or []) if "reserve" in name]
