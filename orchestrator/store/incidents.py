"""Incidents in the database: intake, claims, steps, lists."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from peewee import IntegrityError, fn
from pydantic import TypeAdapter

from orchestrator.errors import Conflict, LeaseLost, NotFound
from orchestrator.lifecycle import FOREVER, Signal, Step
from orchestrator.model import (
    OPEN,
    Alert,
    AlertGroup,
    AlertRecord,
    AlertStatus,
    ApprovalState,
    Happening,
    Incident,
    IncidentSummary,
    Reason,
    RejectedAlert,
    RunState,
    Status,
)
from orchestrator.store.chain import Chain, moment
from orchestrator.store.database import Database
from orchestrator.store.outbox import Outbox
from orchestrator.store.runs import Runs

INCIDENT: TypeAdapter[Incident] = TypeAdapter(Incident)
OPEN_VALUES = [str(status) for status in OPEN]
ACTIVE_VALUES = [value for value in OPEN_VALUES if value != Status.ESCALATED]
SEVERITIES = {"critical": 0, "page": 0, "error": 1, "major": 1, "warning": 2, "minor": 3, "info": 4, "none": 5}


@dataclass(frozen=True, slots=True)
class Linking:
    """How intake links incidents of one target."""

    correlate_s: float
    host_down: Callable[[Mapping[str, str]], bool]
    """Whether an alert says that a whole host is unreachable."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An incident this worker holds, and what came in for it."""

    incident: Incident
    owner: str
    signals: tuple[tuple[int, Signal], ...]


