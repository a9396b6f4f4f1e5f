"""A question that waits for an answer, made once and copied for each test: a data folder with one pending approval."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from services import until

from orchestrator.app import Orchestrator, build
from orchestrator.model import Role
from orchestrator.settings import Settings, load
from orchestrator.shipped import folder

INVENTORY = """
all:
  children:
    recoverable:
      hosts:
        web1: {ansible_connection: local, prometheus_instance: 'web1:9100', recoverable_services: [nginx]}
"""
LABELS = {"alertname": "ServiceDown", "instance": "web1:9100", "service": "nginx", "severity": "critical"}


def settings_in(place: Path, **more: Any) -> Settings:
    """Return settings over the data folder in `place`; `more` are further environment variables without their prefix."""
    base = {
        "DATA_DIR": str(place / "var"),
        "INVENTORY__PATHS": str(place / "hosts.yml"),
        "CATALOGUE__PATH": str(folder("playbooks")),
        "CATALOGUE__ROLES": str(folder("roles")),
        "DECISION__ENGINE": "matchers",
        "WORKER__LEASE_S": "300",
        "CONTEXT__FROM_HOSTS": "false",
        "LOGS__FROM_HOSTS": "false",
        **more,
    }
    return load(None, {f"ORCHESTRATOR_{name}": value for name, value in base.items()})


def ask(place: Path, **more: Any) -> str:
    """Let an alert in `place` come as far as the question to a person; return the approval's id."""
    (place / "hosts.yml").write_text(INVENTORY)
    program = build(settings_in(place, **more))
    try:
        program.create_user("olga", "correct horse", Role.APPROVER, ("oncall",))
        program.create_user("mia", "correct horse", Role.APPROVER, ("oncall",))
        program.create_user("vic", "correct horse", Role.VIEWER)
        identity = receive(program)
        return str(until(lambda: _carried(program, identity), what="the question is asked"))
    finally:
        program.stop()


def _carried(program: Orchestrator, identity: str) -> str:
    """Carry an incident as far as it goes now; return its approval, if it has come that far."""
    program.engine.work(identity)
    return program.incident(identity).approval


def receive(program: Orchestrator, **labels: str) -> str:
    """Deliver an alert; return its incident."""
    alert = {"status": "firing", "labels": {**LABELS, **labels}, "annotations": {}, "startsAt": "2026-01-01T00:00:00Z"}
    return str(program.receive(json.dumps({"version": "4", "alerts": [alert]}).encode()).incidents[0]["id"])


def copy(source: Path, target: Path) -> Path:
    """Return `target`, a copy of a prepared place."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    return target
