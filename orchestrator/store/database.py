"""One database: opening it, transactions, its clock, its schema."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peewee import Database as PeeweeDatabase
from peewee import DatabaseError, InterfaceError, OperationalError, PostgresqlDatabase, SqliteDatabase
from playhouse.db_url import connect

from orchestrator.errors import SchemaMismatch, SettingsError, StoreUnavailable
from orchestrator.store.tables import SCHEMA_VERSION, Tables, append_only, make_tables
from orchestrator.store.turnstile import Turnstile

ENDING_S = 2
"""How long a program that ends may still have the database open."""

PATIENCE = {"connect_timeout": 5, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10000}
"""When a PostgreSQL that went silent is given up: without the last one (milliseconds), what was sent into a cut cable is waited for a quarter of an hour."""


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
        self._turnstile = Turnstile() if self.is_sqlite else nullcontext()
        self._trouble = ""
        self._breaks = 0
        """How often a connection was found broken."""
        self._seen = threading.local()

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
        self._renew()
        self._depth.value = 1
        try:
            with self._turnstile, self.raw.atomic("IMMEDIATE") if self.is_sqlite else self.raw.atomic():
                yield
        except (OperationalError, InterfaceError) as error:
            self._broken()
            self._trouble = f"the database cannot be written: {str(_first(error)).strip()}"
            raise StoreUnavailable(self._trouble) from error
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
        outermost = not getattr(self._depth, "value", 0)
        if outermost:
            self._renew()
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            if outermost:
                self._broken()
            raise StoreUnavailable(f"the database cannot be read: {error}") from error

    def _renew(self) -> None:
        """Drop this thread's connection where another thread's was found broken since: a PostgreSQL that restarted has broken all of them."""
        if getattr(self._seen, "breaks", self._breaks) != self._breaks:
            self.close()
        self._seen.breaks = self._breaks

    def _broken(self) -> None:
        self.close()
        if not self.is_sqlite:
            self._breaks += 1
            self._seen.breaks = self._breaks

    def trouble(self) -> str:
        """Return why the database could not be written lately, after trying again; an empty string where it can be."""
        if self._trouble:
            try:
                with self.transaction():
                    self.tables.flag.delete().where(self.tables.flag.name == "probe").execute()
                    self.tables.flag.insert(name="probe", value="written", at=self.now_ms()).execute()
            except StoreUnavailable as error:
                return str(error)
            self._trouble = ""
        return ""

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
        """Make the tables of a fresh database; check the version of any other.

        Raises:
            SchemaMismatch: a newer or an older version of the program wrote this database.
        """
        with self.transaction():
            self.lock("schema")
            version = self.version()
            if version > SCHEMA_VERSION:
                raise SchemaMismatch(
                    f"the database has schema {version}, this program knows {SCHEMA_VERSION}. Mend: install the newer version, or restore a backup."
                )
            if 0 < version < SCHEMA_VERSION:
                raise SchemaMismatch(
                    f"the database has schema {version}, this program needs {SCHEMA_VERSION}. Mend: stop every server and worker, back it up, run `orchestrator db upgrade`."
                )
            self.make_missing()
            if not version:
                self.write_version()

    def make_missing(self) -> None:
        """Make the tables that are missing, and the triggers of the audit log, in the caller's transaction."""
        self.raw.create_tables(self.tables.all(), safe=True)
        for statement in append_only(self.raw):
            self._sql(statement)

    def lock(self, name: str) -> None:
        """Let one transaction at a time hold a name, to the end of the caller's; on SQLite a write transaction does by itself."""
        if not self.is_sqlite:
            self.raw.execute_sql("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))  # type: ignore[no-untyped-call]

    def version(self) -> int:
        """Return the schema version written in the database, 0 for none."""
        flag = self.tables.flag
        with self.reading():
            row = flag.get_or_none(flag.name == "schema_version") if flag.table_exists() else None
        return int(row.value) if row else 0

    def write_version(self) -> None:
        """Note in the database that it has this program's schema, in the caller's transaction."""
        flag, value = self.tables.flag, str(SCHEMA_VERSION)
        row = flag.insert(name="schema_version", value=value, at=self.now_ms())
        row.on_conflict(conflict_target=[flag.name], update={"value": value}).execute()

    def wait_at_most_s(self, seconds: int) -> None:
        """Let the caller's transaction fail rather than wait longer for a lock; SQLite's connections always do."""
        if not self.is_sqlite:
            self._sql(f"SET LOCAL lock_timeout = '{seconds:d}s'")

    def others(self) -> str:
        """Return, in words, which other programs have this database open now; empty: none.

        On SQLite a file in WAL mode can leave that mode only while nobody else has it open. On PostgreSQL the connections
        of the same user count. A program that has just ended is given a moment to be gone.
        """
        for _ in range(ENDING_S * 5):
            if not (found := self._others()):
                return ""
            time.sleep(0.2)
        return found

    def _others(self) -> str:
        if self.is_sqlite:
            self.close()
            try:
                with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=0)) as alone:
                    alone.execute("PRAGMA journal_mode = DELETE")
            except sqlite3.OperationalError as error:
                return f"another program ({error})"
            return ""
        asked = (
            "SELECT coalesce(host(client_addr), 'a socket') || ' (pid ' || pid || ')' FROM pg_stat_activity WHERE datname = current_database()"
            " AND usename = current_user AND pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY pid"
        )
        with self.reading():
            return ", ".join(row[0] for row in self._sql(asked).fetchall())

    @contextmanager
    def erasing(self) -> Iterator[None]:
        """Run a block after which what it took out is in no file of the database either; PostgreSQL's vacuum does that in its own time."""
        if not self.is_sqlite:
            yield
            return
        self._sql("PRAGMA secure_delete = ON")
        yield
        self._sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close this thread's connection; the next use opens a new one."""
        try:
            if not self.raw.is_closed():
                self.raw.close()
        except (OperationalError, InterfaceError):
            return


def _first(error: BaseException) -> BaseException:
    """Return the database's first complaint: SQLite rolls back by itself on a full disk, and then complains that there is nothing to roll back."""
    found, before = error, error.__context__
    while before is not None:
        if isinstance(before, DatabaseError | InterfaceError):
            found = before
        before = before.__context__
    return found


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
        database = connect(url, **PATIENCE)
        if isinstance(database, PostgresqlDatabase):
            return database
    raise SettingsError(
        [f"database.url: {url.rsplit('@', 1)[-1]!r} is neither sqlite:///PATH nor postgresql://…. Mend: write one of these."]
    )
