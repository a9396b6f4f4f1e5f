"""What people do with an open question besides answering it: choose another entry, hand it over, put it off, write something down."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator import approval as answering
from orchestrator.card import Note
from orchestrator.catalogue import check_names, check_parameters
from orchestrator.decide.values import derive, targets_problem
from orchestrator.desk.cards import NOTED
from orchestrator.desk.granting import Granting
from orchestrator.engine import Engine
from orchestrator.errors import Conflict, InvalidRequest
from orchestrator.model import Actor, Approval, Entry, EntryKind, Happening, Host, Incident, Proposal, Role

ACT_WAIT_S = 3.0
"""How long an act waits to be heeded before it answers."""
LONGEST_NOTE = 4000


class Handing(Granting):
    """Each changes the question under its lock, with its audit event, in one transaction."""

    engine: Engine
    act_wait_s: float = ACT_WAIT_S
    _redact: Callable[[str], str]

    def choose(
        self,
        id: str,
        actor: Actor,
        entry: str,
        reason: str,
        parameters: Mapping[str, Any] | None = None,
        hosts: tuple[str, ...] = (),
    ) -> Incident:
        """Choose another entry instead of what is proposed: a new proposal with its own check and digest, the old question is void.

        Args:
            id: the open approval.
            actor: who chooses, and is the new proposal's proposer.
            entry: a remediation of the catalogue; the card lists the ones that were looked at.
            reason: why, in the chooser's own words.
            parameters: values that neither the alert's labels nor the entry's defaults give, or others than those.
            hosts: some of the proposed hosts; empty: the alternative's own, or else all proposed.

        Raises:
            Forbidden: not an approver.
            Conflict: decided already, or the very thing that is proposed.
            Expired: the time is over.
            InvalidRequest: the entry cannot run with these hosts and parameters; says why.
        """
        self._require(actor, Role.APPROVER)
        shown = self.store.runs.approval(id)
        data = self._chosen(shown, self.entry(entry), dict(parameters or {}), hosts)
        now = self.wiring.now()
        with self.store.db.transaction():
            self.store.chain.lock(shown.incident)
            self.store.runs.answer(id, lambda before: answering.replaced(before, actor, entry, reason, now))
            said = {"approval": id, "entry": entry, "reason": reason.strip(), "via": actor.via}
            self.store.chain.append(shown.incident, Happening("approval.replaced", actor.name, said))
            number = self.engine.signal(shown.incident, "choose", {**data, "actor": actor.name, "reason": reason.strip(), "approval": id})
        return self._heeded(shown.incident, number)

    def _chosen(self, shown: Approval, entry: Entry, given: dict[str, Any], hosts: tuple[str, ...]) -> dict[str, Any]:
        """Return the chosen entry with its hosts and parameters, all checked as for any proposal."""
        incident, before = self.store.incidents.get(shown.incident), shown.proposal
        listed = next((one for one in before.alternatives if one.entry == entry.id), None)
        names = self._narrowed(before, hosts) or (listed.hosts if listed and listed.hosts else before.hosts)
        known = self._inventory.get().hosts
        targets = [known[name] for name in names if name in known]
        if entry.kind is not EntryKind.REMEDIATION:
            raise InvalidRequest(f"alternative: {entry.id} only reads. Mend: choose an entry that repairs.")
        derived = derive(entry, incident.alert, targets)
        own = {**derived.parameters, **(dict(listed.parameters) if listed else {}), **given}
        self._require_runnable(entry, incident, targets, own)
        if (entry.id, set(names), own) == (before.entry, set(before.hosts), dict(before.parameters)):
            raise Conflict("that is what is proposed already. Mend: approve it, or choose something else.")
        origins = {name: derived.origins.get(name, "default") if own[name] == derived.parameters.get(name) else "person" for name in own}
        return {"entry": entry.id, "hosts": list(names), "parameters": own, "origins": origins}

    @staticmethod
    def _narrowed(before: Proposal, hosts: tuple[str, ...]) -> tuple[str, ...]:
        return answering.narrow(before, hosts, {}).hosts if hosts else ()

    @staticmethod
    def _require_runnable(entry: Entry, incident: Incident, hosts: Sequence[Host], parameters: Mapping[str, Any]) -> None:
        misfit = targets_problem(entry, incident.alert, hosts)
        problems = [misfit.detail] if misfit else []
        problems += check_parameters(entry, parameters)
        problems += [] if problems else check_names(entry, parameters, hosts)
        if problems or not hosts:
            raise InvalidRequest(f"alternative: {'; '.join(problems) or 'its hosts are not in the inventory'}")

    def escalate(self, id: str, actor: Actor, to: str, reason: str) -> Approval:
        """Hand an open question to a person or a group; who may answer it stays as it is, and so does its expiry.

        Raises:
            Forbidden: not an approver.
            Conflict: decided already.
            Expired: the time is over.
            InvalidRequest: there is no such person or group, or no reason.
        """
        self._require(actor, Role.APPROVER)
        self._require_known(to.strip(), self.store.runs.approval(id))
        now = self.wiring.now()
        data = {"to": to.strip(), "reason": reason.strip()}
        return self._put(id, "approval.escalated", actor, data, lambda before: answering.hand_over(before, actor, to, reason, now))

    def snooze(self, id: str, actor: Actor, until: datetime, reason: str = "") -> Approval:
        """Put an open question off until a time before it expires; it stays in every list.

        Raises:
            Forbidden: not an approver.
            Conflict: decided already.
            Expired: the time is over.
            InvalidRequest: the time is past, or not before the question expires.
        """
        self._require(actor, Role.APPROVER)
        now = self.wiring.now()
        data = {"until": until.isoformat(), "reason": reason.strip()}
        return self._put(id, "approval.snoozed", actor, data, lambda before: answering.snooze(before, actor, until, now))

    def _put(self, id: str, kind: str, actor: Actor, data: Mapping[str, Any], change: Callable[[Approval], Approval]) -> Approval:
        incident = self.store.runs.approval(id).incident
        with self.store.db.transaction():
            self.store.chain.lock(incident)
            _, after = self.store.runs.answer(id, change)
            event = self.store.chain.append(incident, Happening(kind, actor.name, {"approval": id, **data, "via": actor.via}))
            self.store.outbox.add(event, self.store.incidents.get(incident).alert.severity)
        return after

    def _require_known(self, to: str, approval: Approval) -> None:
        """Require a person or a group that exists; an empty name is left to the question itself to refuse."""
        people = self.store.people.users()
        groups = {group for person in people for group in person.groups} | set(approval.approvers)
        for entry in self.catalogue().entries.values():
            groups |= {*entry.approvers, *entry.owners}
        known = sorted({person.name for person in people} | groups)
        if to and to not in known:
            raise InvalidRequest(f"to: there is no person or group {to!r}. Mend: use one of {', '.join(known[:20]) or 'none yet'}.")

    def note_incident(self, id: str, actor: Actor, text: str) -> Note:
        """Write something down at an incident, on record, also when it has ended.

        Raises:
            Forbidden: not an approver.
            InvalidRequest: empty, or longer than 4,000 characters.
        """
        self._require(actor, Role.APPROVER)
        words = self._redact(text.strip())
        if not words or len(words) > LONGEST_NOTE:
            raise InvalidRequest(f"text: 1 to {LONGEST_NOTE} characters are needed")
        alert = self.store.incidents.get(id).alert
        with self.store.db.transaction():
            event = self.store.chain.append(id, Happening(NOTED, actor.name, {"text": words, "via": actor.via}))
            self.store.outbox.add(event, alert.severity)
        return Note(event.id, id, event.at, event.actor, words)

    def _heeded(self, id: str, number: int) -> Incident:
        """Wait a moment for a signal to be heeded; return the incident as it stands then."""
        deadline = time.monotonic() + self.act_wait_s
        while self.store.incidents.pending(number) and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.incident(id)
