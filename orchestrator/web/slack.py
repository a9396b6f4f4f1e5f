"""Slack's interactive buttons: approve and reject.

Source: Slack, "Verifying requests from Slack" (signature v0) and "Handling user interaction" (block_actions).
"""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, jsonify, request

from orchestrator.errors import Forbidden, NotFound, OrchestratorError
from orchestrator.model import Actor, ApprovalState, Role
from orchestrator.notify.slack_actions import SlackAction, parse_action, verify_signature
from orchestrator.web.asking import facade
from orchestrator.web.auth import allows
from orchestrator.web.problems import status_of

routes = Blueprint("slack", __name__)


@routes.post("/slack/actions")
def actions() -> Response:
    """Take a button's click; what went wrong is told to who clicked."""
    body = request.get_data(cache=True)
    _check(body)
    pressed = parse_action(request.form)
    try:
        said = _answer(pressed, _actor(pressed.user_id))
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
    headers = request.headers
    stamp, sent = headers.get("X-Slack-Request-Timestamp", ""), headers.get("X-Slack-Signature", "")
    verify_signature(secret, stamp, body, sent, datetime.now(UTC))


def _actor(user: str) -> Actor:
    name = facade().settings.notify.slack_users.get(user, "")
    known = facade().user_actor(name) if name else None
    if known is None:
        raise Forbidden("your Slack account belongs to no user here. Mend: add it to notify.slack_users.")
    return Actor(known.name, known.role, known.groups, "slack")


def _answer(pressed: SlackAction, actor: Actor) -> str:
    if not allows(actor.role, Role.APPROVER):
        raise Forbidden(f"{actor.name} may not answer approvals.")
    if pressed.decision == "reject":
        facade().reject(pressed.approval_id, actor, pressed.digest, "Rejected in Slack, without further words.")
        return f"Rejected by {actor.name}."
    answered = facade().approve(pressed.approval_id, actor, pressed.digest, "Approved in Slack.")
    if answered.state is ApprovalState.PENDING:
        return f"Noted: {answered.have} of {answered.need} have approved."
    return f"Approved by {actor.name}."


def _escaped(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
