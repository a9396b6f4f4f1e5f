"""The audit log in the database."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from peewee import fn

from orchestrator import audit
from orchestrator.errors import Conflict, NotFound
from orchestrator.model import AuditEvent, Happening
from orchestrator.store.database import Database


def moment(ms: int) -> datetime:
    """Return milliseconds since 1970 as an aware UTC datetime."""
    return datetime.fromtimestamp(ms / 1000, tz=UTC)


PRUNED_AT_ONCE = 500


class Chain:
    """Appends to, reads and checks the audit log."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._t = db.tables

    def lock(self, incident: str) -> None:
        """Let nobody else append to an incident's chain until the caller's transaction has ended; to be taken before its rows."""
        self._db.lock(f"audit:{incident}")

    def append(self, incident: str, happening: Happening) -> AuditEvent:
        """Put a happening on record, in the caller's transaction."""
        table = self._t.audit
        self.lock(incident)
        last = table.select(table.seq, table.hash).where(table.incident == incident).order_by(table.seq.desc()).limit(1).first()
        event = audit.place(
            happening,
            incident=incident,
            seq=last.seq + 1 if last else 1,
            at=moment(self._db.now_ms()),
            prev=last.hash if last else audit.GENESIS,
            salt=secrets.token_hex(8),
        )
        row = table.create(
            incident=incident,
            seq=event.seq,
            at=int(event.at.timestamp() * 1000 + 0.5),
            kind=event.kind,
            actor=event.actor,
            data=audit.canonical(event.data),
            salt=event.salt,
            digest=event.digest,
            prev=event.prev,
            hash=event.hash,
        )
        return _event(row)

    def events(self, *, incident: str = "", after: int = 0, limit: int = 100) -> list[AuditEvent]:
        """Return events in the order of the log."""
        with self._db.reading():
            query = self._t.audit.select().where(self._t.audit.id > after)
            if incident:
                query = query.where(self._t.audit.incident == incident)
            return [_event(row) for row in query.order_by(self._t.audit.id).limit(limit)]

    def latest(self, limit: int, before: int = 0, *, incident: str = "", kind: str = "", actor: str = "") -> list[AuditEvent]:
        """Return the newest events, newest first.

        Args:
            limit: how many at most.
            before: only events with a smaller id; 0: all.
            incident: only of this incident.
            kind: only kinds that begin so: `approval`, `run.ended`.
            actor: only by this actor, exactly.
        """
        table = self._t.audit
        with self._db.reading():
            query = table.select()
            if before:
                query = query.where(table.id < before)
            if incident:
                query = query.where(table.incident == incident)
            if kind:
                query = query.where(table.kind.startswith(kind))
            if actor:
                query = query.where(table.actor == actor)
            return [_event(row) for row in query.order_by(table.id.desc()).limit(limit)]

    def each(self, since_ms: int = 0) -> Iterator[AuditEvent]:
        """Yield the whole log, a page at a time."""
        after = 0
        while page := self.events(after=after, limit=1000):
            yield from (event for event in page if event.at.timestamp() * 1000 >= since_ms)
            after = page[-1].id

    def newest(self) -> int:
        """Return the id of the newest event, 0 for an empty log."""
        with self._db.reading():
            return int(self._t.audit.select(fn.MAX(self._t.audit.id)).scalar() or 0)

    def seal(self) -> str:
        """Link the heads of all chains into the global chain; return the head, or an empty string where nothing is new."""
        table = self._t.seal
        with self._db.transaction():
            self._db.lock("seal")
            last = table.select().order_by(table.id.desc()).limit(1).first()
            upto = self.newest()
            if upto == (last.upto if last else 0):
                return ""
            heads = self._heads(upto)
            prev = last.hash if last else audit.GENESIS
            hashed = audit.seal_hash(prev, upto, heads)
            table.create(at=self._db.now_ms(), upto=upto, heads=audit.canonical(heads), prev=prev, hash=hashed)
            return hashed

    def verify(self, head: str = "") -> dict[str, Any]:
        """Check every chain and the global chain, and that `head`, kept outside, is part of it.

        Returns:
            `{"ok": bool, "events": n, "incidents": n, "seals": n, "head": hash, "problems": […], "not_covered": words}`.
        """
        by_place: set[tuple[str, str]] = set()
        newest: list[int] = []
        problems = audit.chain_problems(self._noting(by_place, newest))
        problems += audit.body_problems(self._without_body())
        prev, seen, upto = audit.GENESIS, set(), 0
        for row in list(self._t.seal.select().order_by(self._t.seal.id)):
            heads = json.loads(row.heads)
            if row.prev != prev or row.hash != audit.seal_hash(prev, row.upto, heads):
                problems.append(f"seal #{row.id}: does not follow the seal before it")
            problems.extend(f"seal #{row.id}: the head of {name} is gone" for name, value in heads.items() if (name, value) not in by_place)
            prev, upto = row.hash, row.upto
            seen.add(row.hash)
        if head and head not in seen:
            problems.append(f"the head {head[:16]}… kept outside is not part of this log: it was cut or written anew")
        newer = sum(number > upto for number in newest)
        covered = "" if head else "no head from outside was given: a log that was cut or written anew as a whole is not noticed; "
        return {
            "ok": not problems,
            "events": len(newest),
            "incidents": len({incident for incident, _ in by_place}),
            "seals": len(seen),
            "head": prev if seen else "",
            "problems": problems,
            "not_covered": f"{covered}{newer} events are newer than the last seal",
        }

    def _noting(self, by_place: set[tuple[str, str]], numbers: list[int]) -> Iterator[AuditEvent]:
        """Yield every event, chain by chain, one at a time, and note where each stands."""
        table = self._t.audit
        for row in table.select().order_by(table.incident, table.seq).iterator():
            event = _event(row)
            by_place.add((event.incident, event.hash))
            numbers.append(event.id)
            yield event

    def _without_body(self) -> Iterator[AuditEvent]:
        """Yield the events whose body is gone, and the tombstones."""
        table = self._t.audit
        query = table.select().where(table.data.is_null() | table.kind.in_([audit.REDACTED, audit.PRUNED])).order_by(table.id)
        yield from (_event(row) for row in query.iterator())

    def redact(self, event: int, actor: str, reason: str) -> None:
        """Take the body of an event out and leave a tombstone; the chain still holds.

        Raises:
            NotFound: there is no such event.
            Conflict: its body is gone already, or it is a tombstone itself.
        """
        with self._db.erasing(), self._db.transaction():
            row = self._t.audit.get_or_none(self._t.audit.id == event)
            if row is None:
                raise NotFound(f"there is no event {event}")
            if row.data is None or row.kind in (audit.REDACTED, audit.PRUNED):
                raise Conflict(f"event {event} has no body that could be taken out")
            self._t.audit.update(data=None, salt="").where(self._t.audit.id == event).execute()
            self.append(row.incident, Happening(audit.REDACTED, actor, {"event": event, "seq": row.seq, "reason": reason}))

    def prune(self, before: datetime, actor: str, reason: str = "") -> tuple[int, int]:
        """Take out the bodies of all events before a time, of incidents that are over, and the output of their runs.

        One tombstone is written first, so that the log holds wherever this is interrupted.

        Returns:
            How many bodies and how many pieces of run output were taken out.
        """
        table, until = self._t.audit, int(before.timestamp() * 1000)
        incident, run, output = self._t.incident, self._t.run, self._t.run_event
        open_ones = incident.select(incident.id).where(incident.open_key.is_null(False))
        old = (
            (table.at < until)
            & table.data.is_null(False)
            & table.incident.not_in(open_ones)
            & table.kind.not_in([audit.REDACTED, audit.PRUNED])
        )
        with self._db.transaction():
            count, upto = table.select(fn.COUNT(table.id), fn.MAX(table.id)).where(old).tuples()[0]
            if not count:
                return 0, 0
            data = {"before": before.astimezone(UTC).isoformat(), "upto": upto, "events": count, "reason": reason}
            self.append(audit.SYSTEM, Happening(audit.PRUNED, actor, data))
        with self._db.erasing():
            while self._prune_some(table.select(table.id).where(old, table.id <= upto).order_by(table.id).limit(PRUNED_AT_ONCE)):
                continue
            with self._db.transaction():
                ended = run.select(run.id).where(run.ended_at < until, run.incident.not_in(open_ones))
                pieces = output.delete().where(output.run.in_(ended)).execute()
        return int(count), int(pieces)

    def _prune_some(self, some: Any) -> bool:
        with self._db.transaction():
            numbers = [row.id for row in list(some)]
            if numbers:
                self._t.audit.update(data=None, salt="").where(self._t.audit.id.in_(numbers)).execute()
        return bool(numbers)

    def _heads(self, upto: int) -> Mapping[str, str]:
        """Return the head of each chain that has grown since the last seal."""
        table = self._t.audit
        last = self._t.seal.select(fn.MAX(self._t.seal.upto)).scalar() or 0
        query = table.select(table.incident, table.hash).where(table.id > last, table.id <= upto).order_by(table.id)
        return {row.incident: row.hash for row in list(query)}


def _event(row: Any) -> AuditEvent:
    data = json.loads(row.data) if row.data is not None else None
    return AuditEvent(row.id, row.incident, row.seq, moment(row.at), row.kind, row.actor, data, row.digest, row.prev, row.hash, row.salt)
