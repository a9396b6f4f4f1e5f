"""Chat: doing what was acknowledged, and letting posted messages say what is so."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.errors import NotFound, OrchestratorError, StoreUnavailable, Unavailable
from orchestrator.model import Actor, Approval, ApprovalState
from orchestrator.notify.channels import backoff_s, retry_after_s
from orchestrator.notify.markup import slack_text
from orchestrator.notify.message import Message, decided
from orchestrator.notify.slack import Slack, SlackBot, respond
from orchestrator.store import Errand, Posting
from orchestrator.telling.wording import message_about

if TYPE_CHECKING:
    from orchestrator.app import Orchestrator

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 6
"""Slack takes answers to a press for half an hour."""


class Chat:
    """Answers from chat, and the messages that stand there.

    Args:
        program: whose chat it is.
    """

    def __init__(self, program: Orchestrator) -> None:
        self._o = program
        self._seen = (-1, -1)

    def run(self) -> None:
        """Do what waits, then let messages follow."""
        for errand in self._o.store.errands.take():
            self._do(errand)
        self._follow()

    # ------------------------------------------------------------ errands

    def _do(self, errand: Errand) -> None:
        try:
            if errand.kind == "answer" and "words" not in errand.data:
                errand = self._o.store.errands.note(errand, {**errand.data, **self._answer(errand)})
            self._reply(errand.data)
        except StoreUnavailable:
            raise
        except Unavailable as error:
            attempt = errand.attempts + 1
            again_s = max(backoff_s(attempt), retry_after_s(error)) if attempt < MOST_ATTEMPTS else None
            self._o.store.errands.failed(errand, str(error), again_s)
        except Exception as error:
            # One errand that cannot be done must not keep the others back.
            log.exception("errand %s cannot be done", errand.id)
            self._o.store.errands.failed(errand, type(error).__name__, None)
        else:
            self._o.store.errands.done(errand)

    def _answer(self, errand: Errand) -> dict[str, Any]:
        """Answer an approval, once; return what the person is told (`words`) and whether it counted (`counted`)."""
        data = errand.data
        try:
            actor = self._o.chat_actor(data["user_id"])
            if data["decision"] == "reject":
                after = self._o.reject(data["approval_id"], actor, data["digest"], data["reason"])
            else:
                after = self._o.approve(data["approval_id"], actor, data["digest"])
        except StoreUnavailable:
            raise
        except OrchestratorError as error:
            done = self._done_before(errand)
            if done is None:
                return {"words": f"Not done: {error}", "counted": False}
            after = done
        return {"words": decided(after), "counted": True}

    def _done_before(self, errand: Errand) -> Approval | None:
        """Return the approval where this very answer was given before we were killed."""
        try:
            approval = self._o.store.runs.approval(errand.data["approval_id"])
            actor: Actor = self._o.chat_actor(errand.data["user_id"])
        except OrchestratorError:
            return None
        for one in approval.answers:
            same = one.actor == actor.name and one.approve == (errand.data["decision"] == "approve")
            if same and one.at is not None and one.at >= errand.created_at:
                return approval
        return None

    def _reply(self, data: Any) -> None:
        """Take the buttons off the message that was pressed, and tell the person what did not count."""
        url = data.get("response_url", "")
        if not url:
            return
        message = self._about(data.get("approval_id", ""))
        channel = self._o.channels.get("slack")
        if message is not None and isinstance(channel, Slack | SlackBot) and (data.get("counted") or not message.actions):
            respond(url, {"replace_original": True, **channel.body(message)})
        if not data.get("counted"):
            respond(url, {"response_type": "ephemeral", "replace_original": False, "text": slack_text(data["words"])})

    def _about(self, approval: str) -> Message | None:
        return message_about(self._o, approval) if approval else None

    # ------------------------------------------------------------ messages that stand

    def _follow(self) -> None:
        """Change the messages whose question stands otherwise than they say, whoever decided it and wherever."""
        # A message may be noted as posted only after its question was decided: both have to be as at the last look.
        newest = (self._o.store.chain.newest(), self._o.store.errands.newest_posting())
        if newest == self._seen and not self._o.store.errands.is_behind():
            return
        for posting in self._o.store.errands.postings():
            self._make_current(posting)
        self._seen = newest

    def _make_current(self, posting: Posting) -> None:
        """Let one message say what is so, or note that it has to be tried again."""
        channel = self._o.channels.get(posting.channel)
        try:
            approval = self._o.store.runs.approval(posting.approval)
        except NotFound:
            approval = None
        if approval is None or not isinstance(channel, SlackBot):
            self._o.store.errands.not_shown(posting, None)
            return
        state = shown(approval)
        if state == posting.shown:
            return
        try:
            message = message_about(self._o, posting.approval)
            if message is not None:
                channel.change(posting.place, stamped(message, approval))
        except Unavailable as error:
            attempt = posting.attempts + 1
            again_s = max(backoff_s(attempt), retry_after_s(error)) if attempt < MOST_ATTEMPTS else None
            self._o.store.errands.not_shown(posting, again_s)
            self._o.troubles.set("notify:slack", str(error))
            return
        self._o.store.errands.shows(posting, state, final=approval.state is not ApprovalState.PENDING)
        self._o.troubles.set("notify:slack", "")


def shown(approval: Approval) -> str:
    """Return what a message about an approval depends on."""
    return json.dumps([approval.state, approval.have, approval.escalated_to])


def stamped(message: Message, approval: Approval) -> Message:
    """Return a message whose phone line says the decision."""
    words = decided(approval)
    return replace(message, subject=f"{message.subject} · {words}"[:300]) if words and not message.actions else message
