"""Where messages arrive in tests: a real mail server with STARTTLS and its certificate, a chat server in Slack's place, a pager."""

from __future__ import annotations

import errno
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

from aiosmtpd.controller import Controller
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from services import free_port


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate for loopback; return its file and its key's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = folder / "mail.pem", folder / "mail.key"
    made[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    made[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return made


@dataclass
class MailServer:
    """A running mail server and what it was given."""

    port: int
    ca_file: Path
    mails: list[EmailMessage] = field(default_factory=list)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        """Take one mail."""
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 taken"

    def about(self, *words: str) -> list[EmailMessage]:
        """Return the mails whose subject or text holds all these words."""
        return [mail for mail in self.mails if all(word in f"{mail['Subject']}\n{text(mail)}" for word in words)]


def text(mail: EmailMessage) -> str:
    """Return a mail's plain text."""
    body = mail.get_body(("plain",))
    return body.get_content() if body else ""


@contextmanager
def mail_server(folder: Path) -> Iterator[MailServer]:
    """Run a mail server that requires STARTTLS."""
    ca_file, key = certificate(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(ca_file, key)
    for attempt in range(10):
        box = MailServer(free_port(), ca_file)
        controller = Controller(box, hostname="127.0.0.1", port=box.port, ready_timeout=60, tls_context=context, require_starttls=True)
        try:
            controller.start()
            break
        except OSError as error:  # somebody may have taken the port since it was found free
            if error.errno != errno.EADDRINUSE or attempt == 9:
                raise
    try:
        yield box
    finally:
        controller.stop()


# ---------------------------------------------------------------- chat


BOT_TOKEN, CHANNEL = "xoxb-canary-bot-token", "C0INCIDENTS"


class SlackServer(ThreadingHTTPServer):
    """Slack's Web API, an incoming webhook and response addresses: checks the bearer token and the shape of every call."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _SlackHandler)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[str] = []
        self.status = 200
        self.error = ""
        self.stamps = 0
        self.released = threading.Event()
        self.released.set()

    @property
    def url(self) -> str:
        """Return the server's address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def of(self, method: str) -> list[dict[str, Any]]:
        """Return the bodies of the calls of a method, oldest first."""
        return [body for name, body in list(self.calls) if name == method]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that went away is part of a test."""

    def answer(self, path: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
        """Check a call and return what Slack answers."""
        name = path.strip("/")
        method = name.removeprefix("api/")
        if not name.startswith("api/"):
            self._check(name.startswith(("services/", "actions/")), f"{path}: no such address")
            self.calls.append((name.partition("/")[0], {**body, "path": path}))
            return {"ok": True}
        self.calls.append((method, body))
        if token != f"Bearer {BOT_TOKEN}":
            return {"ok": False, "error": "invalid_auth"}
        match method:
            case "chat.postMessage":
                self._check(body.get("channel") == CHANNEL, "channel")
                self._message(body)
            case "chat.update":
                self._check(body.get("channel") == CHANNEL and isinstance(body.get("ts"), str), "channel and ts")
                self._message(body)
            case "views.open":
                view = body.get("view", {})
                self._check(bool(body.get("trigger_id")) and view.get("type") == "modal", "trigger and modal")
                self._check(len(view.get("title", {}).get("text", "x" * 99)) <= 24, "title over 24 characters")
                self._check(len(view.get("private_metadata", "")) <= 3000, "private_metadata over 3000 characters")
            case _:
                self.faults.append(f"unknown method {method}")
        self.stamps += 1
        return {"ok": not self.error, "error": self.error, "channel": CHANNEL, "ts": body.get("ts", f"1700000000.{self.stamps:06}")}

    def _message(self, body: dict[str, Any]) -> None:
        blocks = [*body.get("blocks", []), *(block for part in body.get("attachments", []) for block in part.get("blocks", []))]
        self._check(bool(body.get("text")) and 0 < len(blocks) <= 50, "text and up to 50 blocks")
        for block in blocks:
            if block["type"] == "section":
                self._check(0 < len(block["text"]["text"]) <= 3000, "a section of 1 to 3000 characters")
            if block["type"] == "actions":
                self._check(0 < len(block["elements"]) <= 25, "1 to 25 elements")
                names = [one["action_id"] for one in block["elements"]]
                self._check(len(set(names)) == len(names), "action ids that differ")

    def _check(self, right: bool, what: str) -> None:
        if not right:
            self.faults.append(what)


class _SlackHandler(BaseHTTPRequestHandler):
    server: SlackServer

    def do_POST(self) -> None:
        """Take a call."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.released.wait(60)
        answer = self.server.answer(self.path, self.headers.get("Authorization", ""), body)
        data = json.dumps(answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


def buttons(message: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the buttons of a message by their action ids."""
    blocks = [block for part in message.get("attachments", []) for block in part.get("blocks", [])]
    return {one["action_id"]: one for block in blocks if block["type"] == "actions" for one in block["elements"]}


# ---------------------------------------------------------------- a pager


class Pager(ThreadingHTTPServer):
    """A webhook receiver that keeps what it was sent and when."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _PagerHandler)
        self.pages: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        """Return the receiver's address."""
        return f"http://127.0.0.1:{self.server_address[1]}/page"


class _PagerHandler(BaseHTTPRequestHandler):
    server: Pager

    def do_POST(self) -> None:
        """Keep a page."""
        self.server.pages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


Inbox = TypeVar("Inbox", SlackServer, Pager)


@contextmanager
def running(server: Inbox) -> Iterator[Inbox]:
    """Serve an inbox in a thread until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        if isinstance(server, SlackServer):
            server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
