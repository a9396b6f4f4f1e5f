"""Slack's interactive buttons: approve and reject.

Source: Slack, "Verifying requests from Slack" (signature v0) and "Handling user interaction" (block_actions).
"""

from __future__ import annotations

import hashlib
import hmac
import time

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, Field, ValidationError

from orchestrator.errors import Forbidden, InvalidRequest, NotAuthenticated, NotFound, OrchestratorError
from orchestrator.model import Actor, ApprovalState, Role
from orchestrator.web.asking import facade
from orchestrator.web.auth import allows
from orchestrator.web.problems import status_of

routes = Blueprint("slack", __name__)

WINDOW_S = 300
"""A request older or newer than this is a replay."""


class _User(BaseModel):
    id: str


class _Action(BaseModel):
    action_id: str
    value: str


class _Payload(BaseModel):
    user: _User
    actions: list[_Action] = Field(min_length=1)


class _Value(BaseModel):
    approval: str
    digest: str


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return Slack's signature v0 of a request.

    Args:
        secret: the signing secret.
        timestamp: the header X-Slack-Request-Timestamp, seconds since the epoch.
        body: the request's raw body.
    """
    return "v0=" + hmac.new(secret.encode(), b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()


@routes.post("/slack/actions")
def actions() -> Response:
    """Take a button's click; what went wrong is told to who clicked."""
    body = request.get_data(cache=True)
    _check(body)
    asked, value = _read()
    verb, user = asked.actions[0].action_id, asked.user.id
    try:
        said = _answer(verb, value, _actor(user))
    except OrchestratorError as error:
        if status_of(error) >= 500:  # noqa: PLR2004 - Slack may send it again
            raise
        said = f"Not done: {error}"
    return jsonify({"response_type": "ephemeral", "replace_original": False, "text": _escaped(said)})


def _check(body: bytes) -> None:
    """Check the signature and its age.

    Raises:
        NotFound: no signing secret is set.
        NotAuthenticated: the signature is wrong, or outside the window.
    """
    secret = facade().settings.notify.slack_signing_secret.get_secret_value()
    if not secret:
        raise NotFound("Slack's buttons are off. Mend: set notify.slack_signing_secret.")
    timestamp = request.headers.get("X-Slack-Request-Timestamp", "")
    sent = request.headers.get("X-Slack-Signature", "").encode("utf-8", "replace")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):  # noqa: PLR2004 - seconds for 30,000 years
        raise NotAuthenticated("The request carries no Slack timestamp.")
    if not hmac.compare_digest(sent, signature(secret, timestamp, body).encode()):
        raise NotAuthenticated("Slack's signature does not match.")
    if abs(time.time() - int(timestamp)) > WINDOW_S:
        raise NotAuthenticated("The request is older than five minutes.")


def _read() -> tuple[_Payload, _Value]:
    try:
        asked = _Payload.model_validate_json(request.form.get("payload", ""))
        return asked, _Value.model_validate_json(asked.actions[0].value)
    except ValidationError:
        raise InvalidRequest("This is not one of our buttons.") from None


def _actor(user: str) -> Actor:
    name = facade().settings.notify.slack_users.get(user, "")
    known = facade().user_actor(name) if name else None
    if known is None:
        raise Forbidden("your Slack account belongs to no user here. Mend: add it to notify.slack_users.")
    return Actor(known.name, known.role, known.groups, "slack")


def _answer(verb: str, value: _Value, actor: Actor) -> str:
    if not allows(actor.role, Role.APPROVER):
        raise Forbidden(f"{actor.name} may not answer approvals.")
    match verb:
        case "approve":
            answered = facade().approve(value.approval, actor, value.digest, "Approved in Slack.")
            if answered.state is ApprovalState.PENDING:
                return f"Noted: {answered.have} of {answered.need} have approved."
            return f"Approved by {actor.name}."
        case "reject":
            facade().reject(value.approval, actor, value.digest, "Rejected in Slack, without further words.")
            return f"Rejected by {actor.name}."
        case _:
            raise InvalidRequest("this button is not one of ours.")


def _escaped(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
