"""A world for crash tests: a catalogue entry that leaves a trace of every run, a double of Prometheus, and servers to kill.

The entry appends `<run id> <item> begin` and `… end` to a ledger file, with a nap between: a run that was made twice shows.
The double says that an item's alert fires until the ledger shows the item's end.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import requests
from services import free_port, until

REPOSITORY = Path(__file__).resolve().parents[2]
STARTED_AT = "2026-01-01T00:00:00Z"
TOKEN = "ro_for-tests-only"
PATIENCE_S = 90.0

PLAYBOOK = """---
- name: Note the run in the ledger
  hosts: all
  gather_facts: false
  tasks:
    - name: Begin, nap, end
      ansible.builtin.command:
        argv: ["{{ ansible_python_interpreter }}", "{{ note }}", "{{ ledger }}", "{{ ID_item }}", "{{ nap_s }}"]
"""
NOTE = """
import os, sys, time
_, ledger, item, nap_s = sys.argv
for what in ("begin", "end"):
    with open(ledger, "a") as file:
        file.write(f"{os.environ['ORCHESTRATOR_RUN']} {item} {what}\\n")
    if what == "begin":
        time.sleep(float(nap_s))
"""
VERIFY = """---
- name: Look for the end in the ledger
  hosts: all
  gather_facts: false
  tasks:
    - name: Read the ledger
      ansible.builtin.command:
        argv: [grep, -c, " {{ ID_item }} end$", "{{ ledger }}"]
      changed_when: false
"""
META = """---
short_description: Note a run in the ledger
description: Leaves a trace of every run, for tests.
argument_specs:
  ID:
    short_description: Note a run in the ledger
    options:
      ID_item:
        type: str
        required: true
        pattern: '[a-z0-9]{1,32}'
        description: What the run is for.
        from: labels.item
    examples: |
      ID_item: a1
    catalogue:
      kind: remediation
      use_when:
        - A test says so.
      matchers:
        - ['alertname="ALERT"', 'item=~".+"']
      targets: {from: labels.instance, groups: [ledgers], max_hosts: 1}
      risk: RISK
      reversible: false
      check_mode: none
      timeout_s: TIMEOUT
      cooldown_s: 0
      verify: {playbook: verify.yml, promql: [], settle_s: 0, within_s: 60}
      order: 1000
"""
ALERTS = {"Auto": ("ledger_auto", "low"), "Ask": ("ledger_ask", "medium")}
"""Alert name → entry and its risk: the first runs by itself, the second asks a person."""


class Ledger:
    """What really happened on the hosts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def lines(self) -> list[tuple[str, str, str]]:
        """Return (run id, item, `begin` or `end`) in the order of writing."""
        return [tuple(line.split()) for line in self.path.read_text().splitlines()]  # type: ignore[misc]

    def has(self, item: str, what: str) -> bool:
        """Return whether an item's run has begun, or ended."""
        return any(line[1:] == (item, what) for line in self.lines())

    def twice(self) -> list[tuple[str, str, str]]:
        """Return what stands there more than once: a run, or an item that was repaired more than once."""
        counts = Counter(self.lines()) + Counter(("", item, what) for _, item, what in self.lines())
        return [line for line, count in counts.items() if count > 1]


