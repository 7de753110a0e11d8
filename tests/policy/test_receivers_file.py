"""The operator's file of receivers: every mistake has a place and a mend, and no message repeats a value."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from analyzer.policy.findings import Finding
from analyzer.policy.load import load_documents
from analyzer.policy.receivers import Receivers, allows
from analyzer.policy.receivers_file import read_receivers
from analyzer.policy.schema import Draft, receivers_schema

ROOT = Path(__file__).parents[2]
PUBLISHED: dict[Draft, str] = {"draft-07": "receivers.schema.json", "2020-12": "receivers.2020-12.schema.json"}
VALIDATORS: dict[Draft, Any] = {"draft-07": Draft7Validator, "2020-12": Draft202012Validator}
DRAFTS = pytest.mark.parametrize("draft", VALIDATORS)

SECRET = "hunter2-hunter2"
GOOD = """
default: [oncall]
allow: [events.pagerduty.com, "*.slack.com", smtp.shop.example, alertmanager.monitoring]
links: {dashboard: "https://grafana.example/d/serin?var-namespace={namespace}&var-policy={name}"}
receivers:
  oncall:
    pagerduty: {routingKeyFile: pagerduty-key}
  team:
    slack: {urlEnv: SLACK_URL}
    atLeast: notice
  central:
    alertmanager: {urls: ["http://alertmanager.monitoring:9093"], labels: {team: shop}}
  audit:
    webhook: {urlFile: audit-url, signingKeyFile: audit-key, body: {text: "${urgency}: ${title}"}}
  mail:
    email: {to: [oncall@shop.example], from: serin@shop.example, server: "smtp.shop.example:587", username: s, passwordFile: p}
