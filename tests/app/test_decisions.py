"""The decision log of whole runs, decided again: same weights, same reasons; and what happens to a log that was touched."""

import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from analyzer.adapters.decision_file import DecisionFile
from analyzer.app.decisions import Decisions
from analyzer.app.decisions.chain import digest
from analyzer.cli.decisions import replay_decisions
from analyzer.core.rollout import DriftAnswer, Verb
from analyzer.errors import ClusterUnavailable, OutcomeUnknown
from analyzer.replay.decisions import BadLog, DecisionReplay, Difference
from tests.app.decision_log import again, logged
from tests.app.loop import Loop
from tests.app.model import POLICY, SCRAPE_S, Behaviour
from tests.app.scaling import ScalingMesh
from tests.app.test_capacity import JUDGE, STAGES, scaling_loop, shrunk
from tests.app.test_crash import kill_at
from tests.app.test_focus import INSIDERS, PRIMARY, focused
from tests.app.test_requests import ask
from tests.app.test_turns import quick_mesh

KEY = "helloworld/helloworld"


async def promoted(loop: Loop) -> None:
    await loop.until(lambda: loop.phase == "Promoted")


async def rolled_back(loop: Loop) -> None:
    loop.mesh.behaviours["v2"] = Behaviour(error_rate=0.05)
    await loop.until(lambda: loop.phase == "RolledBack")


async def blind_for_a_while(loop: Loop) -> None:
    await loop.cycle()
    loop.mesh.up = False
    for _ in range(5):
        await loop.cycle()
    loop.mesh.up = True
    await promoted(loop)


async def drifted_and_restored(loop: Loop) -> None:
    await loop.until(lambda: loop.phase == "Progressing")
    loop.mesh.set_weights(70, 30)
    await loop.cycle()
    ask(loop, Verb.RESUME, weights=DriftAnswer.RESTORE)
    await promoted(loop)


async def asked_this_and_that(loop: Loop) -> None:
    loop.mesh.set_policy(approval=[50], schedule={"freeze": ["2020-01-01"]})
    await loop.cycle()
    ask(loop, Verb.PAUSE, id="00000001")
    await loop.cycle()
    ask(loop, Verb.RESUME, id="00000002")
    await loop.until(lambda: bool(loop.state.awaits))
    ask(loop, Verb.ABORT, id="00000003")
    await loop.until(lambda: loop.phase == "RolledBack")
    ask(loop, Verb.RETRY, id="00000004")
    await loop.until(lambda: loop.phase == "Progressing")
    ask(loop, Verb.PROMOTE, id="00000005", force=True)
    await promoted(loop)


async def edited_in_flight(loop: Loop) -> None:
    await loop.until(lambda: loop.phase == "Progressing")
    loop.mesh.set_policy(target={"virtualService": "no-such"})
    await loop.cycle()
    loop.mesh.set_policy(target={"virtualService": "helloworld"}, onDelete="keep")
    await promoted(loop)


async def released_twice(loop: Loop) -> None:
    await rolled_back(loop)
    loop.mesh.release("v2", "v2.2", Behaviour())
    await promoted(loop)


STORIES = [
    promoted, rolled_back, blind_for_a_while, drifted_and_restored, asked_this_and_that, edited_in_flight, released_twice,
]  # fmt: skip

Story = Callable[[Loop], Awaitable[None]]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_what_was_decided_is_decided_again(story: Story) -> None:
    loop = Loop(quick_mesh())
    sink = logged(loop)
    await story(loop)
    replay = again(sink.lines)
    followed = replay.policies[KEY]
    assert followed.state is not None
    assert (followed.state.phase.value, followed.state.weights) == (loop.phase, loop.state.weights)
    assert followed.state.judged == loop.state.judged


@pytest.mark.parametrize(
    ("story", "every"), [(promoted, 2), (promoted, 5), (rolled_back, 2), (asked_this_and_that, 3)],
    ids=lambda value: getattr(value, "__name__", value),
)  # fmt: skip
async def test_over_restarts_in_the_middle_as_well(story: Story, every: int) -> None:
    loop = Loop(quick_mesh())
    sink = logged(loop)
    cycle = loop.cycle
    count = 0

    async def cycle_and_die(*, scrape: bool = True) -> None:
        nonlocal count
        await cycle(scrape=scrape)
        count += 1
        if count % every == 0:
            loop.life = None

    loop.cycle = cycle_and_die  # type: ignore[method-assign]
    await story(loop)
    replay = again(sink.lines)
    assert sum("state" in json.loads(line) for line in sink.lines) > 1, "each life says what it begins with"
    assert replay.beginnings == []


