"""The whole program in one process, without its threads: what it keeps, refuses and tells."""

from __future__ import annotations

import json

import pytest

from orchestrator.app import build
from orchestrator.chores import Chores
from orchestrator.errors import Conflict, ExecutionError, Forbidden, InvalidRequest, SettingsError
from orchestrator.lifecycle import manual
from orchestrator.model import Actor, Reason, Role, RunKind, RunRequest
from orchestrator.settings import load
from orchestrator.shipped import folder

ADMIN = Actor("ann", Role.ADMIN)
INVENTORY = """
all:
  children:
    recoverable:
      hosts:
        web1: {ansible_connection: local, prometheus_instance: 'web1:9100', recoverable_services: [nginx]}
"""


def settings(tmp_path, **more):
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(INVENTORY)
    base = {
        "ORCHESTRATOR_DATA_DIR": str(tmp_path / "var"),
        "ORCHESTRATOR_INVENTORY__PATHS": str(inventory),
        "ORCHESTRATOR_CATALOGUE__PATH": str(folder("playbooks")),
        "ORCHESTRATOR_CATALOGUE__ROLES": str(folder("roles")),
        "ORCHESTRATOR_DECISION__ENGINE": "matchers",
    }
    return load(None, {**base, **more})


@pytest.fixture
def program(tmp_path):
    """One orchestrator that nothing advances by itself."""
    built = build(settings(tmp_path))
    yield built
    built.stop()


def body(**changes) -> bytes:
    alert = {
        "status": "firing",
        "labels": {"alertname": "ServiceDown", "instance": "web1:9100", "service": "nginx"},
        "annotations": {},
        "startsAt": "2026-01-01T00:00:00Z",
        **changes,
    }
    return json.dumps({"version": "4", "alerts": [alert]}).encode()


def test_secret_in_an_annotation_is_never_stored(program):
    """What looks like a secret in an annotation or in a rejected alert is in no table and no file of the database."""
    program.receive(body(annotations={"summary": "login with password=hunter2secret failed"}))
    program.receive(json.dumps({"alerts": [{"labels": {"alertname": "X"}, "status": "firing"}, {"x": "password=hunter2secret"}]}).encode())
    program.store.db.close()
    stored = b"".join(path.read_bytes() for path in program.data.path.glob("orchestrator.db*"))
    assert b"hunter2secret" not in stored
    assert b"ServiceDown" in stored


def test_alert_cannot_pose_as_a_persons_run(program):
    """An alert with our own generator address is an alert like any other: it has to be confirmed and can be silenced."""
    (line,) = program.receive(body(generatorURL="orchestrator:manual")).incidents
    assert not manual(program.incident(line["id"]).alert)


def test_quarantined_entry_reads_no_more(program):
    """A read-only play whose entry changed something once is refused from then on."""
    entry = program.entry("host_state")
    program.store.people.set_flag(f"quarantine:{entry.id}:{entry.digest}", "x")
    (line,) = program.receive(body()).incidents
    request = RunRequest("r:1:context:1", RunKind.CONTEXT, "host_state", "playbook.yml", ("web1",), "/nowhere")
    with pytest.raises(ExecutionError, match="quarantine"):
        program.wiring.playing.play(program.incident(line["id"]), request)


def test_own_run_is_checked_like_any_other(program):
    """A person's own proposal needs a known host, a known entry and a service on the host's allow-list."""
    with pytest.raises(InvalidRequest, match="inventory"):
        program.start_run("restart_service", ("db9",), {"restart_service_name": "nginx"}, ADMIN)
    with pytest.raises(InvalidRequest, match="recoverable_services"):
        program.start_run("restart_service", ("web1",), {"restart_service_name": "sshd"}, ADMIN)
    with pytest.raises(InvalidRequest, match="only reads"):
        program.start_run("host_state", ("web1",), {}, ADMIN)
    with pytest.raises(Forbidden):
        program.start_run("restart_service", ("web1",), {"restart_service_name": "nginx"}, Actor("vic", Role.VIEWER))
    incident = program.start_run("restart_service", ("web1",), {"restart_service_name": "nginx"}, ADMIN)
    verdict = program.wiring.judge(incident)
    assert Reason.PERSON_CHOICE in verdict.reasons


def test_wrong_window_is_told_at_start(tmp_path):
    """A maintenance window that cannot be read stops the start, not the first incident."""
    with pytest.raises(SettingsError, match="banana"):
        build(settings(tmp_path, ORCHESTRATOR_POLICY__WINDOWS='[{"name": "night", "start": "banana", "duration_s": 60}]'))


def test_own_machine_is_never_changed(tmp_path, monkeypatch):
    """A host that is the orchestrator's own machine is denied, whatever the catalogue says."""
    monkeypatch.setattr("socket.gethostname", lambda: "web1")
    built = build(settings(tmp_path))
    incident = built.start_run("restart_service", ("web1",), {"restart_service_name": "nginx"}, ADMIN)
    assert Reason.PROTECTED_HOST in built.wiring.judge(incident).reasons
    built.stop()


def test_degraded_is_told_once(program):
    """What degrades is put on record once, and once more when all is well again."""
    chores = Chores(program)
    program.troubles.set("prometheus", "it does not answer")
    chores.probe()
    chores.probe()
    program.troubles.set("prometheus", "")
    chores.probe()
    told = [event.data["degraded"] for event in program.audit(limit=1000) if event.kind == "engine.degraded"]
    assert told == [["prometheus"], []]


def test_throttle_after_wrong_passwords(program):
    """After five wrong passwords neither the name nor the address is asked for a while."""
    program.create_user("ann", "correct horse", Role.ADMIN)
    for _ in range(5):
        assert program.login("ann", "wrong", "192.0.2.1") is None
    with pytest.raises(Forbidden, match="too many"):
        program.login("ann", "correct horse", "192.0.2.1")


def test_admin_link_works_once(program):
    """The first link makes one admin session, once."""
    code = program.admin_link()
    assert program.redeem_link("guess") is None
    assert program.redeem_link(code).role is Role.ADMIN
    assert program.redeem_link(code) is None


def test_kill_switch_is_seen_from_file_and_database(program):
    """The file, written with the server down, and the row both hold."""
    assert program.paused() == ""
    program.data.pause("by hand")
    assert program.paused() == "by hand"
    program.data.resume()
    program.pause(ADMIN, "drill")
    program.data.resume()
    assert "drill" in program.paused()
    program.resume(ADMIN)
    assert program.paused() == ""


def test_files_are_for_their_owner_alone(program):
    """Database, keys and tokens can be read by nobody else."""
    program.session_key()
    for name in ("orchestrator.db", "admin.token", "webhook.token", "session.key"):
        assert (program.data.path / name).stat().st_mode & 0o077 == 0, name


def test_closing_is_refused_while_a_run_goes_on(program):
    """An incident whose play has an intent cannot be closed over it."""
    incident = program.start_run("restart_service", ("web1",), {"restart_service_name": "nginx"}, ADMIN)
    from orchestrator.model import Run, RunState
    from orchestrator.store.rows import INCIDENT

    running = incident.evolve(run=Run("r", RunKind.APPLY, "restart_service", RunState.RUNNING))
    table = program.store.db.tables.incident
    table.update(data=INCIDENT.dump_json(running).decode()).where(table.id == incident.id).execute()
    with pytest.raises(Conflict, match="goes on"):
        program.close_incident(incident.id, ADMIN)
