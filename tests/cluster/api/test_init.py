"""`serin init` as a process, on a real API server: what it writes is what the server takes, and it writes nothing there."""

import json
import subprocess
import sys
from pathlib import Path

from analyzer.policy.load import load_documents
from analyzer.ports import CANARY_POLICY, VIRTUAL_SERVICE, Ref
from tests.app.model import NAMESPACE
from tests.cluster.api.apiserver import NOBODY_TOKEN, ApiServer
from tests.cluster.api.real_mesh import RealMesh
from tests.cluster.api.test_lint import lint


def init(kubeconfig: Path, *args: str) -> tuple[int, str, str]:
    argv = [sys.executable, "-m", "analyzer", "init", "--kubeconfig", str(kubeconfig), *args]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_a_policy_is_drafted_from_what_the_server_has(api_server: ApiServer, tmp_path: Path) -> None:
    mesh = RealMesh(api_server)
    api_server.call("DELETE", f"/apis/serin.dev/v1alpha1/namespaces/{NAMESPACE}/{CANARY_POLICY.plural}/helloworld")
    logged = len(api_server.audited("serin/"))
    file = tmp_path / "policy.yaml"
    kubeconfig = api_server.kubeconfig()
    assert init(kubeconfig, "helloworld", "-n", NAMESPACE, "-o", str(file)) == (0, "", "")
    (document,) = load_documents(file.read_text(), file=str(file)).documents
    assert document.value["metadata"] == {"name": "helloworld", "namespace": NAMESPACE}
    assert document.value["spec"]["mode"] == "observe"
    assert document.value["spec"]["target"] == {"virtualService": "helloworld", "versions": ["v1", "v2"]}
    assert lint(kubeconfig, "--strict", str(file)) == (0, "", "")
    assert {event["verb"] for event in api_server.audited("serin/")[logged:]} == {"list"}
    mesh.cluster.apply(json.loads(json.dumps(document.value)))  # the server takes it


def test_a_name_that_is_not_there_is_no_policy_but_candidates(api_server: ApiServer) -> None:
    mesh = RealMesh(api_server)
    assert mesh.read(Ref(VIRTUAL_SERVICE, NAMESPACE, "helloworld"))
    code, out, error = init(api_server.kubeconfig(), "helowrld", "-n", NAMESPACE)
    assert (code, out) == (1, "")
    assert "no policy can be written for VirtualService helowrld" in error
    assert "helloworld" in error


def test_a_cluster_that_cannot_be_read_is_told(api_server: ApiServer) -> None:
    code, out, error = init(api_server.kubeconfig("nobody", token=NOBODY_TOKEN), "-n", NAMESPACE)
    assert (code, out) == (4, "")
    assert error.startswith("serin init: list ")