@pytest.mark.parametrize("seed", range(6))
async def test_kills_and_faults_at_any_call_leave_a_log_that_holds(seed: int) -> None:
    rng = random.Random(seed)
    loop = Loop(quick_mesh(seed=seed))
    sink = logged(loop)
    faults = [ClusterUnavailable("restarting"), OutcomeUnknown("no answer"), None]
    for _ in range(6):
        fault = rng.choice(faults)
        due = loop.calls + rng.randint(1, 60)
        if fault is None:
            loop.decide = kill_at(due, rng.choice(["before", "after"]))
        else:
            loop.decide = lambda n, m, now, due=due, fault=fault: (  # type: ignore[misc]
                fault if n >= due and m in {"patch", "replace_status"} and now == "before" and n < due + 4 else None
            )
        for _ in range(3):
            await loop.cycle()
    loop.decide = lambda *_: None
    await loop.until(lambda: loop.phase == "Promoted")
    replay = again(sink.lines)
    followed = replay.policies[KEY].state
    assert followed is not None, f"seed {seed}"
    assert followed.phase.value == "Promoted", f"seed {seed}"


async def test_steps_split_by_capacity_are_decided_again() -> None:
    mesh = ScalingMesh(requests_per_s=400.0)
    mesh.set_policy(stages=STAGES, judge=JUDGE)
    loop = Loop(mesh)
    sink = logged(loop)
    await loop.until(lambda: loop.phase == "Promoted", cycles=400)
    again(sink.lines)
    reasons = {json.loads(line)["decided"]["reason"] for line in sink.lines}
    assert "CapacityPart" in reasons, reasons


async def test_a_rollback_in_parts_is_decided_again() -> None:
    loop = scaling_loop()
    sink = logged(loop)
    await shrunk(loop)
    loop.mesh.behaviours["v2"] = Behaviour(error_rate=0.2)
    await loop.until(lambda: loop.phase == "RolledBack", cycles=160)
    back = loop.weights[loop.weights.index(90) + 1 :]
    assert len(back) > 1, "step by step"
    again(sink.lines)


async def test_users_of_two_stages_and_those_who_passed_the_first_are_judged_again() -> None:
    mesh = focused()
    mesh.set_policy(judge=mesh.read(POLICY)["spec"]["judge"] | {"limits": {"errorRate": "5%"}})
    loop = Loop(mesh)
    sink = logged(loop)
    await loop.until(lambda: mesh.weights_of(PRIMARY)["v2"] == 10)
    mesh.audiences[INSIDERS].behaviours["v2"] = Behaviour(error_rate=0.3)
    await loop.until(lambda: loop.phase == "RolledBack")
    assert any("passed" in json.loads(line) for line in sink.lines)
    again(sink.lines)


async def test_what_becomes_of_a_deleted_policys_canary_is_logged() -> None:
    loop = Loop(quick_mesh())
    sink = logged(loop)
    await loop.until(lambda: loop.phase == "Progressing")
    assert loop.life is not None
    assert await loop.life.reconciler.abandon()
    assert loop.mesh.weights()["v2"] == 0
    followed = again(sink.lines).policies[KEY].state
    assert followed is not None
    assert (followed.phase.value, followed.reason) == ("RolledBack", "PolicyDeleted")


async def test_it_says_who_and_with_which_policy() -> None:
    loop = Loop(quick_mesh())
    sink = logged(loop)
    await loop.until(lambda: loop.phase == "Progressing")
    ask(loop, Verb.ABORT)
    await loop.until(lambda: loop.phase == "RolledBack")
    lines = [json.loads(line) for line in sink.lines]
    request = next(line["facts"]["request"] for line in lines if "request" in line.get("facts", {}))
    assert (request["by"], request["verb"], request["why"]) == ("alice", "abort", "odd logs")
    assert lines[0]["facts"]["hash"]
    assert lines[0]["facts"]["spec"] == loop.mesh.read(POLICY)["spec"]
    interval = next(line["judged"]["intervals"][0] for line in lines if line.get("judged", {}).get("intervals"))
    assert {"pods", "requests", "errors", "latency_counts"} <= interval["canary"].keys()


async def test_a_turn_that_changes_nothing_has_no_line() -> None:
    loop = Loop(quick_mesh())
    sink = logged(loop)
    await promoted(loop)
    for _ in range(3):
        await loop.cycle()
    known = len(sink.lines)
    for _ in range(10):
        await loop.cycle()
    assert len(sink.lines) == known


# --- a log that was touched -------------------------------------------------------------------------------------------


async def a_log() -> list[str]:
    loop = Loop(quick_mesh())
    sink = logged(loop)
    await promoted(loop)
    assert len(sink.lines) > 10
    return sink.lines


