import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from analyzer.cli import app
from analyzer.cli.calibrate import calibrate_workload
from analyzer.cli.options import read_policy_file
from analyzer.cli.past import parse_time
from analyzer.cli.replay import replay_counts, replay_prometheus
from analyzer.errors import PolicyError
from tests.core.judge.worlds import Behaviour
from tests.replay.records import Line, header, interval, text, world_lines

NOBODY = "http://127.0.0.1:9"
GOOD = world_lines("good", seed=1, count=30, steps={})
BAD = world_lines("bad", seed=2, count=30, canary=Behaviour(errors=0.02), steps={})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "counts.jsonl"


def written(file: Path, lines: list[Line]) -> str:
    file.write_bytes(text(lines))
    return str(file)


def test_a_file_is_replayed_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay_counts(written(file, [*GOOD, *BAD]), output="json") == 1
    good, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert (good["rollout"], good["harm_at_s"], list(good["proven"])) == ("good", None, ["25"])
    assert (bad["rollout"], bad["verdict"], bad["harm_channel"]) == ("bad", "HARM", "errors")


@pytest.mark.parametrize(("lines", "code"), [(GOOD, 0), (BAD, 1), ([header(), interval()], 3)])
def test_the_exit_code_tells_the_verdict(file: Path, lines: list[Line], code: int) -> None:
    assert replay_counts(written(file, lines), output="json") == code


def test_bad_lines_are_told_and_nothing_is_answered(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [*GOOD, *(interval("nobody", t=t) for t in range(30))]
    assert replay_counts(written(file, lines), output="json") == 2
    said = capsys.readouterr()
    assert said.out == ""
    told = said.err.splitlines()
    assert told[0].startswith(f"{file}:32: there is no header of the rollout `nobody` before this line; ")
    assert (len(told), told[-1]) == (21, "and 10 more bad lines")


def test_a_single_rollout_is_shown_interval_by_interval(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay_counts(written(file, GOOD)) == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) == 1 + 30 + 2
    assert "advance: 10 % to 25 %: proven in " in said
    assert replay_counts(written(file, [*GOOD, *BAD])) == 1
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_trace_of_many_is_shown_on_request(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay_counts(written(file, [*GOOD, *BAD]), output="json", trace=True) == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [("decision" in line) for line in told] == [True] * 60 + [False] * 2
    assert replay_counts(written(file, [*GOOD, *BAD]), trace=True) == 1
    assert sum(line.startswith("bad  ") for line in capsys.readouterr().out.splitlines()) == 31


@pytest.mark.parametrize("options", [["--trace", "-o", "json"], []])
def test_output_that_nobody_reads_to_its_end_ends_the_command_without_a_word(file: Path, options: list[str]) -> None:
    name = written(file, world_lines("r", seed=1, count=2500, steps={}))  # more than fits into a pipe
    command = [sys.executable, "-m", "analyzer", "replay", "--counts", name, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 128 + signal.SIGPIPE


def test_standard_input_is_read_as_a_stream(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stdin:
        buffer = io.BytesIO(text([*GOOD, {"rollout": 1}]))

    monkeypatch.setattr("sys.stdin", Stdin)
    assert replay_counts("-") == 2
    assert capsys.readouterr().err.startswith("<stdin>:32: `rollout`: `1` is no name; ")


def test_a_file_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay_counts(str(tmp_path / "none")) == 2
    assert "No such file or directory; name a file of counts, or `-`" in capsys.readouterr().err


POLICY = """
apiVersion: serin.dev/v1alpha1
kind: CanaryPolicy
metadata: {name: cart, namespace: shop}
spec: {target: {virtualService: cart}}
"""
WINDOW: dict[str, Any] = {"from_time": "2h", "to_time": "1h", "stable": "shop/v1", "canary": "shop/v2"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "xml"}, "--output xml: take table or json"),
        ({"from_time": "yesterday"}, "--from yesterday: this is no time; write 2026-11-23T14:00:00Z, unix seconds, or"),
        ({"from_time": "2026-11-23T14:00:00"}, "--from 2026-11-23T14:00:00: this is no time"),
        ({"from_time": "1h", "to_time": "2h"}, "--from is not before --to: nothing lies between them"),
        ({"canary": None}, "write both --stable and --canary, or neither"),
        ({"stable": None, "canary": None}, "the policy does not tell the workloads: write --stable NAMESPACE/NAME"),
        ({"stable": "v1"}, "--stable v1: write NAMESPACE/NAME of a Deployment"),
        ({"stable": "shop/v2"}, "--stable and --canary are the same workload"),
        ({"weight": 0.0}, "--weight 0: write per cent, above 0 and up to 100"),
        ({"canary_pods": 0}, "--stable-pods and --canary-pods: write at least 1 each"),
        ({"reporter": "destination"}, "--reporter destination: take source or waypoint"),
    ],
)
def test_a_wrong_option_is_told_with_its_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any], message: str
) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    assert replay_prometheus(NOBODY, policy=tmp_path / "policy.yaml", **{**WINDOW, **options}) == 2
    assert capsys.readouterr().err.startswith(f"serin replay: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("kind: Service\n", "holds no CanaryPolicy: name a file with exactly one"),
        (POLICY + "---" + POLICY, "holds 2 policies: name a file with exactly one"),
        (POLICY.replace("{virtualService: cart}", "{}"), "`virtualService` is missing"),
    ],
)
def test_a_policy_file_holds_one_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    (tmp_path / "policy.yaml").write_text(content)
    assert replay_prometheus(NOBODY, policy=tmp_path / "policy.yaml", **WINDOW) == 2
    assert message in capsys.readouterr().err


