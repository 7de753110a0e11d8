"""The annotation by which a person asks: what is written reads back, and what is not exactly right is refused with a reason."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.core.rollout.model import Problem
from analyzer.core.rollout.requests import DriftAnswer, Request, Verb
from analyzer.policy.requests import LONGEST_WHY, parse_request, render_request, request_id

PAUSE = Request(id="00c0ffee", verb=Verb.PAUSE, by="alice@example.com", why="", at="2026-11-28T13:00:00Z")
FIELDS = json.loads(render_request(replace(PAUSE, rollout="v2@3f6c", why="odd logs")))


def test_it_is_compact_and_leaves_out_what_was_not_said() -> None:
    assert render_request(PAUSE) == (
        '{"id":"00c0ffee","verb":"pause","by":"alice@example.com","why":"","at":"2026-11-28T13:00:00Z"}'
    )


@given(
    why=st.text(st.characters(categories=("L", "N", "P", "S")), max_size=LONGEST_WHY // 4),
    request=st.sampled_from(
        [
            PAUSE,
            replace(PAUSE, verb=Verb.RESUME, weights=DriftAnswer.RESTORE),
            replace(PAUSE, verb=Verb.PROMOTE, rollout="v2@3f6c", force=True),
            replace(PAUSE, verb=Verb.ABORT, rollout="v2@3f6c"),
        ]
    ),
)
def test_what_is_written_reads_back(why: str, request: Request) -> None:
    request = replace(request, why=why)
    assert parse_request(render_request(request)) == request
    assert request_id(render_request(request)) == request.id


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"verb": "stop"}, "`verb` is not one of pause, resume, retry, promote, abort"),
        ({"verb": ["pause"]}, "`verb` is not one of"),
        ({"id": "XYZ"}, "`id` is not 8 to 64 hexadecimal digits"),
        ({"id": 7}, "`id` is not a string"),
        ({"by": " "}, "`by` is empty"),
        ({"by": None}, "`by` is not a string"),
        ({"why": "two\nlines"}, "characters that cannot be printed"),
        ({"why": "x" * (LONGEST_WHY + 1)}, "1001 characters, at most 1000"),
        ({"at": "yesterday"}, "`at` is not a time"),
        ({"at": "2026-13-28T13:00:00Z"}, "`at` is not a time"),
        ({"rollout": "v2"}, "not like `v2@3f6c…`"),
        ({"verb": "abort", "rollout": ""}, "abort needs `rollout`"),
        ({"force": True}, "`force` goes with promote only, not with pause"),
        ({"verb": "promote", "force": "yes"}, "`force` is true or false"),
        ({"verb": "resume", "weights": "keep"}, "`weights` is not one of adopt, restore"),
        ({"until": "noon"}, "there is no field `until`"),
    ],
)
def test_what_is_not_right_is_refused_with_the_field(changes: dict[str, object], said: str) -> None:
    problem = parse_request(json.dumps(FIELDS | changes))
    assert isinstance(problem, Problem)
    assert said in problem.message


@pytest.mark.parametrize("name", ["id", "verb", "by", "why", "at"])
def test_a_missing_field_is_named(name: str) -> None:
    problem = parse_request(json.dumps({key: value for key, value in FIELDS.items() if key != name}))
    assert isinstance(problem, Problem)
    assert f"`{name}` is missing" in problem.message


@given(st.text() | st.sampled_from(["", "[]", "null", "NaN", "[" * 4000, '{"id":"a","id":"b"}', "{" * 5000, "\ud800"]))
def test_whatever_stands_there_is_answered(text: str) -> None:
    assert isinstance(parse_request(text), Problem)
    assert request_id(text) == request_id(text)
