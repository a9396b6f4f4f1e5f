"""The other remediations, each run for real: broken, checked, repaired, run again, verified, undone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import needs_program, needs_root

# ---------------------------------------------------------------- clear_disk_space


@pytest.fixture
def volume(site):
    """Give a file system of one's own, 90 % full: two old archives that may go, and files that may not."""
    needs_root()
    needs_program("mount")
    place = site.folder / "volume"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", str(place)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {made.stderr.strip()}")
    try:
        logs = place / "logs"
        logs.mkdir()
        for name, size, days in (("a.gz", 4, 3), ("b.gz", 1, 9), ("new.gz", 2, 0), ("app.log", 2, 9)):
            (logs / name).write_bytes(bytes(size << 20))
            then = time.time() - days * 86_400
            os.utime(logs / name, (then, then))
        (logs / "linked.gz").symlink_to(logs / "app.log")
        site.variables |= {
            "recoverable_paths": [str(place)],
            "clear_disk_space_folders": [{"path": str(logs), "patterns": ["*.gz"], "age": "1d"}],
        }
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.root
def test_old_files_are_deleted_until_there_is_room(site, volume):
    """Only old, listed files go, no more than needed; check mode predicts it; a second run changes nothing."""
    wanted = {"clear_disk_space_path": str(volume), "clear_disk_space_percent": 60}
    assert site.play("clear_disk_space/verify.yml", **wanted).rc != 0
    predicted = site.play("clear_disk_space/playbook.yml", "--check", **wanted)
    assert (predicted.rc, predicted.changed) == (0, 1), predicted.output
    assert (volume / "logs/a.gz").exists()
    repaired = site.play("clear_disk_space/playbook.yml", **wanted)
    assert (repaired.rc, repaired.changed) == (0, 1), repaired.output
    assert {file.name for file in (volume / "logs").iterdir()} == {"b.gz", "new.gz", "app.log", "linked.gz"}
    assert site.play("clear_disk_space/verify.yml", **wanted).rc == 0
    again = site.play("clear_disk_space/playbook.yml", **wanted)
    assert (again.rc, again.changed) == (0, 0), again.output


@pytest.mark.root
def test_nothing_is_deleted_where_it_would_not_help(site, volume):
    """Where all that is listed would not free enough, nothing is lost for nothing."""
    refused = site.play("clear_disk_space/playbook.yml", clear_disk_space_path=str(volume), clear_disk_space_percent=20)
    assert refused.rc != 0
    assert "Nothing deleted" in refused.output
    assert len(list((volume / "logs").iterdir())) == 5


def test_a_folder_over_a_symbolic_link_is_refused(site):
    """A listed folder that was exchanged for a link leads nowhere."""
    outside, inside = site.folder / "outside", site.folder / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "a.gz").write_bytes(bytes(4096))
    os.utime(outside / "a.gz", (1, 1))
    (inside / "logs").symlink_to(outside)
    site.variables |= {"recoverable_paths": [str(inside)], "clear_disk_space_folders": [{"path": str(inside / "logs")}]}
    refused = site.play("clear_disk_space/playbook.yml", clear_disk_space_path=str(inside), clear_disk_space_percent=1)
    assert refused.rc != 0
    assert "is refused" in refused.output
    assert (outside / "a.gz").exists()


# ---------------------------------------------------------------- kill_runaway_process


BUSY_PERCENT = 2
"""Low: on a busy machine a process that wants a whole core gets a small share of it."""


