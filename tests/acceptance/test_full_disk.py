"""A file system runs full: old logs go after a yes, and where nothing is listed nothing goes."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import pytest
from conftest import needs_program, needs_root
from farm import Watch, applied, incident_of, kinds, local_host, short_folder, write_inventory
from server import Server
from services import NodeExporter, until

pytestmark = [pytest.mark.root, pytest.mark.foreign, pytest.mark.timeout(600)]

SIZE_KB = 16 * 1024
LONG_AGO_S = 3 * 24 * 3600.0


def rule(mountpoint, instance):
    """Return the rule that a file system is more than 85 % full."""
    used = f'node_filesystem_avail_bytes{{mountpoint="{mountpoint}"}} / node_filesystem_size_bytes{{mountpoint="{mountpoint}"}} < 0.15'
    return {
        "alert": "HostOutOfDiskSpace",
        "expr": used,
        "for": "1s",
        "labels": {"severity": "warning", "instance": instance},
        "annotations": {"summary": "{{ $labels.mountpoint }} is full"},
    }


@contextmanager
def small_disk(folder):
    """Mount a small file system of the test's own; skip by name where this machine does not allow it."""
    mount, umount = needs_program("mount"), needs_program("umount")
    folder.mkdir()
    done = subprocess.run([mount, "-t", "tmpfs", "-o", f"size={SIZE_KB}k", "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs the right to mount a file system: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run([umount, "--lazy", str(folder)], check=True)


def fill(path, kilobytes):
    """Write a file of this size, as old as a rotated log."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(os.urandom(1024) * kilobytes)
    then = time.time() - LONG_AGO_S
    os.utime(path, (then, then))
    return path


@pytest.fixture(scope="module")
def site():
    """Run two machines with a full file system each; only the first lists what may be deleted."""
    needs_root()
    with ExitStack() as stack:
        folder = stack.enter_context(short_folder("disk-"))
        listed, unlisted = (stack.enter_context(small_disk(folder / name)) for name in ("listed", "unlisted"))
        exporter = stack.enter_context(NodeExporter(folder)).start()
        watch = stack.enter_context(Watch(folder))
        scrape = {"job_name": "node", "static_configs": [{"targets": [exporter.address]}]}
        watch.start({}, [rule(listed, "disk1:9100"), rule(unlisted, "disk2:9100")], [scrape])
        hosts = {
            "disk1": local_host(
                prometheus_instance="disk1:9100",
                recoverable_paths=[str(listed)],
                clear_disk_space_folders=[{"path": str(listed / "logs"), "patterns": ["*.gz"]}],
            ),
            "disk2": local_host(prometheus_instance="disk2:9100", recoverable_paths=[str(unlisted)]),
        }
        inventory = write_inventory(folder / "hosts.yml", hosts)
        more = {"ORCHESTRATOR_POLICY__MODE": "approve", "ORCHESTRATOR_CONTEXT__FROM_HOSTS": "false"}
        server = Server(folder, {**watch.settings, **more, "ORCHESTRATOR_INVENTORY__PATHS": str(inventory)})
        stack.enter_context(server)
        watch.connect(server)
        watch.sees(f'node_filesystem_size_bytes{{mountpoint="{unlisted}"}}')
        yield SimpleNamespace(server=server, listed=listed, unlisted=unlisted)


def test_old_logs_go_after_a_yes_and_nothing_else(site):
    """The card names the files that would go; after the yes they are gone, the young and the unlisted are there, and the alert ends."""
    big = fill(site.listed / "logs" / "shop.log.1.gz", 10 * 1024)
    data = fill(site.listed / "data" / "orders.db", 4 * 1024)
    young = fill(site.listed / "logs" / "shop.log.2.gz", 512)
    os.utime(young)
    identity = incident_of(site.server, "HostOutOfDiskSpace", "disk1:9100")
    site.server.reaches(identity, "awaiting_approval", patience_s=180)
    (item,) = [one for one in site.server.json("approval", "list")["items"] if one["incident"] == identity]
    card = site.server.command("approval", "show", item["id"]).stdout
    assert "shop.log.1.gz" in card
    assert "orders.db" not in card
    assert big.exists(), "the check run changes nothing"
    site.server.command("approval", "approve", item["id"])
    incident = site.server.reaches(identity, "resolved", "escalated", patience_s=240)
    assert (incident["status"], incident["reason"]) == ("resolved", "verified"), incident["detail"]
    assert [path.exists() for path in (big, data, young)] == [False, True, True]
    assert "shop.log.1.gz" in site.server.record(identity, "clear_disk_space")


def test_a_disk_full_of_files_that_nobody_listed_stays_as_it_is(site):
    """Where the host declares nothing to delete, nothing is deleted, even after a yes, and a person is told why."""
    data = fill(site.unlisted / "data" / "orders.db", 15 * 1024)
    identity = incident_of(site.server, "HostOutOfDiskSpace", "disk2:9100")
    site.server.reaches(identity, "awaiting_approval", patience_s=180)
    (item,) = [one for one in site.server.json("approval", "list")["items"] if one["incident"] == identity]
    card = site.server.command("approval", "show", item["id"]).stdout
    assert "nothing may be deleted there" in card
    site.server.command("approval", "approve", item["id"])
    incident = site.server.reaches(identity, "resolved", "escalated", patience_s=240)
    assert (incident["status"], incident["reason"]) == ("escalated", "run_failed")
    assert "nothing may be deleted there" in incident["detail"]
    assert [run["hosts"]["disk2"]["changed"] for run in applied(site.server, identity)] == [0]
    assert data.stat().st_size == 15 * 1024 * 1024
    assert "incident.escalated" in kinds(site.server, identity)
    assert until(data.exists, what="the file is there")
