"""Seats of read-only plays: a host is read by a few plays at once, whatever the number of workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.store.database import Database


class Seats:
    """`read:HOST#N`: taken before a read-only play, given back after it, free again by itself where the worker died."""

    def __init__(self, db: Database) -> None:
        self._db, self._t = db, db.tables

    def take(self, incident: str, hosts: Sequence[str], most: int, lease_s: float) -> str:
        """Take a seat on every host, all or nothing; plays of one incident share a seat.

        Args:
            incident: who asks.
            hosts: where it reads.
            most: how many incidents may read one host at once.
            lease_s: how long a seat is kept without `keep`.

        Returns:
            The host that has no free seat, or where an older incident waits for one; empty where all were taken.
        """
        with self._db.transaction():
            now, wanted = self._db.now_ms(), []
            for host in sorted(set(hosts)):
                self._db.lock(f"read:{host}")
                name = self._free(incident, host, most, now)
                if name is None:
                    return host
                wanted.append(name)
            until = now + int(lease_s * 1000)
            for name in wanted:
                table = self._t.seat
                if not table.update(until=until).where(table.name == name).execute():
                    table.create(name=name, incident=incident, until=until)
            waits = self._t.incident
            waits.update(blocked_by="").where(waits.id == incident, waits.blocked_by.startswith("read:")).execute()
        return ""

    def _free(self, incident: str, host: str, most: int, now: int) -> str | None:
        """Return the name of the seat that this incident has or may take on a host, None where there is none."""
        table = self._t.seat
        names = [f"read:{host}#{number}" for number in range(most)]
        rows = list(table.select().where(table.name.in_(names)))
        mine = next((row.name for row in rows if row.incident == incident), None)
        if mine is not None:
            return str(mine)
        taken = {row.name for row in rows if row.until >= now}
        for row in rows:
            if row.name not in taken:
                table.delete().where(table.name == row.name).execute()
        if self._is_older_waiting(incident, f"read:{host}"):
            return None
        return next((name for name in names if name not in taken), None)

    def _is_older_waiting(self, incident: str, blocked_by: str) -> bool:
        table: Any = self._t.incident
        return bool(table.select(table.id).where(table.blocked_by == blocked_by, table.id < incident).exists())

    def keep(self, incident: str, lease_s: float) -> None:
        """Keep an incident's seats for longer."""
        table = self._t.seat
        with self._db.transaction():
            table.update(until=self._db.now_ms() + int(lease_s * 1000)).where(table.incident == incident).execute()

    def give_back(self, incident: str) -> None:
        """Give an incident's seats back."""
        table = self._t.seat
        with self._db.transaction():
            table.delete().where(table.incident == incident).execute()

    def taken(self) -> list[tuple[str, str]]:
        """Return (seat, incident) of the seats that are taken now."""
        table = self._t.seat
        with self._db.reading():
            return [(row.name, row.incident) for row in list(table.select().where(table.until >= self._db.now_ms()).order_by(table.name))]
