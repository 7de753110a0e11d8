"""Regular expressions in matches. Envoy matches the whole value (RE2): Python's `fullmatch` is the same for these."""

import re
from typing import Any

import pytest

from analyzer.policy.expressions import MAX_CHARACTERS, check_expressions, mend
from analyzer.policy.findings import Code, Problem, Severity

PUBLISHED = r"^(.*?;)?(email=[^;]*@some-company-name.com)(;.*)?$"
MENDED = r"^(.*?;\s*)?(email=[^;]*@some-company-name\.com)(;.*)?$"
ALL = ("{}", "a=b; {}", "a=b;{}", "{}; c=d", "{};c=d", "a=b; c=d; {}; e=f")
"""How a cookie may come among others."""


def found(regex: str, *, header: str = "cookie", group: str = "headers") -> list[Problem]:
    http: list[Any] = [{"match": [{"uri": {"prefix": "/"}}, {group: {header: {"regex": regex}}}]}]
    return list(check_expressions({"spec": {"http": http}}))


def codes(regex: str, **more: str) -> list[Code]:
    return [problem.code for problem in found(regex, **more)]


@pytest.mark.parametrize(
    ("regex", "expected"),
    [
        (PUBLISHED, [Code.REGEX_COOKIE_SPACE, Code.REGEX_DOT]),
        (MENDED, []),
        (r"^(.*?; )?(user=jason)(;.*)?$", []),
        (r"^(.*;)?user=jason(;.*)?$", [Code.REGEX_COOKIE_SPACE]),
        (r"^(?:.*?;)?(user=jason)(;.*)?$", [Code.REGEX_COOKIE_SPACE]),
        (r"user=jason", [Code.REGEX_COOKIE_ALONE]),
        (r"^user=jason$", [Code.REGEX_COOKIE_ALONE]),
        (r"^(user=[^;]*)(;.*)?$", [Code.REGEX_COOKIE_ALONE]),
        (r".*user=jason", [Code.REGEX_COOKIE_ALONE]),
        (r"^(.*?;\s*)?(user=jason)$", [Code.REGEX_COOKIE_ALONE]),
        (r".*user=jason.*", []),
        (r"^.*?(user=jason)(;.*)?$", []),
        (r"*", []),  # Istio: any value
        (r".*", []),
    ],
)
def test_what_is_said_of_an_expression_for_cookies(regex: str, expected: list[Code]) -> None:
    assert codes(regex) == expected
    better = mend(regex, header="cookie")
    assert codes(better) == []
    for problem in found(regex):
        assert problem.severity is Severity.WARNING
        assert f"`{better}`" in problem.mend


@pytest.mark.parametrize(
    ("regex", "cookie"),
    [
        (PUBLISHED, "email=me@some-company-name.com"),
        (r"^(.*;)?user=jason(;.*)?$", "user=jason"),
        (r"user=jason", "user=jason"),
        (r"^(user=[^;]*)(;.*)?$", "user=x"),
        (r".*user=jason", "user=jason"),
        (r"^(.*?;\s*)?(user=jason|user=mary)$", "user=mary"),
        (r"user=jason.*", "user=jason"),
        (r"(user=jason)|(user=mary)", "user=mary"),
    ],
)
def test_the_mended_expression_finds_the_cookie_wherever_it_is(regex: str, cookie: str) -> None:
    better = re.compile(mend(regex, header="cookie"))
    assert re.fullmatch(regex, cookie)
    assert all(better.fullmatch(form.format(cookie)) for form in ALL), better.pattern
    assert not better.fullmatch("a=b; c=d")


def test_the_published_expression_is_mended_to_the_one_that_the_example_recommends() -> None:
    assert mend(PUBLISHED, header="cookie") == MENDED
    missed = "a=b; email=me@some-company-name.com"
    assert not re.fullmatch(PUBLISHED, missed)
    assert re.fullmatch(MENDED, missed)
    assert not re.fullmatch(MENDED, "email=me@some-company-nameXcom")
    assert not re.fullmatch(MENDED, "a=b; x-email=me@some-company-name.com")


@pytest.mark.parametrize(
    ("regex", "better"),
    [
        (r"v1.2.3", r"v1\.2\.3"),
        (r"[^.]+@example.org", r"[^.]+@example\.org"),
        (r"a\\.b", None),  # a backslash, and then any character
        (r"a\.b", None),
        (r"a.*b", None),
        (r"a.+", None),
        (r"[a.b]c", None),
        (r".", None),
    ],
)
def test_a_dot_between_letters_is_one_that_was_meant(regex: str, better: str | None) -> None:
    assert mend(regex, header="x-user") == (better or regex)
    assert codes(regex, header="x-user") == ([Code.REGEX_DOT] if better else [])


def test_the_header_of_cookies_is_known_in_any_case() -> None:
    assert codes("user=jason", header="Cookie") == [Code.REGEX_COOKIE_ALONE]
    assert codes("user=jason", header="x-user") == []
    assert codes("user=jason", header="cookie", group="queryParams") == []
    assert codes("user=jason", header="cookie", group="withoutHeaders") == [Code.REGEX_COOKIE_ALONE]


@pytest.mark.parametrize(
    ("regex", "said"),
    [
        ("(?=a)b", "`(?=` is look-ahead"),
        ("(?!a)b", "`(?!` is look-ahead"),
        ("(?<!a)b", "`(?<!` is look-behind"),
        (r"(a)\1", r"`\1` is a back reference"),
        ("(a", "missing )"),
        ("a)", "unbalanced parenthesis"),
        ("[a", "unterminated"),
        ("+a", "nothing to repeat"),
        ("a" * (MAX_CHARACTERS + 1), "has 1025 characters"),
    ],
)
def test_what_istio_refuses_is_an_error(regex: str, said: str) -> None:
    (problem,) = found(regex, header="x-user")
    assert (problem.code, problem.severity) == (Code.REGEX_REFUSED, Severity.ERROR)
    assert said in problem.message


@pytest.mark.parametrize("regex", [r"(?i)jason", r"(?P<a>x)", r"\\1", "a" * MAX_CHARACTERS, r"\pL+", r"(?:a|b)"])
def test_what_istio_takes_is_none(regex: str) -> None:
    assert Code.REGEX_REFUSED not in codes(regex, header="x-user")


@pytest.mark.parametrize("name", ["uri", "authority", "method", "scheme"])
def test_expressions_are_found_in_every_condition(name: str) -> None:
    (problem,) = check_expressions({"spec": {"http": [{}, {"match": [{name: {"regex": "(a"}}]}]}})
    assert problem.path == ("spec", "http", 1, "match", 0, name, "regex")