class Monitoring(http.server.ThreadingHTTPServer):
    """A double of Prometheus' and Alertmanager's interfaces; a path can be held so that its callers wait."""

    daemon_threads = True

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.ledger = ledger
        self.labels: list[dict[str, str]] = []
        self.held: dict[str, threading.Event] = {}
        self.asked: Counter[str] = Counter()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def hold(self, path: str) -> None:
        """Let callers of a path wait from now on."""
        self.held[path] = threading.Event()

    def release(self) -> None:
        """Answer all who wait."""
        held, self.held = self.held, {}
        for event in held.values():
            event.set()

    def firing(self) -> list[dict[str, str]]:
        """Return the labels of what fires."""
        ended = {item for _, item, what in self.ledger.lines() if what == "end"}
        return [labels for labels in list(self.labels) if labels["item"] not in ended]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where a killed server has hung up."""

    def close(self) -> None:
        """End it."""
        self.release()
        self.shutdown()
        self.server_close()


class _Answers(http.server.BaseHTTPRequestHandler):
    server: Monitoring

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.asked[path] += 1
        if held := self.server.held.get(path):
            held.wait(60)
        body = json.dumps(self._answer(path)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def _answer(self, path: str) -> Any:
        match path:
            case "/api/v1/alerts":
                alerts = [
                    {"labels": one, "annotations": {}, "state": "firing", "activeAt": STARTED_AT, "value": "1"}
                    for one in self.server.firing()
                ]
                return {"status": "success", "data": {"alerts": alerts}}
            case "/api/v1/rules":
                rules = [
                    {
                        "type": "alerting",
                        "name": name,
                        "query": "up == 0",
                        "duration": 0,
                        "labels": {"severity": "warning"},
                        "annotations": {},
                    }
                    for name in ALERTS
                ]
                return {"status": "success", "data": {"groups": [{"name": "tests", "file": "-", "interval": 1, "rules": rules}]}}
            case "/api/v2/alerts":
                return []
            case _:
                return {"status": "success", "data": {"resultType": "vector", "result": []}}

    def log_message(self, *_: Any) -> None:
        return


class World:
    """Files, ledger and monitoring shared by the servers of one test.

    Args:
        folder: an empty folder.
        nap_s: how long a repair takes.
        timeout_s: the entry's time-out.
        hosts: how many hosts there are; all of them are this machine.
    """

    def __init__(self, folder: Path, *, nap_s: float = 0.6, timeout_s: float = 60.0, hosts: int = 6) -> None:
        self.folder = folder
        self.ledger = Ledger(folder / "ledger")
        self.hosts = [f"h{number}" for number in range(hosts)]
        self._inventory(nap_s)
        self._catalogue(timeout_s)
        self.monitoring = Monitoring(self.ledger)
        self.servers: list[Serve] = []
        self.acknowledged: dict[str, str] = {}
        """Item → id of its incident, of every alert that a server has taken in."""
        # short, because a UNIX socket's path may stand in it
        self.temp = Path(tempfile.mkdtemp(prefix="ro-"))

    def _inventory(self, nap_s: float) -> None:
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ledger": str(self.ledger.path),
            "note": str(self.folder / "note.py"),
            "nap_s": nap_s,
        }
        hosts = {name: {"prometheus_instance": f"{name}:9100"} for name in self.hosts}
        inventory = {"all": {"children": {"ledgers": {"hosts": hosts}}, "vars": variables}}
        self._write("note.py", NOTE)
        self._write("inventory/hosts.yml", json.dumps(inventory))

    def _catalogue(self, timeout_s: float) -> None:
        (self.folder / "roles").mkdir()
        for name, (entry, risk) in ALERTS.items():
            for file, text in (("playbook.yml", PLAYBOOK), ("verify.yml", VERIFY), ("playbook.meta.yml", META)):
                words = {r"ID(?=[_:])": entry, "ALERT": name, "RISK": risk, "TIMEOUT": f"{timeout_s:g}"}
                for word, value in words.items():
                    text = re.sub(word, value, text)  # noqa: PLW2901 - filled in word by word
                self._write(f"playbooks/{entry}/{file}", text)

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def serve(self, data_dir: str = "var", **settings: Any) -> Serve:
        """Return a server that is not started; `settings` are like `worker__lease_s=2`."""
        server = Serve(self, self.folder / data_dir, settings)
        self.servers.append(server)
        return server

    def labels(self, item: str, *, name: str = "Auto", host: str = "") -> dict[str, str]:
        """Return the labels of an item's alert, which fires from now on."""
        host = host or self.hosts[sum(map(ord, item)) % len(self.hosts)]
        labels = {"alertname": name, "instance": f"{host}:9100", "item": item, "severity": "warning"}
        if labels not in self.monitoring.labels:
            self.monitoring.labels.append(labels)
        return labels

    def close(self) -> None:
        """End everything."""
        self.monitoring.close()
        for server in self.servers:
            server.kill()
        for process in psutil.process_iter(["cmdline"]):
            # only what carries this world's own folder: the workers of plays outlive their servers on purpose
            if str(self.folder) in " ".join(process.info["cmdline"] or ()) and process.pid != os.getpid():
                with contextlib.suppress(psutil.Error):
                    process.wait(PATIENCE_S)
        shutil.rmtree(self.temp, ignore_errors=True)


