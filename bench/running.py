"""The program as it runs: processes of their own, so that what is measured is not this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

TOKEN = "bench-token"
PATIENCE_S = 120.0
QUIET = {
    "ORCHESTRATOR_SERVER__WEBHOOK_TOKEN": TOKEN,
    "ORCHESTRATOR_SERVER__PORT": "0",
    "ORCHESTRATOR_CONTEXT__FROM_HOSTS": "false",
    "ORCHESTRATOR_LOGS__FROM_HOSTS": "false",
    "ORCHESTRATOR_DECISION__ENGINE": "matchers",
}


def until(what: Callable[[], object], words: str, patience_s: float = PATIENCE_S, every_s: float = 0.02) -> None:
    """Wait until `what` is true."""
    deadline = time.monotonic() + patience_s
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError(words)
        time.sleep(every_s)


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the variables of a program whose data is in a folder."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRATOR_", "MISTRAL_"))}
    return {**base, **QUIET, "ORCHESTRATOR_DATA_DIR": str(folder / "var"), **more}


@contextmanager
def process(verb: str, folder: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `orchestrator serve`, `web` or `worker` until the block ends."""
    (folder / "var").mkdir(parents=True, exist_ok=True)
    (folder / "var" / "server.url").unlink(missing_ok=True)
    with (folder / f"{verb}.log").open("ab") as log:
        command = [sys.executable, "-m", "orchestrator.cli", verb]
        running = subprocess.Popen(command, env=environment(folder, **more), stdout=log, stderr=log)
    try:
        if verb != "worker":
            until((folder / "var" / "server.url").exists, f"{verb} did not start: see {folder}")
        yield running
    finally:
        running.terminate()
        running.wait(timeout=60)


def address(folder: Path) -> str:
    """Return where a server listens."""
    return (folder / "var" / "server.url").read_text().strip()


def admin(folder: Path) -> dict[str, str]:
    """Return the headers of the local admin."""
    return {"Authorization": f"Bearer {(folder / 'var' / 'admin.token').read_text().strip()}"}


def group(*names: str, host: str = "host", alertname: str = "BenchAlert") -> bytes:
    """Return a delivery of these alerts."""
    alerts = [
        {
            "status": "firing",
            "labels": {"alertname": alertname, "instance": f"{host}{name}:9100", "service": "nginx", "severity": "warning", "n": name},
            "annotations": {"summary": "bench"},
            "startsAt": "2026-01-01T00:00:00Z",
        }
        for name in names
    ]
    return json.dumps({"version": "4", "status": "firing", "receiver": "bench", "groupKey": "b", "alerts": alerts}).encode()


def post(session: requests.Session, url: str, body: bytes) -> float:
    """Deliver a body; return the milliseconds until it was acknowledged."""
    start = time.perf_counter()
    response = session.post(url, data=body, headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}, timeout=120)
    response.raise_for_status()
    return (time.perf_counter() - start) * 1000
