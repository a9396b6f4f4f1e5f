"""The entries restart_service, host_state and service_logs on a host that real systemd manages."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
from conftest import REPOSITORY
from machine import Machine, booted_machine
from playbooks.conftest import Played
from server import until

UNIT = f"""[Service]
ExecStart={sys.executable} -m http.server 8123 --bind 127.0.0.1 --directory /srv
Restart=no
"""
HOST = {
    "ansible_connection": "local",
    "ansible_python_interpreter": sys.executable,
    "recoverable_services": ["web"],
    "service_ports": {"web": 8123},
}

pytestmark = [pytest.mark.root, pytest.mark.foreign]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Yield a machine with a service `web` that systemd manages."""
    with booted_machine() as booted:
        booted.write("/etc/systemd/system/web.service", UNIT)
        booted.write("/root/hosts.json", json.dumps({"all": {"children": {"recoverable": {"hosts": {"web1": HOST}}}}}))
        booted.run("systemctl", "daemon-reload")
        yield booted


def play(machine: Machine, playbook: str, *options: str, **parameters: object) -> Played:
    """Run a playbook on the machine, against itself."""
    machine.write("/root/extravars.json", json.dumps(parameters))
    environment = {
        "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
        "ANSIBLE_HOME": "/root/.ansible",
        "ANSIBLE_SHOW_CUSTOM_STATS": "1",
        "ANSIBLE_NOCOLOR": "1",
        "HOME": "/root",
    }
    command = ["env", *(f"{name}={value}" for name, value in environment.items()), f"{sys.prefix}/bin/ansible-playbook"]
    command += ["-i", "/root/hosts.json", "--limit", "web1", "-e", "@/root/extravars.json", *options]
    done = machine.run(*command, str(REPOSITORY / "playbooks" / playbook), check=False, timeout_s=200)
    return Played(done.returncode, done.stdout + done.stderr)


def active(machine: Machine, state: str = "active") -> bool:
    """Return whether systemd calls the service `state`."""
    return machine.property("web.service", "ActiveState") == state


def test_a_killed_unit_is_repaired_once(machine):
    """A unit whose process was killed fails verification, check mode changes nothing, the repair helps, a second one changes nothing."""
    machine.run("systemctl", "start", "web.service")
    machine.run("systemctl", "kill", "-s", "KILL", "web.service")
    until(lambda: active(machine, "failed"), "the unit has not failed")
    before = play(machine, "restart_service/verify.yml", restart_service_name="web")
    assert before.rc != 0
    assert "web is stopped (systemd)" in before.output
    predicted = play(machine, "restart_service/playbook.yml", "--check", restart_service_name="web")
    assert (predicted.rc, predicted.changed) == (0, 1), predicted.output
    assert active(machine, "failed")
    repaired = play(machine, "restart_service/playbook.yml", restart_service_name="web")
    assert (repaired.rc, repaired.changed) == (0, 1), repaired.output
    assert active(machine)
    process = machine.property("web.service", "MainPID")
    assert play(machine, "restart_service/verify.yml", restart_service_name="web").rc == 0
    again = play(machine, "restart_service/playbook.yml", restart_service_name="web")
    assert (again.rc, again.changed) == (0, 0), again.output
    assert machine.property("web.service", "MainPID") == process


def test_a_unit_that_systemd_does_not_know_is_refused(machine):
    """A service in the allow-list without a unit is named, and nothing is done."""
    hosts = {"all": {"children": {"recoverable": {"hosts": {"web1": {**HOST, "recoverable_services": ["ghost"]}}}}}}
    machine.write("/root/hosts.json", json.dumps(hosts))
    refused = play(machine, "restart_service/playbook.yml", restart_service_name="ghost")
    assert refused.rc != 0
    assert refused.changed == 0
    assert "ghost" in refused.output
    hosts["all"]["children"]["recoverable"]["hosts"]["web1"] = HOST
    machine.write("/root/hosts.json", json.dumps(hosts))


def test_the_journal_and_failed_units_are_read(machine):
    """What a unit wrote to the journal, and which units have failed, is read without a change."""
    machine.write("/etc/systemd/system/broken.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo no such host >&2; exit 3'\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "broken.service", check=False)
    machine.run("systemctl", "start", "web.service")
    state = play(machine, "host_state/playbook.yml")
    assert (state.rc, state.changed) == (0, 0), state.output
    assert state.facts["web1"]["host_state"]["failed_services"] == ["broken.service"]
    logs = play(machine, "service_logs/playbook.yml", service_logs_service="web", service_logs_lines=20)
    assert (logs.rc, logs.changed) == (0, 0), logs.output
    assert "Started" in json.dumps(logs.facts["web1"]["service_logs"])
