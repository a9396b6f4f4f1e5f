"""Storms of messages, one per channel: what people are told of instead of thousands of single messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peewee import fn

from orchestrator.model import StormTally
from orchestrator.store.chain import moment
from orchestrator.store.database import Database
from orchestrator.store.outbox import LEASE_MS, Letter

MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Storm:
    """A storm on one channel, as a durable obligation to tell people of it."""

    channel: str
    began_at: int
    told_at: int | None
    """When people were told last; None: they have not been."""
    attempts: int


class Storms:
    """Begun by the first letter that is too many, told of once, ended with a last message."""

    def __init__(self, db: Database) -> None:
        self._db, self._t = db, db.tables

    def is_open(self, channel: str) -> bool:
        """Whether a storm is on."""
        table = self._t.storm
        with self._db.reading():
            return bool(table.select().where(table.channel == channel).exists())

    def swallow(self, channel: str, letters: Sequence[Letter], wait_s: float) -> None:
        """Count letters to the channel's storm, which begins with them where none is on; people are told after `wait_s`."""
        now, outbox = self._db.now_ms(), self._t.outbox
        with self._db.transaction():
            row = {"channel": channel, "began_at": now, "due": now + int(wait_s * 1000)}
            self._t.storm.insert(**row).on_conflict_ignore().execute()
            numbers = [letter.id for letter in letters]
            outbox.update(state="summarised", error="").where(outbox.id.in_(numbers)).execute()

    def due(self) -> list[Storm]:
        """Return the storms that have to be looked at, held for a minute so that no other worker tells of them too."""
        table = self._t.storm
        with self._db.transaction():
            now = self._db.now_ms()
            query = table.select().where(table.due <= now)
            rows = list(query if self._db.is_sqlite else query.for_update("FOR UPDATE SKIP LOCKED"))
            for row in rows:
                table.update(due=now + LEASE_MS).where(table.channel == row.channel).execute()
        return [Storm(row.channel, row.began_at, row.told_at, row.attempts) for row in rows]

    def look_again(self, storm: Storm, wait_s: float, *, told: bool = False, failed: bool = False) -> None:
        """Come back to a storm after a while."""
        table, now = self._t.storm, self._db.now_ms()
        values: dict[str, Any] = {"due": now + int(wait_s * 1000), "attempts": storm.attempts + 1 if failed else 0}
        if told:
            values["told_at"] = now
        with self._db.transaction():
            table.update(**values).where(table.channel == storm.channel).execute()

    def over(self, storm: Storm) -> None:
        """End a storm: letters are sent one by one again."""
        table = self._t.storm
        with self._db.transaction():
            table.delete().where(table.channel == storm.channel).execute()

    def made_since(self, channel: str, since_ms: int) -> int:
        """Return how many letters of a channel were written since a time."""
        table = self._t.outbox
        with self._db.reading():
            return int(table.select().where(table.channel == channel, table.created_at >= since_ms).count())

    def tally(self, storm: Storm) -> StormTally:
        """Count what a storm has swallowed: grouped by the database, so that the memory it takes does not grow with it."""
        outbox, incident = self._t.outbox, self._t.incident
        swallowed = (outbox.channel == storm.channel) & (outbox.state == "summarised") & (outbox.created_at >= storm.began_at - LEASE_MS)

        def counted(column: Any) -> tuple[tuple[str, int], ...]:
            many = fn.COUNT(fn.DISTINCT(outbox.incident))
            query = outbox.select(column.alias("what"), many.alias("n")).join(incident, on=(incident.id == outbox.incident))
            rows = query.where(swallowed).group_by(column).order_by(many.desc(), column).limit(MOST_NAMED).dicts()
            return tuple((str(row["what"]), int(row["n"])) for row in list(rows))

        with self._db.reading():
            whole = outbox.select(
                fn.COUNT(outbox.id), fn.COUNT(fn.DISTINCT(outbox.incident)), fn.COUNT(fn.DISTINCT(fn.NULLIF(incident.target, "")))
            )
            letters, incidents, hosts = whole.join(incident, on=(incident.id == outbox.incident)).where(swallowed).tuples()[0]
            kinds = (
                outbox.select(outbox.kind, fn.COUNT(outbox.id)).where(swallowed).group_by(outbox.kind).order_by(fn.COUNT(outbox.id).desc())
            )
            return StormTally(
                began_at=moment(storm.began_at),
                now=self._db.now(),
                letters=letters,
                incidents=incidents,
                hosts=hosts,
                alertnames=counted(incident.alertname),
                targets=counted(incident.target),
                severities=counted(incident.severity),
                statuses=counted(incident.status),
                kinds=tuple((kind, int(count)) for kind, count in list(kinds.tuples())),
            )
