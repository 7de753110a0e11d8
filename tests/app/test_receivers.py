"""Receivers that change while alerts are under way; and secrets, which are nowhere but where they belong."""

import asyncio
import json
import os
import random
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from analyzer.adapters.apprised import AppriseSink
from analyzer.adapters.secret import Secret
from analyzer.app.daemon import WATCHED
from analyzer.app.metrics import Metrics
from analyzer.app.outbox import Outbox, OutboxSettings
from analyzer.cli.receivers import test_alert as example_alert
from analyzer.errors import AlertUndelivered, TerminalError
from analyzer.ports import EVENT, Alert, AlertSink, Severity
from analyzer.receivers import ReceiversInvalid, Reloading, Sieve, with_links
from tests.adapters.receiver import Handler, hangs, hangs_up, receiver, says
from tests.alerts import ROLLED_BACK
from tests.app.model import POLICY, Behaviour
from tests.app.test_daemon import running as serin_runs
from tests.app.test_outbox import DOWN, ScriptedSink, alert, make, running, settled, virtually
from tests.app.test_outbox import hangs as never_answers
from tests.app.test_turns import quick_mesh
from tests.fakes import ManualClock, RecordingSink


def webhooks(**urls: str) -> str:
    lines = [f"  {name}: {{webhook: {{url: '{url}'}}}}" for name, url in urls.items()]
    return "\n".join(["receivers:", *lines, ""])


# --- the outbox ---


def test_an_alert_under_way_goes_to_what_its_receiver_is_now() -> None:
    async def story() -> None:
        broken, mended = ScriptedSink(forever=DOWN), ScriptedSink()
        outbox = make({"pager": broken})
        with capture_logs():
            async with running(outbox):
                outbox.offer(alert())
                await asyncio.sleep(100)
                outbox.use({"pager": mended}, default=["pager"])
                await asyncio.sleep(0.1)  # at once, not after the pause that the broken one had earned
        assert mended.alerts == [alert()]

    virtually(story())


@pytest.mark.parametrize("broken", [DOWN, never_answers], ids=["down", "hanging"])
def test_an_alert_under_way_to_a_receiver_that_goes_is_sent_to_the_default(broken: Any) -> None:
    async def story() -> None:
        gone, log = ScriptedSink(forever=broken), ScriptedSink()
        outbox = make({"pager": gone, "log": log}, default=["log"])
        with capture_logs():
            async with running(outbox):
                outbox.offer(replace(alert(), receivers=("pager",)))
                await asyncio.sleep(5)
                assert log.alerts == []
                outbox.use({"log": log}, default=["log"])
                await settled(outbox)
        assert [each.dedup_key for each in log.alerts] == [alert().dedup_key]

    virtually(story())


def test_a_receiver_that_comes_later_is_delivered_to() -> None:
    async def story() -> None:
        log, late = ScriptedSink(), ScriptedSink()
        outbox = make({"log": log})
        async with running(outbox):
            outbox.use({"log": log, "late": late}, default=["late"])
            outbox.offer(alert())
            await settled(outbox)
        assert (len(log.alerts), len(late.alerts)) == (0, 1)

    virtually(story())


class Forgetful(ScriptedSink):
    """A receiver that must be told again and again."""

    repeat_s = 60.0
    repeated = 0

    async def repeat(self) -> None:
        self.repeated += 1
        raise AlertUndelivered("down")

    def forget(self) -> None:
        self.repeated = -1


def test_what_stands_is_repeated_whether_or_not_that_works() -> None:
    async def story() -> None:
        sink = Forgetful()
        outbox = make({"central": Sieve(sink, lowest=Severity.INFO, links={})})
        with capture_logs():
            async with running(outbox):
                await asyncio.sleep(310)
        assert sink.repeated == 5
        outbox.stand_down()
        assert sink.repeated == -1

    virtually(story())


# --- the file ---


