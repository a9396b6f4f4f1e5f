"""Lists and details."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from orchestrator import audit
from orchestrator.catalogue import CatalogueCache
from orchestrator.desk.accounts import Accounts
from orchestrator.errors import InventoryError, NotFound
from orchestrator.inventory import InventoryCache
from orchestrator.model import (
    Actor,
    AlertRecord,
    Approval,
    ApprovalState,
    AuditEvent,
    Catalogue,
    Entry,
    Happening,
    Host,
    Incident,
    IncidentSummary,
    Role,
    Run,
    RunEvent,
    RunState,
    Status,
)
from orchestrator.store.outbox import Posted
from orchestrator.wiring import Troubles


class Reading(Accounts):
    """What is kept, as people read it."""

    _catalogue: CatalogueCache
    _inventory: InventoryCache
    troubles: Troubles

    def incidents(
        self,
        *,
        status: tuple[Status, ...] = (),
        fingerprint: str = "",
        alertname: str = "",
        host: str = "",
        since: datetime | None = None,
        limit: int = 100,
        cursor: str = "",
    ) -> tuple[list[IncidentSummary], str]:
        """Return a page of incidents, newest first, and the cursor of the next page."""
        return self.store.incidents.find(
            status=status, fingerprint=fingerprint, alertname=alertname, host=host, since=since, limit=limit, cursor=cursor
        )

    def incident(self, id: str) -> Incident:
        """Return an incident whole."""
        incident = self.store.incidents.get(id)
        if incident.run and incident.run.state is RunState.INTENT:
            return incident.evolve(run=self.store.runs.get(incident.run.id))
        return incident

    def related(self, id: str) -> dict[str, list[IncidentSummary]]:
        """Return its children, similar ones and the ones before."""
        incident = self.store.incidents.get(id)
        children, _ = self.store.incidents.find(parent=id, limit=50)
        same, _ = self.store.incidents.find(fingerprint=incident.alert.fingerprint, limit=20)
        similar, _ = self.store.incidents.find(alertname=incident.alert.name, limit=20)
        known = {item.id for item in same} | {id}
        return {
            "children": children,
            "previous": [item for item in same if item.id != id],
            "similar": [item for item in similar if item.id not in known][:10],
        }

    def timeline(self, id: str) -> list[AuditEvent]:
        """Return what happened to an incident, in order."""
        self.store.incidents.get(id)
        return self.store.chain.events(incident=id, limit=1000)

    def letters(self, events: Sequence[int]) -> list[Posted]:
        """Return how the notifications about these audit events stand."""
        return self.store.outbox.about(events)

    def runs(self, *, incident: str = "", entry: str = "", limit: int = 100, cursor: str = "") -> tuple[list[Run], str]:
        """Return a page of runs, newest first."""
        return self.store.runs.find(incident=incident, entry=entry, limit=limit, cursor=cursor)

    def run(self, id: str) -> Run:
        """Return a run."""
        return self.store.runs.get(id)

    def run_events(self, id: str, after: int = 0, limit: int = 1000) -> list[RunEvent]:
        """Return a run's stream after a piece."""
        self.store.runs.row(id)
        return self.store.runs.events(id, after, limit)

    def alerts(
        self, *, fingerprint: str = "", alertname: str = "", status: str = "", limit: int = 100, cursor: str = ""
    ) -> tuple[list[AlertRecord], str]:
        """Return a page of stored alert states, newest first."""
        return self.store.incidents.alerts(fingerprint=fingerprint, alertname=alertname, status=status, limit=limit, cursor=cursor)

    def approvals(
        self, *, state: tuple[ApprovalState, ...] = (ApprovalState.PENDING,), limit: int = 100, cursor: str = ""
    ) -> tuple[list[Approval], str]:
        """Return a page of approvals, newest first."""
        return self.store.runs.approvals(state=state, limit=limit, cursor=cursor)

    def approval(self, id: str) -> Approval:
        """Return an approval."""
        return self.store.runs.approval(id)

    def audit(self, *, incident: str = "", after: int = 0, limit: int = 100) -> list[AuditEvent]:
        """Return audit events after an id, in order."""
        return self.store.chain.events(incident=incident, after=after, limit=limit)

    def latest_events(self, *, incident: str = "", kind: str = "", actor: str = "", before: int = 0, limit: int = 100) -> list[AuditEvent]:
        """Return the newest audit events, newest first, that are of an incident, begin with a kind, or are by an actor."""
        return self.store.chain.latest(limit, before, incident=incident, kind=kind, actor=actor)

    def verify_audit(self, head: str = "") -> dict[str, Any]:
        """Check the audit log."""
        return self.store.chain.verify(head)

    def audit_export(self, form: str = "jsonl", since: datetime | None = None) -> Iterator[str]:
        """Yield the audit log line by line: `jsonl`, or `ecs` for Elasticsearch's bulk API."""
        for event in self.store.chain.each(int(since.timestamp() * 1000) if since else 0):
            if form == "ecs":
                yield audit.canonical({"create": {"_index": "orchestrator-audit", "_id": event.hash}})
                yield audit.canonical(audit.as_ecs(event))
            else:
                yield audit.as_json_line(event)

    def catalogue(self) -> Catalogue:
        """Return the catalogue as it stands on disk."""
        return self._catalogue.get()

    def entry(self, id: str) -> Entry:
        """Return an entry.

        Raises:
            NotFound: there is none of that id, or it is broken.
        """
        catalogue = self.catalogue()
        if id in catalogue.entries:
            return catalogue.entries[id]
        broken = next((item for item in catalogue.broken if item.id == id), None)
        raise NotFound(f"the entry {id!r} is broken: {broken.problems[0]}" if broken else f"there is no entry {id!r} in the catalogue")

    def admitted(self, entry: Entry) -> bool:
        """Whether an admin has admitted an entry as it is now."""
        return self.store.people.admitted(entry.id, entry.digest)

    def admit(self, id: str, actor: Actor) -> None:
        """Let an entry, as it is now, run without a person where the policy allows it."""
        self._require(actor, Role.ADMIN)
        entry = self.entry(id)
        with self.store.db.transaction():
            self.store.people.admit(entry.id, entry.digest, actor.name)
            self.note(Happening("catalogue.admitted", actor.name, {"entry": entry.id, "digest": entry.digest}))

    def entry_stats(self, id: str) -> dict[str, Any]:
        """Return `{"runs", "verified", "usual_s"}` of an entry."""
        return dict(self.store.runs.stats(id))

    def hosts(self) -> list[Host]:
        """Return the inventory's hosts."""
        try:
            return list(self._inventory.get().hosts.values())
        except InventoryError as error:
            self.troubles.set("inventory", str(error))
            return []