# --- policies over CanaryDefaults, as lint reads them ---


def defaults(namespace: str, judge: str) -> str:
    return f"""
apiVersion: serin.dev/v1alpha1
kind: CanaryDefaults
metadata: {{name: default, namespace: {namespace}}}
spec: {{judge: {judge}}}
"""


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """Make a folder of a team with a policy, its namespace's defaults and the cluster's, and another policy."""
    (tmp_path / "team").mkdir()
    (tmp_path / "policy.yaml").write_text(POLICY.replace("cart}}", "cart}, judge: {dwell: {min: 4m}}}"))
    (tmp_path / "team" / "defaults.yaml").write_text(defaults("shop", "{bake: 1m}"))
    (tmp_path / "team" / "cluster.yaml").write_text(
        defaults("serin-system", "{bake: 2m, onInconclusive: hold}") + "---" + defaults("elsewhere", "{bake: 3m}")
    )
    (tmp_path / "team" / "other.yaml").write_text(POLICY.replace("cart", "till"))
    return tmp_path


def test_the_defaults_of_other_files_count_for_a_policy(manifests: Path) -> None:
    policy, team = manifests / "policy.yaml", manifests / "team"
    alone, over = read_policy_file(policy), read_policy_file(policy, beside=[team])
    assert (over.metadata.name, alone.spec.judge.bake_s, over.spec.judge.bake_s) == ("cart", 600.0, 60.0)
    assert over.spec.judge.on_inconclusive == "hold"
    elsewhere = read_policy_file(policy, beside=[team], home="elsewhere")
    assert (elsewhere.spec.judge.bake_s, elsewhere.spec.judge.on_inconclusive) == (60.0, "advance")
    assert read_policy_file(policy, beside=[team / "cluster.yaml"]).spec.judge.bake_s == 120.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (defaults("shop", "{bake: 10}"), "defaults.yaml:5:22 SRN104 `10` has no unit"),
        (defaults("shop", "{dwell: {max: 2m}}"), "yaml:2), which has it from here"),
        (defaults("shop", "{bake: 5m}") + "---" + defaults("shop", "{bake: 6m}"), "has CanaryDefaults already in"),
        ("kind: [", "defaults.yaml:1:"),
    ],
)
def test_wrong_defaults_are_told_with_their_place(
    manifests: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    (manifests / "team" / "defaults.yaml").write_text(content)
    code = replay_prometheus(NOBODY, policy=manifests / "policy.yaml", beside=[manifests / "team"], **WINDOW)
    assert code == 2
    said = capsys.readouterr().err
    assert said.startswith("serin replay: ")
    assert message in said


@pytest.mark.parametrize(
    "command",
    [
        ["plan", "policy.yaml", "team", "--rps", "100"],
        ["replay", "--prometheus", NOBODY, "--from", "2h", "--policy", "policy.yaml", "--policy", "team"],
        ["calibrate", "--prometheus", NOBODY, "--workload", "shop/cart", "--policy", "policy.yaml", "--policy", "team"],
    ],
    ids=lambda command: command[0],
)
def test_the_commands_take_the_files_that_lint_takes(
    manifests: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """What is wrong only in the defaults of the namespace that the option names ends each of them."""
    monkeypatch.chdir(manifests)
    (manifests / "team" / "cluster.yaml").write_text(defaults("elsewhere", "{bake: 10}"))
    ended = CliRunner().invoke(app, [*command, "--serin-namespace", "elsewhere"])
    assert ended.exit_code == 2
    assert f"serin {command[0]}: team/cluster.yaml:5:22 SRN104 `10` has no unit" in ended.stderr


def test_a_policy_may_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    built = defaults("shop", "{bake: 1m}") + "---" + POLICY
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(built.encode())))
    assert read_policy_file(Path("-")).spec.judge.bake_s == 60.0


def test_a_prometheus_that_is_not_there_is_unreachable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    assert replay_prometheus(NOBODY, policy=tmp_path / "policy.yaml", **WINDOW) == 4
    assert calibrate_workload(NOBODY, workload="shop/cart-v1", hours=1) == 4
    assert capsys.readouterr().err.count("nothing listens there") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workload": "cart"}, "--workload cart: write NAMESPACE/NAME of a Deployment"),
        ({"hours": 0}, "--hours 0: write a number above 0 and up to 744"),
        ({"rollouts": 0}, "--rollouts 0: write a number from 1 to 10000"),
        ({"output": "xml"}, "--output xml: take table or json"),
        ({"url": "prometheus:9090"}, "--prometheus: 'prometheus:9090' is no address of a Prometheus"),
    ],
)
def test_wrong_options_of_calibrate_are_told(
    capsys: pytest.CaptureFixture[str], options: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"url": NOBODY, "workload": "shop/cart-v1", **options}
    assert calibrate_workload(given.pop("url"), **given) == 2
    assert capsys.readouterr().err.startswith(f"serin calibrate: {message}")


def test_times_are_read_three_ways() -> None:
    assert parse_time("90m", "--from", now_s=10_000.0) == 4600.0
    assert parse_time("1700000000.5", "--from", now_s=0.0) == 1_700_000_000.5
    assert parse_time("2023-11-14T22:13:20Z", "--from", now_s=0.0) == 1_700_000_000.0
    with pytest.raises(PolicyError, match="this is no time"):
        parse_time("nan", "--from", now_s=0.0)
