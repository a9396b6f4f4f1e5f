"""Composition: builds every part once and hangs the doors; what the faces (web, command line) call."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator import __version__, audit, ingest
from orchestrator import approval as answering
from orchestrator.catalogue import CatalogueCache, check_names, check_parameters
from orchestrator.catalogue import load as load_catalogue
from orchestrator.chores import Chores
from orchestrator.data_folder import DataFolder
from orchestrator.engine import Engine
from orchestrator.errors import Conflict, Forbidden, InvalidRequest, InventoryError, NotFound
from orchestrator.lifecycle import Signal, Step, move
from orchestrator.matcher import matches_all
from orchestrator.metrics import Metrics
from orchestrator.model import (
    Actor,
    Agreement,
    Alert,
    AlertGroup,
    AlertRecord,
    AlertStatus,
    Answer,
    Approval,
    ApprovalState,
    AuditEvent,
    Catalogue,
    Choice,
    Entry,
    EntryKind,
    Happening,
    Host,
    Incident,
    IncidentSummary,
    Proposal,
    Reason,
    Receipt,
    Role,
    Run,
    RunEvent,
    RunState,
    Status,
)
from orchestrator.parts import make_channels, make_executor, make_inventory, make_model, make_monitoring, make_sources
from orchestrator.settings import Settings
from orchestrator.shipped import folder as shipped_folder
from orchestrator.store import Linking, Store, new_id
from orchestrator.store.backup import after_restore, backup, restore
from orchestrator.wiring import Troubles, Wiring

log = logging.getLogger(__name__)

RANK = {Role.WEBHOOK: 0, Role.VIEWER: 1, Role.APPROVER: 2, Role.ADMIN: 3}
THROTTLE_AFTER = 5
THROTTLE_S = 60.0
ACT_WAIT_S = 3.0


def build(settings: Settings) -> Orchestrator:
    """Open the database, load the catalogue and build every part; nothing is started.

    Raises:
        SettingsError: the data folder or the database cannot be used.
        SchemaMismatch: the database is a newer version's.
    """
    return Orchestrator(settings)


def restore_database(settings: Settings, source: Path) -> int:
    """Put a backup in the place of the database; return how many runs were in flight when it was made.

    Raises:
        UsageError: the backup is none, or the database is PostgreSQL.
        SettingsError: a worker uses the database now.
    """
    data = DataFolder(Path(settings.data_dir))
    data.claim_node()
    try:
        restore(settings.database_url(), source)
        store = Store(settings.database_url())
        store.db.create()
        flying = after_restore(store.db, store.chain, source.name)
        store.db.close()
    finally:
        data.release_node()
    return flying


class Orchestrator:
    """One orchestrator: its parts, and everything that a face may ask or do.

    Args:
        settings: how it is set up.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data = DataFolder(Path(settings.data_dir))
        self.channels = {channel.name: channel for channel in make_channels(settings)}
        self.store = Store(settings.database_url(), synchronous=settings.database.synchronous, route=self._route)
        self.store.db.create()
        self._catalogue = CatalogueCache(Path(settings.catalogue.path), Path(settings.catalogue.roles))
        self._inventory = make_inventory(settings)
        self.prometheus, self.alertmanager = make_monitoring(settings)
        monitoring = make_sources(settings, self.prometheus)
        self.executor = make_executor(settings, self.data, monitoring.redact)
        self.engine = Engine(
            self.store,
            self._advance,
            self._limits,
            threads=settings.worker.threads,
            lease_s=settings.worker.lease_s,
            sweep_s=settings.worker.sweep_s,
        )
        self.engine.open()
        self.troubles = Troubles(self.store.db.now)
        self.wiring = Wiring(
            settings=settings,
            store=self.store,
            catalogue=self.catalogue,
            inventory=self._inventory.get,
            prometheus=self.prometheus,
            alertmanager=self.alertmanager,
            plays=self.executor,
            model=make_model(settings),
            sources=monitoring.sources,
            redact=monitoring.redact,
            key=self.data.secret("digest.key").encode(),
            node=self.data.node(),
            troubles=self.troubles,
            paused=self.paused,
            auto_off=self._auto_off,
            stopping=lambda: self.engine.stopping,
        )
        self._linking = Linking(settings.policy.correlate_s, lambda labels: matches_all(settings.policy.host_down, labels))
        self.meters = Metrics(self._state)
        self._failures: dict[str, list[float]] = {}
        self._failures_lock = threading.Lock()
        self._working = False
        self._first_start()

    def _advance(self, incident: Incident, signals: Sequence[Signal], owner: str) -> Step:
        return self.wiring.advance(incident, signals, owner)

    def _first_start(self) -> None:
        given = self.settings.server.webhook_token.get_secret_value()
        # several machines may share one database: each has tokens of its own
        at = "" if self.store.db.is_sqlite else f"@{self.data.node()}"
        webhook = "alertmanager" if given else f"alertmanager{at}"
        self.store.people.put_token(webhook, Role.WEBHOOK, given or self.data.secret("webhook.token", "ro_"))
        self.store.people.put_token(f"local-admin{at}", Role.ADMIN, self.data.secret("admin.token", "ro_"))
        if not self.store.people.flag("first_start"):
            self._admit_shipped()
            self.store.people.set_flag("first_start", "done")
            self.store.people.set_flag("admin_link", secrets.token_urlsafe(24))
            self._note(Happening("engine.first_start", data={"version": __version__}))

    def _admit_shipped(self) -> None:
        if not self.settings.catalogue.admit_shipped:
            return
        shipped = load_catalogue(shipped_folder("playbooks"), shipped_folder("roles"))
        for entry in self.catalogue().entries.values():
            known = shipped.entries.get(entry.id)
            if known is not None and known.digest == entry.digest:
                with self.store.db.transaction():
                    self.store.people.admit(entry.id, entry.digest, "shipped")

    # ------------------------------------------------------------ life

    def start_worker(self) -> None:
        """Start to carry incidents in this process.

        Raises:
            SettingsError: another worker uses this data folder.
        """
        self.data.claim_node()
        self._working = True
        self.engine.start(Chores(self).all())

    def stop(self) -> None:
        """Start nothing more, let steps end, hand over plays that go on."""
        if self._working:
            self.engine.stop()
            self.data.release_node()
            self._working = False
        self.store.db.close()

    # ------------------------------------------------------------ intake

    def receive(self, body: bytes) -> Receipt:
        """Take a webhook delivery in; everything is stored when this returns.

        Raises:
            NotJson: the body is not JSON.
            NotAWebhook: it is JSON, but no webhook.
            StoreUnavailable: nothing was stored.
        """
        return self.take_in(ingest.parse(body))

    def take_in(self, group: AlertGroup) -> Receipt:
        """Store a group of alerts."""
        with self.meters.deliveries.time():
            lines = self.store.incidents.receive(group, self._linking, self.engine.wake)
        self.meters.alerts.labels("opened").inc(sum(line["created"] for line in lines))
        self.meters.alerts.labels("attached").inc(sum(not line["created"] for line in lines))
        self.meters.alerts.labels("rejected").inc(len(group.rejected))
        if self.settings.policy.watchdog_timeout_s and any(
            matches_all(self.settings.policy.watchdog, alert.labels) for alert in group.alerts
        ):
            self.store.people.set_flag("watchdog_seen", str(self.store.db.now_ms()))
        return Receipt(tuple(lines), group.rejected, group.received)

    # ------------------------------------------------------------ who

    def token_actor(self, secret: str) -> Actor | None:
        """Return whom a bearer token stands for, or None."""
        return self.store.people.token_actor(secret)

    def login(self, name: str, password: str, address: str) -> Actor | None:
        """Return the user of a name and password, or None where they are wrong.

        Raises:
            Forbidden: too many wrong tries for this name or address a moment ago.
        """
        keys = (f"name:{name}", f"address:{address}")
        if any(self._recent_failures(key) >= THROTTLE_AFTER for key in keys):
            raise Forbidden(f"too many wrong passwords; try again in {THROTTLE_S:.0f} seconds")
        actor = self.store.people.login(name, password)
        if actor is None:
            with self._failures_lock:
                for key in keys:
                    self._failures.setdefault(key, []).append(time.monotonic())
        self._note(Happening("user.login" if actor else "user.login_failed", name[:64] or "-", {"address": address}))
        return actor

    def _recent_failures(self, key: str) -> int:
        with self._failures_lock:
            recent = [at for at in self._failures.get(key, []) if time.monotonic() - at < THROTTLE_S]
            if recent:
                self._failures[key] = recent
            else:
                self._failures.pop(key, None)
            return len(recent)

    def user_actor(self, name: str) -> Actor | None:
        """Return a user, or None where the name is gone; the admin of the first link counts as one."""
        return Actor("admin", Role.ADMIN) if name == "admin" and not self.store.people.user(name) else self.store.people.user(name)

    def create_user(self, name: str, password: str, role: Role, groups: tuple[str, ...] = ()) -> None:
        """Add a user."""
        self.store.people.create_user(name, password, role, groups)
        self._note(Happening("user.created", data={"name": name, "role": role, "groups": list(groups)}))

    def users(self) -> list[Actor]:
        """Return all users."""
        return self.store.people.users()

    def set_password(self, name: str, password: str) -> None:
        """Change a user's password."""
        self.store.people.set_password(name, password)
        self._note(Happening("user.password_changed", data={"name": name}))

    def create_token(self, name: str, role: Role) -> str:
        """Make a token and return its secret, which is shown once."""
        secret = self.store.people.create_token(name, role)
        self._note(Happening("token.created", data={"name": name, "role": role}))
        return secret

    def tokens(self) -> list[dict[str, Any]]:
        """Return all tokens, without their secrets."""
        return self.store.people.tokens()

    def revoke_token(self, name: str) -> None:
        """Make a token worthless."""
        self.store.people.revoke_token(name)
        self._note(Happening("token.revoked", data={"name": name}))

    def admin_link(self) -> str:
        """Return the code of the first admin link, an empty string once it was used."""
        return self.store.people.flag("admin_link")

    def redeem_link(self, code: str) -> Actor | None:
        """Use the single-use admin link up."""
        if not code or not self.store.people.take_flag("admin_link", code):
            return None
        self._note(Happening("user.link_redeemed", "admin"))
        return Actor("admin", Role.ADMIN)

    def session_key(self) -> bytes:
        """Return the secret that signs sessions."""
        return self.data.secret("session.key").encode()

    # ------------------------------------------------------------ reading

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
            self._note(Happening("catalogue.admitted", actor.name, {"entry": entry.id, "digest": entry.digest}))

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

    # ------------------------------------------------------------ acts

    def approve(
        self,
        id: str,
        actor: Actor,
        digest: str,
        reason: str = "",
        hosts: tuple[str, ...] = (),
        pins: Mapping[str, Any] | None = None,
    ) -> Approval:
        """Say yes to an approval, perhaps to less of it."""
        return self._answer(id, actor, Answer(actor.name, approve=True, digest=digest, reason=reason, hosts=hosts, pins=dict(pins or {})))

    def reject(self, id: str, actor: Actor, digest: str, reason: str) -> Approval:
        """Say no to an approval."""
        return self._answer(id, actor, Answer(actor.name, approve=False, digest=digest, reason=reason))

    def _answer(self, id: str, actor: Actor, given: Answer) -> Approval:
        self._require(actor, Role.APPROVER)
        if given.approve:
            self._unchanged(id)
        with self.store.db.transaction():
            now = self.wiring.now()
            self.store.chain.lock(id.partition(":")[0])
            _, after = self.store.runs.answer(
                id, lambda before: answering.answer(before, actor, replace(given, at=now), now, self._check_of(before))
            )
            data = {
                "approval": id,
                "approve": given.approve,
                "digest": given.digest,
                "reason": given.reason,
                "hosts": list(given.hosts),
                "pins": dict(given.pins),
                "via": actor.via,
                "have": after.have,
                "need": after.need,
            }
            self.store.chain.append(after.incident, Happening("approval.answered", actor.name, data))
            if after.state is not ApprovalState.PENDING:
                self.engine.signal(after.incident, "answered", {"approval": id})
        return after

    def _unchanged(self, id: str) -> None:
        """Refuse where what was shown has changed since."""
        shown = self.store.runs.approval(id)
        if shown.state is not ApprovalState.PENDING:
            return
        incident = self.store.incidents.get(shown.incident)
        digest, _ = self.wiring.bind(incident)
        if digest != shown.digest:
            raise Conflict("changed since: the playbook, its roles, its parameters or the host's variables are not what was shown")

    def _check_of(self, approval: Approval) -> answering.Check:
        entry = self.catalogue().entries.get(approval.proposal.entry)
        inventory = self._inventory.get()

        def check(parameters: Mapping[str, Any]) -> list[str]:
            if entry is None:
                return [f"the entry {approval.proposal.entry} is no longer in the catalogue"]
            hosts = [inventory.hosts[name] for name in approval.proposal.hosts if name in inventory.hosts]
            return [*check_parameters(entry, parameters), *check_names(entry, parameters, hosts)]

        return check

    def cancel_incident(self, id: str, actor: Actor, reason: str = "") -> Incident:
        """Stop an incident; a play that runs is ended."""
        return self._act(id, "cancel", actor, reason)

    def close_incident(self, id: str, actor: Actor, reason: str = "") -> Incident:
        """Close an incident."""
        incident = self.store.incidents.get(id)
        if incident.run and incident.run.state is RunState.UNKNOWN:
            raise Conflict(f"the run {incident.run.id} is unknown and holds its host: settle it first")
        return self._act(id, "close", actor, reason)

    def retry_incident(self, id: str, actor: Actor) -> Incident:
        """Start an escalated or suppressed incident again."""
        incident = self.store.incidents.get(id)
        if incident.status not in (Status.ESCALATED, Status.SUPPRESSED):
            raise Conflict(f"only an escalated or suppressed incident can be tried again; this one is {incident.status}")
        return self._act(id, "retry", actor)

    def take_incident(self, id: str, actor: Actor) -> Incident:
        """Take an incident: nothing runs by itself any more."""
        return self._act(id, "take", actor)

    def _act(self, id: str, kind: str, actor: Actor, reason: str = "", **more: Any) -> Incident:
        """Tell an incident something, and wait a moment for it to be heeded."""
        self._require(actor, Role.APPROVER)
        self.store.incidents.check_open(id)
        number = self.engine.signal(id, kind, {"actor": actor.name, "reason": reason, **more})
        deadline = time.monotonic() + ACT_WAIT_S
        while self.store.incidents.pending(number) and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.incident(id)

    def cancel_run(self, id: str, actor: Actor) -> Run:
        """End a play that runs."""
        row = self.store.runs.row(id)
        if row.state not in (RunState.INTENT, RunState.RUNNING):
            raise Conflict(f"the run has ended: {row.state}")
        self._act(row.incident, "cancel_run", actor)
        return self.store.runs.get(id)

    def undo_run(self, id: str, actor: Actor) -> Incident:
        """Start the undo of an apply whose incident is with a person."""
        row = self.store.runs.row(id)
        incident, entry = self.store.incidents.get(row.incident), self.entry(row.entry)
        if not entry.undo:
            raise Conflict(f"the entry {entry.id} has no undo")
        if row.kind != "apply" or row.state != RunState.DONE:
            raise Conflict("only an apply that ended in a known state can be undone")
        if incident.status is not Status.ESCALATED:
            raise Conflict(f"only an escalated incident's run can be undone; this one is {incident.status}")
        return self._act(row.incident, "undo", actor, run=id)

    def settle_run(self, id: str, actor: Actor, done: bool, reason: str) -> Incident:
        """Say what became of an unknown run; its host is free then."""
        if not reason.strip():
            raise InvalidRequest("reason: say how you know")
        row = self.store.runs.row(id)
        incident = self.store.incidents.get(row.incident)
        if incident.run is None or incident.run.id != id or incident.run.state is not RunState.UNKNOWN:
            raise Conflict("only an unknown run can be settled")
        return self._act(row.incident, "settle", actor, reason, done=done)

    def start_run(self, entry: str, hosts: tuple[str, ...], parameters: Mapping[str, Any], actor: Actor, reason: str = "") -> Incident:
        """Propose a play as a person: same card, same guards as any other."""
        self._require(actor, Role.APPROVER)
        chosen = self.entry(entry)
        if chosen.kind is not EntryKind.REMEDIATION:
            raise InvalidRequest(f"entry: {entry} only reads; it runs by itself while context is gathered")
        known = self._inventory.get().hosts
        unknown = [name for name in hosts if name not in known]
        if unknown or not hosts:
            raise InvalidRequest(f"hosts: {', '.join(unknown) or 'none'} is not in the inventory")
        filled = {p.name: p.default for p in chosen.parameters if p.default is not None} | dict(parameters)
        problems = [*check_parameters(chosen, filled), *check_names(chosen, filled, [known[name] for name in hosts])]
        if problems:
            raise InvalidRequest("; ".join(problems))
        identity = new_id()
        labels = {"alertname": "ManualRun", "entry": entry, "instance": hosts[0], "run": identity}
        alert = Alert(
            ingest.fingerprint(labels), AlertStatus.FIRING, labels, {"summary": reason}, self.wiring.now(), None, "orchestrator:manual"
        )
        proposal = Proposal(
            choice=Choice.RUN,
            agreement=Agreement.PERSON,
            engine="person",
            summary=f"{actor.name} asks to run {entry} on {', '.join(hosts)}{': ' + reason if reason else '.'}",
            entry=entry,
            hosts=tuple(hosts),
            parameters=filled,
            origins={name: "person" if name in parameters else "default" for name in filled},
            proposer=actor.name,
        )
        now = self.wiring.now()
        incident = Incident(identity, alert, proposal=proposal, created_at=now, updated_at=now)
        step = move(incident, Status.PROPOSED, Reason.PERSON_CHOICE, proposal.summary, actor=actor.name)
        with self.store.db.transaction():
            self.store.incidents.insert(step.incident, self.store.db.now_ms())
            for happening in step.events:
                self.store.chain.append(identity, happening)
            self.engine.wake(identity)
        return step.incident

    # ------------------------------------------------------------ kill switch and state

    def pause(self, actor: Actor, reason: str = "") -> None:
        """Let no run start, on any machine."""
        self._require(actor, Role.APPROVER)
        words = f"{actor.name}: {reason}" if reason else actor.name
        with self.store.db.transaction():
            self.store.people.set_flag("paused", words)
            self._note(Happening("engine.paused", actor.name, {"reason": reason}))
        self.data.pause(words)

    def resume(self, actor: Actor) -> None:
        """Let runs start again."""
        self._require(actor, Role.APPROVER)
        with self.store.db.transaction():
            self.store.people.set_flag("paused", "")
            self._note(Happening("engine.resumed", actor.name))
            restored = self.store.people.flag("restored")
            if restored and actor.role is Role.ADMIN:
                self.store.people.take_flag("restored", restored)
                self._note(Happening("database.restore_confirmed", actor.name))
        self.data.resume()

    def paused(self) -> str:
        """Return who holds the kill switch and why, an empty string where nobody does."""
        return self.data.paused() or self.store.people.flag("paused")

    def _auto_off(self) -> str:
        """Return why nothing runs without a person, an empty string where it may."""
        if restored := self.store.people.flag("restored"):
            return f"a backup was restored ({restored}); an admin has to say that all is well"
        patience = self.settings.policy.watchdog_timeout_s
        if patience:
            seen = int(self.store.people.flag("watchdog_seen") or 0)
            silent_s = (self.store.db.now_ms() - seen) / 1000
            if silent_s > patience:
                return (
                    "no Watchdog alert has come yet"
                    if not seen
                    else f"no Watchdog alert for {silent_s:.0f} seconds: monitoring may be down"
                )
        return ""

    def health(self) -> dict[str, Any]:
        """Return whether it is ready, what is degraded, and what stands in the store."""
        counts = self.store.incidents.counts()
        degraded = self._degraded()
        ready = not (self._working and self.engine.last_sweep and time.monotonic() - self.engine.last_sweep > READY_SWEEP_S)
        if not ready:
            degraded.append({"what": "worker", "why": "the sweeper has not come round", "since": self.wiring.now()})
        return {
            "ready": ready,
            "degraded": degraded,
            "paused": self.paused(),
            "version": __version__,
            "counts": counts,
            "queue": self.store.incidents.waiting(),
        }

    def _degraded(self) -> list[dict[str, Any]]:
        found = self.troubles.all()
        broken = self.catalogue().broken
        if broken:
            found.append({"what": "catalogue", "why": f"broken: {', '.join(item.id for item in broken)}", "since": None})
        if reason := self._auto_off():
            found.append({"what": "auto", "why": reason, "since": None})
        return found

    def _state(self) -> dict[str, Any]:
        return {
            "counts": self.store.incidents.counts(),
            "queue": self.store.incidents.waiting(),
            "outbox": self.store.outbox.counts(),
            "degraded": self._degraded(),
            "paused": self.paused(),
            "broken": len(self.catalogue().broken),
            "version": __version__,
        }

    def metrics(self) -> bytes:
        """Return our own metrics in Prometheus' text format."""
        return self.meters.text()

    def changes(self, after: int) -> int:
        """Return the id of the newest audit event; greater than `after` where something happened since."""
        return max(after, self.store.chain.newest())

    # ------------------------------------------------------------ dry

    def decide(self, body: bytes) -> list[dict[str, Any]]:
        """Decide for every alert of a delivery; nothing is stored and nothing runs but reading from Prometheus."""
        results = []
        for alert in ingest.parse(body).alerts:
            incident = Incident("dry", alert)
            try:
                hosts = self.wiring.hosts(incident)
            except InventoryError:
                hosts = ()
            rule = self.wiring.rule_of(alert)
            incident = incident.evolve(context=rule)
            proposal = self.wiring.decide(incident, hosts)
            incident = incident.evolve(proposal=proposal)
            verdict = self.wiring.judge(incident) if proposal.choice is Choice.RUN else None
            results.append({"alert": alert, "proposal": proposal, "verdict": verdict})
        return results

    # ------------------------------------------------------------ the database itself

    def db_upgrade(self) -> str:
        """Bring the schema up to this version; building has done it already."""
        return f"the database has schema {self.store.db.version()}"

    def db_backup(self, target: Path) -> None:
        """Copy the database to a new file while it is in use."""
        backup(self.store.db, target)
        self._note(Happening("database.backed_up", data={"to": str(target)}))

    # ------------------------------------------------------------ small words

    def _route(self, kind: str, severity: str) -> tuple[str, ...]:
        return Chores.route(self.settings, tuple(self.channels), kind, severity)

    def _limits(self, incident: Incident) -> list[tuple[str, int]]:
        rules = self.settings.policy
        limits = [("all", rules.max_running)]
        entry = self.catalogue().entries.get(incident.proposal.entry) if incident.proposal else None
        if entry and entry.max_parallel:
            limits.append((f"entry:{entry.id}", entry.max_parallel))
        if rules.max_running_per_group and incident.proposal:
            known = self._inventory.get().hosts
            groups = {group for name in incident.proposal.hosts if name in known for group in known[name].groups if group != "all"}
            limits.extend((f"group:{group}", rules.max_running_per_group) for group in sorted(groups))
        return limits

    def _note(self, happening: Happening) -> None:
        with self.store.db.transaction():
            event = self.store.chain.append(audit.SYSTEM, happening)
            self.store.outbox.add(event, "critical")

    @staticmethod
    def _require(actor: Actor, role: Role) -> None:
        if RANK[actor.role] < RANK[role]:
            raise Forbidden(f"{actor.name} is {actor.role}; this needs {role}")


READY_SWEEP_S = timedelta(seconds=30).total_seconds()
