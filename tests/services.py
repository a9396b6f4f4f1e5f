"""Real monitoring servers for tests: started on a free loopback port, ended by the test that started them.

Each class is also a context manager::

    with PrometheusServer(tmp_path).start(config) as prometheus:
        requests.get(prometheus.url + "/api/v1/rules", timeout=5)
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
import requests
import yaml

Found = TypeVar("Found")

READY_S = 60.0
"""How long a server may take until it answers; generous, because the machine may be busy."""


def free_port() -> int:
    """Return a TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], Found], *, within_s: float = READY_S, every_s: float = 0.1, what: str = "condition") -> Found:
    """Return the first truthy value of `condition`, asked again and again; raise AssertionError when time is up."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not so within {within_s:g} s")
        time.sleep(every_s)


class Server:
    """One server process: its folder, its port, its log."""

    programs: tuple[str, ...] = ()
    ready_path = "/-/ready"

    def __init__(self, folder: Path, port: int = 0) -> None:
        name = type(self).__name__.lower()
        self.folder = Path(folder) / f"{name}-{port or free_port()}"
        self.port = port or int(self.folder.name.rsplit("-", 1)[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Host and port, as a scrape target names it."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """The file that holds what the server printed."""
        return self.folder / "log"

    def arguments(self) -> list[str]:
        """Return the command line after the program's path."""
        raise AssertionError("a server names its arguments")

    def run(self) -> Self:
        """Start the process and wait until it is ready; skip the test by name where the program is missing."""
        program = _program(*self.programs)
        self.folder.mkdir(parents=True, exist_ok=True)
        for _ in range(3):  # somebody may have taken the port since it was found free
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    [program, *self.arguments()], stdout=log, stderr=log, cwd=self.folder, start_new_session=True
                )
            if until(self._ready_or_dead, what=f"{self.programs[0]} ready, log: {self.log}") == "ready":
                return self
            self.process = None
            self._take_port(free_port())
        raise AssertionError(f"{program} ended at once:\n{self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """End the process; twice is harmless."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(15)

    def freeze(self) -> None:
        """Stop the process without ending it, so that it accepts connections and never answers."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def reload(self) -> None:
        """Have the server read its configuration again."""
        requests.post(self.url + "/-/reload", timeout=30).raise_for_status()

    def _take_port(self, port: int) -> None:
        self.port, self.url = port, f"http://127.0.0.1:{port}"

    def _ready_or_dead(self) -> str:
        assert self.process
        if self.process.poll() is not None:
            return "dead"
        with contextlib.suppress(requests.RequestException):
            if requests.get(self.url + self.ready_path, timeout=5).ok:
                return "ready"
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)  # a frozen one would not hear the end
        self.stop()


class PrometheusServer(Server):
    """A Prometheus with a configuration and rule files of the test's own."""

    programs = ("prometheus",)

    def start(self, config: dict[str, Any] | None = None, rules: dict[str, Any] | None = None) -> Self:
        """Start it.

        Args:
            config: `prometheus.yml` as a dictionary; `rule_files` is added. None: scrapes nothing.
            rules: the rule file as a dictionary (`{"groups": […]}`), if any.
        """
        self.configure(config, rules)
        return self.run()

    def configure(self, config: dict[str, Any] | None = None, rules: dict[str, Any] | None = None) -> None:
        """Write the configuration; call `reload` where the server runs already."""
        self.folder.mkdir(parents=True, exist_ok=True)
        whole = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, **(config or {}), "rule_files": ["rules.yml"]}
        (self.folder / "rules.yml").write_text(yaml.safe_dump(rules or {"groups": []}), encoding="utf-8")
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(whole), encoding="utf-8")

    def arguments(self) -> list[str]:
        """Return the command line after the program's path."""
        return [
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self.address}",
            "--web.enable-lifecycle",
            "--log.level=warn",
        ]

    def value(self, expr: str) -> float | None:
        """Return the first value of an instant query, None where it is empty."""
        reply = requests.get(self.url + "/api/v1/query", params={"query": expr}, timeout=30).json()
        result = reply["data"]["result"]
        return float(result[0]["value"][1]) if result else None

    def firing(self, alertname: str) -> bool:
        """Return whether an alert of this name fires."""
        alerts = requests.get(self.url + "/api/v1/alerts", timeout=30).json()["data"]["alerts"]
        return any(item["labels"]["alertname"] == alertname and item["state"] == "firing" for item in alerts)


