"""Slack's incoming webhook, played by a server that refuses what the published limits of Block Kit do not allow."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from analyzer.adapters.post import Poster
from analyzer.adapters.secret import Secret
from analyzer.adapters.slack import SlackSink
from analyzer.errors import AlertUndelivered, TerminalError
from analyzer.ports import Alert
from tests.adapters.receiver import Handler, receiver, says
from tests.alerts import PROMOTED, ROLLBACK_BLOCKED, ROLLED_BACK

PATH = "T00000000/B00000000/s3cr3ts3cr3ts3cr3t"


class Published(BaseModel):
    """Of the public reference of Block Kit."""

    model_config = ConfigDict(extra="forbid")


class PlainText(Published):
    type: Literal["plain_text"]
    text: Annotated[str, Field(min_length=1, max_length=3000)]
    emoji: bool | None = None


class HeaderText(PlainText):
    text: Annotated[str, Field(min_length=1, max_length=150)]


class Mrkdwn(Published):
    type: Literal["mrkdwn"]
    text: Annotated[str, Field(min_length=1, max_length=3000)]


class Header(Published):
    type: Literal["header"]
    text: HeaderText


class Section(Published):
    type: Literal["section"]
    text: Mrkdwn | PlainText


class Context(Published):
    type: Literal["context"]
    elements: Annotated[list[Mrkdwn | PlainText], Field(min_length=1, max_length=10)]


class Message(Published):
    text: Annotated[str, Field(max_length=40_000)]
    blocks: Annotated[list[Header | Section | Context], Field(max_length=50)]


BLOCKS_MAX = 13_000
"""Of all blocks together: not in the reference, but what the service really takes (slackapi/bolt-js issue 2509)."""


async def take(request: web.Request) -> web.Response:
    """Answer as the service does."""
    if not request.path.endswith(PATH):
        return web.Response(status=403, text="invalid_token")
    try:
        message = Message.model_validate_json(await request.read())
    except ValidationError as error:
        return web.Response(status=400, text=f"invalid_payload {error}")
    if sum(len(block.model_dump_json()) for block in message.blocks) > BLOCKS_MAX + 1_000:
        return web.Response(status=400, text="msg_blocks_too_long")
    return web.Response(text="ok")


async def played(tmp_path: Path, alert: Alert, *, answer: Handler = take, path: str = PATH) -> dict[str, Any]:
    url_file = tmp_path / "url"
    async with receiver(answer) as got:
        url_file.write_text(f"{got.url}/services/{path}\n")
        await SlackSink(Poster("team"), url=Secret(url_file)).send(alert)
    return got.bodies[0]


def texts(message: dict[str, Any]) -> list[str]:
    return [block["text"]["text"] for block in message["blocks"] if "text" in block]


async def test_a_page_begins_with_the_headline_and_has_the_command_to_copy(tmp_path: Path) -> None:
    alert = replace(
        ROLLBACK_BLOCKED, command="kubectl -n shop patch <x> && true", links={"runbook": "https://r.example/?a&b"}
    )
    message = await played(tmp_path, alert)
    headline, *parts, command = texts(message)
    assert headline == f":rotating_light: PAGE: {ROLLBACK_BLOCKED.title}"
    assert any(part.startswith("*Evidence*\n") for part in parts)
    assert command == "```kubectl -n shop patch &lt;x&gt; &amp;&amp; true```"
    assert "<https://r.example/?a&amp;b|runbook>" in message["blocks"][-1]["elements"][0]["text"]


async def test_the_end_of_something_is_recognised_at_a_glance(tmp_path: Path) -> None:
    assert texts(await played(tmp_path, PROMOTED))[0].startswith(":white_check_mark: RESOLVED: ")


async def test_no_text_from_elsewhere_mentions_or_links_anybody(tmp_path: Path) -> None:
    message = await played(tmp_path, replace(ROLLED_BACK, what="<!channel> <https://evil.example|click>"))
    assert "<!channel>" not in str(message)
    assert "&lt;!channel&gt;" in str(message)


async def test_the_longest_of_everything_is_within_their_limits(tmp_path: Path) -> None:
    long = "x" * 100_000
    await played(tmp_path, replace(ROLLED_BACK, title=long, what=long, evidence=long, done=long, to_do=long))


@pytest.mark.parametrize(("status", "error"), [(429, AlertUndelivered), (500, AlertUndelivered), (404, TerminalError)])
async def test_busy_is_tried_again_and_gone_is_final(tmp_path: Path, status: int, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        await played(tmp_path, ROLLED_BACK, answer=says(status, f"no_service {PATH}", Retry_After="1"))
    assert PATH[-10:] not in str(raised.value)


@pytest.mark.parametrize("content", ["not a url", "https://", "http://169.254.169.254/s3cr3ts3cr3t"])
async def test_a_url_that_cannot_work_is_not_repeated(tmp_path: Path, content: str) -> None:
    url_file = tmp_path / "url"
    url_file.write_text(content)
    with pytest.raises(AlertUndelivered) as raised:
        await SlackSink(Poster("team"), url=Secret(url_file)).send(ROLLED_BACK)
    assert "s3cr3t" not in str(raised.value)
