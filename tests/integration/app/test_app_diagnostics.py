"""An entry's own diagnostics run before a decision is made."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from orchestrator.app import build
from orchestrator.settings import load
from orchestrator.shipped import folder

INVENTORY = """
all:
  children:
    recoverable:
      hosts:
        web1:
          ansible_connection: local
          ansible_python_interpreter: {python}
          prometheus_instance: 'web1:9100'
          recoverable_services: [nginx]
"""


def copy_entry(playbooks, source: str, name: str) -> None:
    """Make a second entry of a shipped one: its own name, the same role."""
    target = playbooks / name
    shutil.copytree(playbooks / source, target)
    shutil.rmtree(target / "tests", ignore_errors=True)
    for file in target.glob("*.yml"):
        text = file.read_text().replace(source, name)
        file.write_text(text.replace(f"role: {name}", f"role: {source}"))


@pytest.fixture
def program(tmp_path):
    """An orchestrator whose entry restart_service asks for a diagnostic of the team's own."""
    playbooks = shutil.copytree(folder("playbooks"), tmp_path / "playbooks")
    shutil.copytree(folder("roles"), tmp_path / "roles")
    copy_entry(playbooks, "host_state", "second_look")
    meta = playbooks / "restart_service" / "playbook.meta.yml"
    meta.write_text(meta.read_text().replace("diagnostics: [host_state", "diagnostics: [second_look, host_state"))
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(INVENTORY.replace("{python}", sys.executable))
    built = build(
        load(
            None,
            {
                "ORCHESTRATOR_DATA_DIR": str(tmp_path / "var"),
                "ORCHESTRATOR_INVENTORY__PATHS": str(inventory),
                "ORCHESTRATOR_CATALOGUE__PATH": str(playbooks),
                "ORCHESTRATOR_CATALOGUE__ROLES": str(tmp_path / "roles"),
                "ORCHESTRATOR_CONTEXT__DEADLINE_S": "120",
                "ORCHESTRATOR_DECISION__ENGINE": "matchers",
            },
        )
    )
    yield built
    built.stop()


def test_named_diagnostic_becomes_evidence(program):
    """A diagnostic that a fitting entry names is run as `diagnose`, and what it says stands beside the other evidence."""
    labels = {"alertname": "ServiceDown", "instance": "web1:9100", "service": "nginx"}
    alert = {"status": "firing", "labels": labels, "annotations": {}, "startsAt": "2026-01-01T00:00:00Z"}
    (line,) = program.receive(json.dumps({"version": "4", "alerts": [alert]}).encode()).incidents
    incident = program.incident(line["id"])
    context = program.wiring.gather(incident, program.wiring.hosts(incident))
    assert not program.catalogue().broken
    assert not context.missing
    (piece,) = [piece for piece in context.evidence if piece.source == "diagnosis"]
    assert piece.title == "Second look on web1"
    assert "memory" in piece.text
    runs, _ = program.runs(incident=incident.id)
    kinds = {run.entry: run.kind for run in runs}
    assert kinds["second_look"] == "diagnose"
    assert kinds["host_state"] == "context"
    assert sum(run.entry == "host_state" for run in runs) == 1


def test_an_incident_is_no_part_of_its_own_past(program):
    """Earlier incidents are evidence; the one that is being decided is not among them."""
    alert = {"status": "firing", "labels": {"alertname": "ServiceDown", "instance": "nowhere:1"}, "startsAt": "2026-01-01T00:00:00Z"}
    (line,) = program.receive(json.dumps({"version": "4", "alerts": [alert]}).encode()).incidents
    context = program.wiring.gather(program.incident(line["id"]), ())
    (past,) = [piece for piece in context.evidence if piece.source == "hist"]
    assert past.text == "None."