def test_a_changed_file_is_read_and_what_did_not_change_stays(tmp_path: Path) -> None:
    file = tmp_path / "receivers.yaml"
    file.write_text(webhooks(a="http://a.example/", b="http://b.example/"))
    metrics = Metrics()
    reloading = Reloading(file, webhooks={}, metrics=metrics)
    before = dict(reloading.sinks())
    outbox = Outbox(before, default=reloading.default, clock=ManualClock(), metrics=metrics, rng=random.Random(1))
    file.write_text(webhooks(a="http://a.example/", b="http://other.example/", c="http://c.example/"))
    with capture_logs() as lines:
        reloading.look(outbox)
        reloading.look(outbox)
    after = dict(reloading.sinks())
    assert (after["a"] is before["a"], after["b"] is before["b"], "c" in after) == (True, False, True)
    assert [line["event"] for line in lines] == ["receivers read anew"]


def test_a_secret_mount_that_swaps_its_links_is_noticed(tmp_path: Path) -> None:
    for version, host in (("1", "a"), ("2", "b")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "receivers.yaml").write_text(webhooks(**{host: f"http://{host}.example/"}))
    data, file = tmp_path / "..data", tmp_path / "receivers.yaml"
    data.symlink_to("1")
    file.symlink_to("..data/receivers.yaml")
    reloading = Reloading(file, webhooks={}, metrics=Metrics())
    swap = tmp_path / "..tmp"
    swap.symlink_to("2")
    os.replace(swap, data)  # noqa: PTH105 - as the kubelet does
    assert reloading.load()
    assert set(reloading.configured) == {"log", "b"}


@pytest.mark.parametrize("broken", ["receivers: [", "receivers: {a: {}}", None], ids=["no YAML", "no kind", "gone"])
def test_a_broken_file_changes_nothing_is_said_once_and_read_again(tmp_path: Path, broken: str | None) -> None:
    file = tmp_path / "receivers.yaml"
    file.write_text(webhooks(a="http://a.example/"))
    metrics = Metrics()
    reloading = Reloading(file, webhooks={}, metrics=metrics)
    sinks = dict(reloading.sinks())
    outbox = Outbox(sinks, default=reloading.default, clock=ManualClock(), metrics=metrics, rng=random.Random(1))
    good = file.read_text()
    file.unlink() if broken is None else file.write_text(broken)
    with capture_logs() as lines:
        for _ in range(3):
            reloading.look(outbox)
    assert [line["event"] for line in lines] == ["receivers file cannot be used; those of before stay"]
    assert dict(reloading.sinks()) == sinks
    assert metrics.registry.get_sample_value("serin_receivers_valid") == 0
    file.write_text(good)
    reloading.look(outbox)
    assert metrics.registry.get_sample_value("serin_receivers_valid") == 1


def test_a_daemon_does_not_begin_with_a_broken_file(tmp_path: Path) -> None:
    file = tmp_path / "receivers.yaml"
    file.write_text("receivers: {a: {slak: {}}}\n")
    with pytest.raises(ReceiversInvalid, match=r"receivers\.yaml:1:\d+ SRN101 there is no field `slak`"):
        Reloading(file, webhooks={}, metrics=Metrics())


async def test_less_urgent_alerts_than_asked_for_are_not_sent_and_links_are_added() -> None:
    inner = RecordingSink()
    sieve = Sieve(
        inner,
        lowest=Severity.NOTICE,
        links={"board": "https://g.example/{namespace}/{name}", "cd": "https://a/{argocd}"},
    )
    for severity in Severity:
        await sieve.send(replace(ROLLED_BACK, severity=severity))
    assert [each.severity for each in inner.sent] == [Severity.PAGE, Severity.NOTICE]
    assert inner.sent[0].links == {
        "runbook": "https://serin.dev/runbook#rolledback",
        "board": "https://g.example/shop/helloworld",
    }
    applied = replace(ROLLED_BACK, details={"appliedBy": {"argocd": "shop"}}, links={"policy": "https://git/x"})
    assert with_links(applied, {"cd": "https://a/{argocd}"}).links == {
        "runbook": "https://serin.dev/runbook#rolledback",
        "cd": "https://a/shop",
        "policy": "https://git/x",
    }


# --- apprise ---


