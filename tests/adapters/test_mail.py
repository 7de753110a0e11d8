"""E-mail, handed in to a real SMTP server on loopback (aiosmtpd)."""

import asyncio
import email
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import unused_port
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from analyzer.adapters.mail import MailServer, MailSink, message
from analyzer.adapters.secret import Secret
from analyzer.errors import AlertUndelivered, TerminalError
from tests.adapters.receiver import Naming
from tests.alerts import ROLLED_BACK

FROM, TO = "serin@shop.example", ("oncall@shop.example", "team@shop.example")
PASSWORD = "c0rrect h0rse battery"


@dataclass
class Mailbox:
    """What the server took, and how it answers."""

    port: int = 0
    answer: str = "250 OK"
    taken: list[tuple[list[str], EmailMessage]] = field(default_factory=list)

    async def handle_DATA(  # noqa: N802 - the server calls it so
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        assert isinstance(envelope.content, bytes)
        if self.answer.startswith("2"):
            read = email.message_from_bytes(envelope.content, policy=policy.default)
            assert isinstance(read, EmailMessage)
            self.taken.append((envelope.rcpt_tos, read))
        return self.answer


def authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
    assert isinstance(data, LoginPassword)
    return AuthResult(success=data.password.decode() == PASSWORD, handled=False)


@asynccontextmanager
async def server(**options: Any) -> AsyncIterator[Mailbox]:
    box = Mailbox()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: SMTP(box, loop=loop, **options), "127.0.0.1", 0)
    box.port = listening.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        listening.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A certificate of the server's own making."""
    folder = tmp_path_factory.mktemp("certificate")
    files = ("-keyout", str(folder / "key"), "-out", str(folder / "cert"))
    subject = ("-subj", "/CN=localhost", "-days", "1")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *subject], check=True, capture_output=True
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert", folder / "key")
    return context


def sink(port: int, *, host: str = "127.0.0.1", **settings: Any) -> MailSink:
    settings = {"security": "none", **settings}
    more = {name: settings.pop(name) for name in ("allows", "resolver", "timeout_s") if name in settings}
    return MailSink("mail", server=MailServer(host, port, **settings), sender=FROM, to=TO, **more)


async def test_an_alert_is_one_message_to_all_with_the_whole_text() -> None:
    async with server() as box:
        await sink(box.port).send(replace(ROLLED_BACK, command="kubectl -n shop logs …"))
    ((recipients, mail),) = box.taken
    assert recipients == list(TO)
    assert mail["Subject"].strip() == f"[PAGE] {ROLLED_BACK.title}"
    assert mail["Importance"] == "high"
    body = mail.get_content().replace("\r\n", "\n")
    assert "What Serin did" in body
    assert "\n  kubectl -n shop logs …\n" in body


def test_messages_of_one_rollout_are_one_thread_and_the_same_alert_is_the_same_message() -> None:
    first, again, resolved = (
        message(alert, sender=FROM, to=TO) for alert in (ROLLED_BACK, ROLLED_BACK, replace(ROLLED_BACK, resolved=True))
    )
    assert first["References"] == resolved["References"]
    assert first["Message-ID"] == again["Message-ID"] != resolved["Message-ID"]
    assert "Importance" not in resolved


def test_no_text_from_elsewhere_adds_a_header() -> None:
    mail = message(replace(ROLLED_BACK, title="v2\r\nBcc: everybody@evil.example"), sender=FROM, to=TO)
    assert "Bcc" not in mail
    assert "\n" not in mail["Subject"]


@pytest.mark.parametrize(("answer", "error"), [("451 later", AlertUndelivered), ("554 never", TerminalError)])
async def test_later_is_tried_again_and_never_is_final(answer: str, error: type[Exception]) -> None:
    async with server() as box:
        box.answer = answer
        with pytest.raises(error, match=rf"mail \(127.0.0.1:{box.port}\): it answered {answer}"):
            await sink(box.port).send(ROLLED_BACK)


async def test_a_server_without_encryption_gets_nothing_where_encryption_is_wanted() -> None:
    async with server() as box:
        with pytest.raises((TerminalError, AlertUndelivered), match="STARTTLS"):
            await sink(box.port, security="starttls").send(ROLLED_BACK)
        assert box.taken == []


async def test_a_certificate_that_nobody_trusts_is_not_trusted(certificate: ssl.SSLContext) -> None:
    async with server(tls_context=certificate) as box:
        with pytest.raises(AlertUndelivered, match="certificate"):
            await sink(box.port, security="starttls").send(ROLLED_BACK)
        assert box.taken == []


@pytest.mark.parametrize(("password", "right"), [(PASSWORD, True), ("wr0ng-passw0rd", False)])
async def test_the_password_is_read_from_its_file_and_never_shown(
    tmp_path: Path, password: str, *, right: bool
) -> None:
    (tmp_path / "password").write_text(f"{password}\n")
    async with server(authenticator=authenticate, auth_require_tls=False) as box:
        mail = sink(box.port, username="serin", password=Secret(tmp_path / "password"))
        if right:
            await mail.send(ROLLED_BACK)
            assert len(box.taken) == 1
            return
        with pytest.raises(TerminalError, match="it answered 535") as error:
            await mail.send(ROLLED_BACK)
    assert password not in repr(error.value)


async def test_nobody_listening_and_nobody_answering_are_worth_another_try() -> None:
    with pytest.raises(AlertUndelivered, match="cannot be reached"):
        await sink(unused_port()).send(ROLLED_BACK)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(AlertUndelivered):
            await sink(silent.getsockname()[1], timeout_s=0.2).send(ROLLED_BACK)


async def test_a_name_that_leads_to_the_metadata_service_is_refused() -> None:
    with pytest.raises(TerminalError, match="a link-local or metadata address"):
        await sink(25, host="smtp.example", resolver=Naming("169.254.169.254")).send(ROLLED_BACK)


async def test_a_host_that_the_operator_does_not_allow_is_not_connected_to() -> None:
    async with server() as box:
        with pytest.raises(TerminalError, match="`allow`"):
            await sink(box.port, allows=lambda _host: False).send(ROLLED_BACK)
    assert box.taken == []
