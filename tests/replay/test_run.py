import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.core.judge.types import Verdict
from analyzer.replay.result import Exit, exit_code
from analyzer.replay.run import Judged, Replay
from analyzer.replay.show import results_table, trace_dict, trace_line
from tests.core.judge.worlds import Behaviour
from tests.replay.records import Line, header, interval, read, replay, shuffled, version, world_lines

STEPS: dict[int, tuple[int, int | None]] = {0: (10, 25), 30: (25, 50), 45: (50, None)}
GOOD = world_lines("good", seed=1, count=50, steps=STEPS)
BAD = world_lines("bad", seed=2, count=50, canary=Behaviour(errors=0.02), steps=STEPS)
SLOW = world_lines("slow", seed=3, count=50, canary=Behaviour(median_ms=40.0), steps=STEPS)


def by_name(lines: list[Line], *, max_waiting: int = 1000) -> dict[str, str]:
    return {result.rollout: result.as_json() for result in replay(lines, max_waiting=max_waiting)}


def test_a_good_release_is_proven_step_by_step() -> None:
    [result] = replay(GOOD)
    assert result.harm_at_s is None
    assert result.harm_channel is None
    assert list(result.proven) == ["25", "50"]
    assert result.proven_at_s == result.proven["25"] < 450.0 < result.proven["50"] <= 675.0
    assert (result.verdict, result.intervals) == (Verdict.INCONCLUSIVE, 50)  # at the end nothing is to be proven


def test_a_bad_release_is_harm_from_then_on() -> None:
    [errors, latency] = replay([*BAD, *SLOW])
    assert errors.verdict is latency.verdict is Verdict.HARM
    assert errors.harm_at_s is not None
    assert errors.harm_at_s <= 90.0
    assert (errors.harm_channel, latency.harm_channel) == ("errors", "latency")
    assert errors.max_evidence > 4.6
    assert errors.proven == {}


def test_the_json_line_is_as_published() -> None:
    [result] = replay(BAD)
    line = json.loads(result.as_json())
    assert list(line) == [
        "rollout", "verdict", "harm_at_s", "harm_channel", "proven_at_s", "proven", "intervals", "max_evidence",
    ]  # fmt: skip
    assert (line["rollout"], line["verdict"], line["proven_at_s"], line["proven"]) == ("bad", "HARM", None, {})


def test_results_come_in_order_of_first_appearance() -> None:
    assert [r.rollout for r in replay([header("z"), header("a"), interval("a"), interval("z")])] == ["z", "a"]


def test_a_rollout_without_intervals_has_no_data() -> None:
    [result] = replay([header()])
    assert (result.verdict, result.intervals, result.max_evidence) == (Verdict.NO_DATA, 0, 0.0)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), max_waiting=st.sampled_from([1, 2, 7, 60, 1000]))
def test_neither_interleaving_nor_batches_change_an_answer(seed: int, max_waiting: int) -> None:
    lines = shuffled([GOOD, BAD, SLOW], seed=seed)
    assert by_name(lines, max_waiting=max_waiting) == by_name([*GOOD, *BAD, *SLOW])


def test_a_gap_only_leaves_out_what_is_not_there() -> None:
    [whole] = replay(BAD)
    [gappy] = replay([BAD[0], *({**line, "t": line["t"] + 3600.0} for line in BAD[1:])])
    assert (gappy.verdict, gappy.max_evidence) == (whole.verdict, whole.max_evidence)
    assert gappy.harm_at_s is not None
    assert whole.harm_at_s is not None
    assert gappy.harm_at_s == whole.harm_at_s + 3600.0


@pytest.mark.parametrize("changed", [{"weight": 11}, {"next_weight": 26}])
def test_another_weight_or_next_weight_starts_proof_anew(changed: dict[str, int]) -> None:
    seen: list[Judged] = []
    records, _ = read(*GOOD[:20], {**GOOD[20], **changed})
    Replay(on_judged=seen.append).play(records)
    assert seen[-2].assessment.evidence.step_intervals == 19
    assert seen[-1].assessment.evidence.step_intervals == 1


def test_proof_is_kept_by_the_weight_that_it_allows() -> None:
    again = [{**line, "next_weight": 33.5} for line in GOOD[1:31]]
    [result] = replay([GOOD[0], *again])
    assert list(result.proven) == ["33.5"]


