"""How a run ends when it is cut short, and how it is found again when somebody dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import ExecutionError
from orchestrator.execute import processes
from orchestrator.model import Outcome, RunState

FOLDER = "inc1+1+apply+1"
HANG = """
- name: Hang
  ansible.builtin.command:
    argv: [bash, -c, "setsid sleep 3301 & sleep 3304 & wait"]
"""
# a shell with a child, one that has left its session, and one that ignores SIGTERM
TREE = """
- name: Hang
  ansible.builtin.command:
    argv: [bash, -c, "setsid sleep 3301 & (trap '' TERM; sleep 3302; sleep 3303) & sleep 3304; wait"]
"""
PARENT = """
import sys, pickle
from pathlib import Path
from orchestrator.execute import Executor
request, data, root = pickle.load(open(sys.argv[1], "rb"))
executor = Executor(data_dir=data, inventory_paths=(root / "inventory.yml",), roles=root / "roles", node="here", redact=str)
executor.run(request, lambda event: None, lambda: False)
"""


def wait_for(condition, what):
    """Return what `condition` returns once it is true, or fail after a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    return pytest.fail(f"waited 60 s for {what}")


def sleeping(site):
    """Return the arguments of the sleeps of the run that live."""
    found = set()
    for pid in site.marked():
        words = processes._read(pid, "cmdline").split(b"\0")
        if words[0].endswith(b"sleep"):
            found.add(words[1].decode())
    return found


def die(path: Path, request, site) -> subprocess.Popen:
    """Start a program that runs the request, as ours would."""
    import pickle

    path.write_bytes(pickle.dumps((request, site.root / "data", site.root)))
    return subprocess.Popen([sys.executable, "-c", PARENT, str(path)], cwd=Path(__file__).resolve().parents[3], start_new_session=True)


def worker_of(site) -> int:
    return json.loads((site.folders / FOLDER / "status.json").read_text())["pid"]


def test_a_cancel_ends_the_whole_tree(site):
    """What a person cancels is over: no process of the play lives on, not even one that left its session or ignores SIGTERM."""
    request = site.request(TREE)
    seen = []

    def cancelled() -> bool:
        seen.append(sleeping(site))
        return {"3301", "3302", "3304"} <= seen[-1]

    run = site.executor.run(request, site.events.append, cancelled)
    assert (run.state, run.outcome) == (RunState.DONE, Outcome.CANCELLED)
    assert "on request" in run.message
    assert site.marked() == set()


def test_a_time_out_ends_the_whole_tree(site):
    """A play that hangs is ended at its time-out with all that it has started."""
    run = site.executor.run(site.request(HANG, timeout_s=6.0), site.events.append, lambda: False)
    assert (run.state, run.outcome) == (RunState.DONE, Outcome.TIMEOUT)
    assert "longer than 6 s" in run.message
    assert site.marked() == set()


def test_a_play_outlives_us_and_is_adopted(site):
    """`kill -9` of our program in mid-play: the play goes on, and the next one follows it to its end, once, whole stream included."""
    go = site.root / "go"
    request = site.request(
        f"""
- name: Wait
  ansible.builtin.wait_for: {{path: {go}, timeout: 100, sleep: 1}}
- name: Write
  ansible.builtin.lineinfile: {{path: {site.root}/count, line: once, create: true, mode: "0600"}}
"""
    )
    parent = die(site.root / "request", request, site)
    wait_for(
        lambda: (site.folders / FOLDER / "events.jsonl").is_file() and "Wait" in (site.folders / FOLDER / "events.jsonl").read_text(),
        "the play",
    )
    os.killpg(parent.pid, signal.SIGKILL)
    parent.wait()
    assert site.living() == (request.id,)
    with pytest.raises(ExecutionError, match="still runs"):
        site.executor.settle(request.id)
    with pytest.raises(ExecutionError, match="begun before"):
        site.executor.run(request, site.events.append, lambda: False)
    site.executor.sweep(keep=tuple)
    threading.Timer(1.0, go.touch).start()
    run = site.executor.recover(request, site.events.append, lambda: False)
    assert (run.state, run.outcome) == (RunState.DONE, Outcome.SUCCESSFUL)
    assert run.hosts["web1"].changed == 1
    assert [event.seq for event in site.events] == list(range(1, len(site.events) + 1))
    assert site.events[0].kind == "play"
    assert site.living() == ()
    site.executor.sweep(keep=lambda: (request.id,))
    assert (site.folders / FOLDER).exists()
    site.executor.sweep(keep=tuple)
    assert not (site.folders / FOLDER).exists()


def test_sigterm_to_us_cuts_no_play_and_who_adopts_may_cancel(site):
    """SIGTERM ends our program, not the play; whoever adopts the play can still end it."""
    request = site.request(HANG)
    parent = die(site.root / "request", request, site)
    wait_for(lambda: "3304" in sleeping(site), "the play")
    worker = worker_of(site)
    os.killpg(parent.pid, signal.SIGTERM)
    parent.wait()
    os.kill(worker, signal.SIGTERM)
    assert site.living() == (request.id,)
    assert "3304" in sleeping(site)
    run = site.executor.recover(request, site.events.append, lambda: True)
    assert run.outcome is Outcome.CANCELLED
    assert site.marked() == set()


