"""The command line as a person or a pipeline meets it: a process of its own, its output and its exit code."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "policies" / "examples" / "helloworld"
POLICY = """\
apiVersion: serin.dev/v1alpha1
kind: CanaryPolicy
metadata: {name: shop}
spec:
  target: {virtualService: shop}
"""


KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: here
clusters: [{name: here, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: here, context: {cluster: here, user: me}}]
users: [{name: me, user: {token: secret}}]
"""


def serin(*args: str | Path, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "analyzer", *map(str, args)],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "COLUMNS": "100", **env},
    )


# --- lint ---


def test_a_right_policy_is_passed_in_silence(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    result = serin("lint", file)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


BAD = [
    ("an unknown field", POLICY + "  stage: []\n", "6:3 SRN101", "did you mean `stages`"),
    ("a duplicate key", POLICY + "  suspend: true\n  suspend: false\n", "7:3 SRN002", "suspend"),
    ("weights not increasing", POLICY + "  stages: [{weights: [10, 5, 100]}]\n", "SRN105", "5"),
    ("weights over 100", POLICY + "  stages: [{weights: [10, 120]}]\n", "SRN1", "120"),
    ("a duration without a unit", POLICY + "  judge: {bake: 10}\n", "6:17 SRN104", "`10s`"),
    ("an empty file", "", "1:1 SRN004", "empty"),
    ("another kind", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", "SRN005", "CanaryPolicy"),
    ("an approval of nothing", POLICY + "  approval: [51]\n", "6:14 SRN106", "take one of"),
]


@pytest.mark.parametrize(("text", "place", "word"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_policies_are_refused_with_place_code_and_mend(tmp_path: Path, text: str, place: str, word: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    result = serin("lint", file)
    assert result.returncode == 1
    assert result.stdout.startswith(f"{file}:")
    assert place in result.stdout
    assert word in result.stdout
    assert "    mend: " in result.stdout
    assert result.stderr == ""


TRAP = (
    POLICY
    + """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
    - match: [{headers: {cookie: {regex: "^(.*?;)?(email=.*)$"}}}]
      route:
        - {destination: {host: shop, subset: v1}, weight: 90}
        - {destination: {host: shop, subset: v2}, weight: 10}
"""
)


def test_a_warning_is_an_error_when_strict() -> None:
    assert serin("lint", "-", stdin=TRAP).returncode == 0
    strict = serin("lint", "--strict", "-", stdin=TRAP)
    assert strict.returncode == 1
    assert strict.stdout.startswith("<stdin>:13:42 SRN411 this misses a cookie")


@pytest.mark.parametrize("output", ["text", "github", "sarif", "json"])
def test_findings_have_four_formats(output: str) -> None:
    good, bad = (serin("lint", "--format", output, "-", stdin=text) for text in (POLICY, POLICY + "  stage: []\n"))
    assert (good.returncode, bad.returncode) == (0, 1)
    assert (good.stderr, bad.stderr) == ("", "")
    assert "SRN101" in bad.stdout
    if output in {"sarif", "json"}:
        assert json.loads(good.stdout)
        assert json.loads(bad.stdout)
    else:
        assert good.stdout == ""


def test_a_terminal_without_utf_8_is_no_reason_to_fail(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"sh\xffp.yaml")
    odd.write_text(POLICY + "  ü: []\n")
    result = serin("lint", odd, PYTHONIOENCODING="ascii")
    assert result.returncode == 1
    assert "p.yaml:6:3 SRN101 there is no field" in result.stdout
    assert result.stderr == ""


TARGETS = [
    ("a route that is not there", "  stages: [{route: prime}]\n", "SRN205", "primary"),
    ("a subset that is not there", "  target: {virtualService: helloworld, versions: [v1, v3]}\n", "SRN210", "v2"),
]


@pytest.mark.parametrize(("lines", "code", "word"), [row[1:] for row in TARGETS], ids=[row[0] for row in TARGETS])
def test_what_a_policy_points_to_is_checked_where_it_is_there(tmp_path: Path, lines: str, code: str, word: str) -> None:
    for source in EXAMPLE.glob("*.yaml"):
        (tmp_path / source.name).write_text(source.read_text())
    head = "apiVersion: serin.dev/v1alpha1\nkind: CanaryPolicy\nmetadata: {name: a, namespace: helloworld}\nspec:\n"
    target = "" if "target:" in lines else "  target: {virtualService: helloworld}\n"
    (tmp_path / "policy.yaml").write_text(head + target + lines)
    result = serin("lint", tmp_path)
    assert result.returncode == 1
    assert code in result.stdout
    assert word in result.stdout


def test_one_version_only_and_two_policies_on_one_virtual_service_are_refused(tmp_path: Path) -> None:
    for source in EXAMPLE.glob("*.yaml"):
        (tmp_path / source.name).write_text(source.read_text())
    text = (EXAMPLE / "policy.yaml").read_text()
    (tmp_path / "second.yaml").write_text(text.replace("name: helloworld\n", "name: second\n", 1))
    twice = serin("lint", tmp_path)
    assert (twice.returncode, "SRN214" in twice.stdout) == (1, True)
    (tmp_path / "second.yaml").unlink()
    route = (EXAMPLE / "virtual-service.yaml").read_text()
    (tmp_path / "virtual-service.yaml").write_text(
        route.split("        - destination: {host: helloworld, subset: v2}")[0]
    )
    policy = (EXAMPLE / "policy.yaml").read_text().replace("    versions: [v1, v2]", "    #")
    (tmp_path / "policy.yaml").write_text(policy)
    single = serin("lint", tmp_path)
    assert (single.returncode, "SRN208" in single.stdout) == (1, True), single.stdout


def test_lint_reads_standard_input() -> None:
    result = serin("lint", "-", stdin=POLICY.replace("shop}\n", "shop}\n  x: 1\n", 2))
    assert result.returncode == 1
    assert "SRN" in result.stdout


# --- the rest ---


def test_the_schema_it_prints_is_the_published_one() -> None:
    published = (ROOT / "policies" / "schema" / "canarypolicy.schema.json").read_text(encoding="utf-8")
    assert serin("schema").stdout == published


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["--prometheus", "prometheus:9090"], "--prometheus prometheus:9090: write a URL"),
        (["--prometheus", "http://p", "--listen", "8080"], "--listen 8080: write HOST:PORT"),
        (["--prometheus", "http://p", "--period", "5"], "--period 5"),
        (["--prometheus", "http://p", "--webhook", "oncall"], "--webhook: write NAME=URL"),
        (["--prometheus", "http://p", "--reporter", "client"], "--reporter client: take source"),
        (["--prometheus", "http://p", "--namespace", "Shop"], "--namespace Shop: that is no name of a namespace"),
        (["--prometheus", "http://p", "--checkpoint", "often"], "--checkpoint often"),
        (["--prometheus", "http://p", "--lease-duration", "2s"], "--lease-duration 2s: take whole seconds, 3 or more"),
        (["--prometheus", "http://p", "--lease-duration", "3500ms"], "--lease-duration 3500ms: take whole seconds"),
        (["--prometheus", "http://p", "--lease-namespace", "A B"], "--lease-namespace A B: that is no name"),
        (["--prometheus", "http://p", "--log-level", "LOUD"], "log level 'LOUD'"),
    ],
)
def test_wrong_options_of_run_are_told_with_their_mend(args: list[str], word: str) -> None:
    result = serin("run", "--manifests", EXAMPLE, *args)
    assert result.returncode == 2
    assert word in result.stdout
    assert "Traceback" not in result.stderr


KUBECONFIGS: list[tuple[str, list[str], str]] = [
    ("", ["--context", "there"], "no context named 'there'|Expected object with name there"),
    ("- a list", [], "kubeconfig .*config: "),
    ("clusters: [", [], "kubeconfig .*config: "),
    ("{}", [], "kubeconfig .*config: "),
]


@pytest.mark.parametrize(("text", "args", "problem"), KUBECONFIGS, ids=["context", "a list", "no YAML", "empty"])
def test_a_kubeconfig_that_cannot_be_used_is_told_with_its_name(
    tmp_path: Path, text: str, args: list[str], problem: str
) -> None:
    path = tmp_path / "config"
    path.write_text(text or KUBECONFIG)
    result = serin("run", "--prometheus", "http://p", "--kubeconfig", path, *args)
    assert result.returncode == 2
    assert re.search(problem, result.stdout)
    assert str(path) in result.stdout
    assert "Traceback" not in result.stderr


def test_outside_of_a_cluster_a_kubeconfig_is_asked_for(tmp_path: Path) -> None:
    nowhere = {"KUBERNETES_SERVICE_HOST": "", "KUBECONFIG": ""}
    result = serin("run", "--prometheus", "http://p", **nowhere)
    assert result.returncode == 2
    assert "give --kubeconfig FILE" in result.stdout
    missing = serin("run", "--prometheus", "http://p", KUBECONFIG=str(tmp_path / "nothing"))
    assert missing.returncode == 2
    assert f"kubeconfig {tmp_path / 'nothing'}: there is no such file" in missing.stdout


def test_a_release_that_cannot_be_played_is_told_before_anything_starts() -> None:
    result = serin("demo", "--release", "erors=1")
    assert result.returncode == 2
    assert "'erors=1': write NAME=NUMBER, NAME one of errors, latency" in result.stdout


def test_help_and_version_are_there() -> None:
    assert "lint" in serin("--help").stdout
    assert serin("--version").stdout.startswith("serin 0.")


@pytest.mark.parametrize("of", ["counts", "receivers"])
@pytest.mark.parametrize(("draft", "ending"), [("draft-07", "schema.json"), ("2020-12", "2020-12.schema.json")])
def test_the_other_schemas_it_prints_are_the_published_ones(of: str, draft: str, ending: str) -> None:
    published = (ROOT / "policies" / "schema" / f"{of}.{ending}").read_text(encoding="utf-8")
    assert serin("schema", f"--{of}", "--draft", draft).stdout == published


def test_a_file_of_counts_is_replayed_to_its_verdict(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [{"rollout": "r1", "edges_ms": [10, 100]}]
    for number in range(1, 13):
        stable = {"pods": 4, "requests": 9000, "errors": 9, "latency_counts": [4000, 5000, 0]}
        canary = {"pods": 2, "pod_age_s": 600, "requests": 1000, "errors": 50, "latency_counts": [440, 560, 0]}
        times = {"t": 15.0 * number, "seconds": 15.0, "weight": 10, "next_weight": 25}
        lines.append({"rollout": "r1", **times, "stable": stable, "canary": canary})
    file = tmp_path / "counts.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = serin("replay", "--counts", file, "-o", "json")
    assert result.returncode == 1, result.stderr
    said = json.loads(result.stdout)
    assert (said["rollout"], said["verdict"], said["harm_channel"], said["intervals"]) == ("r1", "HARM", "errors", 12)
    assert said["harm_at_s"] <= 60
    file.write_text(file.read_text().replace('"errors": 50', '"errors": 5000', 1))
    broken = serin("replay", "--counts", file)
    assert broken.returncode == 2
    assert f"{file}:2: " in broken.stderr


def test_a_plan_tells_what_a_policy_will_do(tmp_path: Path) -> None:
    plot = tmp_path / "plan.svg"
    result = serin(
        "plan", EXAMPLE / "policy.yaml", "--rps", "500", "--error-rate", "0.1%", "--plot", plot, "-o", "json"
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)
    assert plot.read_text().startswith("<svg")


@pytest.mark.parametrize(
    "args",
    [
        ["replay"],
        ["replay", "--prometheus", "http://p"],
        ["plan", EXAMPLE / "policy.yaml", "--rps", "0"],
        ["plan", EXAMPLE / "policy.yaml", "--rps", "5", "--error-rate", "0.1"],
        ["calibrate", "--prometheus", "p:9090", "--workload", "a/b"],
        ["calibrate", "--prometheus", "http://p:9090", "--workload", "ab"],
    ],
    ids=lambda args: " ".join(str(a) for a in args if not isinstance(a, Path)),
)
def test_studies_with_wrong_options_end_with_a_word_and_2(args: list[str | Path]) -> None:
    result = serin(*args)
    assert result.returncode == 2
    assert result.stderr.strip()
    assert "Traceback" not in result.stderr


# --- a daemon that runs ---


@contextmanager
def daemon(
    prometheus: str, *args: str, manifests: Sequence[Path] = (EXAMPLE,)
) -> Iterator[tuple[subprocess.Popen[str], list[dict[str, Any]]]]:
    """Run the daemon, collect its log lines, and end it."""
    command = [sys.executable, "-m", "analyzer", "run", "--prometheus", prometheus]
    command += [part for path in manifests for part in ("--manifests", str(path))]
    command += ["--listen", "127.0.0.1:0", "--period", "1s", "--log-format", "json", *args]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines: list[dict[str, Any]] = []

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:  # while it runs: a test looks at what there is so far
            lines.append(json.loads(line))  # noqa: PERF401

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield process, lines
    finally:
        process.kill()
        process.wait()
        reader.join()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def wait_for(
    lines: list[dict[str, Any]], found: Callable[[dict[str, Any]], bool], *, seconds: float = 30
) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for line in list(lines):
            if found(line):
                return line
        time.sleep(0.05)
    raise AssertionError(f"no such line in {lines}")


def event(text: str) -> Callable[[dict[str, Any]], bool]:
    return lambda line: text in line["event"]


def test_with_prometheus_absent_it_runs_holds_and_says_why() -> None:
    with daemon("http://127.0.0.1:1") as (process, lines):
        lost = wait_for(lines, event("telemetry lost"))
        assert "Prometheus at http://127.0.0.1:1: nothing listens there" in lost["error"]
        held = wait_for(lines, lambda line: line.get("held") == "Blind")
        assert (held["weight"], held["verdict"]) == (10.0, "NO_DATA")
        url = wait_for(lines, event("listening"))["url"]
        for path in ("/healthz", "/readyz"):
            with urllib.request.urlopen(url + path, timeout=5) as response:
                assert json.load(response)["ok"] is True
        with urllib.request.urlopen(url + "/metrics", timeout=5) as response:
            text = response.read().decode()
        assert 'serin_held{namespace="helloworld",policy="helloworld",reason="Blind"} 1.0' in text
        assert 'serin_weight_ratio{namespace="helloworld",policy="helloworld"} 0.1' in text
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        wait_for(lines, event("serin stops"))


def test_without_the_api_server_it_starts_says_so_waits_and_ends_in_order(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(KUBECONFIG)
    with daemon("http://127.0.0.1:1", "--kubeconfig", str(path), manifests=()) as (process, lines):
        lost = wait_for(lines, event("cluster_lost"))
        assert "the API server cannot be reached" in lost["error"]
        url = wait_for(lines, event("listening"))["url"]
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(url + "/readyz", timeout=5)
        with refusal.value as answer:
            assert (answer.status, json.load(answer)["synced"]) == (503, False)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert not [line for line in lines if line["level"] == "error"]


class Nonsense(BaseHTTPRequestHandler):
    """Answers every question with a page for people."""

    def do_POST(self) -> None:
        body = b"<html>Sign in</html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the standard library
        pass


def test_an_answer_that_is_not_json_is_told_as_such() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Nonsense)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with daemon(f"http://127.0.0.1:{server.server_address[1]}") as (_, lines):
            lost = wait_for(lines, event("telemetry lost"))
            assert "JSON" in lost["error"]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_port_that_is_taken_is_told_with_the_mend() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = serin(
            "run", "--manifests", EXAMPLE, "--prometheus", "http://127.0.0.1:1", "--listen", f"127.0.0.1:{port}"
        )
    assert result.returncode == 1
    assert str(port) in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_the_health_page_of_a_stopped_daemon_is_gone() -> None:
    with daemon("http://127.0.0.1:1") as (process, lines):
        url = wait_for(lines, event("listening"))["url"]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url + "/healthz", timeout=5)
