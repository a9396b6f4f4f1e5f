"""The track record: what became of an entry's earlier runs, for one alert and on one host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peewee import JOIN

from orchestrator.card import Track
from orchestrator.model import Outcome, RunKind
from orchestrator.store.chain import moment
from orchestrator.store.database import Database

RECENT = 200
"""How many of the latest runs count."""


class TrackRecord:
    """Answers how an entry has done so far."""

    def __init__(self, db: Database) -> None:
        self._db, self._t = db, db.tables

    def of(self, entry: str, alertname: str, before: str = "") -> Track:
        """Return the record of an entry's applies for one alert name.

        Args:
            entry: a catalogue entry.
            alertname: the alert's name.
            before: leave out the runs of this incident.
        """
        run, incident = self._t.run, self._t.incident
        query = self._applies(entry).join(incident, on=(incident.id == run.incident)).where(incident.alertname == alertname)
        return self._told(query, before, "for this alert")

    def on_hosts(self, entry: str, hosts: Sequence[str], before: str = "") -> dict[str, Track]:
        """Return host → the record of an entry's applies there, for any alert."""
        run, host = self._t.run, self._t.run_host
        return {
            name: self._told(self._applies(entry).join(host, on=(host.run == run.id)).where(host.host == name), before, "here")
            for name in hosts
        }

    def touched_since(self, hosts: Sequence[str], since_ms: int, besides: str) -> list[tuple[str, str]]:
        """Return (host, run) of changing runs of other incidents on these hosts that went on at a time or began later."""
        run, host = self._t.run, self._t.run_host
        query = (
            host.select(host.host, run.id.alias("run_id"))
            .join(run, JOIN.INNER, on=(run.id == host.run))
            .where(
                host.host.in_(list(hosts)),
                run.incident != besides,
                run.started_at.is_null(False),
                run.ended_at.is_null() | (run.ended_at >= since_ms),
            )
            .order_by(host.host, run.id)
        )
        with self._db.reading():
            return [(row["host"], row["run_id"]) for row in list(query.dicts())]

    def locks(self, hosts: Sequence[str]) -> dict[str, str]:
        """Return host → the incident that holds it now."""
        table = self._t.slot
        names = [f"host:{host}" for host in hosts]
        with self._db.reading():
            return {row.name.removeprefix("host:"): row.incident for row in list(table.select().where(table.name.in_(names)))}

    def _applies(self, entry: str) -> Any:
        run = self._t.run
        return run.select(run.id, run.incident, run.outcome, run.started_at, run.ended_at).where(
            run.entry == entry, run.kind == str(RunKind.APPLY), run.started_at.is_null(False), run.ended_at.is_null(False)
        )

    def _told(self, query: Any, before: str, where: str) -> Track:
        run, host = self._t.run, self._t.run_host
        with self._db.reading():
            rows = list(query.where(run.incident != before).order_by(run.created_at.desc(), run.id.desc()).limit(RECENT).dicts())
            ids = [row["id"] for row in rows]
            verdicts = list(host.select(host.run, host.effective).where(host.run.in_(ids)).dicts()) if ids else []
        helped = {row["run"] for row in verdicts if row["effective"]}
        if not rows:
            return Track(words=f"It never ran {where} before.")
        times = sorted((row["ended_at"] - row["started_at"]) / 1000 for row in rows)
        latest = rows[0]
        last = "verified" if latest["id"] in helped else _how(latest["outcome"])
        usual = times[len(times) // 2]
        words = f"{len(helped)} of {len(rows)} earlier runs verified ({len(helped) / len(rows):.0%}), usually {usual:.0f} s; the last one: {last}."
        return Track(len(rows), len(helped), usual, last, moment(latest["ended_at"]), latest["incident"], len(helped) / len(rows), words)


def _how(outcome: str | None) -> str:
    return "not verified" if outcome in (None, str(Outcome.SUCCESSFUL)) else str(outcome).replace("_", " ")
