"""How the doors of the rooms are hung on the corridor: the only place where rooms, store and clients meet for one incident."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol
from urllib.parse import urlsplit

from orchestrator import approval as approvals
from orchestrator import policy, verify
from orchestrator.binding import Binding
from orchestrator.catalogue import check_names, check_parameters
from orchestrator.context import Source, gather
from orchestrator.context.holding import held
from orchestrator.context.infra import Diagnosis
from orchestrator.context.promql import fill
from orchestrator.decide import Model, decide, derive, matching
from orchestrator.earning import Earning
from orchestrator.errors import ExecutionError, HostBusy, InventoryError, SourceUnavailable, Stopping, UsageError
from orchestrator.inventory import Inventory, host_for
from orchestrator.lifecycle import Rooms, Signal, Step, advance, manual
from orchestrator.matcher import matches_all
from orchestrator.model import (
    Alert,
    Approval,
    Catalogue,
    Context,
    Entry,
    EntryKind,
    Grant,
    Health,
    Host,
    Incident,
    IncidentSummary,
    Mode,
    Proposal,
    Reason,
    Risk,
    Run,
    RunKind,
    RunRequest,
    Verdict,
    Verification,
)
from orchestrator.playing import Playing
from orchestrator.settings import Settings
from orchestrator.store import Past, Store

RANGE = re.compile(r"\[(\d+)(ms|s|m|h|d|w|y)[\]:]")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}


class Monitoring(Protocol):
    """Something that knows whether an alert fires."""

    def firing(self, alert: Alert) -> bool:
        """Return whether it fires; raises SourceUnavailable."""


class Troubles:
    """What is degraded, since when: shown on the page, in /readyz and in a metric."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._known: dict[str, tuple[str, datetime]] = {}
        self._lock = threading.Lock()

    def set(self, what: str, why: str) -> None:
        """Note that something is wrong, or, with an empty `why`, that it is well again."""
        with self._lock:
            if not why:
                self._known.pop(what, None)
            elif what not in self._known or self._known[what][0] != why:
                self._known[what] = (why, self._known.get(what, (why, self._now()))[1])

    def all(self) -> list[dict[str, Any]]:
        """Return `{"what", "why", "since"}` of everything that is degraded."""
        with self._lock:
            return [{"what": what, "why": why, "since": since} for what, (why, since) in sorted(self._known.items())]


