"""A database of an older version goes on with this one: every row is kept, and nothing is upgraded under a running program."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from schema_1 import load_schema_1

from orchestrator.errors import SchemaMismatch, UsageError
from orchestrator.model import Reason, Role, RunState, Status
from orchestrator.store import Store
from orchestrator.store.migrations import upgrade
from orchestrator.store.tables import SCHEMA_VERSION


@pytest.fixture
def old(url):
    """A store on a database of schema 1."""
    load_schema_1(url)
    made = Store(url)
    yield made
    made.db.close()


def shape(store):
    """Return the columns and the indexes of every table of ours."""
    raw = store.db.raw
    found = {}
    for table in store.db.tables.all():
        name = table._meta.table_name
        columns = {(c.name, c.data_type.upper(), c.null, c.primary_key, c.default) for c in raw.get_columns(name)}
        indexes = {(re.sub(r"^sqlite_autoindex.*", "", i.name), tuple(i.columns), i.unique) for i in raw.get_indexes(name)}
        found[name] = columns, indexes
    return found


def rows(store, names):
    """Return every row of these columns, table by table."""
    found = {}
    for table, columns in names.items():
        listed = ", ".join(f'"{name}"' for name in columns)
        found[table] = sorted(store.db.raw.execute_sql(f'SELECT {listed} FROM "{table}"').fetchall(), key=repr)
    return found


def known_rows(store):
    """Return (columns by table, rows by table) of what the older version wrote."""
    tables = [name for name in store.db.raw.get_tables() if name not in {"flag", "audit"}]
    names = {name: [column.name for column in store.db.raw.get_columns(name)] for name in tables}
    return names, rows(store, names)


def test_migrated_database_is_shaped_like_a_fresh_one(old, url, tmp_path, request):
    """After the upgrade columns and indexes are exactly those of a database made by this version."""
    upgrade(old.db, old.chain)
    fresh_url = f"sqlite:///{tmp_path}/fresh.db" if old.db.is_sqlite else request.getfixturevalue("postgres").database(f"{url[-8:]}fresh")
    fresh = Store(fresh_url)
    fresh.db.create()
    assert shape(old) == shape(fresh)
    fresh.db.close()


def test_upgrade_keeps_every_row_and_the_chain(old):
    """Every row of the older version is there afterwards, and the audit log verifies, the upgrade on record in it."""
    names, before = known_rows(old)
    events = [event.hash for event in old.chain.each()]
    head = old.chain.verify()["head"]
    assert "from schema 1" in upgrade(old.db, old.chain)
    assert rows(old, names) == before
    told = old.chain.verify(head)
    assert told["ok"], told["problems"]
    now = list(old.chain.each())
    assert [event.hash for event in now[: len(events)]] == events
    assert [event.kind for event in now[len(events) :]] == ["database.upgraded"]
    assert old.db.version() == SCHEMA_VERSION
    assert upgrade(old.db, old.chain) == "", "a second time does nothing"


def test_audit_log_stays_append_only(old):
    """The triggers of the audit log are there after the upgrade, too."""
    upgrade(old.db, old.chain)
    for statement in ("DELETE FROM audit", "UPDATE audit SET actor = 'x'", "DELETE FROM seal"):
        with pytest.raises(Exception, match="append-only"), old.db.raw.atomic():
            old.db.raw.execute_sql(statement)


def test_what_the_older_version_wrote_is_read(old):
    """Incidents in flight, their approvals, runs and people are read by this version."""
    upgrade(old.db, old.chain)
    stands = {one.target: one for one in old.incidents.find()[0]}
    assert {name: str(one.status) for name, one in stands.items()} == {
        "web1": "resolved",
        "web2": "awaiting_approval",
        "web3": "escalated",
        "web4": "executing",
        "web5": "received",
        "web6": "received",
    }
    assert stands["web3"].reason is Reason.REJECTED
    waiting = old.incidents.get(stands["web2"].id)
    assert waiting.status is Status.AWAITING_APPROVAL
    assert old.runs.approval(waiting.approval).proposal.entry == "restart_service"
    running = old.incidents.get(stands["web4"].id)
    assert old.runs.get(old.runs.unsettled()[0]).state is RunState.RUNNING
    assert [slot for slot, _ in old.runs.slots()] == ["all#0", "host:web4"]
    assert running.grant.by == ("ann",)
    assert old.people.login("ann", "correct horse").role is Role.ADMIN


def test_upgrade_of_a_database_in_use_is_refused(old, url):
    """While another program has the database open nothing is changed."""
    other = sqlite3.connect(url.removeprefix("sqlite:///")) if old.db.is_sqlite else psycopg2.connect(url)
    with closing(other):
        cursor = other.cursor()
        cursor.execute("SELECT count(*) FROM incident")
        cursor.fetchall()
        with pytest.raises(UsageError, match="in use by"):
            upgrade(old.db, old.chain)
        assert old.db.version() == 1
    assert upgrade(old.db, old.chain)


def test_older_schema_is_not_used_as_it_is(old):
    """A program that has not upgraded the database refuses to work on it, and says what to do."""
    with pytest.raises(SchemaMismatch, match="orchestrator db upgrade"):
        old.db.create()


def test_failed_upgrade_changes_nothing(old, monkeypatch):
    """An upgrade that breaks in the middle leaves the older schema with every row."""
    names, before = known_rows(old)

    def broken(happening_of, happening):
        raise RuntimeError("the power went")

    monkeypatch.setattr(old.chain, "append", broken)
    with pytest.raises(RuntimeError, match="power"):
        upgrade(old.db, old.chain)
    assert (old.db.version(), rows(old, names)) == (1, before)


def test_sqlite_is_copied_first(tmp_path):
    """The database as it was stands beside the upgraded one, readable by its owner alone."""
    url = f"sqlite:///{tmp_path}/store.db"
    load_schema_1(url)
    store = Store(url)
    said = upgrade(store.db, store.chain)
    (copy,) = tmp_path.glob("store.db.schema-1-*")
    store.db.close()
    assert copy.name in said
    assert copy.stat().st_mode & 0o777 == 0o600
    kept = Store(f"sqlite:///{copy}")
    assert (kept.db.version(), len(kept.incidents.find()[0])) == (1, 6)
    kept.db.close()
    assert Path(copy).exists()
