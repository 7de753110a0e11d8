from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from analyzer.adapters.alert_text import render_text
from analyzer.adapters.logsink import LogSink
from analyzer.ports import Alert, Severity
from tests.alerts import PROMOTED, ROLLBACK_BLOCKED, ROLLED_BACK


def test_a_rollback_reads_as_a_person_at_night_needs_it() -> None:
    assert (
        render_text(ROLLED_BACK)
        == """\
PAGE · shop/helloworld · RolledBack
helloworld: v2 rolled back at 10 %, it fails more requests than v1

What happened
  Canary v2 (revision 7d9c5f4b6d) of VirtualService shop/helloworld was harmful at weight 10.

Evidence
  errors   canary 5.13 % [3.06 %, 7.98 %] of 351 requests, stable 0.10 % [0.02 %, 0.28 %] of 3,162
  evidence 1 in 410 that a harmless release looks like this; judged for 16 s in 8 intervals

What Serin did
  All traffic is back on stable v1 since 03:32:07 UTC, 18 s after the canary's first request.

What to do
  Mend v2 and deploy it again; a new revision is judged by itself. To judge this one again:
  serin retry -n shop helloworld

2025-11-23 03:32:07 UTC"""
    )


def test_a_blocked_rollback_gives_the_command_on_one_line() -> None:
    text = render_text(ROLLBACK_BLOCKED)
    assert (
        text
        == """\
PAGE · shop/helloworld · RollbackBlocked
helloworld: v2 is harmful and CANNOT be rolled back, users still get it

What happened
  Canary v2 still has weight 10: the API server refuses the write that takes it to zero.

Evidence
  admission webhook validation.istio.io denied the request: connection refused (7 attempts in 42 s)

What Serin did
  Serin keeps trying, every 10 s.

What to do
  Take the traffic back by hand now:
  kubectl -n shop patch virtualservice helloworld --type=json \
-p='[{"op":"replace","path":"/spec/http/0/route/0/weight","value":100},\
{"op":"replace","path":"/spec/http/0/route/1/weight","value":0}]'

2025-11-23 03:32:07 UTC"""
    )


def test_a_promotion_asks_for_nothing() -> None:
    assert (
        render_text(PROMOTED)
        == """\
RESOLVED · shop/helloworld · Promoted
helloworld: v2 promoted to 100 %

What happened
  Canary v2 (revision 7d9c5f4b6d) has all traffic of VirtualService shop/helloworld.

Evidence
  errors   canary 0.10 % [0.07 %, 0.14 %] of 41,210 requests, stable 0.10 % [0.08 %, 0.13 %] of 60,340

What Serin did
  Weights went 1, 5, 10, 25, 50, 100 in 8 min 40 s.

What to do
  Nothing. This is for your information.

2025-11-23 03:32:07 UTC"""
    )


def test_a_part_that_is_empty_has_no_heading() -> None:
    text = render_text(replace(ROLLED_BACK, evidence="", done=" \n"))
    assert "Evidence" not in text
    assert "What Serin did" not in text


def test_texts_from_elsewhere_cannot_steer_a_terminal() -> None:
    text = render_text(replace(ROLLED_BACK, title="v2\x1b[2J", evidence="error:\r\x07 503"))
    assert not {"\x1b", "\r", "\x07"} & set(text)


@pytest.mark.parametrize(
    ("alert", "level"),
    [
        (ROLLED_BACK, "error"),
        (replace(ROLLED_BACK, severity=Severity.NOTICE), "warning"),
        (replace(ROLLED_BACK, severity=Severity.INFO), "info"),
        (replace(ROLLED_BACK, resolved=True), "info"),
    ],
    ids=["page", "notice", "info", "resolved"],
)
async def test_an_alert_is_one_log_line_at_the_level_of_its_severity(alert: Alert, level: str) -> None:
    with capture_logs() as lines:
        await LogSink().send(alert)
    (line,) = lines
    assert line["log_level"] == level
    assert line["event"] == alert.title
    assert [line[part] for part in ("what", "evidence", "done", "to_do")] == [
        alert.what,
        alert.evidence,
        alert.done,
        alert.to_do,
    ]
