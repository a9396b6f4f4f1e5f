"""Where messages arrive in tests: a real mail server with STARTTLS, and its certificate."""

from __future__ import annotations

import errno
import ipaddress
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

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
