"""Many rows at once, written straight into the database: getting there is not what is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from orchestrator.audit import canonical, place
from orchestrator.ingest import fingerprint, parse
from orchestrator.model import Approval, Happening, Incident, Reason, Status
from orchestrator.store import Store, new_id
from orchestrator.store.chain import moment
from orchestrator.store.runs import APPROVAL

AT_ONCE = 500
YEAR_MS = 365 * 86_400_000


def example(store: Store, body: bytes) -> Incident:
    """Return an incident as intake would make it."""
    return Incident(new_id(), parse(body).alerts[0], created_at=store.db.now(), updated_at=store.db.now())


def incidents(store: Store, model: Incident, count: int, *, run_at: int | None, first: int = 0) -> None:
    """Store copies of an incident, each of an alert and a host of its own, with its delivery and what is on record of it."""
    _write(store, store.db.tables.incident, (_row(store, _copy(model, first + n), run_at) for n in range(count)))
    _write(store, store.db.tables.delivery, (_delivery(store, model, first + n) for n in range(count)))
    _write(store, store.db.tables.audit, (_event(store, f"{first + n:016d}") for n in range(count)))


def approvals(store: Store, model: Incident, asked: Approval, count: int) -> None:
    """Store copies of an incident that waits for an answer, each with its question."""
    later = store.db.now_ms() + YEAR_MS
    incidents(store, model, count, run_at=later)
    rows = []
    for n in range(count):
        one = replace(asked, id=f"{n:016d}:1:1", incident=f"{n:016d}", expires_at=moment(later))
        at = int(one.created_at.timestamp() * 1000)
        values = {"state": str(one.state), "data": APPROVAL.dump_json(one).decode(), "expires_at": later, "created_at": at}
        rows.append({"id": one.id, "incident": one.incident, **values})
    _write(store, store.db.tables.approval, iter(rows))


def ended(model: Incident) -> Incident:
    """Return an incident as it stands when it is over."""
    return model.evolve(status=Status.RESOLVED, reason=Reason.VERIFIED, detail="Playbook and queries hold, and the alert is gone.")


def _copy(model: Incident, n: int) -> Incident:
    labels = {**model.alert.labels, "instance": f"seed{n % 5000}:9100", "n": f"s{n}"}
    approval = f"{n:016d}:1:1" if model.approval else ""
    return model.evolve(id=f"{n:016d}", alert=replace(model.alert, labels=labels, fingerprint=fingerprint(labels)), approval=approval)


def _row(store: Store, incident: Incident, run_at: int | None) -> dict[str, Any]:
    now = store.db.now_ms()
    values = store.incidents._columns(incident)  # noqa: SLF001 - the row as the store writes it
    open_key = incident.alert.fingerprint if incident.open else None
    times = {"owner": "", "lease": 0, "created_at": now, "updated_at": now, "run_at": run_at}
    return {**values, **times, "open_key": open_key, "firing": incident.open}


def _delivery(store: Store, model: Incident, n: int) -> dict[str, Any]:
    alert = _copy(model, n).alert
    told = {"labels": canonical(dict(alert.labels)), "annotations": "{}", "starts_at": "2026-01-01T00:00:00+00:00", "ends_at": ""}
    who = {"incident": f"{n:016d}", "fingerprint": alert.fingerprint, "alertname": alert.name, "status": "firing"}
    return {**who, **told, "received_at": store.db.now_ms(), "repeats": 0}


def _event(store: Store, incident: str) -> dict[str, Any]:
    happening = Happening("alert.received", "alertmanager", {"alertname": "BenchAlert"})
    event = place(happening, incident=incident, seq=1, at=moment(store.db.now_ms()), prev="0" * 64, salt="bench")
    at, data = int(event.at.timestamp() * 1000 + 0.5), canonical(event.data)
    values = {"digest": event.digest, "prev": event.prev, "hash": event.hash, "salt": event.salt}
    return {"incident": incident, "seq": 1, "at": at, "kind": event.kind, "actor": event.actor, "data": data, **values}


def _write(store: Store, table: Any, rows: Iterator[dict[str, Any]]) -> None:
    with store.db.transaction():
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == AT_ONCE:
                table.insert_many(batch).execute()
                batch = []
        if batch:
            table.insert_many(batch).execute()
