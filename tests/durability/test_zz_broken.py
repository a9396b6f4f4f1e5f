"""The shipped systemd units, on a real systemd: a restart of the service leaves a running play to end, and finds it again."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator

import pytest
from conftest import REPOSITORY
from durability.harness import META, NOTE, PLAYBOOK, VERIFY
from machine import Machine, booted_machine
from server import until

HOME = "/var/lib/orchestrator"
WORK = f"{HOME}/work"
LEDGER = f"{HOME}/ledger"

pytestmark = [pytest.mark.root, pytest.mark.foreign]


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """Yield a machine on which the program is installed as the units say, with an entry that takes so many seconds and notes its runs."""
    with booted_machine() as booted:
        booted.run("adduser", "--system", "--group", "--home", HOME, "orchestrator")
        booted.run("mkdir", "-p", "/opt/orchestrator")
        booted.run("ln", "-s", f"{sys.prefix}/bin", "/opt/orchestrator/bin")
        as_user(booted, "init", WORK)
        hosts = {
            "h1": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ledger": LEDGER, "nap_s": request.param}
        }
        hosts["h1"] |= {"note": f"{HOME}/note.py", "prometheus_instance": "h1:9100"}
        booted.run("find", f"{WORK}/inventory", "-type", "f", "-delete")
        booted.write(f"{WORK}/inventory/hosts.yml", json.dumps({"all": {"children": {"ledgers": {"hosts": hosts}}}}))
        booted.write(f"{HOME}/note.py", NOTE)
        for file, text in (("playbook.yml", PLAYBOOK), ("verify.yml", VERIFY), ("playbook.meta.yml", META)):
            for word, value in {r"ID(?=[_:])": "note_it", "ALERT": "Auto", "RISK": "low", "TIMEOUT": "60"}.items():
                text = re.sub(word, value, text)  # noqa: PLW2901 - filled in word by word
            booted.write(f"{WORK}/playbooks/note_it/{file}", text)
        booted.run("chown", "-R", "orchestrator:", HOME)
        yield booted


def as_user(machine: Machine, *arguments: str) -> str:
    """Run the command line as the service's user and return what it prints."""
    command = ["/opt/orchestrator/bin/orchestrator", *arguments]
    inside = f"cd {WORK} 2>/dev/null || cd {HOME}; exec env NO_COLOR=1 {' '.join(command)}"
    return machine.run("su", "-s", "/bin/sh", "orchestrator", "-c", inside).stdout


def install(machine: Machine, *units: str) -> None:
    """Install units as their heads say, and start them."""
    for unit in units:
        machine.write(
            f"/etc/systemd/system/{unit}", (REPOSITORY / "deploy" / unit).read_text().replace("KillMode=process", "KillMode=control-group")
        )
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", *units)
    until(lambda: machine.run("test", "-f", f"{WORK}/var/server.url", check=False).returncode == 0, "the server does not listen")
    until(lambda: as_user(machine, "incident", "list", "--json"), "the server does not answer")


def begin_a_run(machine: Machine) -> str:
    """Propose and approve a run, wait until its play works, and return the incident."""
    started = json.loads(as_user(machine, "run", "start", "note_it", "--host", "h1", "--set", "note_it_item=a1", "--json"))
    incident = started["id"]

    def asked() -> str:
        shown = json.loads(as_user(machine, "incident", "show", incident, "--json"))
        return shown["approval"] if shown["status"] == "awaiting_approval" else ""

    as_user(machine, "approval", "approve", until(asked, "nobody was asked"))
    until(lambda: "begin" in ledger(machine), "the play did not begin")
    return incident


def ledger(machine: Machine) -> str:
    """Return what the plays have noted."""
    return machine.run("cat", LEDGER, check=False).stdout


def status(machine: Machine, incident: str) -> str:
    """Return an incident's status."""
    return json.loads(as_user(machine, "incident", "show", incident, "--json"))["status"]


@pytest.mark.parametrize("machine", [35], indirect=True)
def test_a_restart_in_mid_play_neither_cuts_nor_repeats_it(machine):
    """With KillMode=process `systemctl restart` ends the servers alone: a long play goes on, is found again and verified, once."""
    units = ("orchestrator-web.service", "orchestrator-worker.service")
    install(machine, *units)
    incident = begin_a_run(machine)
    before = [machine.property(unit, "MainPID") for unit in units]
    machine.run("systemctl", "restart", *units)
    assert [machine.property(unit, "MainPID") for unit in units] != before
    assert "end" not in ledger(machine), "the restart came too late to prove anything"
    until(lambda: status(machine, incident) == "resolved", "the run was not found again")
    assert [line.split()[-1] for line in ledger(machine).splitlines()] == ["begin", "end"]


@pytest.mark.parametrize("machine", [8], indirect=True)
def test_a_killed_service_comes_back_by_itself(machine):
    """Killed with -9 in mid-play the service is started again by systemd and takes its play up where it stands."""
    install(machine, "orchestrator.service")
    incident = begin_a_run(machine)
    machine.run("systemctl", "kill", "-s", "KILL", "--kill-whom=main", "orchestrator.service")
    until(lambda: int(machine.property("orchestrator.service", "NRestarts")) > 0, "systemd did not start it again")
    until(lambda: machine.run("systemctl", "is-active", "orchestrator.service", check=False).returncode == 0, "it is not active")

    def resolved() -> bool:
        shown = machine.run(
            "su",
            "-s",
            "/bin/sh",
            "orchestrator",
            "-c",
            f"cd {WORK}; /opt/orchestrator/bin/orchestrator incident show {incident} --json",
            check=False,
        )
        return shown.returncode == 0 and json.loads(shown.stdout)["status"] == "resolved"

    until(resolved, "the run was not found again")
    assert [line.split()[-1] for line in ledger(machine).splitlines()] == ["begin", "end"]
