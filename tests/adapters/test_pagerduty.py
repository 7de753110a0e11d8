"""PagerDuty's Events API v2, played by a server that refuses what the published schema does not have."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, TypeAdapter, ValidationError
from yarl import URL

from analyzer.adapters.pagerduty import PagerDutySink, events
from analyzer.adapters.post import Poster
from analyzer.adapters.secret import Secret
from analyzer.errors import AlertUndelivered, TerminalError
from analyzer.ports import Alert, Severity
from tests.adapters.receiver import Handler, hangs, hangs_up, receiver, says
from tests.alerts import PROMOTED, ROLLED_BACK

KEY = "0123456789abcdef0123456789abcdef"


class Published(BaseModel):
    """Of the public OpenAPI document (`createV2Event`), with the limits that the documentation gives in words."""

    model_config = ConfigDict(extra="forbid")


class Link(Published):
    href: HttpUrl
    text: str | None = None


class Payload(Published):
    summary: Annotated[str, Field(min_length=1, max_length=1024)]
    timestamp: datetime | None = None
    severity: Literal["critical", "warning", "error", "info"]
    source: Annotated[str, Field(min_length=1)]
    component: str | None = None
    group: str | None = None
    class_: Annotated[str | None, Field(alias="class")] = None
    custom_details: dict[str, Any] | None = None


class Trigger(Published):
    routing_key: Annotated[str, Field(min_length=32, max_length=32)]
    event_action: Literal["trigger"]
    dedup_key: Annotated[str | None, Field(max_length=255)] = None
    client: str | None = None
    client_url: HttpUrl | None = None
    links: list[Link] | None = None
    payload: Payload


class Resolve(Published):
    routing_key: Annotated[str, Field(min_length=32, max_length=32)]
    event_action: Literal["acknowledge", "resolve"]
    dedup_key: Annotated[str, Field(max_length=255)]


EVENT: TypeAdapter[Trigger | Resolve] = TypeAdapter(Annotated[Trigger | Resolve, Field(discriminator="event_action")])
LARGEST = 512 * 1024


async def enqueue(request: web.Request) -> web.Response:
    """Answer as the API does."""
    body = await request.read()
    try:
        EVENT.validate_json(body)
    except ValidationError as error:
        return web.json_response({"status": "invalid event", "errors": [str(error)]}, status=400)
    if request.path != "/v2/enqueue" or len(body) > LARGEST:
        return web.json_response({"status": "invalid event"}, status=400)
    return web.json_response({"status": "success", "message": "Event processed"}, status=202)


async def played(tmp_path: Path, *alerts: Alert, answer: Handler = enqueue, key: str = KEY) -> list[dict[str, Any]]:
    """Send alerts to a service that answers so, and give what it got."""
    key_file = tmp_path / "key"
    key_file.write_text(key)
    async with receiver(answer) as got:
        sink = PagerDutySink(
            Poster("oncall", timeout_s=0.5), routing_key=Secret(key_file), url=URL(got.url).with_path("/v2/enqueue")
        )
        for alert in alerts:
            await sink.send(alert)
    return got.bodies


def standing(reason: str, severity: Severity, **changes: Any) -> Alert:
    return replace(ROLLED_BACK, reason=reason, severity=severity, lasts=True, **changes)


async def test_a_page_is_a_critical_incident_with_evidence_command_and_links(tmp_path: Path) -> None:
    page = replace(ROLLED_BACK, command="kubectl logs …", links={"runbook": "https://serin.dev/runbook#rolledback"})
    (event,) = await played(tmp_path, page)
    assert event["payload"]["severity"] == "critical"
    assert event["payload"]["summary"] == ROLLED_BACK.title
    assert event["payload"]["custom_details"]["evidence"] == ROLLED_BACK.evidence
    assert event["payload"]["custom_details"]["command"] == "kubectl logs …"
    assert event["links"] == [{"href": "https://serin.dev/runbook#rolledback", "text": "runbook"}]


@pytest.mark.parametrize(("severity", "theirs"), [(Severity.NOTICE, "warning"), (Severity.INFO, "info")])
async def test_severities_are_theirs(tmp_path: Path, severity: Severity, theirs: str) -> None:
    (event,) = await played(tmp_path, replace(PROMOTED, resolved=False, severity=severity))
    assert event["payload"]["severity"] == theirs


async def test_all_pages_of_a_rollout_are_one_incident_that_ends_with_the_last_condition(tmp_path: Path) -> None:
    blind = standing("Blind", Severity.PAGE)
    lasts = standing("SampleRatioLasts", Severity.PAGE, still=("Blind",))
    sent = await played(
        tmp_path,
        blind,
        lasts,
        replace(blind, resolved=True, still=("SampleRatioLasts",)),
        replace(lasts, resolved=True, still=()),
    )
    assert [event["event_action"] for event in sent] == ["trigger", "trigger", "resolve", "resolve"]
    key = ROLLED_BACK.dedup_key
    assert [event["dedup_key"] for event in sent] == [key, key, key, f"{key}/notice"]


async def test_a_page_is_never_folded_into_the_open_incident_of_a_notice(tmp_path: Path) -> None:
    drift, page = standing("Drift", Severity.NOTICE), replace(ROLLED_BACK, ends=("Drift",))
    sent = await played(tmp_path, drift, page)
    assert sent[0]["dedup_key"] != sent[1]["dedup_key"]
    assert (sent[2]["event_action"], sent[2]["dedup_key"]) == ("resolve", sent[0]["dedup_key"])


async def test_the_longest_of_everything_is_within_their_limits(tmp_path: Path) -> None:
    long = replace(
        ROLLED_BACK, title="t" * 5_000, what="w" * 900_000, evidence="é" * 300_000, dedup_key=f"serin/{'k' * 300}/v2"
    )
    (event,) = await played(tmp_path, long)
    assert event["payload"]["summary"].endswith("…")
    assert len(event["dedup_key"]) <= 255
    assert events(long)[0]["dedup_key"] != events(replace(long, dedup_key=f"serin/{'k' * 300}/v3"))[0]["dedup_key"]


async def test_when_they_are_busy_their_wish_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(AlertUndelivered) as error:
        await played(tmp_path, ROLLED_BACK, answer=says(429, Retry_After="30"))
    assert error.value.retry_after_s == 30


@pytest.mark.parametrize("answer", [says(500), hangs, hangs_up], ids=["500", "hangs", "hangs up"])
async def test_their_troubles_are_worth_another_try(tmp_path: Path, answer: Handler) -> None:
    with pytest.raises(AlertUndelivered):
        await played(tmp_path, ROLLED_BACK, answer=answer)


async def test_a_key_that_they_do_not_know_is_final_and_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(TerminalError) as error:
        await played(tmp_path, ROLLED_BACK, key="wr0ng-k3y-wr0ng-k3y")
    assert "answered 400" in str(error.value)
    assert "wr0ng" not in str(error.value)


async def test_a_rotated_key_is_used_at_once(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    async with receiver(enqueue) as got:
        sink = PagerDutySink(Poster("oncall"), routing_key=Secret(key_file), url=URL(got.url).with_path("/v2/enqueue"))
        for key in (KEY, KEY[::-1]):
            key_file.write_text(f"{key}\n")
            await sink.send(ROLLED_BACK)
    assert [body["routing_key"] for body in got.bodies] == [KEY, KEY[::-1]]
