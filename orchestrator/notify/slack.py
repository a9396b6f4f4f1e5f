"""Slack: through an incoming webhook, which can only post, or through a bot, whose messages change when they are decided."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from orchestrator.errors import Unavailable
from orchestrator.notify.markup import answerable, slack_text
from orchestrator.notify.message import Message

_OK = 200
_TOO_MANY = 429
VIEW_S = 1.2
"""Time for connecting and for the answer when a form is opened: Slack waits three seconds for the answer to a press."""


class Slack:
    """One incoming webhook.

    Args:
        webhook_url: its address, which is a secret: whoever has it can post.
        timeout: seconds to wait for each part of the answer.
        answers: which of our buttons are shown.

    Source: Slack, "Sending messages using incoming webhooks" and "Rate limits".
    """

    name = "slack"

    def __init__(self, webhook_url: str, timeout: float = 10.0, *, answers: Collection[str] = ()) -> None:
        self._url = webhook_url
        self._timeout_s = timeout
        self._answers = answers

    def send(self, message: Message) -> str | None:
        """Post a message; where it stands is not told.

        Raises:
            Unavailable: Slack did not take it; the text holds `retry_after_s=…` where Slack names a time, and never the address.
        """
        _post(self._url, self.body(message), self._timeout_s)
        return None

    def body(self, message: Message) -> dict[str, Any]:
        """Return a message as Slack takes it."""
        return _body(message, self._answers)


class SlackBot:
    """A bot in one channel.

    Args:
        api_url: address of the Web API.
        token: the bot's token.
        channel: the channel's id.
        timeout: seconds to wait for each part of an answer.
        answers: which of our buttons are shown.

    Source: Slack, methods `chat.postMessage`, `chat.update` and `views.open`.
    """

    name = "slack"

    def __init__(self, api_url: str, token: str, channel: str, timeout: float = 10.0, *, answers: Collection[str] = ()) -> None:
        self._api, self._token, self._channel = api_url.rstrip("/"), token, channel
        self._timeout_s = timeout
        self._answers = answers

    def send(self, message: Message) -> str | None:
        """Post a message and return where it stands, for `change`.

        Raises:
            Unavailable: Slack did not take it.
        """
        answer = self._call("chat.postMessage", {"channel": self._channel, **self.body(message)})
        place = {name: answer.get(name) for name in ("channel", "ts")}
        return json.dumps(place) if all(isinstance(one, str) for one in place.values()) else None

    def change(self, place: str, message: Message) -> None:
        """Let a message say something else.

        Args:
            place: what `send` returned.
            message: what it says from now on.

        Raises:
            Unavailable: Slack did not take it.
        """
        self._call("chat.update", {**json.loads(place), **self.body(message)})

    def open_form(self, trigger: str, view: Mapping[str, Any]) -> None:
        """Show a form to who has just pressed a button.

        Raises:
            Unavailable: it could not be shown in time.
        """
        self._call("views.open", {"trigger_id": trigger, "view": dict(view)}, timeout_s=VIEW_S)

    def body(self, message: Message) -> dict[str, Any]:
        """Return a message as Slack takes it."""
        return _body(message, self._answers)

    def _call(self, method: str, body: Mapping[str, Any], timeout_s: float = 0.0) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}"}
        text = _post(f"{self._api}/{method}", body, timeout_s or self._timeout_s, headers)
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or answer.get("ok") is not True:
            why = answer.get("error") if isinstance(answer, dict) else "no JSON"
            raise Unavailable(f"slack: {method} was refused: {str(why)[:80]}")
        return answer


def respond(url: str, body: Mapping[str, Any], timeout_s: float = 10.0) -> None:
    """Answer a press at the address that came with it.

    Raises:
        Unavailable: Slack did not take it.
    """
    _post(url, body, timeout_s)


def _body(message: Message, answers: Collection[str]) -> dict[str, Any]:
    # Only an attachment has a colour; `text` is what a phone shows where there are blocks.
    blocks = answerable(message.blocks, answers, message.link)
    return {
        "text": slack_text(message.subject),
        "blocks": list(blocks[:1]),
        "attachments": [{"color": message.color, "blocks": list(blocks[1:])}],
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _post(url: str, body: Mapping[str, Any], timeout_s: float, headers: Mapping[str, str] | None = None) -> str:
    import requests

    try:
        with requests.post(url, json=dict(body), headers=headers, timeout=timeout_s, allow_redirects=False) as answer:
            status, wait, text = answer.status_code, answer.headers.get("Retry-After", ""), answer.text
    except requests.RequestException as error:
        # Its text holds the address; so does the exception that we would chain.
        raise Unavailable(f"slack: did not answer ({type(error).__name__})") from None
    if status == _TOO_MANY:
        raise Unavailable(f"slack: too many messages, retry_after_s={int(wait) if wait.isascii() and wait.isdigit() else 60}")
    if status != _OK:
        raise Unavailable(f"slack: answered {status}")
    return text
