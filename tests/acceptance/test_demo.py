"""The demo: a real service, really broken, really repaired, and nothing left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import needs_program

WITHIN_S = 400
"""How long the demo may take here: the machine may be busy with other tests."""
MOST_S = WITHIN_S + 60
"""Ending every process comes on top."""


def command(*arguments: str) -> list[str]:
    """Return the command line of the demo."""
    return [sys.executable, "-m", "orchestrator.cli", "demo", *arguments]


def environment(folder: Path) -> dict[str, str]:
    """Return an environment whose temporary folder is the test's own."""
    import os

    return {**os.environ, "TMPDIR": str(folder)}


def left_over(folder: Path) -> list[str]:
    """Return the command lines of processes that still work in `folder`."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if str(folder) in words:
            found.append(words)
    return found


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory):
    """Return a folder with a short path: UNIX sockets live in it."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="demo-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def once(folder: Path, *arguments: str) -> list[dict[str, str]]:
    """Run the demo to its end, hold it to its promises, and return what it told."""
    done = subprocess.run(
        command("--once", "--json", "--within", str(WITHIN_S), *arguments),
        env=environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=MOST_S,
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    story = "\n".join(f"{line['at_s']} {line['what']} {line['text']}" for line in told)
    assert done.returncode == 0, f"{story}\n{done.stderr}"
    assert told[-1]["what"] == "incident.resolved"
    kinds = [line["what"] for line in told]
    for kind in ("alert.received", "decision.made", "policy.judged", "run.intent", "run.ended", "verification.done"):
        assert kind in kinds, story
    assert left_over(folder) == []
    assert [item.name for item in folder.iterdir()] == []
    return told


@pytest.mark.timeout(600)
def test_demo_with_its_own_prober_is_resolved(short: Path):
    """Without Prometheus a person is asked, the demo answers, and the service is repaired and verified."""
    told = once(short, "--own-prober")
    assert any(line["what"] == "approval.answered" for line in told)


@pytest.mark.foreign
@pytest.mark.timeout(600)
def test_demo_with_prometheus_is_resolved_without_a_person(short: Path):
    """With real Prometheus and Alertmanager the policy allows it, and nobody is asked."""
    for name in ("prometheus", "prometheus-alertmanager", "prometheus-blackbox-exporter"):
        needs_program(name)
    told = once(short)
    assert not any(line["what"].startswith("approval.") for line in told)


@pytest.mark.timeout(600)
def test_interrupted_demo_leaves_nothing(short: Path):
    """SIGTERM in the middle ends every process and removes the folder."""
    process = subprocess.Popen(
        command("--json", "--own-prober"), env=environment(short), cwd=short, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout
        for line in process.stdout:
            if "Broken for real" in line:
                break
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait(120) != 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    deadline = time.monotonic() + 60
    while left_over(short) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left_over(short) == []
    assert list(short.iterdir()) == []
