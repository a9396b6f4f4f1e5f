"""What people do: answer, stop, settle, undo, start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator import approval as answering
from orchestrator import ingest
from orchestrator.catalogue import check_names, check_parameters
from orchestrator.desk.handing import Handing
from orchestrator.errors import Conflict, Forbidden, InvalidRequest
from orchestrator.lifecycle import move
from orchestrator.model import (
    Actor,
    Agreement,
    Alert,
    AlertStatus,
    Answer,
    Approval,
    ApprovalState,
    Choice,
    EntryKind,
    Happening,
    Incident,
    Proposal,
    Reason,
    Risk,
    Role,
    Run,
    RunState,
    Status,
)
from orchestrator.store import new_id
from orchestrator.store.rows import MANUAL


class Acting(Handing):
    """Each act is one signal to an incident, or one answer; who may do it is checked here."""

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
        """Refuse where what was shown has changed since, and say what."""
        shown = self.store.runs.approval(id)
        if shown.state is not ApprovalState.PENDING:
            return
        if changed := self._changed_since(shown, self.store.incidents.get(shown.incident)):
            raise Conflict(f"changed since: {'; '.join(changed)}. Mend: look at it again.", changed=list(changed))

    def cancel_incident(self, id: str, actor: Actor, reason: str = "") -> Incident:
        """Stop an incident; a play that runs is ended."""
        return self._act(id, "cancel", actor, reason)

    def close_incident(self, id: str, actor: Actor, reason: str = "") -> Incident:
        """Close an incident."""
        incident = self.store.incidents.get(id)
        if incident.run and incident.run.state is RunState.UNKNOWN:
            raise Conflict(f"the run {incident.run.id} is unknown and holds its host: settle it first")
        if incident.run and incident.run.state in (RunState.INTENT, RunState.RUNNING):
            raise Conflict(f"the run {incident.run.id} goes on: cancel it first, or wait for its end")
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
        return self._heeded(id, self.engine.signal(id, kind, {"actor": actor.name, "reason": reason, **more}))

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
        if incident.run is None or incident.run.id != id or incident.grant is None:
            raise Conflict("only the latest changing run of an incident can be undone, and only once")
        self._require(actor, Role.ADMIN if entry.risk is Risk.HIGH else Role.APPROVER)
        if entry.approvers and actor.role is not Role.ADMIN and not set(actor.groups) & set(entry.approvers):
            raise Forbidden(f"only {', '.join(entry.approvers)} may undo {entry.id}")
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
        labels = {"alertname": MANUAL, "entry": entry, "instance": hosts[0], "run": identity}
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
            revision=(catalogue := self.catalogue()).revision or catalogue.digest,
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
