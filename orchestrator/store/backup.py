"""Backup and restore of a SQLite database; PostgreSQL has its own tools."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.model import Happening, RunState
from orchestrator.store.chain import Chain
from orchestrator.store.database import Database

POSTGRESQL = "a PostgreSQL database is backed up with pg_dump and restored with pg_restore, then `orchestrator db restored`"


def backup(db: Database, target: Path) -> None:
    """Copy the database, while it is in use, to a new file of mode 0600.

    Raises:
        UsageError: it is not SQLite, or the file is there already.
    """
    if not db.is_sqlite:
        raise UsageError(POSTGRESQL)
    if target.exists():
        raise UsageError(f"{target} is there already. Mend: name a new file.")
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(_path(db.url))) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)


def restore(url: str, source: Path) -> None:
    """Put a backup in the place of a database that no program uses.

    Raises:
        UsageError: it is not SQLite, or the backup is none of ours.
    """
    if not url.startswith("sqlite:///"):
        raise UsageError(POSTGRESQL)
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as copy:
        try:
            copy.execute("SELECT value FROM flag WHERE name = 'schema_version'").fetchone()
        except sqlite3.DatabaseError as error:
            raise UsageError(f"{source} is not a backup of this program ({error})") from error
        target = _path(url)
        for leftover in (target, f"{target}-wal", f"{target}-shm"):
            Path(leftover).unlink(missing_ok=True)
        with closing(sqlite3.connect(target)) as database:
            copy.backup(database)


def after_restore(db: Database, chain: Chain, source: str) -> int:
    """Mark everything in flight as unknown and turn running without a person off; return how many runs were in flight."""
    table = db.tables.run
    with db.transaction():
        flying = list(table.select(table.id).where(table.state.in_([str(RunState.INTENT), str(RunState.RUNNING)])))
        incident, signal = db.tables.incident, db.tables.signal
        approved = list(incident.select(incident.id).where(incident.status == "executing"))
        for row in approved:
            signal.create(incident=row.id, kind="restored", data="{}", at=db.now_ms())
            incident.update(run_at=db.now_ms(), owner="", lease=0).where(incident.id == row.id).execute()
        for row in flying:
            table.update(state=str(RunState.RUNNING), node="restored", started_at=0).where(table.id == row.id).execute()
        db.tables.flag.insert(name="restored", value=source, at=db.now_ms()).on_conflict(
            conflict_target=[db.tables.flag.name], update={"value": source}
        ).execute()
        db.tables.flag.delete().where(db.tables.flag.name == "moved_to").execute()  # it was put back on purpose
        chain.append("system", Happening("database.restored", data={"from": source, "in_flight": len(flying)}))
    return len(flying)


def _path(url: str) -> str:
    return url.removeprefix("sqlite:///")
