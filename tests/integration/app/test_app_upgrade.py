"""A new version takes over what an older one had in flight, and a database moves to PostgreSQL with it."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing

import pytest
from schema_1 import load_schema_1

from orchestrator.app import build, move_database, restore_database, upgrade_database
from orchestrator.cli.main import exit_code
from orchestrator.errors import SchemaMismatch, SettingsError, UsageError
from orchestrator.model import Actor, ApprovalState, Reason, Role, RunState, Status
from orchestrator.settings import load
from orchestrator.shipped import folder
from orchestrator.store import Store

ADMIN = Actor("ann", Role.ADMIN)
NUMBER = itertools.count()
HOSTS = "\n".join(
    f"        web{n}: {{ansible_connection: local, prometheus_instance: 'web{n}:9100', recoverable_services: [nginx]}}" for n in range(1, 7)
)


def settings(tmp_path, url, **more):
    """Settings of the node that wrote the older database."""
    inventory, data = tmp_path / "hosts.yml", tmp_path / "var"
    inventory.write_text(f"all:\n  children:\n    recoverable:\n      hosts:\n{HOSTS}\n")
    data.mkdir(exist_ok=True)
    (data / "node").write_text("node-a\n")
    return load(
        None,
        {
            "ORCHESTRATOR_DATA_DIR": str(data),
            "ORCHESTRATOR_DATABASE__URL": url,
            "ORCHESTRATOR_INVENTORY__PATHS": str(inventory),
            "ORCHESTRATOR_CATALOGUE__PATH": str(folder("playbooks")),
            "ORCHESTRATOR_CATALOGUE__ROLES": str(folder("roles")),
            "ORCHESTRATOR_CATALOGUE__PROMPTS": str(folder("prompts")),
            "ORCHESTRATOR_DECISION__ENGINE": "matchers",
            "ORCHESTRATOR_CONTEXT__FROM_HOSTS": "false",
            "ORCHESTRATOR_LOGS__FROM_HOSTS": "false",
            **more,
        },
    )


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.foreign)])
def url(request, tmp_path):
    """The address of a database of schema 1 of each kind."""
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path}/orchestrator.db"
    else:
        address = request.getfixturevalue("postgres").database(f"upgrade{next(NUMBER)}")
    load_schema_1(address)
    return address


def goes_on(program):
    """Assert that what was in flight in the older database goes on in this program."""
    one = {item.target: item.id for item in program.store.incidents.find()[0]}
    # one waits for an answer, and takes it
    (card,) = [card for card in program.approvals(state=(ApprovalState.PENDING,), limit=10)[0] if card.incident == one["web2"]]
    program.reject(card.id, ADMIN, card.digest, "not while we move")
    program.engine.work(one["web2"])
    assert program.store.incidents.summary(one["web2"]).reason is Reason.REJECTED
    # one was in its play when the older program was killed: nothing is repeated, and its host stays locked
    with program.store.db.transaction():
        program.store.db.tables.incident.update(lease=0, run_at=1).where(program.store.db.tables.incident.id == one["web4"]).execute()
    program.engine.work(one["web4"])
    stands = program.store.incidents.get(one["web4"])
    assert (stands.status, stands.reason, stands.run.state) == (Status.ESCALATED, Reason.UNKNOWN_RUN, RunState.UNKNOWN)
    assert ("host:web4", one["web4"]) in program.store.runs.slots()
    # one had only been received, and is looked at now
    program.engine.work(one["web5"])
    assert program.store.incidents.summary(one["web5"]).status is Status.AWAITING_APPROVAL
    assert program.verify_audit("")["ok"]


def test_incidents_in_flight_are_taken_over(tmp_path, url):
    """A waiting approval takes its answer, an interrupted play is found out and never repeated, a new alert is looked at."""
    chosen = settings(tmp_path, url)
    if url.startswith("postgresql"):
        with pytest.raises(SchemaMismatch, match="orchestrator db upgrade") as refused:
            build(chosen)
        assert exit_code(refused.value) == 2
        assert "schema 1" in upgrade_database(chosen)
    program = build(chosen)
    try:
        goes_on(program)
    finally:
        program.stop()


@pytest.fixture
def sqlite(tmp_path):
    """Settings of the node that wrote a SQLite database of schema 1."""
    url = f"sqlite:///{tmp_path}/orchestrator.db"
    load_schema_1(url)
    return settings(tmp_path, url)


@pytest.mark.foreign
def test_incidents_go_on_after_the_move_to_postgresql(tmp_path, sqlite, postgres):
    """Everything of the SQLite database is in PostgreSQL, and what was in flight goes on there."""
    to = postgres.database(f"moved{next(NUMBER)}")
    program = build(sqlite)
    told, before = program.verify_audit(""), program.store.incidents.find()
    program.stop()
    counts = move_database(sqlite, to)
    assert (counts["incident"], counts["audit"]) == (6, told["events"])
    moved = build(settings(tmp_path, to))
    try:
        assert moved.store.incidents.find() == before
        assert moved.verify_audit(told["head"])["ok"]
        assert moved.store.people.flag("digest_key") == moved.data.secret("digest.key")
        assert moved.store.people.token_actor(moved.data.secret("admin.token")).role is Role.ADMIN
        goes_on(moved)
    finally:
        moved.stop()


@pytest.mark.foreign
def test_moved_database_is_not_used_again(tmp_path, sqlite, postgres):
    """Two programs on two copies could run one play twice: the old file refuses, until it is restored on purpose."""
    move_database(sqlite, postgres.database(f"moved{next(NUMBER)}"))
    with pytest.raises(UsageError, match="was moved to"):
        build(sqlite)
    copy = tmp_path / "copy.db"
    copy.write_bytes((tmp_path / "orchestrator.db").read_bytes())
    restore_database(sqlite, copy)
    build(sqlite).stop()


@pytest.mark.foreign
def test_move_is_refused_while_the_server_lives(tmp_path, sqlite, postgres):
    """A database in use is not moved, nor over one that holds anything, and nothing is left behind."""
    to = postgres.database(f"moved{next(NUMBER)}")
    program = build(sqlite)
    try:
        program.store.incidents.find()
        with pytest.raises(UsageError, match="in use by"):
            move_database(sqlite, to)
        program.data.claim_node()
        with pytest.raises(SettingsError, match="another worker"):
            move_database(sqlite, to)
    finally:
        program.stop()
        program.data.release_node()
    other = Store(to)
    assert other.db.version() == 0
    other.db.create()
    other.db.close()
    with pytest.raises(UsageError, match="empty database"):
        move_database(sqlite, to)
    build(sqlite).stop()


@pytest.mark.foreign
def test_move_of_a_damaged_log_is_refused(tmp_path, sqlite, postgres):
    """A database whose audit log does not verify is not moved: the damage would be taken for the move's."""
    to = postgres.database(f"moved{next(NUMBER)}")
    with closing(sqlite3.connect(tmp_path / "orchestrator.db")) as file:
        file.execute("DROP TRIGGER audit_no_update")
        file.execute("UPDATE audit SET actor = 'nobody' WHERE id = 7")
        file.commit()
    with pytest.raises(UsageError, match="does not verify"):
        move_database(sqlite, to)
    other = Store(to)
    assert other.db.version() == 0
    other.db.close()
