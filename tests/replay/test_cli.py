import io
import json
from pathlib import Path
from typing import Any

import pytest

from analyzer.cli.calibrate import calibrate_workload
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
