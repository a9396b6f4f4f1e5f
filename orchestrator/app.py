"""Composition: builds every part once and hangs the doors; what the faces (web, command line) call."""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator import __version__, ingest
from orchestrator.autonomy import Level, Line, Standing
from orchestrator.catalogue import CatalogueCache
from orchestrator.catalogue import load as load_catalogue
from orchestrator.chores import Chores
from orchestrator.data_folder import DataFolder
from orchestrator.desk.acting import Acting
from orchestrator.desk.catalogue_watch import CatalogueWatch
from orchestrator.engine import Engine
from orchestrator.errors import InventoryError, OrchestratorError, UsageError
from orchestrator.inventory import Inventory
from orchestrator.lifecycle import Signal, Step
from orchestrator.matcher import matches_all
from orchestrator.metrics import Metrics
from orchestrator.model import (
    Actor,
    AlertGroup,
    AlertStatus,
    Choice,
    Entry,
    Happening,
    Incident,
    Receipt,
    Role,
)
from orchestrator.parts import make_channels, make_executor, make_inventory, make_model, make_monitoring, make_sources
from orchestrator.playing import Playing
from orchestrator.policy import active_windows
from orchestrator.settings import Settings
from orchestrator.shipped import folder as shipped_folder
from orchestrator.store import Linking, Store
from orchestrator.store.backup import after_restore, backup, restore
from orchestrator.store.migrations import upgrade
from orchestrator.store.moving import MOVED, move
from orchestrator.wiring import Troubles, Wiring

log = logging.getLogger(__name__)


