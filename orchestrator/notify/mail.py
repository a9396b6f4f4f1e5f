"""Mail, through an SMTP server."""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formatdate, parseaddr

from orchestrator.errors import Unavailable
from orchestrator.notify.links import Links
from orchestrator.notify.markup import html_of, text_of
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
        receivers: the To addresses; each gets a mail of its own.
        links: makes each receiver's own link to an approval; None: all get the page's address.
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
        links: Links | None = None,
        timeout: float = 15.0,
    ) -> None:
        self._host, self._port, self._starttls = host, port, starttls
        self._user, self._password, self._ca_file = user, password, ca_file
        self._sender, self._receivers = sender, tuple(receivers)
        self._links = links
        self._timeout_s = timeout

    def send(self, message: Message) -> str | None:
        """Send a message to each receiver.

        Raises:
            Unavailable: no receiver was accepted, or the server could not be reached, trusted or logged in to.
        """
        try:
            mails = [self._compose(message, receiver) for receiver in self._receivers]
            with self._connect() as server:
                if self._starttls and self._port != IMPLICIT_TLS_PORT:
                    server.starttls(context=self._context())
                if self._user:
                    server.login(self._user, self._password)
                self._deliver(server, mails)
        except smtplib.SMTPResponseException as error:
            # The server's words may repeat what we sent, login included.
            raise Unavailable(f"mail: the server answered {error.smtp_code} ({type(error).__name__})") from None
        except ssl.SSLError as error:
            raise Unavailable(f"mail: TLS failed ({error.reason or type(error).__name__}). Mend: check notify.smtp_ca_file.") from None
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise Unavailable(f"mail: could not be sent ({type(error).__name__})") from None
        return None

    @staticmethod
    def _deliver(server: smtplib.SMTP, mails: Sequence[EmailMessage]) -> None:
        """Hand all mails over; one refused receiver does not make the others get theirs twice."""
        refused: smtplib.SMTPException | None = None
        taken = 0
        for mail in mails:
            try:
                server.send_message(mail)
                taken += 1
            except smtplib.SMTPRecipientsRefused as error:
                refused = error
        if refused is not None and not taken:
            raise refused

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._ca_file or None)

    def _connect(self) -> smtplib.SMTP:
        if self._port == IMPLICIT_TLS_PORT:
            return smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout_s, context=self._context())
        return smtplib.SMTP(self._host, self._port, timeout=self._timeout_s)

    def _compose(self, message: Message, receiver: str) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = " ".join(message.subject.split())
        mail["From"] = self._sender
        mail["To"] = receiver
        mail["Date"] = formatdate()
        # The same for each attempt, so that a mail sent twice is shown once.
        domain = parseaddr(self._sender)[1].rpartition("@")[2] or "localhost"
        named = f"{message.key or message.text} {receiver}"
        mail["Message-ID"] = f"<{hashlib.sha256(named.encode()).hexdigest()[:32]}@{domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        text, html = message.text, message.html
        if self._links and message.approval and message.until:
            link = self._links.make(message.approval, parseaddr(receiver)[1], message.until)
            text = text_of(message.subject, message.lines, link, True)
            html = html_of(message.subject, message.lines, link)
        mail.set_content(text)
        if html:
            mail.add_alternative(html, subtype="html")
        return mail
