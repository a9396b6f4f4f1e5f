"""A world for crash tests: a catalogue entry that leaves a trace of every run, and servers to kill.

The entry appends `<run id> <item> begin` and `… end` to a ledger file, with a nap between: a run that was made twice shows.
The double of the monitoring says that an item's alert fires until the ledger shows the item's end.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import requests
from durability.doubles import ALERTS, HELD_S, STARTED_AT, Ledger, Monitoring
from durability.rows import Rows
from services import free_port, until

TOKEN = "ro_for-tests-only"
PATIENCE_S = 90.0
LONG = bool(os.environ.get("ORCHESTRATOR_LONG"))


def some(first: Any, *others: Any) -> list[Any]:
    """Return the cases of a test: the first one, and with ORCHESTRATOR_LONG=1 the others too."""
    return [first, *others] if LONG else [first]


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
        file.write(f"{os.environ.get('ORCHESTRATOR_RUN', 'far')} {item} {what}\\n")
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


class World:
    """Files, ledger and monitoring shared by the servers of one test.

    Args:
        folder: an empty folder.
        nap_s: how long a repair takes.
        timeout_s: the entry's time-out.
        hosts: how many hosts there are; all of them are this machine.
        address: where monitoring listens.
        within_s: how long verification may take.
    """

    def __init__(
        self,
        folder: Path,
        *,
        nap_s: float = 0.6,
        timeout_s: float = 60.0,
        hosts: int = 6,
        address: str = "127.0.0.1",
        within_s: float = 60.0,
    ) -> None:
        self.folder = folder
        self.ledger = Ledger(folder / "ledger")
        self.hosts = [f"h{number}" for number in range(hosts)]
        self._inventory(nap_s)
        self._catalogue(timeout_s, within_s)
        self.monitoring = Monitoring(self.ledger, address)
        self.servers: list[Serve] = []
        self.acknowledged: dict[str, str] = {}
        """Item → id of its incident, of every alert that a server has taken in."""
        self.settled: set[str] = set()
        """Unknown runs that were settled."""
        # short, because a UNIX socket's path may stand in it; nothing may be left in either at the end
        self.temp = Path(tempfile.mkdtemp(prefix="ro-"))
        self.home = folder / "home"
        self.home.mkdir()

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

    def _catalogue(self, timeout_s: float, within_s: float) -> None:
        (self.folder / "roles").mkdir()
        for name, (entry, risk) in ALERTS.items():
            for file, text in (("playbook.yml", PLAYBOOK), ("verify.yml", VERIFY), ("playbook.meta.yml", META)):
                words = {
                    r"ID(?=[_:])": entry,
                    "ALERT": name,
                    "RISK": risk,
                    "TIMEOUT": f"{timeout_s:g}",
                    "within_s: 60": f"within_s: {within_s:g}",
                }
                for word, value in words.items():
                    text = re.sub(word, value, text)  # noqa: PLW2901 - filled in word by word
                self._write(f"playbooks/{entry}/{file}", text)

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def serve(self, data_dir: str = "var", *, parts: Sequence[str] = ("serve",), **settings: Any) -> Serve:
        """Return a server that is not started.

        Args:
            data_dir: name of its data folder: a machine has one of its own.
            parts: its processes: `serve`, or `web` and `worker`, or one of them.
            settings: are like `worker__lease_s=2`.
        """
        server = Serve(self, self.folder / data_dir, tuple(parts), settings)
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
            server.thaw()
            server.kill()
        for process in psutil.process_iter(["cmdline"]):
            # only what carries this world's own folder: the workers of plays outlive their servers on purpose
            if str(self.folder) in " ".join(process.info["cmdline"] or ()) and process.pid != os.getpid():
                with contextlib.suppress(psutil.Error):
                    process.wait(PATIENCE_S)
        shutil.rmtree(self.temp, ignore_errors=True)


class Serve:
    """One machine's processes (`orchestrator serve`, or `web` and `worker`), to be started and killed again and again."""

    def __init__(self, world: World, data_dir: Path, parts: tuple[str, ...], settings: dict[str, Any]) -> None:
        self.world, self.data_dir, self.parts = world, data_dir, parts
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.prefix: tuple[str, ...] = ()
        """What stands before each command: into a network of its own, with a clock of its own."""
        self.settings: dict[str, Any] = {
            "data_dir": data_dir,
            "server__port": self.port,
            "server__webhook_token": TOKEN,
            "worker__lease_s": 2,
            "worker__sweep_s": 0.2,
            "worker__tidy_s": 0.5,
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
            "prometheus__timeout_s": HELD_S,
            "alertmanager__timeout_s": HELD_S,
            "context__deadline_s": HELD_S,
            **settings,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.log = data_dir.with_suffix(".log")
        self._log_from = 0

    @property
    def rows(self) -> Rows:
        """Its database, read beside it."""
        return Rows(str(self.settings.get("database__url", self.data_dir / "orchestrator.db")))

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the server and of commands beside it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRATOR_", "MISTRAL_", "ANSIBLE_"))}
        return {
            **kept,
            "HOME": str(self.world.home),
            "TMPDIR": str(self.world.temp),
            **{f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in self.settings.items()},
        }

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run an `orchestrator` command on this server's files."""
        argv = [*self.prefix, sys.executable, "-m", "orchestrator.cli", *arguments]
        return subprocess.run(argv, env=self.environment, cwd=self.world.folder, capture_output=True, text=True, timeout=PATIENCE_S)

    def spawn(self) -> None:
        """Start the processes that do not run, without waiting for them."""
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        for part in self.parts:
            if part in self.processes:
                continue
            argv = [*self.prefix, sys.executable, "-m", "orchestrator.cli", part]
            with self.log.open("ab") as log:
                self.processes[part] = subprocess.Popen(
                    argv, env=self.environment, cwd=self.world.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )

    def start(self) -> Serve:
        """Start what does not run, and wait until it answers."""
        self.spawn()
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Wait until it answers; admit the entry that runs by itself at first."""
        until(self._is_ready, within_s=PATIENCE_S, every_s=0.05, what=f"server is ready, log: {self.log}")
        if self.parts != ("worker",) and not (self.data_dir / "admitted").exists():
            self.post("/api/v1/catalogue/ledger_auto/admit").raise_for_status()
            (self.data_dir / "admitted").touch()

    def _is_ready(self) -> bool:
        for part, process in self.processes.items():
            if process.poll() is not None:
                raise AssertionError(f"{part} ended with {process.returncode}:\n{self.tail()}")
        if self.parts == ("worker",):
            return "ready: this worker" in self.since_start()
        with contextlib.suppress(requests.RequestException):
            return requests.get(self.url + "/healthz", timeout=10).ok
        return False

    def since_start(self) -> str:
        """Return what was logged since the last start."""
        return self.log.read_bytes()[self._log_from :].decode(errors="replace")

    def tail(self) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def kill(self, *parts: str) -> None:
        """End some of its processes, or all, as nothing can catch."""
        ended = [self.processes.pop(part) for part in parts or self.parts if part in self.processes]
        for process in ended:
            process.kill()
        for process in ended:
            process.wait(30)

    def signal_end(self) -> None:
        """Tell its process to end, with SIGTERM."""
        self.processes[self.parts[0]].terminate()

    def wait_end(self) -> int:
        """Wait for the end of its process and return the exit code."""
        return self.processes.pop(self.parts[0]).wait(PATIENCE_S)

    def terminate(self) -> int:
        """End its process with SIGTERM and return the exit code."""
        self.signal_end()
        return self.wait_end()

    def freeze(self) -> None:
        """Let every process of it stand still, as a machine that is suspended."""
        for process in self.processes.values():
            process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)

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


@contextlib.contextmanager
def world(folder: Path, **options: Any) -> Iterator[World]:
    """Give a world and end it."""
    made = World(folder, **options)
    try:
        yield made
    finally:
        made.close()
