"""A memory limit raised and restored in a control group of the kernel's own, version 1 or 2, whichever this machine has."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import needs_root

_CGROUPS = Path("/sys/fs/cgroup")
_HOLD = "import sys, time; held = bytearray(int(sys.argv[1]) << 20); print('ready', flush=True); time.sleep(3600)"
_LIMIT_MB, _HELD_MB = 64, 40


def _make_group() -> tuple[Path, Path] | None:
    """Return a new control group and its file of the limit; None where this machine lets nobody make one with a limit of memory."""
    for base, name in ((_CGROUPS, "memory.max"), (_CGROUPS / "memory", "memory.limit_in_bytes")):
        group = base / f"orchestrator-{secrets.token_hex(4)}"
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / name).exists():
            return group, group / name
        group.rmdir()
    return None


@pytest.fixture
def limited(site):
    """Give the file of a control group's limit, of 64 MB, with a process in it that holds 40 MB."""
    needs_root()
    made = _make_group()
    if made is None:
        pytest.skip("needs a control group of memory: the kernel lets none be made here")
    group, limit = made
    process = None
    try:
        limit.write_text(str(_LIMIT_MB << 20))
        process = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(_HELD_MB)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),  # noqa: PLW1509 - one thread, before anything runs
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        site.variables |= {
            "recoverable_services": ["worker"],
            "memory_limits": {"worker": {"group": str(group), "max_mb": 128}},
            "raise_memory_limit_notes": str(site.folder / "notes"),
        }
        yield limit
    finally:
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
        group.rmdir()


@pytest.mark.root
def test_a_limit_of_the_kernel_is_raised_once_and_restored(site, limited):
    """The kernel's own limit rises by the step, a second run changes nothing, and the undo restores it."""
    wanted = {"raise_memory_limit_service": "worker", "raise_memory_limit_used_percent": 60, "raise_memory_limit_step_percent": 50}
    assert site.play("raise_memory_limit/verify.yml", **wanted).rc != 0
    predicted = site.play("raise_memory_limit/playbook.yml", "--check", **wanted)
    assert (predicted.rc, predicted.changed) == (0, 1), predicted.output
    assert int(limited.read_text()) == _LIMIT_MB << 20
    repaired = site.play("raise_memory_limit/playbook.yml", **wanted)
    assert (repaired.rc, repaired.changed) == (0, 3), repaired.output
    assert int(limited.read_text()) == 96 << 20
    assert site.play("raise_memory_limit/verify.yml", **wanted).rc == 0
    again = site.play("raise_memory_limit/playbook.yml", **wanted)
    assert (again.rc, again.changed) == (0, 0), again.output
    undone = site.play("raise_memory_limit/undo.yml", **wanted)
    assert undone.rc == 0, undone.output
    assert int(limited.read_text()) == _LIMIT_MB << 20