async def test_apprise_that_hangs_is_left_in_time_and_piles_up_no_threads(tmp_path: Path) -> None:
    import threading

    (tmp_path / "url").write_text("json://user:s3cr3tpass@host")
    release = threading.Event()

    def hang(*_args: str) -> bool:
        return release.wait(30)

    sink = AppriseSink("a", url=Secret(tmp_path / "url"), notify=hang, timeout_s=0.05)
    with pytest.raises(AlertUndelivered, match="did not answer within"):
        await sink.send(ROLLED_BACK)
    with pytest.raises(AlertUndelivered, match="an earlier notification still hangs"):
        await sink.send(ROLLED_BACK)
    release.set()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of apprise itself
async def test_apprise_reaches_a_real_server_and_says_nothing_of_its_url(tmp_path: Path) -> None:
    async with receiver(says(200)) as got:
        (tmp_path / "url").write_text(f"{got.url.replace('http://', 'json://user:s3cr3tpass@')}")
        sink = AppriseSink("a", url=Secret(tmp_path / "url"))
        await sink.send(ROLLED_BACK)
        assert got.bodies[0]["title"] == f"PAGE: {ROLLED_BACK.title}"
        got.answer = says(500, "s3cr3tpass")
        with pytest.raises(AlertUndelivered, match="could not hand it over") as error:
            await sink.send(ROLLED_BACK)
    assert "s3cr3tpass" not in repr(error.value)


async def test_a_thread_that_has_answered_and_not_ended_yet_delays_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "url").write_text("json://nowhere")
    sink = AppriseSink("a", url=Secret(tmp_path / "url"), notify=lambda *_: True)
    monkeypatch.setattr(threading.Thread, "is_alive", lambda _: True)
    await sink.send(ROLLED_BACK)
    await sink.send(ROLLED_BACK)


# --- secrets ---

SECRETS = {
    "pagerduty-key": "pdk3y0123456789abcdef0123456789a",
    "slack-path": "T0/B0/sl4cks3cr3tsl4cks3cr3t",
    "token": "t0k3n-t0k3n-t0k3n",
    "signing": "s1gn1ng-k3y-s1gn1ng",
    "hook-path": "h00kp4th-h00kp4th",
    "am-token": "4mt0k3n-4mt0k3n",
    "password": "p4ssw0rd-p4ssw0rd",
    "apprise": "4ppr1s3-4ppr1s3",
}


async def repeats(request: web.Request) -> web.Response:
    """Refuse, with everything that was sent."""
    said = f"{request.path_qs} {dict(request.headers)} {(await request.read()).decode()}"
    return web.Response(status=400, text=said[:1500])


async def busy_repeats(request: web.Request) -> web.Response:
    return web.Response(status=503, text=f"{request.headers.get('Authorization')} {request.path_qs}")


@asynccontextmanager
async def of_every_kind(folder: Path, answer: Handler) -> AsyncIterator[Reloading]:
    """Receivers of all kinds, with a secret each, whose servers answer so."""
    async with receiver(answer) as got:
        values = SECRETS | {
            "slack-url": f"{got.url}/{SECRETS['slack-path']}",
            "hook-url": f"{got.url}/{SECRETS['hook-path']}?key={SECRETS['token']}",
            "apprise-url": got.url.replace("http://", f"json://user:{SECRETS['apprise']}@"),
        }
        for name, value in values.items():
            (folder / name).write_text(value)
        port = got.url.rpartition(":")[2].partition("/")[0]
        (folder / "receivers.yaml").write_text(
            f"""
receivers:
  pager: {{pagerduty: {{routingKeyFile: pagerduty-key}}}}
  chat: {{slack: {{urlFile: slack-url}}}}
  hook: {{webhook: {{urlFile: hook-url, tokenFile: token, signingKeyFile: signing}}}}
  central: {{alertmanager: {{urls: ['{got.url}'], tokenFile: am-token}}}}
  mail:
    email: {{to: [a@b.example], from: s@b.example, server: '127.0.0.1:{port}', username: u, passwordFile: password}}
  other: {{apprise: {{urlFile: apprise-url}}}}
"""
        )
        reloading = Reloading(folder / "receivers.yaml", webhooks={}, metrics=Metrics())
        pager: Any = reloading.configured["pager"].sink._inner
        pager._url = type(pager._url)(got.url)  # the real one is not to be asked
        mail: Any = reloading.configured["mail"].sink._inner
        mail._timeout_s = 0.5  # no server of HTTP greets it
        if answer is hangs:
            for name in ("pager", "chat", "hook", "central"):
                sink: Any = reloading.configured[name].sink._inner
                sink._poster._timeout_s = 0.3
            other: Any = reloading.configured["other"].sink._inner
            other._timeout_s = 0.5
        yield reloading


