"""What is still to be told: errands of chat, messages that stand there and can be changed, reminders that were written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any

from peewee import fn

from orchestrator.model import ApprovalState
from orchestrator.store.chain import moment
from orchestrator.store.database import Database

LEASE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Errand:
    """Something acknowledged that has to be done once."""

    id: str
    kind: str
    data: Mapping[str, Any]
    attempts: int
    created_at: datetime
    """When it was acknowledged."""


@dataclass(frozen=True, slots=True)
class Posting:
    """A message about an approval that stands somewhere."""

    id: int
    channel: str
    approval: str
    place: str
    """Where it stands, in the channel's own words."""
    shown: str
    """What it shows, so that a change is noticed."""
    attempts: int


class Errands:
    """Errands and posted messages; a worker that dies leaves them to the next one.

    Args:
        db: the database.
    """

    def __init__(self, db: Database) -> None:
        self._db, self._t = db, db.tables

    # ------------------------------------------------------------ errands

    def add(self, id: str, kind: str, data: Mapping[str, Any]) -> bool:
        """Write an errand; False where it is there already: the same request came again."""
        with self._db.transaction():
            now = self._db.now_ms()
            row = {"id": id, "kind": kind, "data": json.dumps(dict(data)), "due": now, "created_at": now}
            known = self._t.errand.get_or_none(self._t.errand.id == id)
            self._t.errand.insert(**row).on_conflict_ignore().execute()
        return known is None

    def take(self, limit: int = 20) -> list[Errand]:
        """Return errands that are due, the oldest first, held for a minute so that no other worker does them too."""
        table = self._t.errand
        with self._db.reading():
            if not table.select().where(table.state == "pending", table.due <= self._db.now_ms()).exists():
                return []
        with self._db.transaction():
            now = self._db.now_ms()
            query = table.select().where(table.state == "pending", table.due <= now).order_by(table.created_at, table.id).limit(limit)
            rows = list(query if self._db.is_sqlite else query.for_update("FOR UPDATE SKIP LOCKED"))
            if rows:
                table.update(due=now + LEASE_MS).where(table.id.in_([row.id for row in rows])).execute()
        return [Errand(row.id, row.kind, json.loads(row.data), row.attempts, moment(row.created_at)) for row in rows]

    def note(self, errand: Errand, data: Mapping[str, Any]) -> Errand:
        """Keep how far an errand has come; return it so."""
        with self._db.transaction():
            self._t.errand.update(data=json.dumps(dict(data))).where(self._t.errand.id == errand.id).execute()
        return replace(errand, data=data)

    def done(self, errand: Errand) -> None:
        """Mark an errand as done."""
        with self._db.transaction():
            self._t.errand.update(state="done", error="").where(self._t.errand.id == errand.id).execute()

    def failed(self, errand: Errand, error: str, again_s: float | None) -> None:
        """Mark an errand to be tried again after a while, or given up (None)."""
        with self._db.transaction():
            values = {"attempts": errand.attempts + 1, "error": error[:500]}
            if again_s is None:
                values["state"] = "failed"
            else:
                values["due"] = self._db.now_ms() + int(again_s * 1000)
            self._t.errand.update(**values).where(self._t.errand.id == errand.id).execute()

    def sweep(self, older_s: float) -> None:
        """Forget what is over and older."""
        before = self._db.now_ms() - int(older_s * 1000)
        with self._db.transaction():
            self._t.errand.delete().where(self._t.errand.state != "pending", self._t.errand.created_at < before).execute()
            self._t.posted.delete().where(self._t.posted.state != "open", self._t.posted.due < before).execute()

    # ------------------------------------------------------------ reminders

    def unreminded(self, shares: Sequence[float]) -> list[tuple[str, int, int, int]]:
        """Return open approvals with a reminder to write: id, when it was asked and when it expires in ms, how many were written.

        Args:
            shares: when in an approval's time the reminders come, in order; thousands may wait, so the database picks.
        """
        table, now = self._t.approval, self._db.now_ms()
        later = [
            (table.reminded < number) & ((now - table.created_at) >= (table.expires_at - table.created_at) * share)
            for number, share in enumerate(shares, start=1)
        ]
        with self._db.reading():
            query = table.select(table.id, table.created_at, table.expires_at, table.reminded).where(
                table.state == str(ApprovalState.PENDING), table.expires_at > now, reduce(or_, later)
            )
            return [(row.id, row.created_at, row.expires_at, row.reminded) for row in list(query)]

    def mark_reminded(self, approval: str, number: int) -> bool:
        """Note that a reminder is written, in the caller's transaction; False where it was before, or nothing is asked any more."""
        table = self._t.approval
        query = table.update(reminded=number).where(
            table.id == approval, table.reminded < number, table.state == str(ApprovalState.PENDING)
        )
        return bool(query.execute())

    # ------------------------------------------------------------ posted messages

    def posted(self, channel: str, approval: str, place: str, shown: str) -> None:
        """Keep where a message about an approval stands, in the caller's transaction."""
        self._t.posted.insert(channel=channel, approval=approval, place=place, shown=shown, due=self._db.now_ms()).execute()

    def postings(self, limit: int = 200) -> list[Posting]:
        """Return the messages that may still have to change and are due for a look."""
        table = self._t.posted
        with self._db.reading():
            rows = list(table.select().where(table.state == "open", table.due <= self._db.now_ms()).order_by(table.id).limit(limit))
        return [Posting(row.id, row.channel, row.approval, row.place, row.shown, row.attempts) for row in rows]

    def newest_posting(self) -> int:
        """Return the number of the message that was noted last, 0 for none."""
        with self._db.reading():
            return int(self._t.posted.select(fn.MAX(self._t.posted.id)).scalar() or 0)

    def is_behind(self) -> bool:
        """Whether a message could not be changed the last time, and is to be tried again."""
        table = self._t.posted
        with self._db.reading():
            return bool(table.select().where(table.state == "open", table.attempts > 0).exists())

    def shows(self, posting: Posting, shown: str, *, final: bool) -> None:
        """Keep what a message shows now; nothing follows where it is `final`."""
        with self._db.transaction():
            values = {"shown": shown, "attempts": 0, "state": "final" if final else "open"}
            self._t.posted.update(**values).where(self._t.posted.id == posting.id).execute()

    def not_shown(self, posting: Posting, again_s: float | None) -> None:
        """Try to change a message again after a while, or leave it as it is (None)."""
        values: dict[str, Any] = {"attempts": posting.attempts + 1}
        if again_s is None:
            values["state"] = "failed"
        else:
            values["due"] = self._db.now_ms() + int(again_s * 1000)
        with self._db.transaction():
            self._t.posted.update(**values).where(self._t.posted.id == posting.id).execute()
