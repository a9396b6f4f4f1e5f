"""Plays over ssh, to a server of the test's own on loopback."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import needs_program

from orchestrator.execute import Executor, folder, processes
from orchestrator.model import Outcome, RunState

pytestmark = pytest.mark.foreign


@pytest.fixture
def server(tmp_path: Path, free_port: int):
    """Start an ssh server for this user and return its port; its key and the user's are in `tmp_path`."""
    program, keygen = needs_program("sshd"), needs_program("ssh-keygen")
    needs_program("ssh")
    for name in ("host_key", "user_key"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    (tmp_path / "authorized").write_text((tmp_path / "user_key.pub").read_text())
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{free_port} {(tmp_path / 'host_key.pub').read_text()}")
    (tmp_path / "no_hosts").write_text("")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    options = {
        "ListenAddress": "127.0.0.1",
        "Port": str(free_port),
        "HostKey": str(tmp_path / "host_key"),
        "AuthorizedKeysFile": str(tmp_path / "authorized"),
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "yes",
    }
    (tmp_path / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    with (tmp_path / "sshd.log").open("wb") as log:
        process = subprocess.Popen([program, "-D", "-e", "-f", str(tmp_path / "sshd_config")], stderr=log)
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", free_port), 1).close()
            break
        except OSError:
            assert process.poll() is None, (tmp_path / "sshd.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield free_port
    process.terminate()
    process.wait()


def over_ssh(site, port: int, known: str) -> None:
    """Let the host web1 be the ssh server, and the executor use the test's key."""
    (site.root / "inventory.yml").write_text(
        f"""all:
  hosts:
    web1:
      ansible_host: 127.0.0.1
      ansible_port: {port}
      ansible_user: {getpass.getuser()}
      ansible_python_interpreter: {sys.executable}
      ansible_ssh_common_args: -o UserKnownHostsFile={site.root}/{known} -o GlobalKnownHostsFile=/dev/null -o IdentitiesOnly=yes
"""
    )
    site.executor = Executor(
        data_dir=site.root / "data",
        inventory_paths=(site.root / "inventory.yml",),
        roles=site.root / "roles",
        node="here",
        redact=str,
        ssh_key_file=str(site.root / "user_key"),
    )


def connections(site) -> list[bytes]:
    """Return the command lines of living processes that name the run's folder of ssh sockets."""
    place = str(folder.control_path(site.folders / "inc1+1+apply+1")).encode()
    lines = [processes._read(pid, "cmdline") for pid in processes._table()]
    return [line for line in lines if place in line]


def test_a_play_over_ssh_uses_our_key_and_leaves_no_connection(site, server):
    """The key of the settings opens the host; when the run is over, no shared connection of it waits for more."""
    over_ssh(site, server, "known_hosts")
    run = site.run("- name: Ping\n  ansible.builtin.ping:\n- name: Again\n  ansible.builtin.ping:")
    assert run.outcome is Outcome.SUCCESSFUL, run.message
    assert connections(site) == []


def test_a_host_with_an_unknown_key_is_unreachable(site, server):
    """Host key checking stays on: somebody who answers in a host's place gets nothing."""
    over_ssh(site, server, "no_hosts")
    run = site.run("- name: Ping\n  ansible.builtin.ping:")
    assert run.outcome is Outcome.UNREACHABLE
    assert "Host key verification failed" in run.message


def test_a_time_out_over_ssh_ends_all_that_runs_here(site, server):
    """Ansible, its workers and their ssh are gone at the time-out."""
    over_ssh(site, server, "known_hosts")
    run = site.run("- name: Hang\n  ansible.builtin.command: {argv: [timeout, '60', sleep, '3305']}", timeout_s=8.0)
    assert (run.state, run.outcome) == (RunState.DONE, Outcome.TIMEOUT)
    assert site.marked() == set()
    assert connections(site) == []
