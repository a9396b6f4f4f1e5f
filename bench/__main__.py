"""Measure intake, waking, waiting approvals and plays, each against a baseline of the same run where one exists."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import requests
from rich.console import Console
from rich.table import Table

from bench.baseline import echo_with_fsync
from orchestrator.app import build
from orchestrator.execute import Executor
from orchestrator.inventory import load as load_inventory
from orchestrator.model import Actor, ApprovalState, Role, RunKind, RunRequest, Status
from orchestrator.settings import load
from orchestrator.web import create_app
from orchestrator.web.serve import serve

TOKEN = "bench-token"
RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True)
class Figure:
    """One line of the table; `ratio` is value / baseline."""

    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    n: int = 0
    note: str = ""


def figure(name: str, value: float, unit: str, baseline: float | None = None, n: int = 0, note: str = "") -> Figure:
    ratio = round(value / baseline, 3) if baseline else None
    return Figure(name, round(value, 3), unit, round(baseline, 3) if baseline else None, ratio, n, note)


def group(*names: str, host: str = "host") -> bytes:
    alerts = [
        {
            "status": "firing",
            "labels": {"alertname": "BenchAlert", "instance": f"{host}{name}:9100", "service": "nginx", "severity": "warning", "n": name},
            "annotations": {"summary": "bench"},
            "startsAt": "2026-01-01T00:00:00Z",
        }
        for name in names
    ]
    return json.dumps({"version": "4", "status": "firing", "receiver": "bench", "groupKey": "b", "alerts": alerts}).encode()


def post(session: requests.Session, url: str, body: bytes) -> float:
    start = time.perf_counter()
    response = session.post(url, data=body, headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}, timeout=60)
    response.raise_for_status()
    return (time.perf_counter() - start) * 1000


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@contextmanager
def orchestrator(folder: Path, *, worker: bool = False, **environment: str):
    base = {
        "ORCHESTRATOR_DATA_DIR": str(folder / "var"),
        "ORCHESTRATOR_SERVER__WEBHOOK_TOKEN": TOKEN,
        "ORCHESTRATOR_CONTEXT__FROM_HOSTS": "false",
        "ORCHESTRATOR_LOGS__FROM_HOSTS": "false",
    }
    program = build(load(None, {**base, **environment}))
    if worker:
        program.start_worker()
    ready: list[str] = []
    done = threading.Event()

    def run() -> None:
        serve(create_app(program), "127.0.0.1", 0, 8, lambda url: (ready.append(url), done.set()))

    threading.Thread(target=run, daemon=True).start()
    done.wait(30)
    try:
        yield program, ready[0]
    finally:
        program.stop()


def intake(waiting: int, count: int) -> list[Figure]:
    """One alert per delivery, one after the other, interleaved with the baseline."""
    with (
        tempfile.TemporaryDirectory() as folder,
        echo_with_fsync() as bare,
        orchestrator(Path(folder)) as (_, url),
        requests.Session() as session,
    ):
        for start in range(0, waiting, 500):
            post(session, f"{url}/alert", group(*[str(n) for n in range(start, start + 500)], host="w"))
        ours, theirs = [], []
        for n in range(count):
            body = group(str(n))
            theirs.append(post(session, bare, body))
            ours.append(post(session, f"{url}/alert", body))
    note = "baseline: a bare WSGI server that writes the body to SQLite with synchronous=FULL"
    name = f"intake, {waiting} incidents waiting"
    return [
        figure(f"{name}, p50", statistics.median(ours), "ms", statistics.median(theirs), count, note),
        figure(f"{name}, p99", percentile(ours, 0.99), "ms", percentile(theirs, 0.99), count, note),
    ]


def storm() -> list[Figure]:
    """One delivery of 1,000 alerts."""
    with tempfile.TemporaryDirectory() as folder, orchestrator(Path(folder)) as (_, url), requests.Session() as session:
        took = post(session, f"{url}/alert", group(*[str(n) for n in range(1000)]))
    return [figure("one delivery of 1,000 alerts", took, "ms", None, 1, f"{1000 / took * 1000:.0f} alerts/s, stored before it is answered")]


def waking(count: int) -> list[Figure]:
    """From the webhook's answer to the first step of the incident."""
    times = []
    with tempfile.TemporaryDirectory() as folder, orchestrator(Path(folder), worker=True) as (program, _):
        for n in range(count):
            start = time.perf_counter()
            identity = program.receive(group(str(n))).incidents[0]["id"]
            while program.store.incidents.summary(identity).status is Status.RECEIVED:  # type: ignore[union-attr]
                time.sleep(0.001)
            times.append((time.perf_counter() - start) * 1000)
    return [figure("alert received to its first step, p50", statistics.median(times), "ms", None, count, "4 worker threads, SQLite")]


