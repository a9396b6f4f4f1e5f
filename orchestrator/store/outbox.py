"""The outbox: what is to be told, written with the event it tells of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.model import AuditEvent
from orchestrator.store.chain import moment
from orchestrator.store.database import Database

LEASE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Letter:
    """One event for one channel."""

    id: int
    event: int
    incident: str
    kind: str
    channel: str
    attempts: int
    until: int = 0
    """When another worker may take it, by the database's clock in milliseconds."""


@dataclass(frozen=True, slots=True)
class Posted:
    """How a message about an event stands with one channel."""

    event: int
    kind: str
    channel: str
    state: str
    """`pending`, `sent`, `failed`, or how else it was told."""
    attempts: int
    error: str
    at: datetime


class Outbox:
    """Messages that wait until their channel has taken them.

    Args:
        db: the database.
        route: (kind of event, severity) → names of the channels that want it.
    """

    def __init__(self, db: Database, route: Callable[[str, str], tuple[str, ...]]) -> None:
        self._db, self._t = db, db.tables
        self._route = route

    def add(self, event: AuditEvent, severity: str) -> None:
        """Write an event for each channel that wants it, in the caller's transaction."""
        self.add_for(event, self._route(event.kind, severity))

    def add_for(self, event: AuditEvent, channels: tuple[str, ...]) -> None:
        """Write an event for these channels, in the caller's transaction."""
        now = self._db.now_ms()
        rows = [
            {"event": event.id, "incident": event.incident, "kind": event.kind, "channel": name, "due": now, "created_at": now}
            for name in channels
        ]
        if rows:
            self._t.outbox.insert_many(rows).execute()

    def about(self, events: Sequence[int]) -> list[Posted]:
        """Return how the messages about these audit events stand, oldest first."""
        table = self._t.outbox
        with self._db.reading():
            rows = list(table.select().where(table.event.in_(list(events))).order_by(table.id))
        return [Posted(row.event, row.kind, row.channel, row.state, row.attempts, row.error, moment(row.created_at)) for row in rows]

    def take(self, limit: int = 20) -> list[Letter]:
        """Return letters that are due, held for a minute so that no other worker sends them too."""
        table = self._t.outbox
        with self._db.reading():
            now = self._db.now_ms()
            if not table.select().where(table.state == "pending", table.due <= now).exists():
                return []
        with self._db.transaction():
            query = table.select().where(table.state == "pending", table.due <= now).order_by(table.id).limit(limit)
            rows = list(query if self._db.is_sqlite else query.for_update("FOR UPDATE SKIP LOCKED"))
            if rows:
                table.update(due=now + LEASE_MS).where(table.id.in_([row.id for row in rows])).execute()
        return [Letter(row.id, row.event, row.incident, row.kind, row.channel, row.attempts, now + LEASE_MS) for row in rows]

    def keep(self, letter: Letter) -> bool:
        """Hold a letter for another minute, right before it is sent; False where another worker has taken it meanwhile."""
        table = self._t.outbox
        with self._db.transaction():
            query = table.update(due=self._db.now_ms() + LEASE_MS)
            return bool(query.where(table.id == letter.id, table.state == "pending", table.due == letter.until).execute())

    def sent(self, letter: Letter, state: str = "sent") -> None:
        """Mark a letter as sent, or as told in a summary."""
        with self._db.transaction():
            self._t.outbox.update(state=state, error="").where(self._t.outbox.id == letter.id).execute()

    def failed(self, letter: Letter, error: str, again_s: float | None) -> None:
        """Mark a letter to be tried again after a while, or given up (None)."""
        with self._db.transaction():
            values = {"attempts": letter.attempts + 1, "error": error[:500]}
            if again_s is None:
                values["state"] = "failed"
            else:
                values["due"] = self._db.now_ms() + int(again_s * 1000)
            self._t.outbox.update(**values).where(self._t.outbox.id == letter.id).execute()

    def postpone(self, letter: Letter, wait_s: float) -> None:
        """Let a letter wait; it has not been tried."""
        with self._db.transaction():
            self._t.outbox.update(due=self._db.now_ms() + int(wait_s * 1000)).where(self._t.outbox.id == letter.id).execute()

    def sent_since(self, channel: str, since_ms: int) -> int:
        """Return how many letters of a channel were made since a time."""
        table = self._t.outbox
        with self._db.reading():
            return int(table.select().where(table.channel == channel, table.created_at >= since_ms, table.state == "sent").count())

    def counts(self) -> dict[str, int]:
        """Return state → how many."""
        table = self._t.outbox
        with self._db.reading():
            return {state: int(table.select().where(table.state == state).count()) for state in ("pending", "sent", "failed", "summarised")}