async def test_a_changed_or_a_missing_line_shows() -> None:
    lines = await a_log()
    for touched in (
        [*lines[:5], lines[5].replace('"at":"2', '"at":"3'), *lines[6:]],
        [*lines[:5], *lines[6:]],
        [*lines[:4], lines[5], lines[4], *lines[6:]],
    ):
        with pytest.raises(BadLog, match=r"line [5-7] does not go on from the one before"):
            DecisionReplay().play(touched)


async def test_counts_that_were_changed_lead_elsewhere_though_the_chain_was_made_anew() -> None:
    lines = [json.loads(line) for line in await a_log()]
    for line in lines:
        for interval in line.get("judged", {}).get("intervals", []):
            interval["canary"]["errors"] = interval["canary"]["requests"] // 2
    forged: list[str] = []
    for line in lines:
        line["prev"] = digest(forged[-1]) if forged else ""
        forged.append(json.dumps(line, ensure_ascii=False, separators=(",", ":")))
    difference = DecisionReplay().play(forged)
    assert isinstance(difference, Difference)
    assert difference.policy == KEY
    assert (difference.name, difference.logged) == ("verdict", "PROVEN")


async def test_the_command_says_all_the_same_or_where_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = await a_log()
    file = tmp_path / "decisions.jsonl"
    file.write_text("\n".join(lines) + "\n")
    assert replay_decisions(str(file)) == 0
    assert "All decided as before." in capsys.readouterr().out
    last = json.loads(lines[-1])
    last["decided"]["weights"] = [50.0]
    file.write_text("\n".join([*lines[:-1], json.dumps(last)]) + "\n")
    assert replay_decisions(str(file)) == 1
    assert f"line {len(lines)}: {KEY} at" in capsys.readouterr().out
    file.write_text("no log\n{}\n")
    assert replay_decisions(str(file)) == 2
    assert replay_decisions(str(tmp_path / "none")) == 2
    assert "name a decision log" in capsys.readouterr().err


# --- files ------------------------------------------------------------------------------------------------------------


async def test_files_are_bounded_and_each_can_be_decided_again_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "decisions.jsonl"
    loop = Loop(quick_mesh())
    decisions = Decisions(DecisionFile(file, most_bytes=24_000, kept=2))
    loop.decisions = lambda: decisions
    loop.mesh.set_policy(judge={"dwell": {"min": "3m", "max": "10m"}, "bake": "3m", "latency": {"warmUp": "10s"}})
    await promoted(loop)
    files = [file, tmp_path / "decisions.jsonl.1", tmp_path / "decisions.jsonl.2"]
    assert not (tmp_path / "decisions.jsonl.3").exists()
    assert all(path.stat().st_size < 40_000 for path in files)
    for path in files:
        assert again(path.read_text().splitlines()).policies[KEY].decisions > 3
    whole = [line for path in reversed(files) for line in path.read_text().splitlines()]
    again(whole)


async def test_the_next_process_goes_on_with_the_chain_also_after_a_line_that_was_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "decisions.jsonl"
    loop = Loop(quick_mesh())
    loop.decisions = lambda: Decisions(DecisionFile(file, most_bytes=1 << 20, kept=1))
    await loop.until(lambda: loop.phase == "Progressing")
    whole = file.read_text()
    file.write_text(whole[:-40])
    cut = len(whole.splitlines())
    loop.life = None
    await promoted(loop)
    replay = again(file.read_text().splitlines())
    assert (replay.cut_off, replay.beginnings) == ([cut], [])


async def test_a_log_that_cannot_be_written_stops_nothing_and_goes_on_whole() -> None:
    loop = Loop(quick_mesh())
    sink = logged(loop)
    await loop.until(lambda: loop.phase == "Progressing")
    sink.broken = True
    await loop.cycle()
    sink.broken = False
    await promoted(loop)
    again(sink.lines)


async def test_an_hour_of_a_rollout_takes_less_than_a_megabyte() -> None:
    loop = Loop(quick_mesh())
    sink = logged(loop)
    loop.mesh.set_policy(judge={"dwell": {"min": "20m", "max": "30m"}, "bake": "1m", "latency": {"warmUp": "10s"}})
    for _ in range(6):
        await loop.cycle()
    begun, began_s = len(sink.lines), loop.mesh.clock.now_s()
    for _ in range(36):
        await loop.cycle()
    size = sum(len(line.encode()) + 1 for line in sink.lines[begun:])
    seconds = loop.mesh.clock.now_s() - began_s
    assert seconds / (len(sink.lines) - begun) == SCRAPE_S, "a line for each interval"
    assert 3600 * size / seconds < 1e6, f"{3600 * size / seconds:,.0f} bytes an hour at an interval of {SCRAPE_S:g} s"
