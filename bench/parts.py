"""What is measured, a part a function."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import requests

from bench import seed
from bench.baseline import echo_with_fsync
from bench.figures import Figure, figure, percentile
from bench.running import address, admin, environment, group, post, process, until
from orchestrator.app import build
from orchestrator.execute import Executor
from orchestrator.inventory import load as load_inventory
from orchestrator.model import Entry, EntryKind, RunKind, RunRequest
from orchestrator.settings import load
from orchestrator.store import Store

SENDERS = 8
BARE = "baseline: bare WSGI and fsync"


@contextmanager
def empty_folder() -> Iterator[Path]:
    """Give a folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def opened(folder: Path, **more: str) -> Store:
    """Return the store of a folder with its tables made."""
    values = {name: value for name, value in environment(folder, **more).items() if name.startswith("ORCHESTRATOR_")}
    program = build(load(None, values))
    program.stop()
    return program.store


# ---------------------------------------------------------------- intake


def intake(waiting: int, count: int) -> list[Figure]:
    """One alert per delivery: one after the other, then eight senders at once; each in turn with the baseline."""
    with empty_folder() as folder, echo_with_fsync() as bare:
        store = opened(folder)
        seed.incidents(store, seed.example(store, group("0")), waiting, run_at=store.db.now_ms())
        store.db.close()
        with process("web", folder), requests.Session() as session:
            url = f"{address(folder)}/alert"
            for n in range(20):
                post(session, bare, group(f"w{n}"))
                post(session, url, group(f"w{n}"))
            ours, theirs = [], []
            for n in range(count):
                body = group(str(n))
                theirs.append(post(session, bare, body))
                ours.append(post(session, url, body))
            rates = [(_rate(bare, f"b{n}", count), _rate(url, f"o{n}", count)) for n in range(3)]
    name = f"intake, {waiting:,} incidents waiting"
    their_rate, our_rate = (statistics.median(column) for column in zip(*rates, strict=True))
    return [
        figure(f"{name}, p50", statistics.median(ours), "ms", statistics.median(theirs), count, BARE),
        figure(f"{name}, p99", percentile(ours, 0.99), "ms", percentile(theirs, 0.99), count, BARE),
        figure(f"{name}, {SENDERS} senders", our_rate, "alerts/s", their_rate, 3 * count, BARE),
    ]


def _rate(url: str, name: str, count: int) -> float:
    """Return how many single deliveries per second are acknowledged to senders that work at once."""

    def send(sender: int) -> None:
        with requests.Session() as session:
            for n in range(count // SENDERS):
                post(session, url, group(f"{name}-{sender}-{n}"))

    begun = time.perf_counter()
    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(send, range(SENDERS)))
    return count / (time.perf_counter() - begun)


