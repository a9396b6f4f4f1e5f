"""Slack, through an incoming webhook."""

from __future__ import annotations

from orchestrator.errors import Unavailable
from orchestrator.notify.markup import slack_text
from orchestrator.notify.message import Message

_OK = 200
_TOO_MANY = 429


class Slack:
    """One incoming webhook.

    Args:
        webhook_url: its address, which is a secret: whoever has it can post.
        timeout: seconds to wait for each part of the answer.

    Source: Slack, "Sending messages using incoming webhooks" and "Rate limits".
    """

    name = "slack"

    def __init__(self, webhook_url: str, timeout: float = 10.0) -> None:
        self._url = webhook_url
        self._timeout_s = timeout

    def send(self, message: Message) -> None:
        """Post a message.

        Raises:
            Unavailable: Slack did not take it; the text holds `retry_after_s=…` where Slack names a time, and never the address.
        """
        import requests

        # Only an attachment has a colour; `text` is what a phone shows where there are blocks.
        body = {
            "text": slack_text(message.subject),
            "blocks": list(message.blocks[:1]),
            "attachments": [{"color": message.color, "blocks": list(message.blocks[1:])}],
            "unfurl_links": False,
            "unfurl_media": False,
        }
        try:
            with requests.post(self._url, json=body, timeout=self._timeout_s, allow_redirects=False, stream=True) as answer:
                status, wait = answer.status_code, answer.headers.get("Retry-After", "")
        except requests.RequestException as error:
            # Its text holds the address; so does the exception that we would chain.
            raise Unavailable(f"slack: did not answer ({type(error).__name__})") from None
        if status == _TOO_MANY:
            raise Unavailable(f"slack: too many messages, retry_after_s={int(wait) if wait.isascii() and wait.isdigit() else 60}")
        if status != _OK:
            raise Unavailable(f"slack: answered {status}")
