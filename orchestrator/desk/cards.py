"""The card of an approval, the desk of a person, and the notes of an incident."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orchestrator import approval as answering
from orchestrator.card import Card, Desk, Need, Note
from orchestrator.catalogue import check_names, check_parameters
from orchestrator.desk.drawing import Known, draw
from orchestrator.desk.reading import Reading
from orchestrator.errors import ExecutionError, InvalidRequest, InventoryError
from orchestrator.inventory import Inventory
from orchestrator.model import (
    Actor,
    Approval,
    ApprovalState,
    Incident,
    IncidentSummary,
    Role,
    StandingGrant,
    StandingState,
    Status,
)
from orchestrator.wiring import Wiring

NOTED = "incident.noted"
MOST = 1000
"""How many open questions and incidents one desk holds."""


class Cards(Reading):
    """What people see before they answer."""

    wiring: Wiring

    def card(self, id: str, hosts: tuple[str, ...] = (), pins: Mapping[str, Any] | None = None) -> Card:
        """Return the card of an approval, as it stands now.

        Args:
            id: the approval.
            hosts: show it narrowed to these of the proposed hosts; empty: all.
            pins: show it with these parameters pinned.

        Raises:
            NotFound: there is none of that id.
            Conflict: the narrowing would widen it.
            InvalidRequest: the entry does not take the pinned values.
        """
        approval = self.store.runs.approval(id)
        incident = self.store.incidents.get(approval.incident)
        narrowed = answering.narrow(approval.proposal, hosts, pins or {})
        if pins and (problems := self._check_of(approval)(narrowed.parameters)):
            raise InvalidRequest("pins: " + "; ".join(problems))
        pending, entry = approval.state is ApprovalState.PENDING, narrowed.entry
        return draw(
            Known(
                approval=approval,
                narrowed=narrowed,
                incident=incident,
                entries=self.catalogue().entries,
                now=self.wiring.now(),
                inventory=self._known_hosts().hosts,
                locks=self.store.track.locks(narrowed.hosts),
                track=self.store.track.of(entry, incident.alert.name, before=incident.id),
                host_tracks=self.store.track.on_hosts(entry, narrowed.hosts, before=incident.id),
                paused=self.paused(),
                stale=self.wiring.binding.stale(incident) if pending else False,
                changed=self._changed_since(approval, incident) if pending else (),
                standing=tuple(self.wiring.binding.refresh(self.store.standing.active(entry))),
            )
        )

    def now(self) -> datetime:
        """Return the database's time."""
        return self.store.db.now()

    def paused(self) -> str:
        """Return who holds the kill switch and why, an empty string where nobody does."""
        return self.wiring.paused()

    def _known_hosts(self) -> Inventory:
        try:
            return self._inventory.get()
        except InventoryError:
            return Inventory()

    def _changed_since(self, shown: Approval, incident: Incident) -> tuple[str, ...]:
        """Return what changed since an approval was shown, in plain words; empty where nothing did."""
        if incident.approval != shown.id:
            return ("the incident has gone on without this question",)
        try:
            digest, _ = self.wiring.bind(incident)
            if digest == shown.digest:
                return ()
            named = self.wiring.binding.differences(incident, shown.covered)
        except (ExecutionError, InventoryError) as error:
            return (str(error),)
        return tuple(named) or ("the playbook, its roles, its parameters or the host's variables are not what was shown",)

    def _check_of(self, approval: Approval) -> answering.Check:
        entry = self.catalogue().entries.get(approval.proposal.entry)
        inventory = self._inventory.get()

        def check(parameters: Mapping[str, Any]) -> list[str]:
            if entry is None:
                return [f"the entry {approval.proposal.entry} is no longer in the catalogue"]
            hosts = [inventory.hosts[name] for name in approval.proposal.hosts if name in inventory.hosts]
            return [*check_parameters(entry, parameters), *check_names(entry, parameters, hosts)]

        return check

    # ------------------------------------------------------------ the desk

    def desk(self, actor: Actor) -> Desk:
        """Return what needs a person now, what was put off, and which standing grants are in force."""
        asked, _ = self.store.runs.approvals(state=(ApprovalState.PENDING,), limit=MOST)
        with_person, _ = self.store.incidents.find(status=(Status.ESCALATED,), limit=MOST)
        waiting, _ = self.store.incidents.find(status=(Status.AWAITING_APPROVAL,), limit=MOST)
        summaries = {one.id: one for one in waiting}
        now = self.wiring.now()
        needs = [self._need(one, summaries[one.incident], actor) for one in asked if one.incident in summaries and now < one.expires_at]
        needs.sort(key=lambda one: (one.expires_at or now, one.approval))
        put_off = [one for one in needs if one.snoozed_until is not None and now < one.snoozed_until]
        standing, _ = self.store.standing.find(state=(StandingState.ACTIVE, StandingState.WAITING))
        return Desk(
            now=(*(one for one in needs if one not in put_off), *(Need(one, entry=one.entry) for one in with_person)),
            snoozed=tuple(put_off),
            standing=tuple(self.wiring.binding.refresh(standing)),
        )

    def _need(self, approval: Approval, summary: IncidentSummary, actor: Actor) -> Need:
        entry = self.catalogue().entries.get(approval.proposal.entry)
        return Need(
            incident=summary,
            approval=approval.id,
            entry=approval.proposal.entry,
            hosts=approval.proposal.hosts,
            risk=entry.risk if entry else None,
            have=approval.have,
            need=answering.need(approval),
            expires_at=approval.expires_at,
            mine=answering.may_answer(approval, actor),
            snoozed_until=approval.snoozed_until,
            snoozed_by=approval.snoozed_by,
            escalated_to=approval.escalated_to,
        )

    def standing_in_force(self) -> list[StandingGrant]:
        """Return the standing grants that may mint now, as far as time and counter tell."""
        return self.store.standing.find(state=(StandingState.ACTIVE,))[0]

    # ------------------------------------------------------------ notes

    def notes(self, id: str) -> list[Note]:
        """Return what people wrote down at an incident, oldest first; redacted ones are left out."""
        return [
            Note(event.id, event.incident, event.at, event.actor, str(event.data["text"]))
            for event in self.timeline(id)
            if event.kind == NOTED and event.data
        ]

    def _may_approve(self, actor: Actor, groups: tuple[str, ...]) -> bool:
        """Whether an actor is an approver of these groups; an admin is of any."""
        if actor.role is Role.ADMIN:
            return True
        return actor.role is Role.APPROVER and (not groups or bool(set(groups) & set(actor.groups)))
