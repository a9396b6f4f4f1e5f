"""The entries vacuum_journal and restart_leaking_service on a host that real systemd manages."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
from machine import Machine, booted_machine
from playbooks.test_play_systemd import play
from server import until

WORKER = f"""[Service]
ExecStart={sys.executable} -c "import os, time; held = bytearray(96 << 20) if os.path.exists('/run/leak') else b''; time.sleep(3600)"
"""
HOST = {
    "ansible_connection": "local",
    "ansible_python_interpreter": sys.executable,
    "recoverable_services": ["leaking-worker"],
    "service_memory_max_mb": {"leaking-worker": 64},
}
JOURNAL = "/var/log/journal"
UNITS = ("systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald.service")
LINES = "import base64, os; [print(base64.b64encode(os.urandom(3000)).decode()) for _ in range(4000)]"
"""Prints 16 MB, which hardly compress."""

pytestmark = [pytest.mark.root, pytest.mark.foreign]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Yield a machine with a journal on disk and a unit `leaking-worker`."""
    with booted_machine() as booted:
        booted.write("/root/hosts.json", json.dumps({"all": {"children": {"recoverable": {"hosts": {"web1": HOST}}}}}))
        booted.write("/etc/systemd/system/leaking-worker.service", WORKER)
        booted.run("systemctl", "daemon-reload")
        yield booted


def archived(machine: Machine) -> list[str]:
    """Return the archived files of the journal."""
    return machine.run("find", JOURNAL, "-name", "*@*.journal").stdout.split()


def memory_mb(machine: Machine) -> int:
    """Return how much memory the unit's process holds."""
    pid = machine.property("leaking-worker.service", "MainPID")
    return int(machine.run("ps", "-o", "rss=", "-p", pid, check=False).stdout or 0) // 1024


def test_a_unit_that_leaks_is_restarted_once(machine):
    """A unit over its bound is restarted through systemd and is small afterwards; a second run leaves its process alone."""
    machine.run("touch", "/run/leak")
    machine.run("systemctl", "start", "leaking-worker.service")
    until(lambda: memory_mb(machine) > 64, "the unit does not leak")
    machine.run("rm", "/run/leak")
    wanted = {"restart_leaking_service_name": "leaking-worker"}
    assert play(machine, "restart_leaking_service/verify.yml", **wanted).rc != 0
    repaired = play(machine, "restart_leaking_service/playbook.yml", **wanted)
    assert (repaired.rc, repaired.changed) == (0, 1), repaired.output
    assert memory_mb(machine) < 64
    process = machine.property("leaking-worker.service", "MainPID")
    again = play(machine, "restart_leaking_service/playbook.yml", **wanted)
    assert (again.rc, again.changed) == (0, 0), again.output
    assert machine.property("leaking-worker.service", "MainPID") == process


def test_the_journal_is_vacuumed_while_journald_writes_to_it(machine):
    """Old archived files go, what journald writes to stays, and the journal can be read afterwards."""
    machine.run("mkdir", "-p", JOURNAL)
    machine.run("systemctl", "restart", "systemd-journald.service")
    machine.run("journalctl", "--flush")
    for _ in range(3):
        machine.run("systemd-cat", "--identifier=throwaway", sys.executable, "-c", LINES)
        machine.run("journalctl", "--sync")
        machine.run("journalctl", "--rotate")
    # Stopped, because it closes archived files in its own time and would make them young again.
    machine.run("systemctl", "stop", *UNITS)
    old = archived(machine)
    assert len(old) >= 3
    machine.run("touch", "--date=2024-01-01", *old)
    machine.run("systemctl", "start", *UNITS)
    wanted = {"vacuum_journal_max_mb": 20}
    refused = play(machine, "vacuum_journal/playbook.yml", **wanted, vacuum_journal_keep_days=3650)
    assert refused.rc != 0
    assert "Nothing removed" in refused.output
    assert set(old) <= set(archived(machine))
    repaired = play(machine, "vacuum_journal/playbook.yml", **wanted)
    assert (repaired.rc, repaired.changed) == (0, 1), repaired.output
    assert len(set(old) & set(archived(machine))) < len(old)
    assert play(machine, "vacuum_journal/verify.yml", **wanted).rc == 0
    machine.run("systemd-cat", "--identifier=afterwards", "echo", "still here")
    until(
        lambda: "still here" in machine.run("journalctl", "--identifier=afterwards", "--output=cat", check=False).stdout, "journald is gone"
    )
