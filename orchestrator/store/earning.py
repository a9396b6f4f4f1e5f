"""Earned autonomy in the database: the runs that count, and where each line stands."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.autonomy import Level, Line, Outcome, Standing
from orchestrator.model import OPEN, RunKind, RunState, Status
from orchestrator.store.chain import moment
from orchestrator.store.database import Database
from orchestrator.store.rows import MANUAL
from orchestrator.store.runs import REQUEST

RECENT = 2000
"""How many of an entry's latest runs are looked at."""
_UNDER_WAY = [str(status) for status in OPEN - {Status.ESCALATED}]


class Earning:
    """Answers what has been earned so far."""

    def __init__(self, db: Database) -> None:
        self._db, self._t = db, db.tables

    def outcomes(self, entry: str = "", alertname: str = "") -> list[Outcome]:
        """Return the applies whose effect is known or will never be, oldest first.

        A run whose incident is still under way is left out until it is judged; one that nobody could judge counts as not verified.
        """
        run, incident, host = self._t.run, self._t.incident, self._t.run_host
        query = (
            run.select(run.id, run.entry, run.request, run.ended_at, run.started_at, incident.alertname, incident.status)
            .join(incident, on=(incident.id == run.incident))
            .where(
                run.kind == str(RunKind.APPLY), run.started_at.is_null(False), run.state.in_([str(RunState.DONE), str(RunState.UNKNOWN)])
            )
            .order_by(run.created_at.desc())
            .limit(RECENT)
        )
        query = query.where(incident.alertname == alertname) if alertname else query.where(incident.alertname != MANUAL)
        if entry:
            query = query.where(run.entry == entry)
        with self._db.reading():
            rows = list(query.dicts())
            marks: dict[str, list[Any]] = {}
            for row in list(host.select().where(host.run.in_([one["id"] for one in rows])).dicts()):
                marks.setdefault(row["run"], []).append(row)
        found = [self._outcome(row, marks.get(row["id"], [])) for row in rows]
        return [one for one in reversed(found) if one is not None]

    @staticmethod
    def _outcome(row: dict[str, Any], marks: list[Any]) -> Outcome | None:
        if any(mark["effective"] is None for mark in marks) and row["status"] in _UNDER_WAY:
            return None
        request = REQUEST.validate_json(row["request"])
        return Outcome(
            run=row["id"],
            alertname=row["alertname"],
            entry=row["entry"],
            digest=request.snapshot.rsplit("/", 1)[-1],
            hosts=request.hosts,
            at=moment(row["ended_at"] or row["started_at"]),
            verified=bool(marks) and all(mark["effective"] is True for mark in marks),
        )

    def standings(self) -> dict[Line, Standing]:
        """Return where every line stands that stands anywhere."""
        with self._db.reading():
            rows = list(self._t.autonomy.select())
        found = [
            Standing(Line(row.alertname, row.entry, row.group_name), Level(row.level), row.digest, moment(row.since), row.by, row.why)
            for row in rows
        ]
        return {one.line: one for one in found}

    def put(self, standing: Standing) -> None:
        """Write where a line stands now, in the caller's transaction."""
        line, table = standing.line, self._t.autonomy
        values = {
            "level": str(standing.level),
            "digest": standing.digest,
            "since": _ms(standing.since),
            "by": standing.by,
            "why": standing.why,
        }
        table.insert(alertname=line.alertname, entry=line.entry, group_name=line.group, **values).on_conflict(
            conflict_target=[table.alertname, table.entry, table.group_name], update=values
        ).execute()


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
