"""Which requests a match takes, and routes that none come to."""

import itertools
import random
import re
from typing import Any

import pytest

from analyzer.policy.findings import Code, Severity
from analyzer.policy.matches import check_matches, check_stages_reached, covers

Match = dict[str, Any]
PREFIX, EXACT, REGEX = ({kind: "/a"} for kind in ("prefix", "exact", "regex"))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({}, {"uri": EXACT}, True),
        ({"name": "all"}, {"uri": EXACT}, True),
        ({"uri": {"prefix": "/"}}, {"uri": REGEX}, True),
        ({"uri": {"prefix": "/"}}, {}, True),
        ({"uri": {"regex": ".*"}}, {}, True),
        ({"uri": PREFIX}, {"uri": {"prefix": "/ab"}}, True),
        ({"uri": PREFIX}, {"uri": {"exact": "/a/b"}}, True),
        ({"uri": PREFIX}, {"uri": {"prefix": "/"}}, False),
        ({"uri": PREFIX}, {"uri": REGEX}, False),
        ({"uri": PREFIX}, {}, False),
        ({"uri": EXACT}, {"uri": EXACT}, True),
        ({"uri": EXACT}, {"uri": PREFIX}, False),
        ({"uri": REGEX}, {"uri": REGEX}, True),
        ({"uri": REGEX}, {"uri": {"regex": "/b"}}, False),
        ({"uri": PREFIX}, {"uri": PREFIX, "headers": {"a": {"exact": "b"}}}, True),
        ({"uri": PREFIX, "headers": {"a": {"exact": "b"}}}, {"uri": PREFIX}, False),
        ({"headers": {"A": {"exact": "b"}}}, {"headers": {"a": {"exact": "b"}}}, True),
        ({"headers": {"a": {"exact": "B"}}}, {"headers": {"a": {"exact": "b"}}}, False),
        ({"headers": {"a": {}}}, {"headers": {"a": {"exact": "b"}}}, True),
        ({"headers": {"a": {"regex": "*"}}}, {"headers": {"a": {}}}, True),
        ({"headers": {"a": {}}}, {"headers": {"b": {}}}, False),
        ({"headers": {"a": {"regex": ".*"}}}, {}, False),
        ({"queryParams": {"A": {"exact": "b"}}}, {"queryParams": {"a": {"exact": "b"}}}, False),
        ({"withoutHeaders": {"a": {}}}, {"withoutHeaders": {"a": {}}}, True),
        ({"withoutHeaders": {"a": {"prefix": "x"}}}, {"withoutHeaders": {"a": {"prefix": "xy"}}}, False),
        ({}, {"withoutHeaders": {"a": {}}}, True),
        ({"uri": PREFIX}, {"uri": PREFIX, "ignoreUriCase": True}, False),
        ({"uri": PREFIX, "ignoreUriCase": True}, {"uri": PREFIX}, True),
        ({"port": 80}, {"port": 80}, True),
        ({"port": 80}, {}, False),
        ({"method": {"exact": "GET"}}, {"method": {"exact": "GET"}, "uri": EXACT}, True),
        ({"sourceLabels": {"app": "x"}}, {"sourceLabels": {"app": "x", "v": "1"}}, True),
        ({"sourceLabels": {"app": "x"}}, {}, False),
        ({"sourceNamespace": "a"}, {"sourceNamespace": "b"}, False),
        ({"gateways": ["mesh", "gw"]}, {"gateways": ["gw"]}, True),
        ({"gateways": ["gw"]}, {}, False),
        ({"somethingNew": 1}, {"somethingNew": 1}, False),
    ],
    ids=str,
)
def test_a_match_takes_all_that_another_takes(one: Match, other: Match, expected: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert covers(one, other) is expected


def holds(condition: Match | None, value: str | None, *, fold: bool = False) -> bool:
    """Evaluate a condition as Envoy does."""
    if condition is None:
        return True
    if value is None:
        return False
    if not condition or condition.get("regex") == "*":
        return True
    ((kind, wanted),) = condition.items()
    if kind == "regex":
        return re.fullmatch(wanted, value) is not None
    if fold:
        value, wanted = value.lower(), wanted.lower()
    return value == wanted if kind == "exact" else value.startswith(wanted)


def takes(match: Match, request: dict[str, str | None]) -> bool:
    return (
        holds(match.get("uri"), request["uri"], fold=bool(match.get("ignoreUriCase")))
        and all(holds(c, request[name.lower()]) for name, c in match.get("headers", {}).items())
        and not any(holds(c, request[name]) for name, c in match.get("withoutHeaders", {}).items())
    )


@pytest.mark.parametrize("seed", range(5))
def test_no_request_contradicts_what_is_said_to_be_covered(seed: int) -> None:
    rng = random.Random(seed)
    values = ["/", "/a", "/A", "/ab", "/b"]
    kinds = ["exact", "prefix", "regex"]

    def condition(*, header: bool) -> Match:
        if header and rng.random() < 0.2:
            return rng.choice([{}, {"regex": "*"}])
        return {rng.choice(kinds): rng.choice([*values, "/.*"])}

    def match() -> Match:
        made: Match = {}
        if rng.random() < 0.7:
            made["uri"] = condition(header=False)
            made |= {"ignoreUriCase": True} if rng.random() < 0.3 else {}
        for group in ("headers", "withoutHeaders"):
            if rng.random() < 0.4:
                made[group] = {rng.choice("xy"): condition(header=True)}
        return made

    covered = 0
    requests = [{"uri": uri, "x": x, "y": y} for uri, x, y in itertools.product(values, (None, *values), (None, "/a"))]
    for _ in range(4000):
        one, other = match(), match()
        if covers(one, other):
            covered += 1
            missed = [request for request in requests if takes(other, request) and not takes(one, request)]
            assert not missed, (seed, one, other, missed)
    assert covered > 100


# --- routes -----------------------------------------------------------------------------------------------------------

A, B = {"headers": {"x-group": {"exact": "a"}}}, {"headers": {"x-group": {"exact": "b"}}}


def service(*routes: Any) -> dict[str, Any]:
    return {"spec": {"http": [{"name": f"r{i}", **({"match": m} if m else {})} for i, m in enumerate(routes)]}}


def unreachable(*routes: Any, moved: list[set[int]] | None = None) -> dict[int, Severity]:
    found = check_matches(service(*routes), moved or [])
    assert {problem.code for problem in found} <= {Code.ROUTE_UNREACHABLE}
    return {int(problem.path[2]): problem.severity for problem in found}


def test_nothing_comes_behind_a_route_that_takes_everything() -> None:
    assert set(unreachable([A], None, [B], None)) == {2, 3}
    assert set(unreachable([A], [{}], [B])) == {2}


def test_each_match_of_the_later_route_must_be_taken() -> None:
    assert set(unreachable([A], [A, B])) == set()
    assert set(unreachable([A, B], [B, A])) == {1}
    assert set(unreachable([A], [B], [A, B])) == set()  # each by another route: that is not looked for


def test_it_is_an_error_where_it_is_all_that_a_stage_moves() -> None:
    assert unreachable(None, [A], moved=[{1}, {0}]) == {1: Severity.ERROR}
    assert unreachable(None, [A], moved=[{0, 1}]) == {1: Severity.WARNING}
    assert unreachable(None, [A], moved=[{0}]) == {1: Severity.WARNING}


def test_the_daemon_is_told_of_the_errors_alone() -> None:
    routes = service(None, [A], [B])
    assert check_stages_reached(routes, [{0}]) == []
    assert check_stages_reached(routes, [{0, 1}]) == []
    assert [problem.path[2] for problem in check_stages_reached(routes, [{1}, {0}])] == [1]


def test_the_same_match_twice_is_said_so() -> None:
    (problem,) = check_matches(service([A], [A]), [])
    assert problem.message == "no request comes to route `r1`: route `r0`, which is before it, has the same match"
    (problem,) = check_matches(service(None, [A]), [])
    assert (
        problem.message == "no request comes to route `r1`: route `r0`, which is before it, takes all that it matches"
    )
    assert problem.mend == "write it before route `r0`"


def test_a_route_that_delegates_leaves_what_its_delegate_does_not_match() -> None:
    made = service(None, None)
    made["spec"]["http"][0]["delegate"] = {"name": "x"}
    assert check_matches(made, []) == []
