"""Real services for stories: nginx and other programs under a supervisor, and the monitoring that watches them.

Everything listens on free ports of loopback, lives in the test's folder and ends with it, whatever happened to it in between.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import psutil
import requests
import yaml
from conftest import needs_program
from server import Server
from services import AlertmanagerServer, BlackboxExporter, PrometheusServer, free_port, until

WEBHOOK_TOKEN = "webhook-secret"

SUPERVISOR = """\
[unix_http_server]
file={folder}/supervisor.sock
[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
nodaemon=true
silent=true
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{folder}/supervisor.sock
"""
PROGRAM = """\
[program:{name}]
command={command}
autorestart=false
startsecs=1
startretries=0
stopwaitsecs=3
killasgroup=true
redirect_stderr=true
stdout_logfile={folder}/{name}.log
"""
NGINX = """\
pid {folder}/nginx.pid;
error_log stderr;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {address};
        location / {{ return 200 "open"; }}
    }}
}}
"""


@contextmanager
def short_folder(prefix: str) -> Iterator[Path]:
    """Make a folder with a short path, because UNIX sockets live in it, and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Supervisor:
    """A supervisor of the test's own and its programs; add them before it is started.

    Args:
        folder: its folder, with a short path.
        prefix: what to put before its command, to start it on another host.
    """

    def __init__(self, folder: Path, prefix: Sequence[str] = ()) -> None:
        self.folder, self._prefix = folder, tuple(prefix)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "supervisord.conf"
        self.config.write_text(SUPERVISOR.format(folder=folder))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def argv(self) -> list[str]:
        """The command that steers it, as the inventory names it."""
        return [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self.config)]

    def add(self, name: str, command: str) -> None:
        """Add a program that runs in the foreground."""
        with self.config.open("a") as file:
            file.write(PROGRAM.format(name=name, command=command, folder=self.folder))

    def control(self, *arguments: str) -> str:
        """Run supervisorctl and return what it said."""
        done = subprocess.run([*self.argv, *arguments], capture_output=True, text=True, timeout=120)
        return done.stdout + done.stderr

    def pid(self, name: str) -> int:
        """Return the pid of a program, 0 while it does not run."""
        text = self.control("pid", name).strip()
        return int(text) if text.isdigit() else 0

    def family(self, name: str) -> list[psutil.Process]:
        """Return the processes of a program."""
        first = psutil.Process(self.pid(name))
        return [first, *first.children(recursive=True)]

    def __enter__(self) -> Self:
        command = [*self._prefix, sys.executable, "-m", "supervisor.supervisord", "-c", str(self.config)]
        with (self.folder / "supervisord.out").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True)
        try:
            until(lambda: "RUNNING" in self.control("status"), what=f"supervisor runs: {(self.folder / 'supervisord.out')}")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it and all of its programs, also those that were stopped by a signal."""
        process, self.process = self.process, None
        if process is None:
            return
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            family = psutil.Process(process.pid).children(recursive=True)
        for member in family:
            with contextlib.suppress(psutil.Error):
                member.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)
        for member in family:
            with contextlib.suppress(psutil.Error):  # psutil compares the start time: never a stranger that got this pid
                member.kill()
        psutil.wait_procs(family, timeout=30)


class Nginx:
    """A real nginx as one program of a supervisor, with a prefix and a port of its own."""

    def __init__(self, supervisor: Supervisor, name: str = "nginx", ip: str = "127.0.0.1") -> None:
        self.supervisor, self.name, self.ip, self.port = supervisor, name, ip, free_port()
        self.program = needs_program("nginx")
        self.folder = supervisor.folder / name
        self.folder.mkdir()
        self.config = self.folder / "nginx.conf"
        self.config.write_text(NGINX.format(folder=self.folder, address=self.address))
        supervisor.add(name, " ".join([*self._argv, "-g", '"daemon off;"']))

    @property
    def _argv(self) -> list[str]:
        return [self.program, "-p", str(self.folder), "-c", str(self.config), "-e", "stderr"]

    @property
    def address(self) -> str:
        """Host and port it listens on."""
        return f"{self.ip}:{self.port}"

    def answers(self) -> bool:
        """Return whether it serves its page."""
        try:
            return requests.get(f"http://{self.address}/", timeout=2).text == "open"
        except requests.RequestException:
            return False

    def host(self, **more: Any) -> dict[str, Any]:
        """Return the inventory variables of this machine, on which it runs."""
        return {**local_host(self.supervisor, prometheus_instance=self.address), **self.variables(), **more}

    def variables(self) -> dict[str, Any]:
        """Return the inventory variables that tell of it."""
        return {
            "recoverable_services": [self.name],
            "service_address": self.ip,
            "service_ports": {self.name: self.port},
            "service_urls": {self.name: f"http://{self.address}/"},
            "service_config_tests": {self.name: [*self._argv, "-t"]},
        }


def local_host(supervisor: Supervisor | None = None, **more: Any) -> dict[str, Any]:
    """Return the inventory variables of a host that is this machine."""
    manager = {"service_manager": "supervisor", "supervisorctl_argv": supervisor.argv} if supervisor else {}
    return {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **manager, **more}


def write_inventory(path: Path, hosts: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write an inventory whose hosts are all in the group `recoverable`."""
    path.write_text(yaml.safe_dump({"all": {"children": {"recoverable": {"hosts": {name: dict(host) for name, host in hosts.items()}}}}}))
    return path


