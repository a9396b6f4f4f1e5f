"""The program itself as real processes: a server, and the command line against it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import requests

REPOSITORY = Path(__file__).resolve().parent.parent
PATIENCE_S = 90.0


def until(what: Callable[[], Any], words: str, patience_s: float = PATIENCE_S) -> Any:
    """Return the first true answer of `what`, asked again and again; fail with `words` when the time is over."""
    deadline = time.monotonic() + patience_s
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = what()
        except (requests.ConnectionError, requests.Timeout) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(0.05)
    raise AssertionError(f"{words} (waited {patience_s:.0f} s; last seen: {last!r})")


class Server:
    """`orchestrator serve` in a folder of its own, on a free port.

    Args:
        folder: its working folder; `var` is made in it.
        environment: settings as variables, beside the ones set here.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.data = folder / "var"
        base = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRATOR_", "MISTRAL_"))}
        self.environment = {
            **base,
            "NO_COLOR": "1",
            "COLUMNS": "200",
            "ORCHESTRATOR_DATA_DIR": str(self.data),
            "ORCHESTRATOR_SERVER__PORT": "0",
            "ORCHESTRATOR_SERVER__WEBHOOK_TOKEN": "webhook-secret",
            "ORCHESTRATOR_CATALOGUE__PATH": str(REPOSITORY / "playbooks"),
            "ORCHESTRATOR_CATALOGUE__ROLES": str(REPOSITORY / "roles"),
            "ORCHESTRATOR_CATALOGUE__PROMPTS": str(REPOSITORY / "prompts"),
            **(environment or {}),
        }
        self.process: subprocess.Popen[str] | None = None
        self._log = None

    def start(self) -> Server:
        """Start it and wait until it is ready."""
        (self.data / "server.url").unlink(missing_ok=True)
        self._log = (self.folder / "serve.log").open("a")
        command = [sys.executable, "-m", "orchestrator.cli", "serve"]
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=self._log, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        until(self._is_ready, f"the server did not start: {self.log()}")
        return self

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended: {self.log()}"
        return (self.data / "server.url").exists() and requests.get(f"{self.url}/healthz", timeout=5).ok

    def log(self) -> str:
        """Return what it has printed."""
        path = self.folder / "serve.log"
        return path.read_text()[-4000:] if path.exists() else ""

    @property
    def url(self) -> str:
        """The address it listens on."""
        return (self.data / "server.url").read_text().strip()

    @property
    def admin(self) -> str:
        """The local admin's token."""
        return (self.data / "admin.token").read_text().strip()

    def stop(self, how: int = signal.SIGTERM) -> int:
        """End it with a signal and return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(timeout=60)
        if self._log:
            self._log.close()
        return code

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ------------------------------------------------------------ talking to it

    def call(self, method: str, path: str, *, token: str | None = None, **more: Any) -> requests.Response:
        """Make one HTTP call, as the local admin unless a token is given (empty: none)."""
        secret = self.admin if token is None else token
        headers = {**({"Authorization": f"Bearer {secret}"} if secret else {}), **more.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=30, **more)

    def get(self, path: str) -> Any:
        """Return the JSON of a successful GET."""
        response = self.call("GET", path)
        assert response.ok, response.text
        return response.json()

    def post_alert(self, *alerts: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Deliver a group and return the answer's incidents."""
        group = {"version": "4", "status": "firing", "receiver": "test", "groupKey": "g", "alerts": list(alerts)}
        response = self.call("POST", "/alert", token="webhook-secret", json=group)
        assert response.status_code == 202, response.text
        return response.json()["incidents"]

    def incident(self, identity: str) -> dict[str, Any]:
        """Return an incident."""
        return self.get(f"/api/v1/incidents/{identity}")

    def reaches(self, identity: str, *statuses: str, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until an incident stands in one of these statuses, and return it."""

        def look() -> dict[str, Any] | None:
            incident = self.incident(identity)
            return incident if incident["status"] in statuses else None

        try:
            return until(look, f"incident {identity} did not reach {statuses}", patience_s)
        except AssertionError as error:
            kinds = [(event["kind"], event["data"]) for event in self.get(f"/api/v1/incidents/{identity}/timeline")["items"]]
            raise AssertionError(f"{error}\n{kinds}\n{self.log()}") from error

    def command(self, *arguments: str, check: int | None = 0, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command line in the server's folder."""
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=120,
            check=False,
        )
        if check is not None:
            assert done.returncode == check, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def record(self, identity: str, name: str) -> str:
        """Return an incident's report; where ORCHESTRATOR_RECORDINGS names a folder, it is kept there as `<name>.md`."""
        report = self.command("incident", "report", identity).stdout
        if folder := os.environ.get("ORCHESTRATOR_RECORDINGS"):
            # neither this machine's name nor its folders belong in a document
            Path(folder, f"{name}.md").write_text(report.replace(str(self.folder), "/srv/site").replace(socket.gethostname(), "worker1"))
        return report

    def json(self, *arguments: str) -> Any:
        """Run the command line with --json and return what it printed."""
        return json.loads(self.command("--json", *arguments).stdout)


def firing(name: str = "ServiceDown", **labels: str) -> dict[str, Any]:
    """Return one firing alert as Alertmanager writes it."""
    labels = {"alertname": name, "severity": "critical", **labels}
    return {
        "status": "firing",
        "labels": labels,
        "annotations": {"summary": f"{name} fires"},
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
    }


def resolved(alert: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same alert resolved."""
    return {**alert, "status": "resolved", "endsAt": "2026-01-01T00:10:00Z"}


def free_ports(count: int) -> Iterator[int]:
    """Yield TCP ports on loopback that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    yield from ports