@pytest.fixture
def burner(site):
    """Give a process that uses a core and hears no TERM; its name is the script's."""
    script = site.folder / "burner"
    script.write_text("#!/bin/sh\ntrap '' TERM\nwhile :; do :; done\n")
    script.chmod(0o755)
    process = subprocess.Popen([str(script)], stdin=subprocess.DEVNULL)
    site.variables |= {"recoverable_processes": ["burner"], "kill_runaway_process_grace_s": 2}
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_runaway_process_is_ended_once(site, burner):
    """The busy process is ended, with KILL where TERM is not heard; check mode predicts it; then nothing is left to do."""
    wanted = {"kill_runaway_process_name": "burner", "kill_runaway_process_cpu_percent": BUSY_PERCENT}
    assert site.play("kill_runaway_process/verify.yml", **wanted).rc != 0
    predicted = site.play("kill_runaway_process/playbook.yml", "--check", **wanted)
    assert (predicted.rc, predicted.changed) == (0, 1), predicted.output
    assert burner.poll() is None
    repaired = site.play("kill_runaway_process/playbook.yml", **wanted)
    assert (repaired.rc, repaired.changed) == (0, 2), repaired.output
    assert burner.wait(30) == -signal.SIGKILL
    assert site.play("kill_runaway_process/verify.yml", **wanted).rc == 0
    again = site.play("kill_runaway_process/playbook.yml", **wanted)
    assert (again.rc, again.changed) == (0, 0), again.output


def test_a_pid_used_anew_is_not_hit(site, burner):
    """A pid with another start or command line names another process, and a pid alone names none."""
    wanted = {
        "kill_runaway_process_name": "burner",
        "kill_runaway_process_cpu_percent": BUSY_PERCENT,
        "kill_runaway_process_pid": burner.pid,
    }
    alone = site.play("kill_runaway_process/playbook.yml", **wanted)
    assert alone.rc != 0
    other = site.play("kill_runaway_process/playbook.yml", **wanted, kill_runaway_process_started=1, kill_runaway_process_digest="0" * 64)
    assert (other.rc, other.changed) == (0, 0), other.output
    assert burner.poll() is None


# ---------------------------------------------------------------- rollback_release


def test_a_release_is_rolled_back_once_and_undone(web):
    """The link goes back by one release and the service restarts; a second run goes no further; the undo restores what was there."""
    releases = web.folder / "releases"
    for name in ("20260101", "20260201", "20260301"):
        (releases / name).mkdir(parents=True)
    current = web.folder / "current"
    current.symlink_to(releases / "20260301")
    layout = {"current": str(current), "releases": str(releases), "service": "web"}
    web.variables |= {"recoverable_releases": ["shop"], "release_layouts": {"shop": layout}}
    wanted = {"rollback_release_application": "shop"}
    assert web.play("rollback_release/verify.yml", **wanted).rc != 0
    pid = web.pid("web")
    predicted = web.play("rollback_release/playbook.yml", "--check", **wanted)
    assert predicted.rc == 0, predicted.output
    assert predicted.changed == 3
    assert current.readlink().name == "20260301"
    repaired = web.play("rollback_release/playbook.yml", **wanted)
    assert (repaired.rc, repaired.changed) == (0, 3), repaired.output
    assert current.readlink().name == "20260201"
    assert web.pid("web") != pid
    assert web.play("rollback_release/verify.yml", **wanted).rc == 0
    again = web.play("rollback_release/playbook.yml", **wanted)
    assert (again.rc, again.changed) == (0, 0), again.output
    undone = web.play("rollback_release/undo.yml", **wanted)
    assert undone.rc == 0, undone.output
    assert current.readlink().name == "20260301"
    assert not (web.folder / ".rollback.json").exists()


def test_the_oldest_release_has_none_before_it(site):
    """Where there is no release before, the play says which there are and changes nothing."""
    (site.folder / "releases" / "1").mkdir(parents=True)
    current = site.folder / "current"
    current.symlink_to(site.folder / "releases" / "1")
    layout = {"current": str(current), "releases": str(site.folder / "releases")}
    site.variables |= {"recoverable_releases": ["shop"], "release_layouts": {"shop": layout}}
    refused = site.play("rollback_release/playbook.yml", rollback_release_application="shop")
    assert refused.rc != 0
    assert "has no release before it" in refused.output
    assert current.readlink().name == "1"


