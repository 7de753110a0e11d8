"""`serin lint --cluster` as a process, on a real API server."""

import subprocess
import sys
from pathlib import Path

import pytest

from analyzer.ports import HORIZONTAL_POD_AUTOSCALER, Ref
from tests.app.model import EXAMPLE, NAMESPACE
from tests.cluster.api.apiserver import NOBODY_TOKEN, ApiServer
from tests.cluster.api.real_mesh import RealMesh

POLICY = EXAMPLE / "policy.yaml"


def lint(kubeconfig: Path, *args: str) -> tuple[int, str, str]:
    argv = [sys.executable, "-m", "analyzer", "lint", "--cluster", "--kubeconfig", str(kubeconfig), *args]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_what_is_dangerous_in_the_cluster_is_told_and_nothing_is_written(api_server: ApiServer) -> None:
    mesh = RealMesh(api_server)
    logged = len(api_server.audited("serin/"))
    kubeconfig = api_server.kubeconfig()
    assert lint(kubeconfig, str(POLICY)) == (0, "", "")
    hpa = mesh.read(Ref(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, "helloworld-v1"))
    hpa["spec"]["behavior"] = {"scaleDown": {"stabilizationWindowSeconds": 30}}
    mesh.cluster.apply(hpa)
    code, out, _ = lint(kubeconfig, "--context", "real", str(POLICY))
    assert code == 0, "a warning"
    assert "SRN402 warning: HorizontalPodAutoscaler helloworld-v1 shrinks helloworld-v1 after 30s" in out
    assert {event["verb"] for event in api_server.audited("serin/")[logged:]} == {"list"}


def test_a_target_that_is_not_there_is_an_error(api_server: ApiServer, tmp_path: Path) -> None:
    RealMesh(api_server)
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.read_text().replace("virtualService: helloworld", "virtualService: helowrld"))
    code, out, _ = lint(api_server.kubeconfig(), str(file))
    assert code == 1
    assert "SRN201 there is no VirtualService helloworld/helowrld\n    mend: did you mean `helloworld`?" in out


@pytest.mark.parametrize("why", ["nobody may read", "nothing listens"])
def test_a_cluster_that_cannot_be_read_is_no_finding(api_server: ApiServer, why: str) -> None:
    server, token = ("http://127.0.0.1:1", None) if why == "nothing listens" else (None, NOBODY_TOKEN)
    code, out, error = lint(api_server.kubeconfig("nobody", server=server, token=token), str(POLICY))
    assert (code, out) == (4, "")
    assert error.startswith("serin lint: list virtualservices: ")
