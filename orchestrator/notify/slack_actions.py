"""What Slack sends back when somebody presses a button.

Source: Slack, "Verifying requests from Slack" (version v0) and "Handling user interaction" (`block_actions`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.errors import InvalidRequest, NotAuthenticated

WINDOW_S = 300
"""A request that is older, or newer, is a replay."""
_RESPONSES = "https://hooks.slack.com/"


@dataclass(frozen=True, slots=True)
class SlackAction:
    """One press of a button."""

    user_id: str
    approval_id: str
    digest: str
    decision: str
    """`approve` or `reject`."""
    response_url: str = ""
    """Where Slack takes an answer later; empty where it is not Slack's own."""


def signature_of(secret: str, timestamp: str, body: bytes) -> str:
    """Return Slack's signature v0 of a request."""
    return "v0=" + hmac.new(secret.encode(), b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()


def verify_signature(secret: str, timestamp: str, body: bytes, signature: str, now: datetime) -> None:
    """Check that a request comes from Slack and is fresh.

    Args:
        secret: the app's signing secret.
        timestamp: header `X-Slack-Request-Timestamp`, unix seconds.
        body: the raw body.
        signature: header `X-Slack-Signature`.
        now: our time, aware.

    Raises:
        NotAuthenticated: it does not, or is more than five minutes off, or no secret is set.
    """
    if not secret:
        raise NotAuthenticated("notify.slack_signing_secret: is not set. Mend: set it to use Slack's buttons.")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):  # noqa: PLR2004 # seconds for 30,000 years
        raise NotAuthenticated("the request carries no Slack timestamp")
    if not hmac.compare_digest(signature_of(secret, timestamp, body).encode(), signature.encode("utf-8", "replace")):
        raise NotAuthenticated("the signature is not Slack's")
    if abs(now.timestamp() - int(timestamp)) > WINDOW_S:
        raise NotAuthenticated("the request is more than five minutes old")


def parse_action(form: Mapping[str, str]) -> SlackAction:
    """Read a verified request.

    Args:
        form: the form's fields; `payload` holds JSON.

    Raises:
        InvalidRequest: it is no press of one of our buttons.
    """
    payload = _object(form.get("payload", ""), "payload")
    pressed = payload.get("actions")
    button = pressed[0] if isinstance(pressed, list) and pressed and isinstance(pressed[0], dict) else {}
    decision = button.get("action_id")
    if decision not in ("approve", "reject"):
        raise InvalidRequest("payload.actions: is no approve or reject button")
    value = _object(button.get("value"), "payload.actions.value")
    user = payload.get("user")
    answer = payload.get("response_url")
    return SlackAction(
        user_id=_word(user.get("id") if isinstance(user, dict) else None, "payload.user.id"),
        approval_id=_word(value.get("approval"), "payload.actions.value.approval"),
        digest=_word(value.get("digest"), "payload.actions.value.digest"),
        decision=decision,
        response_url=answer if isinstance(answer, str) and answer.startswith(_RESPONSES) else "",
    )


def _object(text: Any, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest(f"{where}: is no JSON object")
    return value


def _word(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{where}: is missing")
    return value
