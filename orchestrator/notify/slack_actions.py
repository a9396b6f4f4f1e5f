"""What Slack sends back when somebody presses a button or sends a form, and the form itself.

Source: Slack, "Verifying requests from Slack" (version v0), "Handling user interaction" (`block_actions`, `view_submission`).
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
from orchestrator.notify.markup import slack_text

WINDOW_S = 300
"""A request that is older, or newer, is a replay."""
RESPONSES = ("https://hooks.slack.com/", "https://hooks.slack-gov.com/")
"""Where Slack takes answers; nothing is sent to any other address."""
REASON_CHARS = 3000
_FORM = "reject"
_BUTTONS = ("approve", "reject")


@dataclass(frozen=True, slots=True)
class SlackAction:
    """One press of a button, or a form that was sent."""

    user_id: str
    approval_id: str = ""
    digest: str = ""
    decision: str = ""
    """`approve` or `reject`; empty: a button that only leads to a page."""
    response_url: str = ""
    """Where Slack takes an answer later; empty where it is not Slack's own."""
    trigger: str = ""
    """What a form can be opened with, for three seconds."""
    form: bool = False
    """Whether it is a form that was sent; else a button."""
    reason: str = ""
    """What was written in the form."""


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


def parse_action(form: Mapping[str, str], responses: tuple[str, ...] = RESPONSES) -> SlackAction:
    """Read a verified request.

    Args:
        form: the form's fields; `payload` holds JSON.
        responses: how an address may begin that answers are sent to.

    Raises:
        InvalidRequest: it is no press of one of our buttons, and none of our forms.
    """
    payload = _object(form.get("payload", ""), "payload")
    user = payload.get("user")
    user_id = _word(user.get("id") if isinstance(user, dict) else None, "payload.user.id")
    if payload.get("type") == "view_submission":
        return _sent(payload, user_id, responses)
    pressed = payload.get("actions")
    button = pressed[0] if isinstance(pressed, list) and pressed and isinstance(pressed[0], dict) else {}
    action = button.get("action_id")
    if action in ("open", "open_reject"):
        return SlackAction(user_id)
    if action not in _BUTTONS:
        raise InvalidRequest("payload.actions: is no approve or reject button")
    value = _object(button.get("value"), "payload.actions.value")
    trigger = payload.get("trigger_id")
    return SlackAction(
        user_id=user_id,
        approval_id=_word(value.get("approval"), "payload.actions.value.approval"),
        digest=_word(value.get("digest"), "payload.actions.value.digest"),
        decision=action,
        response_url=_address(payload.get("response_url"), responses),
        trigger=trigger if isinstance(trigger, str) else "",
    )


def _sent(payload: Mapping[str, Any], user_id: str, responses: tuple[str, ...]) -> SlackAction:
    """Read a form that was sent; what it is about stands in what we put into it ourselves."""
    view = payload.get("view")
    if not isinstance(view, dict) or view.get("callback_id") != _FORM:
        raise InvalidRequest("payload.view: is none of our forms")
    about = _object(view.get("private_metadata"), "payload.view.private_metadata")
    reason: Any = view
    for name in ("state", "values", "reason", "reason", "value"):
        reason = reason.get(name) if isinstance(reason, dict) else None
    return SlackAction(
        user_id=user_id,
        approval_id=_word(about.get("approval"), "payload.view.private_metadata.approval"),
        digest=_word(about.get("digest"), "payload.view.private_metadata.digest"),
        decision="reject",
        response_url=_address(about.get("response_url"), responses),
        form=True,
        reason=reason.strip()[:REASON_CHARS] if isinstance(reason, str) else "",
    )


def reject_form(pressed: SlackAction, about: str) -> dict[str, Any]:
    """Return the form that asks for the reason of a rejection; nothing is written in it beforehand.

    Args:
        pressed: the button.
        about: what would be rejected, in words.
    """
    private = {"approval": pressed.approval_id, "digest": pressed.digest, "response_url": pressed.response_url}
    return {
        "type": "modal",
        "callback_id": _FORM,
        "private_metadata": json.dumps(private),
        "title": _label("Reject"),
        "submit": _label("Reject"),
        "close": _label("Back"),
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": slack_text(about) or " ", "verbatim": True}},
            {
                "type": "input",
                "block_id": "reason",
                "label": _label("Why not?"),
                "hint": _label("It is put on record with your name."),
                "element": {"type": "plain_text_input", "action_id": "reason", "multiline": True, "max_length": REASON_CHARS},
            },
        ],
    }


def reason_missing() -> dict[str, Any]:
    """Return the answer to a form without a reason: it stays open and says so."""
    return {"response_action": "errors", "errors": {"reason": "Say in a few words why not."}}


def _label(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _address(value: Any, responses: tuple[str, ...]) -> str:
    return value if isinstance(value, str) and value.startswith(responses) else ""


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
