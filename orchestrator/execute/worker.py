"""The program that runs one play: `python -m orchestrator.execute.worker <run folder> <lock descriptor>`.

It lives in a session of its own, holds the lock of its folder for as long as it lives, takes in the orphans of Ansible, and
writes what happens to its own files, so that the play goes on to its end and its result is kept when whoever started it dies.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from orchestrator.execute import processes

REQUEST = "request.json"
STATUS = "status.json"
EVENTS = "events.jsonl"
CANCEL = "cancel"
LATE = "late"
POLL_S = 0.2
PR_SET_CHILD_SUBREAPER = 36
EVENT_DATA = ("play", "name", "task", "host", "res", "ignore_errors", "ok", "changed", "failures", "dark", "skipped", "processed", "diff")
"""What of an event is kept for the reader."""


def boot_clock() -> float:
    """Return the seconds since boot, sleep included: a machine that was suspended must not take a play's time for unspent."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` so that a reader sees the old file or the new one, never a part."""
    fresh = path.with_name(path.name + ".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123 - a mode is given
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


class Watch(threading.Thread):
    """Ends the whole process tree of the run when its time is over or somebody asks for it.

    Args:
        run_id: the run.
        folder: its folder; a file `cancel` in it asks for the end.
        timeout_s: how long the play may take, from now.
    """

    def __init__(self, run_id: str, folder: Path, timeout_s: float) -> None:
        super().__init__(daemon=True)
        self._run_id, self._folder = run_id, folder
        self._deadline = boot_clock() + timeout_s
        self._over = threading.Event()
        self._killed = threading.Event()
        self.ended_by = ""
        """`timeout`, `cancelled`, or empty where the play ended by itself."""
        self.left: set[int] = set()
        """Processes that could not be ended."""

    def run(self) -> None:
        """Watch until the play is over."""
        while not self._over.wait(POLL_S):
            if (self._folder / CANCEL).exists():
                self.ended_by = "cancelled"
            elif boot_clock() > self._deadline:
                self.ended_by = "timeout"
            if self.ended_by:
                self.end_tree()
                self._killed.set()
                return

    def end_tree(self) -> None:
        """End every process of this run but the worker itself."""
        me = os.getpid()
        self.left = processes.end(lambda: (processes.descendants(me) | processes.marked(self._run_id, self._folder)) - {me})

    def killed(self) -> bool:
        """Return whether the tree has been ended; ansible-runner asks this to know that it can stop waiting."""
        return self._killed.is_set()

    def close(self) -> None:
        """Stop watching, after the killing where that has begun."""
        self._over.set()
        self.join()


class Keeper:
    """Appends the play's events to a file; what cannot be written is missing there and makes the outcome unknown.

    Args:
        file: an open text file.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.lost = 0
        """How many events could not be kept."""

    def __call__(self, event: Mapping[str, Any]) -> bool:
        """Keep one event; never raises, because that would end the play without a status."""
        try:
            data = event.get("event_data") or {}
            kept = {
                "event": event.get("event", ""),
                "created": event.get("created", ""),
                "stdout": event.get("stdout", ""),
                "data": {key: data[key] for key in EVENT_DATA if key in data},
            }
            self._file.write(json.dumps(kept, default=str) + "\n")
            self._file.flush()
        except Exception as error:  # noqa: BLE001 - see above
            self.lost += 1
            print(f"event not kept: {error!r}", file=sys.stderr)  # noqa: T201 - standard error is the worker's log
        return True


def _play(folder: Path, request: Mapping[str, Any], keep: Keeper, watch: Watch) -> tuple[int | None, str]:
    """Run the play and return its exit code and ansible-runner's word for how it ended; `late` where it was too late to begin."""
    from ansible_runner.interface import init_runner

    runner = init_runner(
        private_data_dir=str(folder),
        ident="play",
        playbook=request["playbook"],
        inventory=list(request["inventory"]),
        limit=request["limit"],
        cmdline=request["cmdline"] or None,
        fact_cache_type="memory",
        quiet=True,
        event_handler=keep,
        cancel_callback=watch.killed,
    )
    # ansible-runner turns host key checking off; without its variable Ansible's default (on), ansible.cfg and inventory decide
    runner.config.env.pop("ANSIBLE_HOST_KEY_CHECKING", None)
    # plugins of an entry must not leave compiled files in the snapshot, which is verified file by file
    runner.config.env["PYTHONDONTWRITEBYTECODE"] = "1"
    start_by = request.get("start_by")  # a program that was replaced while it ran may not know it
    if start_by is not None and boot_clock() > start_by:
        return None, LATE
    runner.run()
    return runner.rc, str(runner.status)


def main(folder: Path, lock: int) -> None:
    """Run the play that is described in `folder` and leave its result there.

    Args:
        folder: the run's folder, absolute.
        lock: the inherited descriptor that holds the folder's lock; nothing that we start may inherit it in turn.
    """
    os.set_inheritable(lock, False)
    # A handler that does nothing, not SIG_IGN: ignored signals would be inherited, and then SIGTERM could not end a play
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    status: dict[str, Any] = {"state": "running", "pid": os.getpid(), "started_at": datetime.now(UTC).isoformat()}
    write_json(folder / STATUS, status)
    watch = Watch(request["id"], folder, request["timeout_s"])
    rc, word, error = None, "", ""
    with (folder / EVENTS).open("a", encoding="utf-8") as events:
        keep = Keeper(events)
        watch.start()
        try:
            rc, word = _play(folder, request, keep, watch)
        except Exception as problem:  # noqa: BLE001 - whatever it is, the status has to be written
            error = f"{type(problem).__name__}: {problem}"
        watch.close()
    if error or watch.ended_by:
        watch.end_tree()
    else:
        processes.end(lambda: processes.connections(os.getpid()))
    status |= {
        "state": "ended",
        "ended_at": datetime.now(UTC).isoformat(),
        "rc": rc,
        "runner": word,
        "ended_by": watch.ended_by,
        "error": error,
        "left": sorted(watch.left),
        "lost": keep.lost,
    }
    write_json(folder / STATUS, status)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
