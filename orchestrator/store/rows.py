"""Incident rows: written, read, listed, told something."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from peewee import fn
from pydantic import TypeAdapter

from orchestrator.errors import Conflict, NotFound
from orchestrator.model import (
    OPEN,
    Alert,
    AlertRecord,
    AlertStatus,
    Happening,
    Incident,
    IncidentSummary,
    Reason,
    Status,
)
from orchestrator.store.chain import Chain, moment
from orchestrator.store.database import Database
from orchestrator.store.outbox import Outbox
from orchestrator.store.runs import Runs
from orchestrator.store.standing import Standing

INCIDENT: TypeAdapter[Incident] = TypeAdapter(Incident)
OPEN_VALUES = [str(status) for status in OPEN]
MANUAL = "ManualRun"
"""The alert name of what a person proposed."""
ACTIVE_VALUES = [value for value in OPEN_VALUES if value != Status.ESCALATED]
SEVERITIES = {"critical": 0, "page": 0, "error": 1, "major": 1, "warning": 2, "minor": 3, "info": 4, "none": 5}


class Rows:
    """The rows whose life is the workflow."""

    def __init__(self, db: Database, chain: Chain, runs: Runs, outbox: Outbox, new_id: Callable[[], str]) -> None:
        self._db, self._t = db, db.tables
        self._chain, self._runs, self._outbox = chain, runs, outbox
        self._standing = Standing(db)
        self._new_id = new_id

    def insert(self, incident: Incident, now: int, run_at: int | None = None) -> None:
        """Write a new incident row, due at once."""
        self._t.incident.create(
            **self._columns(incident),
            open_key=incident.alert.fingerprint if incident.open else None,
            created_at=now,
            updated_at=now,
            run_at=now if run_at is None else run_at,
        )

    def _put_on_record(self, identity: str, alert: Alert, happening: Happening) -> None:
        event = self._chain.append(identity, happening)
        self._outbox.add(event, alert.severity)

    # ------------------------------------------------------------ signals

    def resolve(self, identity: str, wake: Callable[[str], None]) -> None:
        """Tell an incident that its alert has resolved, though no delivery said so."""
        with self._db.transaction():
            changed = self._t.incident.update(firing=False).where(self._t.incident.id == identity, self._t.incident.firing).execute()
            if changed:
                self._signal(identity, "resolved", {"actor": "reconciliation"}, self._db.now_ms(), wake)

    def signal(self, identity: str, kind: str, data: Mapping[str, Any], wake: Callable[[str], None]) -> int:
        """Tell an incident something; return the signal's number."""
        with self._db.transaction():
            self.get(identity)
            return self._signal(identity, kind, data, self._db.now_ms(), wake)

    def pending(self, number: int) -> bool:
        """Whether a signal has not been taken in yet."""
        with self._db.reading():
            return self._t.signal.get_or_none(self._t.signal.id == number) is not None

    def has_signal(self, identity: str, *kinds: str) -> bool:
        """Whether such a signal waits for the incident."""
        table = self._t.signal
        with self._db.reading():
            return bool(table.select().where(table.incident == identity, table.kind.in_(kinds)).exists())

    def _signal(self, identity: str, kind: str, data: Mapping[str, Any], now: int, wake: Callable[[str], None]) -> int:
        row = self._t.signal.create(incident=identity, kind=kind, data=json.dumps(dict(data)), at=now)
        self._t.incident.update(run_at=now).where(self._t.incident.id == identity).execute()
        wake(identity)
        return int(row.id)

    # ------------------------------------------------------------ reading

    def get(self, identity: str) -> Incident:
        """Return an incident whole.

        Raises:
            NotFound: there is none of that id.
        """
        with self._db.reading():
            row = self._t.incident.get_or_none(self._t.incident.id == identity)
            if row is None:
                raise NotFound(f"there is no incident {identity!r}")
            return INCIDENT.validate_json(row.data)

    def find(self, **asked: Any) -> tuple[list[IncidentSummary], str]:
        """Return a page of incidents, newest first, and the cursor of the next page.

        Args:
            asked: `status` (tuple), `fingerprint`, `alertname`, `host`, `since` (datetime), `limit`, `cursor`, `parent`.
        """
        table, limit = self._t.incident, int(asked.get("limit", 100))
        query = table.select(*[field for name, field in table._meta.fields.items() if name != "data"])  # noqa: SLF001 - peewee's documented way
        for column, name in (
            (table.fingerprint, "fingerprint"),
            (table.alertname, "alertname"),
            (table.target, "host"),
            (table.parent, "parent"),
        ):
            if asked.get(name):
                query = query.where(column == asked[name])
        since = asked.get("since")
        if since is not None:
            query = query.where(table.created_at >= int(since.timestamp() * 1000))
        if asked.get("cursor"):
            query = query.where(table.id < asked["cursor"])
        query = query.order_by(table.id.desc()).limit(limit + 1)
        with self._db.reading():
            # A query per status reads each from its index's end; one for several would sort everything that ever ended.
            parts = [query.where(table.status == str(status)) for status in asked.get("status") or ()] or [query]
            rows = sorted((row for part in parts for row in list(part)), key=lambda row: row.id, reverse=True)[: limit + 1]
        items = [_summary(row) for row in rows[:limit]]
        return items, items[-1].id if len(rows) > limit else ""

    def summary(self, identity: str) -> IncidentSummary | None:
        """Return one line of an incident, None where there is none."""
        with self._db.reading():
            row = self._t.incident.get_or_none(self._t.incident.id == identity)
        return _summary(row) if row is not None else None

    def counts(self) -> dict[str, int]:
        """Return status → how many."""
        table = self._t.incident
        with self._db.reading():
            return {row.status: row.n for row in list(table.select(table.status, fn.COUNT(table.id).alias("n")).group_by(table.status))}

    def firing_targets(self) -> int:
        """Return how many different machines have an open, firing incident."""
        table = self._t.incident
        with self._db.reading():
            query = table.select(fn.COUNT(fn.DISTINCT(table.target))).where(table.status.in_(OPEN_VALUES), table.firing, table.target != "")
            return int(query.scalar() or 0)

    def open_fingerprints(self) -> dict[str, tuple[str, bool]]:
        """Return fingerprint → (incident id, firing) of open and suppressed incidents."""
        table = self._t.incident
        with self._db.reading():
            held = table.status.in_(OPEN_VALUES) | ((table.status == Status.SUPPRESSED) & table.firing)
            query = table.select(table.id, table.fingerprint, table.firing).where(table.status.in_([*OPEN_VALUES, Status.SUPPRESSED]), held)
            return {row.fingerprint: (row.id, row.firing) for row in list(query)}

    def alerts(self, **asked: Any) -> tuple[list[AlertRecord], str]:
        """Return a page of stored alert states, newest first, and the cursor of the next page."""
        table, limit = self._t.delivery, int(asked.get("limit", 100))
        query = table.select()
        for column, name in ((table.fingerprint, "fingerprint"), (table.alertname, "alertname"), (table.status, "status")):
            if asked.get(name):
                query = query.where(column == asked[name])
        if asked.get("cursor", "").isdigit():
            query = query.where(table.id < int(asked["cursor"]))
        with self._db.reading():
            rows = list(query.order_by(table.id.desc()).limit(limit + 1))
        return [_record(row) for row in rows[:limit]], str(rows[limit - 1].id) if len(rows) > limit else ""

    @staticmethod
    def _columns(incident: Incident) -> dict[str, Any]:
        alert = incident.alert
        return {
            "id": incident.id,
            "fingerprint": alert.fingerprint,
            "alertname": alert.name,
            "severity": alert.severity,
            "target": alert.target,
            "status": str(incident.status),
            "reason": str(incident.reason) if incident.reason else None,
            "detail": incident.detail,
            "entry": incident.proposal.entry if incident.proposal else "",
            "attempt": incident.attempt,
            "blocked_by": incident.blocked_by,
            "parent": incident.parent,
            "previous": incident.previous,
            "firing": incident.resolved_at is None,
            "priority": SEVERITIES.get(alert.severity.lower(), 2),
            "data": INCIDENT.dump_json(incident).decode(),
        }

    def check_open(self, identity: str) -> Incident:
        """Return an incident that is not over.

        Raises:
            Conflict: it has ended; the message says how.
        """
        incident = self.get(identity)
        if not incident.open and incident.status is not Status.SUPPRESSED:
            raise Conflict(f"incident {identity} has ended: {incident.status}")
        return incident


def _summary(row: Any) -> IncidentSummary:
    return IncidentSummary(
        id=row.id,
        status=Status(row.status),
        reason=Reason(row.reason) if row.reason else None,
        detail=row.detail,
        alertname=row.alertname,
        severity=row.severity,
        target=row.target,
        fingerprint=row.fingerprint,
        firing=row.firing,
        entry=row.entry,
        attempt=row.attempt,
        blocked_by=row.blocked_by,
        parent=row.parent,
        previous=row.previous,
        created_at=moment(row.created_at),
        updated_at=moment(row.updated_at),
    )


def _record(row: Any) -> AlertRecord:
    starts = datetime.fromisoformat(row.starts_at).astimezone(UTC) if row.starts_at else None
    return AlertRecord(
        row.fingerprint,
        AlertStatus(row.status),
        json.loads(row.labels),
        json.loads(row.annotations),
        starts,
        moment(row.received_at),
        row.incident,
    )