# ---------------------------------------------------------------- scale_out


def test_workers_are_started_up_to_a_number_and_undone(site):
    """So many workers run as are asked for, a second run changes nothing, and the undo stops just those that were started."""
    sleeper = f"command={sys.executable} -c 'import time; time.sleep(3600)'\nautostart=false"
    site.supervise(worker=f"{sleeper}\nnumprocs=4\nprocess_name=%(program_name)s_%(process_num)02d")
    site.variables["recoverable_services"] = ["worker"]
    site.steer("start", "worker:worker_02")

    def running():
        return {line.split()[0] for line in site.steer("status").splitlines() if " RUNNING " in line}

    wanted = {"scale_out_service": "worker", "scale_out_workers": 3}
    assert site.play("scale_out/verify.yml", **wanted).rc != 0
    predicted = site.play("scale_out/playbook.yml", "--check", **wanted)
    assert predicted.rc == 0, predicted.output
    assert predicted.changed > 0
    assert running() == {"worker:worker_02"}
    repaired = site.play("scale_out/playbook.yml", **wanted)
    assert repaired.rc == 0, repaired.output
    assert running() == {"worker:worker_00", "worker:worker_01", "worker:worker_02"}
    assert site.play("scale_out/verify.yml", **wanted).rc == 0
    again = site.play("scale_out/playbook.yml", **wanted)
    assert (again.rc, again.changed) == (0, 0), again.output
    refused = site.play("scale_out/playbook.yml", scale_out_service="worker", scale_out_workers=5)
    assert refused.rc != 0
    assert "declares 4 workers" in refused.output
    undone = site.play("scale_out/undo.yml", **wanted)
    assert undone.rc == 0, undone.output
    assert running() == {"worker:worker_02"}


# ---------------------------------------------------------------- renew_tls_certificate


def test_a_certificate_that_ends_soon_is_renewed_and_served(site, free_port):
    """The certificate is signed anew, its server restarts and serves it, no key or certificate is shown, and a second run changes nothing."""
    openssl = needs_program("openssl")
    path, key = site.folder / "cert.pem", site.folder / "key.pem"
    made = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(path), "-days", "3"]
    subprocess.run([*made, "-subj", "/CN=shop", "-addext", "subjectAltName=DNS:shop.example.com"], check=True, capture_output=True)
    old = path.read_text()
    site.supervise(tls=f"command={openssl} s_server -accept 127.0.0.1:{free_port} -cert {path} -key {key} -quiet")
    site.pid("tls")
    declared = {"path": str(path), "key": str(key), "port": free_port, "reload_argv": [*site.supervisorctl, "restart", "tls"]}
    site.variables |= {"recoverable_certificates": ["shop"], "tls_certificates": {"shop": declared}}
    wanted = {"renew_tls_certificate_name": "shop"}
    assert site.play("renew_tls_certificate/verify.yml", **wanted).rc != 0
    predicted = site.play("renew_tls_certificate/playbook.yml", "--check", **wanted)
    assert (predicted.rc, predicted.changed) == (0, 1), predicted.output
    assert path.read_text() == old
    repaired = site.play("renew_tls_certificate/playbook.yml", "--diff", **wanted)
    assert (repaired.rc, repaired.changed) == (0, 2), repaired.output
    assert "PRIVATE KEY" not in repaired.output
    assert old.splitlines()[3] not in repaired.output
    told = subprocess.run(
        [openssl, "x509", "-in", str(path), "-noout", "-ext", "subjectAltName"], capture_output=True, text=True, check=True
    )
    assert "shop.example.com" in told.stdout
    assert site.play("renew_tls_certificate/verify.yml", **wanted).rc == 0
    again = site.play("renew_tls_certificate/playbook.yml", **wanted)
    assert (again.rc, again.changed) == (0, 0), again.output
