"""Runs, the slots that keep two changing plays off one host, and approvals, in the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from peewee import IntegrityError, fn
from pydantic import TypeAdapter

from orchestrator.errors import NotFound
from orchestrator.model import Approval, ApprovalState, Incident, Outcome, Run, RunEvent, RunKind, RunRequest, RunState, Status
from orchestrator.store.chain import moment
from orchestrator.store.database import Database

RUN: TypeAdapter[Run] = TypeAdapter(Run)
REQUEST: TypeAdapter[RunRequest] = TypeAdapter(RunRequest)
EVENT: TypeAdapter[RunEvent] = TypeAdapter(RunEvent)
APPROVAL: TypeAdapter[Approval] = TypeAdapter(Approval)

HEAD_START_MS = 60_000
"""How much longer an incident that is one step less severe waits before it has its turn."""


@dataclass(frozen=True, slots=True)
class Past:
    """One changing run on one host, as policy needs it."""

    entry: str
    host: str
    at: datetime
    by_person: bool
    effective: bool | None
    changed: int


class Runs:
    """What ran, what may run, and who was asked."""

    def __init__(self, db: Database) -> None:
        self._db, self._t = db, db.tables

    # ------------------------------------------------------------ slots and intents

    def reserve(self, incident: Incident, request: RunRequest, limits: Sequence[tuple[str, int]], now: int) -> str:
        """Take every slot of a changing run and write its intent, all or nothing, in the caller's transaction.

        Args:
            incident: who asks.
            request: the run.
            limits: (`name`, how many at once) of the whole, the entry and the groups.
            now: the database's clock.

        Returns:
            What is in the way (`host:web1`, `all`), or an empty string where everything was taken.
        """
        held = {row.name for row in list(self._t.slot.select().where(self._t.slot.incident == incident.id))}
        hosts = [f"host:{host}" for host in sorted(request.hosts)]
        for name in hosts:
            if name not in held and (self._is_taken(name) or self._is_other_first(incident, name)):
                return name
        names = [name for name in hosts if name not in held]
        if not held:
            for kind, most in limits:
                free = next((f"{kind}#{n}" for n in range(most) if not self._is_taken(f"{kind}#{n}")), "")
                if not free or self._is_other_first(incident, kind):
                    return kind
                names.append(free)
        try:
            with self._db.raw.atomic():
                for name in names:
                    self._t.slot.create(name=name, incident=incident.id, run=request.id, at=now)
                self._write_intent(incident, request, now)
        except IntegrityError:
            return hosts[0] if hosts else "all"
        return ""

    def _is_taken(self, name: str) -> bool:
        return self._t.slot.get_or_none(self._t.slot.name == name) is not None

    def turn(self) -> tuple[Any, ...]:
        """Return the order of those that wait for one slot: a step of severity is worth `HEAD_START_MS` of age."""
        table = self._t.incident
        return table.created_at + table.priority * HEAD_START_MS, table.id

    def _is_other_first(self, incident: Incident, slot: str) -> bool:
        """Whether another incident already waits for this slot and has its turn before this one."""
        table = self._t.incident
        when, identity = self.turn()
        mine = table.select(when).where(table.id == incident.id).scalar()
        if mine is None:
            return False
        before = (when < mine) | ((when == mine) & (identity < incident.id))
        return bool(table.select(table.id).where(table.status == Status.EXECUTING, table.blocked_by == slot, before).exists())

    def _write_intent(self, incident: Incident, request: RunRequest, now: int) -> None:
        run = Run(id=request.id, kind=request.kind, entry=request.entry, state=RunState.INTENT)
        self._t.run.create(
            id=request.id,
            incident=incident.id,
            kind=str(request.kind),
            entry=request.entry,
            state=str(RunState.INTENT),
            request=REQUEST.dump_json(request).decode(),
            result=RUN.dump_json(run).decode(),
            created_at=now,
        )
        by_person = incident.grant is not None and incident.grant.by_person
        for host in request.hosts:
            self._t.run_host.create(run=request.id, host=host, entry=request.entry, by_person=by_person, at=now)

    def begin(self, run: str, incident: str, owner: str, node: str) -> bool:
        """Turn an intent into a running run, once, and only for the worker that holds the incident."""
        table, row = self._t.run, self._t.incident
        with self._db.transaction():
            now = self._db.now_ms()
            held = row.select(row.id).where(row.id == incident, row.owner == owner, row.lease >= now).exists()
            if not held:
                return False
            query = table.update(state=str(RunState.RUNNING), node=node, started_at=now)
            return bool(query.where(table.id == run, table.state == str(RunState.INTENT)).execute())

    def free(self, incident: str) -> list[str]:
        """Give back every slot of an incident, in the caller's transaction; return what is free now (`host:web1`, `all`)."""
        table = self._t.slot
        names = [row.name.partition("#")[0] for row in list(table.select().where(table.incident == incident))]
        table.delete().where(table.incident == incident).execute()
        return names

    def slots(self) -> list[tuple[str, str]]:
        """Return (slot name, incident id) of everything that is taken."""
        with self._db.reading():
            return [(row.name, row.incident) for row in list(self._t.slot.select().order_by(self._t.slot.name))]

    def after_failure(self, run: Run | None) -> Run | None:
        """Return how a changing run stands after a fault in our own code: not begun is over, begun and not ended is unknown."""
        if run is None or run.state is RunState.DONE:
            return run
        known = self.get(run.id)
        match known.state:
            case RunState.DONE:
                return known
            case RunState.INTENT:
                return replace(
                    known, state=RunState.DONE, outcome=Outcome.CANCELLED, message="It was never begun: a fault in our own code."
                )
            case RunState.RUNNING | RunState.UNKNOWN:
                message = "A fault in our own code came between; how far it came is not known."
                return replace(known, state=RunState.UNKNOWN, outcome=Outcome.UNKNOWN, message=message)

    # ------------------------------------------------------------ results

    def save(self, run: Run, incident: str) -> None:
        """Write a run's result; a read-only run gets its row here."""
        now = self._db.now_ms()
        values = {
            "state": str(run.state),
            "outcome": str(run.outcome) if run.outcome else None,
            "result": RUN.dump_json(run).decode(),
            "ended_at": now if run.state is RunState.DONE else None,
        }
        table = self._t.run
        if not table.update(**values).where(table.id == run.id).execute():
            table.create(
                id=run.id,
                incident=incident,
                kind=str(run.kind),
                entry=run.entry,
                request="{}",
                created_at=now,
                started_at=now,
                node=run.node,
                **values,
            )
        for host, stats in run.hosts.items():
            query = self._t.run_host.update(changed=stats.changed)
            query.where(self._t.run_host.run == run.id, self._t.run_host.host == host).execute()

    def judge(self, incident: str, *, effective: bool) -> None:
        """Write whether the latest apply of an incident helped, in the caller's transaction."""
        table = self._t.run
        last = (
            table.select(table.id)
            .where(table.incident == incident, table.kind == str(RunKind.APPLY))
            .order_by(table.created_at.desc(), table.id.desc())
            .first()
        )
        if last is not None:
            self._t.run_host.update(effective=effective).where(self._t.run_host.run == last.id).execute()

    def add_events(self, run: str, events: Sequence[RunEvent]) -> None:
        """Store pieces of a run's stream; a piece that is there already is left."""
        rows = [{"run": run, "seq": event.seq, "data": EVENT.dump_json(event).decode()} for event in events]
        if rows:
            with self._db.transaction():
                self._t.run_event.insert_many(rows).on_conflict_ignore().execute()

    def past(self, since_ms: int) -> list[Past]:
        """Return the changing runs since a time that were begun, one item per host."""
        table, run = self._t.run_host, self._t.run
        query = (
            table.select(table, run.state.alias("state"), run.kind.alias("kind"))
            .join(run, on=(run.id == table.run))
            .where(table.at >= since_ms, run.kind == str(RunKind.APPLY), run.started_at.is_null(False))
            .order_by(table.at)
        )
        with self._db.reading():
            return [Past(r.entry, r.host, moment(r.at), r.by_person, r.effective, r.changed) for r in list(query.objects())]

    def get(self, identity: str) -> Run:
        """Return a run.

        Raises:
            NotFound: there is none of that id.
        """
        return self._run(self.row(identity))

    def row(self, identity: str) -> Any:
        """Return the row of a run: state, node, started_at, request.

        Raises:
            NotFound: there is none of that id.
        """
        with self._db.reading():
            row = self._t.run.get_or_none(self._t.run.id == identity)
        if row is None:
            raise NotFound(f"there is no run {identity!r}")
        return row

    def request(self, identity: str) -> RunRequest:
        """Return what a changing run was asked to do."""
        return REQUEST.validate_json(self.row(identity).request)

    def find(self, *, incident: str = "", entry: str = "", limit: int = 100, cursor: str = "") -> tuple[list[Run], str]:
        """Return a page of runs, newest first, and the cursor of the next page."""
        table = self._t.run
        query = table.select()
        if incident:
            query = query.where(table.incident == incident)
        if entry:
            query = query.where(table.entry == entry)
        if cursor:
            created, _, identity = cursor.partition("~")
            query = query.where((table.created_at < int(created)) | ((table.created_at == int(created)) & (table.id < identity)))
        with self._db.reading():
            rows = list(query.order_by(table.created_at.desc(), table.id.desc()).limit(limit + 1))
        runs = [self._run(row) for row in rows[:limit]]
        return runs, f"{rows[limit - 1].created_at}~{rows[limit - 1].id}" if len(rows) > limit else ""

    def unsettled(self) -> list[str]:
        """Return runs that were begun and have no known end."""
        table = self._t.run
        with self._db.reading():
            query = table.select(table.id).where(table.state.in_([str(RunState.INTENT), str(RunState.RUNNING), str(RunState.UNKNOWN)]))
            return [row.id for row in list(query)]

    def events(self, run: str, after: int = 0, limit: int = 1000) -> list[RunEvent]:
        """Return a run's stream after a piece."""
        table = self._t.run_event
        with self._db.reading():
            query = table.select().where(table.run == run, table.seq > after).order_by(table.seq).limit(limit)
            return [EVENT.validate_json(row.data) for row in list(query)]

    def stats(self, entry: str) -> Mapping[str, Any]:
        """Return `{"runs", "verified", "usual_s"}` of an entry's changing runs."""
        run, host = self._t.run, self._t.run_host
        with self._db.reading():
            rows = list(
                run.select()
                .where(run.entry == entry, run.kind == str(RunKind.APPLY), run.started_at.is_null(False))
                .order_by(run.created_at.desc())
                .limit(200)
            )
            verified = host.select(fn.COUNT(fn.DISTINCT(host.run))).where(host.entry == entry, host.effective == True).scalar()  # noqa: E712 - peewee
        times = sorted((row.ended_at - row.started_at) / 1000 for row in rows if row.ended_at)
        return {"runs": len(rows), "verified": int(verified or 0), "usual_s": times[len(times) // 2] if times else None}

    @staticmethod
    def _run(row: Any) -> Run:
        run = RUN.validate_json(row.result)
        return replace(
            run,
            state=RunState(row.state),
            node=row.node or run.node,
            started_at=run.started_at or (moment(row.started_at) if row.started_at else None),
            ended_at=run.ended_at or (moment(row.ended_at) if row.ended_at else None),
        )

    # ------------------------------------------------------------ approvals

    def ask(self, approval: Approval) -> None:
        """Store a question, in the caller's transaction."""
        self._t.approval.create(
            id=approval.id,
            incident=approval.incident,
            state=str(approval.state),
            data=APPROVAL.dump_json(approval).decode(),
            expires_at=int(approval.expires_at.timestamp() * 1000),
            created_at=int(approval.created_at.timestamp() * 1000),
        )

    def answer(self, identity: str, change: Callable[[Approval], Approval]) -> tuple[Approval, Approval]:
        """Change an approval under a lock, in the caller's transaction; return it before and after."""
        query = self._t.approval.select().where(self._t.approval.id == identity)
        row = (query if self._db.is_sqlite else query.for_update()).first()
        if row is None:
            raise NotFound(f"there is no approval {identity!r}")
        before = APPROVAL.validate_json(row.data)
        after = change(before)
        self._t.approval.update(state=str(after.state), data=APPROVAL.dump_json(after).decode()).where(
            self._t.approval.id == identity
        ).execute()
        return before, after

    def settle_approval(self, identity: str, state: ApprovalState) -> bool:
        """Set the state of an approval that is still pending, in the caller's transaction; False where it is not."""
        row = self._t.approval.get_or_none(self._t.approval.id == identity)
        if row is None or row.state != ApprovalState.PENDING:
            return False
        self.answer(identity, lambda approval: replace(approval, state=state))
        return True

    def recheck(self, identity: str, check: Run) -> None:
        """Let an open approval show a check run that was made again, in the caller's transaction; what was hidden is shown again."""

        def changed(before: Approval) -> Approval:
            if before.state is not ApprovalState.PENDING:
                return before
            return replace(before, check=check, snoozed_until=None, snoozed_by="")

        self.answer(identity, changed)

    def asked_on(self, hosts: Sequence[str], limit: int = 50) -> list[str]:
        """Return incidents whose open approval would run on any of these hosts, the newest questions first."""
        table = self._t.approval
        query = table.select(table.incident, table.data).where(table.state == str(ApprovalState.PENDING))
        rows = list(query.order_by(table.created_at.desc()).limit(limit))
        return [row.incident for row in rows if set(APPROVAL.validate_json(row.data).proposal.hosts) & set(hosts)]

    def approval(self, identity: str) -> Approval:
        """Return an approval.

        Raises:
            NotFound: there is none of that id.
        """
        with self._db.reading():
            row = self._t.approval.get_or_none(self._t.approval.id == identity)
        if row is None:
            raise NotFound(f"there is no approval {identity!r}")
        return APPROVAL.validate_json(row.data)

    def approvals(self, *, state: Sequence[ApprovalState] = (), limit: int = 100, cursor: str = "") -> tuple[list[Approval], str]:
        """Return a page of approvals, newest first, and the cursor of the next page."""
        table = self._t.approval
        query = table.select()
        if state:
            query = query.where(table.state.in_([str(item) for item in state]))
        if cursor:
            query = query.where(table.id < cursor)
        with self._db.reading():
            rows = list(query.order_by(table.id.desc()).limit(limit + 1))
        items = [APPROVAL.validate_json(row.data) for row in rows[:limit]]
        return items, items[-1].id if len(rows) > limit else ""
