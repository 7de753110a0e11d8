"""`serin plan`: what a policy will do, as a table, as JSON and as a picture."""

import json
import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from analyzer.cli.plan import plan_command
from analyzer.core.rollout import Limits
from analyzer.policy.model import CanaryPolicy
from analyzer.policy.parse import parse_policy
from analyzer.simulate import LatencyShape, Traffic
from analyzer.simulate.latency import shape_of
from analyzer.simulate.plan import PlanReport, _limits, plan_report, render_svg, render_table, to_json

QUICK = {"dwell": {"max": "2m"}, "bake": "30s"}
TRAFFIC = Traffic(rps=1000.0, latency=LatencyShape(), stable_pods=4, canary_pods=1)


def policy(**spec: object) -> CanaryPolicy:
    return parse_policy(
        {
            "apiVersion": "serin.dev/v1alpha1",
            "kind": "CanaryPolicy",
            "metadata": {"name": "shop", "namespace": "prod"},
            "spec": {"target": {"virtualService": "shop"}, "stages": [{"weights": [5, 50, 100]}], "judge": QUICK}
            | spec,
        }
    )


@pytest.fixture(scope="module")
def report() -> PlanReport:
    return plan_report(policy(), TRAFFIC, seed=1)


def test_worse_releases_are_found_sooner_and_hurt_in_proportion(report: PlanReport) -> None:
    bad = {one.name: one for one in report.bad}
    assert list(bad) == ["+0.1 % errors", "+1 % errors", "100 % errors", "latency +10 %", "latency +50 %"]
    assert bad["100 % errors"].median_s <= bad["+1 % errors"].median_s <= bad["+0.1 % errors"].median_s
    assert bad["latency +50 %"].median_s <= bad["latency +10 %"].median_s
    assert bad["100 % errors"].rolled_back == bad["100 % errors"].rollouts
    assert bad["100 % errors"].users_hurt == pytest.approx(bad["100 % errors"].canary_requests, rel=0.05)


def test_a_harmless_release_is_promoted_and_the_bound_says_how_much_was_simulated(report: PlanReport) -> None:
    harmless = report.harmless
    assert harmless.rolled_back <= 0.02 * harmless.rollouts
    assert harmless.upper_bound > harmless.false_rollback
    assert harmless.rollouts >= 200
    assert all(math.isfinite(time) for time in harmless.promoted_s)
    assert harmless.weights[-1][1] == 100.0


def test_the_same_seed_gives_the_same_report(report: PlanReport) -> None:
    assert plan_report(policy(), TRAFFIC, seed=1) == report


def test_a_policy_of_many_hours_is_simulated_in_longer_intervals() -> None:
    slow = policy(judge={"dwell": {"max": "4h"}, "bake": "24h"})
    report = plan_report(slow, TRAFFIC, seed=1)
    assert report.interval_s > 60.0
    assert f"counts every {report.interval_s:g} s" in render_table(report)


def test_the_table_has_a_line_for_each_release_and_says_what_it_assumes(report: PlanReport) -> None:
    text = render_table(report)
    assert [line for line in text.splitlines() if line.startswith("100 % errors")]
    assert "rolled back wrongly in" in text
    assert "1,000 requests/s, 0.1 % errors" in text
    lines = text[: text.index("Assumed")].splitlines()
    assert max(map(len, lines)) <= 120


def test_json_is_read_back_and_has_null_for_never(report: PlanReport) -> None:
    value = json.loads(to_json(report))
    assert value["policy"] == "prod/shop"
    assert value["harmless"]["rollouts"] == report.harmless.rollouts
    assert {one["release"] for one in value["bad"]} == {one.name for one in report.bad}
    found = replace(report.bad[0], median_s=math.inf, most_s=math.inf)
    assert json.loads(to_json(replace(report, bad=(found,))))["bad"][0]["found_s"] == {"p50": None, "p90": None}


def test_the_picture_is_well_formed_and_shows_each_release(report: PlanReport) -> None:
    root = ET.fromstring(render_svg(report))
    texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {one.name for one in report.bad} <= set(texts)
    assert any(text.startswith("All traffic after") for text in texts)


# --- the command ------------------------------------------------------------------------------------------------------

EXAMPLE = Path(__file__).parents[2] / "policies" / "examples" / "helloworld" / "policy.yaml"


def test_the_command_prints_json_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "plan.svg"
    code = plan_command(EXAMPLE, rps=2000.0, error_rate="0.1%", pods=4, output="json", plot=picture)
    assert code == 0
    assert json.loads(capsys.readouterr().out)["traffic"]["latency_p50_ms"] == pytest.approx(60.0, rel=0.01)
    assert picture.read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rps": 0.0}, "--rps 0: write requests per second"),
        ({"rps": math.nan}, "--rps nan"),
        ({"error_rate": "0.1"}, "--error-rate 0.1: write a percentage"),
        ({"error_rate": "100%"}, "below 100%"),
        ({"latency_p50": "60"}, "--latency-p50 60: write a duration with its unit"),
        ({"latency_p50": "60ms", "latency_p99": "50ms"}, "the p99 (50 ms) must be above the p50 (60 ms)"),
        ({"pods": 0}, "--pods 0"),
        ({"output": "yaml"}, "--output yaml: take table or json"),
        ({"plot": Path("plan.png")}, "name it plan.svg"),
        ({"policy": Path("absent.yaml")}, "absent.yaml:1:1 SRN003 there is no such file"),
        ({"policy": EXAMPLE.with_name("service.yaml")}, "holds no CanaryPolicy"),
    ],
)
def test_wrong_options_are_told_with_their_mend(
    options: dict[str, object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, object] = {"policy": EXAMPLE, "rps": 100.0, "error_rate": "0.1%"} | options
    assert plan_command(**given) == 2  # type: ignore[arg-type]
    out, err = capsys.readouterr()
    assert said in err
    assert not out


def test_a_wrong_policy_is_told_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(EXAMPLE.read_text(encoding="utf-8").replace("bake: 10m", "bake: 10"), encoding="utf-8")
    assert plan_command(wrong, rps=100.0, error_rate="0.1%") == 2
    err = capsys.readouterr().err
    lines = wrong.read_text(encoding="utf-8").splitlines()
    line = 1 + next(number for number, text in enumerate(lines) if text.startswith("    bake: 10 "))
    assert f"{wrong}:{line}:11 SRN104 `10` has no unit" in err
    assert "10m" in err


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (Limits(error_rate=0.05), "Whatever the stable version does, more than 5 % errors are rolled back."),
        (
            Limits(error_rate=0.0005),
            "more than 0.05 % errors are rolled back, and the stable version has more: every release",
        ),
        (Limits(p99_ms=800.0), "a p99 above 1,000 ms, the histogram's edge for the limit of 800 ms, is rolled back."),
        (
            Limits(p99_ms=60.0),
            "the limit of 60 ms, is rolled back, and the stable version's is: every release will be.",
        ),
        (Limits(p99_ms=1e9), "no edge of the histogram is so high: it is never tested."),
    ],
)
def test_the_assumptions_say_what_absolute_limits_come_to(limits: Limits, says: str) -> None:
    traffic = Traffic(rps=100.0, error_rate=0.001, latency=shape_of(60.0, 240.0), stable_pods=4, canary_pods=1)
    [text] = _limits(limits, traffic)
    assert says in text