def test_exit_codes_put_harm_before_lack_of_proof() -> None:
    [good] = replay(GOOD)
    [bad] = replay(BAD)
    [unproven] = replay([header(), interval()])
    [nothing_asked] = replay([header(), interval(next_weight=None)])
    assert exit_code([good]) is Exit.PROVEN
    assert exit_code([good, unproven]) is Exit.INCONCLUSIVE
    assert exit_code([nothing_asked]) is Exit.INCONCLUSIVE
    assert exit_code([unproven, bad, good]) is Exit.HARM
    assert exit_code([]) is Exit.INCONCLUSIVE


def trace(lines: list[Line], *, max_waiting: int = 1000) -> list[Judged]:
    seen: list[Judged] = []
    records, bad = read(*lines)
    assert bad == []
    Replay(on_judged=seen.append, max_waiting=max_waiting).play(records)
    return seen


def test_each_interval_is_shown_with_the_daemons_own_decision() -> None:
    decisions = [trace_dict(judged) for judged in trace(GOOD)]
    first, proven = decisions[0], next(d for d in decisions if d["verdict"] == "PROVEN")
    assert (first["decision"], first["weight_wanted"]) == ("watch", 10.0)
    assert first["why"] == "Watches: 15 s at 10 %, at least 30 s."
    assert (proven["decision"], proven["weight_wanted"]) == ("advance", 25.0)
    assert proven["why"].startswith("10 % to 25 %: proven in ")
    harm = next(d for d in map(trace_dict, trace(BAD)) if d["verdict"] == "HARM")
    assert (harm["decision"], harm["weight_wanted"]) == ("roll back", 0.0)
    assert harm["why"].startswith("canary fails ")


def test_the_last_weight_bakes_before_everybody_gets_it() -> None:
    to_all = [{**line, "next_weight": 100} for line in GOOD[1:31]]
    decisions = [trace_dict(judged)["decision"] for judged in trace([{**GOOD[0], "policy": {"bake": "10m"}}, *to_all])]
    assert "bake" in decisions
    assert "advance" not in decisions


def test_the_policys_overrides_reach_judge_and_decision() -> None:
    hold = {**GOOD[0], "policy": {"dwell": {"min": "15s", "max": "30s"}, "onInconclusive": "rollback"}}
    few = [{**line, "stable": version(9, latency_counts=[9] + [0] * 19), "canary": version(1, latency_counts=[1] + [0] * 19)}
           for line in GOOD[1:5]]  # fmt: skip
    decisions = [trace_dict(judged)["decision"] for judged in trace([hold, *few])]
    assert decisions == ["watch", "roll back", "roll back", "roll back"]


def test_the_trace_follows_the_order_of_the_record() -> None:
    lines = shuffled([GOOD, BAD], seed=5)
    wanted = [(line["rollout"], line["t"]) for line in lines if "t" in line]
    assert [(j.rollout, j.interval.end_s) for j in trace(lines, max_waiting=13)] == wanted


def test_people_get_a_line_per_interval_and_a_table() -> None:
    judged = trace(BAD)[-1]
    assert "bad  " in trace_line(judged, named=True)
    assert "roll back: canary fails" in trace_line(judged, named=False)
    table = results_table(replay([*GOOD, *BAD]))
    assert [line.split()[0] for line in table.splitlines()] == ["rollout", "good", "bad"]
    assert "25 %, 50 %" in table


@pytest.mark.parametrize("lines", [GOOD, BAD, SLOW])
def test_the_largest_evidence_is_that_of_the_worst_interval(lines: list[Line]) -> None:
    [result] = replay(lines)
    worst = max(judged.assessment.evidence.log_e for judged in trace(lines))
    assert result.as_dict()["max_evidence"] == round(max(worst, 0.0), 6)


def test_a_rollout_alone_is_answered_like_one_among_many() -> None:
    named = [world_lines(f"r{n}", seed=1, count=50, steps=STEPS) for n in range(20)]
    crowd = {result.rollout: result.as_dict() for result in replay([line for lines in named for line in lines])}
    [alone] = replay(named[0])
    assert all({**answer, "rollout": "r0"} == alone.as_dict() for answer in crowd.values())
    few = replay([line for lines in named[:15] for line in lines])
    assert [result.as_dict() for result in few] == list(crowd.values())[:15]
