"""The door: starts a play's worker, follows it, finds it again after a crash, and cleans up after it."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from orchestrator.errors import ExecutionError
from orchestrator.execute import folder as run_folder
from orchestrator.execute import processes, snapshot, worker
from orchestrator.execute.reading import Reading
from orchestrator.execute.result import judge
from orchestrator.execute.snapshot import Snapshot
from orchestrator.model import Entry, Host, Outcome, Run, RunEvent, RunRequest, RunState

POLL_S = 0.05
OVERDUE_S = 60.0
"""How long after its time-out a worker may still be at work ending its play, before it is taken for stuck."""
STALE_S = 3600.0
"""Age at which a half-written snapshot is nobody's any more."""

OnEvent = Callable[[RunEvent], None]


def _now() -> datetime:
    return datetime.now(UTC)


class Executor:
    """Runs plays on hosts, one worker process per run; nothing else in the program touches a host.

    Args:
        data_dir: snapshots and run folders are made in it.
        inventory_paths: inventory files, folders or scripts.
        roles: the folder of roles.
        node: the name of this machine, written to every run.
        redact: takes secrets out of a text; everything that leaves this class goes through it.
        vault_password_file: file with the vault's password, or empty.
        ssh_key_file: private key for the hosts, or empty.
        is_local: tells whether a host is this machine itself; its plays keep all temporary files in the run's folder.
        ansible_config: the owner's `ansible.cfg`; with None Ansible's defaults hold, whatever lies in `/etc` or at home.
        clock: returns the time, aware and UTC.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        inventory_paths: tuple[Path, ...],
        roles: Path,
        node: str,
        redact: Callable[[str], str],
        vault_password_file: str = "",
        ssh_key_file: str = "",
        is_local: Callable[[str], bool] = lambda _: False,
        ansible_config: Path | None = None,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        data_dir = data_dir.absolute()
        self._runs, self._snapshots = data_dir / "runs", data_dir / "snapshots"
        self._surroundings = run_folder.Surroundings(inventory_paths, vault_password_file, ssh_key_file, is_local)
        self._roles, self._config = roles, ansible_config
        self._node, self._redact, self._clock = node, redact, clock

    def snapshot(self, entry: Entry) -> Snapshot:
        """Return the content-addressed copy of an entry's folder, its roles and `ansible.cfg`, made or found again.

        Raises:
            ExecutionError: something is missing or leads outside, or the copy was tampered with.
        """
        return snapshot.take(entry, roles=self._roles, config=self._config, into=self._snapshots)

    def hosts_digest(self, hosts: Sequence[Host], key: bytes) -> str:
        """Return a keyed hash (64 hex digits) over the names and resolved variables of hosts, in any order."""
        known = sorted((host.name, json.dumps(_plain(host.variables), sort_keys=True)) for host in hosts)
        return hmac.new(key, json.dumps(known).encode(), hashlib.sha256).hexdigest()

    def run(self, request: RunRequest, on_event: OnEvent, cancelled: Callable[[], bool]) -> Run:
        """Start a play and wait for its end.

        The caller's death, or an exception from its callbacks, leaves the play running to its end; see `recover`.

        Args:
            request: the play.
            on_event: is called with each line of the stream as it comes.
            cancelled: is asked several times a second; true ends the play's whole process tree.

        Returns:
            How it ended; state `unknown` where nobody can say.

        Raises:
            ExecutionError: it was refused, and nothing was started.
        """
        run_folder.check(request, self._snapshots, self._surroundings)
        folder = self._fresh_folder(request)
        try:
            run_folder.fill(folder, request, self._surroundings)
            run_folder.make_control_path(folder)
            process = self._start(folder, request)
        except (OSError, ExecutionError) as error:
            self._remove(folder)
            raise ExecutionError(f"{request.id}: cannot be started ({error}). Mend: see the data folder's space and rights.") from error
        try:
            return self._follow(folder, request, on_event, cancelled, lambda: process.poll() is None)
        finally:
            if process.poll() is None:
                # the caller is going down with an exception: the play goes on, and somebody has to take its exit code
                threading.Thread(target=process.wait, daemon=True).start()

    def recover(self, request: RunRequest, on_event: OnEvent, cancelled: Callable[[], bool]) -> Run:
        """Find a run again after a crash of this program; never starts a play.

        Args:
            request: the play that was, or was about to be, started.
            on_event: is called with the stream from its beginning, with the same numbers as the first time.
            cancelled: as in `run`.

        Returns:
            How it ended, after waiting for it if it is still alive; state `unknown` where it was never begun, left no trace or died
            in the middle.
        """
        folder = self._runs / run_folder.name_of(request.id)
        if not (folder / worker.REQUEST).is_file():
            return self._unknown(request, "there is no trace of this run: it may never have begun")
        return self._follow(folder, request, on_event, cancelled, lambda: processes.lives(folder))

    def settle(self, run_id: str) -> None:
        """Remove the folder of a run, once what it tells is stored; nothing happens where there is none.

        Raises:
            ExecutionError: its worker is still alive.
        """
        folder = self._runs / run_folder.name_of(run_id)
        if processes.lives(folder):
            raise ExecutionError(f"{run_id}: still runs. Mend: settle it after its end.")
        self._remove(folder)

    def sweep(self, keep: Callable[[], Collection[str]]) -> None:
        """Remove what dead runs left behind, and half-written snapshots.

        Args:
            keep: tells the runs whose folder is still needed, because they are under way, or their result is not stored or not settled.
                It is asked after the folders were listed, so that what begins meanwhile is no leftover, whatever the clocks say.
        """
        folders = self._folders()
        needed = keep()
        for folder in folders:
            if run_folder.id_of(folder.name) not in needed and not processes.lives(folder):
                self._remove(folder)
        for path in self._snapshots.glob(f"{snapshot.UNDER_WAY}*"):
            with contextlib.suppress(OSError):
                if _age_s(path) > STALE_S:
                    shutil.rmtree(path)

    # ------------------------------------------------------------ inside

    def _folders(self) -> list[Path]:
        return sorted(path for path in self._runs.glob("*") if path.is_dir()) if self._runs.is_dir() else []

    def _fresh_folder(self, request: RunRequest) -> Path:
        """Make the run's folder; making it is what lets a run begin only once."""
        folder = self._runs / run_folder.name_of(request.id)
        self._runs.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.exists() and not request.kind.changing and not processes.lives(folder):
            self._remove(folder)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError as error:
            raise ExecutionError(f"{request.id}: was begun before and is not started again. Mend: recover it.") from error
        except OSError as error:
            raise ExecutionError(f"{folder}: cannot be made ({error}). Mend: see the data folder's space and rights.") from error
        return folder

    def _start(self, folder: Path, request: RunRequest) -> subprocess.Popen[bytes]:
        """Start the worker with the folder's lock in its hands: there is no moment in which it lives without."""
        lock = processes.take_lock(folder)
        log = os.open(folder / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            return subprocess.Popen(
                [sys.executable, "-m", worker.__name__, str(folder), str(lock)],
                cwd=Path(__file__).resolve().parents[2],
                env=dict(run_folder.environment(folder, request, self._surroundings)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
                start_new_session=True,
            )
        finally:
            os.close(log)
            os.close(lock)

    def _follow(
        self, folder: Path, request: RunRequest, on_event: OnEvent, cancelled: Callable[[], bool], lives: Callable[[], bool]
    ) -> Run:
        """Hand on the events of a living or ended run until there are no more, and say how it ended."""
        reading = Reading(request, self._redact, on_event)
        overdue = time.monotonic() + request.timeout_s + OVERDUE_S
        asked = False
        with (folder / worker.EVENTS).open("rb") as events:
            while lives():
                _read_on(events, reading)
                if not asked and cancelled():
                    (folder / worker.CANCEL).touch(mode=0o600)
                    asked = True
                if time.monotonic() > overdue:
                    processes.end(lambda: processes.marked(request.id, folder), grace_s=0)
                time.sleep(POLL_S)
            _read_on(events, reading)
        status = _status(folder)
        if status.get("state") != "ended":
            status["log"] = (folder / "worker.log").read_text(errors="replace")[-500:] if (folder / "worker.log").exists() else ""
            self._wait_for_strays(folder, request, cancelled)
        return judge(request, reading, status, node=self._node, now=self._clock())

    def _wait_for_strays(self, folder: Path, request: RunRequest, cancelled: Callable[[], bool]) -> None:
        """Let what a dead worker has left behind finish in its time, then end it: afterwards nothing of this run acts any more."""
        deadline = time.monotonic() + request.timeout_s
        while processes.strays(request.id, folder):
            if cancelled() or time.monotonic() > deadline:
                processes.end(lambda: processes.strays(request.id, folder))
                return
            time.sleep(0.2)

    def _unknown(self, request: RunRequest, why: str) -> Run:
        return Run(
            id=request.id,
            kind=request.kind,
            entry=request.entry,
            state=RunState.UNKNOWN,
            outcome=Outcome.UNKNOWN,
            message=why,
            ended_at=self._clock(),
            node=self._node,
        )

    def _remove(self, folder: Path) -> None:
        """Remove a run's folder; what cannot be removed now (somebody still writes in it) the next sweep finds again."""
        for path in (run_folder.control_path(folder), folder):
            with contextlib.suppress(OSError):
                shutil.rmtree(path)


def _read_on(events: IO[bytes], reading: Reading) -> None:
    """Read the events that have been added; a line that is still being written is left for the next time."""
    while line := events.readline():
        if not line.endswith(b"\n"):
            events.seek(-len(line), os.SEEK_CUR)
            return
        with contextlib.suppress(ValueError):
            reading.take(json.loads(line))


def _age_s(path: Path) -> float:
    """Return for how long nothing was added to a folder, by the file system's own clock: the process's may be off."""
    with tempfile.TemporaryFile(dir=path.parent) as now:
        return os.fstat(now.fileno()).st_mtime - path.stat().st_mtime


def _status(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / worker.STATUS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _plain(value: Any) -> Any:
    """Return `value` as JSON can hold it, the same for the same content."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else repr(value)
