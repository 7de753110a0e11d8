import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from analyzer.adapters.addresses import forbidden
from analyzer.adapters.payload import payload
from analyzer.adapters.post import Poster, retry_after_s
from analyzer.adapters.secret import Secret
from analyzer.adapters.webhook import WebhookSink, signature
from analyzer.errors import AlertUndelivered, TerminalError
from tests.adapters.receiver import Handler, Naming, hangs, hangs_up, hangs_within_the_answer, receiver, says
from tests.alerts import PROMOTED, ROLLED_BACK


async def test_an_alert_arrives_as_the_documented_object() -> None:
    async with receiver(says(200)) as got:
        sink = WebhookSink(Poster("oncall"), url=got.url)
        await sink.send(ROLLED_BACK)
    (body,) = got.bodies
    (request,) = got.requests
    assert request.method == "POST"
    assert request.content_type == "application/json"
    assert request.headers["User-Agent"].startswith("serin/")
    documented = WebhookSink.__doc__ or ""
    assert [key for key in body if f"`{key}`" not in documented] == []
    assert body["at"] == "2025-11-23T03:32:07.250Z"
    assert body["severity"] == "page"
    assert body["resolved"] is False
    assert body["details"]["canary"] == {"requests": 351, "errors": 18}
    assert body["text"].startswith("PAGE · shop/helloworld · RolledBack\n")


async def test_the_same_alert_has_the_same_key_each_time_it_is_sent() -> None:
    async with receiver(says(204)) as got:
        sink = WebhookSink(Poster("oncall"), url=got.url)
        for alert in (ROLLED_BACK, ROLLED_BACK, replace(ROLLED_BACK, resolved=True)):
            await sink.send(alert)
    first, again, resolved = (request.headers["Idempotency-Key"] for request in got.requests)
    assert first == again == got.bodies[0]["id"]
    assert resolved != first


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_an_overloaded_or_broken_receiver_is_worth_another_try(status: int) -> None:
    async with receiver(says(status, "busy")) as got:
        sink = WebhookSink(Poster("oncall"), url=got.url)
        with pytest.raises(
            AlertUndelivered, match=rf"oncall \(http://127.0.0.1:\d+\) answered {status}: busy$"
        ) as error:
            await sink.send(ROLLED_BACK)
    assert error.value.retry_after_s is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
