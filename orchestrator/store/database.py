"""One database: opening it, transactions, its clock, its schema."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peewee import Database as PeeweeDatabase
from peewee import DatabaseError, InterfaceError, OperationalError, PostgresqlDatabase, SqliteDatabase
from playhouse.db_url import connect

from orchestrator.errors import SchemaMismatch, SettingsError, StoreUnavailable
from orchestrator.store.tables import SCHEMA_VERSION, Tables, append_only, make_tables


class Database:
    """A database with our tables.

    Args:
        url: `sqlite:///PATH` or `postgresql://…`.
        synchronous: SQLite's `synchronous`: FULL survives power loss, NORMAL only a crash of the program.
    """

    def __init__(self, url: str, *, synchronous: str = "FULL") -> None:
        self.url = url
        self.raw: PeeweeDatabase = _open(url, synchronous)
        self.tables: Tables = make_tables(self.raw)
        self._depth = threading.local()

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite, where only one machine can take part."""
        return isinstance(self.raw, SqliteDatabase)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a block in one write transaction; a nested one joins it.

        Raises:
            StoreUnavailable: the database is locked, full or gone; nothing of the block is kept.
        """
        if getattr(self._depth, "value", 0):
            yield
            return
        self._depth.value = 1
        try:
            with self.raw.atomic("IMMEDIATE") if self.is_sqlite else self.raw.atomic():
                yield
        except (OperationalError, InterfaceError) as error:
            self.close()
            raise StoreUnavailable(f"the database cannot be written: {error}") from error
        except DatabaseError as error:
            if "malformed" in str(error) or "not a database" in str(error):
                raise StoreUnavailable(f"the database cannot be used: {error}") from error
            raise
        finally:
            self._depth.value = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Run a block that only reads.

        Raises:
            StoreUnavailable: the database is gone.
        """
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            if not getattr(self._depth, "value", 0):
                self.close()
            raise StoreUnavailable(f"the database cannot be read: {error}") from error

    def now_ms(self) -> int:
        """Return the database's clock in milliseconds since 1970: on SQLite ours, it is one machine."""
        if self.is_sqlite:
            return int(time.time() * 1000)
        row = self._sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").fetchone()
        return int(row[0])

    def now(self) -> datetime:
        """Return the database's clock as an aware UTC datetime."""
        return datetime.fromtimestamp(self.now_ms() / 1000, tz=UTC)

    def _sql(self, statement: str) -> Any:
        return self.raw.execute_sql(statement)  # type: ignore[no-untyped-call]

    def create(self) -> None:
        """Make the tables that are missing, and the triggers of the audit log.

        Raises:
            SchemaMismatch: a newer version of the program wrote this database.
        """
        with self.transaction():
            self.lock("schema")
            self.raw.create_tables(self.tables.all(), safe=True)
            for statement in append_only(self.raw):
                self._sql(statement)
            self._check_version()

    def lock(self, name: str) -> None:
        """Let one transaction at a time hold a name, to the end of the caller's; on SQLite a write transaction does by itself."""
        if not self.is_sqlite:
            self.raw.execute_sql("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))  # type: ignore[no-untyped-call]

    def version(self) -> int:
        """Return the schema version written in the database, 0 for none."""
        row = self.tables.flag.get_or_none(self.tables.flag.name == "schema_version")
        return int(row.value) if row else 0

    def _check_version(self) -> None:
        version = self.version()
        if version > SCHEMA_VERSION:
            raise SchemaMismatch(
                f"the database has schema {version}, this program knows {SCHEMA_VERSION}. Mend: install the newer version, or restore a backup."
            )
        if version < SCHEMA_VERSION:
            self.tables.flag.insert(name="schema_version", value=str(SCHEMA_VERSION), at=self.now_ms()).on_conflict(
                conflict_target=[self.tables.flag.name], update={"value": str(SCHEMA_VERSION)}
            ).execute()

    def close(self) -> None:
        """Close this thread's connection; the next use opens a new one."""
        try:
            if not self.raw.is_closed():
                self.raw.close()
        except (OperationalError, InterfaceError):
            return


def _open(url: str, synchronous: str) -> Any:
    if url.startswith("sqlite:///"):
        path = url.removeprefix("sqlite:///")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        pragmas = {
            "journal_mode": "wal",
            "synchronous": synchronous.lower(),
            "busy_timeout": 10000,
            "foreign_keys": 1,
            "cache_size": -16000,
        }
        return SqliteDatabase(path, pragmas=pragmas, timeout=10)
    if url.startswith(("postgresql://", "postgres://")):
        database = connect(url, connect_timeout=5, keepalives_idle=5, keepalives_interval=2, keepalives_count=3)
        if isinstance(database, PostgresqlDatabase):
            return database
    raise SettingsError(
        [f"database.url: {url.rsplit('@', 1)[-1]!r} is neither sqlite:///PATH nor postgresql://…. Mend: write one of these."]
    )
