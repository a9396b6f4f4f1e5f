"""Slack's buttons and forms: checked, written down, acknowledged; a worker does the rest.

Slack waits three seconds and repeats what it heard no answer to. So nothing but the form is done before the acknowledgement, and a
repeated request is the same errand.

Source: Slack, "Verifying requests from Slack" (signature v0) and "Handling user interaction" (block_actions, view_submission).
"""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from flask import Blueprint, Response, jsonify, request

from orchestrator.errors import Forbidden, NotFound, OrchestratorError, Unavailable
from orchestrator.notify.slack_actions import (
    RESPONSES,
    SlackAction,
    parse_action,
    reason_missing,
    reject_form,
    verify_signature,
)
from orchestrator.web.asking import facade

log = logging.getLogger(__name__)

routes = Blueprint("slack", __name__)


@routes.post("/slack/actions")
def actions() -> Response:
    """Take a press of a button or a form that was sent."""
    body = request.get_data(cache=True)
    _check(body)
    pressed = parse_action(request.form, _responses())
    key = hashlib.sha256(body).hexdigest()
    if not pressed.decision:
        return Response(status=200)  # the button only leads to a page
    if pressed.form and not pressed.reason:
        return jsonify(reason_missing())
    try:
        facade().chat_actor(pressed.user_id)
    except Forbidden as error:
        facade().chat_tell(key, pressed, f"Not done: {error}")
        return Response(status=200)
    if pressed.decision == "reject" and not pressed.form:
        _ask_why(key, pressed)
    elif not facade().chat_said(key, pressed):
        log.info("slack repeats a request (retry %s): it was taken before", request.headers.get("X-Slack-Retry-Num", "-")[:8])
    return Response(status=200)


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


def _responses() -> tuple[str, ...]:
    """Return how an address may begin that answers are sent to: Slack's own, or where the settings say that Slack is."""
    parts = urlsplit(facade().settings.notify.slack_api_url)
    return (*RESPONSES, f"{parts.scheme}://{parts.netloc}/") if parts.hostname in ("127.0.0.1", "localhost", "::1") else RESPONSES


def _ask_why(key: str, pressed: SlackAction) -> None:
    """Open the form that asks for the reason; where that cannot be done, say where else a reason can be given."""
    if not facade().use_once(f"slack:{key}"):
        return  # repeated: the form is open already
    bot, fault = facade().chat_bot(), "a rejection needs a reason, and this chat has no form for it"
    if bot is not None:
        try:
            bot.open_form(pressed.trigger, reject_form(pressed, _about(pressed)))
        except Unavailable as error:
            fault = str(error)
        else:
            return
    page = f"{facade().settings.public_url()}/approvals/{quote(pressed.approval_id, safe=':')}"
    facade().chat_tell(key, pressed, f"Not done: {fault}. Reject on the page: {page}")


def _about(pressed: SlackAction) -> str:
    try:
        proposal = facade().approval(pressed.approval_id).proposal
    except OrchestratorError:
        return ""
    return f"{proposal.entry} on {', '.join(proposal.hosts)}: {proposal.summary}"