def test_a_dead_worker_makes_the_run_unknown(site):
    """`kill -9` of the worker in mid-play: nobody can say how far the play came, and nothing of it acts any more afterwards."""
    request = site.request(HANG)
    killed = []

    def cancelled() -> bool:
        if not killed and "3304" in sleeping(site):
            killed.append(worker_of(site))
            os.kill(killed[0], signal.SIGKILL)
        return bool(killed) and not processes.lives(site.folders / FOLDER)

    run = site.executor.run(request, site.events.append, cancelled)
    assert (run.state, run.outcome) == (RunState.UNKNOWN, Outcome.UNKNOWN)
    assert site.executor.recover(request, site.events.append, lambda: False).state is RunState.UNKNOWN
    assert site.living() == ()
    assert not processes.strays(request.id, site.folders / FOLDER)


def test_a_worker_that_is_stuck_is_ended_too(site, monkeypatch):
    """A worker that does not end its play at the time-out is ended with it, and the run is unknown: no run hangs for ever."""
    monkeypatch.setattr("orchestrator.execute.executor.OVERDUE_S", 1.0)
    stopped = []

    def cancelled() -> bool:
        if not stopped and (site.folders / FOLDER / "status.json").exists():
            stopped.append(worker_of(site))
            os.kill(stopped[0], signal.SIGSTOP)
        return False

    run = site.executor.run(site.request(HANG, timeout_s=1.0), site.events.append, cancelled)
    assert (run.state, run.outcome) == (RunState.UNKNOWN, Outcome.UNKNOWN)
    assert site.marked() == set()


def test_an_exception_of_the_caller_leaves_the_play_running(site):
    """A stream that cannot be stored does not cut the play; its result is there to be recovered."""
    request = site.request("- name: Pause\n  ansible.builtin.command: {argv: [sleep, '1']}")

    def broken(event):
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        site.executor.run(request, broken, lambda: False)
    assert site.executor.recover(request, site.events.append, lambda: False).outcome is Outcome.SUCCESSFUL


def test_a_run_that_was_never_begun_is_unknown(site):
    """No folder, or a folder in which nothing has started: unknown, and recovering starts nothing."""
    request = site.request(f"- name: Touch\n  ansible.builtin.file: {{path: {site.root}/touched, state: touch, mode: '0600'}}")
    assert site.executor.recover(request, site.events.append, lambda: False).state is RunState.UNKNOWN
    (site.folders / FOLDER).mkdir(parents=True)
    assert site.executor.recover(request, site.events.append, lambda: False).state is RunState.UNKNOWN
    from orchestrator.execute import folder

    folder.fill(site.folders / FOLDER, request, site.executor._surroundings)
    run = site.executor.recover(request, site.events.append, lambda: False)
    assert (run.state, run.outcome, run.hosts) == (RunState.UNKNOWN, Outcome.UNKNOWN, {})
    with pytest.raises(ExecutionError, match="begun before"):
        site.executor.run(request, site.events.append, lambda: False)
    assert not (site.root / "touched").exists()


def test_what_is_late_is_not_begun(site):
    """A machine that slept between writing the start and starting runs nothing: by now the world may be another one."""
    request = site.request(HANG)
    late = replace(request, start_by=time.clock_gettime(time.CLOCK_BOOTTIME) - 1.0)
    run = site.executor.run(late, lambda event: None, lambda: False)
    assert (run.state, run.outcome) == (RunState.DONE, Outcome.NOT_BEGUN)
    assert not sleeping(site)


def test_sweeping_leaves_what_begins_meanwhile(site):
    """A folder that is made while the sweep asks what is needed stays, also where this process's clock is hours ahead."""
    site.folders.mkdir(parents=True, exist_ok=True)
    (site.folders / "i+1+verify+1").mkdir()

    def needed() -> tuple[str, ...]:
        (site.folders / "i+1+verify+2").mkdir()
        return ()

    site.executor.sweep(keep=needed)
    assert [path.name for path in site.folders.iterdir()] == ["i+1+verify+2"]


def test_a_clock_that_is_ahead_ages_no_snapshot(site, monkeypatch):
    """A snapshot that is being written is judged by the file system's clock."""
    from orchestrator.execute import executor, snapshot

    site.folders.parent.joinpath("snapshots").mkdir(parents=True, exist_ok=True)
    young = site.folders.parent / "snapshots" / f"{snapshot.UNDER_WAY}1"
    young.mkdir()
    monkeypatch.setattr("time.time", lambda: 4102444800.0)
    site.executor.sweep(keep=tuple)
    assert young.exists()
    monkeypatch.setattr(executor, "STALE_S", -1.0)
    site.executor.sweep(keep=tuple)
    assert not young.exists()
