"""The commands for people as processes: exit codes, two lines of what and how to mend, and what they import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: here
clusters: [{name: here, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: here, context: {cluster: here, user: me, namespace: shop}}]
users: [{name: me, user: {token: secret}}]
"""
PLUGIN = "from analyzer.cli.people.commands import kubectl_canary; kubectl_canary()"
COMPLETION = "from analyzer.cli.people.commands import kubectl_complete_canary; kubectl_complete_canary()"


def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in {"KUBECONFIG", "FORCE_COLOR", "NO_COLOR"}}
    return subprocess.run(
        [sys.executable, *argv],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**clean, **env},
    )


def serin(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run("-m", "analyzer", *args, **env)


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    path = tmp_path / "config"
    path.write_text(KUBECONFIG)
    return str(path)


def test_without_a_kubeconfig_it_says_so(tmp_path: Path) -> None:
    result = serin("status", HOME=str(tmp_path))
    what, mend = result.stderr.splitlines()
    assert (result.returncode, result.stdout) == (2, "")
    assert what == f"error: kubeconfig {tmp_path}/.kube/config: there is no such file"
    assert mend.startswith("mend: give --kubeconfig FILE and --context NAME")


def test_a_context_that_is_not_there_is_named_with_those_that_are(kubeconfig: str) -> None:
    result = serin("explain", "cart", "--kubeconfig", kubeconfig, "--context", "prod")
    assert result.returncode == 2
    assert "there is no context prod; there are: here" in result.stderr


@pytest.mark.parametrize("command", [["status"], ["status", "-w"], ["explain", "cart"], ["abort", "cart", "--yes"]])
def test_an_api_server_that_does_not_answer_is_exit_code_4(kubeconfig: str, command: list[str]) -> None:
    result = serin(*command, KUBECONFIG=kubeconfig)
    assert (result.returncode, result.stdout) == (4, "")
    what, mend = result.stderr.splitlines()
    assert "the API server cannot be reached" in what
    assert "kubectl --context here version" in mend
    assert "\x1b" not in result.stderr


def test_a_file_that_is_no_kubeconfig_is_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "config"
    for text in ("[1, 2", "hello", "", "apiVersion: v1\nkind: Config\n"):
        path.write_text(text)
        result = serin("status", KUBECONFIG=str(path))
        assert (result.returncode, len(result.stderr.splitlines())) == (2, 2), result.stderr


def test_without_a_terminal_a_request_needs_yes(kubeconfig: str) -> None:
    result = serin("promote", "cart", "--kubeconfig", kubeconfig)
    assert result.returncode == 2
    assert result.stderr.splitlines()[1] == "mend: say --yes in scripts"


@pytest.mark.parametrize(
    "args",
    [["resume", "a", "--adopt", "--restore"], ["status", "a", "-A"], ["explain"], ["pause", "a", "--timeout", "x"]],
)
def test_wrong_usage_is_exit_code_2(args: list[str]) -> None:
    assert serin(*args).returncode == 2


def test_help_shows_the_commands_in_groups() -> None:
    lines = serin("--help").stdout.splitlines()
    titles = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Options:", "On call:", "Policies:", "Before and after a release:", "The daemon:"]
    assert "\x1b" not in "".join(lines)


def test_kubectls_plugin_has_the_same_commands_and_completes_them() -> None:
    said = run("-c", PLUGIN, "--help").stdout
    assert "kubectl canary" in said
    for command in ("status", "explain", "pause", "resume", "retry", "promote", "abort"):
        assert f"\n  {command}" in said
    assert run("-c", COMPLETION, "st").stdout == "status\n:4\n"
    assert run("-c", COMPLETION, "status", "-o", "j").stdout == "json\n:4\n"


def test_names_that_cannot_be_looked_up_are_no_noise_in_the_prompt(kubeconfig: str, tmp_path: Path) -> None:
    for env in ({"KUBECONFIG": kubeconfig}, {"HOME": str(tmp_path)}):
        result = run("-c", COMPLETION, "explain", "", **env)
        assert (result.returncode, result.stdout, result.stderr) == (0, ":4\n", "")


def test_status_imports_neither_the_judge_nor_the_generated_models(kubeconfig: str) -> None:
    code = (
        "import sys\n"
        "from analyzer.cli import app\n"
        "try:\n    app(['status'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'scipy', 'prometheus_api_client', 'prometheus_client'} & set(sys.modules)\n"
        "models = [name for name in sys.modules if name.startswith('kubernetes_asyncio.client.models.')]\n"
        "print(sorted(heavy), len(models))\n"
    )
    assert run("-c", code, KUBECONFIG=kubeconfig).stdout.strip() == "[] 0"


def test_whoever_wants_the_whole_client_library_has_it() -> None:
    code = (
        "import analyzer.adapters.kube, sys\n"
        "import kubernetes_asyncio\n"
        "from kubernetes_asyncio.client import CoreV1Api, V1Pod\n"
        "from kubernetes_asyncio.client.models import V1Node\n"
        "from kubernetes_asyncio import watch\n"
        "print(kubernetes_asyncio.client.V1Service.__name__, watch.Watch.__name__, V1Pod.__name__, V1Node.__name__)\n"
    )
    assert run("-c", code).stdout.strip() == "V1Service Watch V1Pod V1Node"
