"""Reminders: who was asked hears of it again when half of the time is over, and once more before it expires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import NotFound
from orchestrator.model import ApprovalState, Happening
from orchestrator.settings import NotifySettings

if TYPE_CHECKING:
    from orchestrator.app import Orchestrator

KIND = "approval.reminder"


class Reminders:
    """Reminds of approvals that nobody has answered; each reminder is written once, however many workers look.

    Args:
        program: whose approvals.
    """

    def __init__(self, program: Orchestrator) -> None:
        self._o = program

    def run(self) -> None:
        """Remind of what has come due since the last look; of several at once only the latest is told."""
        shares = sorted(self._o.settings.notify.reminders)
        if not shares:
            return
        now = self._o.store.db.now_ms()
        for identity, begun, end, reminded in self._o.store.errands.unreminded(shares):
            due = sum(now >= begun + share * (end - begun) for share in shares)
            if due > reminded and now < end:
                self._remind(identity, due, len(shares))

    def _remind(self, identity: str, number: int, of: int) -> None:
        store = self._o.store
        try:
            approval = store.runs.approval(identity)
        except NotFound:
            return
        now = store.db.now()
        if approval.state is not ApprovalState.PENDING or approval.snoozed(now):
            return
        summary = store.incidents.summary(approval.incident)
        data = {
            "approval": identity,
            "number": number,
            "of": of,
            "entry": approval.proposal.entry,
            "hosts": list(approval.proposal.hosts),
            "have": approval.have,
            "need": approval.need,
            "left_s": int((approval.expires_at - now).total_seconds()),
        }
        with store.db.transaction():
            store.chain.lock(approval.incident)
            if not store.errands.mark_reminded(identity, number):
                return
            event = store.chain.append(approval.incident, Happening(KIND, data=data))
            severity = summary.severity if summary else ""
            store.outbox.add(event, severity)
            store.outbox.add_for(event, self._next_channels(number))

    def _next_channels(self, number: int) -> tuple[str, ...]:
        """Return the channels that hear of it from the reminder `number` on."""
        return tuple(name for name in self._o.settings.notify.escalate_to[:number] if name in self._o.channels)


def kept_back(rules: NotifySettings, kind: str) -> tuple[str, ...]:
    """Return the channels that an event of this kind does not go to by itself: they come in with the reminders."""
    return rules.escalate_to if kind in ("approval.asked", KIND) else ()
