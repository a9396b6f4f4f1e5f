"""Incidents as the engine carries them: due, claimed, stepped, failed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from peewee import IntegrityError

from orchestrator.errors import LeaseLost
from orchestrator.lifecycle import FOREVER, Signal, Step
from orchestrator.model import (
    ApprovalState,
    Happening,
    Incident,
    Reason,
    RunState,
    Status,
)
from orchestrator.store.chain import moment
from orchestrator.store.intake import Intake
from orchestrator.store.rows import ACTIVE_VALUES, INCIDENT, SEVERITIES
from orchestrator.store.runs import HEAD_START_MS

PRIORITIES = sorted(set(SEVERITIES.values()))


CARRIED = (Status.RECEIVED, Status.INVESTIGATING, Status.PROPOSED, Status.EXECUTING, Status.VERIFYING)
"""Statuses in which the program itself has the next step."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An incident this worker holds, and what came in for it."""

    incident: Incident
    owner: str
    signals: tuple[tuple[int, Signal], ...]


class Incidents(Intake):
    """Claims incidents for one worker, and writes its steps."""

    def due(self, limit: int = 100) -> list[str]:
        """Return incidents whose time has come, or whose worker went silent, by age and severity.

        A step of severity is worth `HEAD_START_MS`: the critical go before the others, and whoever has waited long enough goes
        before them.
        """
        table, found = self._t.incident, []
        with self._db.reading():
            now = self._db.now_ms()
            for priority in PRIORITIES:
                query = table.select(table.id, table.run_at).where(table.priority == priority, table.run_at <= now, table.lease < now)
                rows = list(query.order_by(table.run_at, table.id).limit(limit))
                found += [(row.run_at + priority * HEAD_START_MS, row.id) for row in rows]
        return [identity for _, identity in sorted(found)[:limit]]

    def waiting(self) -> int:
        """Return how many incidents are due and held by nobody."""
        with self._db.reading():
            now, table = self._db.now_ms(), self._t.incident
            return int(table.select().where(table.run_at <= now, table.lease < now).count())

    def advancing(self, grace_s: float, limit: int = 200) -> list[Incident]:
        """Return firing incidents that the program itself carries on now: no person is asked, nothing is in the way, and a worker holds them.

        Args:
            grace_s: how long after its time one that is held by nobody still counts.
            limit: how many at most, the most severe and oldest first.
        """
        with self._db.reading():
            now, table = self._db.now_ms(), self._t.incident
            query = table.select(table.data).where(
                table.status.in_([str(status) for status in CARRIED]),
                table.firing,
                table.blocked_by == "",
                (table.lease >= now) | (table.run_at >= now - int(grace_s * 1000)),
            )
            return [INCIDENT.validate_json(row.data) for row in list(query.order_by(table.priority, table.id).limit(limit))]

    def claim(self, identity: str, owner: str, lease_s: float) -> Claim | None:
        """Take an incident for one worker; None where another holds it, or it is not due."""
        table = self._t.incident
        with self._db.transaction():
            now = self._db.now_ms()
            won = (
                table.update(owner=owner, lease=now + int(lease_s * 1000))
                .where(table.id == identity, table.lease < now, table.run_at <= now)
                .execute()
            )
            if not won:
                return None
        return self.look(identity, owner)

    def look(self, identity: str, owner: str) -> Claim:
        """Read a claimed incident with what came in for it."""
        with self._db.reading():
            rows = list(self._t.signal.select().where(self._t.signal.incident == identity).order_by(self._t.signal.id))
            signals = tuple((row.id, Signal(row.kind, json.loads(row.data))) for row in rows)
            return Claim(self.get(identity), owner, signals)

    def renew(self, identity: str, owner: str, lease_s: float) -> bool:
        """Keep an incident; False where another has taken it over."""
        table = self._t.incident
        with self._db.transaction():
            now = self._db.now_ms()
            query = table.update(lease=now + int(lease_s * 1000)).where(table.id == identity, table.owner == owner, table.lease >= now)
            return bool(query.execute())

    def is_held(self, identity: str, owner: str) -> bool:
        """Return whether a worker still holds an incident."""
        with self._db.transaction():
            return self._held(identity, owner, self._db.now_ms())

    def release(self, identity: str, owner: str) -> None:
        """Give an incident back as it is, due at once."""
        table = self._t.incident
        with self._db.transaction():
            table.update(owner="", lease=0).where(table.id == identity, table.owner == owner).execute()

    def hold_off(self, identity: str, owner: str, blocked_by: str, wait_s: float) -> None:
        """Give an incident back as it is, due after a while, and say what is in its way."""
        table = self._t.incident
        with self._db.transaction():
            later = self._db.now_ms() + int(wait_s * 1000)
            values = {"owner": "", "lease": 0, "run_at": later, "blocked_by": blocked_by}
            table.update(**values).where(table.id == identity, table.owner == owner).execute()

    def commit(
        self, claim: Claim, step: Step, limits: Callable[[Incident], Sequence[tuple[str, int]]], wake: Callable[[str], None]
    ) -> bool:
        """Write a step: row, events, slots, intent and results, in one transaction.

        Returns:
            Whether the incident stays with this worker for its next step at once.

        Raises:
            LeaseLost: another worker has taken it over; nothing was written.
        """
        with self._db.transaction():
            now = self._db.now_ms()
            identity, incident = claim.incident.id, step.incident
            self._chain.lock(identity)
            if not self._held(identity, claim.owner, now):
                raise LeaseLost(identity)
            if not self._counts(step):
                return True
            wait_s = step.wait_s
            if step.intent is not None:
                blocked = self._runs.reserve(incident, step.intent, limits(incident), now)
                if blocked:
                    incident, wait_s = claim.incident.evolve(blocked_by=blocked), 2.0
                    step = Step(incident, wait_s=wait_s)
            if step.ask is not None:
                self._runs.ask(step.ask)
            if step.checked is not None:
                self._runs.recheck(incident.approval, step.checked)
            for run in step.runs:
                self._runs.save(run, identity)
            if step.effective is not None:
                self._runs.judge(identity, effective=step.effective)
            if step.free:
                freed = self._runs.free(identity)
                self._wake_blocked(freed, now, wake)
                self._wake_asked(freed, now, wake)
            for happening in step.events:
                self._put_on_record(identity, incident.alert, happening)
            stay = self._write(claim, incident, wait_s, step.heeded, now)
            if incident.status != claim.incident.status and incident.status not in ACTIVE_VALUES:
                self._wake_children(identity, now, wake)
            return stay

    def fail(self, claim: Claim, error: str) -> None:
        """Put an incident whose step broke with a person, the error on record; a run that was begun is unknown then and keeps its hosts."""
        detail = f"A step failed in our own code: {error}"
        data = {
            "from": claim.incident.status,
            "to": Status.ESCALATED,
            "reason": Reason.INTERNAL_ERROR,
            "detail": detail,
            "alertname": claim.incident.alert.name,
        }
        run = self._runs.after_failure(claim.incident.run)
        incident = claim.incident.evolve(status=Status.ESCALATED, reason=Reason.INTERNAL_ERROR, detail=detail, blocked_by="", run=run)
        free = run is None or run.state is RunState.DONE
        runs = (run,) if run is not None and run != claim.incident.run else ()
        events = (Happening("incident.status", data=data), Happening("incident.escalated", data=data))
        self.commit(claim, Step(incident, events, wait_s=FOREVER, free=free, runs=runs), lambda _: (), lambda _: None)

    def _held(self, identity: str, owner: str, now: int) -> bool:
        table = self._t.incident
        query = table.select(table.id).where(table.id == identity, table.owner == owner, table.lease >= now)
        if not self._db.is_sqlite:
            query = query.for_update()
        return query.first() is not None

    def _write(self, claim: Claim, incident: Incident, wait_s: float | None, heeded: int | None, now: int) -> bool:
        seen = [number for number, _ in claim.signals[:heeded]]
        if seen:
            self._t.signal.delete().where(self._t.signal.id.in_(seen)).execute()
        pending = self._t.signal.select().where(self._t.signal.incident == incident.id).count()
        stay = wait_s is None or bool(pending)
        values = self._columns(incident.evolve(updated_at=moment(now)))
        if incident.status not in (Status.RESOLVED, Status.CLEARED):
            values.pop("firing")  # intake's own: what it wrote since must not be taken back
        else:
            values["firing"] = False
        values["updated_at"] = now
        values["open_key"] = incident.alert.fingerprint if incident.open else None
        if not stay:
            values |= {"owner": "", "lease": 0, "run_at": None if wait_s == FOREVER else now + int((wait_s or 0) * 1000)}
        try:
            with self._db.raw.atomic():
                self._t.incident.update(**values).where(self._t.incident.id == incident.id).execute()
        except IntegrityError:
            # A newer incident of this alert is open already: this one stays as it was, over.
            self._t.incident.update(owner="", lease=0, run_at=None).where(self._t.incident.id == incident.id).execute()
            return False
        return stay

    def _counts(self, step: Step) -> bool:
        """Whether what a step takes for granted still holds: its approval is open, its standing grant has a run left or still holds."""
        if step.settle_approval and not self._settle_approval(*step.settle_approval):
            return False
        if step.mint and not self._standing.mint(step.mint):
            return False
        return not step.holds or self._standing.holds(step.holds)

    def _settle_approval(self, approval: str, state: ApprovalState) -> bool:
        done = self._runs.settle_approval(approval, state)
        return done or state is ApprovalState.VOID

    def _wake_blocked(self, freed: Sequence[str], now: int, wake: Callable[[str], None]) -> None:
        """Wake who is first in the row for each slot that was given back."""
        table = self._t.incident
        for name in freed:
            query = table.select(table.id).where(table.blocked_by == name, table.status == Status.EXECUTING, table.lease < now)
            for row in list(query.order_by(*self._runs.turn()).limit(2)):
                table.update(run_at=now).where(table.id == row.id).execute()
                wake(row.id)

    def _wake_asked(self, freed: Sequence[str], now: int, wake: Callable[[str], None]) -> None:
        """Wake incidents whose open question is about hosts that were just changed: their check run may be stale."""
        table = self._t.incident
        hosts = [name.removeprefix("host:") for name in freed if name.startswith("host:")]
        for identity in self._runs.asked_on(hosts) if hosts else ():
            table.update(run_at=now).where(table.id == identity, table.status == Status.AWAITING_APPROVAL).execute()
            wake(identity)

    def _wake_children(self, identity: str, now: int, wake: Callable[[str], None]) -> None:
        table = self._t.incident
        for row in list(table.select(table.id).where(table.parent == identity, table.status.in_(ACTIVE_VALUES))):
            table.update(run_at=now).where(table.id == row.id).execute()
            wake(row.id)
