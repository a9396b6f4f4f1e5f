"""What tests of the command line share: a call in this process, and a server with the stand-in behind the real pages."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fake_orchestrator import FakeOrchestrator

from orchestrator.cli.main import run
from orchestrator.web import create_app
from orchestrator.web.serve import serve


@dataclass(frozen=True)
class Said:
    """What one call of the command line came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


Call = Callable[..., Said]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Return a function that runs one command in an empty folder, without settings of the outside."""
    import os

    for name in [name for name in os.environ if name.startswith(("ORCHESTRATOR_", "MISTRAL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)

    def run_one(*arguments: str) -> Said:
        capsys.readouterr()
        code = run(arguments)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run_one


@pytest.fixture
def program() -> FakeOrchestrator:
    """Return the stand-in behind the server."""
    return FakeOrchestrator()


@pytest.fixture
def server(program: FakeOrchestrator, call: Call, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve the real API over the stand-in on a free port; the command line knows its address and an admin's token."""
    app = create_app(program)  # type: ignore[arg-type]
    listening = threading.Event()
    addresses: list[str] = []

    def ready(url: str) -> None:
        addresses.append(url)
        listening.set()

    thread = threading.Thread(target=serve, args=(app, "127.0.0.1", 0, 4, ready))
    thread.start()
    try:
        assert listening.wait(60)
        monkeypatch.setenv("ORCHESTRATOR_URL", addresses[0])
        monkeypatch.setenv("ORCHESTRATOR_TOKEN", "admin-token")
        yield addresses[0]
    finally:
        app.extensions["streams"].stop.set()
        thread.join(60)
    assert not thread.is_alive()
