"""The processes that stay: `serve`, `web` and `worker`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from orchestrator.shipped import folder as shipped


@contextmanager
def started(work: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start one command in `work`; it is ended at the end, whatever happens."""
    (work / "hosts.yml").write_text("all: {hosts: {}}\n")
    (work / "orchestrator.toml").write_text(
        f'[catalogue]\npath = "{shipped("playbooks")}"\nroles = "{shipped("roles")}"\nprompts = "{shipped("prompts")}"\n'
        '[inventory]\npaths = ["hosts.yml"]\n[decision]\nengine = "matchers"\n'
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", *arguments],
        cwd=work,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def first_object(process: subprocess.Popen[str]) -> dict[str, object]:
    """Return the JSON object that a process prints when it is ready."""
    assert process.stdout
    text = ""
    for line in process.stdout:
        text += line
        if line == "}\n":
            return json.loads(text)
    raise AssertionError(process.stderr.read() if process.stderr else text)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("verb", ["serve", "web"])
def test_server_says_where_it_is_and_ends_cleanly(verb: str, tmp_path: Path):
    """The ready line has address and first login link, the command line finds the server by itself, SIGTERM ends it with 0."""
    with started(tmp_path, verb, "--port", "0", "--json") as process:
        told = first_object(process)
        assert requests.get(f"{told['url']}/healthz", timeout=60).json()["status"] == "ok"
        assert str(told["login"]).startswith(f"{told['url']}/login?code=")
        assert (tmp_path / "var" / "server.url").read_text().strip() == told["url"]
        listed = subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", "incident", "list", "--json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert json.loads(listed.stdout) == {"items": []}, listed.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0


@pytest.mark.timeout(180)
def test_worker_alone_is_ready_and_ends_cleanly(tmp_path: Path):
    """A worker has no port; it says that it is ready and SIGTERM ends it with 0."""
    with started(tmp_path, "worker", "--json") as process:
        assert first_object(process) == {"ready": True, "worker": True}
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0


@pytest.mark.timeout(180)
def test_taken_port_is_an_error_of_settings(tmp_path: Path):
    """A port that somebody else has ends with 2 and one line, not with a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken, started(tmp_path, "web", "--port", str(taken.getsockname()[1])) as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "cannot be listened on" in said
    assert "Traceback" not in said