class Serve:
    """One `orchestrator serve`: a process that can be started and killed again and again."""

    def __init__(self, world: World, data_dir: Path, settings: dict[str, Any]) -> None:
        self.world, self.data_dir = world, data_dir
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings: dict[str, Any] = {
            "data_dir": data_dir,
            "server__port": self.port,
            "server__webhook_token": TOKEN,
            "worker__lease_s": 2,
            "worker__sweep_s": 0.2,
            "catalogue__path": world.folder / "playbooks",
            "catalogue__roles": world.folder / "roles",
            "inventory__paths": world.folder / "inventory",
            "decision__engine": "matchers",
            "context__from_hosts": "false",
            "logs__from_hosts": "false",
            "policy__mode": "auto",
            "policy__fleet_minimum": 10000,
            "policy__max_hosts_per_hour": 10000,
            "policy__breaker_failures": 10000,
            "policy__correlate_s": 0,
            "policy__host_down": 'alertname="None"',
            "prometheus__url": world.monitoring.url,
            "prometheus__timeout_s": 30,
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.log = data_dir.with_suffix(".log")

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the server and of commands beside it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRATOR_", "MISTRAL_", "ANSIBLE_"))}
        return {
            **kept,
            "TMPDIR": str(self.world.temp),
            **{f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in self.settings.items()},
        }

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run an `orchestrator` command on this server's files."""
        argv = [sys.executable, "-m", "orchestrator.cli", *arguments]
        return subprocess.run(argv, env=self.environment, cwd=self.world.folder, capture_output=True, text=True, timeout=PATIENCE_S)

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process without waiting for it."""
        argv = [sys.executable, "-m", "orchestrator.cli", "serve"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                argv, env=self.environment, cwd=self.world.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self.process

    def start(self) -> Serve:
        """Start it, and wait until it answers."""
        self.spawn()
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Wait until it answers; admit the entry that runs by itself at first."""
        until(self._answers, within_s=PATIENCE_S, every_s=0.05, what=f"server answers, log: {self.log}")
        if not (self.data_dir / "admitted").exists():
            self.post("/api/v1/catalogue/ledger_auto/admit").raise_for_status()
            (self.data_dir / "admitted").touch()

    def _answers(self) -> bool:
        assert self.process
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.tail()}")
        with contextlib.suppress(requests.RequestException):
            return requests.get(self.url + "/healthz", timeout=10).ok
        return False

    def tail(self) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def kill(self) -> None:
        """End it as nothing can catch."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        if self.process:
            self.process.wait(30)
        self.process = None

    def terminate(self) -> int:
        """End it with SIGTERM and return the exit code."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    # ------------------------------------------------------------ talking to it

    @property
    def headers(self) -> dict[str, str]:
        """The administrator's authorization."""
        return {"Authorization": f"Bearer {(self.data_dir / 'admin.token').read_text().strip()}"}

    def get(self, path: str, **params: Any) -> Any:
        """Return the JSON at a path."""
        reply = requests.get(self.url + path, params=params, headers=self.headers, timeout=60)
        reply.raise_for_status()
        return reply.json()

    def post(self, path: str, body: Any = None) -> requests.Response:
        """Post as administrator."""
        return requests.post(self.url + path, json=body or {}, headers=self.headers, timeout=60)

    def alert(self, item: str, *, name: str = "Auto", host: str = "", timeout_s: float = 60) -> requests.Response | None:
        """Deliver an item's alert; None where the server died meanwhile. What it takes in is noted as acknowledged."""
        labels = self.world.labels(item, name=name, host=host)
        alert = {"status": "firing", "labels": labels, "annotations": {}, "startsAt": STARTED_AT, "endsAt": "0001-01-01T00:00:00Z"}
        body = {"version": "4", "status": "firing", "receiver": "orchestrator", "groupKey": item, "groupLabels": {}, "alerts": [alert]}
        try:
            reply = requests.post(self.url + "/alert", json=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=timeout_s)
        except requests.RequestException:
            return None
        if reply.status_code == 202:
            (line,) = reply.json()["incidents"]
            self.world.acknowledged[item] = line["id"]
        return reply

    def incident(self, item: str) -> dict[str, Any]:
        """Return an item's incident as the interface shows it."""
        found: dict[str, Any] = self.get(f"/api/v1/incidents/{self.world.acknowledged[item]}")
        return found

    def wait_status(self, item: str, *statuses: str, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until an item's incident has one of these statuses, and return it."""

        def there() -> dict[str, Any] | None:
            found = self.incident(item)
            return found if found["status"] in statuses else None

        return until(there, within_s=within_s, every_s=0.1, what=f"{item} is {' or '.join(statuses)}, log: {self.log}")


class Rows:
    """What the SQLite database holds, read beside the server."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "orchestrator.db"

    def __call__(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with contextlib.closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(query, values).fetchall()


def wait_all_ended(server: Serve) -> list[tuple[Any, ...]]:
    """Wait until no incident can go on by itself; return (id, status, reason) of all."""
    rows = Rows(server.data_dir)

    def ended() -> list[tuple[Any, ...]]:
        found = rows("SELECT id, status, reason FROM incident")
        return found if all(status in ("resolved", "escalated") for _, status, _ in found) else []

    return until(ended, within_s=2 * PATIENCE_S, every_s=0.2, what=f"all incidents have ended, log: {server.log}")


def wait_tidy(server: Serve) -> None:
    """Wait until nothing is left on disk but the folders of runs that are not settled."""
    rows = Rows(server.data_dir)
    unsettled = {row[0].replace(":", "+") for row in rows("SELECT id FROM run WHERE state != 'done'")}

    def left() -> set[str]:
        folders = {path.name for path in (server.data_dir / "runs").glob("*")} - unsettled
        return folders | {str(path) for path in server.world.temp.glob("orchestrator-*/*")} if folders or not unsettled else set()

    until(lambda: not left(), within_s=2 * PATIENCE_S, every_s=0.5, what=f"nothing is left of runs: {left()}")


def check_everything(server: Serve) -> dict[str, int]:
    """Assert what must hold whatever happened, and return counts for a summary."""
    world, rows = server.world, Rows(server.data_dir)
    ends = {row[0]: row[1:] for row in rows("SELECT id, status, reason, data FROM incident")}
    lost = [item for item, incident in world.acknowledged.items() if incident not in ends]
    assert not lost, f"acknowledged and lost: {lost}"
    assert all(status == "resolved" or (status == "escalated" and reason) for status, reason, _ in ends.values()), ends
    assert world.ledger.twice() == []
    runs = {row[0]: row[1:] for row in rows("SELECT id, incident, state FROM run WHERE kind = 'apply'")}
    on_record = {
        kind: {json.loads(data)["run"] for (data,) in rows("SELECT data FROM audit WHERE kind = ?", kind)}
        for kind in ("run.intent", "run.started")
    }
    for run, _, _ in world.ledger.lines():
        assert run in runs, f"{run} ran without a row"
        assert run in on_record["run.intent"], f"{run} ran without an intent on record"
        assert run in on_record["run.started"], f"{run} ran without a start on record"
        assert json.loads(ends[runs[run][0]][2])["grant"], f"{run} ran without a grant"
    unknown = {incident for incident, state in runs.values() if state == "unknown"}
    held = {row[0] for row in rows("SELECT incident FROM slot")}
    assert held == unknown, "exactly the hosts of unknown runs stay locked"
    resolved = sum(status == "resolved" for status, _, _ in ends.values())
    begun = {run for run, _, what in world.ledger.lines() if what == "begin"}
    ended = {run for run, _, what in world.ledger.lines() if what == "end"}
    return {
        "acknowledged": len(world.acknowledged),
        "found": len(set(world.acknowledged.values()) & set(ends)),
        "resolved": resolved,
        "with a person": len(ends) - resolved,
        "runs begun": len(begun),
        "runs ended": len(ended),
        "runs unknown": len(unknown),
    }


@contextlib.contextmanager
def world(folder: Path, **options: Any) -> Iterator[World]:
    """Give a world and end it."""
    made = World(folder, **options)
    try:
        yield made
    finally:
        made.close()
