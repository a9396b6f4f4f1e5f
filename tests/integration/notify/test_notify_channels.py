"""Messages over real sockets: a mail server with STARTTLS and login, and a web server in Slack's place."""

from __future__ import annotations

import errno
import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from inboxes import certificate as make_certificate
from pydantic import SecretStr
from services import free_port

from orchestrator.errors import Unavailable
from orchestrator.model import AuditEvent
from orchestrator.notify import Message, channels, render, retry_after_s
from orchestrator.notify.mail import Mail
from orchestrator.notify.others import Apprise
from orchestrator.notify.slack import Slack
from orchestrator.settings import NotifySettings

PASSWORD = "canary-mail-password"
WAIT_S = 30.0


def message() -> Message:
    """Return a message with outside text in it."""
    data = {"what": "prometheus", "why": "does not answer <b>é</b> @channel"}
    event = AuditEvent(1, "system", 1, datetime(2026, 11, 20, tzinfo=UTC), "engine.degraded", "engine", data, "", "", "")
    return render(event, None, None, "https://ops.example")


# ---------------------------------------------------------------- mail


class Certificate(NamedTuple):
    """A certificate for this machine, made for one test run."""

    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Return a self-signed certificate for loopback."""
    return Certificate(*make_certificate(tmp_path_factory.mktemp("certificate")))


class MailBox:
    """Keeps what a mail server was given."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:
        """Take one mail."""
        self.envelopes.append(envelope)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 taken"


class MailServer(NamedTuple):
    """A running mail server."""

    port: int
    box: MailBox


def authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    """Take one user with one password."""
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"robot", PASSWORD.encode())
    return AuthResult(success=right, handled=right or False, message=None if right else f"535 no: {data}")


def running(**options: Any) -> tuple[Controller, MailServer]:
    """Start a mail server on a free port; another process may take a port between finding and binding it."""
    for attempt in range(10):
        box, port = MailBox(), free_port()
        controller = Controller(box, hostname="127.0.0.1", port=port, ready_timeout=WAIT_S, **options)
        try:
            controller.start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE or attempt == 9:
                raise
        else:
            return controller, MailServer(port, box)
    raise AssertionError("no free port")


@pytest.fixture
def mail_server(certificate: Certificate) -> Iterator[MailServer]:
    """Run a mail server that requires STARTTLS and a login."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)
    controller, server = running(tls_context=context, require_starttls=True, authenticator=authenticate, auth_required=True)
    yield server
    controller.stop()


@pytest.fixture
def plain_mail_server() -> Iterator[MailServer]:
    """Run a mail server that knows no TLS."""
    controller, server = running()
    yield server
    controller.stop()


def mail(port: int, **more: Any) -> Mail:
    """Return the channel to a local mail server."""
    values = {
        "starttls": True,
        "user": "robot",
        "password": PASSWORD,
        "ca_file": "",
        "sender": "Orchestrator <robot@ops.example>",
        "receivers": ("anna@ops.example", "ben@ops.example"),
        "timeout": WAIT_S,
    }
    return Mail("127.0.0.1", port, **{**values, **more})


def test_a_mail_arrives_over_tls_after_login(mail_server: MailServer, certificate: Certificate) -> None:
    """Text and HTML arrive whole and escaped at every receiver, with one Message-ID for every attempt."""
    settings = NotifySettings(
        smtp_host="127.0.0.1",
        smtp_port=mail_server.port,
        smtp_user="robot",
        smtp_password=SecretStr(PASSWORD),
        smtp_ca_file=str(certificate.certificate),
        mail_from="robot@ops.example",
        mail_to=("anna@ops.example", "ben@ops.example"),
    )
    (channel,) = channels(settings)
    channel.send(message())
    channel.send(message())
    first, other, second, _ = mail_server.box.mails
    assert [one.rcpt_tos for one in mail_server.box.envelopes] == [["anna@ops.example"], ["ben@ops.example"]] * 2
    assert first["Message-ID"] != other["Message-ID"]
    assert first["Subject"] == "Degraded: prometheus"
    assert first["Message-ID"] == second["Message-ID"]
    assert first["Auto-Submitted"] == "auto-generated"
    assert "does not answer <b>é</b>" in first.get_body(("plain",)).get_content()
    assert "&lt;b&gt;é&lt;/b&gt;" in first.get_body(("html",)).get_content()


def test_a_subject_with_a_line_break_adds_no_header(plain_mail_server: MailServer) -> None:
    """Whatever a subject holds, it stays one header."""
    mail(plain_mail_server.port, starttls=False, user="", receivers=("anna@ops.example",)).send(
        Message("a\r\nBcc: eve@evil.example\n\nbody", "text")
    )
    (arrived,) = plain_mail_server.box.mails
    assert arrived["Bcc"] is None
    assert arrived["Subject"] == "a Bcc: eve@evil.example body"
    assert arrived.get_content().strip() == "text"


def test_an_untrusted_certificate_sends_nothing(mail_server: MailServer) -> None:
    """A server whose certificate is not trusted gets neither password nor mail."""
    with pytest.raises(Unavailable, match="TLS failed"):
        mail(mail_server.port).send(message())
    assert mail_server.box.mails == []


def test_without_starttls_nothing_is_sent(plain_mail_server: MailServer) -> None:
    """Where STARTTLS is required and not offered, neither password nor mail goes out in the clear."""
    with pytest.raises(Unavailable, match="SMTPNotSupportedError"):
        mail(plain_mail_server.port).send(message())
    assert plain_mail_server.box.mails == []


def test_a_wrong_password_is_said_without_it(mail_server: MailServer, certificate: Certificate) -> None:
    """A refused login names the code, and no text holds the password, although the server repeats it."""
    wrong = mail(mail_server.port, ca_file=str(certificate.certificate), password=PASSWORD + "-wrong")
    with pytest.raises(Unavailable, match="535") as caught:
        wrong.send(message())
    assert PASSWORD not in f"{caught.value!r}{caught.value.__cause__!r}"


def test_no_mail_server_is_unavailable(tmp_path: Path) -> None:
    """A server that is not there, or a CA file that is not there, is said and nothing more."""
    with pytest.raises(Unavailable, match="FileNotFoundError"):
        mail(465, ca_file=str(tmp_path / "none.pem")).send(message())
    with pytest.raises(Unavailable, match="ConnectionRefusedError"):
        mail(free_port()).send(message())


# ---------------------------------------------------------------- Slack


class Web(ThreadingHTTPServer):
    """A web server that answers as the test says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.headers: dict[str, str] = {}
        self.bodies: list[dict[str, Any]] = []
        self.released = threading.Event()
        self.released.set()

    @property
    def url(self) -> str:
        """Return an address with a secret in it."""
        return f"http://127.0.0.1:{self.server_address[1]}/services/canary-secret"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that went away is part of a test."""


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_POST(self) -> None:
        """Keep the body and answer."""
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.released.wait(WAIT_S)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[Web]:
    """Run a web server in Slack's place."""
    server = Web()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_slack_gets_blocks_with_literal_text(web: Web) -> None:
    """The message arrives as blocks, with outside text escaped and nobody mentioned."""
    Slack(web.url, WAIT_S).send(message())
    (body,) = web.bodies
    assert body["text"] == "Degraded: prometheus"
    assert body["blocks"][0]["type"] == "header"
    (attachment,) = body["attachments"]
    assert attachment["color"].startswith("#")
    shown = attachment["blocks"][0]["text"]["text"]
    assert "&lt;b&gt;é&lt;/b&gt;" in shown
    assert "@channel" not in shown