@dataclass(frozen=True, slots=True)
class Wiring:
    """Builds the rooms of one incident's step.

    Args are the parts that `app.build` made: settings, store, catalogue, inventory, clients, executor.
    """

    settings: Settings
    store: Store
    catalogue: Callable[[], Catalogue]
    inventory: Callable[[], Inventory]
    prometheus: Any
    alertmanager: Any
    playing: Playing
    model: Model | None
    sources: Callable[
        [Callable[[str, Mapping[str, Any], tuple[str, ...]], Run], Callable[[Alert], list[IncidentSummary]]], Sequence[Source]
    ]
    redact: Any
    key: bytes
    troubles: Troubles
    paused: Callable[[], str]
    auto_off: Callable[[], str]

    def advance(self, incident: Incident, signals: Sequence[Signal], owner: str) -> Step:
        """Take one step of an incident: the corridor with all doors hung.

        Raises:
            Stopping: a play that only reads was cut short because this process ends; what follows from that is not written.
            HostBusy: a host is read by as many plays as may at once; the same.
        """
        try:
            step = advance(incident, signals, self.rooms(owner))
        finally:
            full = self.playing.busy.pop(incident.id, "")
        if full:
            raise HostBusy(full)
        if incident.id in self.playing.cut:
            self.playing.cut.discard(incident.id)
            raise Stopping(incident.id)
        return step

    def rooms(self, owner: str) -> Rooms:
        """Return the doors as the corridor knows them, for the worker that holds the incident by `owner`."""
        return Rooms(
            now=self.now,
            hosts=self.hosts,
            suppression=self.suppression,
            gather=self.gather,
            decide=self.decide,
            entry=self.entry,
            bind=self.bind,
            judge=self.judge,
            observing=self.observing,
            play=self.playing.play,
            carry_out=lambda incident, run: self.playing.carry_out(incident, run, owner),
            look=self.look,
            final=verify.final,
            verify_within_s=self.verify_within_s,
            approval=self.store.runs.approval,
            grant=self.grant,
            parent=self.parent,
            paused=self.paused,
            approval_ttl_s=self.settings.policy.approval_ttl_s,
            max_attempts=self.settings.policy.max_attempts,
            covered=self.binding.covered,
            standing=self.binding.standing,
            standing_holds=self.binding.standing_holds,
            stale=self.binding.stale,
            differences=self.binding.differences,
        )

    @property
    def binding(self) -> Binding:
        """What answers are bound to."""
        return Binding(self.store, self.playing.plays, self.catalogue, self.inventory, self.key)

    # ------------------------------------------------------------ small doors

    def now(self) -> datetime:
        """Return the database's time."""
        return self.store.db.now()

    def hosts(self, incident: Incident) -> tuple[Host, ...]:
        """Return the inventory hosts of the alert's own targets."""
        inventory = self.inventory()
        if manual(incident.alert) and incident.proposal:
            return tuple(inventory.hosts[name] for name in incident.proposal.hosts if name in inventory.hosts)
        host = host_for(inventory, incident.alert.labels, self.settings.inventory.instance_variable)
        return (host,) if host else ()

    def entry(self, name: str) -> Entry | None:
        """Return an entry as the catalogue has it now, None where it is gone or broken."""
        return self.catalogue().entries.get(name)

    def parent(self, incident: str) -> Incident | None:
        """Return another incident, None where there is none."""
        return self.store.incidents.get(incident) if incident else None

    def suppression(self, incident: Incident, hosts: tuple[Host, ...]) -> tuple[Reason, str] | None:
        """Return what covers the alert, and in which words."""
        if matches_all(self.settings.policy.watchdog, incident.alert.labels):
            return Reason.WATCHDOG, "This alert always fires, to show that monitoring lives."
        if manual(incident.alert):
            return None
        windows = policy.active_windows(self.settings.policy.windows, self.now(), hosts)
        if windows:
            return Reason.WINDOW, f"Maintenance window in force: {', '.join(windows)}."
        silences = self._silences(incident.alert)
        return (Reason.SILENCED, f"Silenced in Alertmanager: {', '.join(silences)}.") if silences else None

    def grant(self, approval: Approval) -> Grant:
        """Return the grant of an approval that people gave."""
        return approvals.grant(approval, approval.id)

    def firing(self, alert: Alert) -> bool | None:
        """Return whether monitoring itself says that the alert fires; None where nobody could be asked."""
        if manual(alert):
            return None
        said: list[bool] = []
        for name, source in (("prometheus", self.prometheus), ("alertmanager", self.alertmanager)):
            if source is None:
                continue
            try:
                said.append(source.firing(alert))
                self.troubles.set(name, "")
            except SourceUnavailable as error:
                self.troubles.set(name, str(error))
        if any(said):
            return True
        return False if said and not self._is_any_down() else None

    def _is_any_down(self) -> bool:
        return any(item["what"] in {"prometheus", "alertmanager"} for item in self.troubles.all())

    def _silences(self, alert: Alert) -> tuple[str, ...]:
        """Return people's silences on the alert; those by which we hold pages back say nothing about what may run."""
        if self.alertmanager is None:
            return ()
        try:
            found: tuple[str, ...] = self.alertmanager.silenced(alert)
            hold_s = self.settings.alertmanager.hold_s
            ours = {one.id for one in self.alertmanager.silences() if held(one, self.key, hold_s)} if found else set()
        except SourceUnavailable as error:
            self.troubles.set("alertmanager", str(error))
            return ()
        return tuple(one for one in found if one not in ours)

    # ------------------------------------------------------------ context and decision

    def gather(self, incident: Incident, hosts: tuple[Host, ...]) -> Context:
        """Gather what is known about the alert."""
        alarm = self._fleet_alarm()

        def run_play(entry: str, parameters: Mapping[str, Any], names: tuple[str, ...]) -> Run:
            if alarm:
                raise SourceUnavailable(alarm)
            return self._read(incident, RunKind.CONTEXT, entry, parameters, names)

        def past_of(alert: Alert) -> list[IncidentSummary]:
            found, _ = self.store.incidents.find(alertname=alert.name, limit=20)
            return [item for item in found if item.target == alert.target and item.id != incident.id][:10]

        sources = self.sources(run_play, past_of)
        return gather(
            incident.alert,
            hosts,
            [*sources, *([] if alarm else self._diagnoses(incident, hosts, {getattr(source, "entry", "") for source in sources}))],
            rule=self.prometheus.rule_for if self.prometheus else None,
            deadline_s=self.settings.context.deadline_s,
            max_bytes=self.settings.context.max_bytes,
            redact=self.redact,
        )

    def _fleet_alarm(self) -> str:
        """Return why no host is asked now: while most of the fleet alerts, nobody shall log in to all of it at once."""
        try:
            known = len(self.inventory().hosts)
        except InventoryError:
            return ""
        alerting = self.store.incidents.firing_targets()
        alarmed = policy.is_fleet_alarm(alerting, known, self._limits())
        return f"{alerting} of {known} hosts alert at once: hosts are not asked one by one." if alarmed else ""

    def _diagnoses(self, incident: Incident, hosts: tuple[Host, ...], known: set[str]) -> list[Diagnosis]:
        """Return the diagnostics that the fitting entries name, without the ones that are sources already."""
        if not self.settings.context.from_hosts:
            return []
        catalogue = self.catalogue()
        wanted = {name: None for entry in matching(incident.alert, Context(), catalogue) for name in entry.diagnostics if name not in known}

        def run_play(entry: str, parameters: Mapping[str, Any], names: tuple[str, ...]) -> Run:
            return self._read(incident, RunKind.DIAGNOSE, entry, parameters, names)

        found = [catalogue.entries[name] for name in wanted if name in catalogue.entries]
        values = [(entry, derive(entry, incident.alert, hosts)) for entry in found if entry.kind is EntryKind.DIAGNOSTIC]
        return [
            Diagnosis(run_play, entry.id, given.parameters, " ".join(problem.detail for problem in given.problems))
            for entry, given in values
        ]

    def _read(self, incident: Incident, kind: RunKind, entry_id: str, parameters: Mapping[str, Any], names: tuple[str, ...]) -> Run:
        entry = self.catalogue().entries.get(entry_id)
        if entry is None:
            raise SourceUnavailable(f"the catalogue has no entry {entry_id}")
        try:
            snapshot = self.playing.plays.snapshot(entry)
            request = RunRequest(
                id=f"{incident.id}:{incident.attempt}:{kind}:{entry_id}-{self.store.db.now_ms() % 10**9}",
                kind=kind,
                entry=entry_id,
                playbook="playbook.yml",
                hosts=names,
                snapshot=str(snapshot.path),
                parameters=dict(parameters),
                timeout_s=min(entry.timeout_s, self.settings.context.deadline_s),
            )
            return self.playing.play(incident, request)
        except ExecutionError as error:
            raise SourceUnavailable(str(error)) from error

    def rule_of(self, alert: Alert) -> Context:
        """Return a context that holds nothing but the alert's rule."""
        if self.prometheus is None:
            return Context()
        try:
            return Context(rule=self.prometheus.rule_for(alert))
        except SourceUnavailable:
            return Context()

    def decide(self, incident: Incident, hosts: tuple[Host, ...]) -> Proposal:
        """Choose an entry."""
        context, catalogue = incident.context or Context(), self.catalogue()
        proposal = decide(
            incident.alert,
            context,
            catalogue,
            hosts,
            tried=incident.tried,
            model=self.model,
            rule_read=None if self.prometheus is None else context.rule is not None,
            size=self.settings.decision.shortlist,
        )
        if self.model is not None:
            failed = any(claim.text.startswith("The model gave no usable answer") for claim in proposal.claims)
            self.troubles.set("model", "it gave no usable answer; the matchers decide" if failed else "")
        return replace(proposal, revision=catalogue.revision or catalogue.digest)

    def bind(self, incident: Incident) -> tuple[str, str]:
        """Return the digest of what is proposed, and the folder of the snapshot it runs from."""
        proposal = _of(incident.proposal)
        entry = self.catalogue().entries.get(proposal.entry)
        if entry is None:
            raise ExecutionError(f"the entry {proposal.entry} is not in the catalogue")
        known = self.inventory().hosts
        gone = [name for name in proposal.hosts if name not in known]
        if gone:
            raise InventoryError(f"{', '.join(gone)}: no longer in the inventory")
        snapshot = self.playing.plays.snapshot(entry)
        hosts_digest = self.playing.plays.hosts_digest([known[name] for name in proposal.hosts], self.key)
        return approvals.digest(snapshot.digest, proposal, hosts_digest, incident.alert), str(snapshot.path)

    # ------------------------------------------------------------ policy

    def judge(self, incident: Incident) -> Verdict:
        """Judge what is proposed with the world as it is now."""
        proposal = _of(incident.proposal)
        entry = self.catalogue().entries[proposal.entry]
        return policy.judge(proposal, entry, self.facts(incident, proposal, entry), self._limits())

    def observing(self, incident: Incident) -> bool:
        """Return whether the policy only observes what is proposed."""
        rules = self.settings.policy
        entry = self.entry(incident.proposal.entry) if incident.proposal else None
        autonomy = {Risk.LOW: rules.autonomy_low, Risk.MEDIUM: rules.autonomy_medium, Risk.HIGH: rules.autonomy_high}
        return rules.mode == "observe" or (entry is not None and autonomy[entry.risk] == "observe")

    def _is_earnable(self, entry: Entry) -> bool:
        return entry.risk in self.earning.earnable

    @property
    def earning(self) -> Earning:
        """What has been earned so far."""
        rules = self.settings.policy
        levels = {Risk.LOW: rules.autonomy_low, Risk.MEDIUM: rules.autonomy_medium, Risk.HIGH: rules.autonomy_high}
        earnable = frozenset(risk for risk, level in levels.items() if level == "earned")
        return Earning(self.store, self.catalogue, lambda: self.inventory().hosts, self.playing.plays, earnable, rules.earned_bound)

    def _limits(self) -> policy.Limits:
        rules = self.settings.policy
        return policy.Limits(
            rules.max_hosts_per_hour, rules.fleet_share, rules.fleet_minimum, rules.auto_without_model, rules.allow_monitoring_hosts
        )

    def facts(self, incident: Incident, proposal: Proposal, entry: Entry) -> policy.Facts:
        """Collect what the policy has to know."""
        rules, now = self.settings.policy, self.now()
        inventory = self.inventory()
        hosts = [inventory.hosts[name] for name in proposal.hosts if name in inventory.hosts]
        longest = max(entry.cooldown_s, rules.breaker_s, 3600.0)
        past = self.store.runs.past(int((now - timedelta(seconds=longest)).timestamp() * 1000))
        hour = now - timedelta(hours=1)
        silences = () if manual(incident.alert) else self._silences(incident.alert)
        earned, record = self.earning.may_run(entry, hosts, incident.alert.name) if self._is_earnable(entry) else (False, "")
        blind = any(item["what"] == "alertmanager" for item in self.troubles.all())
        return policy.Facts(
            now=now,
            mode=Mode(rules.mode),
            autonomy={Risk.LOW: Mode(rules.autonomy_low), Risk.MEDIUM: Mode(rules.autonomy_medium), Risk.HIGH: Mode(rules.autonomy_high)},
            admitted=self.store.people.admitted(entry.id, entry.digest),
            earned=earned,
            record=record,
            firing=self.firing(incident.alert),
            preconditions=self._preconditions(entry, incident.alert, hosts),
            last_run_at={run.host: run.at for run in past if run.entry == entry.id},
            breaker=_open_breakers(past, entry.id, proposal.hosts, now - timedelta(seconds=rules.breaker_s), rules.breaker_failures),
            windows=() if manual(incident.alert) else policy.active_windows(rules.windows, now, hosts),
            silences=silences,
            hosts_changed_last_hour=frozenset(
                run.host for run in past if run.at >= hour and not run.by_person and (run.changed or run.effective is None)
            ),
            alerting_hosts=self.store.incidents.firing_targets(),
            inventory_hosts=len(inventory.hosts),
            protected=frozenset(rules.protected_hosts),
            auto_off=self.auto_off() or ("Alertmanager cannot be asked for silences" if blind else ""),
            quarantined=bool(self.store.people.flag(f"quarantine:{entry.id}:{entry.digest}")),
            allowed=_not_allowed(proposal, entry, hosts),
            monitoring_hosts=self._monitoring_hosts(inventory),
        )

    def _preconditions(self, entry: Entry, alert: Alert, hosts: Sequence[Host]) -> tuple[tuple[str, bool | None], ...]:
        return tuple((query, self.holds(query, alert, hosts[0] if hosts else Host(""))) for query in entry.preconditions)

    def holds(self, query: str, alert: Alert, host: Host) -> bool | None:
        """Return whether a PromQL condition holds; None where it cannot be told."""
        if self.prometheus is None:
            return None
        try:
            held: bool | None = self.prometheus.holds(fill(query, alert.labels, host.name))
        except (SourceUnavailable, UsageError):
            return None
        return held

    def _monitoring_hosts(self, inventory: Inventory) -> frozenset[str]:
        own = {socket.gethostname(), urlsplit(self.settings.database_url()).hostname or ""} - {
            "",
            "localhost",
            "127.0.0.1",
            "::1",
        }
        found = {name for name, host in inventory.hosts.items() if name in own or host.variables.get("ansible_host") in own}
        for url in (self.settings.prometheus.url, self.settings.alertmanager.url):
            address = re.sub(r"^[a-z]+://", "", url).split("/", 1)[0].rsplit(":", 1)[0]
            if address and not address.startswith(("127.", "localhost", "[::1]")):
                found |= {name for name, host in inventory.hosts.items() if address in (name, host.variables.get("ansible_host"))}
        return frozenset(found)

    # ------------------------------------------------------------ verification

    def look(self, incident: Incident) -> Verification:
        """Look once whether the repair helped."""
        proposal = _of(incident.proposal)
        entry = self.entry(proposal.entry)
        if entry is None:
            return Verification(Health.UNDECIDED, detail=f"The entry {proposal.entry} is no longer in the catalogue.")
        try:
            inventory = self.inventory()
        except InventoryError as error:
            return Verification(Health.UNDECIDED, detail=f"The inventory cannot be read: {error}")
        names = incident.grant.hosts if incident.grant else proposal.hosts
        parameters = incident.grant.parameters if incident.grant else proposal.parameters
        hosts = tuple(inventory.hosts[name] for name in names if name in inventory.hosts)
        # What was approved verifies itself: the snapshot that ran, not the folder as it is by now.
        snapshot = self.store.runs.request(incident.run.id).snapshot if incident.run else str(self.playing.plays.snapshot(entry).path)

        def run_play() -> Run:
            request = RunRequest(
                id=f"{incident.id}:{incident.attempt}:{RunKind.VERIFY}:{self.store.db.now_ms() % 10**9}",
                kind=RunKind.VERIFY,
                entry=entry.id,
                playbook=entry.verify.playbook if entry.verify else "verify.yml",
                hosts=names,
                snapshot=snapshot,
                parameters=parameters,
                timeout_s=max(60.0, entry.verify.within_s if entry.verify else 60.0),
            )
            return self.playing.play(incident, request)

        return verify.look(
            entry,
            incident.alert,
            hosts,
            parameters,
            run_play=run_play,
            holds=self.holds,
            gone=lambda: self._gone(incident),
            before=incident.verification,
        )

    def _gone(self, incident: Incident) -> bool | None:
        if incident.resolved_at is not None or manual(incident.alert):
            return True
        firing = self.firing(incident.alert)
        return None if firing is None else not firing

    def verify_within_s(self, incident: Incident) -> float:
        """Return how long verification may take: the entry's time, and the time the rule itself needs to notice."""
        entry = self.catalogue().entries.get(_of(incident.proposal).entry)
        within = entry.verify.within_s if entry and entry.verify else 60.0
        rule = incident.context.rule if incident.context else None
        if rule is None:
            return within
        longest = max((int(number) * SECONDS[unit] for number, unit in RANGE.findall(rule.expr)), default=0.0)
        return within + longest + rule.keep_firing_for_s + 2 * rule.interval_s