"""


def test_a_file_with_all_kinds_is_read() -> None:
    read = read_receivers(GOOD, file="receivers.yaml")
    assert isinstance(read, Receivers), read
    lowest = {name: receiver.lowest for name, receiver in read.receivers.items()}
    assert lowest == {"oncall": "page", "team": "notice", "central": "notice", "audit": "info", "mail": "info"}


def one(kind: str) -> str:
    return f"receivers:\n  oncall:\n    {kind}\n"


@pytest.mark.parametrize(
    ("text", "place", "message", "mend"),
    [
        ("", "1:1", "the file is empty", "write `receivers:`"),
        ("- a\n", "1:1", "the file is no mapping", "begin with `receivers:`"),
        ("receivers: {}\n", "1:12", "there is no receiver", "add one"),
        (one("pagerduty: {}"), "3:5", "there is no `routingKey`", "`routingKeyFile: …` or `routingKeyEnv: …`"),
        (one(f"pagerduty: {{routingKey: {SECRET}}}"), "3:17", "no field `routingKey`", "did you mean `routingKey"),
        (one(f"slack: {{url: {SECRET}}}"), "3:13", "no field `url`", "there are: urlFile, urlEnv|did you mean `url"),
        (one("slack: {urlFile: a, urlEnv: B}"), "3:25", "are both there", "keep one"),
        (one("slak: {urlFile: a}"), "3:5", "no field `slak`", "did you mean `slack`?"),
        (one("slack: {urlFile: a}\n    webhook: {url: 'http://h/'}"), "3:5", "exactly one kind, and here are 2", "write one"),
        (one("atLeast: page"), "3:5", "exactly one kind, and here are 0", "write one"),
        (one(f"slack: {{urlFile: a}}\n    atLeast: {SECRET}"), "4:14", "none of the values", "page, notice, info"),
        (one(f"slack: {{urlFile: [{SECRET}]}}"), "3:22", "a string is wanted", "in quotes"),
        (one(f"webhook: {{url: 'ftp://{SECRET}/'}}"), "3:20", "not a URL", "write http://HOST"),
        (one(f"webhook: {{url: 'http://u:{SECRET}@h/'}}"), "3:20", "a user or password is in the URL", "`urlFile: …`"),
        (one(f"webhook: {{url: 'http://h/', body: {{a: '${{{'nope'}}}'}}}}"), "3:43", "no such placeholder", "title"),
        (one("webhook: {url: 'http://h/', body: {a: [1, '5 $']}}"), "3:47", "begins no placeholder", "`$$`"),
        (one(f"webhook: {{url: 'http://h/', headers: {{Authorization: {SECRET}}}}}"), "3:58", "Serin sets", "tokenFile"),
        (one("email: {to: [], from: a@b, server: 's:25'}"), "3:17", "the list is empty", "at least one"),
        (one("email: {to: [a], from: a@b, server: 's:25'}"), "3:18", "no e-mail address", "write it like"),
        (one("email: {to: [a@b], from: a@b, server: s}"), "3:43", "no HOST:PORT", "587"),
        (one("email: {to: [a@b], from: a@b, server: 's:25', username: u}"), "3:5", "go together", "passwordFile"),
        (
            one("email: {to: [a@b], from: a@b, server: 's:25', username: u, passwordFile: p, security: none}"),
            "3:91", "for all to read", "starttls or tls",
        ),
        (one("webhook: {url: 'http://h/'}") + "allow: [g]\n", "3:20", "`allow` does not have the host h", "add it"),
        (one("apprise: {urlFile: a}") + "allow: [g]\n", "3:5", "`allow` cannot be kept", "remove"),
        (one("webhook: {url: 'http://h/'}") + "default: [onkall]\n", "4:11", "no receiver has this name", "oncall, log"),
        (one("webhook: {url: 'http://h/'}") + "links: {a: 'https://x/{zone}'}\n", "4:9", "does not exist", "{namespace}"),
        (one("webhook: {url: 'http://h/'}") + "links: {a: 'javascript:x'}\n", "4:9", "not a URL", "write http"),
        ("receivers: {log: {slack: {urlFile: a}}}\n", "1:13", "is the log itself", "another name"),
        (f"receivers:\n  a: *{SECRET}\n", "2:6", "this is not YAML", "correct"),
        ("receivers:\n  a: {slack: {urlFile: a}}\n  a: {slack: {urlFile: b}}\n", "3:3", "is there already", "keep one"),
        (one(f"slack: !{SECRET} {{urlFile: a}}"), "3:12", "tag", "correct"),
    ],
)  # fmt: skip
def test_every_mistake_has_its_place_and_its_mend(text: str, place: str, message: str, mend: str) -> None:
    findings = read_receivers(text, file="r.yaml")
    assert isinstance(findings, list), "it was taken"
    found = [f"{f.line}:{f.column} {f.message}; {f.mend}" for f in findings]
    assert any(message in each and any(m in each for m in mend.split("|")) for each in found), found
    line = place.split(":", maxsplit=1)[0]
    assert any(each.startswith(f"{line}:") for each in found), found
    assert SECRET not in " ".join(found)


def test_findings_are_of_the_file_that_was_named() -> None:
    findings = read_receivers("receivers: {}", file="secrets/receivers.yaml")
    assert isinstance(findings, list)
    assert {type(each) for each in findings} == {Finding}
    assert findings[0].file == "secrets/receivers.yaml"


@pytest.mark.parametrize(
    ("host", "allowed"),
    [("a.example", True), ("A.Example.", True), ("x.b.example", True), ("b.example", False), ("xb.example", False)],
)
def test_the_list_of_hosts_is_exact_but_for_a_leading_star(host: str, *, allowed: bool) -> None:
    assert allows(("a.example", "*.b.example"), host) is allowed
    assert allows(None, host)


# --- for editors ------------------------------------------------------------------------------------------------------


def documented() -> str:
    """Take the example out of the operator's page."""
    found = re.search(r"```yaml\n(.*?)```", (ROOT / "deploy" / "receivers.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def errors(text: str, draft: Draft) -> list[str]:
    (document,) = load_documents(text, file="r.yaml").documents
    return [error.message for error in VALIDATORS[draft](receivers_schema(draft)).iter_errors(document.value)]


@DRAFTS
def test_the_published_schema_is_current_and_one(draft: Draft) -> None:
    schema = receivers_schema(draft)
    VALIDATORS[draft].check_schema(schema)
    expected = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    published = ROOT / "policies" / "schema" / PUBLISHED[draft]
    assert published.read_text(encoding="utf-8") == expected, f"serin schema --receivers --draft {draft} > {published}"


def test_the_documented_example_is_read_and_leads_editors_to_the_schema() -> None:
    text = documented()
    assert isinstance(read_receivers(text, file="receivers.md"), Receivers)
    place = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert ROOT / place == ROOT / "policies" / "schema" / PUBLISHED["draft-07"]


TAKEN = {
    "documented": documented(),
    "all kinds": GOOD,
    "least": one("apprise: {urlEnv: A}"),
    "any body": one("webhook: {url: 'http://h/', body: {a: [1, {b: null}]}}"),
    "only the log by default": one("slack: {urlFile: a}") + "default: [log]\n",
}
REFUSED = {
    "empty": "receivers: {}",
    "nothing": "{}",
    "unknown kind": one("slak: {urlFile: a}"),
    "unknown field": one(f"pagerduty: {{routingKey: {SECRET}}}"),
    "two kinds": one("slack: {urlFile: a}\n    webhook: {url: 'http://h/'}"),
    "no kind": one("atLeast: page"),
    "no secret": one("pagerduty: {}"),
    "two places of a secret": one("slack: {urlFile: a, urlEnv: B}"),
    "unknown severity": one("slack: {urlFile: a}\n    atLeast: all"),
    "wrong type": one("slack: {urlFile: [a]}"),
    "nobody": one("email: {to: [], from: a@b, server: 's:25'}"),
    "no server": one("email: {to: [a@b], from: a@b}"),
    "no name": "receivers: {'On Call': {slack: {urlFile: a}}}",
}


@DRAFTS
@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN)
def test_the_schema_takes_what_the_model_takes(text: str, draft: Draft) -> None:
    assert isinstance(read_receivers(text, file="r.yaml"), Receivers)
    assert errors(text, draft) == []


@DRAFTS
@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_the_schema_refuses_what_an_editor_can_tell_and_the_model_refuses_too(text: str, draft: Draft) -> None:
    assert isinstance(read_receivers(text, file="r.yaml"), list)
    assert errors(text, draft)
