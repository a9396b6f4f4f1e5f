"""Mail, through an SMTP server."""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formatdate, parseaddr

from orchestrator.errors import Unavailable
from orchestrator.notify.message import Message

IMPLICIT_TLS_PORT = 465


class Mail:
    """One mail server and its receivers.

    Args:
        host: the server.
        port: its port; 465 speaks TLS from the first byte.
        starttls: whether STARTTLS is required; without it nothing is sent in the clear by mistake.
        user: login, or empty.
        password: its password.
        ca_file: CA of the server's certificate; empty: the system's.
        sender: the From address.
        receivers: the To addresses.
        timeout: seconds to wait for each answer.
    """

    name = "mail"

    def __init__(
        self,
        host: str,
        port: int,
        *,
        starttls: bool,
        user: str,
        password: str,
        ca_file: str,
        sender: str,
        receivers: Sequence[str],
        timeout: float = 15.0,
    ) -> None:
        self._host, self._port, self._starttls = host, port, starttls
        self._user, self._password, self._ca_file = user, password, ca_file
        self._sender, self._receivers = sender, tuple(receivers)
        self._timeout_s = timeout

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            Unavailable: no receiver was accepted, or the server could not be reached, trusted or logged in to.
        """
        try:
            mail = self._compose(message)
            with self._connect() as server:
                if self._starttls and self._port != IMPLICIT_TLS_PORT:
                    server.starttls(context=self._context())
                if self._user:
                    server.login(self._user, self._password)
                server.send_message(mail)
        except smtplib.SMTPResponseException as error:
            # The server's words may repeat what we sent, login included.
            raise Unavailable(f"mail: the server answered {error.smtp_code} ({type(error).__name__})") from None
        except ssl.SSLError as error:
            raise Unavailable(f"mail: TLS failed ({error.reason or type(error).__name__}). Mend: check notify.smtp_ca_file.") from None
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise Unavailable(f"mail: could not be sent ({type(error).__name__})") from None

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._ca_file or None)

    def _connect(self) -> smtplib.SMTP:
        if self._port == IMPLICIT_TLS_PORT:
            return smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout_s, context=self._context())
        return smtplib.SMTP(self._host, self._port, timeout=self._timeout_s)

    def _compose(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = " ".join(message.subject.split())
        mail["From"] = self._sender
        mail["To"] = ", ".join(self._receivers)
        mail["Date"] = formatdate()
        # The same for each attempt, so that a mail sent twice is shown once.
        domain = parseaddr(self._sender)[1].rpartition("@")[2] or "localhost"
        mail["Message-ID"] = f"<{hashlib.sha256((message.key or message.text).encode()).hexdigest()[:32]}@{domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text)
        if message.html:
            mail.add_alternative(message.html, subtype="html")
        return mail
