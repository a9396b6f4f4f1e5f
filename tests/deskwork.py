"""The whole program in one process, advanced step by step: real store, catalogue and policy; plays and monitoring answer as told."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from orchestrator.app import Orchestrator, build
from orchestrator.catalogue import CatalogueCache
from orchestrator.errors import SourceUnavailable
from orchestrator.inventory import Inventory
from orchestrator.model import Actor, Host, HostDiff, HostStats, Incident, Outcome, Role, Rule, Run, RunKind, RunState, Status
from orchestrator.settings import load
from orchestrator.shipped import folder

ADA = Actor("ada", Role.ADMIN, via="api")
OLGA = Actor("olga", Role.APPROVER, ("oncall",), "api")
BEN = Actor("ben", Role.APPROVER, ("oncall",), "api")
EVE = Actor("eve", Role.APPROVER, ("network",), "api")
VIC = Actor("vic", Role.VIEWER, via="api")
ENTRIES = ("restart_service", "host_state", "service_logs")
ROLES = (*ENTRIES, "service_status")


class Hosts:
    """An inventory in memory that a test changes."""

    def __init__(self) -> None:
        services = {"recoverable_services": ["nginx", "redis"]}
        names = ("web1", "web2", "web3")
        self._hosts = {name: Host(name, ("recoverable",), {**services, "prometheus_instance": f"{name}:9100"}) for name in names}
        self._hosts["old1"] = Host("old1", ("spare",))

    def get(self) -> Inventory:
        groups = {"recoverable": tuple(name for name in self._hosts if name != "old1"), "spare": ("old1",), "all": tuple(self._hosts)}
        return Inventory(dict(self._hosts), groups)

    def change(self, name: str, **variables: Any) -> None:
        """Give a host other variables."""
        self._hosts[name] = replace(self._hosts[name], variables={**self._hosts[name].variables, **variables})

    def remove(self, name: str) -> None:
        """Take a host out."""
        del self._hosts[name]


class Plays:
    """Plays that end at once; each host changes where the test says so."""

    def __init__(self, program: Orchestrator) -> None:
        self._executor = program.executor
        self._now = program.store.db.now
        self.changing = {"web1", "web3"}
        self.requests: list[Any] = []

    def snapshot(self, entry):
        return self._executor.snapshot(entry)

    def hosts_digest(self, hosts, key):
        return self._executor.hosts_digest(hosts, key)

    def run(self, request, _on_event, _cancelled) -> Run:
        self.requests.append(request)
        acts = request.kind in (RunKind.CHECK, RunKind.APPLY, RunKind.UNDO)
        stats = {host: HostStats(ok=5, changed=int(acts and host in self.changing)) for host in request.hosts}
        diffs = tuple(HostDiff(host, "Restart it", "-state: stopped\n+state: started") for host, one in stats.items() if one.changed)
        now = self._now()
        return Run(request.id, request.kind, request.entry, RunState.DONE, Outcome.SUCCESSFUL, stats, 0, "", diffs, {}, now, now)

    def recover(self, request, on_event, cancelled) -> Run:
        return self.run(request, on_event, cancelled)

    def settle(self, _run_id) -> None:
        """Nothing is kept on disk."""

    def of(self, kind: RunKind) -> list[Any]:
        return [one for one in self.requests if one.kind is kind]


class Monitoring:
    """Prometheus as the test tells it: what fires, and what a query says."""

    def __init__(self) -> None:
        self.fires: bool | None = True
        """None: it does not answer."""

    def firing(self, _alert) -> bool:
        if self.fires is None:
            raise SourceUnavailable("it does not answer")
        return self.fires

    def rule_for(self, alert) -> Rule:
        return Rule(alert.name, "probe_success == 0")

    def holds(self, _query) -> bool:
        return True


class Desk:
    """One program on a folder of its own.

    Args:
        path: an empty folder.
        settings: environment variables over the defaults.
    """

    def __init__(self, path: Path, **settings: str) -> None:
        self.playbooks, self.roles, self.inventory = path / "playbooks", path / "roles", Hosts()
        for name in ROLES:
            shutil.copytree(folder("roles") / name, self.roles / name)
        for name in ENTRIES:
            shutil.copytree(folder("playbooks") / name, self.playbooks / name)
        self.add("reload_service", order=110)
        self.add("rebuild_service", order=120, risk="high", approvers="[oncall]")
        base = {
            "ORCHESTRATOR_DATA_DIR": str(path / "var"),
            "ORCHESTRATOR_CATALOGUE__PATH": str(self.playbooks),
            "ORCHESTRATOR_CATALOGUE__ADMIT_SHIPPED": "false",
            "ORCHESTRATOR_CATALOGUE__ROLES": str(self.roles),
            "ORCHESTRATOR_DECISION__ENGINE": "matchers",
            "ORCHESTRATOR_CONTEXT__FROM_HOSTS": "false",
            "ORCHESTRATOR_LOGS__FROM_HOSTS": "false",
            "ORCHESTRATOR_POLICY__CORRELATE_S": "0",
        }
        self.program = build(load(None, {**base, **settings}))
        self.program._catalogue = CatalogueCache(self.playbooks, self.roles)  # sees a changed file at once
        self.program.act_wait_s = 0.0  # nobody heeds a signal until the test walks on
        self.monitoring, self.plays = Monitoring(), Plays(self.program)
        playing = replace(self.program.wiring.playing, plays=self.plays)
        wiring = replace(self.program.wiring, playing=playing, prometheus=self.monitoring, inventory=self.inventory.get)
        self.program._inventory, self.program.wiring = self.inventory, wiring
        for name in ("restart_service", "reload_service", "rebuild_service"):
            self.program.admit(name, ADA)

    def add(self, name: str, order: int, risk: str = "low", approvers: str = "[]") -> None:
        """Make another entry of restart_service: its own name, the same role."""
        target = self.playbooks / name
        shutil.copytree(folder("playbooks") / "restart_service", target)
        shutil.rmtree(target / "tests", ignore_errors=True)
        for file in target.glob("*.yml"):
            text = file.read_text().replace("restart_service", name).replace(f"role: {name}", "role: restart_service")
            text = text.replace("risk: low", f"risk: {risk}").replace("order: 100", f"order: {order}")
            file.write_text(text.replace("approvers: []", f"approvers: {approvers}"))

    def fire(self, host: str = "web1", service: str = "nginx", status: str = "firing", **labels: str) -> str:
        """Deliver an alert and return its incident's id."""
        labels = {"alertname": "ServiceDown", "instance": f"{host}:9100", "service": service, **labels}
        alert = {"status": status, "labels": labels, "annotations": {}, "startsAt": "2026-01-01T00:00:00Z"}
        (line,) = self.program.receive(json.dumps({"version": "4", "alerts": [alert]}).encode()).incidents
        return str(line["id"])

    def walk(self, id: str, *, owner: str = "worker") -> Incident:
        """Carry an incident as a worker does, until it waits for something."""
        store = self.program.store.incidents
        claim = store.claim(id, owner, 60.0)
        while claim is not None:
            step = self.program.wiring.advance(claim.incident, [signal for _, signal in claim.signals], owner)
            if not store.commit(claim, step, lambda _: (), lambda _: None):
                break
            if claim.incident.status is Status.EXECUTING and step.incident.status is Status.VERIFYING:
                store.release(id, owner)
                break
            claim = store.look(id, owner)
        return store.get(id)

    def walk_on(self, id: str) -> Incident:
        """Carry an incident on that waits for a while: its time has come."""
        with self.program.store.db.transaction():
            self.program.store.db.tables.incident.update(run_at=0).where(self.program.store.db.tables.incident.id == id).execute()
        return self.walk(id)

    def end(self, id: str) -> Incident:
        """Carry an incident that verifies to its end."""
        deadline = time.monotonic() + 60
        while (incident := self.walk_on(id)).status is Status.VERIFYING and time.monotonic() < deadline:
            time.sleep(0.2)
        return incident

    def ask(self, host: str = "web1", **labels: str) -> tuple[Incident, str]:
        """Bring an alert to its question; return the incident and the approval's id."""
        incident = self.walk(self.fire(host, **labels))
        assert incident.status is Status.AWAITING_APPROVAL, incident
        return incident, incident.approval

    def propose(self, entry: str = "restart_service", hosts: tuple[str, ...] = ("web1", "web2", "web3"), actor: Actor = OLGA) -> str:
        """Bring a person's own proposal to its question; return the approval's id."""
        name = f"{entry}_name"
        incident = self.walk(self.program.start_run(entry, hosts, {name: "nginx"}, actor, "needed").id)
        assert incident.status is Status.AWAITING_APPROVAL, incident
        return incident.approval

    def give(self, entry: str = "restart_service", actor: Actor = OLGA, **limits: Any) -> Any:
        """Give a standing grant for an hour and two runs, unless told otherwise."""
        asked = {"hosts": ("web1", "web2", "web3"), "max_runs": 2, "reason": "the release flaps tonight", **limits}
        return self.program.create_grant(entry, actor, until=asked.pop("until", self.program.now() + timedelta(hours=1)), **asked)

    def told(self, kind: str, incident: str = "") -> list[Any]:
        """Return the data of every event of a kind."""
        return [event.data for event in self.program.audit(incident=incident, limit=1000) if event.kind == kind]