async def test_a_refusal_is_final(status: int) -> None:
    async with receiver(says(status, "no such\nrouting key")) as got:
        sink = WebhookSink(Poster("oncall"), url=got.url)
        with pytest.raises(TerminalError, match=f"answered {status}: no such routing key$"):
            await sink.send(ROLLED_BACK)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT", "Date": "Sun, 06 Nov 1994 08:49:07 GMT"}, 30),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:07 GMT", "Date": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}, None),
        ({"Retry-After": "soon", "Date": "Sun, 06 Nov 1994 08:49:37 GMT"}, None),
        ({"Retry-After": "-1"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_retry_after_is_read_in_both_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


@pytest.mark.parametrize("status", [429, 503])
async def test_the_receivers_own_wish_is_passed_on(status: int) -> None:
    async with receiver(says(status, Retry_After="120")) as got:
        sink = WebhookSink(Poster("oncall"), url=got.url)
        with pytest.raises(AlertUndelivered) as error:
            await sink.send(ROLLED_BACK)
    assert error.value.retry_after_s == 120


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    async with receiver(says(200)) as other, receiver(says(status, Location=other.url)) as got:
        sink = WebhookSink(Poster("oncall"), url=got.url)
        with pytest.raises(TerminalError, match=f"answered {status}, a redirect: configure the URL where it ends"):
            await sink.send(ROLLED_BACK)
        assert other.requests == []


@pytest.mark.parametrize("answer", [hangs, hangs_within_the_answer])
async def test_a_hanging_receiver_is_left_in_time(answer: Handler) -> None:
    async with receiver(answer) as got:
        sink = WebhookSink(Poster("oncall", timeout_s=0.2), url=got.url)
        with pytest.raises(AlertUndelivered, match=r"did not answer within 0\.2 s"):
            await sink.send(ROLLED_BACK)


async def test_a_receiver_that_hangs_up_is_worth_another_try() -> None:
    async with receiver(hangs_up) as got:
        sink = WebhookSink(Poster("oncall"), url=got.url)
        with pytest.raises(AlertUndelivered, match="cannot be reached: Server"):
            await sink.send(ROLLED_BACK)
        got.answer = says(200)
        await sink.send(ROLLED_BACK)


async def test_nobody_listening_is_worth_another_try() -> None:
    sink = WebhookSink(Poster("oncall"), url=f"http://127.0.0.1:{unused_port()}/")
    with pytest.raises(AlertUndelivered, match=r"cannot be reached: (Connect call failed|Connection refused)"):
        await sink.send(ROLLED_BACK)


async def test_a_bearer_token_is_read_anew_for_each_alert(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    async with receiver(says(200)) as got:
        sink = WebhookSink(Poster("oncall"), url=got.url, token=Secret(token_file))
        with pytest.raises(AlertUndelivered, match="token cannot be read: No such file"):
            await sink.send(ROLLED_BACK)
        token_file.write_text("first-token\n")
        await sink.send(ROLLED_BACK)
        token_file.write_text("second-token\n")
        await sink.send(ROLLED_BACK)
    assert [request.headers["Authorization"] for request in got.requests] == [
        "Bearer first-token",
        "Bearer second-token",
    ]


@pytest.mark.parametrize("content", ["", "two\nlines", "two words", "ключ"])
async def test_a_token_file_must_hold_one_token(tmp_path: Path, content: str) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(content, encoding="utf-8")
    sink = WebhookSink(Poster("oncall"), url="http://127.0.0.1:9/", token=Secret(token_file))
    with pytest.raises(AlertUndelivered, match=r"holds no secret|not ASCII") as error:
        await sink.send(ROLLED_BACK)
    assert not content or content not in str(error.value)


SECRETS = ("s3cr3t-user", "hunter2", "qu3ry-value", "tok-abcdef0123", "path-T0KEN-98765")


async def test_no_secret_is_in_an_error_even_if_the_receiver_repeats_it(tmp_path: Path) -> None:
    async def repeat(request: web.Request) -> web.Response:
        return web.Response(status=400, text=f"bad: {request.headers['Authorization']} {request.path_qs}")

    token_file = tmp_path / "token"
    token_file.write_text("tok-abcdef0123")
    async with receiver(repeat) as got:
        url = f"{got.url}/path-T0KEN-98765?key=qu3ry-value"
        with_user = url.replace("http://", "http://s3cr3t-user:hunter2@")
        for sink in (
            WebhookSink(Poster("oncall"), url=url, token=Secret(token_file)),
            WebhookSink(Poster("oncall"), url=with_user),
        ):
            with pytest.raises(TerminalError) as error:
                await sink.send(ROLLED_BACK)
            assert str(error.value).endswith("answered 400 (its text repeats a secret and is not shown)")
            assert not [secret for secret in SECRETS if secret in repr(error.value)]
    assert got.requests[1].headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize("answer", [hangs_up, says(302), says(503, "busy")], ids=["hangs up", "redirect", "busy"])
async def test_only_the_origin_of_a_url_is_shown(answer: Handler) -> None:
    async with receiver(answer) as got:
        url = f"{got.url}/path-T0KEN-98765?key=qu3ry-value".replace("http://", "http://s3cr3t-user:hunter2@")
        sink = WebhookSink(Poster("oncall"), url=url)
        with pytest.raises((TerminalError, AlertUndelivered)) as error:
            await sink.send(ROLLED_BACK)
    assert not [secret for secret in SECRETS if secret in repr(error.value) + repr(error.value.__cause__)]


async def test_a_signed_alert_can_be_verified_by_who_has_the_key(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("signing-k3y-98765\n")
    async with receiver(says(200)) as got:
        sink = WebhookSink(Poster("oncall"), url=got.url, signing_key=Secret(key_file), now_s=lambda: 1_763_868_730.9)
        await sink.send(ROLLED_BACK)
    (request,), (body,) = got.requests, got.raw
    assert request.headers["Serin-Timestamp"] == "1763868730"
    digest = hmac.new(b"signing-k3y-98765", b"1763868730." + body, hashlib.sha256).hexdigest()
    assert request.headers["Serin-Signature"] == f"v1={digest}" == signature("signing-k3y-98765", "1763868730", body)


async def test_the_operator_gives_the_body_another_shape() -> None:
    shape = {
        "message": "${urgency}: ${title}",
        "open": {"not": "${resolved}"},
        "list": ["${namespace}", 3],
        "cost": "$$5",
    }
    nasty = replace(ROLLED_BACK, title='a "quoted" ${text} title')
    async with receiver(says(200)) as got:
        await WebhookSink(Poster("oncall"), url=got.url, headers={"X-Team": "shop"}, body=shape).send(nasty)
    assert got.bodies == [
        {
            "message": 'PAGE: a "quoted" ${text} title',
            "open": {"not": False},
            "list": ["shop", 3],
            "cost": "$5",
        }
    ]
    assert got.requests[0].headers["X-Team"] == "shop"


async def test_a_host_that_the_operator_does_not_allow_is_not_connected_to() -> None:
    async with receiver(says(200)) as got:
        sink = WebhookSink(Poster("oncall", allows=lambda host: host == "alerts.example"), url=got.url)
        with pytest.raises(TerminalError, match="`allow` in the receivers file does not have this host"):
            await sink.send(ROLLED_BACK)
    assert got.requests == []


async def test_a_long_or_binary_answer_is_cut() -> None:
    async with receiver(says(400, "\x1b[31m" + "x" * 100_000)) as got:
        sink = WebhookSink(Poster("oncall"), url=got.url)
        with pytest.raises(TerminalError) as error:
            await sink.send(ROLLED_BACK)
    assert len(str(error.value)) < 300
    assert "\x1b" not in str(error.value)


async def test_a_name_that_leads_to_the_metadata_service_is_refused() -> None:
    resolver = Naming("127.0.0.1", "169.254.169.254")
    async with receiver(says(200)) as got:
        url = got.url.replace("127.0.0.1", "alerts.example")
        sink = WebhookSink(Poster("oncall", resolver=resolver), url=url)
        with pytest.raises(TerminalError, match=r"alerts\.example resolves to 169\.254\.169\.254, a link-local"):
            await sink.send(ROLLED_BACK)
    assert got.requests == []


async def test_a_name_in_the_cluster_is_connected_to_at_the_address_that_was_checked() -> None:
    async with receiver(says(200)) as got:
        url = got.url.replace("127.0.0.1", "alerts.example")
        sink = WebhookSink(Poster("oncall", resolver=Naming("127.0.0.1")), url=url)
        await sink.send(ROLLED_BACK)
    assert got.requests[0].host.startswith("alerts.example:")


async def test_an_address_in_disguise_is_never_connected_to() -> None:
    sink = WebhookSink(Poster("oncall", timeout_s=1), url="http://2852039166/")
    with pytest.raises((AlertUndelivered, TerminalError)):
        await sink.send(ROLLED_BACK)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "169.254.0.1", "fe80::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
        "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "0.0.0.0", "::", "224.0.0.1",
    ],
)  # fmt: skip
def test_link_local_and_metadata_addresses_are_forbidden(address: str) -> None:
    assert forbidden(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.96.0.10", "192.168.1.5", "fd12:3456::1", "93.184.216.34"])
def test_loopback_private_and_public_addresses_are_allowed(address: str) -> None:
    assert not forbidden(address)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://hunter2.example/", "must begin with http:// or https:// and have a host"),
        ("/hunter2", "must begin with http"),
        ("http://", "must begin with http|is not a URL"),
        ("http://host:hunter2/", "is not a URL"),
        ("http://169.254.169.254/hunter2", r"169\.254\.169\.254 is a link-local or metadata address"),
        ("http://[fe80::1]/hunter2", "is a link-local or metadata address"),
    ],
)
def test_a_url_that_cannot_work_is_refused_at_once_and_not_repeated(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"receiver oncall: .*{message}") as error:
        WebhookSink(Poster("oncall"), url=url)
    assert "hunter2/" not in str(error.value)


def test_a_user_and_a_token_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the URL has a user and there is a token"):
        WebhookSink(Poster("oncall"), url="http://user:pass@host/", token=Secret(tmp_path / "token"))


def test_details_are_always_json() -> None:
    details: dict[Any, Any] = {
        "rate": float("nan"),
        "log_e": np.float64("-inf"),
        "n": np.int64(3),
        "share": np.float32(0.5),
        "flags": (True, None),
        7: {"path": Path("x")},
    }
    body = json.loads(json.dumps(payload(replace(PROMOTED, details=details)), allow_nan=False))
    assert body["details"] == {
        "rate": None,
        "log_e": None,
        "n": 3,
        "share": 0.5,
        "flags": [True, None],
        "7": {"path": "x"},
    }