def storm(alerts: int) -> list[Figure]:
    """Deliveries of 50 alerts from eight senders, as Alertmanager's groups come in a storm."""
    bodies = [group(*[f"{start}-{n}" for n in range(50)]) for start in range(alerts // 50)]
    with empty_folder() as folder, process("web", folder):
        url, local = f"{address(folder)}/alert", threading.local()

        def send(body: bytes) -> None:
            if not hasattr(local, "session"):
                local.session = requests.Session()
            post(local.session, url, body)

        begun = time.perf_counter()
        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(send, bodies))
        took = time.perf_counter() - begun
    return [figure("a storm in groups of 50", alerts / took, "alerts/s", None, alerts, "stored and correlated before it is acknowledged")]


# ---------------------------------------------------------------- waking and waiting


def waking(count: int) -> list[Figure]:
    """From the webhook's answer to the first step of the incident."""
    times = []
    with empty_folder() as folder, process("serve", folder), requests.Session() as session:
        store = Store(f"sqlite:///{folder}/var/orchestrator.db")
        for n in range(count):
            body = group(str(n))
            start = time.perf_counter()
            post(session, f"{address(folder)}/alert", body)
            until(lambda: not store.incidents.counts().get("received"), "the first step", every_s=0.001)
            times.append((time.perf_counter() - start) * 1000)
        store.db.close()
    return [figure("alert received to its first step, p50", statistics.median(times), "ms", None, count, "4 worker threads, SQLite")]


INVENTORY = "all:\n  children:\n    recoverable:\n      hosts:\n        host0: {ansible_connection: local, prometheus_instance: 'host0:9100', recoverable_services: [nginx]}\n"


def approvals(count: int) -> list[Figure]:
    """Many incidents that wait for a person: memory, idle processor time, and the time to wake one."""
    with empty_folder() as folder:
        inventory = folder / "hosts.yml"
        inventory.write_text(INVENTORY)
        more = {"ORCHESTRATOR_INVENTORY__PATHS": str(inventory), "ORCHESTRATOR_POLICY__APPROVAL_TTL_S": "86400"}
        with process("serve", folder, **more), requests.Session() as session:
            post(session, f"{address(folder)}/alert", group("0", alertname="ServiceDown"))
            store = Store(f"sqlite:///{folder}/var/orchestrator.db")
            until(lambda: store.incidents.counts().get("awaiting_approval"), "one incident waits for an answer")
            link = store.people.flag("admin_link")
            (one,), _ = store.incidents.find()
            model = store.incidents.get(one.id)
            asked = store.runs.approval(model.approval)
        seed.approvals(store, model, asked, count)
        store.db.close()
        with process("serve", folder, **more) as running, requests.Session() as session:
            url, headers = address(folder), admin(folder)
            until(lambda: requests.get(f"{url}/readyz", timeout=10).ok, "ready")
            time.sleep(5)
            memory, idle = _idle(running.pid)
            session.get(f"{url}/login?code={link}", timeout=60).raise_for_status()
            pages = _gets(session, f"{url}/", {}, 5)
            began = time.perf_counter()
            body = {"digest": asked.digest, "reason": "bench"}
            session.post(f"{url}/api/v1/approvals/{0:016d}:1:1/reject", json=body, headers=headers, timeout=60).raise_for_status()
            until(lambda: store.incidents.summary(f"{0:016d}").status != "awaiting_approval", "it wakes", every_s=0.001)
            took = (time.perf_counter() - began) * 1000
            store.db.close()
    name = f"{count:,} waiting approvals"
    return [
        figure(f"{name}, memory", memory, "MB", None, count, "the whole process of `orchestrator serve`"),
        figure(f"{name}, idle processor", idle, "% of a core", None, count, "over 10 seconds"),
        figure(f"{name}, overview page, p50", statistics.median(pages), "ms", None, len(pages)),
        figure(f"{name}, waking one", took, "ms", None, 1, "from the answer over HTTP to the incident's next status"),
    ]


def _idle(pid: int) -> tuple[float, float]:
    """Return the memory (MB) and the processor time (% of a core) of an idle process."""
    running = psutil.Process(pid)
    before, start = running.cpu_times(), time.monotonic()
    time.sleep(10)
    after = running.cpu_times()
    used = after.user + after.system - before.user - before.system
    return running.memory_info().rss / 1e6, used / (time.monotonic() - start) * 100


# ---------------------------------------------------------------- stored incidents


def stored(sizes: tuple[int, ...]) -> list[Figure]:
    """How the time for a page of the list, for intake and for a claim grows with what is stored; the baseline is the smallest size."""
    figures, base = [], {}
    with empty_folder() as folder, requests.Session() as browser:
        store, there = opened(folder), 0
        link = store.people.flag("admin_link")
        model = seed.ended(seed.example(store, group("0")))
        for size in sizes:
            seed.incidents(store, model, size - there, run_at=None, first=there)
            there = size
            claims = _claims(store, 50, size)
            store.db.close()
            with process("web", folder), requests.Session() as session:
                url, headers = address(folder), admin(folder)
                if size == sizes[0]:
                    browser.get(f"{url}/login?code={link}", timeout=60).raise_for_status()
                took = {
                    "list page": _gets(session, f"{url}/api/v1/incidents?limit=100", headers, 30),
                    "filtered list page": _gets(session, f"{url}/api/v1/incidents?limit=100&host=seed7", headers, 30),
                    "overview page": _gets(browser, f"{url}/", {}, 10),
                    "metrics": _gets(session, f"{url}/metrics", headers, 10),
                    "intake": [post(session, f"{url}/alert", group(f"{size}-{n}")) for n in range(50)],
                    "claim": claims,
                }
            for what, times in took.items():
                middle = statistics.median(times)
                note = f"baseline: with {sizes[0]:,} stored" if size != sizes[0] else ""
                figures.append(figure(f"{size:,} incidents stored, {what}, p50", middle, "ms", base.get(what), len(times), note))
                base.setdefault(what, middle)
    return figures


def _gets(session: requests.Session, url: str, headers: dict[str, str], count: int) -> list[float]:
    times = []
    for _ in range(count + 2):
        start = time.perf_counter()
        answer = session.get(url, headers=headers, timeout=60, allow_redirects=False)
        times.append((time.perf_counter() - start) * 1000)
        if answer.status_code != requests.codes.ok:
            raise RuntimeError(f"{url} answered {answer.status_code}")
    return times[2:]


def _claims(store: Store, count: int, size: int) -> list[float]:
    """Return the times to find what is due and to take it."""
    seed.incidents(store, seed.example(store, group("0")), count, run_at=store.db.now_ms(), first=10**9 + size)
    times = []
    for n in range(count):
        start = time.perf_counter()
        (due,) = store.incidents.due(1)
        store.incidents.claim(due, f"bench{n}", 3600)
        times.append((time.perf_counter() - start) * 1000)
    return times


# ---------------------------------------------------------------- workers


class _SlowMonitoring(http.server.ThreadingHTTPServer):
    """A Prometheus that takes 100 ms for every answer: steps wait for others, as they do in life."""

    daemon_threads = True


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        time.sleep(0.1)
        data = {"alerts": [], "groups": [], "resultType": "vector", "result": [], "activeTargets": [], "yaml": ""}
        body = json.dumps({"status": "success", "data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        return


def workers(count: int) -> list[Figure]:
    """Incidents per second that come to rest, with one worker process and with two, on PostgreSQL."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from postgresql import PostgresServer, find_postgres

    if find_postgres() is None:
        return []
    monitoring = _SlowMonitoring(("127.0.0.1", 0), _Answer)
    threading.Thread(target=monitoring.serve_forever, daemon=True).start()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answer) as probe:
        port = probe.server_address[1]
    address_of_it = f"http://127.0.0.1:{monitoring.server_address[1]}"
    try:
        with PostgresServer(port) as server:
            rates = [_carried(server.database(f"bench{number}"), address_of_it, number, count) for number in (1, 2)]
    finally:
        monitoring.shutdown()
        monitoring.server_close()
    note = "4 threads each, Prometheus answers in 100 ms, everything on this machine"
    return [
        figure("incidents carried to rest, 1 worker, PostgreSQL", rates[0], "incidents/s", None, count, note),
        figure("incidents carried to rest, 2 workers, PostgreSQL", rates[1], "incidents/s", rates[0], count, "baseline: 1 worker"),
    ]


def _carried(url: str, prometheus: str, number: int, count: int) -> float:
    more = {"ORCHESTRATOR_DATABASE__URL": url, "ORCHESTRATOR_PROMETHEUS__URL": prometheus}
    with empty_folder() as folder:
        store = opened(folder / "seed", **more)
        seed.incidents(store, seed.example(store, group("0")), 40, run_at=store.db.now_ms())
        with ExitStack() as stack:
            for n in range(number):
                stack.enter_context(process("worker", folder / f"w{n}", **more))
            until(lambda: store.incidents.counts().get("escalated", 0) == 40, "the workers are warm", every_s=0.1)
            begun = time.perf_counter()
            seed.incidents(store, seed.example(store, group("0")), count, run_at=store.db.now_ms(), first=1000)
            until(lambda: store.incidents.counts().get("escalated", 0) == 40 + count, "all are at rest", 300, every_s=0.1)
            took = time.perf_counter() - begun
        store.db.close()
    return count / took


# ---------------------------------------------------------------- plays


def plays(count: int) -> list[Figure]:
    """A trivial play through our worker process, against bare ansible-playbook."""
    with empty_folder() as folder:
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
        shot = executor.snapshot(Entry("noop", "Nothing", "", EntryKind.DIAGNOSTIC, str(entry), "d", roles=("noop",)))
        ours, theirs = [], []
        bare = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), str(entry / "playbook.yml")]
        variables = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "ANSIBLE_ROLES_PATH": str(folder / "roles")}
        for n in range(count):
            theirs.append(_timed(lambda: subprocess.run(bare, check=True, capture_output=True, env=variables)))
            request = RunRequest(f"b:{n}:check:1", RunKind.CHECK, "noop", "playbook.yml", ("web1",), str(shot.path))
            ours.append(_timed(lambda request=request: executor.run(request, lambda _: None, lambda: False)))
            executor.settle(f"b:{n}:check:1")
    return [figure("a trivial play", statistics.median(ours), "ms", statistics.median(theirs), count, "baseline: bare ansible-playbook")]


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000
