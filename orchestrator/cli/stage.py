"""The stage of the demo: real processes as a plain user, in one folder, on free loopback ports, all ended at the end."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

SERVICE: Final = "shop"
HOST: Final = "demo1"
MONITORING: Final = ("prometheus", "prometheus-alertmanager", "prometheus-blackbox-exporter")
"""Debian's programs; all three, or the demo's own prober."""
END_S: Final = 15.0
"""How long a process may take to end before it is killed."""

SERVICE_PROGRAM: Final = '''\
"""The demo's service: a small shop that says that it is open."""
import http.server
import sys


class Shop(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"open\\n")

    def log_message(self, *arguments):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Shop).serve_forever()
'''


def free_ports(count: int) -> list[int]:
    """Return different free TCP ports of loopback."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def answers(port: int) -> bool:
    """Return whether an HTTP server answers 200 on this loopback port."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def monitoring_programs() -> dict[str, str]:
    """Return the paths of Debian's monitoring programs, or nothing where one of them is missing."""
    path = os.environ.get("PATH", "") + ":/usr/bin:/usr/sbin"
    found = {name: shutil.which(name, path=path) or "" for name in MONITORING}
    return found if all(found.values()) else {}


@dataclass
class Stage:
    """Everything that the demo starts.

    Args:
        folder: an empty folder of its own, with a short path (a UNIX socket lives in it).
        monitoring: paths of Prometheus, Alertmanager and the blackbox exporter; empty: the demo probes by itself.
    """

    folder: Path
    monitoring: Mapping[str, str]
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = ["service", "server", "prometheus", "alertmanager", "blackbox"]
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))

    @property
    def instance(self) -> str:
        """The service's address, as its alert's `instance` label says it."""
        return f"127.0.0.1:{self.ports['service']}"

    @property
    def url(self) -> str:
        """The orchestrator's address."""
        return f"http://127.0.0.1:{self.ports['server']}"

    @property
    def config(self) -> Path:
        """The orchestrator's settings file."""
        return self.folder / "orchestrator.toml"

    def supervisorctl(self) -> list[str]:
        """Return the command that steers the service's supervisor."""
        return [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self.folder / "supervisord.conf")]

    # ------------------------------------------------------------ files

    def write(self) -> None:
        """Write every configuration file."""
        (self.folder / "tmp").mkdir()
        self._text("service.py", SERVICE_PROGRAM)
        self._text("supervisord.conf", self._supervisor())
        self._json("inventory/hosts.yml", self._inventory())
        self._json("rules.yml", self._rules())
        self._json("prometheus.yml", self._prometheus())
        self._json("alertmanager.yml", self._alertmanager())
        self._json("blackbox.yml", {"modules": {"http_2xx": {"prober": "http", "timeout": "2s", "http": {"preferred_ip_protocol": "ip4"}}}})
        self._text("orchestrator.toml", self._settings())

    def _text(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _json(self, name: str, value: Any) -> None:
        self._text(name, json.dumps(value, indent=1))  # JSON is YAML

    def _supervisor(self) -> str:
        here = self.folder
        return f"""\
[unix_http_server]
file={here}/supervisor.sock
[supervisord]
logfile={here}/supervisord.log
pidfile={here}/supervisord.pid
childlogdir={here}
nodaemon=true
silent=true
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{here}/supervisor.sock
[program:{SERVICE}]
command={sys.executable} {here}/service.py {self.ports["service"]}
autorestart=false
startsecs=1
startretries=0
redirect_stderr=true
stdout_logfile={here}/{SERVICE}.log
"""

    def _inventory(self) -> dict[str, Any]:
        port = self.ports["service"]
        host = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ansible_remote_tmp": str(self.folder / "tmp" / "ansible"),
            "prometheus_instance": self.instance,
            "service_manager": "supervisor",
            "supervisorctl_argv": self.supervisorctl(),
            "recoverable_services": [SERVICE],
            "service_ports": {SERVICE: port},
            "service_urls": {SERVICE: f"http://127.0.0.1:{port}/"},
        }
        return {"all": {"children": {"recoverable": {"hosts": {HOST: host}}}}}

    def _rules(self) -> dict[str, Any]:
        rule = {
            "alert": "ServiceDown",
            "expr": f'probe_success{{job="{SERVICE}"}} == 0',
            "for": "2s",
            "labels": {"service": SERVICE, "severity": "critical"},
            "annotations": {"summary": f"{SERVICE} does not answer on {{{{ $labels.instance }}}}."},
        }
        return {"groups": [{"name": "demo", "interval": "1s", "rules": [rule]}]}

    def _prometheus(self) -> dict[str, Any]:
        return {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(self.folder / "rules.yml")],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{self.ports['alertmanager']}"]}]}]},
            "scrape_configs": [
                {
                    "job_name": SERVICE,
                    "metrics_path": "/probe",
                    "params": {"module": ["http_2xx"], "target": [f"http://{self.instance}/"]},
                    "static_configs": [{"targets": [self.instance]}],
                    "relabel_configs": [
                        {"source_labels": ["__address__"], "target_label": "instance"},
                        {"target_label": "__address__", "replacement": f"127.0.0.1:{self.ports['blackbox']}"},
                    ],
                }
            ],
        }

    def _alertmanager(self) -> dict[str, Any]:
        webhook = {
            "url": f"{self.url}/alert",
            "send_resolved": True,
            "http_config": {"authorization": {"type": "Bearer", "credentials": self.token}},
        }
        return {
            "route": {
                "receiver": "orchestrator",
                "group_by": ["alertname"],
                "group_wait": "1s",
                "group_interval": "2s",
                "repeat_interval": "1h",
            },
            "receivers": [{"name": "orchestrator", "webhook_configs": [webhook]}],
        }

    def _settings(self) -> str:
        from orchestrator.shipped import folder

        urls = {
            "prometheus": f"http://127.0.0.1:{self.ports['prometheus']}" if self.monitoring else "",
            "alertmanager": f"http://127.0.0.1:{self.ports['alertmanager']}" if self.monitoring else "",
        }
        sections: dict[str, dict[str, Any]] = {
            "server": {"host": "127.0.0.1", "port": self.ports["server"], "webhook_token": self.token},
            "worker": {"sweep_s": 0.5},
            "catalogue": {
                name: str(folder(source)) for name, source in (("path", "playbooks"), ("roles", "roles"), ("prompts", "prompts"))
            },
            "inventory": {"paths": [str(self.folder / "inventory")]},
            "decision": {"engine": "matchers"},
            "policy": {"mode": "auto", "allow_monitoring_hosts": True},
            "prometheus": {"url": urls["prometheus"], "range_s": 300.0},
            "alertmanager": {"url": urls["alertmanager"]},
        }
        lines = [f"data_dir = {json.dumps(str(self.folder / 'var'))}"]
        for name, values in sections.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        return "\n".join(lines) + "\n"  # strings, numbers, booleans and lists are written alike in JSON and TOML

    # ------------------------------------------------------------ processes

    def start(self) -> None:
        """Start the service, monitoring and the orchestrator; none is waited for."""
        here, ports = self.folder, self.ports
        self._spawn("supervisor", [sys.executable, "-m", "supervisor.supervisord", "-c", str(here / "supervisord.conf")])
        self._spawn("server", [sys.executable, "-m", "orchestrator.cli", "--config", str(self.config), "serve"])
        if not self.monitoring:
            return
        blackbox = [f"--config.file={here}/blackbox.yml", f"--web.listen-address=127.0.0.1:{ports['blackbox']}"]
        self._spawn("blackbox", [self.monitoring["prometheus-blackbox-exporter"], *blackbox])
        alertmanager = [
            f"--config.file={here}/alertmanager.yml",
            f"--storage.path={here}/alertmanager",
            f"--web.listen-address=127.0.0.1:{ports['alertmanager']}",
            "--cluster.listen-address=",
        ]
        self._spawn("alertmanager", [self.monitoring["prometheus-alertmanager"], *alertmanager])
        prometheus = [
            f"--config.file={here}/prometheus.yml",
            f"--storage.tsdb.path={here}/prometheus",
            f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
        ]
        self._spawn("prometheus", [self.monitoring["prometheus"], *prometheus])

    def _spawn(self, name: str, argv: list[str]) -> None:
        with (self.folder / f"{name}.out").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=environment(self.folder),
                start_new_session=True,
            )

    def ended(self) -> str:
        """Return the name of a process that has ended by itself, or an empty string."""
        return next((name for name, process in self.processes.items() if process.poll() is not None), "")

    def last_words(self, name: str) -> str:
        """Return the last lines that a process printed."""
        try:
            return "\n".join((self.folder / f"{name}.out").read_text(encoding="utf-8", errors="replace").splitlines()[-12:])
        except OSError:
            return ""

    def service_pid(self) -> int:
        """Return the pid of the service, 0 while it does not run."""
        told = subprocess.run([*self.supervisorctl(), "pid", SERVICE], capture_output=True, text=True, timeout=60, check=False)
        text = told.stdout.strip()
        return int(text) if text.isdigit() else 0

    def break_service(self) -> int:
        """Kill the service's process as nothing can catch; return the pid that it had."""
        pid = self.service_pid()
        if pid:
            os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self) -> None:
        """End every process that was started, and those that they started."""
        import psutil

        order = ["prometheus", "alertmanager", "blackbox", "server", "supervisor"]
        family: list[Any] = []
        for name in order:
            process = self.processes.pop(name, None)
            if process is None:
                continue
            with contextlib.suppress(psutil.Error):
                family += psutil.Process(process.pid).children(recursive=True)
            _end(process)
        for member in family:
            with contextlib.suppress(psutil.Error):  # psutil compares the start time: never a stranger that got this pid
                member.kill()
        psutil.wait_procs(family, timeout=END_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    deadline = time.monotonic() + END_S
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment(folder: Path) -> dict[str, str]:
    """Return our environment without settings and keys, with the programs of this Python in front and temporary files in `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRATOR_", "MISTRAL_", "ANSIBLE_"))}
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept.get('PATH', '/usr/bin:/bin')}"
    kept["TMPDIR"] = str(folder / "tmp")
    return kept