def build(settings: Settings) -> Orchestrator:
    """Open the database, load the catalogue and build every part; nothing is started.

    Raises:
        SettingsError: the data folder or the database cannot be used.
        SchemaMismatch: the database is a newer version's, or an older one's on PostgreSQL.
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
        upgrade(store.db, store.chain, keep=False)
        store.db.create()
        flying = after_restore(store.db, store.chain, source.name)
        store.db.close()
    finally:
        data.release_node()
    return flying


def upgrade_database(settings: Settings) -> str:
    """Bring the database to this version; return what was done, in words.

    Raises:
        UsageError: a server or worker uses the database now.
        SchemaMismatch: the database is a newer version's.
    """
    store = Store(settings.database_url())
    try:
        done = upgrade(store.db, store.chain)
        store.db.create()
        return done or f"the database has schema {store.db.version()}; nothing had to be done"
    finally:
        store.db.close()


def move_database(settings: Settings, to: str) -> dict[str, int]:
    """Copy the SQLite database to an empty PostgreSQL one; return table → how many rows.

    Raises:
        UsageError: a server or worker uses it now, or the two databases are not of these kinds; nothing was moved.
        StoreUnavailable: PostgreSQL does not answer; nothing was moved.
    """
    source, target = Store(settings.database_url()), Store(to)
    if not source.db.is_sqlite or target.db.is_sqlite:
        raise UsageError("a database moves from SQLite to postgresql://…. Mend: name a PostgreSQL database with --to.")
    data = DataFolder(Path(settings.data_dir))
    data.claim_node()
    try:
        upgrade(source.db, source.chain)
        source.db.create()
        names = ["local-admin"] if settings.server.webhook_token.get_secret_value() else ["local-admin", "alertmanager"]
        tokens = {name: f"{name}@{data.node()}" for name in names}
        return move(source.db, target.db, flags={"digest_key": data.secret("digest.key")}, tokens=tokens)
    finally:
        data.release_node()
        source.db.close()
        target.db.close()


def pause_without_server(settings: Settings, actor: Actor, reason: str) -> bool:
    """Write the kill switch's file, and its row where several machines share the database; return whether the row is written.

    The file comes first and needs nothing but the disk: the switch works with the database gone, too.
    """
    words = f"{actor.name}: {reason}"
    DataFolder(Path(settings.data_dir)).pause(words)
    store = Store(settings.database_url()) if settings.database_url().startswith("postgres") else None
    if store is None:
        return False
    try:
        store.db.create()
        with store.db.transaction():
            store.people.set_flag("paused", words)
            store.chain.append("system", Happening("engine.paused", actor.name, {"reason": reason}))
    except OrchestratorError as error:
        log.warning("the kill switch's row is not written: %s", error)
        return False
    finally:
        store.db.close()
    return True


class Orchestrator(Acting):
    """One orchestrator: its parts, and everything that a face may ask or do.

    Args:
        settings: how it is set up.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        _check_windows(settings)
        self.data = DataFolder(Path(settings.data_dir))
        self.channels = {channel.name: channel for channel in make_channels(settings, self.session_key)}
        self.store = Store(settings.database_url(), synchronous=settings.database.synchronous, route=self._route)
        self._open_database()
        self._catalogue = CatalogueCache(Path(settings.catalogue.path), Path(settings.catalogue.roles), fresh_s=CATALOGUE_FRESH_S)
        self._inventory = make_inventory(settings)
        self.prometheus, self.alertmanager = make_monitoring(settings)
        monitoring = make_sources(settings, self.prometheus)
        self.executor = make_executor(settings, self.data, monitoring.redact, self._inventory)
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
            inventory=self._hosts_now,
            prometheus=self.prometheus,
            alertmanager=self.alertmanager,
            playing=Playing(
                self.store, self.executor, self._entry_now, self.data.node(), self.paused, self._is_stopping, self.engine.holds
            ),
            model=make_model(settings),
            sources=monitoring.sources,
            redact=monitoring.redact,
            key=self._digest_key(),
            troubles=self.troubles,
            paused=self.paused,
            auto_off=self._auto_off,
        )
        self._redact = monitoring.redact
        self._linking = Linking(settings.policy.correlate_s, lambda labels: matches_all(settings.policy.host_down, labels), self._redact)
        self.meters = Metrics(self._state)
        self._failures: dict[str, list[float]] = {}
        self._failures_lock = threading.Lock()
        self._working = False
        self._first_start()

    def _open_database(self) -> None:
        """Make or check the tables; one machine's SQLite is upgraded at once, a copy kept, and PostgreSQL by `orchestrator db upgrade`."""
        try:
            if self.store.db.is_sqlite and (done := upgrade(self.store.db, self.store.chain)):
                log.warning("%s", done)
            self.store.db.create()
            if moved := self.store.people.flag(MOVED):
                raise UsageError(f"this database was moved to {moved}. Mend: write that address in database.url.")
        except OrchestratorError:
            self.store.db.close()
            raise

    def _advance(self, incident: Incident, signals: Sequence[Signal], owner: str) -> Step:
        return self.wiring.advance(incident, signals, owner)

    def _hosts_now(self) -> Inventory:
        """Return the inventory, and say on the page where it cannot be read.

        Raises:
            InventoryError: it cannot be read as it stands now.
        """
        try:
            found = self._inventory.get()
        except InventoryError as error:
            self.troubles.set("inventory", str(error))
            raise
        self.troubles.set("inventory", "")
        return found

    def autonomy(self) -> list[dict[str, Any]]:
        """Return what has been earned: each alert × entry × group with its record."""
        return self.wiring.earning.table()

    def answer_autonomy(self, line: Line, level: Level, actor: Actor, reason: str = "") -> Standing:
        """Accept or decline a proposed promotion, or take one back."""
        self._require(actor, Role.ADMIN)
        return self.wiring.earning.answer(line, level, actor, reason)

    def catalogue_watch(self) -> CatalogueWatch:
        """Return what puts the catalogue's changes on record."""
        roles = Path(self.settings.catalogue.roles)
        return CatalogueWatch(self.store, self._catalogue, roles, self.data.node(), self.note)

    def _entry_now(self, name: str) -> Entry | None:
        return self.catalogue().entries.get(name)

    def _is_stopping(self) -> bool:
        return self.engine.stopping

    def _digest_key(self) -> bytes:
        """Return the key of the hashes over hosts' variables; machines that share a database share it, or none could go on with another's grant."""
        own = self.data.secret("digest.key")
        return (own if self.store.db.is_sqlite else self.store.people.first_flag("digest_key", own)).encode()

    def _first_start(self) -> None:
        given = self.settings.server.webhook_token.get_secret_value()
        # several machines may share one database: each has tokens of its own
        at = "" if self.store.db.is_sqlite else f"@{self.data.node()}"
        webhook = "alertmanager" if given else f"alertmanager{at}"
        self.store.people.put_token(webhook, Role.WEBHOOK, given or self.data.secret("webhook.token", "ro_"))
        self.store.people.put_token(f"local-admin{at}", Role.ADMIN, self.data.secret("admin.token", "ro_"))
        if self.store.people.flag("first_start"):
            return
        with self.store.db.transaction():
            self.store.db.lock("first_start")  # of web and worker that start together, one greets
            if self.store.people.flag("first_start"):
                return
            self._admit_shipped()
            self.store.people.set_flag("admin_link", secrets.token_urlsafe(24))
            self.store.people.set_flag("first_start", "done")
            self.note(Happening("engine.first_start", data={"version": __version__}))

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
        """Store a group of alerts, what can be secret in it redacted; labels are the identity and stay."""
        group = replace(
            group,
            alerts=tuple(
                replace(alert, annotations={name: self._redact(text) for name, text in alert.annotations.items()}) for alert in group.alerts
            ),
            rejected=tuple(replace(item, raw=self._redact(item.raw)) for item in group.rejected),
        )
        with self.meters.deliveries.time():
            lines = self.store.incidents.receive(group, self._linking, self.engine.wake)
        self.meters.alerts.labels("opened").inc(sum(line["created"] for line in lines))
        self.meters.alerts.labels("attached").inc(sum(not line["created"] for line in lines))
        self.meters.alerts.labels("rejected").inc(len(group.rejected))
        if self.settings.policy.watchdog_timeout_s and any(
            alert.status is AlertStatus.FIRING and matches_all(self.settings.policy.watchdog, alert.labels) for alert in group.alerts
        ):
            self.store.people.set_flag("watchdog_seen", str(self.store.db.now_ms()))
        return Receipt(tuple(lines), group.rejected, group.received)

    # ------------------------------------------------------------ kill switch and state

    def pause(self, actor: Actor, reason: str = "") -> None:
        """Let no run start, on any machine."""
        self._require(actor, Role.APPROVER)
        words = f"{actor.name}: {reason}" if reason else actor.name
        with self.store.db.transaction():
            self.store.people.set_flag("paused", words)
            self.note(Happening("engine.paused", actor.name, {"reason": reason}))
        self.data.pause(words)

    def resume(self, actor: Actor) -> None:
        """Let runs start again."""
        self._require(actor, Role.APPROVER)
        with self.store.db.transaction():
            self.store.people.set_flag("paused", "")
            self.note(Happening("engine.resumed", actor.name))
            restored = self.store.people.flag("restored")
            if restored and actor.role is Role.ADMIN:
                self.store.people.take_flag("restored", restored)
                self.note(Happening("database.restore_confirmed", actor.name))
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
        """Return whether it is ready, what is degraded, what stands in the store and which standing grants are in force."""
        trouble = self.store.db.trouble()
        counts = self.store.incidents.counts()
        degraded = [*self._degraded(), *self._elsewhere()]
        ready = not (self._working and self.engine.last_sweep and time.monotonic() - self.engine.last_sweep > READY_SWEEP_S)
        if not ready:
            degraded.append({"what": "worker", "why": "the sweeper has not come round", "since": self.wiring.now()})
        if trouble:
            degraded.append({"what": "database", "why": trouble, "since": None})
            ready = False
        return {
            "ready": ready,
            "degraded": degraded,
            "paused": self.paused(),
            "version": __version__,
            "counts": counts,
            "queue": self.store.incidents.waiting(),
            "standing": self.standing_in_force(),
        }

    def degraded_here(self) -> dict[str, str]:
        """Return what is degraded in this process, name → why, and leave it for the pages of the others."""
        found = {str(item["what"]): str(item["why"]) for item in self._degraded()}
        self.store.people.set_flag(f"{REPORT}{self.data.node()}", json.dumps(found))
        return found

    def _elsewhere(self) -> list[dict[str, Any]]:
        """Return what the workers of other processes say; a process without a worker also says where none has reported."""
        reports = self.store.people.fresh_flags(REPORT, REPORTED_S)
        if self._working:
            reports.pop(f"{REPORT}{self.data.node()}", None)
        elif not reports:
            return [{"what": "worker", "why": f"no worker has reported for {REPORTED_S:.0f} seconds", "since": None}]
        own = {item["what"] for item in self._degraded()}
        return [
            {"what": what, "why": f"{why} (says {name.removeprefix(REPORT)})", "since": None}
            for name, found in sorted(reports.items())
            for what, why in json.loads(found).items()
            if what not in own
        ]

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

    def db_backup(self, target: Path) -> None:
        """Copy the database to a new file while it is in use."""
        backup(self.store.db, target)
        self.note(Happening("database.backed_up", data={"to": str(target)}))

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


REPORT = "report:"
"""Name of the flags in which each worker says what is degraded."""
REPORTED_S = 60.0
"""Age above which such a report says nothing any more."""
CATALOGUE_FRESH_S = 0.5
"""How long a look at the catalogue's files holds; what a run executes is looked at anew, by its digest."""
READY_SWEEP_S = timedelta(seconds=30).total_seconds()


def _check_windows(settings: Settings) -> None:
    """Read every maintenance window once, so that a wrong one is told at start.

    Raises:
        SettingsError: one cannot be read.
    """
    everywhere = [window.model_copy(update={"hosts": ()}) for window in settings.policy.windows]
    active_windows(everywhere, datetime.now(UTC), ())
