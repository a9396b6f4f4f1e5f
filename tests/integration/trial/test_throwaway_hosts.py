"""Hosts to throw away: what happens there stays there, and nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.throwaway import Root, missing, supervised_user, throwaway_hosts

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _able() -> None:
    if reason := missing():
        pytest.skip(reason)


def on(host, *words: str) -> str:
    """Run a command on a host and return what it prints."""
    return subprocess.run([*host.prefix, *words], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("root", [Root.OVERLAY, Root.COPIES])
def test_what_is_written_on_a_host_is_not_seen_here(root):
    """A host has its own /etc, /tmp, processes, name and network; this machine keeps its own."""
    with throwaway_hosts(["web1"], root) as made:
        (host,) = made.hosts
        assert host.root is root, "this machine refuses overlayfs" if root is Root.OVERLAY else root
        on(host, "sh", "-c", "echo there > /etc/throwaway-test; echo there > /tmp/throwaway-test; echo there > /root/throwaway-test")
        assert not any(Path(place, "throwaway-test").exists() for place in ("/etc", "/tmp", "/root"))
        assert (host.changes / "etc/throwaway-test").read_text() == "there\n"
        assert on(host, "hostname").strip() == "web1"
        assert on(host, "cat", "/proc/1/comm").strip() == "sysvinit"
        assert "eth0" in on(host, "ip", "link")
        assert on(host, "ip", "route", "show", "default") == ""


def test_ssh_leads_to_the_host_and_its_known_key():
    """The key of the hosts logs in as root, to the host that has the known host key."""
    with throwaway_hosts(["one", "two"]) as made:
        for host in made.hosts:
            command = ["ssh", "-F", "/dev/null", "-i", str(made.key), "-o", f"UserKnownHostsFile={made.known_hosts}", "-o", "BatchMode=yes"]
            said = subprocess.run([*command, f"root@{host.address}", "hostname"], capture_output=True, text=True, check=False, timeout=60)
            assert said.stdout.strip() == host.name, said.stderr
        first, second = made.hosts
        assert second.address in on(first, "getent", "hosts", "two")


def test_everything_on_a_host_ends_with_it():
    """A background process, however well it hides, is gone once the host is."""
    with throwaway_hosts(["web1"]) as made:
        (host,) = made.hosts
        on(host, "setsid", "--fork", "sh", "-c", "trap '' TERM HUP; exec >/dev/null 2>&1; while :; do sleep 1; done")
        before = host.services()
        assert {command for _, command in before} >= {"sshd", "sh"}
        folder, namespace = made.folder, host.namespace
    assert not any(Path(f"/proc/{pid}").exists() for pid, _ in before)
    assert not folder.exists()
    assert namespace not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout


def test_a_host_ends_with_the_process_that_made_it(tmp_path):
    """Whoever made a host and is killed leaves no running host behind."""
    script = "import sys, time\nfrom orchestrator.throwaway import throwaway_hosts\nwith throwaway_hosts(['web1']) as made:\n    print(made.hosts[0].pid, made.hosts[0].namespace, made.folder, flush=True)\n    time.sleep(600)\n"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as owner:
        try:
            pid, namespace, folder = owner.stdout.readline().split()
            watch = os.pidfd_open(int(pid))
        finally:
            owner.send_signal(signal.SIGKILL)
    try:
        import select

        assert select.select([watch], [], [], 60)[0], "the host's process 1 lives on"
    finally:
        os.close(watch)
        subprocess.run(["ip", "netns", "del", namespace], check=True)
        subprocess.run(["ip", "link", "del", f"br{namespace[2:8]}"], check=True)
        subprocess.run(["rm", "-r", folder], check=True)


def test_a_plain_users_host_runs_programs_without_root():
    """A folder and a supervisor are a host, too; both are gone afterwards."""
    with supervised_user({"sleeper": "sleep 600"}) as host:
        said = subprocess.run([*host.supervisorctl, "status"], capture_output=True, text=True, check=False, timeout=60).stdout
        assert "sleeper" in said
    assert not host.folder.exists()