class Incidents:
    """The rows whose life is the workflow."""

    def __init__(self, db: Database, chain: Chain, runs: Runs, outbox: Outbox, new_id: Callable[[], str]) -> None:
        self._db, self._t = db, db.tables
        self._chain, self._runs, self._outbox = chain, runs, outbox
        self._new_id = new_id

    # ------------------------------------------------------------ intake

    def receive(self, group: AlertGroup, linking: Linking, wake: Callable[[str], None]) -> list[dict[str, Any]]:
        """Store a delivery in one transaction; return one line per usable alert.

        Raises:
            StoreUnavailable: nothing of it was stored.
        """
        with self._db.transaction():
            now = self._db.now_ms()
            self._reject(group.rejected, now)
            return [self._take(alert, group, linking, now, wake) for alert in group.alerts]

    def _reject(self, rejected: Sequence[RejectedAlert], now: int) -> None:
        rows = [{"received_at": now, "position": item.index, "reason": item.reason, "body": item.raw} for item in rejected]
        if rows:
            self._t.rejected.insert_many(rows).execute()

    def _take(self, alert: Alert, group: AlertGroup, linking: Linking, now: int, wake: Callable[[str], None]) -> dict[str, Any]:
        row = self._current(alert)
        if alert.status is AlertStatus.RESOLVED:
            return self._take_resolved(alert, row, now, wake)
        if row is not None and (row.open_key or row.status == Status.SUPPRESSED) and self._attaches(row):
            new = self._deliver(alert, row.id, now)
            if new and not row.firing:
                self._signal(row.id, "firing", {}, now, wake)
                self._t.incident.update(firing=True).where(self._t.incident.id == row.id).execute()
            return _line(alert, row)
        if self._is_late(alert):
            self._deliver(alert, row.id if row is not None else "", now)
            return _line(alert, row)
        return self._open(alert, group, linking, row.id if row is not None else "", now, wake)

    def _current(self, alert: Alert) -> Any:
        """Return the newest incident row of this fingerprint, or None."""
        table = self._t.incident
        return (
            table.select()
            .where(table.fingerprint == alert.fingerprint)
            .order_by(table.open_key.is_null(), table.id.desc())
            .limit(1)
            .first()
        )

    @staticmethod
    def _attaches(row: Any) -> bool:
        return bool(row.open_key) or bool(row.firing)

    def _is_late(self, alert: Alert) -> bool:
        """Whether this firing delivery belongs to an episode that is known to have ended, or to one before it."""
        if alert.starts_at is None:
            return False
        table = self._t.delivery
        known = table.select(table.starts_at).where(table.fingerprint == alert.fingerprint, table.status == str(AlertStatus.RESOLVED))
        ended = [datetime.fromisoformat(item.starts_at) for item in list(known.order_by(table.id.desc()).limit(20)) if item.starts_at]
        return bool(ended) and alert.starts_at <= max(ended)

    def _take_resolved(self, alert: Alert, row: Any, now: int, wake: Callable[[str], None]) -> dict[str, Any]:
        if row is None:
            self._deliver(alert, "", now)
            return _line(alert, None)
        if self._deliver(alert, row.id, now) and row.firing:
            self._t.incident.update(firing=False).where(self._t.incident.id == row.id).execute()
            self._signal(row.id, "resolved", {}, now, wake)
        return _line(alert, row)

    def _open(
        self, alert: Alert, group: AlertGroup, linking: Linking, previous: str, now: int, wake: Callable[[str], None]
    ) -> dict[str, Any]:
        identity = self._new_id()
        at = moment(now)
        parent = self._parent_of(alert, linking, now)
        incident = Incident(identity, alert, previous=previous, parent=parent, group_key=group.group_key, created_at=at, updated_at=at)
        self.insert(incident, now)
        self._deliver(alert, identity, now)
        data = {
            "alertname": alert.name,
            "fingerprint": alert.fingerprint,
            "labels": dict(alert.labels),
            "previous": previous,
            "parent": parent,
        }
        self._put_on_record(identity, alert, Happening("alert.received", "alertmanager", data))
        if linking.host_down(alert.labels) and alert.target:
            self._become_parent(identity, alert, now, wake)
        wake(identity)
        return {"id": identity, "status": Status.RECEIVED, "created": True, "fingerprint": alert.fingerprint}

    def _parent_of(self, alert: Alert, linking: Linking, now: int) -> str:
        """Return the incident that causes this one: the host that is down, or the first on this target a moment ago."""
        if not alert.target or linking.host_down(alert.labels):
            return ""
        table = self._t.incident
        query = table.select().where(table.target == alert.target, table.status.in_(ACTIVE_VALUES), table.parent == "")
        roots = list(query.order_by(table.id))
        for row in roots:
            if linking.host_down(json.loads(row.data)["alert"]["labels"]):
                return str(row.id)
        near = [row for row in roots if now - row.created_at <= linking.correlate_s * 1000]
        return str(near[0].id) if near else ""

    def _become_parent(self, identity: str, alert: Alert, now: int, wake: Callable[[str], None]) -> None:
        """A host that is down is the parent of what is open on it, whatever came first."""
        table = self._t.incident
        query = table.select(table.id).where(table.target == alert.target, table.status.in_(ACTIVE_VALUES), table.id != identity)
        for row in list(query):
            self._signal(row.id, "parent", {"parent": identity}, now, wake)

    def _deliver(self, alert: Alert, incident: str, now: int) -> bool:
        """Store one delivery state; return whether it was new."""
        table = self._t.delivery
        starts = alert.starts_at.isoformat() if alert.starts_at else ""
        values = {
            "incident": incident,
            "fingerprint": alert.fingerprint,
            "alertname": alert.name,
            "status": str(alert.status),
            "labels": json.dumps(dict(alert.labels)),
            "annotations": json.dumps(dict(alert.annotations)),
            "starts_at": starts,
            "ends_at": alert.ends_at.isoformat() if alert.ends_at else "",
            "received_at": now,
        }
        known = (
            table.update(repeats=table.repeats + 1)
            .where(
                table.fingerprint == alert.fingerprint,
                table.starts_at == starts,
                table.status == str(alert.status),
                table.incident == incident,
            )
            .execute()
        )
        if known:
            return False
        table.insert(**values).execute()
        return True

    def insert(self, incident: Incident, now: int, run_at: int | None = None) -> None:
        """Write a new incident row, due at once."""
        self._t.incident.create(
            **self._columns(incident),
            open_key=incident.alert.fingerprint if incident.open else None,
            created_at=now,
            updated_at=now,
            run_at=now if run_at is None else run_at,
        )

    # ------------------------------------------------------------ the engine's side

    def due(self, limit: int = 100) -> list[str]:
        """Return incidents whose time has come, or whose worker went silent; the most severe and oldest first."""
        with self._db.reading():
            now, table = self._db.now_ms(), self._t.incident
            query = table.select(table.id).where(table.run_at <= now, table.lease < now)
            return [row.id for row in list(query.order_by(table.priority, table.id).limit(limit))]

    def waiting(self) -> int:
        """Return how many incidents are due and held by nobody."""
        with self._db.reading():
            now, table = self._db.now_ms(), self._t.incident
            return int(table.select().where(table.run_at <= now, table.lease < now).count())

    def claim(self, identity: str, owner: str, lease_s: float) -> Claim | None:
        """Take an incident for one worker; None where another holds it, or it is not due."""
        table = self._t.incident
        with self._db.transaction():
            now = self._db.now_ms()
            won = (
                table.update(owner=owner, lease=now + int(lease_s * 1000))
                .where(table.id == identity, table.lease < now, table.run_at <= now)
                .execute()
            )
            if not won:
                return None
        return self.look(identity, owner)

    def look(self, identity: str, owner: str) -> Claim:
        """Read a claimed incident with what came in for it."""
        with self._db.reading():
            rows = list(self._t.signal.select().where(self._t.signal.incident == identity).order_by(self._t.signal.id))
            signals = tuple((row.id, Signal(row.kind, json.loads(row.data))) for row in rows)
            return Claim(self.get(identity), owner, signals)

    def renew(self, identity: str, owner: str, lease_s: float) -> bool:
        """Keep an incident; False where another has taken it over."""
        table = self._t.incident
        with self._db.transaction():
            now = self._db.now_ms()
            query = table.update(lease=now + int(lease_s * 1000)).where(table.id == identity, table.owner == owner, table.lease >= now)
            return bool(query.execute())

    def release(self, identity: str, owner: str) -> None:
        """Give an incident back as it is, due at once."""
        table = self._t.incident
        with self._db.transaction():
            table.update(owner="", lease=0).where(table.id == identity, table.owner == owner).execute()

    def commit(
        self, claim: Claim, step: Step, limits: Callable[[Incident], Sequence[tuple[str, int]]], wake: Callable[[str], None]
    ) -> bool:
        """Write a step: row, events, slots, intent and results, in one transaction.

        Returns:
            Whether the incident stays with this worker for its next step at once.

        Raises:
            LeaseLost: another worker has taken it over; nothing was written.
        """
        with self._db.transaction():
            now = self._db.now_ms()
            identity, incident = claim.incident.id, step.incident
            self._chain.lock(identity)
            if not self._held(identity, claim.owner, now):
                raise LeaseLost(identity)
            if step.settle_approval and not self._settle_approval(*step.settle_approval):
                return True
            wait_s = step.wait_s
            if step.intent is not None:
                blocked = self._runs.reserve(incident, step.intent, limits(incident), now)
                if blocked:
                    incident, wait_s = claim.incident.evolve(blocked_by=blocked), 2.0
                    step = Step(incident, wait_s=wait_s)
            if step.ask is not None:
                self._runs.ask(step.ask)
            for run in step.runs:
                self._runs.save(run, identity)
            if step.effective is not None:
                self._runs.judge(identity, effective=step.effective)
            if step.free:
                self._runs.free(identity)
                self._wake_blocked(now, wake)
            for happening in step.events:
                self._put_on_record(identity, incident.alert, happening)
            stay = self._write(claim, incident, wait_s, step.heeded, now)
            if incident.status != claim.incident.status and incident.status not in ACTIVE_VALUES:
                self._wake_children(identity, now, wake)
            return stay

    def fail(self, claim: Claim, error: str) -> None:
        """Put an incident whose step broke with a person, the error on record; a run that was begun is unknown then and keeps its hosts."""
        detail = f"A step failed in our own code: {error}"
        data = {
            "from": claim.incident.status,
            "to": Status.ESCALATED,
            "reason": Reason.INTERNAL_ERROR,
            "detail": detail,
            "alertname": claim.incident.alert.name,
        }
        run = self._runs.after_failure(claim.incident.run)
        incident = claim.incident.evolve(status=Status.ESCALATED, reason=Reason.INTERNAL_ERROR, detail=detail, blocked_by="", run=run)
        free = run is None or run.state is RunState.DONE
        runs = (run,) if run is not None and run != claim.incident.run else ()
        events = (Happening("incident.status", data=data), Happening("incident.escalated", data=data))
        self.commit(claim, Step(incident, events, wait_s=FOREVER, free=free, runs=runs), lambda _: (), lambda _: None)

    def _held(self, identity: str, owner: str, now: int) -> bool:
        table = self._t.incident
        query = table.select(table.id).where(table.id == identity, table.owner == owner, table.lease >= now)
        if not self._db.is_sqlite:
            query = query.for_update()
        return query.first() is not None

    def _write(self, claim: Claim, incident: Incident, wait_s: float | None, heeded: int | None, now: int) -> bool:
        seen = [number for number, _ in claim.signals[:heeded]]
        if seen:
            self._t.signal.delete().where(self._t.signal.id.in_(seen)).execute()
        pending = self._t.signal.select().where(self._t.signal.incident == incident.id).count()
        stay = wait_s is None or bool(pending)
        values = self._columns(incident.evolve(updated_at=moment(now)))
        values.pop("firing")
        values["updated_at"] = now
        values["open_key"] = incident.alert.fingerprint if incident.open else None
        if not stay:
            values |= {"owner": "", "lease": 0, "run_at": None if wait_s == FOREVER else now + int((wait_s or 0) * 1000)}
        try:
            with self._db.raw.atomic():
                self._t.incident.update(**values).where(self._t.incident.id == incident.id).execute()
        except IntegrityError:
            # A newer incident of this alert is open already: this one stays as it was, over.
            self._t.incident.update(owner="", lease=0, run_at=None).where(self._t.incident.id == incident.id).execute()
            return False
        return stay

    def _put_on_record(self, identity: str, alert: Alert, happening: Happening) -> None:
        event = self._chain.append(identity, happening)
        self._outbox.add(event, alert.severity)

    def _settle_approval(self, approval: str, state: ApprovalState) -> bool:
        done = self._runs.settle_approval(approval, state)
        return done or state is ApprovalState.VOID

    def _wake_blocked(self, now: int, wake: Callable[[str], None]) -> None:
        table = self._t.incident
        query = table.select(table.id).where(table.status == Status.EXECUTING, table.blocked_by != "", table.lease < now)
        for row in list(query.order_by(table.priority, table.id).limit(20)):
            table.update(run_at=now).where(table.id == row.id).execute()
            wake(row.id)

    def _wake_children(self, identity: str, now: int, wake: Callable[[str], None]) -> None:
        table = self._t.incident
        for row in list(table.select(table.id).where(table.parent == identity, table.status.in_(ACTIVE_VALUES))):
            table.update(run_at=now).where(table.id == row.id).execute()
            wake(row.id)

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
        if asked.get("status"):
            query = query.where(table.status.in_([str(status) for status in asked["status"]]))
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
        with self._db.reading():
            rows = list(query.order_by(table.id.desc()).limit(limit + 1))
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
            query = table.select(fn.COUNT(fn.DISTINCT(table.target))).where(table.open_key.is_null(False), table.firing, table.target != "")
            return int(query.scalar() or 0)

    def open_fingerprints(self) -> dict[str, tuple[str, bool]]:
        """Return fingerprint → (incident id, firing) of open and suppressed incidents."""
        table = self._t.incident
        with self._db.reading():
            query = table.select(table.id, table.fingerprint, table.firing).where(
                table.open_key.is_null(False) | (table.status == Status.SUPPRESSED)
            )
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


def _line(alert: Alert, row: Any) -> dict[str, Any]:
    """Return what the webhook's answer says of an alert that opened nothing."""
    return {
        "id": row.id if row is not None else None,
        "status": row.status if row is not None else None,
        "created": False,
        "fingerprint": alert.fingerprint,
    }


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
