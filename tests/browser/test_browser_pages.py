"""The pages in a real browser: what JavaScript adds works, and nothing runs over the edge of a phone."""

from __future__ import annotations

import subprocess
import threading
import time

import pytest
from conftest import needs_program
from fake_orchestrator import NOW

from orchestrator import model as m

pytestmark = pytest.mark.foreign

DEADLINE_S = 120


@pytest.fixture
def dom(tmp_path, stage):
    """Return a function: path → the page's HTML after its scripts have run."""
    program = needs_program("chromium", "chromium-browser", "google-chrome")

    def dump(address: str, path: str, budget_ms: int = 4000) -> str:
        command = stage.browser(program, str(tmp_path / "profile"), "--dump-dom", f"--timeout={budget_ms}", f"{address}/as/ada/{path}")
        return subprocess.run(command, check=True, timeout=DEADLINE_S, capture_output=True, text=True).stdout

    return dump


def test_times_count_down(dom, stage):
    """The browser localises times and counts an approval down to the second."""
    with stage.staged(stage.furnished()) as address:
        page = dom(address, "approvals/inc0000000000001:1")
    assert 'data-localised="yes"' in page
    assert "in 11:" in page


def test_a_run_streams(dom, stage):
    """Lines that come while the page is open appear on it, as text."""
    fake = stage.furnished()
    done = threading.Event()

    def speak() -> None:
        while not done.wait(0.2):
            fake.lines.append(m.RunEvent(len(fake.lines) + 1, "ok", NOW, "web2", "<b>a late line</b>", "\x1b[31m"))

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        with stage.staged(fake) as address:
            end = time.monotonic() + DEADLINE_S
            while True:
                page = dom(address, "runs/inc0000000000003:1:apply:1")
                # Only the script numbers its classes without the template's line breaks.
                if '<li class="ok"><span class="kind">ok</span> <b>web2</b> <span>&lt;b&gt;a late line' in page or time.monotonic() > end:
                    break
    finally:
        done.set()
        speaker.join(DEADLINE_S)
    assert "&lt;b&gt;a late line&lt;/b&gt;" in page
    assert "<b>a late line" not in page
    assert '<span class="kind">ok</span> <b>web2</b> <span>' in page
