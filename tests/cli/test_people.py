"""`status`, `explain` and the requests, on policies that the real loop left in an in-memory cluster.

The texts are golden: read them as the person who was woken up. `SERIN_GOLDEN=write` writes them anew.
"""

import asyncio
import json
import os
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from analyzer.adapters.clock import SystemClock
from analyzer.adapters.memory import MemoryCluster
from analyzer.cli.people.document import Format
from analyzer.cli.people.explain import explanation, know, read
from analyzer.cli.people.explained import explanation_document
from analyzer.cli.people.policies import ago, look, near
from analyzer.cli.people.reach import Exit, Place, Stopped
from analyzer.cli.people.screen import Screen, printable, wants_colour
from analyzer.cli.people.status import change_line, show, status_lines
from analyzer.errors import ClusterUnavailable, ObjectMissing, ReadRefused
from analyzer.ports import CANARY_POLICY, Object, Ref
from tests.app.model import NAMESPACE
from tests.cli.scenes import SCENES, connector, err, left_in, out, screen, with_policies
from tests.fakes import FaultyCluster, ManualClock

GOLDEN = Path(__file__).parent / "golden"


def check(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("SERIN_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("scene", SCENES)
async def test_an_explanation_is_what_somebody_needs_at_three_in_the_morning(scene: str) -> None:
    obj, now_s = await left_in(scene)
    known = know(obj, now_s=now_s)
    check(f"explain-{scene}.txt", "\n".join(explanation(known, screen(width=100))) + "\n")
    document = explanation_document(known)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    for narrow in (40, 60):
        lines = explanation(known, screen(width=narrow))
        too_long = [line for line in lines if len(line) > narrow and " " in line.strip() and "kubectl" not in line]
        assert not [line for line in too_long if not line.startswith("  serin ")], too_long


async def test_the_table_shows_every_phase_and_fits_where_it_can() -> None:
    left = {scene: await left_in(scene) for scene in SCENES}
    seen = [replace(look(obj), name=scene.replace("_", "-")) for scene, (obj, _) in left.items()]
    now_s = max(at_s for _, at_s in left.values())
    texts = [
        status_lines(seen, screen(), now_s=now_s),
        status_lines(seen, screen(), now_s=now_s, everywhere=True, wide=True),
        status_lines(seen, screen(width=60), now_s=now_s, everywhere=True, wide=True),
        [change_line(one, now_s=now_s) for one in seen],
    ]
    check("status.txt", "\n\n".join("\n".join(lines) for lines in texts) + "\n")
    for width in range(40, 200, 7):
        lines = status_lines(seen, screen(width=width), now_s=now_s, everywhere=True, wide=True)
        assert max(map(len, lines)) <= width
        assert len(lines) == 1 + len(seen)


# --- status, as a command ---


async def shop(**made: str) -> MemoryCluster:
    """A cluster with policies in the scenes that are asked for: name to scene."""
    clock = ManualClock()
    cluster = MemoryCluster(clock)
    for name, scene in made.items():
        obj, _ = await left_in(scene)
        obj["metadata"]["name"] = name
        with_policies(cluster, obj)
    return cluster


async def test_status_for_machines_has_the_same_fields_whatever_the_phase() -> None:
    cluster = await shop(a="unseen", b="progressing", c="drift")
    documents = []
    for output, parse in ((Format.JSON, json.loads), (Format.YAML, yaml.load)):
        shown = screen(width=40, colour=True)
        options: dict[str, Any] = {} if parse is json.loads else {"Loader": yaml.CSafeLoader}
        place = Place(everywhere=True)
        code = await show(
            place, None, screen=shown, clock=ManualClock(), output=output, watch=False, connector=connector(cluster)
        )
        assert (code, err(shown)) == (Exit.OK, "")
        documents.append(parse(out(shown), **options))
    assert documents[0] == documents[1]
    rows = documents[0]["policies"]
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert len({tuple(row) for row in rows}) == 1
    assert [row["phase"] for row in rows] == [None, "Progressing", "Progressing"]
    assert rows[2]["hold"]["reason"] == "Drift"
    assert rows[1]["since"] == "2023-11-14T22:13:35Z"


async def test_without_policies_it_says_where_it_looked() -> None:
    shown = screen()
    cluster = MemoryCluster(ManualClock())
    code = await show(
        Place(), None, screen=shown, clock=ManualClock(), output=Format.TABLE, watch=False, connector=connector(cluster)
    )
    assert (code, out(shown)) == (Exit.OK, "")
    assert err(shown) == "There are no policies in namespace helloworld. `-A` looks in all of them.\n"


async def test_watching_tells_each_change_once_and_survives_a_lost_watch() -> None:
    cluster = await shop(a="progressing", b="drift")
    shown = screen()
    ref = Ref(CANARY_POLICY, NAMESPACE, "a")
    watching = show(
        Place(), None, screen=shown, clock=SystemClock(), output=Format.TABLE, watch=True, connector=connector(cluster)
    )
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(watching)
        await told(shown, "/a Progressing")
        status = (await cluster.get(ref))["status"]
        cluster.set_status(ref, {**status, "message": "Watches: 40 s."})  # counts seconds: no news
        cluster.close_watches()
        cluster.compact()
        cluster.set_status(ref, {**status, "phase": "Promoted", "weight": 100, "message": "Everybody."})
        await told(shown, "/a Promoted 100 %")
        cluster.delete(ref)
        await told(shown, "/a was deleted")
        task.cancel()
    assert [line.split(" ", 1)[1] for line in out(shown).splitlines() if "/a " in line] == [
        "helloworld/a Progressing 10 % INCONCLUSIVE 1:10 " + status["message"],
        "helloworld/a Promoted 100 % INCONCLUSIVE 1:10 Everybody.",
        "helloworld/a was deleted",
    ]
    assert out(shown).count("/b ") == 1


async def told(shown: Screen, text: str) -> None:
    async with asyncio.timeout(20):
        while text not in out(shown) + err(shown):  # noqa: ASYNC110  it is a stream of text
            await asyncio.sleep(0.01)


# --- what is wrong, and how to mend it ---


async def stopped(what: Coroutine[Any, Any, object]) -> Stopped:
    with pytest.raises(Stopped) as caught:
        await what
    assert "\n" not in caught.value.what + caught.value.mend
    return caught.value


async def test_a_name_that_is_not_there_is_answered_with_near_ones_and_other_namespaces() -> None:
    cluster = await shop(cart="progressing", carts="unseen", payments="unseen")
    elsewhere, _ = await left_in("unseen")
    elsewhere["metadata"] = {"name": "card", "namespace": "bank"}
    with_policies(cluster, elsewhere)
    wrong = await stopped(read(Place(), "crat", connector(cluster)))
    assert wrong.what == "there is no policy crat in namespace helloworld"
    assert "cart -n helloworld" in wrong.mend
    other = await stopped(read(Place(), "card", connector(cluster)))
    assert "card -n bank" in other.mend
    assert (other.code, wrong.code) == (Exit.USAGE, Exit.USAGE)
    assert (await stopped(read(Place(), "zzz", connector(cluster)))).mend == "`serin status -A` lists all there are"


@pytest.mark.parametrize(
    ("error", "code", "what", "mend"),
    [
        (
            ObjectMissing("list: 404: the API server does not serve this kind; is its CRD installed?"),
            2,
            "CRD",
            "deploy/crd",
        ),
        (ReadRefused("list: 403: forbidden"), 2, "not allowed to list policies", "auth can-i list"),
        (ClusterUnavailable("the API server cannot be reached"), 4, "cannot be reached", "prod"),
        (ClusterUnavailable("list: 401: Unauthorized; the token is wrong"), 4, "401", "log in again"),
        (TimeoutError(), 4, "no answer in time", "right context"),
    ],
)
async def test_every_failure_says_what_it_is_and_how_to_mend_it(
    error: Exception, code: int, what: str, mend: str
) -> None:
    cluster = FaultyCluster(MemoryCluster(ManualClock()), lambda _n, _m, phase: error if phase == "before" else None)
    wrong = await stopped(
        show(
            Place(),
            None,
            screen=screen(),
            clock=ManualClock(),
            output=Format.TABLE,
            watch=False,
            connector=connector(cluster),
        )
    )
    assert wrong.code == code
    assert what in wrong.what
    assert mend in wrong.mend


async def test_a_status_from_another_version_is_said_to_be_that() -> None:
    obj, _ = await left_in("progressing")
    obj["status"]["checkpoint"]["judge"] = "9." + obj["status"]["checkpoint"]["judge"][2:]
    with pytest.raises(Stopped, match="another version of Serin"):
        know(obj, now_s=0.0)
    obj["status"]["phase"] = "Dancing"
    with pytest.raises(Stopped, match="another version of Serin"):
        know(obj, now_s=0.0)
    assert status_lines([look(obj)], screen(), now_s=0.0)[1].split()[2] == "Dancing"
    obj["spec"]["future"] = True
    with pytest.raises(Stopped, match="no policy that this version of serin reads"):
        know(obj, now_s=0.0)


@pytest.mark.parametrize("status", [{}, {"phase": 3, "weight": "ten", "hold": [], "since": "yesterday", "history": {}}])
async def test_the_table_shows_a_row_whatever_is_in_the_status(status: Object) -> None:
    obj = {"metadata": {"name": "a", "namespace": "b"}, "spec": {}, "status": status}
    assert status_lines([look(obj)], screen(), now_s=0.0)[1].split() == ["a", *"------"]


async def test_words_from_the_cluster_cannot_draw_on_the_terminal() -> None:
    obj, _ = await left_in("invalid")
    obj["status"] |= {"message": "gone\x1b[2Jwild\r\nnext", "reason": "\x1b]0;title\x07"}
    obj["status"]["history"] = [{"at": "2023-11-14T22:13:30Z", "reason": "X", "message": "\x1b[31mred"}]
    text = "\n".join(explanation(know(obj, now_s=0.0), screen())) + "\n".join(
        status_lines([look(obj)], screen(), now_s=0.0)
    )
    assert "\x1b" not in text
    assert "\r" not in text


def test_colours_are_for_terminals_and_for_those_who_ask() -> None:
    assert wants_colour({}, terminal=True)
    assert not wants_colour({}, terminal=False)
    assert not wants_colour({"TERM": "dumb"}, terminal=True)
    assert not wants_colour({"NO_COLOR": "1", "FORCE_COLOR": "1"}, terminal=True)
    assert wants_colour({"FORCE_COLOR": "1"}, terminal=False)
    assert wants_colour({"NO_COLOR": "", "TERM": "xterm"}, terminal=True)
    assert screen(colour=True).paint("x", "bold", "red") == "\x1b[1;31mx\x1b[0m"
    assert screen().paint("x", "bold", "red") == "x"
    assert printable("naïve – 10 %\t\x00") == "naïve – 10 % �"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (192, "3m12s"),
        (3600, "60m"),
        (7500, "125m"),
        (11000, "3h3m"),
        (90000, "25h"),
        (1e6, "11d"),
    ],
)
def test_ages_are_written_as_kubectl_does(seconds: float, text: str) -> None:
    assert ago(1000.0, now_s=1000.0 + seconds) == text


async def test_near_names_come_from_here_first() -> None:
    objects = [
        {"metadata": {"name": n, "namespace": s}, "spec": {}} for s, n in (("b", "cart"), ("a", "cart"), ("a", "x"))
    ]
    assert near("cart", objects, namespace="b") == ["b/cart", "a/cart"]
