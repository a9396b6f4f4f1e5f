"""The message about an event or a question, with the card as the page shows it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from orchestrator.card import Card
from orchestrator.errors import NotFound, OrchestratorError
from orchestrator.model import ApprovalState, AuditEvent
from orchestrator.notify.message import Message, render

if TYPE_CHECKING:
    from orchestrator.app import Orchestrator

log = logging.getLogger(__name__)

_LOOKED_AT = 2000
"""Events of one incident among which the question is looked for."""


def message_of(program: Orchestrator, event: AuditEvent) -> Message:
    """Return what is told of an event, as things stand now."""
    identity = (event.data or {}).get("approval")
    approval, card = None, None
    if isinstance(identity, str):
        try:
            approval = program.store.runs.approval(identity)
            card = _card(program, identity) if event.kind.startswith("approval.") and approval.state is ApprovalState.PENDING else None
        except NotFound:
            approval = None
    return render(event, program.store.incidents.summary(event.incident), approval, program.settings.public_url(), card)


def message_about(program: Orchestrator, approval: str) -> Message | None:
    """Return what a message that asks an approval says now; None where nobody was asked."""
    incident = approval.partition(":")[0]
    for event in program.store.chain.events(incident=incident, limit=_LOOKED_AT):
        if event.kind == "approval.asked" and (event.data or {}).get("approval") == approval:
            return message_of(program, event)
    return None


def _card(program: Orchestrator, approval: str) -> Card | None:
    try:
        return program.card(approval)
    except OrchestratorError as error:
        # People are told with fewer words rather than not at all.
        log.warning("the card of %s cannot be drawn: %s", approval, error)
        return None