FAILURES = {
    "takes all": says(200),
    "refuses, and repeats everything": repeats,
    "busy, and repeats": busy_repeats,
    "hangs": hangs,
    "hangs up": hangs_up,
    "redirects": says(302, Location="http://127.0.0.1/"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of apprise itself
@pytest.mark.parametrize("failure", FAILURES)
async def test_no_secret_is_in_any_log_metric_error_or_alert(
    tmp_path: Path, failure: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []
    async with of_every_kind(tmp_path, FAILURES[failure]) as reloading:
        page = example_alert()
        for name, sink in reloading.sinks():
            try:
                await sink.send(page)
            except (AlertUndelivered, TerminalError) as error:
                seen += [name, repr(error), str(error), repr(error.__cause__)]
        metrics = Metrics()
        sinks: dict[str, AlertSink] = dict(reloading.sinks())
        outbox = Outbox(
            sinks,
            default=list(sinks),
            clock=ManualClock(),
            metrics=metrics,
            rng=random.Random(1),
            settings=OutboxSettings(send_timeout_s=2.0),
        )
        with capture_logs() as lines:
            async with asyncio.timeout(60), running(outbox):
                outbox.offer(page)
                while any(count(metrics, name) == 0 for name in sinks):  # noqa: ASYNC110 - for a metric nobody signals
                    await asyncio.sleep(0.01)
        seen += [repr(lines), metrics.render("")[0].decode(), repr(list(reloading.configured.items()))]
    captured = capsys.readouterr()
    seen += [caplog.text, captured.out, captured.err]
    assert shown("\n".join(seen)) == []
    if failure == "takes all":
        assert not [line for line in lines if line.get("receiver") not in {None, "mail"}], lines
    else:
        assert {"pager", "chat", "hook", "central", "mail", "other"} <= set(seen)


def shown(text: str) -> list[str]:
    """Name the secrets that a text has a part of."""
    return [name for name, secret in SECRETS.items() if any(secret[i : i + 8] in text for i in range(len(secret) - 7))]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of apprise itself
@pytest.mark.parametrize("failure", [failure for failure in FAILURES if failure != "takes all"])
async def test_no_secret_is_in_any_status_or_event(tmp_path: Path, failure: str) -> None:
    mesh = quick_mesh()
    mesh.behaviours["v2"] = Behaviour(error_rate=0.05)
    async with of_every_kind(tmp_path, FAILURES[failure]) as reloading:
        sinks = dict(reloading.sinks())
        with capture_logs():
            async with serin_runs(mesh, sinks=sinks) as serin:
                await serin.until(lambda: all(count(serin.metrics, name) for name in sinks), scrapes=3000)
                await serin.live(3)
    objects = [obj for kind in (*WATCHED, EVENT) for obj in (await mesh.cluster.list(kind)).items]
    status = mesh.read(POLICY)["status"]
    assert (status["phase"], bool(status["notices"])) == ("RolledBack", True)  # the page is kept for those who fail
    assert [obj for obj in objects if obj["kind"] == "Event" and obj["reason"] == "RolledBack"]
    assert shown(json.dumps(objects)) == []


def test_the_search_finds_a_part_of_a_secret() -> None:
    assert shown(f"message: {SECRETS['token'][3:12]}…") == ["token"]


def count(metrics: Metrics, name: str) -> float:
    results = ("delivered", "retried", "refused")
    return sum(
        metrics.registry.get_sample_value("serin_alerts_total", {"receiver": name, "result": result}) or 0
        for result in results
    )


def test_an_alert_has_nothing_of_the_receivers() -> None:
    assert not [field for field in Alert.__dataclass_fields__ if "secret" in field or "url" in field]