@pytest.mark.parametrize(
    ("status", "headers", "words", "wait"),
    [
        (429, {"Retry-After": "30"}, "retry_after_s=30", 30),
        (429, {"Retry-After": "soon"}, "retry_after_s=60", 60),
        (429, {}, "retry_after_s=60", 60),
        (500, {}, "answered 500", 0),
        (403, {}, "answered 403", 0),
        (302, {"Location": "http://127.0.0.1:9/"}, "answered 302", 0),
    ],
)
def test_what_slack_refuses_is_unavailable(web: Web, status: int, headers: dict[str, str], words: str, wait: float) -> None:
    """Anything but 200 is tried again later, at the time that Slack names; a redirect is not followed."""
    web.status, web.headers = status, headers
    with pytest.raises(Unavailable, match=words) as caught:
        Slack(web.url, WAIT_S).send(message())
    assert retry_after_s(caught.value) == wait
    assert "canary-secret" not in str(caught.value)


def test_a_slow_slack_is_left_alone(web: Web) -> None:
    """A server that takes the message and does not answer is given up, and the error does not name its address."""
    web.released.clear()
    with pytest.raises(Unavailable, match="did not answer") as caught:
        Slack(web.url, 0.2).send(message())
    assert "canary-secret" not in f"{caught.value!r}{caught.value.__cause__!r}"


def test_no_slack_is_unavailable_without_its_address() -> None:
    """Where nobody listens, or the address is none, the error does not name it."""
    for url in (f"http://127.0.0.1:{free_port()}/services/canary-secret", "canary-secret", "http://[canary-secret"):
        with pytest.raises(Unavailable) as caught:
            Slack(url, WAIT_S).send(message())
        assert "canary-secret" not in f"{caught.value!r}{caught.value.__cause__!r}"


# ---------------------------------------------------------------- others


# Apprise looks for a module that Python 3.13 does away with.
of_apprise = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@of_apprise
def test_apprise_carries_a_message(web: Web) -> None:
    """Another service gets title and text over Apprise, and nobody is mentioned."""
    Apprise([web.url.replace("http:", "json:")]).send(message())
    (body,) = web.bodies
    assert body["title"] == "Degraded: prometheus"
    assert "does not answer" in body["message"]
    assert "@channel" not in body["message"]
    assert body["type"] == "failure"


@of_apprise
def test_what_apprise_cannot_send_is_unavailable(web: Web) -> None:
    """An address that is not understood and a service that refuses are errors without the address."""
    web.status = 500
    for url in ("nonsense://canary-secret", web.url.replace("http:", "json:")):
        with pytest.raises(Unavailable) as caught:
            Apprise([url], "apprise-2").send(message())
        assert str(caught.value).startswith("apprise-2: ")
        assert "canary-secret" not in f"{caught.value!r}{caught.value.__cause__!r}"