class AlertmanagerServer(Server):
    """An Alertmanager, by default with a receiver that tells nobody."""

    programs = ("prometheus-alertmanager", "alertmanager")

    def start(self, config: dict[str, Any] | None = None) -> Self:
        """Start it with `alertmanager.yml` as a dictionary; None: one receiver that tells nobody."""
        self.folder.mkdir(parents=True, exist_ok=True)
        quiet = {"route": {"receiver": "nobody", "group_wait": "1s", "group_interval": "1s"}, "receivers": [{"name": "nobody"}]}
        (self.folder / "alertmanager.yml").write_text(yaml.safe_dump(config or quiet), encoding="utf-8")
        return self.run()

    def start_with_webhook(self, url: str, token: str = "", **route: Any) -> Self:
        """Start it with one webhook receiver; `route` adds to, or replaces, values of the route."""
        http = {"authorization": {"type": "Bearer", "credentials": token}} if token else {}
        webhook = {"url": url, "send_resolved": True, "http_config": http}
        timing = {"group_by": ["alertname"], "group_wait": "1s", "group_interval": "1s", "repeat_interval": "1m"}
        return self.start({"route": {"receiver": "hook", **timing, **route}, "receivers": [{"name": "hook", "webhook_configs": [webhook]}]})

    def arguments(self) -> list[str]:
        """Return the command line after the program's path."""
        return [
            f"--config.file={self.folder / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
            "--log.level=warn",
        ]

    def post(self, *alerts: dict[str, Any]) -> None:
        """Post alerts as Prometheus does: dictionaries with `labels`, `annotations`, `startsAt`, `endsAt`."""
        requests.post(self.url + "/api/v2/alerts", json=list(alerts), timeout=30).raise_for_status()


class BlackboxExporter(Server):
    """A blackbox exporter with the modules `http_2xx` and `tcp_connect` (time-out 2 s)."""

    programs = ("prometheus-blackbox-exporter", "blackbox_exporter")
    ready_path = "/-/healthy"

    def start(self, modules: dict[str, Any] | None = None) -> Self:
        """Start it; `modules` replaces the two usual ones."""
        self.folder.mkdir(parents=True, exist_ok=True)
        usual = {
            "http_2xx": {"prober": "http", "timeout": "2s", "http": {"preferred_ip_protocol": "ip4"}},
            "tcp_connect": {"prober": "tcp", "timeout": "2s", "tcp": {"preferred_ip_protocol": "ip4"}},
        }
        (self.folder / "blackbox.yml").write_text(yaml.safe_dump({"modules": modules or usual}), encoding="utf-8")
        return self.run()

    def arguments(self) -> list[str]:
        """Return the command line after the program's path."""
        return [f"--config.file={self.folder / 'blackbox.yml'}", f"--web.listen-address={self.address}", "--log.level=warn"]

    def scrape(self, module: str, targets: dict[str, dict[str, str]], job: str = "blackbox") -> dict[str, Any]:
        """Return a scrape configuration that probes through this exporter.

        Args:
            module: `http_2xx` or `tcp_connect`.
            targets: what is probed → labels to add (`instance` among them, else the target itself).
            job: name of the job.
        """
        relabel = [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["instance", "__address__"], "separator": ";", "regex": ";(.*)", "target_label": "instance"},
            {"target_label": "__address__", "replacement": self.address},
        ]
        static = [{"targets": [target], "labels": labels} for target, labels in targets.items()]
        return {
            "job_name": job,
            "metrics_path": "/probe",
            "params": {"module": [module]},
            "static_configs": static,
            "relabel_configs": relabel,
        }


class NodeExporter(Server):
    """A node exporter with the cheap collectors only; `textfiles` takes metrics of the test's own."""

    programs = ("prometheus-node-exporter", "node_exporter")
    ready_path = "/metrics"

    @property
    def textfiles(self) -> Path:
        """Folder whose `*.prom` files are exposed."""
        return self.folder / "textfiles"

    def start(self) -> Self:
        """Start it."""
        self.textfiles.mkdir(parents=True, exist_ok=True)
        return self.run()

    def expose(self, text: str, name: str = "test") -> None:
        """Expose these metrics (text format) from now on, instead of what `name` held before."""
        part = self.textfiles / f"{name}.part"
        part.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
        part.rename(self.textfiles / f"{name}.prom")

    def arguments(self) -> list[str]:
        """Return the command line after the program's path."""
        collectors = [f"--collector.{name}" for name in ("loadavg", "meminfo", "filesystem", "uname", "textfile")]
        place = f"--collector.textfile.directory={self.textfiles}"
        return [f"--web.listen-address={self.address}", "--collector.disable-defaults", *collectors, place, "--log.level=warn"]


def _program(*names: str) -> str:
    for name in names:
        found = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        if found:
            return found
    pytest.skip(f"needs {' or '.join(names)} (Debian package); `make check` installs it")
