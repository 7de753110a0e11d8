"""Regular expressions in matches: those that Istio refuses, and those that match fewer users, or more, than they seem to.

Envoy asks whether the *whole* value matches (RE2, full match). A browser sends all its cookies in one header, in no order that
can be relied on: `a=b; email=…; c=d`, with a space behind each `;`.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from analyzer.policy import mesh
from analyzer.policy.findings import Code, Path, Problem, Severity, Subject
from analyzer.policy.mesh import Object

MAX_CHARACTERS: Final = 1024
"""Istio takes no longer expression."""

_REFUSED: Final = {
    "(?=": "look-ahead", "(?!": "look-ahead", "(?<=": "look-behind", "(?<!": "look-behind", "(?>": "an atomic group",
    "(?(": "a condition",
}  # fmt: skip
_BACK_REFERENCE: Final = re.compile(r"\\[1-9]|\(\?P=")
_SYNTAX: Final = ("missing )", "unbalanced parenthesis", "unterminated", "nothing to repeat", "multiple repeat")

_LEAD: Final = re.compile(r"\((?:\?:)?\.\*\??;(?P<space>[^()]*)\)\?")
_TAIL: Final = re.compile(r"\((?:\?:)?;\.\*\??\)\?$")
_BARE_COOKIE: Final = re.compile(r"\(?(?:\?:)?[A-Za-z0-9_.\\-]+=")
_OPEN_END: Final = (".*", ".*?", ".*)", ".*)?", ".*?)", ".*?)?")
_WORD: Final = re.compile(r"[A-Za-z0-9]")


class Expression(NamedTuple):
    """A regular expression of a match."""

    text: str
    header: str  # lower case; empty for anything but a header
    path: Path


def check_expressions(virtual_service: Object) -> Iterator[Problem]:
    """Check all regular expressions in the matches of http routes."""
    for expression in _expressions(virtual_service):
        refused = _refusal(expression.text)
        if refused is not None:
            yield _problem(Code.REGEX_REFUSED, *refused, expression.path, severity=Severity.ERROR)
        else:
            yield from _traps(expression)


def _expressions(virtual_service: Object) -> Iterator[Expression]:
    for index, route in enumerate(mesh.get_list(virtual_service, "spec", "http")):
        for at, match in enumerate(mesh.get_list(route, "match")):
            here: Path = ("spec", "http", index, "match", at)
            for name in ("uri", "authority", "scheme", "method"):
                if isinstance(text := mesh.get_map(match, name).get("regex"), str):
                    yield Expression(text, "", (*here, name, "regex"))
            for group in ("headers", "withoutHeaders", "queryParams"):
                for name, condition in mesh.get_map(match, group).items():
                    if isinstance(text := mesh.get_map(condition).get("regex"), str):
                        header = "" if group == "queryParams" else str(name).lower()
                        yield Expression(text, header, (*here, group, name, "regex"))


def _refusal(text: str) -> tuple[str, str] | None:
    """Say why istiod's webhook would refuse the VirtualService, and what to write."""
    if len(text) > MAX_CHARACTERS:
        message = f"the expression has {len(text)} characters; Istio takes no more than {MAX_CHARACTERS}"
        return message, "match a header that a proxy or the login sets, instead of a list of people"
    plain = re.sub(r"\\\\", "", text)
    for mark, what in _REFUSED.items():
        if mark in plain:
            return f"`{mark}` is {what}, which RE2 does not have: Istio refuses it", "write it as separate matches"
    if (found := _BACK_REFERENCE.search(plain)) is not None:
        return f"`{found[0]}` is a back reference, which RE2 does not have: Istio refuses it", "write what it repeats"
    try:
        re.compile(text)
    except re.error as error:
        if error.msg.startswith(_SYNTAX) and text != "*":  # Istio: "any value"
            return f"this is no regular expression: {error.msg}", "correct it"
    return None


def _traps(expression: Expression) -> Iterator[Problem]:
    better = mend(expression.text, header=expression.header)
    instead = f"write `{better}`"
    for code, message in _complaints(expression.text, header=expression.header):
        yield _problem(code, message, instead, expression.path)


def _complaints(text: str, *, header: str) -> Iterator[tuple[Code, str]]:
    if header == "cookie":
        body, lead, _ = _parts(text)
        if lead is not None and not lead["space"]:
            message = "this misses a cookie that is not the first: browsers write a space after each `;`"
            yield Code.REGEX_COOKIE_SPACE, message
        elif lead is None and _BARE_COOKIE.match(body):
            message = "this matches where the cookie is the first one only: all cookies are in one header"
            yield Code.REGEX_COOKIE_ALONE, message
        elif mend(text, header=header) != _escape_dots(text):
            message = "this matches where the cookie is the last one only: all cookies are in one header"
            yield Code.REGEX_COOKIE_ALONE, message
    if _escape_dots(text) != text:
        yield Code.REGEX_DOT, "an unescaped dot matches any character"


def mend(text: str, *, header: str) -> str:
    """Write an expression without its traps."""
    text = _escape_dots(text)
    if header != "cookie":
        return text
    body, lead, tail = _parts(text)
    if lead is None and not _BARE_COOKIE.match(body):  # it begins with something that takes what comes before
        closed = "=" not in body or tail is not None or body.endswith(_OPEN_END)
        return text if closed else f"^{_group(body) if '|' in body else body}(;.*)?$"
    core = _group(body[lead.end() if lead is not None else 0 : tail.start() if tail is not None else len(body)])
    begin = lead[0] if lead is not None and lead["space"] else r"(.*?;\s*)?"
    end = tail[0] if tail is not None else "" if body.endswith(_OPEN_END) else "(;.*)?"
    return f"^{begin}{core}{end}$"


def _group(text: str) -> str:
    """Put an expression in parentheses, unless it is in a pair of its own."""
    inner = text[1:-1]
    try:
        re.compile(inner)
    except re.error:
        inner = ""
    return text if text[:1] == "(" and text[-1:] == ")" and inner else f"({text})"


def _parts(text: str) -> tuple[str, re.Match[str] | None, re.Match[str] | None]:
    """Part an expression for cookies: without its anchors; what takes the cookies before; what takes those behind."""
    body = text.removeprefix("^").removesuffix("$")
    return body, _LEAD.match(body), _TAIL.search(body)


def _escape_dots(text: str) -> str:
    """Escape the dots that stand between two letters or digits, as those of names do; not in classes, nor repeated."""
    made: list[str] = []
    in_class = False
    at = 0
    while at < len(text):
        character = text[at]
        if character == "\\":
            made.append(text[at : at + 2])
            at += 2
            continue
        if in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
        elif character == "." and _WORD.match(text[at - 1 : at]) and _WORD.match(text[at + 1 : at + 2]):
            character = r"\."
        made.append(character)
        at += 1
    return "".join(made)


def _problem(code: Code, message: str, mend_: str, path: Path, severity: Severity = Severity.WARNING) -> Problem:
    return Problem(code, message, mend_, path, Subject.VIRTUAL_SERVICE, severity)