def _of(proposal: Proposal | None) -> Proposal:
    if proposal is None:
        raise ExecutionError("there is no proposal")
    return proposal


def _not_allowed(proposal: Proposal, entry: Entry, hosts: Sequence[Host]) -> tuple[str, ...]:
    """Return, in words, what the inventory or the entry's schema does not allow."""
    known = {host.name for host in hosts}
    words = [f"{name} is not in the inventory" for name in proposal.hosts if name not in known]
    wanted = set(entry.targets.groups)
    words += [
        f"{host.name} is in none of the groups {', '.join(sorted(wanted))}" for host in hosts if wanted and not wanted & set(host.groups)
    ]
    return (*words, *check_parameters(entry, proposal.parameters), *check_names(entry, proposal.parameters, hosts))


def _open_breakers(past: Sequence[Past], entry: str, hosts: Sequence[str], since: datetime, failures: int) -> tuple[str, ...]:
    """Return, in words, where repeated runs had no effect; an effective run closes the breaker."""
    words = []
    for what, runs in [(f"{entry}", [run for run in past if run.entry == entry])] + [
        (f"host {h}", [r for r in past if r.host == h]) for h in hosts
    ]:
        recent = sorted((run for run in runs if run.at >= since and run.effective is not None), key=lambda run: run.at)
        count = 0
        for run in recent:
            count = 0 if run.effective else count + 1
        if count >= failures:
            words.append(f"{count} runs in a row had no effect: {what}")
    return tuple(words)