def approvals(count: int) -> list[Figure]:
    """Many incidents that wait for a person: memory, idle processor time, and the time to wake one."""
    hosts = "\n".join(
        f"        host{n}: {{ansible_connection: local, prometheus_instance: 'host{n}:9100', recoverable_services: [nginx]}}"
        for n in range(count)
    )
    with tempfile.TemporaryDirectory() as folder:
        inventory = Path(folder) / "hosts.yml"
        inventory.write_text(f"all:\n  children:\n    recoverable:\n      hosts:\n{hosts}\n")
        settings = {"ORCHESTRATOR_INVENTORY__PATHS": str(inventory), "ORCHESTRATOR_WORKER__THREADS": "2"}
        with orchestrator(Path(folder), worker=True, **settings) as (program, _):
            body = json.loads(group(*[str(n) for n in range(count)]))
            for alert in body["alerts"]:
                alert["labels"]["alertname"] = "ServiceDown"
            program.receive(json.dumps(body).encode())
            process = psutil.Process()
            deadline = time.monotonic() + 1800
            while program.store.incidents.counts().get("awaiting_approval", 0) < count and time.monotonic() < deadline:
                time.sleep(0.5)
            waiting = program.store.incidents.counts().get("awaiting_approval", 0)
            before, start = process.cpu_times(), time.monotonic()
            time.sleep(10)
            after = process.cpu_times()
            idle = (after.user + after.system - before.user - before.system) / (time.monotonic() - start) * 100
            (card,), _ = program.approvals(state=(ApprovalState.PENDING,), limit=1)
            began = time.perf_counter()
            program.reject(card.id, Actor("bench", Role.ADMIN), card.digest, "bench")
            while program.store.incidents.summary(card.incident).status is Status.AWAITING_APPROVAL:  # type: ignore[union-attr]
                time.sleep(0.001)
            took = (time.perf_counter() - began) * 1000
            memory = process.memory_info().rss / 1e6
    return [
        figure(f"{waiting} waiting approvals, memory", memory, "MB", None, waiting),
        figure(f"{waiting} waiting approvals, idle processor", idle, "% of a core", None, waiting),
        figure(f"{waiting} waiting approvals, waking one", took, "ms", None, 1),
    ]


def plays(count: int) -> list[Figure]:
    """A trivial play through our worker process, against bare ansible-playbook."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entry = folder / "playbooks" / "noop"
        (folder / "roles" / "noop" / "tasks").mkdir(parents=True)
        (folder / "roles" / "noop" / "tasks" / "main.yml").write_text(
            "- name: Say nothing\n  ansible.builtin.assert: {that: true, quiet: true}\n"
        )
        entry.mkdir(parents=True)
        (entry / "playbook.yml").write_text("- name: Nothing\n  hosts: all\n  gather_facts: false\n  roles: [noop]\n")
        inventory = folder / "hosts.ini"
        inventory.write_text(f"web1 ansible_connection=local ansible_python_interpreter={sys.executable}\n")
        load_inventory((inventory,))
        executor = Executor(
            data_dir=folder / "var", inventory_paths=(inventory,), roles=folder / "roles", node="bench", redact=lambda text: text
        )
        shot = executor.snapshot(_entry(entry))
        ours, theirs = [], []
        for n in range(count):
            bare = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), str(entry / "playbook.yml")]
            environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "ANSIBLE_ROLES_PATH": str(folder / "roles")}
            theirs.append(
                _timed(lambda bare=bare, environment=environment: subprocess.run(bare, check=True, capture_output=True, env=environment))
            )
            request = RunRequest(f"b:{n}:check:1", RunKind.CHECK, "noop", "playbook.yml", ("web1",), str(shot.path))
            ours.append(_timed(lambda request=request: executor.run(request, lambda _: None, lambda: False)))
            executor.settle(f"b:{n}:check:1")
    return [figure("a trivial play", statistics.median(ours), "ms", statistics.median(theirs), count, "baseline: bare ansible-playbook")]


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def _entry(folder: Path):
    from orchestrator.model import Entry, EntryKind

    return Entry("noop", "Nothing", "", EntryKind.DIAGNOSTIC, str(folder), "d", roles=("noop",))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--long", action="store_true", help="also with 10,000 waiting incidents and 1,000 waiting approvals")
    long = parser.parse_args().long
    figures: list[Figure] = []
    parts: list[tuple[str, Callable[[], list[Figure]]]] = [
        ("intake, nothing waiting", lambda: intake(0, 200)),
        ("intake, 1,000 waiting", lambda: intake(1000, 200)),
        *([("intake, 10,000 waiting", lambda: intake(10000, 200))] if long else []),
        ("a storm", storm),
        ("waking", lambda: waking(50)),
        ("plays", lambda: plays(9)),
        ("waiting approvals", lambda: approvals(100 if not long else 1000)),
    ]
    console = Console()
    for name, part in parts:
        console.print(f"measuring: {name}", style="dim")
        figures += part()
    table = Table("what", "value", "unit", "baseline", "ratio", "n", "note")
    for item in figures:
        table.add_row(item.name, f"{item.value:g}", item.unit, f"{item.baseline or ''}", f"{item.ratio or ''}", str(item.n), item.note)
    console.print(table)
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}")
    RESULTS.write_text(json.dumps([asdict(item) for item in figures], indent=2) + "\n")


if __name__ == "__main__":
    main()
