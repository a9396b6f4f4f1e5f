"""Intake: deliveries become incidents, in one transaction each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.model import (
    Alert,
    AlertGroup,
    AlertStatus,
    Happening,
    Incident,
    RejectedAlert,
    Status,
)
from orchestrator.store.chain import moment
from orchestrator.store.rows import ACTIVE_VALUES, MANUAL, OPEN_VALUES, Rows


@dataclass(frozen=True, slots=True)
class Linking:
    """How intake links incidents of one target."""

    correlate_s: float
    host_down: Callable[[Mapping[str, str]], bool]
    """Whether an alert says that a whole host is unreachable."""
    redact: Callable[[str], str] = str
    """Takes secrets out of what goes into the audit log."""


class Intake(Rows):
    """Takes deliveries in: identity, repeats, resolves, late ones, parents."""

    def receive(self, group: AlertGroup, linking: Linking, wake: Callable[[str], None]) -> list[dict[str, Any]]:
        """Store a delivery in one transaction; return one line per usable alert.

        Raises:
            StoreUnavailable: nothing of it was stored.
        """
        with self._db.transaction():
            for fingerprint in sorted({alert.fingerprint for alert in group.alerts}):
                self._db.lock(f"alert:{fingerprint}")
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
            table.select(table.id, table.status, table.open_key, table.firing)
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

    def _is_of_the_past(self, alert: Alert) -> bool:
        """Whether this resolve belongs to an episode before the newest one that is known to fire."""
        table = self._t.delivery
        known = table.select(table.starts_at).where(table.fingerprint == alert.fingerprint, table.status == str(AlertStatus.FIRING))
        last = known.order_by(table.id.desc()).limit(1).first()
        if alert.starts_at is None or last is None or not last.starts_at:
            return False
        return alert.starts_at < datetime.fromisoformat(last.starts_at)

    def _take_resolved(self, alert: Alert, row: Any, now: int, wake: Callable[[str], None]) -> dict[str, Any]:
        if row is None:
            self._deliver(alert, "", now)
            return _line(alert, None)
        if self._deliver(alert, row.id, now) and row.firing and not self._is_of_the_past(alert):
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
        self._deliver(alert, identity, now, first=True)
        data = {
            "alertname": alert.name,
            "fingerprint": alert.fingerprint,
            "labels": {name: linking.redact(value) for name, value in alert.labels.items()},
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
        wanted = (table.id, table.status, table.alertname, table.created_at, table.data)
        query = table.select(*wanted).where(table.target == alert.target, table.status.in_(OPEN_VALUES), table.parent == "")
        roots = list(query.order_by(table.id))
        for row in roots:
            if linking.host_down(json.loads(row.data)["alert"]["labels"]):
                return str(row.id)
        near = [
            row
            for row in roots
            if row.status != Status.ESCALATED and row.alertname != MANUAL and now - row.created_at < linking.correlate_s * 1000
        ]
        return str(near[0].id) if near else ""

    def _become_parent(self, identity: str, alert: Alert, now: int, wake: Callable[[str], None]) -> None:
        """A host that is down is the parent of what is open on it, whatever came first."""
        table = self._t.incident
        query = table.select(table.id).where(table.target == alert.target, table.status.in_(ACTIVE_VALUES), table.id != identity)
        for row in list(query):
            self._signal(row.id, "parent", {"parent": identity}, now, wake)

    def _deliver(self, alert: Alert, incident: str, now: int, *, first: bool = False) -> bool:
        """Store one delivery state, perhaps the first one of its incident; return whether it was new."""
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
        known = 0 if first else self._repeated(alert, incident, starts)
        if known:
            return False
        table.insert(**values).execute()
        return True

    def _repeated(self, alert: Alert, incident: str, starts: str) -> int:
        """Count a delivery state that is there already; return how many rows it is, 0 or 1."""
        table = self._t.delivery
        return int(
            table.update(repeats=table.repeats + 1)
            .where(
                table.fingerprint == alert.fingerprint,
                table.starts_at == starts,
                table.status == str(alert.status),
                table.incident == incident,
            )
            .execute()
        )


def _line(alert: Alert, row: Any) -> dict[str, Any]:
    """Return what the webhook's answer says of an alert that opened nothing."""
    return {
        "id": row.id if row is not None else None,
        "status": row.status if row is not None else None,
        "created": False,
        "fingerprint": alert.fingerprint,
    }
