"""A new version takes over what an older one had in flight, and a database moves to PostgreSQL with it."""

from __future__ import annotations

import itertools

import pytest
from schema_1 import load_schema_1

from orchestrator.app import build, upgrade_database
from orchestrator.cli.main import exit_code
from orchestrator.errors import SchemaMismatch
from orchestrator.model import Actor, ApprovalState, Reason, Role, RunState, Status
from orchestrator.settings import load
from orchestrator.shipped import folder

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
