"""A hung process is named by pid, start and command line together: a pid used anew is never hit."""

from __future__ import annotations

import hashlib
import subprocess
import time
from pathlib import Path

import pytest

_STARTED = 19
"""Field 22 of `/proc/PID/stat`, counted from the state on."""


@pytest.fixture
def nightly(site):
    """Give a process that waits for what never comes; its name is the script's."""
    script, fifo = site.folder / "nightly", site.folder / "fifo"
    subprocess.run(["mkfifo", str(fifo)], check=True)
    script.write_text(f"#!/bin/dash\nread never < {fifo}\n")
    script.chmod(0o755)
    process = subprocess.Popen([str(script)], stdin=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while Path(f"/proc/{process.pid}/comm").read_text() != "nightly\n":
        assert time.monotonic() < end, "the job does not run"
        time.sleep(0.05)
    site.variables["recoverable_processes"] = ["nightly"]
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_hung_process_is_ended_only_by_its_full_name(site, nightly):
    """With another start or command line the pid names another process, which is left alone; named in full, it is ended."""
    started = int(Path(f"/proc/{nightly.pid}/stat").read_text().rpartition(")")[2].split()[_STARTED])
    digest = hashlib.sha256(Path(f"/proc/{nightly.pid}/cmdline").read_bytes()).hexdigest()
    wanted = {"stop_hung_process_name": "nightly", "stop_hung_process_age_s": 0, "stop_hung_process_pid": nightly.pid}
    for other in ({"started": started + 1, "digest": digest}, {"started": started, "digest": "0" * 64}):
        left = site.play("stop_hung_process/playbook.yml", **wanted, **{f"stop_hung_process_{key}": value for key, value in other.items()})
        assert (left.rc, left.changed) == (0, 0), left.output
        assert nightly.poll() is None
    ended = site.play("stop_hung_process/playbook.yml", **wanted, stop_hung_process_started=started, stop_hung_process_digest=digest)
    assert (ended.rc, ended.changed) == (0, 1), ended.output
    nightly.wait(30)
