"""The kill switch holds on every worker at once, with the server down, too."""

from __future__ import annotations

import itertools
import json

import pytest

from orchestrator.app import build, pause_without_server
from orchestrator.cli.main import run
from orchestrator.lifecycle import FOREVER, Step
from orchestrator.model import Actor, Grant, Role, Run, RunKind, RunRequest, RunState, Status
from orchestrator.settings import load
from orchestrator.shipped import folder

ADMIN = Actor("ann", Role.ADMIN)
NUMBER = itertools.count()


@pytest.fixture
def machines(tmp_path, postgres):
    """Two machines that share one PostgreSQL, each with a data folder of its own."""
    url, made = postgres.database(f"switch{next(NUMBER)}"), []
    for name in ("a", "b"):
        values = {
            "ORCHESTRATOR_DATA_DIR": str(tmp_path / name),
            "ORCHESTRATOR_DATABASE__URL": url,
            "ORCHESTRATOR_CATALOGUE__PATH": str(folder("playbooks")),
            "ORCHESTRATOR_CATALOGUE__ROLES": str(folder("roles")),
            "ORCHESTRATOR_INVENTORY__PATHS": str(folder("inventory")),
        }
        made.append((build(load(None, values)), values))
    yield made
    for program, _ in made:
        program.stop()


def with_intent(program):
    """Return an incident of this program whose changing run may begin at any moment, its worker, and the run's id."""
    alert = {"status": "firing", "labels": {"alertname": "X", "instance": "h:1"}, "annotations": {}, "startsAt": "2026-01-01T00:00:00Z"}
    (line,) = program.receive(json.dumps({"version": "4", "alerts": [alert]}).encode()).incidents
    store = program.store
    claim = store.incidents.claim(line["id"], "w", 60.0)
    request = RunRequest(f"{line['id']}:1:apply:1", RunKind.APPLY, "restart_service", "playbook.yml", ("h",), "/nowhere")
    intent = Run(request.id, request.kind, request.entry, RunState.INTENT)
    ready = claim.incident.evolve(
        status=Status.EXECUTING, run=intent, grant=Grant("g", "d", ("h",), {}, ("policy",), undo_shown=False), blocked_by=""
    )
    store.incidents.commit(claim, Step(ready, intent=request, wait_s=FOREVER), lambda _: (), lambda _: None)
    return store.incidents.get(line["id"]), request.id


@pytest.mark.foreign
@pytest.mark.parametrize("how", ["server", "no server"])
def test_pause_on_one_machine_holds_on_the_other(machines, how):
    """A run whose intent another machine has written is not begun once anyone has paused, and begins after the resume."""
    (one, values), (two, _) = machines
    incident, run_id = with_intent(two)
    if how == "server":
        one.pause(ADMIN, "storm")
    else:
        assert pause_without_server(load(None, values), ADMIN, "storm")
    assert "storm" in two.paused()
    assert two.wiring.playing.carry_out(incident, run_id, "w") is None
    assert two.store.runs.row(run_id).state == RunState.INTENT
    one.resume(ADMIN)
    assert two.paused() == ""
    assert {"engine.paused", "engine.resumed"} <= {event.kind for event in two.store.chain.each()}


@pytest.mark.foreign
def test_pause_command_without_server_reaches_every_machine(machines, monkeypatch, capsys):
    """`orchestrator pause` with no server writes the file and the row; `resume` takes both back."""
    (_, values), (two, _) = machines
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ORCHESTRATOR_SERVER__PORT", "1")
    assert run(["pause", "--reason", "storm"]) == 0
    assert "storm" in two.paused()
    assert run(["resume"]) == 0
    assert two.paused() == ""
    capsys.readouterr()


def test_pause_works_with_the_database_gone(tmp_path):
    """Where the database does not answer the file is written all the same."""
    values = {"ORCHESTRATOR_DATA_DIR": str(tmp_path / "var"), "ORCHESTRATOR_DATABASE__URL": "postgresql://nobody@127.0.0.1:1/none"}
    assert not pause_without_server(load(None, values), ADMIN, "storm")
    assert "storm" in (tmp_path / "var" / "paused").read_text()
