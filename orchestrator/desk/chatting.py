"""What chat asks for: written down before it is acknowledged, done by a worker afterwards."""

from __future__ import annotations

from dataclasses import asdict

from orchestrator.desk.signing_in import RANK, SigningIn
from orchestrator.errors import Forbidden
from orchestrator.model import Actor, Role
from orchestrator.notify.channels import Channel
from orchestrator.notify.slack import SlackBot
from orchestrator.notify.slack_actions import SlackAction

ANSWER, TELL = "answer", "tell"
"""Kinds of errand: an answer to an approval, and words for one person."""


class Chatting(SigningIn):
    """People in chat."""

    channels: dict[str, Channel]

    def chat_actor(self, user: str) -> Actor:
        """Return whom a Slack account stands for.

        Raises:
            Forbidden: nobody who may answer.
        """
        name = self.settings.notify.slack_users.get(user, "")
        known = self.store.people.user(name) if name else None
        if known is None:
            raise Forbidden("your Slack account belongs to no user here. Mend: add it to notify.slack_users.")
        if RANK[known.role] < RANK[Role.APPROVER]:
            raise Forbidden(f"{known.name} may not answer approvals.")
        return Actor(known.name, known.role, known.groups, "slack")

    def chat_said(self, request: str, pressed: SlackAction) -> bool:
        """Write down what somebody pressed or sent; False where the same request came before.

        Args:
            request: what tells one request from another; Slack sends the same again where it heard no answer.
            pressed: what it says.
        """
        return self.store.errands.add(request, ANSWER, asdict(pressed))

    def chat_tell(self, request: str, pressed: SlackAction, words: str) -> bool:
        """Write down what one person in chat is to be told."""
        return self.store.errands.add(request, TELL, {"response_url": pressed.response_url, "words": words})

    def chat_bot(self) -> SlackBot | None:
        """Return the bot that can open forms and change messages, None where there is none."""
        bot = self.channels.get("slack")
        return bot if isinstance(bot, SlackBot) else None
