"""The demo itself, on real traffic: one short release of each end."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from analyzer.core.judge.types import Verdict
from analyzer.core.rollout import Hold, HoldReason, Phase
from analyzer.policy.parse import parse_policy
from analyzer.sandbox.demo import Demo, demo_manifests
from analyzer.sandbox.release import Release
from analyzer.sandbox.story import STORY, Result, Scene
from analyzer.sandbox.view import Frame, LiveView, Moment, PlainView, choose_view, picture, results_table, status_line
from tests.core.rollout.scenes import assessment, evidence, progressing


def console(width: int = 140) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=False)


def text_of(printed: Console) -> str:
    assert isinstance(printed.file, io.StringIO)
    return printed.file.getvalue()


@pytest.mark.real
async def test_a_release_full_of_errors_is_played_judged_and_taken_back() -> None:
    printed = console()
    scene = Scene("broken", Release(errors=0.5), Phase.ROLLED_BACK)
    with PlainView(printed) as view:
        (result,) = await Demo([scene], view).play()
    assert (result.phase, result.reason, result.as_expected) == (Phase.ROLLED_BACK, "Harm", True)
    assert result.version == "v2"
    # About half of what it served failed, and nobody else's requests did.
    assert 0.3 < result.failed_by_canary / result.canary_requests < 0.7
    assert result.failed_otherwise < 20
    output = text_of(printed)
    assert "It already has 10 % and is adopted there" in output
    assert "Rolled back: v2 fails" in output


def frame(**changes: object) -> Frame:
    state = replace(progressing(25), evidence=evidence(log_e=2.5), message="Watches: 12 s at 25 %.")
    usual = Frame(
        at_s=75.0,
        number=2,
        of=3,
        scene=STORY[1],
        state=state,
        weights={"v1": 75, "v2": 25},
        replicas={"v1": 4, "v2": 2},
        moments=(Moment(1.0, "v2 runs a new revision."), Moment(20.0, "10 % to 25 %: proven.")),
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


def test_the_picture_shows_weights_rates_evidence_and_pods() -> None:
    printed = console()
    printed.print(picture(frame()))
    shown = text_of(printed)
    for part in (
        "release 2 of 3: a release with 5 % errors",
        "stable v1",
        "canary v2",
        "75 %",
        "25 %",
        "5 % (2.5 to 10)",
        "log E 2.5 of 4.6",
        "no worse: latency p50",
        "20 ms",
        "Watches: 12 s at 25 %.",
    ):
        assert part in shown, part


def test_the_picture_says_when_the_weights_are_held() -> None:
    held = replace(frame().state, hold=Hold(HoldReason.BLIND, "Prometheus does not answer."), evidence=None)
    printed = console()
    printed.print(picture(frame(state=held)))
    assert "held: Blind" in text_of(printed)


def test_plain_lines_tell_each_thing_once() -> None:
    printed = console()
    with PlainView(printed) as view:
        view.show(frame())
        view.show(frame(at_s=76.0))
        view.show(frame(at_s=77.0, moments=(*frame().moments, Moment(76.5, "Rolled back."))))
    lines = text_of(printed).splitlines()
    assert [line for line in lines if "proven" in line] == ["  20.0 s  10 % to 25 %: proven."]
    assert lines[-1] == "  76.5 s  Rolled back."
    assert sum("v1  75 % on 4 pods" in line for line in lines) == 1


def test_without_a_terminal_there_are_lines() -> None:
    assert isinstance(choose_view(console()), PlainView)
    assert isinstance(choose_view(Console(file=io.StringIO(), force_terminal=True)), LiveView)


def test_a_status_line_without_evidence_shows_what_there_is() -> None:
    nothing = replace(frame().state, evidence=None)
    assert status_line(frame(state=nothing)) == "v1  75 % on 4 pods | v2  25 % on 2 pods | Progressing"


RESULT = Result(
    scene=STORY[1],
    version="v1",
    phase=Phase.ROLLED_BACK,
    reason="Harm",
    proven=0,
    decided_s=9.96,
    canary_requests=1213,
    failed_by_canary=61,
    failed_otherwise=3,
    replicas=((0.0, 5, 1), (12.0, 5, 2)),
)


def test_the_table_tells_what_became_of_a_release() -> None:
    printed = console(300)
    printed.print(results_table([RESULT, replace(RESULT, phase=Phase.PROMOTED, proven=2)]))
    shown = text_of(printed)
    for part in (
        "RolledBack (Harm)",
        "10.0",
        "1,213",
        "61",
        "0: 5/1  12: 5/2",
        "Promoted, 2 steps proven (expected RolledBack)",
    ):
        assert part in shown, part


def test_a_release_of_ones_own_may_end_as_it_deserves() -> None:
    assert replace(RESULT, scene=replace(STORY[0], expected=None)).as_expected
    assert not replace(RESULT, scene=STORY[0]).as_expected


def test_the_demos_policy_is_one_that_serin_accepts() -> None:
    (policy,) = [obj for obj in demo_manifests(STORY[0]) if obj["kind"] == "CanaryPolicy"]
    assert parse_policy(policy).spec.stages[0].weights == (10, 25, 50, 100)


def test_evidence_in_frames_is_what_the_judge_said() -> None:
    said = assessment(Verdict.INCONCLUSIVE)
    assert "log E -0.5 of 4.6" in status_line(frame(state=replace(frame().state, evidence=said.evidence)))
