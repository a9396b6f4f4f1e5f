"""Forward migrations: a database of an older version gets this version's tables, and keeps every row.

To add something to the schema that is being worked on (the newest step below, which no release has written yet):

1. Write the table, column or index in `tables.py`. A new column needs `null=True` or a `default`, for the rows that are there already.
2. Name it in the newest step: `change.table("name")`, `change.column("table", "column")`, `change.index("table", "a", "b")`; tables
   go by their names in `Tables`.

That is all: a test holds a migrated database against a fresh one, on SQLite and on PostgreSQL, column by column and index by index.
Once a version was released its step is never edited: raise `SCHEMA_VERSION` in `tables.py` and write the next step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from playhouse.migrate import PostgresqlMigrator, SqliteMigrator, migrate

from orchestrator.errors import UsageError
from orchestrator.model import Happening
from orchestrator.store.backup import backup
from orchestrator.store.chain import Chain, moment
from orchestrator.store.database import Database
from orchestrator.store.tables import SCHEMA_VERSION


class Change:
    """What a step may do to a database; what is there already is left."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._migrator = SqliteMigrator(db.raw) if db.is_sqlite else PostgresqlMigrator(db.raw)

    def table(self, name: str) -> None:
        """Make a table with its indexes."""
        self._db.raw.create_tables([getattr(self._db.tables, name)], safe=True)

    def column(self, table: str, name: str) -> None:
        """Add a column, filled with its default, and its own index where it has one."""
        meta = getattr(self._db.tables, table)._meta  # noqa: SLF001 - peewee's documented way
        if name not in {column.name for column in self._db.raw.get_columns(meta.table_name)}:
            migrate(self._migrator.add_column(meta.table_name, name, meta.fields[name]))

    def index(self, table: str, *columns: str, unique: bool = False) -> None:
        """Add an index over several columns."""
        name = getattr(self._db.tables, table)._meta.table_name  # noqa: SLF001
        if list(columns) not in [list(index.columns) for index in self._db.raw.get_indexes(name)]:
            migrate(self._migrator.add_index(name, columns, unique))


def _to_2(change: Change) -> None:
    """What came after the first release."""
    change.table("seat")
    change.table("storm")
    change.index("outbox", "channel", "created_at")
    change.index("incident", "priority", "run_at")
    change.index("incident", "blocked_by")
    change.index("incident", "parent")
    change.index("incident", "alertname", "id")
    change.index("incident", "status", "firing", "target")
    change.table("standing_grant")
    change.table("autonomy")
    change.column("user", "subject")
    change.column("user", "disabled")
    change.column("approval", "reminded")
    change.index("approval", "state", "reminded", "expires_at", "created_at")
    change.table("session")
    change.table("errand")
    change.table("posted")


STEPS: Mapping[int, Callable[[Change], None]] = {2: _to_2}
"""Schema → the step that leads to it from the one before."""


def upgrade(db: Database, chain: Chain, *, keep: bool = True) -> str:
    """Bring an older database to this version in one transaction, when no other program has it open.

    Args:
        db: the database; a fresh or a present one is left as it is.
        chain: where the upgrade is put on record.
        keep: copy a SQLite database to a file beside it first.

    Returns:
        What was done, in words; empty where there was nothing to do.

    Raises:
        UsageError: another program has it open.
        StoreUnavailable: it cannot be written; nothing has changed.
    """
    before = db.version()
    if not 0 < before < SCHEMA_VERSION:
        return ""
    if others := db.others():
        raise UsageError(f"the database has schema {before} and is in use by {others}. Mend: stop every server and worker of it first.")
    copy = _copy(db, before) if keep and db.is_sqlite else ""
    with db.transaction():
        db.lock("schema")
        db.wait_at_most_s(10)
        change = Change(db)
        for number in range(db.version() + 1, SCHEMA_VERSION + 1):
            STEPS[number](change)
        db.make_missing()
        db.write_version()
        chain.append("system", Happening("database.upgraded", data={"from": before, "to": SCHEMA_VERSION, "copy": copy}))
    words = f"the database was brought from schema {before} to {SCHEMA_VERSION}"
    return f"{words}; {copy} holds it as it was" if copy else words


def _copy(db: Database, version: int) -> str:
    path = Path(db.url.removeprefix("sqlite:///"))
    target = path.with_name(f"{path.name}.schema-{version}-{moment(db.now_ms()):%Y%m%dT%H%M%S%f}Z")
    backup(db, target)
    return target.name
