"""Which processes belong to a run, how to end them, and whether a run's worker lives.

Ansible's own workers start sessions of their own, so a process group does not hold them: a run is found by descent
(the worker adopts orphans) and by a marker in each process' environment. Standard library only: the worker loads this.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

MARKER = "ORCHESTRATOR_RUN"
"""Environment variable that every process of a run carries; its value is the run's id."""
LOCAL_TEMP = "ANSIBLE_LOCAL_TEMP"
"""Environment variable that tells two runs of one id in different data folders apart."""
LOCK = "lock"
GRACE_S = 5.0
"""Between SIGTERM and SIGKILL."""
GIVE_UP_S = 15.0
"""When to stop trying to end what cannot be ended (a process of another user, or one stuck in the kernel)."""


def _table() -> dict[int, int]:
    """Return process → parent for everything that lives; zombies are dead."""
    table = {}
    for name in (path.name for path in Path("/proc").iterdir() if path.name.isdigit()):
        try:
            fields = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields and fields[0] not in (b"Z", b"X"):
            table[int(name)] = int(fields[1])
    return table


def descendants(*roots: int) -> set[int]:
    """Return every living process below `roots`, without the roots."""
    children: dict[int, list[int]] = {}
    for pid, parent in _table().items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    queue = list(roots)
    while queue:
        for pid in children.get(queue.pop(), ()):
            if pid not in found:
                found.add(pid)
                queue.append(pid)
    return found - set(roots)


def local_temp(folder: Path) -> Path:
    """Return the folder for Ansible's local temporary files of the run in `folder`."""
    return folder / "tmp"


def marked(run_id: str, folder: Path) -> set[int]:
    """Return every living process that carries the marker of this run."""
    wanted = {f"{MARKER}={run_id}".encode(), f"{LOCAL_TEMP}={local_temp(folder)}".encode()}
    return {pid for pid in _table() if wanted <= set(_read(pid, "environ").split(b"\0"))}


def strays(run_id: str, folder: Path) -> set[int]:
    """Return what still acts for a run whose worker is dead: its `ansible-playbook` and everything below.

    Not simply everything that is marked: a service that the play has restarted on this very machine carries the marker too.
    """
    roots = {pid for pid in marked(run_id, folder) if b"ansible-playbook" in _read(pid, "cmdline")}
    return roots | descendants(*roots) if roots else set()


def connections(worker: int) -> set[int]:
    """Return the ssh processes below a worker that hold a shared connection open for a next task.

    By descent only: ssh writes its title over its environment, marker included.
    """
    return {pid for pid in descendants(worker) if b"[mux]" in _read(pid, "cmdline")}


def _read(pid: int, name: str) -> bytes:
    try:
        return Path("/proc", str(pid), name).read_bytes()
    except OSError:
        return b""


def end(find: Callable[[], set[int]], *, grace_s: float = GRACE_S) -> set[int]:
    """End all that `find` finds, again and again until it finds nothing: SIGTERM, and SIGKILL after `grace_s`.

    Args:
        find: returns the processes to end; called repeatedly, because they may start others meanwhile.
        grace_s: seconds between the two signals.

    Returns:
        The processes that could not be ended within 15 s; normally none.
    """
    begun = time.monotonic()
    asked: set[int] = set()
    while left := find():
        age = time.monotonic() - begun
        if age > grace_s + GIVE_UP_S:
            return left
        for pid in left if age > grace_s else left - asked:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL if age > grace_s else signal.SIGTERM)
        asked |= left
        time.sleep(0.05)
    return set()


def take_lock(folder: Path) -> int:
    """Make the lock of a fresh run folder and return its descriptor, to be inherited by the worker.

    It gets its name only when it is held, so that nobody who looks sees it free, or takes it for a moment by looking.
    """
    fresh = folder / f"{LOCK}.new"
    descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fresh.rename(folder / LOCK)
    return descriptor


def lives(folder: Path) -> bool:
    """Return whether a worker holds the lock of this run's folder."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    with _closing(descriptor):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)