class Watch:
    """Prometheus, Alertmanager and a blackbox exporter; `connect` leads the alerts to a server."""

    def __init__(self, folder: Path) -> None:
        self.blackbox = BlackboxExporter(folder)
        self.alertmanager = AlertmanagerServer(folder)
        self.prometheus = PrometheusServer(folder)
        self._stack = contextlib.ExitStack()

    def start(self, probes: Mapping[str, Mapping[str, str]], rules: Sequence[Mapping[str, Any]], scrapes: Sequence[Any] = ()) -> Self:
        """Start them.

        Args:
            probes: address that is asked over HTTP → labels of its series.
            rules: alerting rules.
            scrapes: further scrape configurations.
        """
        try:
            self._stack.enter_context(self.alertmanager).start()
            self._stack.enter_context(self.blackbox).start()
            probe = self.blackbox.scrape("http_2xx", {target: dict(labels) for target, labels in probes.items()}, job="probe")
            config = {
                "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                "alerting": {"alertmanagers": [{"static_configs": [{"targets": [self.alertmanager.address]}]}]},
                "scrape_configs": [*([probe] if probes else []), *scrapes],
            }
            groups = {"groups": [{"name": "stories", "interval": "1s", "rules": [dict(rule) for rule in rules]}]}
            self._stack.enter_context(self.prometheus).start(config, groups)
        except BaseException:
            self.stop()
            raise
        return self

    @property
    def settings(self) -> dict[str, str]:
        """The server's settings to reach them."""
        return {"ORCHESTRATOR_PROMETHEUS__URL": self.prometheus.url, "ORCHESTRATOR_ALERTMANAGER__URL": self.alertmanager.url}

    def connect(self, server: Server, group_by: Sequence[str] = ("alertname", "instance")) -> None:
        """Let Alertmanager send each alert to the server's webhook, from now on."""
        http = {"authorization": {"type": "Bearer", "credentials": WEBHOOK_TOKEN}}
        webhook = {"url": f"{server.url}/alert", "send_resolved": True, "http_config": http}
        timing = {"group_by": list(group_by), "group_wait": "1s", "group_interval": "1s", "repeat_interval": "5m"}
        config = {"route": {"receiver": "hook", **timing}, "receivers": [{"name": "hook", "webhook_configs": [webhook]}]}
        (self.alertmanager.folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
        self.alertmanager.reload()

    def sees(self, expr: str, patience_s: float = 90.0) -> None:
        """Wait until a query has a result."""
        until(lambda: self.prometheus.value(expr) is not None, within_s=patience_s, what=f"Prometheus: {expr}")

    def stop(self) -> None:
        """End them."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


SERVICE_DOWN: dict[str, Any] = {
    "alert": "ServiceDown",
    "expr": "probe_success == 0",
    "for": "1s",
    "labels": {"severity": "critical"},
    "annotations": {"summary": "{{ $labels.service }} does not answer on {{ $labels.instance }}."},
}


def incident_of(server: Server, alertname: str, instance: str, patience_s: float = 90.0) -> str:
    """Wait for the incident of an alert and return its id."""

    def look() -> str | None:
        for item in server.get(f"/api/v1/alerts?alertname={alertname}&limit=1000")["items"]:
            if item["labels"].get("instance") == instance:
                return item["incident_id"]
        return None

    return until(look, within_s=patience_s, what=f"an incident for {alertname} of {instance}; {server.log()}")


def kinds(server: Server, incident: str) -> list[str]:
    """Return the kinds of an incident's audit events in their order."""
    return [event["kind"] for event in server.get(f"/api/v1/incidents/{incident}/timeline?limit=1000")["items"]]


def applied(server: Server, incident: str) -> list[dict[str, Any]]:
    """Return the changing runs of an incident."""
    return [run for run in server.get(f"/api/v1/runs?incident={incident}&limit=1000")["items"] if run["kind"] in {"apply", "undo"}]
